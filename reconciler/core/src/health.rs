//! From what the detectors know of an instance to what it means: started, ready, or at fault.
//!
//! [`judge`] is the one place where readiness and faults are decided. Four independent
//! detectors feed it (the exit is accounted for by the plan itself): with one of them turned
//! off the others go on.
//!
//! Invariants: what is not known is neither ready nor at fault; a fault has passed its deadline
//! or its threshold; while a dependency is not ready, silence and failing probes are no fault;
//! an instance of a generation that was replaced is not held to the rules of the next one.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    event::{CpuFacts, FaultFacts, HeartbeatFacts, MemoryFacts, ProbeFacts},
    heartbeat::{Heartbeat, Silence},
    observed::Instance,
    plan::{View, micros, millis},
    probe::{ProbeState, Verdict},
    resources::{Excess, Trajectory},
    spec::{AgentSpec, HeartbeatSource},
    time::Mono,
};

/// What the detectors know of one running instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vitals {
    /// Since when they have been following it: its start, or its adoption.
    pub followed_since: Mono,
    /// Deadlines that lay before this are forgiven: the daemon slept, or a dependency failed.
    pub excused_at: Option<Mono>,
    /// What it says of itself.
    pub heartbeat: Heartbeat,
    /// What gates its start ([`crate::spec::Probes::gate`]), if anything does.
    pub startup: Option<ProbeState>,
    /// Its readiness probe.
    pub readiness: Option<ProbeState>,
    /// Its liveness probe.
    pub liveness: Option<ProbeState>,
    /// Its memory and CPU, if they are judged.
    pub usage: Trajectory,
}

impl Vitals {
    /// Nothing is known yet.
    pub fn new(followed_since: Mono) -> Self {
        Self {
            followed_since,
            excused_at: None,
            heartbeat: Heartbeat::default(),
            startup: None,
            readiness: None,
            liveness: None,
            usage: Trajectory::default(),
        }
    }

    /// `at`, or the end of what is forgiven.
    fn excused(&self, at: Mono) -> Mono {
        self.excused_at.map_or(at, |excused| excused.max(at))
    }
}

/// What is wrong with an instance that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FaultKind {
    /// No heartbeat until the deadline, or it said so itself.
    Hang,
    /// It announced its end and did not come to it.
    StopTimeout,
    /// It did not say READY=1 until `rollout.progressDeadline`.
    StartTimeout,
    /// Its startup probe failed.
    StartupFailed,
    /// Its liveness probe failed.
    Unhealthy,
    /// Its memory reached the threshold.
    MemoryHigh,
    /// Its memory is about to.
    MemoryRising,
    /// Its CPU use was above the threshold for the whole window.
    CpuRunaway,
}

impl FaultKind {
    /// One CamelCase word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Hang => "Hang",
            Self::StopTimeout => "StopTimeout",
            Self::StartTimeout => "StartTimeout",
            Self::StartupFailed => "StartupFailed",
            Self::Unhealthy => "Unhealthy",
            Self::MemoryHigh => "MemoryHigh",
            Self::MemoryRising => "MemoryRising",
            Self::CpuRunaway => "CpuRunaway",
        }
    }

    /// Whether a failing dependency explains it, so that it is no fault of the agent's own.
    fn may_be_a_dependencys(self) -> bool {
        !matches!(
            self,
            Self::MemoryHigh | Self::MemoryRising | Self::CpuRunaway | Self::StopTimeout
        )
    }
}

/// A fault, and the facts that show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong.
    pub kind: FaultKind,
    /// For people.
    pub message: String,
    /// Since when, as far as is known: the last heartbeat, the first failed answer.
    pub failed_at: Mono,
    /// When it could be known first: the deadline, the deciding answer.
    pub due_at: Mono,
    /// For the ledger.
    pub facts: FaultFacts,
}

/// What an instance's state amounts to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Health {
    /// Its start is complete.
    pub started: bool,
    /// It does its work.
    pub ready: bool,
    /// Since when, as far as is known.
    pub ready_since: Option<Mono>,
    /// Why it is not ready: one CamelCase word and a line for people.
    pub waiting: Option<(&'static str, String)>,
    /// What is wrong with it.
    pub fault: Option<Fault>,
    /// When silence or slowness would become a fault.
    pub wake_at: Option<Mono>,
}

