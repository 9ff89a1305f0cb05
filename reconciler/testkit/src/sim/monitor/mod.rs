//! Holds every entry and every act, at the moment of its happening, against the truth.
//!
//! The disk shows each entry as soon as it is durable, and the wrappers around runtime and
//! profiles ([`super::sabotage`]) show each act just before it is done. What is broken first is
//! kept ([`Monitor::violation`]); the simulation asks after every step.
//!
//! What a daemon could not write when it died is lost with it, and from then on the entries are
//! no whole story: such a run is `forgetful`, and only what needs no story is still checked.
//!
//! Where to start: [`Monitor::see`]. Each module beside this one checks one kind of promise.

mod dependents;
mod faults;
mod lives;
mod restarts;
mod rollouts;
mod systems;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use osmoda_core::{
    digest::Digest,
    name::AgentName,
    observed::{Generation, InvocationId},
    spec::Agent,
    time::{Clock as _, Mono},
};
use osmoda_nix::profiles::{MemoryProfiles, Profiles as _};
use serde_json::Value;

use self::{lives::Lives, restarts::Restarts, rollouts::Rollouts, systems::Systems};
use crate::fake_runtime::{World, clock::PausedClock};

/// Clones are handles to the same monitor.
#[derive(Clone)]
pub struct Monitor {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    world: World,
    profiles: Arc<MemoryProfiles>,
    clock: Arc<PausedClock>,
    /// What was honestly declared, by the digest of the manifest that the loop was told.
    specs: BTreeMap<String, Arc<Agent>>,
    models: BTreeMap<AgentName, Model>,
    systems: Systems,
    /// Instances that are on record as intended, with the store path each is to run.
    intents: BTreeMap<String, String>,
    preparations: Preparations,
    all_paused: bool,
    /// Entries may be kept back, and follow late.
    degraded: bool,
    forgetful: bool,
    /// When something was last done to an agent, or to everybody, that excuses a late finding.
    disturbed: BTreeMap<AgentName, Mono>,
    disturbed_all: Mono,
    /// Store paths that were damaged, lost or deleted from outside.
    spoiled: BTreeSet<String>,
    violation: Option<String>,
}

/// What the entries say of one agent.
#[derive(Debug, Default)]
struct Model {
    /// Digest of the desired manifest.
    desired: Option<String>,
    paused: bool,
    lives: Lives,
    restarts: Restarts,
    rollouts: Rollouts,
    /// `consecutive` of the last failure, if nothing has changed it since.
    consecutive: Option<u64>,
}

/// An entry, as far as checks read it.
struct Said<'a> {
    kind: &'a str,
    action: &'a str,
    body: &'a Value,
    at: Mono,
    late: bool,
}

/// A profile, before something is done to it.
pub struct Before {
    active: Option<Generation>,
    listed: Vec<Generation>,
}

impl Before {
    fn of(profiles: &MemoryProfiles, agent: &AgentName) -> Self {
        Self {
            active: profiles.active(agent).ok().flatten(),
            listed: profiles.list(agent).unwrap_or_default(),
        }
    }
}

/// Starts that were prepared.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Preparations {
    /// Prepared, and neither launched nor undone yet.
    pub under_way: usize,
    /// Never launched.
    pub undone: u64,
}

/// Goes with a prepared start.
pub struct Ticket {
    monitor: Monitor,
    is_launched: bool,
}

impl Ticket {
    /// The word was given.
    pub fn launched(mut self) {
        self.is_launched = true;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut inner = self.monitor.inner();
        inner.preparations.under_way -= 1;
        inner.preparations.undone += u64::from(!self.is_launched);
    }
}

/// What is broken, if something is.
type Checked = Result<(), String>;

