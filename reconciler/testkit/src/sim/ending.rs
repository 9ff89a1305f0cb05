//! What must hold once the faults have ended.
//!
//! First nobody mends anything: bad deploys are still there, and each agent must have come to
//! rest on what is desired, on the last known good, or on what somebody chose. Then whoever
//! still runs something bad gets a fixed spec, and everything must be as desired, ready, and
//! silent.

use std::time::Duration;

use osmoda_core::{name::AgentName, spec::Rollback, status::Phase};
use osmoda_node::handle::Command;

use super::{Simulation, blueprint::Quality, sabotage::Sabotage};
use crate::fake_runtime::conduct::{Conduct, Lasts};

/// Simulated time in which the world must come to rest, both times: the longest hang that is
/// ordered, a resync, a spent budget, and the slowest probes of a chain of agents, with room.
const REST_WITHIN: Duration = Duration::from_secs(300);
/// Longest stop of a chain of agents, with room.
const ENDED_WITHIN: Duration = Duration::from_secs(120);
/// How long nothing may be written afterwards.
const QUIET: Duration = Duration::from_secs(30);

impl Simulation {
    pub(super) async fn end(&mut self) -> Result<(), String> {
        self.end_faults().await?;
        self.pass(REST_WITHIN).await?;
        self.check()?;
        for agent in self.desired.keys() {
            let declared = self.blueprint.manifest(agent, self.desired[agent]);
            let rolls_back = declared.spec.rollout.rollback != Rollback::Never;
            self.monitor.check_active(agent, rolls_back)?;
        }
        self.check_machine()?;
        self.mend().await?;
        self.pass(REST_WITHIN).await?;
        self.check()?;
        self.check_machine()?;
        self.check_converged().await?;
        self.check_judged()?;
        match self.monitor.preparations().under_way {
            0 => {}
            left => return Err(format!("{left} prepared starts were kept")),
        }
        let size = self.disk.head().size;
        tokio::time::sleep(QUIET).await;
        match self.disk.head().size - size {
            0 => self.shut_down().await,
            news => {
                let said = self
                    .disk
                    .entries(size)
                    .into_iter()
                    .map(|stored| stored.entry);
                let said: Vec<_> = said.map(|entry| entry.to_string()).collect();
                Err(format!(
                    "{news} entries were written although nothing happened:\n{}",
                    said.join("\n")
                ))
            }
        }
    }

    /// At last the daemon is told to end, and takes its agents along in the order of their
    /// dependencies.
    async fn shut_down(&mut self) -> Result<(), String> {
        if self.sabotage == Sabotage::StopsInAnyOrder {
            self.forget_dependencies().await?;
        }
        self.history.push("      the daemon is told to end".into());
        let daemon = self.daemon.take().ok_or("there is no daemon")?;
        let told = daemon.handle.shutdown("SIGTERM".into(), false).await;
        told.map_err(|gone| gone.to_string())?;
        let ended = tokio::time::timeout(ENDED_WITHIN, daemon.task).await;
        let ended = ended.map_err(|_| format!("the daemon has not ended in {ENDED_WITHIN:?}"))?;
        ended.map_err(|failed| failed.to_string())?;
        self.check()?;
        let left = self.world.running();
        match left.is_empty() {
            true => Ok(()),
            false => Err(format!("the daemon has ended and left {left:?}")),
        }
    }

    /// While it is paused the loop acts on no spec, and so nothing but its end shows this.
    async fn forget_dependencies(&mut self) -> Result<(), String> {
        let pause = Command::Pause {
            agent: None,
            reason: "sabotage".to_owned(),
        };
        self.command(pause).await;
        self.sabotage = Sabotage::IgnoresDependencies;
        self.tell_specs().await
    }

    async fn end_faults(&mut self) -> Result<(), String> {
        self.history.push("      the faults end".into());
        self.disk.set_full(false);
        self.profiles.fail_next(0);
        self.profiles.remove_damaged();
        self.world.end_faults();
        self.follow_machine().await?;
        self.machine.end_faults();
        self.monitor.disturb(None);
        for agent in &self.names {
            let well = Conduct::default();
            self.world.order_conduct(agent, well, Lasts::UntilOrdered);
            self.world.make_ready(agent);
        }
        if self.daemon.is_none() {
            self.start_daemon().await?;
        }
        self.tell_specs().await?;
        self.resume_all().await;
        Ok(())
    }

    /// Who still runs a bad deploy, or has failed for good, gets one that is good.
    async fn mend(&mut self) -> Result<(), String> {
        let daemon = self.daemon.as_ref().ok_or("there is no daemon")?;
        let status = daemon
            .handle
            .status()
            .await
            .map_err(|gone| gone.to_string())?;
        for agent in self.desired.keys().cloned().collect::<Vec<_>>() {
            let item = status
                .items
                .iter()
                .find(|i| i.metadata.name == agent.as_str());
            let failed = item.is_some_and(|item| item.status.phase == Phase::Failed);
            let runs_bad = !self.monitor.runs_good(&agent);
            if failed || runs_bad || self.desired[&agent].quality != Quality::Good {
                let said = self.declare(&agent, Quality::Good);
                self.history.push(format!("      mended: {said}"));
            }
        }
        self.tell_specs().await
    }

    /// Everything is as desired.
    async fn check_converged(&mut self) -> Result<(), String> {
        let daemon = self.daemon.as_ref().ok_or("there is no daemon")?;
        let diff = daemon.handle.diff(Default::default()).await;
        let diff = diff.map_err(|gone| gone.to_string())?;
        let differences = diff.agents.iter().flat_map(|agent| &agent.differences);
        if differences.clone().any(|difference| !difference.is_kept()) {
            return Err(format!("not converged: {:?}", diff.agents));
        }
        let status = daemon
            .handle
            .status()
            .await
            .map_err(|gone| gone.to_string())?;
        for agent in &self.names {
            let item = status
                .items
                .iter()
                .find(|i| i.metadata.name == agent.as_str());
            self.check_at_rest(agent, item.map(|item| item.status.phase))?;
        }
        self.monitor.check_ends()
    }

    fn check_at_rest(&self, agent: &AgentName, phase: Option<Phase>) -> Result<(), String> {
        let alive = self.world.alive(agent);
        let truth = self.world.truth(agent);
        let works = truth.is_some_and(|truth| truth.serves && truth.is_well);
        match (self.desired.contains_key(agent), phase) {
            (false, None) if alive == 0 => Ok(()),
            (true, Some(Phase::Running)) if works => Ok(()),
            (true, Some(Phase::Running)) => {
                let truth = self.world.truth(agent);
                Err(format!(
                    "{agent} is not well, and nothing is done about it: {truth:?}"
                ))
            }
            (true, Some(Phase::Succeeded | Phase::Failed)) if alive == 0 => Ok(()),
            (declared, phase) => Err(format!(
                "{agent}: declared {declared}, {phase:?}, {alive} alive"
            )),
        }
    }
}
