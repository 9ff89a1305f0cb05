//! Hours of ordinary life of many agents: what the loop holds must not grow with time.

use std::time::Duration;

use osmoda_core::name::AgentName;
use osmoda_node::reconcile::journal::Journal as _;

use super::{Simulation, Violation, blueprint::Quality, sabotage::Sabotage, scheduler};
use crate::fake_runtime::conduct::{Conduct, Lasts};

/// Time between two things that happen.
const EVERY: Duration = Duration::from_secs(300);
/// Time at the end of each hour in which nothing happens, so that all is at rest when it is
/// measured.
const REST: Duration = Duration::from_secs(600);
const HOUR: Duration = Duration::from_secs(3600);

/// What is held at the end of an hour, while everything is at rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Tasks of the loop, its detectors and the fake agents.
    pub tasks: usize,
    /// Bytes of what the loop remembers of all agents.
    pub memory: usize,
    /// Instances that live.
    pub alive: usize,
    /// Agents that do not live though nothing is wrong with their deploy, nor with those of the
    /// agents that they wait for.
    pub missing: usize,
    /// Entries in the ledger.
    pub entries: u64,
}

/// Lets `agents` live for `hours`, and tells at the end of each what is held.
///
/// # Errors
/// The first broken promise.
pub fn live(seed: u64, agents: usize, hours: usize) -> Result<Vec<Held>, Box<Violation>> {
    scheduler().block_on(async {
        let names: Vec<_> = (0..agents).map(|n| format!("agent-{n:02}")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let mut simulation = Simulation::new(seed, Sabotage::None, &names);
        let lived = simulation.live(hours).await;
        lived.map_err(|what| simulation.violation(what))
    })
}

impl Simulation {
    async fn live(&mut self, hours: usize) -> Result<Vec<Held>, String> {
        self.start_daemon().await?;
        for agent in self.names.clone() {
            self.declare_always(&agent, Quality::Good);
        }
        self.tell_specs().await?;
        let mut held = Vec::with_capacity(hours);
        for hour in 0..hours {
            self.step = hour;
            let begun = tokio::time::Instant::now();
            while begun.elapsed() + REST < HOUR {
                self.something_ordinary().await?;
                tokio::time::sleep(EVERY).await;
                self.check()?;
            }
            for agent in &self.names {
                let well = Conduct::default();
                self.world.order_conduct(agent, well, Lasts::UntilOrdered);
            }
            tokio::time::sleep(HOUR.saturating_sub(begun.elapsed())).await;
            self.check()?;
            held.push(self.held()?);
        }
        Ok(held)
    }

    async fn something_ordinary(&mut self) -> Result<(), String> {
        let agent = self.names[self.random.usize(..self.names.len())].clone();
        let said = match self.random.u8(..8) {
            0..=2 => self.crash(&agent),
            3 | 4 => self.fall_ill(&agent),
            5 => {
                self.declare_always(&agent, Quality::Crashes(0));
                self.tell_specs().await?;
                format!("{agent} gets a bad deploy")
            }
            6 => {
                self.declare_always(&agent, Quality::Good);
                self.tell_specs().await?;
                format!("{agent} gets a good deploy")
            }
            _ => self.restart_daemon().await?,
        };
        self.history.push(format!("{:5} {said}", self.step));
        Ok(())
    }

    fn held(&self) -> Result<Held, String> {
        let memory = self.disk.state("agent/")?;
        Ok(Held {
            tasks: tokio::runtime::Handle::current()
                .metrics()
                .num_alive_tasks(),
            memory: memory.values().map(Vec::len).sum(),
            alive: self.names.iter().map(|agent| self.world.alive(agent)).sum(),
            missing: self
                .names
                .iter()
                .filter(|agent| self.is_missing(agent))
                .count(),
            entries: self.disk.head().size,
        })
    }

    fn is_missing(&self, agent: &AgentName) -> bool {
        self.world.alive(agent) == 0 && self.can_run(agent)
    }

    fn can_run(&self, agent: &AgentName) -> bool {
        let needed = self.blueprint.depends_on(agent);
        self.monitor.runs_good(agent) && needed.iter().all(|agent| self.can_run(agent))
    }
}
