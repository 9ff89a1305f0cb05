//! How others speak to the loop: queries and commands, each answered on a channel of its own.

use std::{collections::BTreeMap, sync::Arc};

use osmoda_core::{event::Actor, name::AgentName, observed::Limits};
use tokio::sync::{
    mpsc::{self, error::TrySendError},
    oneshot,
};

use crate::{
    api::types::{
        Accepted, AgentList, AgentObject, DiffReport, GenerationList, PlanReport, StatusSummary,
    },
    reconcile::message::Message,
    specs::Loaded,
};

/// Most messages that wait for the loop; beyond it, senders wait.
pub const INBOX_MAX: usize = 4096;

/// The loop has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the node daemon is shutting down")]
pub struct Gone;

/// What an operator can ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Stop and start an agent.
    Restart {
        /// Which.
        agent: AgentName,
    },
    /// Observe and record, but do not act.
    Pause {
        /// Which; `None`: all, also future ones.
        agent: Option<AgentName>,
        /// Given by the operator.
        reason: String,
    },
    /// Go back to another generation, and stay there until the spec changes.
    Rollback {
        /// Which agent.
        agent: AgentName,
        /// The number of the generation; `None`: the newest Good one other than the active one.
        to: Option<u64>,
    },
    /// Go back to another generation of the whole machine.
    RollbackSystem {
        /// Its number; `None`: the newest Good one other than what runs.
        to: Option<u64>,
    },
    /// Hash all that an agent's generations need.
    Verify {
        /// Which agent.
        agent: AgentName,
    },
    /// Hash all that the generations of the machine need.
    VerifySystem,
    /// End a pause.
    Resume {
        /// Which; `None`: the pause of all.
        agent: Option<AgentName>,
    },
}

impl Command {
    /// As it is called on the command line.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Restart { .. } => "restart",
            Self::Pause { .. } => "pause",
            Self::Resume { .. } => "resume",
            Self::Verify { .. } => "verify",
            Self::VerifySystem => "verify --system",
            Self::RollbackSystem { .. } => "rollback --system",
            Self::Rollback { .. } => "rollback",
        }
    }

    /// The agent it concerns, if it concerns one.
    pub fn agent(&self) -> Option<&AgentName> {
        match self {
            Self::Restart { agent } | Self::Rollback { agent, .. } | Self::Verify { agent } => {
                Some(agent)
            }
            Self::Pause { agent, .. } | Self::Resume { agent } => agent.as_ref(),
            Self::RollbackSystem { .. } | Self::VerifySystem => None,
        }
    }
}

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum CommandError {
    #[error("there is no agent {0}")]
    NoSuchAgent(AgentName),
    /// It makes no sense as things are.
    #[error("{0}")]
    Impossible(String),
    #[error(transparent)]
    Gone(#[from] Gone),
}

/// A question to the loop.
#[derive(Debug)]
#[allow(missing_docs)]
pub enum Query {
    Ping(oneshot::Sender<()>),
    Status(oneshot::Sender<AgentList>),
    Summary(oneshot::Sender<StatusSummary>),
    Agent(AgentName, oneshot::Sender<Option<AgentObject>>),
    Generations(
        AgentName,
        oneshot::Sender<Option<Result<GenerationList, String>>>,
    ),
    SystemGenerations(oneshot::Sender<Option<Result<GenerationList, String>>>),
    /// With the limits in force, as read back from the system just now.
    Diff(BTreeMap<AgentName, Limits>, oneshot::Sender<DiffReport>),
    /// With specs: as if these were desired.
    Plan(Option<Box<Loaded>>, oneshot::Sender<PlanReport>),
}

/// A way to speak to the loop. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    inbox: mpsc::Sender<Message>,
}

impl Handle {
    /// A handle that writes to `inbox`.
    pub fn new(inbox: mpsc::Sender<Message>) -> Self {
        Self { inbox }
    }

