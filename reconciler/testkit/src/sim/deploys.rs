//! Steps that deploy, well and badly, and those in which people change profiles by hand.

use std::time::Duration;

use osmoda_core::{event::Actor, name::AgentName};
use osmoda_nix::profiles::Profiles as _;
use osmoda_node::handle::Command;

use super::{
    Simulation,
    blueprint::{Declaration, Quality},
};

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
    pub(super) async fn change_specs(&mut self, agent: &AgentName) -> Result<String, String> {
        let waited_for = self.blueprint.dependents(agent);
        let is_needed = waited_for
            .iter()
            .any(|name| self.desired.contains_key(name));
        let said = if self.desired.contains_key(agent) && !is_needed && self.random.u8(..4) == 0 {
            self.desired.remove(agent);
            format!("{agent} is removed from the specs")
        } else {
            self.declare(agent, Quality::Good)
        };
        self.tell_specs().await?;
        Ok(said)
    }

    /// A deploy that is bad from its first instant, or turns out to be.
    pub(super) async fn deploy_badly(&mut self, agent: &AgentName) -> Result<String, String> {
        let quality = match self.random.u8(..8) {
            0 => Quality::CannotStart,
            1 | 2 => Quality::Crashes(0),
            // Before it is proven, and after.
            3 => Quality::Crashes(self.random.u64(..8_000)),
            4 => Quality::Crashes(self.random.u64(8_000..30_000)),
            5 => Quality::FallsIll(self.random.u64(..8_000)),
            6 => Quality::FallsIll(self.random.u64(8_000..30_000)),
            _ => Quality::NeverReady,
        };
        let said = self.declare(agent, quality);
        self.tell_specs().await?;
        Ok(said)
    }

    /// Something that was deployed before, as when a change is reverted or tried again.
    pub(super) async fn deploy_again(&mut self, agent: &AgentName) -> Result<String, String> {
        let past = self.past.get(agent).map_or(&[][..], Vec::as_slice);
        if past.is_empty() {
            return Ok(format!("{agent} was never deployed"));
        }
        let again = past[self.random.usize(..past.len())];
        self.declare_dependencies(agent);
        self.desired.insert(agent.clone(), again);
        self.tell_specs().await?;
        Ok(format!("{agent} is declared again: {again:?}"))
    }

    /// Declares a new manifest, and what it depends on.
    pub(super) fn declare(&mut self, agent: &AgentName, quality: Quality) -> String {
        self.declare_dependencies(agent);
        let policy = match self.random.u8(..6) {
            0 => "OnFailure",
            1 if self.blueprint.dependents(agent).is_empty() => "Never",
            _ => "Always",
        };
        self.declare_as(agent, policy, quality)
    }

    /// Declares a new manifest of an agent that is restarted whenever it ends.
    pub(super) fn declare_always(&mut self, agent: &AgentName, quality: Quality) {
        self.declare_dependencies(agent);
        self.declare_as(agent, "Always", quality);
    }

    fn declare_as(&mut self, agent: &AgentName, policy: &'static str, quality: Quality) -> String {
        self.versions += 1;
        let declaration = Declaration {
            version: self.versions,
            policy,
            quality,
        };
        self.desired.insert(agent.clone(), declaration);
        self.past
            .entry(agent.clone())
            .or_default()
            .push(declaration);
        format!("{agent} is declared: {declaration:?}")
    }

    /// Whoever names an agent that is in no spec is refused: here that cannot happen.
    fn declare_dependencies(&mut self, agent: &AgentName) {
        for needed in self.blueprint.depends_on(agent).to_vec() {
            if !self.desired.contains_key(&needed) {
                let said = self.declare(&needed, Quality::Good);
                self.history.push(format!("      {said}"));
            }
        }
    }

    pub(super) async fn tell_specs(&mut self) -> Result<(), String> {
        let loaded = self.loaded();
        let Some(daemon) = &self.daemon else {
            return Ok(());
        };
        daemon.supersede();
        let told = daemon.handle.specs(Ok(loaded.into())).await;
        told.map_err(|gone| gone.to_string())
    }

    /// `nix-env --switch-generation` at any moment.
    pub(super) fn switch_profile(&mut self, agent: &AgentName) -> String {
        let number = self.any_generation(agent);
        self.monitor.disturb(Some(agent));
        match self.profiles.switch_from_outside(agent, number) {
            true => format!("somebody switches {agent} to generation {number}"),
            false => format!("{agent} has no generation {number}"),
        }
    }

    /// `nix-env --delete-generations` at any moment.
    pub(super) fn delete_generation(&mut self, agent: &AgentName) -> String {
        let number = self.any_generation(agent);
        let listed = self.profiles.list(agent).unwrap_or_default();
        if let Some(generation) = listed.iter().find(|g| g.number == number)
            && self.profiles.delete_from_outside(agent, number)
        {
            self.monitor.spoil(generation);
        }
        format!("somebody deletes generation {number} of {agent}")
    }

    /// A bundle that is not active is collected as garbage, or a bit of it flips.
    pub(super) fn spoil_bundle(&mut self, agent: &AgentName) -> String {
        let number = self.any_generation(agent);
        let listed = self.profiles.list(agent).unwrap_or_default();
        let active = self.profiles.active(agent).ok().flatten();
        let other = listed.iter().find(|g| g.number == number);
        let shared = |path: &str| active.as_ref().is_some_and(|a| *a.store_path == *path);
        let Some(generation) = other.filter(|g| !shared(&g.store_path)) else {
            return format!("{agent} has no other generation {number}");
        };
        self.monitor.spoil(generation);
        match self.random.bool() {
            true => self.profiles.lose(generation),
            false => self.profiles.damage(generation),
        };
        format!("the bundle of generation {number} of {agent} is spoiled")
    }

    fn any_generation(&mut self, agent: &AgentName) -> u64 {
        let listed = self.profiles.list(agent).unwrap_or_default();
        match listed.len() {
            0 => 1,
            count => listed[self.random.usize(..count)].number,
        }
    }

    pub(super) async fn operate(&mut self, agent: &AgentName) -> Result<String, String> {
        let reason = "simulated".to_owned();
        let agent = agent.clone();
        let command = match self.random.u8(..7) {
            0 => Command::Pause {
                agent: Some(agent),
                reason,
            },
            1 => Command::Resume { agent: Some(agent) },
            2 => Command::Restart { agent },
            3 => Command::Rollback { agent, to: None },
            4 => {
                let to = Some(self.any_generation(&agent));
                Command::Rollback { agent, to }
            }
            5 if self.random.u8(..4) == 0 => Command::Pause {
                agent: None,
                reason,
            },
            _ => Command::Resume { agent: None },
        };
        self.monitor.disturb(None);
        self.command(command.clone()).await;
        Ok(format!("an operator says {command:?}"))
    }

    pub(super) async fn resume_all(&mut self) {
        self.command(Command::Resume { agent: None }).await;
        for agent in self.names.clone() {
            self.command(Command::Resume { agent: Some(agent) }).await;
        }
    }

    /// An unknown agent is refused, and that is as good as an answer here.
    pub(super) async fn command(&mut self, command: Command) {
        if let Some(daemon) = &self.daemon {
            let _ = daemon.handle.command(command, operator()).await;
        }
    }

    /// A bad deploy, and a daemon that dies while it is gone back from.
    pub(super) async fn die_in_rollback(&mut self, agent: &AgentName) -> Result<String, String> {
        let said = self.declare(agent, Quality::Crashes(0));
        self.tell_specs().await?;
        let after = Duration::from_micros(self.random.u64(..6_000));
        tokio::time::sleep(after).await;
        let died = self.restart_daemon().await?;
        Ok(format!("{said}; {after:?} later {died}"))
    }
}
