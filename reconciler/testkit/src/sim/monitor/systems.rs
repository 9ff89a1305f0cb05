//! The machine's own generations: a switch has its intent, goes to the last known good, is made
//! once, from one store path once, and has its outcome on record.

use std::collections::{BTreeMap, BTreeSet};

use osmoda_core::{
    observed::{Generation, InvocationId},
    spec::Rollback,
};

use osmoda_nix::profiles::Profiles as _;

use super::{Checked, Inner, Monitor, Said};

/// Automatic rollbacks of the system in a day, by default; simulations are shorter.
const ROLLBACKS_MAX: usize = 3;

/// What the entries say of the machine.
#[derive(Debug, Default)]
pub(super) struct Systems {
    /// Store paths that were proven, the last one last.
    good: Vec<String>,
    bad: BTreeSet<String>,
    /// The switch that is on record as intended and has no outcome.
    open: Option<Switch>,
    /// What was gone back from automatically.
    went_back_from: Vec<String>,
    /// Store paths that were found damaged.
    damaged: BTreeSet<String>,
    /// Store paths that were damaged or deleted by somebody.
    spoiled: BTreeSet<String>,
    /// What somebody made run last: a person, an operator, or a boot.
    chosen: Option<String>,
    /// Nothing more is done by itself about what runs.
    held: bool,
}

#[derive(Debug, Clone)]
struct Switch {
    id: String,
    to: String,
}

impl Inner {
    /// An entry that is about no agent.
    pub(super) fn see_system(&mut self, said: &Said<'_>) -> Checked {
        if said.body["scope"] != "System" && said.body["what"] != "SystemSwitched" {
            return Ok(());
        }
        let path = |field: &str| said.path(field).unwrap_or_default().to_owned();
        match said.kind {
            "GenerationGood" => {
                let path = path("generation");
                self.systems.good.retain(|good| *good != path);
                self.systems.bad.remove(&path);
                self.systems.good.push(path);
            }
            "GenerationBad" => self.see_bad(said, path("generation"))?,
            "RollbackIntended" => self.see_intent(said, path("from"), path("to"))?,
            "RollbackSucceeded" | "RollbackFailed" => {
                let Some(open) = self.systems.open.take() else {
                    return Err("the end of a switch is on record twice, or without one".into());
                };
                if open.to != path("to") {
                    return Err(format!("{} was intended, {} ended", open.to, path("to")));
                }
                if said.kind == "RollbackFailed" {
                    self.systems.held = true;
                } else {
                    self.systems.held = false;
                    self.systems.bad.remove(&open.to);
                    self.systems.chosen = Some(open.to);
                }
            }
            "ClosureVerified" => {
                let is_whole = said.body["damage"].as_array().is_none_or(Vec::is_empty);
                match is_whole {
                    true => self.systems.damaged.remove(&path("generation")),
                    false => self.systems.damaged.insert(path("generation")),
                };
            }
            "EscalationExhausted" => self.systems.held = true,
            "OutsideAction" => {
                self.systems.chosen = Some(path("to"));
                self.systems.bad.remove(&path("to"));
                self.systems.held = false;
            }
            _ => {}
        }
        Ok(())
    }

    /// A system is condemned only for an agent that asked for it.
    fn see_bad(&mut self, said: &Said<'_>, path: String) -> Checked {
        let message = said.text("message").unwrap_or_default();
        let agent = message.split(':').next().unwrap_or_default();
        let mut declared = self.specs.values().filter(|of| of.name.as_str() == agent);
        if said.reason() == "AgentStuck"
            && !declared.any(|of| of.spec.rollout.rollback == Rollback::System)
        {
            return Err(format!(
                "{path} is Bad for {agent}, which asks for no such thing"
            ));
        }
        self.systems.good.retain(|good| *good != path);
        self.systems.bad.insert(path);
        Ok(())
    }

