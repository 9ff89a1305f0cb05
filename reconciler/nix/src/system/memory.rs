//! A machine in memory, for simulations: the same rules without NixOS, and faults on demand.
//!
//! Time is tokio's, so a paused clock drives it. What was launched goes on whatever becomes of
//! the future that launched it, as a unit does when the daemon dies.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use osmoda_core::observed::{Generation, InvocationId};
use tokio::time::Instant;

use super::{
    ATTEMPTS_MAX, LOCK_WAIT, Resumed, Running, SWITCH_WAIT, SwitchError, SwitchExit, SwitchOutcome,
    SwitchRequest, SystemState, SystemSwitcher,
};
use crate::{
    profile::ProfileError,
    store::{self, Damage, Verified, Watch},
};

/// Time between looks at the lock or at a switch under way.
const POLL: Duration = Duration::from_millis(250);
/// Names in messages.
const LOCK: &str = "/memory/switch-to-configuration.lock";
const PROFILE: &str = "/memory/profiles/system";

/// The steps of a switch, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SwitchStep {
    /// Before the lock is held.
    Lock,
    /// Before the profile is set.
    SetProfile,
    /// After the profile was set, before the unit runs.
    Launch,
    /// While the unit runs.
    Wait,
}

impl SwitchStep {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Lock, Self::SetProfile, Self::Launch, Self::Wait];
}

/// What goes wrong at a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The step fails.
    Error,
    /// Nothing more happens: the daemon is to be killed here. [`MemorySystem::is_stuck`] says
    /// that it came so far.
    Death,
}

/// [`SystemSwitcher`] in memory. Shared by reference; it stays when the daemon dies.
#[derive(Debug)]
pub struct MemorySystem {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    generations: BTreeMap<u64, String>,
    active: u64,
    current: String,
    booted: String,
    /// What the boot loader starts.
    boot_default: String,
    /// Held by somebody else until then.
    locked_until: Option<Instant>,
    takes: Duration,
    /// Codes of the next switches; 0 when there are none left.
    exits: Vec<SwitchExit>,
    fault: Option<(SwitchStep, Fault)>,
    stuck: bool,
    launched: BTreeMap<InvocationId, Launched>,
    switches: u64,
    /// Launches that did not find the lock held, for each intent.
    launches: BTreeMap<InvocationId, u32>,
    /// Store paths of which a bit was flipped.
    damaged: BTreeSet<String>,
}

#[derive(Debug)]
struct Launched {
    to: String,
    ends_at: Instant,
    exit: SwitchExit,
    /// It ended and did to the system what it does.
    is_applied: bool,
    /// The machine went down in the middle of it.
    is_lost: bool,
}

impl MemorySystem {
    /// A machine that runs generation 1, `store_path`, and booted it.
    pub fn new(store_path: &str) -> Self {
        let path = || store_path.to_owned();
        Self {
            state: Mutex::new(State {
                generations: BTreeMap::from([(1, path())]),
                active: 1,
                current: path(),
                booted: path(),
                boot_default: path(),
                locked_until: None,
                takes: Duration::from_secs(3),
                exits: Vec::new(),
                fault: None,
                stuck: false,
                launched: BTreeMap::new(),
                switches: 0,
                launches: BTreeMap::new(),
                damaged: BTreeSet::new(),
            }),
        }
    }

    /// A person's `nixos-rebuild switch`: a new generation, or the highest if it is that very
    /// path. Gives it.
    pub fn deploy(&self, store_path: &str) -> Generation {
        let mut state = self.state();
        let highest = state.generations.last_key_value();
        let number = match highest {
            Some((number, path)) if path == store_path => *number,
            Some((number, _)) => number + 1,
            None => 1,
        };
        state.generations.insert(number, store_path.to_owned());
        state.active = number;
        state.apply(store_path, &SwitchExit::Done);
        Generation {
            number,
            store_path: store_path.into(),
        }
    }

    /// A person's `nix-env --delete-generations`; not of the active one.
    pub fn delete(&self, number: u64) {
        let mut state = self.state();
        if state.active != number {
            state.generations.remove(&number);
        }
    }

    /// A bit of what a generation needs flips.
    pub fn damage(&self, store_path: &str) {
        self.state().damaged.insert(store_path.to_owned());
    }

    /// How the next switches end, in order, and how long each takes from now on.
    pub fn next_exits(&self, exits: &[SwitchExit], takes: Duration) {
        let mut state = self.state();
        state.exits = exits.iter().rev().cloned().collect();
        state.takes = takes;
    }

    /// Somebody else's switch holds the lock from now on for that long.
    pub fn hold_lock(&self, held: Duration) {
        self.state().locked_until = Some(Instant::now() + held);
    }