/// Judges the running instance of an agent. One that does not run is neither ready nor at fault.
pub fn judge(view: &View<'_>) -> Health {
    let (Some((instance, _)), Some(spec)) = (view.running(), view.rules()) else {
        return Health::default();
    };
    let unknown = Vitals::new(view.now);
    let vitals = view.observed.vitals.as_ref().unwrap_or(&unknown);
    let known = view.observed.vitals.is_some();
    let mut judging = Judging {
        view,
        spec,
        instance,
        vitals,
        health: Health::default(),
    };
    judging.readiness();
    if known && !view.is_replaced(instance) {
        judging.faults();
    }
    judging.health
}

struct Judging<'a> {
    view: &'a View<'a>,
    spec: &'a AgentSpec,
    instance: &'a Instance,
    vitals: &'a Vitals,
    health: Health,
}

impl Judging<'_> {
    /// It had been started when an earlier daemon saw it last.
    fn was_started(&self) -> bool {
        self.view.memory.started == Some(self.instance.invocation)
    }

    fn readiness(&mut self) {
        let waiting = self.waits_for();
        self.health.started = waiting.is_none();
        self.health.waiting = waiting.or_else(|| self.not_ready());
        self.health.ready = self.health.waiting.is_none();
        if self.health.ready {
            let vitals = Some(self.vitals);
            self.health.ready_since =
                became_ready(self.spec, self.instance, vitals, self.was_started());
        }
    }

    fn waits_for(&self) -> Option<(&'static str, String)> {
        if self.was_started() {
            return None;
        }
        if speaks(self.spec) && ready_at(self.instance, self.vitals).is_none() {
            return Some(("NotNotified", "it has not said READY=1 yet".to_owned()));
        }
        let passed = |probe: &ProbeState| probe.verdict == Verdict::Success;
        let gate = self.spec.probes.gate();
        match &self.vitals.startup {
            _ if gate.is_none() => None,
            Some(probe) if passed(probe) => None,
            Some(probe) => Some(("NotStarted", said("startup", &probe.message))),
            None => Some((
                "NotStarted",
                "its startup probe has not been asked yet".to_owned(),
            )),
        }
    }

    fn not_ready(&self) -> Option<(&'static str, String)> {
        if self.vitals.heartbeat.stopping_since.is_some() {
            return Some(("Ending", "it said STOPPING=1".to_owned()));
        }
        if self.view.memory.condemned_now(self.instance.invocation) {
            return Some(("Failed", "it failed and is being stopped".to_owned()));
        }
        if let Some(probe) = &self.vitals.liveness
            && probe.verdict == Verdict::Failure
        {
            return Some(("Unhealthy", said("liveness", &probe.message)));
        }
        self.spec.probes.readiness.as_ref()?;
        match &self.vitals.readiness {
            Some(probe) if probe.verdict == Verdict::Success => None,
            Some(probe) => Some(("NotReady", said("readiness", &probe.message))),
            None => Some((
                "NotReady",
                "its readiness probe has not been asked yet".to_owned(),
            )),
        }
    }

    fn faults(&mut self) {
        let found = [
            self.ending(),
            self.hang(),
            self.slow_start(),
            self.failed_probe(),
            self.excess(),
        ];
        let explained = !self.view.unmet.is_empty();
        let own = |fault: &Fault| !(explained && fault.kind.may_be_a_dependencys());
        self.health.fault = found.into_iter().flatten().find(own);
        // Left running for a pause, perhaps; of use to nobody all the same.
        if let Some(fault) = &self.health.fault
            && fault.kind.may_be_a_dependencys()
            && self.health.ready
        {
            let why = format!("it failed: {}", fault.kind.word());
            (self.health.ready, self.health.ready_since) = (false, None);
            self.health.waiting = Some(("Failed", why));
        }
    }

    fn wake(&mut self, at: Mono) {
        let earliest = self.health.wake_at.map_or(at, |earlier| earlier.min(at));
        self.health.wake_at = Some(earliest);
    }

    /// It said STOPPING=1: it has as long as a stop may take.
    fn ending(&mut self) -> Option<Fault> {
        let heartbeat = &self.vitals.heartbeat;
        let since = heartbeat.stopping_since?;
        let grace = self.spec.stop.grace_period.get();
        let deadline = heartbeat.extended(since.after(grace));
        if self.view.now < deadline {
            self.wake(deadline);
            return None;
        }
        Some(Fault {
            kind: FaultKind::StopTimeout,
            message: format!(
                "it said STOPPING=1 and still runs {} later",
                seconds(self.view.now.since(since))
            ),
            failed_at: since,
            due_at: deadline,
            facts: self.heartbeat_facts(Some(since)),
        })
    }

    fn hang(&mut self) -> Option<Fault> {
        let heartbeat = &self.vitals.heartbeat;
        if heartbeat.stopping_since.is_some() {
            return None; // judged by its end
        }
        let rules = self.spec.heartbeat.as_ref();
        if let (None, Some(at)) = (rules, heartbeat.triggered_at) {
            return Some(self.silent(at, at)); // asked for, whatever the spec expects
        }
        let rules = rules?;
        let armed_at = match rules.source {
            _ if heartbeat.triggered_at.is_some() => self.instance.started_at,
            HeartbeatSource::Notify => match ready_at(self.instance, self.vitals) {
                Some(at) => at,
                None if self.was_started() => self.vitals.followed_since,
                None => return None, // judged by its start
            },
            HeartbeatSource::Output | HeartbeatSource::File(_) => {
                if !self.health.started {
                    return None;
                }
                let gate = self.vitals.startup.as_ref().map(|probe| probe.since);
                gate.unwrap_or(self.vitals.followed_since)
            }
        };
        match heartbeat.judge(rules, self.vitals.excused(armed_at), self.view.now) {
            Silence::Within { deadline } => {
                // Output and File: whoever looks wakes the loop.
                if rules.source == HeartbeatSource::Notify {
                    self.wake(deadline);
                }
                None
            }
            Silence::Overdue { since, deadline } => Some(self.silent(since, deadline)),
        }
    }

    fn silent(&self, since: Mono, due_at: Mono) -> Fault {
        let message = if self.vitals.heartbeat.triggered_at.is_some() {
            "it said WATCHDOG=trigger".to_owned()
        } else {
            let time = seconds(self.view.now.since(since));
            format!("no heartbeat for {time}")
        };
        Fault {
            kind: FaultKind::Hang,
            message,
            failed_at: since,
            due_at,
            facts: self.heartbeat_facts(Some(since)),
        }
    }

    fn slow_start(&mut self) -> Option<Fault> {
        let heartbeat = &self.vitals.heartbeat;
        let is_ready = ready_at(self.instance, self.vitals).is_some();
        if self.was_started() || !speaks(self.spec) || is_ready {
            return None;
        }
        let limit = self.spec.rollout.progress_deadline.get();
        // An adopted instance may have said it while no daemon was there to hear it.
        let heard_since = match self.instance.adopted {
            true => self.vitals.followed_since,
            false => self.instance.started_at,
        };
        let since = self.vitals.excused(heard_since);
        let deadline = heartbeat.extended(since.after(limit));
        if self.view.now < deadline {
            self.wake(deadline);
            return None;
        }
        Some(Fault {
            kind: FaultKind::StartTimeout,
            message: format!(
                "it has not said READY=1 within {}",
                seconds(self.view.now.since(self.instance.started_at))
            ),
            failed_at: self.instance.started_at,
            due_at: deadline,
            facts: self.heartbeat_facts(None),
        })
    }

    fn failed_probe(&self) -> Option<Fault> {
        let failed = |probe: &&ProbeState| probe.verdict == Verdict::Failure;
        let startup = self.vitals.startup.as_ref().filter(failed);
        let startup = startup.filter(|_| !self.was_started());
        let (kind, probe) = match (startup, self.vitals.liveness.as_ref().filter(failed)) {
            (Some(probe), _) => (FaultKind::StartupFailed, probe),
            (None, Some(probe)) => (FaultKind::Unhealthy, probe),
            (None, None) => return None,
        };
        let field = probe.kind.field();
        let message = &probe.message;
        Some(Fault {
            kind,
            message: format!(
                "the {field} probe failed {} times in a row: {message}",
                probe.run
            ),
            failed_at: probe.run_since,
            due_at: probe.since,
            facts: FaultFacts {
                probe: Some(ProbeFacts {
                    probe: field,
                    failures: probe.run,
                    answer: message.clone(),
                }),
                ..self.status_facts()
            },
        })
    }

    fn excess(&self) -> Option<Fault> {
        let rules = &self.spec.resources;
        let grace = self.spec.stop.grace_period.get();
        let last = self.vitals.usage.last()?;
        let high = rules.memory_high.map_or(0, |size| size.0);
        let (kind, message) = match self.vitals.usage.judge(rules, grace)? {
            Excess::MemoryHigh => (
                FaultKind::MemoryHigh,
                format!(
                    "memory of {} bytes reached resources.memory.high, {high}",
                    last.memory_bytes
                ),
            ),
            Excess::MemoryRising { crosses_in } => (
                FaultKind::MemoryRising,
                format!(
                    "memory of {} bytes will reach resources.memory.high, {high}, in {}",
                    last.memory_bytes,
                    seconds(crosses_in)
                ),
            ),
            Excess::CpuRunaway { percent } => (
                FaultKind::CpuRunaway,
                format!("CPU use of {percent} % for the whole of resources.cpu.runaway.for"),
            ),
        };
        let mut facts = self.status_facts();
        match kind {
            FaultKind::CpuRunaway => {
                let runaway = rules.cpu_runaway.unwrap_or_default();
                facts.cpu = Some(CpuFacts {
                    threshold_percent: runaway.above.0,
                    window_ms: millis(runaway.window.get()),
                    trajectory: self.vitals.usage.samples().copied().collect(),
                });
            }
            _ => {
                facts.memory = Some(MemoryFacts {
                    threshold_bytes: high,
                    trajectory: self.vitals.usage.samples().copied().collect(),
                });
            }
        }
        Some(Fault {
            kind,
            message,
            failed_at: last.at,
            due_at: last.at,
            facts,
        })
    }

    fn status_facts(&self) -> FaultFacts {
        FaultFacts::of(&self.vitals.heartbeat)
    }

    fn heartbeat_facts(&self, since: Option<Mono>) -> FaultFacts {
        let heartbeat = &self.vitals.heartbeat;
        FaultFacts {
            heartbeat: Some(HeartbeatFacts {
                last_mono_us: heartbeat.last,
                silent_us: since.map(|since| micros(self.view.now.since(since))),
            }),
            ..self.status_facts()
        }
    }
}