    /// Messages that wait for the loop.
    pub fn waiting(&self) -> usize {
        self.inbox.max_capacity() - self.inbox.capacity()
    }

    async fn ask<T>(&self, query: impl FnOnce(oneshot::Sender<T>) -> Query) -> Result<T, Gone> {
        let (sender, answer) = oneshot::channel();
        self.inbox
            .send(Message::Query(query(sender)))
            .await
            .map_err(|_| Gone)?;
        answer.await.map_err(|_| Gone)
    }

    /// Every agent, and the node. The ledger's part is filled in by the API.
    ///
    /// # Errors
    /// [`Gone`], here and below.
    pub async fn status(&self) -> Result<AgentList, Gone> {
        self.ask(Query::Status).await
    }

    /// The node, and a line for each agent.
    pub async fn summary(&self) -> Result<StatusSummary, Gone> {
        self.ask(Query::Summary).await
    }

    /// One agent.
    pub async fn agent(&self, name: AgentName) -> Result<Option<AgentObject>, Gone> {
        self.ask(|sender| Query::Agent(name, sender)).await
    }

    /// The generations of one agent, or why they cannot be read.
    pub async fn generations(
        &self,
        name: AgentName,
    ) -> Result<Option<Result<GenerationList, String>>, Gone> {
        self.ask(|sender| Query::Generations(name, sender)).await
    }

    /// The generations of the machine, or why they cannot be read; `None`: this is not NixOS.
    pub async fn system_generations(&self) -> Result<Option<Result<GenerationList, String>>, Gone> {
        self.ask(Query::SystemGenerations).await
    }

    /// Desired against observed; `limits`: what holds on those that run, which the loop itself
    /// does not read.
    pub async fn diff(&self, limits: BTreeMap<AgentName, Limits>) -> Result<DiffReport, Gone> {
        self.ask(|sender| Query::Diff(limits, sender)).await
    }

    /// What a reconcile would do now; with specs: if these were desired.
    pub async fn plan(&self, specs: Option<Loaded>) -> Result<PlanReport, Gone> {
        self.ask(|sender| Query::Plan(specs.map(Box::new), sender))
            .await
    }

    /// Carries out a command; answered once it is on record.
    ///
    /// # Errors
    /// [`CommandError`].
    pub async fn command(&self, command: Command, actor: Actor) -> Result<Accepted, CommandError> {
        let (sender, answer) = oneshot::channel();
        let message = Message::Command {
            command,
            actor,
            reply: sender,
        };
        self.inbox.send(message).await.map_err(|_| Gone)?;
        answer.await.map_err(|_| Gone)?
    }

    /// Puts a command on record that its caller had no right to give, and tried so many times.
    /// Waits for nothing; a loop that is gone makes the refusal no less final.
    ///
    /// Call it within the scheduler.
    pub fn refused(&self, command: Command, actor: Actor, attempts: u64) {
        let message = Message::Refused {
            command,
            actor,
            attempts,
        };
        if let Err(TrySendError::Full(message)) = self.inbox.try_send(message) {
            let inbox = self.inbox.clone();
            tokio::spawn(async move { inbox.send(message).await.ok() });
        }
    }

    /// Answered by a loop that turns.
    pub async fn ping(&self) -> Result<(), Gone> {
        self.ask(Query::Ping).await
    }

    /// Ends the loop, and the agents first unless they are to be kept.
    pub async fn shutdown(&self, reason: String, keep_agents: bool) -> Result<(), Gone> {
        let message = Message::Shutdown {
            reason,
            keep_agents,
        };
        self.inbox.send(message).await.map_err(|_| Gone)
    }

    /// New desired state.
    pub async fn specs(&self, specs: SpecsRead) -> Result<(), Gone> {
        self.inbox
            .send(Message::Specs(specs))
            .await
            .map_err(|_| Gone)
    }
}

/// The desired state as read just now, or why it could not be read at all.
pub type SpecsRead = Result<Arc<Loaded>, String>;