    /// What goes wrong when a switch comes to a step; once.
    pub fn fail_at(&self, step: SwitchStep, fault: Fault) {
        let mut state = self.state();
        state.fault = Some((step, fault));
        state.stuck = false;
    }

    /// Nothing goes wrong any more.
    pub fn end_faults(&self) {
        let mut state = self.state();
        state.fault = None;
        state.stuck = false;
        state.locked_until = None;
        state.exits.clear();
    }

    /// The store path that runs.
    pub fn current(&self) -> String {
        self.state().current.clone()
    }

    /// A person makes a generation run. False: there is no such generation.
    pub fn switch_from_outside(&self, number: u64) -> bool {
        let mut state = self.state();
        let Some(path) = state.generations.get(&number).cloned() else {
            return false;
        };
        state.active = number;
        state.apply(&path, &SwitchExit::Done);
        true
    }

    /// The daemon that was to be killed was killed.
    pub fn end_death(&self) {
        self.state().stuck = false;
    }

    /// Launches that did not find the lock held, for each intent.
    pub fn launches(&self) -> BTreeMap<InvocationId, u32> {
        self.state().launches.clone()
    }

    /// Whether a [`Fault::Death`] was come upon: it is time to kill the daemon.
    pub fn is_stuck(&self) -> bool {
        self.state().stuck
    }

    /// The machine loses its power and boots.
    pub fn power_cut(&self) {
        let mut state = self.state();
        for launched in state.launched.values_mut() {
            launched.is_lost |= !launched.is_applied;
        }
        state.current = state.boot_default.clone();
        state.booted = state.boot_default.clone();
        state.locked_until = None;
        state.stuck = false;
    }

    /// Switches that were launched so far.
    pub fn switches(&self) -> u64 {
        self.state().switches
    }

