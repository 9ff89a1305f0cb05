//! Generations: what is Bad is never made active by the loop, what is gone back to is the last
//! known good, and that happens once for one cause.

use std::collections::{BTreeMap, BTreeSet};

use osmoda_core::{name::AgentName, observed::Generation, rollout::ROLLBACKS_MAX};
use osmoda_nix::profiles::Profiles as _;

use super::{
    super::{blueprint::is_good, steps::HOST_REFUSES},
    Checked, Inner, Monitor, Said, digest_in,
    lives::Open,
};

/// What the entries say of an agent's generations.
#[derive(Debug, Default)]
pub(super) struct Rollouts {
    bad: BTreeSet<String>,
    /// Store paths that were proven, the last one last.
    good: Vec<String>,
    /// A person's or an operator's choice since the spec changed.
    chosen: Option<String>,
    /// The desired manifest that it was made under.
    chosen_under: Option<String>,
    /// A choice that another spec has overruled, while nothing was deployed since: should its
    /// spec come back before the loop acts, then nothing has changed.
    overruled: Option<String>,
    /// Desired manifests that were gone back from, since the spec changed.
    went_back_for: BTreeSet<String>,
    /// Automatic rollbacks that were carried out; simulations are shorter than their window.
    rollbacks: usize,
    /// Generation of the last failure that the agent is blamed for.
    blamed: Option<String>,
    /// Generations of start intents by invocation.
    starts: BTreeMap<String, String>,
}

/// Whether a start failed as the simulator has the host fail.
fn is_the_hosts(message: &str) -> bool {
    message.contains(HOST_REFUSES)
}

impl Rollouts {
    /// The loop deleted generations: they are forgotten, unless they are Bad.
    pub fn deleted(&mut self, before: &[Generation], now: &[Generation]) {
        let gone = |path: &String| {
            let in_it = |all: &[Generation]| all.iter().any(|g| *g.store_path == **path);
            in_it(before) && !in_it(now)
        };
        self.good.retain(|path| !gone(path));
    }

    /// Whether a store path was proven, and nothing has spoken against it since.
    pub fn is_good(&self, path: &String) -> bool {
        self.good.contains(path)
    }

    fn lifted(&mut self, path: Option<&str>, desired: Option<String>) {
        self.chosen = path.map(str::to_owned);
        self.chosen_under = desired;
        self.overruled = None;
        if let Some(path) = path {
            self.bad.remove(path);
        }
    }
}

impl Inner {
    pub(super) fn see_rollout(&mut self, agent: &AgentName, said: &Said<'_>) -> Checked {
        match (said.kind, said.action) {
            ("RollbackIntended", _) if said.reason() != "OperatorRequest" => {
                self.check_way_back(agent, said)?;
            }
            ("GenerationBad", _) => self.check_verdict(agent, said)?,
            ("GenerationActivated", _) => {
                let path = said.path("generation").unwrap_or_default();
                if self.model(agent).rollouts.bad.contains(path) {
                    return Err(format!("{agent}: {path} is Bad and was made active"));
                }
            }
            _ => {}
        }
        self.learn_rollout(agent, said);
        Ok(())
    }

    fn learn_rollout(&mut self, agent: &AgentName, said: &Said<'_>) {
        let model = self.model(agent);
        let open = model.lives.open.clone();
        let desired = model.desired.clone();
        let rollouts = &mut model.rollouts;
        let of = |field: &str| said.path(field).map(str::to_owned);
        match (said.kind, said.action) {
            ("GenerationGood", _) => {
                rollouts
                    .good
                    .retain(|path| Some(path) != of("generation").as_ref());
                rollouts.good.extend(of("generation"));
            }
            ("GenerationBad", _) => {
                rollouts
                    .good
                    .retain(|path| Some(path) != of("generation").as_ref());
                rollouts.bad.extend(of("generation"));
            }
            ("OutsideAction", _) => rollouts.lifted(said.path("to"), desired),
            ("GenerationActivated", _) => rollouts.overruled = None,
            ("SpecChanged", _) => {
                // What is known to be bad is not deployed: what somebody chose stays.
                let is_new = |path: &String| said.text("digest") == Some(digest_in(path));
                if !rollouts.bad.iter().any(is_new) {
                    rollouts.overruled = rollouts.chosen.take().or(rollouts.overruled.take());
                }
                if said.text("digest") == rollouts.chosen_under.as_deref() {
                    rollouts.chosen = rollouts.overruled.take().or(rollouts.chosen.take());
                }
                rollouts.went_back_for.clear();
            }
            ("RollbackSucceeded", _) => match open {
                Some(Open::Switch { operator: true, .. }) => {
                    rollouts.lifted(said.path("to"), desired);
                }
                _ => {
                    rollouts.went_back_for.extend(desired);
                    rollouts.rollbacks += 1;
                }
            },
            ("ActionIntended", "Start") => {
                let path = of("generation").unwrap_or_default();
                rollouts.starts = BTreeMap::from([(said.invocation().to_owned(), path)]);
            }
            // What the host cannot do is nobody's fault.
            ("ActionFailed", "Start") if said.text("message").is_some_and(is_the_hosts) => {}
            ("ActionFailed", "Start") => {
                rollouts.blamed = rollouts.starts.get(said.invocation()).cloned();
            }
            ("FailureDetected", _) if said.body["becauseOf"].is_null() => {
                rollouts.blamed = of("generation");
            }
            _ => {}
        }
    }

