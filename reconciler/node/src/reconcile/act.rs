//! Carrying steps out. No choices are made here; outcomes come back as messages.

use std::{sync::Arc, time::Duration};

use osmoda_core::{
    digest::Digest,
    event::ActionKind,
    memory::{StartFailure, StartFailureKind},
    name::AgentName,
    observed::{Generation, Instance, InstanceState},
    outcome::Outcome,
    plan::Action,
};
use osmoda_nix::{profile::ProfileError, profiles::Profiles};
use osmoda_runtime::blocking::spawn_blocking;
use osmoda_runtime::{PreparedStart as _, Runtime, StartError, StartRequest, StopError, Stopped};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    task::{Id, JoinError},
};

use super::{Reconciler, Recorded, agent::InFlight, journal::Journal};
use crate::error::{chain, host_lacks};

/// Most starts at once: a host where everything fails still answers its callers. Waiting
/// starts are served in the order of their asking.
pub const STARTS_AT_ONCE: usize = 16;

/// How long after a start the loop and the log are told of it. The record of it costs an fsync,
/// whose work would take the processors away from the program that has just begun; and what a
/// storm of starts has to tell becomes one turn with one fsync instead of many.
const TOLD_AFTER: Duration = Duration::from_millis(2);

/// The same as long as other starts wait for their turn, but no more often than this: what has
/// begun is not left untold for long.
const TOLD_AFTER_MOST: u32 = 50;

/// A start that was prepared while its intent was written.
pub(super) struct Begun<S> {
    start: S,
    permit: OwnedSemaphorePermit,
    check: Check,
}

/// Whether the generation may be started, or why not: found out beside whatever else is done.
type Check = oneshot::Receiver<Result<(), StartFailure>>;

impl<R: Runtime, P: Profiles, J: Journal> Reconciler<R, P, J> {
    /// Has a start prepared, which changes nothing, while the record of its intent is on its way
    /// to the disk. `None`: it is not a start, or enough of them are being prepared or made.
    pub(super) fn prepare(
        &mut self,
        agent: &AgentName,
        action: &Action,
    ) -> Option<Begun<R::Prepared>> {
        self.prepare_request(request(agent, action)?)
    }

    /// As [`Self::prepare`].
    pub(super) fn prepare_request(&mut self, request: StartRequest) -> Option<Begun<R::Prepared>> {
        let permits = Arc::clone(&self.start_permits);
        let permit = permits.try_acquire_owned().ok()?;
        let generation = request.generation.clone();
        // First what has a thread of its own, then what may be looked at in place.
        let start = self.runtime.prepare(request);
        let check = self.check(generation);
        Some(Begun {
            start,
            permit,
            check,
        })
    }

    /// Looks whether a generation may be started. A bundle in a directory is one small file and
    /// looked at in place; a store and its database are not waited for.
    fn check(&mut self, generation: Generation) -> Check {
        let (told, check) = oneshot::channel();
        let profiles = Arc::clone(&self.profiles);
        let look = move || {
            let checked = profiles.check(&generation);
            // Nobody waits any longer: nothing is started.
            let _ = told.send(checked.map_err(|error| not_usable(&error)));
        };
        match self.offload {
            Offload::Thread if self.profiles.may_build() => self.standby.run(look),
            Offload::Thread | Offload::Inline => look(),
        }
        check
    }

    /// Begins what was recorded; each step is a task of its own.
    pub(super) fn act(&mut self, recorded: Vec<Recorded<R::Prepared>>) {
        let since = self.clock.mono();
        for Recorded {
            agent,
            step,
            intent,
            begun,
        } in recorded
        {
            let action = step.action;
            if let Some(state) = self.agents.get_mut(&agent) {
                let flight = InFlight {
                    action: action.clone(),
                    intent,
                    since,
                };
                state.in_flight = Some(Box::new(flight));
            }
            let say = Say {
                agent: agent.clone(),
                kind: action.kind(),
                reason: step.reason,
            };
            self.begin(agent, action, begun, say);
        }
    }

