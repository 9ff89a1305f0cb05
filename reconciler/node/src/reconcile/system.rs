//! The machine's own generation in the loop: looked at every few seconds, judged by
//! [`osmoda_core::system`], and switched by a task whose outcome is news like any other.
//!
//! A switch may end this very daemon. So it is begun and followed by one and the same way: ask
//! what became of it, and begin it only if it was never launched. The daemon that comes after
//! finds the switch in its memory and goes on there.
//!
//! Where to start: [`Reconciler::look_at_system`].

use std::{collections::BTreeMap, future::Future, pin::Pin, sync::Arc, time::Duration};

use osmoda_core::{
    event::Event,
    memory::Finished,
    name::AgentName,
    observed::Generation,
    rollout::Verdict,
    spec::{Node, NodeRollback, Rollback},
    system::{self, Standing, SwitchEnd, Switching, SystemMemory, SystemPlan, SystemView},
    time::Mono,
};
use osmoda_ledger::{Cause, EntryRef};
use osmoda_nix::{
    profiles::Profiles,
    store::{Verified, Watch},
    system::{Resumed, SwitchOutcome, SwitchRequest, SystemState, SystemSwitcher},
};
use osmoda_runtime::Runtime;
use tokio::task::{JoinError, JoinSet};

use super::{Reconciler, accept::encode, agent::AgentState, closure::Closures, journal::Journal};
use crate::{detect::node_checks::NodeChecks, error::chain};

/// Key of the system's memory in the state table.
pub const SYSTEM_KEY: &str = "system";
/// Time between two looks at what runs.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The same while it is on probation or being switched.
const LOOK_EVERY_ON_PROBATION: Duration = Duration::from_secs(1);

type Switched = Pin<Box<dyn Future<Output = SwitchEnd> + Send>>;

/// [`SystemSwitcher`] without its types.
pub trait System: Send + Sync {
    /// Profile, running and booted system.
    ///
    /// # Errors
    /// A sentence for people: nothing is known.
    fn observe(&self) -> Result<SystemState, String>;

    /// All generations, by number.
    ///
    /// # Errors
    /// A sentence for people.
    fn generations(&self) -> Result<Vec<Generation>, String>;

    /// Whether there is a store that a generation can be compared with.
    fn has_store(&self) -> bool;

    /// Hashes all that a generation needs.
    ///
    /// # Errors
    /// A sentence for people: it could not be done.
    fn verify(&self, generation: &Generation, watch: &Watch<'_>) -> Result<Verified, String>;

    /// Begins a switch that was intended, or follows it if that was done before.
    fn carry_out(self: Arc<Self>, request: SwitchRequest) -> Switched;

    /// Drops what is kept of a switch whose outcome is on record.
    fn forget(&self, switching: &Switching);
}

impl<S: SystemSwitcher> System for S {
    fn observe(&self) -> Result<SystemState, String> {
        SystemSwitcher::observe(self).map_err(|error| chain(&error))
    }

    fn generations(&self) -> Result<Vec<Generation>, String> {
        SystemSwitcher::generations(self).map_err(|error| chain(&error))
    }

    fn has_store(&self) -> bool {
        SystemSwitcher::has_store(self)
    }

    fn verify(&self, generation: &Generation, watch: &Watch<'_>) -> Result<Verified, String> {
        SystemSwitcher::verify(self, generation, watch).map_err(|error| chain(&error))
    }

    fn carry_out(self: Arc<Self>, request: SwitchRequest) -> Switched {
        Box::pin(async move {
            let resumed = match self.resume(request.id).await {
                // A boot may have done it meanwhile.
                Ok(found) if found.is_to_be_launched() && is_done(&*self, &request.to) => {
                    Ok(Resumed::Lost)
                }
                Ok(found) if found.is_to_be_launched() => {
                    self.switch_to(&request).await.map(Resumed::Ended)
                }
                resumed => resumed,
            };
            match resumed {
                Ok(Resumed::Ended(outcome)) => end(outcome),
                Ok(Resumed::Lost | Resumed::NotLaunched) => SwitchEnd::Lost,
                Err(error) => SwitchEnd::Failed(chain(&error)),
            }
        })
    }