    fn see_intent(&mut self, said: &Said<'_>, from: String, to: String) -> Checked {
        if let Some(open) = &self.systems.open {
            return Err(format!("a second switch of the system beside {open:?}"));
        }
        let operator = said.reason() == "OperatorRequest";
        self.systems.open = Some(Switch {
            id: said.text("switch").unwrap_or_default().to_owned(),
            to: to.clone(),
        });
        if operator {
            return Ok(());
        }
        let systems = &mut self.systems;
        if systems.went_back_from.contains(&from) {
            return Err(format!("{from} is gone back from twice"));
        }
        systems.went_back_from.push(from.clone());
        if systems.went_back_from.len() > ROLLBACKS_MAX {
            return Err("the system is rolled back beyond its budget".into());
        }
        if !systems.good.contains(&to) {
            return Err(format!(
                "the system goes back to {to}, which was never proven"
            ));
        }
        if systems.damaged.contains(&to) {
            return Err(format!("the system goes back to {to}, which is damaged"));
        }
        let mut newest_first = systems.good.iter().rev();
        let usable = |path: &&String| **path != from && !systems.spoiled.contains(*path);
        let newer = newest_first.by_ref().take_while(|path| **path != to);
        match newer.filter(usable).last() {
            Some(newer) => Err(format!(
                "the system goes back to {to}, though {newer} is the last known good"
            )),
            None => Ok(()),
        }
    }
}

impl Monitor {
    /// A switch is about to be carried out, or followed.
    pub fn switches_system(&self, id: InvocationId, to: &Generation) {
        let mut inner = self.inner();
        let wanted = |open: &Switch| open.id == id.to_string() && *open.to == *to.store_path;
        let intended = inner.systems.open.as_ref().is_some_and(wanted);
        let act = inner.about_to(intended, || "the system was switched".to_owned());
        inner.keep(act);
    }

    /// Switches were launched for one intent that did not find the lock held.
    pub fn launched(&self, launches: &BTreeMap<InvocationId, u32>) {
        let twice = launches.iter().find(|(_, times)| **times > 1);
        if let Some((id, times)) = twice {
            let what = format!("the switch {id} was launched {times} times");
            self.inner().keep(Err(what));
        }
    }

    /// A system was damaged or deleted by somebody.
    pub fn spoil_system(&self, store_path: &str) {
        let mut inner = self.inner();
        inner.systems.spoiled.insert(store_path.to_owned());
    }

    /// Once every agent is well: what runs was proven, or found bad and held. An agent whose own
    /// generation is Bad, and stays, keeps the system from being proven.
    ///
    /// # Errors
    /// It was neither.
    pub fn check_judged(&self, current: &str) -> Checked {
        let inner = self.inner();
        let systems = &inner.systems;
        let is_good = |path: &String| {
            let mut models = inner.models.values();
            models.any(|model| model.rollouts.is_good(path))
        };
        let mut active = inner.models.keys().filter_map(|agent| {
            let active = inner.profiles.active(agent).ok().flatten();
            active.map(|active| active.store_path.to_string())
        });
        if !active.all(|path| is_good(&path)) {
            return Ok(());
        }
        let judged = systems.held || systems.good.iter().any(|good| good == current);
        match judged || inner.forgetful {
            true => Ok(()),
            false => Err(format!("{current} was never judged: {systems:?}")),
        }
    }

    /// Once the faults have ended.
    ///
    /// # Errors
    /// What is open, or runs without a reason.
    pub fn check_system(&self, current: &str) -> Checked {
        let inner = self.inner();
        if inner.forgetful {
            return Ok(());
        }
        let systems = &inner.systems;
        if let Some(open) = &systems.open {
            return Err(format!("the switch {open:?} has no outcome on record"));
        }
        let allowed = systems.chosen.as_deref() == Some(current)
            || systems.chosen.is_none()
            || systems.held
            || systems.good.last().is_some_and(|good| good == current);
        match allowed && (!systems.bad.contains(current) || systems.held) {
            true => Ok(()),
            false => Err(format!(
                "{current} runs, and is neither chosen nor the last known good: {systems:?}"
            )),
        }
    }
}
