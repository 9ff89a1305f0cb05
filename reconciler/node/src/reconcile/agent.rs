//! What the loop knows of one agent.

use std::{path::PathBuf, sync::Arc};

use osmoda_core::{
    dependency::Unmet,
    digest::Digest,
    health::judge,
    memory::{Memory, Paused},
    name::AgentName,
    observed::{Instance, InstanceState, InvocationId, Observation},
    plan::{Action, Active, Bundle, Desired, Observed, Shutdown, View},
    spec::Agent,
    time::{Mono, Wall},
};
use osmoda_ledger::EntryRef;
use osmoda_nix::{eval::Recipe, profile::ProfileError, profiles::Profiles};
use osmoda_runtime::Runtime;

use super::closure::Closures;
use crate::{
    detect::{Following, board::Board},
    error::chain,
    metrics::Seen,
    specs,
};

/// Most lines of output kept with a failure.
pub const LAST_OUTPUT_LINES: usize = 20;
/// Most bytes of output kept with a failure.
pub const LAST_OUTPUT_BYTES: usize = 4096;

/// The desired state of an agent, or that nothing has been read yet: unknown is not absent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Desire {
    /// No specs have been read since the daemon started.
    #[default]
    Unread,
    /// It is in no spec.
    Absent,
    /// It is declared.
    Present(Desired),
}

impl Desire {
    /// What is declared, if anything.
    pub fn present(&self) -> Option<&Desired> {
        match self {
            Self::Present(desired) => Some(desired),
            Self::Unread | Self::Absent => None,
        }
    }
}

/// An action under way.
#[derive(Debug, Clone)]
pub struct InFlight {
    /// What is being done.
    pub action: Action,
    /// Its intent; absent while recording is degraded.
    pub intent: Option<EntryRef>,
    /// When it was begun.
    pub since: Mono,
}

/// A bundle being made.
#[derive(Debug, Clone)]
pub struct Build {
    /// Of which manifest.
    pub digest: Digest,
    /// Its intent; absent while recording is degraded.
    pub intent: Option<EntryRef>,
    /// When it was begun.
    pub since: Mono,
    /// Failures in a row before it.
    pub failures: u32,
}

/// One agent.
#[derive(Debug, Default)]
pub struct AgentState {
    /// What it should be.
    pub desire: Desire,
    /// File it was read from.
    pub file: Option<PathBuf>,
    /// How what it needs is built, if its spec is written in Nix.
    pub recipe: Option<Arc<Recipe>>,
    /// Why its newest spec was refused.
    pub spec_error: Option<String>,
    /// Durable memory.
    pub memory: Memory,
    /// The action under way. As with the bundle, few agents have one at a time.
    pub in_flight: Option<Box<InFlight>>,
    /// The bundle being made.
    pub build: Option<Box<Build>>,
    /// How far the bundle of this manifest has come, where bundles are built.
    pub bundle: Option<(Digest, Bundle)>,
    /// What is known of generations' closures, by store path, since the daemon started.
    pub closures: Closures,
    /// After a failed action: no other before this.
    pub hold_until: Option<Mono>,
    /// When the loop looks at it again by itself.
    pub wake_at: Option<Mono>,
    /// First entry of the open incident.
    pub incident_root: Option<EntryRef>,
    /// It is ready, or has ended as its policy expects: whoever depends on it may start.
    pub serves: bool,
    /// The incident, open or opened in this turn, that explains who fails for want of it.
    pub explains: Option<String>,
    /// Its dependencies that were not ready when it was looked at last.
    pub unmet: Vec<Unmet>,
    /// The active generation as read last; read again when the profile's link changes.
    pub(super) active: Option<Active>,
    /// The detectors of the instance that runs.
    pub(super) following: Option<Following>,
    /// What the last plan was made of, if that was known.
    pub(super) planned: Option<Planned>,
    /// What was told last for /metrics.
    pub(super) metered: Option<Seen>,
}

/// What no message may have told of, as a plan saw it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Planned {
    instance: Option<(InvocationId, InstanceState)>,
    active: u64,
}