    fn forget(&self, switching: &Switching) {
        if let Err(error) = SystemSwitcher::forget(self, switching.id) {
            tracing::debug!(reason = %chain(&error), "traces of a switch stay");
        }
    }
}

/// Whether a generation runs, and will be booted.
fn is_done(system: &impl SystemSwitcher, to: &Generation) -> bool {
    SystemSwitcher::observe(system).is_ok_and(|state| {
        let runs = state
            .current
            .is_some_and(|it| *it.store_path == *to.store_path);
        runs && state.profile.as_ref() == Some(to)
    })
}

fn end(outcome: SwitchOutcome) -> SwitchEnd {
    SwitchEnd::Ended {
        code: outcome.exit.code(),
        is_switched: outcome.exit.is_switched(),
        says: outcome.exit.to_string(),
        output: outcome.output,
    }
}

/// What the loop knows of the system.
#[derive(Default)]
pub(super) struct SystemWatch {
    edge: Option<Arc<dyn System>>,
    pub memory: SystemMemory,
    rules: NodeRollback,
    /// What is known of the closures of its generations.
    pub closures: Closures,
    checks: Option<NodeChecks>,
    /// When to look again.
    due: Mono,
    /// The intent of the switch under way.
    pub intent: Option<EntryRef>,
    /// The record of a switch that is to be begun, in this turn.
    intended: Option<usize>,
    task: JoinSet<SwitchEnd>,
}

impl SystemWatch {
    /// When to look at it, if there is one.
    pub fn wake_at(&self) -> Option<Mono> {
        self.edge.as_ref().map(|_| self.due)
    }

    /// The specs were read: what they say of the machine holds, and what the system may have
    /// brought is looked at.
    pub fn declare(&mut self, node: Option<&Node>) {
        self.due = Mono(0);
        self.rules = node.map(|node| node.rollback.clone()).unwrap_or_default();
        if let Some(checks) = &mut self.checks {
            checks.set(node.map_or(&BTreeMap::new(), |node| &node.health_checks));
        }
    }

    /// What there is to look at.
    pub fn edge(&self) -> Option<&Arc<dyn System>> {
        self.edge.as_ref()
    }

    /// The end of the switch under way.
    pub async fn ended(&mut self) -> Result<SwitchEnd, JoinError> {
        match self.task.join_next().await {
            Some(ended) => ended,
            None => std::future::pending().await,
        }
    }
}

/// The generation that runs; its number is 0 if it is none.
pub(super) fn current(state: &SystemState) -> Option<Generation> {
    let running = state.current.as_ref()?;
    Some(Generation {
        number: running.number.unwrap_or(0),
        store_path: running.store_path.clone().into(),
    })
}

impl<R: Runtime, P: Profiles, J: Journal> Reconciler<R, P, J> {
    /// Has the loop keep an eye on the machine's own generation.
    #[must_use]
    pub fn with_system(mut self, system: Arc<dyn System>) -> Self {
        self.system.edge = Some(system);
        self.system.checks = Some(NodeChecks::new(Arc::clone(&self.clock)));
        self
    }

    /// Looks at what runs, if that is due, and decides; what follows is recorded with this turn.
    pub(super) fn look_at_system(&mut self) {
        let now = self.clock.mono();
        let Some(edge) = self.system.edge.clone() else {
            return;
        };
        // Before the specs are read nobody knows who is to be well.
        if now < self.system.due || !self.specs_read || self.ending.is_some() {
            return;
        }
        let seen = edge
            .observe()
            .and_then(|state| Ok((state, edge.generations()?)));
        let (state, listed) = match seen {
            Ok(seen) => seen,
            Err(why) => {
                tracing::warn!(reason = %why, "the system's generation cannot be read");
                self.system.due = now.after(LOOK_EVERY);
                return;
            }
        };
        let agents = self.standings();
        let checks = self.system.checks.as_ref();
        let checks = checks.map(NodeChecks::states).unwrap_or_default();
        let running = current(&state);
        let plan = system::look(
            &self.system.memory,
            &SystemView {
                current: running.as_ref(),
                listed: &listed,
                agents: &agents,
                checks: &checks,
                rules: &self.system.rules,
                now,
                wall: self.clock.wall(),
                fresh: (self.ids)(),
            },
        );
        self.accept_system(plan, None);
        let memory = &self.system.memory;
        let busy = memory.probation.is_some() || memory.switching.is_some();
        let pause = match busy {
            true => LOOK_EVERY_ON_PROBATION,
            false => LOOK_EVERY,
        };
        self.system.due = now.after(pause);
    }

    /// Puts a decision about the system into this turn.
    pub(super) fn accept_system(&mut self, plan: SystemPlan, root: Option<Cause>) -> usize {
        let first = self.turn.system_records(root, &plan.records);
        self.change_system(|memory| *memory = plan.memory);
        for (generation, reason) in plan.records.iter().filter_map(to_be_hashed) {
            let has_store = self.system.edge().is_some_and(|edge| edge.has_store());
            if has_store {
                self.hash_system(generation, reason);
            }
        }
        if plan.switch.is_some() {
            self.system.intended = Some(first + plan.records.len() - 1);
        }
        first
    }

    pub(super) fn change_system(&mut self, change: impl FnOnce(&mut SystemMemory)) {
        let mut memory = self.system.memory.clone();
        change(&mut memory);
        if memory != self.system.memory {
            self.turn.put(SYSTEM_KEY.to_owned(), encode(&memory));
            self.system.memory = memory;
        }
    }

