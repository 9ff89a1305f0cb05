//! What can happen in one step.

use std::{io, time::Duration};

use osmoda_core::{event::Actor, name::AgentName, observed::ExitStatus, spec::RestartPolicy};
use osmoda_node::handle::Command;
use osmoda_runtime::{StartError, StopError};

use super::{AGENTS, Simulation, manifest, name};
use crate::fake_runtime::fault::{EventFault, StartFault, StopFault};

/// The operator of all simulated commands.
fn operator() -> Actor {
    Actor::Operator {
        uid: 1000,
        gid: 1000,
        pid: 4242,
        command: "osmoda".into(),
    }
}

impl Simulation {
    pub(super) async fn one_step(&mut self) -> Result<(), String> {
        let agent = name(AGENTS[self.random.usize(..AGENTS.len())]);
        let said = match self.random.u8(..20) {
            0..=3 => self.crash(&agent),
            4..=6 => self.change_specs(&agent).await?,
            7 => self.order_start_fault(&agent),
            8 => self.order_stop_fault(&agent),
            9 | 10 => self.order_event_fault(&agent),
            11 => self.make_unknown(&agent),
            12 => self.fill_disk(),
            13 => self.fail_profiles(),
            14 => self.jump_clock(),
            15 => self.switch_profile(&agent),
            16 => self.operate(&agent).await?,
            17 | 18 => self.restart_daemon().await?,
            _ => "nothing".to_owned(),
        };
        self.history.push(format!("{:5} {said}", self.step));
        let pause = self.any_pause();
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// From an instant, in which everything is still under way, to minutes.
    fn any_pause(&mut self) -> Duration {
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

    fn crash(&mut self, agent: &AgentName) -> String {
        let status = self.any_exit();
        match self.world.crash(agent, status) {
            true => format!("{agent} ends: {status}"),
            false => format!("{agent} does not run"),
        }
    }

    async fn change_specs(&mut self, agent: &AgentName) -> Result<String, String> {
        let said = if self.desired.contains_key(agent) && self.random.u8(..3) == 0 {
            self.desired.remove(agent);
            format!("{agent} is removed from the specs")
        } else {
            self.versions += 1;
            let policy = match self.random.u8(..4) {
                0 => RestartPolicy::OnFailure,
                1 => RestartPolicy::Never,
                _ => RestartPolicy::Always,
            };
            let version = self.versions;
            self.desired
                .insert(agent.clone(), manifest(agent, version, policy));
            format!("{agent} is declared: v{version}, {policy:?}")
        };
        self.tell_specs().await?;
        Ok(said)
    }

    pub(super) async fn tell_specs(&mut self) -> Result<(), String> {
        let loaded = self.loaded();
        match &self.daemon {
            Some(daemon) => daemon
                .handle
                .specs(Ok(loaded.into()))
                .await
                .map_err(|e| e.to_string()),
            None => Ok(()),
        }
    }

    fn order_start_fault(&mut self, agent: &AgentName) -> String {
        let refused = || io::Error::from(io::ErrorKind::OutOfMemory);
        let time = Duration::from_millis(self.random.u64(..5000));
        let fault = match self.random.u8(..4) {
            0 => StartFault::Fail(StartError::System {
                what: "fork".into(),
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

    fn switch_profile(&mut self, agent: &AgentName) -> String {
        let number = self.random.u64(1..6);
        match self.profiles.switch_from_outside(agent, number) {
            true => format!("somebody switches {agent} to generation {number}"),
            false => format!("{agent} has no generation {number}"),
        }
    }

    async fn operate(&mut self, agent: &AgentName) -> Result<String, String> {
        let agent = agent.clone();
        let reason = "simulated".to_owned();
        let command = match self.random.u8(..4) {
            0 => Command::Pause {
                agent: Some(agent),
                reason,
            },
            1 => Command::Resume { agent: Some(agent) },
            2 => Command::Restart { agent },
            _ => Command::Resume { agent: None },
        };
        self.command(command.clone()).await;
        Ok(format!("an operator says {command:?}"))
    }

    pub(super) async fn resume_all(&mut self) -> Result<(), String> {
        self.command(Command::Resume { agent: None }).await;
        for agent in AGENTS.map(name) {
            self.command(Command::Resume { agent: Some(agent) }).await;
        }
        Ok(())
    }

    /// An unknown agent is refused, and that is as good as an answer here.
    async fn command(&mut self, command: Command) {
        if let Some(daemon) = &self.daemon {
            let _ = daemon.handle.command(command, operator()).await;
        }
    }

    async fn restart_daemon(&mut self) -> Result<String, String> {
        self.kill_daemon().await;
        let pause = self.any_pause();
        tokio::time::sleep(pause).await;
        self.start_daemon().await?;
        Ok(format!("the daemon dies and is back after {pause:?}"))
    }
}