    fn begin(
        &mut self,
        agent: AgentName,
        action: Action,
        begun: Option<Begun<R::Prepared>>,
        say: Say,
    ) {
        let runtime = Arc::clone(&self.runtime);
        let profiles = Arc::clone(&self.profiles);
        let permits = Arc::clone(&self.start_permits);
        let offload = self.offload;
        let invocation = action.invocation();
        let name = agent.clone();
        // What was begun has its request already.
        let request = match begun {
            Some(_) => None,
            None => request(&name, &action),
        };
        let check = (request.as_ref()).map(|request| self.check(request.generation.clone()));
        // The word is given here and now, not when the task gets its turn.
        let word = begun.map(|mut begun| match begun.check.try_recv() {
            Ok(Ok(())) => Word::Given(begun.start.launch(), begun.permit),
            Ok(Err(why)) => Word::Refused(why),
            Err(_) => Word::Waits(begun),
        });
        let task = self.under_way.spawn(async move {
            match word {
                Some(Word::Given(launched, permit)) => {
                    return started(launched.await, permit, &permits, say).await;
                }
                Some(Word::Waits(begun)) => {
                    return match verdict(begun.check).await {
                        Ok(()) => {
                            let launched = begun.start.launch().await;
                            started(launched, begun.permit, &permits, say).await
                        }
                        Err(why) => Outcome::NotStarted(why),
                    };
                }
                Some(Word::Refused(why)) => return Outcome::NotStarted(why),
                None => {}
            }
            if let (Some(request), Some(check)) = (request, check) {
                if let Err(why) = verdict(check).await {
                    return Outcome::NotStarted(why);
                }
                return match Arc::clone(&permits).acquire_owned().await {
                    Ok(permit) => {
                        started(runtime.start(request).await, permit, &permits, say).await
                    }
                    Err(closed) => Outcome::Failed(chain(&closed)),
                };
            }
            say.acting();
            match action {
                Action::Start { .. } => Outcome::Failed("not to be started".into()),
                Action::Stop { invocation, stop } => {
                    stopped(runtime.stop(&name, invocation, &stop).await)
                }
                Action::Activate { .. } | Action::Switch { .. } | Action::Remove => {
                    let change = move || change_profile(&*runtime, &*profiles, &name, &action);
                    offload.run(change).await.unwrap_or_else(Outcome::Failed)
                }
            }
        });
        self.who.insert(task.id(), (agent, invocation));
    }

    /// Takes in the outcome of an action that ended, one that panicked included.
    pub(super) fn accept_ended(&mut self, ended: Result<(Id, Outcome), JoinError>) {
        let (id, outcome) = match ended {
            Ok(ended) => ended,
            Err(error) => (
                error.id(),
                Outcome::Failed(format!("osmoda itself failed: {error}")),
            ),
        };
        if let Some((agent, invocation)) = self.who.remove(&id) {
            self.accept_done(&agent, invocation, &outcome);
        }
    }

    /// Asks the runtime to look at everything again.
    pub(super) fn begin_resync(&mut self) {
        let runtime = Arc::clone(&self.runtime);
        self.resync = Some(Box::pin(async move {
            let found = runtime.observe().await;
            found.map_err(|error| chain(&error))
        }));
    }
}

/// Where blocking work on profiles is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offload {
    /// On a thread that may block.
    Thread,
    /// In place: for the simulator, whose profiles are in memory and whose order is fixed.
    Inline,
}

impl Offload {
    /// What the work gives, or why it came to no end.
    pub(super) async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, String> {
        match self {
            Self::Inline => Ok(work()),
            Self::Thread => spawn_blocking(work)
                .await
                .map_err(|error| format!("osmoda itself failed: {error}")),
        }
    }
}

/// Whether a prepared start may go.
enum Word<S, L> {
    /// It goes.
    Given(L, OwnedSemaphorePermit),
    /// Its generation is still being looked at.
    Waits(Begun<S>),
    /// Its generation is not to be started.
    Refused(StartFailure),
}

/// What a check came to.
async fn verdict(check: Check) -> Result<(), StartFailure> {
    let checked = check.await;
    checked.unwrap_or_else(|_| {
        Err(StartFailure {
            kind: StartFailureKind::System,
            message: "osmoda itself failed: the check came to no end".to_owned(),
        })
    })
}

fn not_usable(error: &ProfileError) -> StartFailure {
    let kind = match host_lacks(error) {
        true => StartFailureKind::Exhausted,
        false => StartFailureKind::Bundle,
    };
    StartFailure {
        kind,
        message: chain(error),
    }
}