    /// Begins the switch that is in memory, once its intent is durable; one that an earlier
    /// daemon began is followed.
    pub(super) fn drive_switch(&mut self, reference: impl Fn(usize) -> Option<EntryRef>) {
        if let Some(index) = self.system.intended.take() {
            self.system.intent = reference(index);
        }
        let is_durable = self.recorder.degraded().is_none();
        let (Some(edge), Some(switching)) = (&self.system.edge, &self.system.memory.switching)
        else {
            return;
        };
        if !is_durable || !self.system.task.is_empty() || self.ending.is_some() {
            return;
        }
        tracing::warn!(to = switching.to.number, path = %switching.to.store_path, "switching the system");
        let request = SwitchRequest {
            id: switching.id,
            to: switching.to.clone(),
        };
        let switched = Arc::clone(edge).carry_out(request);
        self.system.task.spawn(switched);
    }

    /// A switch of the system ended.
    pub(super) fn accept_switched(&mut self, ended: Result<SwitchEnd, JoinError>) {
        let end = ended
            .unwrap_or_else(|error| SwitchEnd::Failed(format!("osmoda itself failed: {error}")));
        let Some(edge) = self.system.edge.clone() else {
            return;
        };
        let state = edge.observe();
        let running = state.ok().as_ref().and_then(current);
        let switching = self.system.memory.switching.clone();
        let now = self.clock.mono();
        let wall = self.clock.wall();
        tracing::warn!(end = ?end, "the switch of the system ended");
        let plan = system::settle(&self.system.memory, &end, running.as_ref(), now, wall);
        let intent = self.system.intent.take().map(Cause::Known);
        self.accept_system(plan, intent);
        self.system.due = now;
        if let Some(switching) = switching {
            edge.forget(&switching);
        }
    }

    /// Each declared agent, and how it is doing as far as the system is concerned.
    fn standings(&self) -> Vec<(AgentName, Standing)> {
        let declared = |state: &AgentState| state.desire.present().is_some();
        let named = self.agents.iter().filter(|(_, state)| declared(state));
        named
            .map(|(name, state)| {
                let standing = match self.all_paused {
                    Some(_) => Standing::Well,
                    None => standing(state),
                };
                (name.clone(), standing)
            })
            .collect()
    }

    /// Reads back what an earlier daemon knew, and the intent of a switch that it began.
    pub(super) fn remember_system(&mut self, rebooted: bool, last: Mono) -> Result<(), String> {
        let rows = self.recorder.journal.state(SYSTEM_KEY)?;
        let Some(bytes) = rows.get(SYSTEM_KEY) else {
            return Ok(());
        };
        let mut memory: SystemMemory = serde_json::from_slice(bytes).unwrap_or_else(|error| {
            tracing::error!(error = %error, "memory of the system cannot be read; it begins anew");
            SystemMemory::default()
        });
        if rebooted {
            memory.rebooted(last);
            self.turn.put(SYSTEM_KEY.to_owned(), encode(&memory));
        }
        if let Some(switching) = &memory.switching {
            let id = switching.id.to_string();
            let tail = self.recorder.journal.tail(super::startup::TAIL)?;
            let intent = tail.iter().rev().find(|stored| {
                stored.entry["kind"] == "RollbackIntended" && stored.entry["body"]["switch"] == id
            });
            self.system.intent = intent.map(|stored| stored.reference.clone());
        }
        self.system.memory = memory;
        Ok(())
    }
}

/// The generation that a record makes worth to be looked at whole, and why.
fn to_be_hashed(record: &Event) -> Option<(Generation, &'static str)> {
    match record {
        Event::SystemGood(good) => Some((good.generation.clone(), "Proven")),
        Event::SystemRollbackFailed(failed) => Some((failed.to.clone(), "RollbackFailed")),
        _ => None,
    }
}

fn standing(state: &AgentState) -> Standing {
    let memory = &state.memory;
    let Some(desired) = state.desire.present() else {
        return Standing::Well;
    };
    let at_rest = [Some(Finished::Succeeded), Some(Finished::Stopped)].contains(&memory.finished);
    if memory.paused.is_some() || at_rest {
        return Standing::Well;
    }
    let rollout = &memory.rollout;
    if let Some(why) = &rollout.stuck {
        return Standing::Stuck {
            message: why.clone(),
            escalates: desired.agent.spec.rollout.rollback == Rollback::System,
        };
    }
    let active = memory.active.as_ref();
    let verdict = active.and_then(|active| rollout.of(active));
    let proven = verdict.is_some_and(|tried| tried.verdict == Verdict::Good);
    let settled = memory.acted == Some(desired.digest) && rollout.going_back.is_none();
    match settled && proven && state.serves {
        true => Standing::Well,
        false => Standing::Coming {
            is_new: rollout.last_known_good().is_none(),
        },
    }
}