/// What surrounds every agent of a turn.
#[derive(Debug, Clone, Copy)]
pub struct Moment<'a> {
    /// Now.
    pub now: Mono,
    /// Now, for people.
    pub wall: Wall,
    /// All agents are paused.
    pub all_paused: Option<&'a Paused>,
    /// Whose turn it is in a shutdown.
    pub shutdown: Option<Shutdown>,
    /// Random bytes.
    pub fresh: InvocationId,
    /// Bundles are built in the background before they are activated.
    pub builds: bool,
}

impl AgentState {
    /// An agent that is remembered from an earlier daemon.
    pub fn remembered(memory: Memory) -> Self {
        let file = memory.file.as_ref().map(PathBuf::from);
        let explains = memory.incident.as_ref().map(|open| open.id.clone());
        Self {
            memory,
            file,
            explains,
            ..Self::default()
        }
    }

    /// Forgets that actions have failed: what stood in their way may be gone.
    pub fn try_again(&mut self) {
        self.hold_until = None;
        self.memory.failed_actions = 0;
    }

    /// The agent of a manifest that is in memory already: what says the same is there once.
    pub fn known_agent(&self, digest: Digest) -> Option<Arc<Agent>> {
        let declared = self.desire.present().map(|d| (d.digest, &d.agent));
        let active = self.active.as_ref().map(|a| (a.digest, &a.agent));
        let mut known = declared.into_iter().chain(active);
        let (_, agent) = known.find(|(of, _)| *of == digest)?;
        Some(Arc::clone(agent))
    }

    /// Reads what the agent is from runtime and profile.
    pub fn observe(
        &mut self,
        name: &AgentName,
        runtime: &impl Runtime,
        profiles: &impl Profiles,
        board: &Board,
    ) -> Observed {
        let instance = runtime.inspect(name);
        let ended = match &instance {
            Observation::Known(Some(instance)) => self.has_unrecorded_end(instance),
            _ => false,
        };
        let last_output = if ended {
            runtime.last_output(name, LAST_OUTPUT_LINES, LAST_OUTPUT_BYTES)
        } else {
            Vec::new()
        };
        let vitals = match &instance {
            Observation::Known(Some(instance)) => board.vitals(name, instance.invocation),
            _ => None,
        };
        Observed {
            instance,
            active: self.observe_active(name, profiles),
            vitals,
            last_output,
        }
    }

    /// Whether the running instance has a fault that is not on record.
    pub fn has_new_fault(&self, name: &AgentName, seen: &Observed, moment: Moment<'_>) -> bool {
        let view = self.view(name, seen, moment);
        let known = self.memory.condemned.map(|condemned| condemned.invocation);
        view.running()
            .is_some_and(|(instance, _)| known != Some(instance.invocation))
            && judge(&view).fault.is_some()
    }

    fn has_unrecorded_end(&self, instance: &Instance) -> bool {
        matches!(instance.state, InstanceState::Exited(_))
            && self.memory.accounted != Some(instance.invocation)
    }

    /// The desired state that was acted on last, as its generations hold it; `None`: they hold
    /// it no longer, and only the specs can tell.
    pub(super) fn last_valid(
        &mut self,
        name: &AgentName,
        profiles: &impl Profiles,
    ) -> Option<Desired> {
        let active = match self.observe_active(name, profiles) {
            Observation::Known(active) => active,
            Observation::Unknown(_) => None,
        };
        let of_active = active.map(|active| Desired {
            agent: active.agent,
            digest: active.digest,
        });
        let Some(acted) = self.memory.acted else {
            return of_active; // nothing is remembered: a ledger that had to be begun anew
        };
        let is_it = |desired: &Desired| desired.digest == acted;
        // What is active may be what was gone back to, or a person's choice.
        of_active.filter(is_it).or_else(|| {
            let listed = profiles.list(name).ok()?;
            let mut read = listed.iter().rev().filter_map(|generation| {
                let manifest = profiles.manifest(generation).ok()?;
                Some(Desired::new(specs::load_manifest(&manifest).ok()?.into()))
            });
            read.find(is_it)
        })
    }

