//! `/metrics`: what a Prometheus server reads of the node. docs/metrics.md names every family.
//!
//! The loop only counts ([`Meters`]); a reading gathers the rest beside it and never asks the
//! loop anything, so that it neither waits for the loop nor holds it up. Invariants:
//! - the only unbounded label is the agent's name: a family has at most one series for each
//!   agent and each word of a fixed set, and an agent that is gone takes its series along;
//! - counters begin at zero with the daemon, as Prometheus expects;
//! - the text is OpenMetrics 1.0, or the older Prometheus text where that is asked for ([`text`]).
//!
//! Where to start: [`Metrics::read`]; over TCP, [`listen`].

mod families;
mod histogram;
pub mod listen;
mod meters;
mod process;
#[cfg(test)]
mod tests;
pub mod text;

use std::sync::Arc;

use osmoda_core::name::AgentName;

pub use self::meters::{Depths, Meters, Seen};
use self::{families::Gathered, text::Form};
use crate::{
    anchors,
    api::{EntrySource, Measures},
    detect::board::Board,
    handle::Handle,
};

/// Facts that never change while the daemon runs.
#[derive(Debug, Clone)]
pub struct Build {
    /// Version of the daemon.
    pub version: String,
    /// native or systemd.
    pub runtime: String,
}

/// Everything that a reading is gathered from.
pub struct Metrics {
    /// Facts of the daemon.
    pub build: Build,
    /// What the loop has counted.
    pub meters: Arc<Meters>,
    /// Its inbox; nothing is asked through it.
    pub handle: Handle,
    /// What agents use.
    pub measures: Arc<Measures>,
    /// The ledger's head.
    pub ledger: Arc<dyn EntrySource>,
    /// What carries checkpoints away.
    pub anchors: Arc<anchors::Board>,
    /// Counts notifications that were not taken in.
    pub board: Board,
}

impl Metrics {
    /// One reading, as text.
    pub async fn read(&self, form: Form) -> String {
        let counted = self.meters.read();
        let running = (counted.agents.iter())
            .filter_map(|(name, agent)| Some((name.clone(), agent.seen.running?)));
        let running: Vec<(AgentName, _)> = running.collect();
        let agents = counted.agents.keys().cloned().collect();
        let used = self.measures.use_of_all(&agents, running).await;
        let gathered = Gathered {
            build: &self.build,
            counted,
            used,
            messages: self.handle.waiting(),
            head: self.ledger.head(),
            anchors: self.anchors.all(),
            ignored: self.board.ignored(),
            process: process::read(),
        };
        gathered.text(form)
    }
}