impl Monitor {
    /// One that has seen nothing.
    pub fn new(world: World, profiles: Arc<MemoryProfiles>, clock: Arc<PausedClock>) -> Self {
        let inner = Inner {
            world,
            profiles,
            clock,
            specs: BTreeMap::new(),
            models: BTreeMap::new(),
            systems: Systems::default(),
            intents: BTreeMap::new(),
            preparations: Preparations::default(),
            all_paused: false,
            degraded: false,
            forgetful: false,
            disturbed: BTreeMap::new(),
            disturbed_all: Mono(0),
            spoiled: BTreeSet::new(),
            violation: None,
        };
        Self {
            inner: Arc::new(Mutex::new(inner)),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first broken promise.
    pub fn violation(&self) -> Option<String> {
        self.inner().violation.clone()
    }

    /// An entry became durable.
    pub fn see(&self, entry: &Value) {
        let mut inner = self.inner();
        let seen = inner.see(entry);
        inner.keep(seen);
    }

    /// `honest` was declared, and the loop is told `told` of it.
    pub fn declared(&self, honest: &Arc<Agent>, told: &Agent) {
        let digest = Digest::of(told.manifest.as_bytes()).to_string();
        self.inner().specs.insert(digest, Arc::clone(honest));
    }

    /// Something happens that excuses a late finding: to one agent, or to all.
    pub fn disturb(&self, agent: Option<&AgentName>) {
        let mut inner = self.inner();
        let now = inner.clock.mono();
        match agent {
            Some(agent) => drop(inner.disturbed.insert(agent.clone(), now)),
            None => inner.disturbed_all = now,
        }
    }

    /// A daemon that began without specs is told them. Nobody was at work on an agent of which no
    /// generation holds what was acted on last.
    pub fn specs_come(&self) {
        let mut inner = self.inner();
        let waited = |(agent, model): (&AgentName, &Model)| {
            let held = inner.profiles.list(agent).unwrap_or_default();
            let desired = |path: &str| model.desired.as_deref() == Some(digest_in(path));
            let is_held = (held.iter())
                .any(|g| desired(&g.store_path) && !inner.spoiled.contains(&*g.store_path));
            (!is_held).then(|| agent.clone())
        };
        let waited: Vec<_> = inner.models.iter().filter_map(waited).collect();
        let now = inner.clock.mono();
        (inner.disturbed).extend(waited.into_iter().map(|agent| (agent, now)));
    }

    /// The machine was booted: what was an instant is none any more.
    pub fn rebooted(&self) {
        let mut inner = self.inner();
        inner.disturbed.clear();
        inner.disturbed_all = inner.clock.mono();
    }

    /// From now on entries may be kept back.
    pub fn degrade(&self) {
        self.inner().degraded = true;
    }

    /// A daemon died with entries that were never written.
    pub fn forget(&self) {
        self.inner().forgetful = true;
    }

    /// A generation was damaged, lost or deleted by somebody.
    pub fn spoil(&self, generation: &Generation) {
        self.inner()
            .spoiled
            .insert(generation.store_path.to_string());
    }

    /// An instance is about to be started.
    pub fn starts(&self, agent: &AgentName, invocation: InvocationId, generation: &Generation) {
        let mut inner = self.inner();
        let path = &*generation.store_path;
        let intended = inner.intents.get(&invocation.to_string());
        let act = match intended {
            Some(intended) if intended != path => Err(format!(
                "{agent} was started with {path}, but {intended} was intended"
            )),
            _ => inner.about_to(intended.is_some(), || format!("{agent} was started")),
        };
        inner.keep(act);
    }

    /// A start is being prepared; it is until the ticket is dropped.
    pub fn prepares(&self) -> Ticket {
        self.inner().preparations.under_way += 1;
        Ticket {
            monitor: self.clone(),
            is_launched: false,
        }
    }

    /// What became of prepared starts.
    pub fn preparations(&self) -> Preparations {
        self.inner().preparations
    }

    /// An instance is about to be stopped.
    pub fn stops(&self, agent: &AgentName, invocation: InvocationId) {
        let mut inner = self.inner();
        let intended = inner.model(agent).lives.stops(&invocation.to_string());
        let act = inner.about_to(intended, || format!("{agent} was stopped"));
        inner.keep(act);
    }

    /// A profile is about to be changed. Gives what [`Monitor::changed`] asks for.
    pub fn changes(&self, agent: &AgentName) -> Before {
        let mut inner = self.inner();
        let intended = inner.model(agent).lives.changes_profile();
        let act = inner.about_to(intended, || format!("the profile of {agent} was changed"));
        inner.keep(act);
        Before::of(&inner.profiles, agent)
    }

    /// A profile was changed by the loop.
    pub fn changed(&self, agent: &AgentName, before: &Before) {
        let mut inner = self.inner();
        let now = Before::of(&inner.profiles, agent);
        let rollouts = &mut inner.model(agent).rollouts;
        rollouts.deleted(&before.listed, &now.listed);
        if let Some(now) = now.active.filter(|now| Some(now) != before.active.as_ref())
            && !inner.forgetful
        {
            let made = inner.made_active(agent, &now);
            inner.keep(made);
        }
    }
}

impl Inner {
    fn keep(&mut self, checked: Checked) {
        if let Err(what) = checked {
            self.violation.get_or_insert(what);
        }
    }

    fn about_to(&self, intended: bool, what: impl FnOnce() -> String) -> Checked {
        if intended || self.degraded {
            return Ok(());
        }
        Err(format!("{} before its intent was written", what()))
    }

    fn model(&mut self, agent: &AgentName) -> &mut Model {
        self.models.entry(agent.clone()).or_default()
    }

    fn see(&mut self, entry: &Value) -> Checked {
        let said = Said::of(entry);
        self.see_node(&said);
        let Some(agent) = entry["agent"].as_str() else {
            return match self.forgetful {
                true => Ok(()),
                false => self.see_system(&said),
            };
        };
        let agent = super::name(agent);
        self.see_instance(&agent, &said)?;
        if self.forgetful {
            return Ok(());
        }
        // Checks first: they read what was true before this entry.
        self.check_dependencies(&agent, &said)?;
        self.check_fault(&agent, &said)?;
        self.see_restart(&agent, &said)?;
        self.see_rollout(&agent, &said)?;
        self.see_life(&agent, &said)?;
        let model = self.model(&agent);
        match (said.kind, said.action) {
            ("SpecChanged", _) => model.desired = said.text("digest").map(str::to_owned),
            ("Paused", _) => model.paused = true,
            ("Resumed", _) => model.paused = false,
            ("ActionSucceeded", "Remove") => {
                let desired = model.desired.take();
                *model = Model {
                    desired,
                    ..Model::default()
                };
            }
            _ => {}
        }
        Ok(())
    }

    fn see_node(&mut self, said: &Said<'_>) {
        match said.kind {
            "Paused" if said.body["all"] == true => self.all_paused = true,
            "Resumed" if said.body["all"] == true => self.all_paused = false,
            "NodeStarted" if said.body["rebooted"] == true => {
                for model in self.models.values_mut() {
                    model.lives.rebooted();
                    model.restarts = Restarts::default();
                    model.consecutive = None;
                }
            }
            _ => {}
        }
    }

    /// When something last happened to an agent that excuses a late finding.
    fn last_disturbed(&self, agent: &AgentName) -> Mono {
        let own = self.disturbed.get(agent).copied().unwrap_or(Mono(0));
        own.max(self.disturbed_all)
    }

    fn is_paused(&self, agent: &AgentName) -> bool {
        self.all_paused || self.models.get(agent).is_some_and(|model| model.paused)
    }

    /// What was honestly declared for a generation.
    fn honest(&self, store_path: &str) -> Option<&Arc<Agent>> {
        self.specs.get(digest_in(store_path))
    }
}

/// The digest in the name of a bundle.
fn digest_in(store_path: &str) -> &str {
    let name = store_path.rsplit('/').next().unwrap_or_default();
    name.split('-').next().unwrap_or_default()
}

impl<'a> Said<'a> {
    fn of(entry: &'a Value) -> Self {
        let body = &entry["body"];
        let mono = entry["mono"].as_str().and_then(|text| text.parse().ok());
        Self {
            kind: entry["kind"].as_str().unwrap_or_default(),
            action: body["action"].as_str().unwrap_or_default(),
            body,
            at: Mono(mono.unwrap_or(u64::MAX)),
            late: body.get("late").is_some(),
        }
    }

    fn text(&self, field: &str) -> Option<&'a str> {
        self.body[field].as_str()
    }

    fn reason(&self) -> &'a str {
        self.text("reason").unwrap_or_default()
    }

    fn invocation(&self) -> &'a str {
        self.text("invocation").unwrap_or_default()
    }

    /// Store path of the generation in `field`.
    fn path(&self, field: &str) -> Option<&'a str> {
        self.body[field]["storePath"].as_str()
    }
}