    fn observe_active(
        &mut self,
        name: &AgentName,
        profiles: &impl Profiles,
    ) -> Observation<Option<Active>> {
        let generation = match profiles.active(name) {
            Ok(Some(generation)) => generation,
            Ok(None) => return Observation::Known(None),
            Err(error) => return Observation::Unknown(chain(&error)),
        };
        if let Some(active) = &self.active
            && active.generation == generation
        {
            return Observation::Known(Some(active.clone()));
        }
        let manifest = match profiles.manifest(&generation) {
            Ok(manifest) => manifest,
            Err(error) => return self.unreadable(&error),
        };
        // What is declared and what is active are most often the same: then they are one thing in
        // memory, and need no reading.
        let declared = self.desire.present();
        let declared = declared.filter(|d| d.digest == Digest::of(manifest.as_bytes()));
        let read = match declared {
            Some(declared) => Ok(declared.clone()),
            None => specs::load_manifest(&manifest).map(|agent| Desired::new(agent.into())),
        };
        match read {
            Ok(Desired { agent, digest }) => {
                let active = Active {
                    generation,
                    agent,
                    digest,
                };
                self.active = Some(active.clone());
                Observation::Known(Some(active))
            }
            Err(errors) => {
                let first = errors.first().map(ToString::to_string).unwrap_or_default();
                Observation::Unknown(format!(
                    "the manifest in {} is not valid: {first}",
                    generation.store_path
                ))
            }
        }
    }

    /// Takes note of what a plan was made of.
    pub(super) fn note_planned(&mut self, seen: &Observed) {
        self.planned = match (&seen.instance, &seen.active) {
            (Observation::Known(instance), Observation::Known(Some(active))) => Some(Planned {
                instance: (instance.as_ref()).map(|seen| (seen.invocation, seen.state.clone())),
                active: active.generation.number,
            }),
            _ => None,
        };
    }

    /// Whether the last plan was made of this instance and of what the profile says now: time and
    /// messages apart, another would say the same.
    pub(super) fn was_planned_with(
        &self,
        name: &AgentName,
        instance: Option<&Instance>,
        profiles: &impl Profiles,
    ) -> bool {
        let (Some(planned), Some(active)) = (&self.planned, &self.active) else {
            return false;
        };
        let same = match (&planned.instance, instance) {
            (Some((invocation, state)), Some(now)) => {
                *invocation == now.invocation && *state == now.state
            }
            (None, None) => true,
            _ => false,
        };
        same && planned.active == active.generation.number
            && matches!(profiles.active(name), Ok(Some(now)) if now == active.generation)
    }

    /// How far the bundle of the desired manifest has come.
    fn bundle(&self, builds: bool) -> &Bundle {
        let desired = self.desire.present().map(|desired| desired.digest);
        match &self.bundle {
            _ if !builds => &Bundle::Immediate,
            Some((digest, bundle)) if Some(*digest) == desired => bundle,
            _ => &Bundle::Absent,
        }
    }

    /// What a generation without a readable bundle is taken for. A new spec is deployed all the
    /// same; otherwise nothing is done on a guess.
    fn unreadable(&self, error: &ProfileError) -> Observation<Option<Active>> {
        let desired = self.desire.present().map(|desired| desired.digest);
        let changed = desired.is_some() && desired != self.memory.acted;
        let lost = matches!(error, ProfileError::Bundle(_)) && !error.is_retryable();
        match changed && lost {
            true => Observation::Known(None),
            false => Observation::Unknown(chain(error)),
        }
    }

    /// Everything that a decision about this agent depends on.
    pub fn view<'a>(
        &'a self,
        name: &'a AgentName,
        observed: &'a Observed,
        moment: Moment<'a>,
    ) -> View<'a> {
        View {
            name,
            desired: self.desire.present(),
            observed,
            memory: &self.memory,
            all_paused: moment.all_paused,
            spec_error: self.spec_error.as_deref(),
            unmet: &self.unmet,
            bundle: self.bundle(moment.builds),
            busy: self.in_flight.as_ref().map(|flight| flight.action.busy()),
            hold_until: self.hold_until,
            shutdown: moment.shutdown,
            now: moment.now,
            wall: moment.wall,
            fresh: moment.fresh,
        }
    }
}
