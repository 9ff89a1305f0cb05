//! Restarts that are prepared before they are decided, where something else is decided.

use std::time::Duration;

use osmoda_core::observed::ExitStatus;

use super::{
    Simulation, Violation,
    blueprint::{Blueprint, Quality},
    monitor::Preparations,
    sabotage::Sabotage,
    scheduler,
};

/// Time in which two agents are proven, and in which they are back.
const WELL_WITHIN: Duration = Duration::from_secs(30);

/// How it came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// What became of all prepared starts.
    pub preparations: Preparations,
    /// How often each agent was started.
    pub starts: [u64; 2],
    /// How many of them run, and are well.
    pub well: usize,
}

/// An agent and one that waits for it end in the same instant. Both restarts are likely, and the
/// second one is not made then: its agent is held.
///
/// # Errors
/// The first broken promise.
pub fn cascade() -> Result<Outcome, Box<Violation>> {
    scheduler().block_on(async {
        let mut simulation = Simulation::new(0, Sabotage::None, &["alpha", "beta"]);
        simulation.blueprint = Blueprint::plain(&simulation.names);
        let played = simulation.end_together().await;
        played.map_err(|what| simulation.violation(what))
    })
}

impl Simulation {
    async fn end_together(&mut self) -> Result<Outcome, String> {
        self.start_daemon().await?;
        for agent in self.names.clone() {
            self.declare_always(&agent, Quality::Good);
        }
        self.tell_specs().await?;
        tokio::time::sleep(WELL_WITHIN).await;
        for agent in &self.names {
            if !self.world.crash(agent, ExitStatus::Code { code: 1 }) {
                return Err(format!("{agent} does not run"));
            }
        }
        tokio::time::sleep(WELL_WITHIN).await;
        self.check()?;
        let truths = self.names.iter().map(|agent| self.world.truth(agent));
        Ok(Outcome {
            preparations: self.monitor.preparations(),
            starts: [0, 1].map(|n| self.world.starts(&self.names[n])),
            well: truths.flatten().filter(|truth| truth.is_well).count(),
        })
    }
}