/// What the runtime is asked for, if the action is a start.
fn request(agent: &AgentName, action: &Action) -> Option<StartRequest> {
    match action {
        Action::Start {
            invocation,
            generation,
            agent: declared,
        } => Some(StartRequest {
            agent: agent.clone(),
            invocation: *invocation,
            generation: generation.clone(),
            spec: Arc::clone(&declared.spec),
        }),
        _ => None,
    }
}

/// What the log is told of an action.
struct Say {
    agent: AgentName,
    kind: ActionKind,
    reason: &'static str,
}

impl Say {
    fn acting(&self) {
        let Self {
            agent,
            kind,
            reason,
        } = self;
        tracing::info!(agent = %agent, action = ?kind, reason, "acting");
    }
}

/// The outcome of a start, told after [`TOLD_AFTER`], in a storm once all have begun.
async fn started(
    result: Result<Instance, StartError>,
    permit: OwnedSemaphorePermit,
    permits: &Semaphore,
    say: Say,
) -> Outcome {
    drop(permit);
    if result.is_ok() {
        for _ in 0..TOLD_AFTER_MOST {
            tokio::time::sleep(TOLD_AFTER).await;
            if permits.available_permits() > 0 {
                break;
            }
        }
    }
    say.acting();
    outcome(result)
}

fn stopped(result: Result<Stopped, StopError>) -> Outcome {
    match result {
        Ok(stopped) => Outcome::Stopped {
            exit: stopped.exit,
            killed: stopped.killed,
        },
        Err(error) => Outcome::Failed(chain(&error)),
    }
}

fn change_profile(
    runtime: &impl Runtime,
    profiles: &impl Profiles,
    name: &AgentName,
    action: &Action,
) -> Outcome {
    let changed = match action {
        Action::Activate {
            agent,
            keep,
            protected,
            ..
        } => profiles.activate(name, &agent.manifest).map(|generation| {
            // What could not be deleted now is deleted with the next deploy.
            let pruned = profiles.prune(name, *keep, protected).unwrap_or_else(|error| {
                tracing::warn!(agent = %name, reason = %chain(&error), "old generations cannot be deleted");
                Vec::new()
            });
            Outcome::Activated { generation, pruned }
        }),
        Action::Switch { to, .. } => return switch(profiles, name, to),
        Action::Remove => profiles.remove(name).map(|()| {
            runtime.forget(name);
            Outcome::Removed
        }),
        Action::Start { .. } | Action::Stop { .. } => {
            return Outcome::Failed("not of a profile".into());
        }
    };
    changed.unwrap_or_else(|error| Outcome::Failed(chain(&error)))
}

/// Goes to a recorded generation, if it is still what was recorded.
fn switch(profiles: &impl Profiles, name: &AgentName, to: &Generation) -> Outcome {
    use ProfileError::{Bundle, NoSuchGeneration, TargetChanged};
    let switched = profiles
        .manifest(to)
        .and_then(|manifest| profiles.switch(name, to).map(|()| manifest));
    match switched {
        Ok(manifest) => Outcome::Switched {
            digest: Digest::of(manifest.as_bytes()),
        },
        Err(error @ (Bundle { .. } | NoSuchGeneration { .. } | TargetChanged { .. })) => {
            Outcome::Unusable(chain(&error))
        }
        Err(error) => Outcome::Failed(chain(&error)),
    }
}

fn outcome(result: Result<Instance, StartError>) -> Outcome {
    let error = match result {
        Ok(instance) => {
            let pid = match instance.state {
                InstanceState::Running { pid } => pid,
                InstanceState::Exited(_) => 0, // ended already; its exit is news of its own
            };
            return Outcome::Started { pid };
        }
        Err(error) => error,
    };
    let kind = match &error {
        StartError::AlreadyRunning { .. } => return Outcome::AlreadyRunning(chain(&error)),
        StartError::Credential { .. } => StartFailureKind::Credential,
        StartError::Invalid { .. } => StartFailureKind::Invalid,
        StartError::System { .. } if host_lacks(&error) => StartFailureKind::Exhausted,
        StartError::System { .. } => StartFailureKind::System,
    };
    Outcome::NotStarted(StartFailure {
        kind,
        message: chain(&error),
    })
}