/// Whether anything but its process shows that an agent is well.
pub fn can_be_verified(spec: &AgentSpec) -> bool {
    speaks(spec) || spec.probes.gate().is_some() || spec.probes.readiness.is_some()
}

/// When the instance became ready last, going by what its detectors knew last; `None`: it did
/// not, or nobody knows. `started`: an earlier daemon saw its start complete.
pub fn became_ready(
    spec: &AgentSpec,
    instance: &Instance,
    vitals: Option<&Vitals>,
    started: bool,
) -> Option<Mono> {
    if !can_be_verified(spec) {
        return Some(instance.started_at);
    }
    let vitals = vitals?;
    let mut since = instance.started_at;
    match ready_at(instance, vitals) {
        Some(at) => since = since.max(at),
        None if speaks(spec) && !started => return None,
        None => {}
    }
    let gate = vitals.startup.as_ref().filter(|_| !started);
    let unasked = spec.probes.gate().is_some() && !started && gate.is_none()
        || spec.probes.readiness.is_some() && vitals.readiness.is_none();
    if unasked {
        return None;
    }
    for probe in [gate, vitals.readiness.as_ref()].into_iter().flatten() {
        if probe.verdict != Verdict::Success {
            return None;
        }
        since = since.max(probe.since);
    }
    Some(since)
}

