//! The machine's own generations as people see them, and the operator's way back.

use std::collections::BTreeMap;

use osmoda_core::{observed::Generation, rollout::Verdict, system::go_back};
use osmoda_nix::profiles::Profiles;
use osmoda_runtime::Runtime;

use super::{Reconciler, closure::Closure, journal::Journal, system::current};
use crate::{
    api::types::{GenerationItem, GenerationList, SystemStatus},
    handle::CommandError,
};

impl<R: Runtime, P: Profiles, J: Journal> Reconciler<R, P, J> {
    /// What runs, what will be booted, and where they disagree; `None`: this is not NixOS.
    pub(super) fn report_system(&self) -> Option<SystemStatus> {
        let edge = self.system.edge()?;
        let memory = &self.system.memory;
        let state = match edge.observe() {
            Ok(state) => state,
            Err(why) => {
                return Some(SystemStatus {
                    disagreements: vec![format!("it cannot be read: {why}")],
                    ..SystemStatus::default()
                });
            }
        };
        let running = current(&state);
        let tried = running.as_ref().and_then(|g| memory.of(&g.store_path));
        let disagreements = state.disagreements();
        Some(SystemStatus {
            current: running,
            next_boot: state.profile,
            booted: state.booted.map(|booted| booted.store_path),
            verdict: tried.map(|tried| tried.verdict),
            reason: tried.and_then(|tried| tried.reason.clone()),
            last_known_good: memory.last_known_good().cloned(),
            switching_to: memory.switching.as_ref().map(|s| s.to.clone()),
            disagreements: disagreements.iter().map(ToString::to_string).collect(),
        })
    }

    /// What speaks of the system where desired and observed are compared; for people.
    pub(super) fn system_differences(&self) -> BTreeMap<String, String> {
        let Some(status) = self.report_system() else {
            return BTreeMap::new();
        };
        let mut found = BTreeMap::new();
        let named = |generation: &Generation| format!("generation {}", generation.number);
        if status.verdict == Some(Verdict::Bad) {
            let why = status.reason.unwrap_or_default();
            let back = status.last_known_good.as_ref().map(named);
            let back = back.unwrap_or_else(|| "none".to_owned());
            let sentence = format!("what runs is Bad ({why}); last known good: {back}");
            found.insert("verdict".to_owned(), sentence);
        }
        if let Some(to) = &status.switching_to {
            found.insert("switchingTo".to_owned(), named(to));
        }
        if !status.disagreements.is_empty() {
            found.insert("generation".to_owned(), status.disagreements.join("; "));
        }
        found
    }

    /// Every generation of the system profile; `None`: this is not NixOS.
    pub(super) fn report_system_generations(&self) -> Option<Result<GenerationList, String>> {
        let edge = self.system.edge()?;
        let (state, listed) = match (edge.observe(), edge.generations()) {
            (Ok(state), Ok(listed)) => (state, listed),
            (Err(why), _) | (_, Err(why)) => return Some(Err(why)),
        };
        let running = current(&state);
        let memory = &self.system.memory;
        let good = memory.last_known_good();
        let closures = &self.system.closures;
        let item = |generation: &Generation| {
            let tried = memory.of(&generation.store_path);
            GenerationItem {
                number: generation.number,
                store_path: generation.store_path.to_string(),
                created_at: tried.map(|tried| tried.seen_at.to_string()),
                verdict: tried.map_or(Verdict::Unproven, |tried| tried.verdict),
                reason: tried.and_then(|t| t.reason.clone()).unwrap_or_default(),
                active: running.as_ref() == Some(generation),
                desired: state.profile.as_ref() == Some(generation),
                last_known_good: good == Some(generation),
                closure: closures.get(&*generation.store_path).map(Closure::status),
            }
        };
        Some(Ok(GenerationList {
            items: listed.iter().map(item).collect(),
        }))
    }

    /// Decides on an operator's rollback of the system; recorded with this turn.
    pub(super) fn roll_back_system(&mut self, to: Generation) {
        let id = (self.ids)();
        let plan = go_back(&self.system.memory, to, id);
        self.accept_system(plan, None);
    }

    /// Where an operator's rollback of the system goes, once it is known that it can go there.
    ///
    /// # Errors
    /// [`CommandError::Impossible`] says why not.
    pub(super) fn system_way_back(&self, to: Option<u64>) -> Result<Generation, CommandError> {
        let impossible = |why: &str| Err(CommandError::Impossible(why.to_owned()));
        let Some(edge) = self.system.edge() else {
            return impossible("there is no system to roll back: this is not NixOS");
        };
        let memory = &self.system.memory;
        if let Some(switching) = &memory.switching {
            let number = switching.to.number;
            return impossible(&format!("a switch to generation {number} is under way"));
        }
        let (state, listed) = match (edge.observe(), edge.generations()) {
            (Ok(state), Ok(listed)) => (state, listed),
            (Err(why), _) | (_, Err(why)) => return impossible(&why),
        };
        let running = current(&state);
        let path = running.as_ref().map(|running| running.store_path.as_ref());
        let found = match to {
            None => memory.good_other_than(path).cloned(),
            Some(number) => listed.iter().find(|g| g.number == number).cloned(),
        };
        match (found, to) {
            (Some(found), _) if running.as_ref() == Some(&found) => {
                impossible(&format!("generation {} of the system runs", found.number))
            }
            (Some(found), _) if !listed.contains(&found) => impossible(&format!(
                "generation {} is not in the system profile any more",
                found.number
            )),
            (Some(found), _) if memory.is_damaged(&found.store_path) => impossible(&format!(
                "generation {} of the system is damaged, and nothing damaged is activated; \
                 `osmoda generations --system --verify` says what is, and how to repair it",
                found.number
            )),
            (Some(found), _) => Ok(found),
            (None, Some(number)) => impossible(&format!("the system has no generation {number}")),
            (None, None) => {
                impossible("the system has no other generation that is known to be good")
            }
        }
    }
}
