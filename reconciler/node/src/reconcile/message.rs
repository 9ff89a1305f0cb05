//! What others tell or ask the loop. (The runtime's events and the outcomes of the loop's own
//! actions reach it on ways of their own.)

use osmoda_core::event::Actor;
use tokio::sync::oneshot;

use crate::{
    api::types::Accepted,
    handle::{Command, CommandError, Query, SpecsRead},
};

/// A message to the loop.
#[derive(Debug)]
#[allow(missing_docs)]
pub enum Message {
    /// The desired state was read.
    Specs(SpecsRead),
    Command {
        command: Command,
        actor: Actor,
        reply: oneshot::Sender<Result<Accepted, CommandError>>,
    },
    /// A command of somebody who has no right to give it, tried so many times.
    Refused {
        command: Command,
        actor: Actor,
        attempts: u64,
    },
    Query(Query),
    /// End, and stop the agents first unless they are to be kept.
    Shutdown {
        reason: String,
        keep_agents: bool,
    },
}