    /// A generation is condemned for what an instance of its own did.
    fn check_verdict(&mut self, agent: &AgentName, said: &Said<'_>) -> Checked {
        let path = said.path("generation").unwrap_or_default();
        let blamed = self.model(agent).rollouts.blamed.as_deref();
        if said.reason() != "ProgressDeadlineExceeded" && blamed != Some(path) {
            return Err(format!(
                "{agent}: {path} is Bad ({}), but {blamed:?} failed",
                said.reason()
            ));
        }
        Ok(())
    }

    fn check_way_back(&mut self, agent: &AgentName, said: &Said<'_>) -> Checked {
        let (from, to) = (said.path("from"), said.path("to").unwrap_or_default());
        let listed = self.profiles.list(agent).unwrap_or_default();
        let spoiled = self.spoiled.clone();
        let model = self.model(agent);
        let rollouts = &model.rollouts;
        if let Some(desired) = &model.desired
            && rollouts.went_back_for.contains(desired)
        {
            return Err(format!("{agent} is rolled back twice for one deploy"));
        }
        if rollouts.rollbacks >= ROLLBACKS_MAX {
            return Err(format!("{agent} is rolled back beyond its budget"));
        }
        // Passed over with reason: it is what is gone back from, or it is not there as it was.
        let there = |path: &str| listed.iter().any(|g| *g.store_path == *path);
        let usable =
            |path: &&String| Some(path.as_str()) != from && there(path) && !spoiled.contains(*path);
        if !rollouts.good.iter().any(|path| path == to) {
            return Err(format!(
                "{agent} goes back to {to}, which is not known to be good"
            ));
        }
        let mut newest_first = rollouts.good.iter().rev();
        let newer = newest_first.by_ref().take_while(|path| *path != to);
        match newer.filter(usable).last() {
            Some(newer) => Err(format!(
                "{agent} goes back to {to}, though {newer} is the last known good"
            )),
            None => Ok(()),
        }
    }

    /// The loop made a generation active: the intended one, and none that is Bad.
    pub(super) fn made_active(&mut self, agent: &AgentName, now: &Generation) -> Checked {
        if self.degraded {
            return Ok(()); // the intent may be one of those that are kept back
        }
        let model = self.model(agent);
        let path = &*now.store_path;
        let (intended, operator) = match &model.lives.open {
            Some(Open::Switch { path: to, operator }) => (to == path, *operator),
            Some(Open::Activate { digest }) => (digest == digest_in(path), false),
            _ => return Ok(()), // said by whoever misses the intent
        };
        if model.rollouts.bad.contains(path) && !operator {
            return Err(format!("{agent}: {path} is Bad and was made active"));
        }
        if !intended {
            return Err(format!(
                "{agent}: {path} was made active, but {:?} was intended",
                model.lives.open
            ));
        }
        Ok(())
    }
}

impl Monitor {
    /// Whether nothing is wrong with the deploy that is active, nor with its bundle.
    pub fn runs_good(&self, agent: &AgentName) -> bool {
        let inner = self.inner();
        let active = inner.profiles.active(agent).ok().flatten();
        let active = active.filter(|active| !inner.spoiled.contains(&*active.store_path));
        let honest = active.and_then(|active| inner.honest(&active.store_path).cloned());
        honest.is_some_and(|honest| is_good(&honest.spec.command))
    }

    /// Once the faults have ended: what is active is what is desired, the last known good, or
    /// somebody's choice. `rolls_back`: its spec allows going back.
    ///
    /// # Errors
    /// What is active instead.
    pub fn check_active(&self, agent: &AgentName, rolls_back: bool) -> Checked {
        let mut inner = self.inner();
        if inner.forgetful {
            return Ok(());
        }
        let active = inner.profiles.active(agent).ok().flatten();
        let Some(active) = active.map(|active| active.store_path) else {
            return Err(format!("{agent} has no active generation"));
        };
        let listed = inner.profiles.list(agent).unwrap_or_default();
        let spoiled = inner.spoiled.clone();
        let model = inner.model(agent);
        let rollouts = &model.rollouts;
        let usable = |path: &&String| {
            !spoiled.contains(*path) && listed.iter().any(|g| *g.store_path == ***path)
        };
        let known_good = rollouts.good.iter().rev().find(usable);
        let desired = model.desired.as_deref() == Some(digest_in(&active));
        // What was gone back to may have failed in its turn: once is enough for one deploy.
        let went_back =
            (model.desired.iter()).any(|desired| rollouts.went_back_for.contains(desired));
        let allowed = desired
            || rollouts.chosen.as_deref() == Some(&*active)
            || known_good.map(String::as_str) == Some(&*active)
            || spoiled.contains(&*active) // by somebody: the loop makes nothing active that it cannot read
            || went_back
            || !rolls_back
            || rollouts.rollbacks >= ROLLBACKS_MAX
            || known_good.is_none();
        if allowed {
            return Ok(());
        }
        Err(format!(
            "{agent} runs {active}, which is neither desired ({:?}) nor the last known good ({known_good:?})",
            model.desired
        ))
    }
}