    /// The state, with all that has ended by now.
    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.settle();
        state
    }

    /// Comes to a step, where something may go wrong.
    async fn at(&self, step: SwitchStep) -> Result<(), SwitchError> {
        let fault = {
            let mut state = self.state();
            let fault = state.fault.take_if(|(at, _)| *at == step);
            state.stuck = matches!(fault, Some((_, Fault::Death)));
            fault
        };
        match fault {
            None => Ok(()),
            Some((_, Fault::Death)) => std::future::pending().await,
            Some((_, Fault::Error)) => Err(SwitchError::Io {
                operation: "do a step of a switch with",
                path: PROFILE.into(),
                source: io::ErrorKind::StorageFull.into(),
            }),
        }
    }

    async fn wait_for_lock(&self, deadline: Instant) -> Result<(), SwitchError> {
        while self.state().is_locked() {
            if Instant::now() >= deadline {
                return Err(SwitchError::Locked {
                    path: LOCK.into(),
                    waited: LOCK_WAIT,
                });
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Waits for the end of what was launched; `None` if it never comes.
    async fn ended(&self, id: InvocationId) -> Result<Option<SwitchOutcome>, SwitchError> {
        let deadline = Instant::now() + SWITCH_WAIT;
        loop {
            match self.state().launched.get(&id) {
                None | Some(Launched { is_lost: true, .. }) => return Ok(None),
                Some(launched) if launched.is_applied => {
                    let exit = launched.exit.clone();
                    let output = vec![format!("switched to {}: {exit}", launched.to)];
                    return Ok(Some(SwitchOutcome { exit, output }));
                }
                Some(_) if Instant::now() >= deadline => {
                    return Err(SwitchError::StillRunning {
                        unit: format!("osmoda-switch-{id}.service"),
                        waited: SWITCH_WAIT,
                    });
                }
                Some(_) => {}
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

impl State {
    fn is_locked(&self) -> bool {
        let now = Instant::now();
        let ours = |launched: &Launched| !launched.is_applied && !launched.is_lost;
        self.locked_until.is_some_and(|until| until > now) || self.launched.values().any(ours)
    }

    fn settle(&mut self) {
        let now = Instant::now();
        let ended: Vec<(String, SwitchExit)> = self
            .launched
            .values_mut()
            .filter(|l| !l.is_applied && !l.is_lost && l.ends_at <= now)
            .map(|launched| {
                launched.is_applied = true;
                (launched.to.clone(), launched.exit.clone())
            })
            .collect();
        for (to, exit) in ended {
            self.apply(&to, &exit);
        }
    }

    /// What a switch has done to the system by the time it exits.
    fn apply(&mut self, to: &str, exit: &SwitchExit) {
        let (boots, runs) = match exit {
            SwitchExit::Done | SwitchExit::UnitsFailed(_) | SwitchExit::ActivationFailed => {
                (true, true)
            }
            SwitchExit::RebootNeeded => (true, false),
            SwitchExit::Refused
            | SwitchExit::LockHeld
            | SwitchExit::Other(_)
            | SwitchExit::Killed(_) => (false, false),
        };
        if boots {
            self.boot_default = to.to_owned();
        }
        if runs {
            self.current = to.to_owned();
        }
    }

    fn set_profile(&mut self, to: &Generation) -> Result<(), ProfileError> {
        let (profile, number) = (PROFILE.into(), to.number);
        match self.generations.get(&number) {
            None => Err(ProfileError::NoSuchGeneration { profile, number }),
            Some(found) if *found != *to.store_path => Err(ProfileError::TargetChanged {
                profile,
                number,
                expected: to.store_path.to_string(),
                found: found.clone(),
            }),
            Some(_) => {
                self.active = number;
                Ok(())
            }
        }
    }

    fn launch(&mut self, id: InvocationId, to: &Generation) {
        self.switches += 1;
        // Whoever holds the lock by now makes the switch exit at once.
        let exit = match self.is_locked() {
            true => SwitchExit::LockHeld,
            false => self.exits.pop().unwrap_or(SwitchExit::Done),
        };
        if exit != SwitchExit::LockHeld {
            *self.launches.entry(id).or_default() += 1;
        }
        let launched = Launched {
            to: to.store_path.to_string(),
            ends_at: Instant::now() + self.takes,
            exit,
            is_applied: false,
            is_lost: false,
        };
        self.launched.insert(id, launched);
    }

    fn running(&self, store_path: &str) -> Running {
        let same = self
            .generations
            .iter()
            .rev()
            .find(|(_, path)| *path == store_path);
        Running {
            store_path: store_path.to_owned(),
            number: same.map(|(number, _)| *number),
            specialisation: None,
            boot_parts: [None, None, None],
        }
    }
}

impl SystemSwitcher for MemorySystem {
    fn observe(&self) -> Result<SystemState, SwitchError> {
        let state = self.state();
        let active = state.generations.get(&state.active);
        Ok(SystemState {
            profile: active.map(|store_path| Generation {
                number: state.active,
                store_path: store_path.as_str().into(),
            }),
            profile_is_there: active.is_some(),
            current: Some(state.running(&state.current)),
            booted: Some(state.running(&state.booted)),
        })
    }

    fn generations(&self) -> Result<Vec<Generation>, SwitchError> {
        let state = self.state();
        let generations = state.generations.iter();
        Ok(generations
            .map(|(number, store_path)| Generation {
                number: *number,
                store_path: store_path.as_str().into(),
            })
            .collect())
    }

    fn has_store(&self) -> bool {
        true
    }

    fn verify(&self, generation: &Generation, _: &Watch<'_>) -> Result<Verified, SwitchError> {
        let path = &*generation.store_path;
        let damaged = self.state().damaged.contains(path);
        let fault = store::Fault::Unreadable("ordered by the simulator".to_owned());
        let damage = damaged.then(|| Damage::new(path.to_string(), fault));
        Ok(Verified {
            paths: 1,
            bytes: path.len() as u64,
            damage: damage.into_iter().collect(),
        })
    }

    async fn switch_to(&self, request: &SwitchRequest) -> Result<SwitchOutcome, SwitchError> {
        let deadline = Instant::now() + LOCK_WAIT;
        let mut attempt = 1;
        loop {
            self.at(SwitchStep::Lock).await?;
            self.wait_for_lock(deadline).await?;
            self.at(SwitchStep::SetProfile).await?;
            self.state().set_profile(&request.to)?;
            self.at(SwitchStep::Launch).await?;
            self.state().launch(request.id, &request.to);
            self.at(SwitchStep::Wait).await?;
            let outcome = self.ended(request.id).await?;
            let outcome = outcome.ok_or_else(|| SwitchError::Launch {
                unit: format!("osmoda-switch-{}.service", request.id),
                message: "it ended without a word".to_owned(),
            })?;
            if outcome.exit != SwitchExit::LockHeld || attempt == ATTEMPTS_MAX {
                return Ok(outcome);
            }
            attempt += 1;
        }
    }

    async fn resume(&self, id: InvocationId) -> Result<Resumed, SwitchError> {
        if !self.state().launched.contains_key(&id) {
            return Ok(Resumed::NotLaunched);
        }
        let outcome = self.ended(id).await?;
        Ok(outcome.map_or(Resumed::Lost, Resumed::Ended))
    }

    fn forget(&self, id: InvocationId) -> Result<(), SwitchError> {
        self.state().launched.remove(&id);
        Ok(())
    }
}