/// When it said READY=1, as far as is known. An adopted one whose heartbeats come has said so to
/// a daemon that died before it could remember, and will not do so again.
fn ready_at(instance: &Instance, vitals: &Vitals) -> Option<Mono> {
    let heartbeat = &vitals.heartbeat;
    let beats = instance.adopted && heartbeat.last.is_some();
    let adopted_at = beats.then_some(vitals.followed_since);
    heartbeat.ready_at.or(adopted_at)
}

/// Whether it is expected to speak sd_notify(3).
fn speaks(spec: &AgentSpec) -> bool {
    let heartbeat = spec.heartbeat.as_ref();
    heartbeat.is_some_and(|heartbeat| heartbeat.source == HeartbeatSource::Notify)
}

impl FaultFacts {
    /// What the agent said last of itself.
    pub fn of(heartbeat: &Heartbeat) -> Self {
        Self {
            status: Some(heartbeat.status.clone()).filter(|status| !status.is_empty()),
            errno: heartbeat.errno,
            reloading_since_mono_us: heartbeat.reloading_since,
            ..Self::default()
        }
    }
}

fn said(probe: &str, message: &str) -> String {
    match message {
        "" => format!("its {probe} probe has not succeeded yet"),
        why => format!("its {probe} probe: {why}"),
    }
}

/// Seconds with three places.
fn seconds(time: Duration) -> String {
    format!("{}.{:03} s", time.as_secs(), time.subsec_millis())
}
