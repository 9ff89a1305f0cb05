//! The machine around the agents, where it is a NixOS: systems that bring specs, people who
//! switch, delete and damage them, and switches that go wrong in every way.
//!
//! A system holds the specs of the moment it was made. Whoever makes it run - a person, a boot,
//! osmoda's own rollback - makes those the desired ones, as NixOS does with /etc.
//! Where to start: [`Simulation::deploy_system`] and [`Simulation::pass`].

use std::{collections::BTreeMap, time::Duration};

use osmoda_core::{name::AgentName, observed::Generation};
use osmoda_nix::system::{Fault, SwitchExit, SwitchStep, SystemSwitcher as _};
use osmoda_node::handle::Command;

use super::{
    Simulation,
    blueprint::{Declaration, Quality},
};

/// Time between two looks at what runs: a daemon's own is not shorter.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What each system declares, by its store path.
#[derive(Debug, Default)]
pub struct Systems {
    declared: BTreeMap<String, BTreeMap<AgentName, Declaration>>,
    /// What ran when it was looked at last.
    current: String,
    made: u64,
}

/// Store path of the n-th system.
pub fn system_path(n: u64) -> String {
    format!("/system/{n}")
}

impl Simulation {
    /// A machine that runs its first system, which declares nothing.
    pub(super) fn boot_first(&mut self) {
        self.systems.current = system_path(0);
        self.systems
            .declared
            .insert(system_path(0), BTreeMap::new());
    }

    /// A new system of what is desired now runs, by a person's `nixos-rebuild switch`.
    pub(super) async fn deploy_system(&mut self) -> Result<String, String> {
        self.systems.made += 1;
        let path = system_path(self.systems.made);
        self.systems
            .declared
            .insert(path.clone(), self.desired.clone());
        self.systems.current.clone_from(&path);
        let generation = self.machine.deploy(&path);
        self.tell_specs().await?;
        Ok(format!("system {} is deployed", generation.number))
    }

    /// A system with an agent that is new, or whose last hope the system is. Agents that ask for
    /// that come first.
    pub(super) async fn deploy_bad_system(&mut self, agent: &AgentName) -> Result<String, String> {
        let asks = |name: &&AgentName| self.blueprint.escalates(name);
        let agent = (self.names.iter().find(asks).cloned()).unwrap_or_else(|| agent.clone());
        let quality = match self.random.u8(..3) {
            0 => Quality::CannotStart,
            1 => Quality::Crashes(0),
            _ => Quality::NeverReady,
        };
        let said = self.declare(&agent, quality);
        Ok(format!("{said}; {}", self.deploy_system().await?))
    }

    /// A person makes an earlier system run again, or deletes it, or a bit of it flips.
    pub(super) async fn touch_system(&mut self) -> Result<String, String> {
        let listed = self.machine.generations().unwrap_or_default();
        let Generation { number, store_path } = listed[self.random.usize(..listed.len())].clone();
        match self.random.u8(..3) {
            0 => {
                self.machine.switch_from_outside(number);
                self.follow_machine().await?;
                Ok(format!("somebody makes system {number} run"))
            }
            1 => {
                self.machine.delete(number);
                self.monitor.spoil_system(&store_path);
                Ok(format!("somebody deletes system {number}"))
            }
            _ => {
                self.machine.damage(&store_path);
                self.monitor.spoil_system(&store_path);
                Ok(format!("system {number} is damaged"))
            }
        }
    }

    /// The next switches end in some way, or find somebody else's under way.
    pub(super) fn order_switch_fault(&mut self) -> String {
        let exits = [
            SwitchExit::Done,
            SwitchExit::Refused,
            SwitchExit::ActivationFailed,
            SwitchExit::UnitsFailed(vec!["nginx.service".to_owned()]),
            SwitchExit::LockHeld,
            SwitchExit::RebootNeeded,
            SwitchExit::Other(3),
            SwitchExit::Killed(9),
        ];
        let exit = exits[self.random.usize(..exits.len())].clone();
        let takes = Duration::from_millis(self.random.u64(..60_000));
        let held = Duration::from_secs(self.random.u64(..900));
        match self.random.u8(..4) {
            0 => self.machine.hold_lock(held),
            1 => {
                let step = SwitchStep::ALL[self.random.usize(..SwitchStep::ALL.len())];
                let fault = match self.random.bool() {
                    true => Fault::Error,
                    false => Fault::Death,
                };
                self.machine.fail_at(step, fault);
                return format!("at {step:?} of the next switch: {fault:?}");
            }
            _ => self.machine.next_exits(std::slice::from_ref(&exit), takes),
        }
        format!("the next switch takes {takes:?} and ends with {exit:?}, or waits {held:?}")
    }

    pub(super) async fn operate_system(&mut self) -> String {
        let listed = self.machine.generations().unwrap_or_default();
        let to = match self.random.bool() {
            true => None,
            false => Some(listed[self.random.usize(..listed.len())].number),
        };
        let command = match self.random.u8(..3) {
            0 => Command::VerifySystem,
            _ => Command::RollbackSystem { to },
        };
        let said = format!("an operator says {command:?}");
        self.command(command).await;
        said
    }

    /// Lets time pass; what the machine does meanwhile has its consequences.
    pub(super) async fn pass(&mut self, time: Duration) -> Result<(), String> {
        if !self.is_nixos {
            tokio::time::sleep(time).await;
            return Ok(());
        }
        let until = tokio::time::Instant::now() + time;
        loop {
            let left = until.saturating_duration_since(tokio::time::Instant::now());
            tokio::time::sleep(left.min(LOOK_EVERY)).await;
            self.follow_machine().await?;
            if left <= LOOK_EVERY {
                return Ok(());
            }
        }
    }

    /// A system that runs brings its specs; a daemon that is to die in a switch dies.
    pub(super) async fn follow_machine(&mut self) -> Result<(), String> {
        if !self.is_nixos {
            return Ok(());
        }
        if self.machine.is_stuck() {
            self.machine.end_death();
            self.history
                .push("      the daemon dies in a switch".into());
            self.kill_daemon().await;
            self.start_daemon().await?;
        }
        let current = self.machine.current();
        if current == self.systems.current {
            return Ok(());
        }
        self.history.push(format!("      {current} runs"));
        let declared = self.systems.declared.get(&current);
        self.desired = declared.cloned().ok_or("an unknown system runs")?;
        self.systems.current = current;
        self.tell_specs().await
    }

    /// Once every agent is well.
    pub(super) fn check_judged(&self) -> Result<(), String> {
        match self.is_nixos {
            true => self.monitor.check_judged(&self.machine.current()),
            false => Ok(()),
        }
    }

    /// Once the faults have ended: no switch is open, and what runs is what somebody chose, or
    /// the last known good.
    pub(super) fn check_machine(&self) -> Result<(), String> {
        match self.is_nixos {
            true => self.monitor.check_system(&self.machine.current()),
            false => Ok(()),
        }
    }
}
