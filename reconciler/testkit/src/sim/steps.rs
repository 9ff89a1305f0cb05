//! What can happen in one step, and what can go wrong around the agents.

use std::{io, time::Duration};

use osmoda_core::{name::AgentName, observed::ExitStatus};
use osmoda_runtime::{StartError, StopError};

use super::Simulation;
use crate::fake_runtime::fault::{EventFault, StartFault, StopFault};

/// What the host cannot do in a start that it refuses.
pub const HOST_REFUSES: &str = "fork";

impl Simulation {
    pub(super) async fn one_step(&mut self) -> Result<(), String> {
        let agent = self.names[self.random.usize(..self.names.len())].clone();
        let kinds = if self.is_nixos { 54 } else { 42 };
        let said = match self.random.u8(..kinds) {
            0..=2 => self.crash(&agent),
            3 | 4 => self.crash_with_dependents(&agent),
            5..=9 => self.change_specs(&agent).await?,
            10..=13 => self.deploy_badly(&agent).await?,
            14 | 15 => self.deploy_again(&agent).await?,
            16..=20 => self.fall_ill(&agent),
            21 | 22 => self.get_well(&agent),
            23 => self.say(&agent),
            24 => self.order_start_fault(&agent),
            25 => self.order_stop_fault(&agent),
            26 | 27 => self.order_event_fault(&agent),
            28 => self.make_unknown(&agent),
            29 => self.fill_disk(),
            30 => self.fail_profiles(),
            31 => self.jump_clock(),
            32 | 33 => self.switch_profile(&agent),
            34 => self.delete_generation(&agent),
            35 => self.spoil_bundle(&agent),
            36 | 37 => self.operate(&agent).await?,
            38 | 39 => self.restart_daemon().await?,
            40 => self.die_in_rollback(&agent).await?,
            41 => self.lose_power().await?,
            42..=44 => self.deploy_system().await?,
            45..=49 => self.deploy_bad_system(&agent).await?,
            50 | 51 => self.touch_system().await?,
            52 => self.order_switch_fault(),
            _ => self.operate_system().await,
        };
        self.history.push(format!("{:5} {said}", self.step));
        let pause = self.any_pause();
        self.pass(pause).await
    }

    /// From an instant, in which everything is still under way, to minutes.
    pub(super) fn any_pause(&mut self) -> Duration {
        match self.random.u8(..4) {
            0 => Duration::from_micros(self.random.u64(..600)),
            1 => Duration::from_millis(self.random.u64(..300)),
            2 => Duration::from_secs(self.random.u64(..15)),
            _ => Duration::from_secs(self.random.u64(..120)),
        }
    }

    fn any_exit(&mut self) -> ExitStatus {
        match self.random.u8(..4) {
            0 => ExitStatus::Code { code: 0 },
            1 => ExitStatus::Code { code: 1 },
            2 => ExitStatus::Signal {
                signal: 9,
                core_dumped: false,
            },
            _ => ExitStatus::Signal {
                signal: 11,
                core_dumped: true,
            },
        }
    }

    pub(super) fn crash(&mut self, agent: &AgentName) -> String {
        let status = self.any_exit();
        match self.world.crash(agent, status) {
            true => format!("{agent} ends: {status}"),
            false => format!("{agent} does not run"),
        }
    }

    /// Something takes an agent down and all who depend on it, in either order.
    fn crash_with_dependents(&mut self, agent: &AgentName) -> String {
        let mut all = self.blueprint.dependents(agent);
        all.push(agent.clone());
        self.random.shuffle(&mut all);
        let ends: Vec<_> = all.iter().map(|agent| self.crash(agent)).collect();
        ends.join("; ")
    }

    fn order_start_fault(&mut self, agent: &AgentName) -> String {
        let refused = || io::Error::from(rustix::io::Errno::NOMEM);
        let time = Duration::from_millis(self.random.u64(..5000));
        let fault = match self.random.u8(..4) {
            0 => StartFault::Fail(StartError::System {
                what: HOST_REFUSES.into(),
                source: refused(),
            }),
            1 => StartFault::Fail(StartError::Invalid {
                what: "exec".into(),
                source: refused(),
            }),
            2 => StartFault::HangBefore(time),
            _ => StartFault::HangAfter(time),
        };
        let said = format!("the next start of {agent}: {fault:?}");
        self.monitor.disturb(Some(agent));
        self.world.order_start(agent, fault);
        said
    }

    fn order_stop_fault(&mut self, agent: &AgentName) -> String {
        let time = Duration::from_millis(self.random.u64(..20_000));
        let fault = match self.random.bool() {
            true => StopFault::Hang(time),
            false => StopFault::Fail(StopError::System {
                what: "kill".into(),
                source: io::Error::from(io::ErrorKind::PermissionDenied),
            }),
        };
        let said = format!("the next stop of {agent}: {fault:?}");
        self.monitor.disturb(Some(agent));
        self.world.order_stop(agent, fault);
        said
    }

    fn order_event_fault(&mut self, agent: &AgentName) -> String {
        let fault = match self.random.u8(..3) {
            0 => EventFault::Lost,
            1 => EventFault::Late(Duration::from_millis(self.random.u64(..10_000))),
            _ => EventFault::Doubled,
        };
        self.world.order_event(agent, fault);
        format!("the next news of {agent}: {fault:?}")
    }

    fn make_unknown(&mut self, agent: &AgentName) -> String {
        let reason = self.random.bool().then_some("ordered by the simulator");
        self.world.set_unknown(agent, reason);
        self.monitor.disturb(Some(agent));
        format!(
            "{agent} can{} be inspected",
            if reason.is_some() { "not" } else { "" }
        )
    }

    fn fill_disk(&mut self) -> String {
        // In every other seed no record is ever lost, so that none may be missing.
        let full = self.random.bool() && self.seed.is_multiple_of(2);
        self.disk.set_full(full);
        format!("the disk is {}", if full { "full" } else { "not full" })
    }

    fn fail_profiles(&mut self) -> String {
        let count = self.random.u32(..4);
        self.profiles.fail_next(count);
        format!("the next {count} profile changes fail")
    }

    fn jump_clock(&mut self) -> String {
        let seconds = self.random.i64(-7200..7200);
        self.clock.jump_wall(seconds * 1_000_000);
        format!("the wall clock jumps by {seconds} s")
    }

    pub(super) async fn restart_daemon(&mut self) -> Result<String, String> {
        self.kill_daemon().await;
        let pause = self.any_pause();
        tokio::time::sleep(pause).await;
        self.start_daemon().await?;
        Ok(format!("the daemon dies and is back after {pause:?}"))
    }

    async fn lose_power(&mut self) -> Result<String, String> {
        let pause = self.any_pause();
        self.reboot(pause).await?;
        Ok(format!(
            "the machine loses its power and is back after {pause:?}"
        ))
    }
}
