//! Faults of instances that run, dependencies that are not ready, and recovery from both.

use super::*;
use crate::{
    health::{FaultKind, Vitals},
    heartbeat::Notice,
    memory::Incident,
    probe::{Answer, ProbeKind, ProbeState},
    resources::{SAMPLE_EVERY, Usage},
    spec::{Heartbeat, HeartbeatSource, Probe, ProbeCheck},
    units::{ByteSize, Period},
};

const S: u64 = 1_000_000;

pub(super) fn notify(spec: &mut AgentSpec) {
    spec.heartbeat = Some(Heartbeat {
        source: HeartbeatSource::Notify,
        timeout: Period::secs(15),
    });
}

fn probe() -> Probe {
    Probe::new(ProbeCheck::TcpSocket {
        host: "127.0.0.1".into(),
        port: 80,
    })
}

fn depends(spec: &mut AgentSpec) {
    spec.depends_on = vec![AgentName::new("base").unwrap()];
}

fn unmet() -> Vec<Unmet> {
    vec![Unmet {
        agent: AgentName::new("base").unwrap(),
        incident: Some("root".into()),
    }]
}

impl Case {
    /// Running since `NOW - 1 s`, and followed since then.
    pub(super) fn followed(change: impl FnOnce(&mut AgentSpec)) -> Self {
        let mut case = Self::running(change);
        case.observed.vitals = Some(Vitals::new(Mono(NOW.0 - S)));
        case
    }

    fn vitals(&mut self) -> &mut Vitals {
        self.observed.vitals.as_mut().unwrap()
    }

    pub(super) fn says(&mut self, notice: &Notice, at: Mono) {
        self.vitals().heartbeat.hear(notice, at);
    }

    pub(super) fn later(mut self, seconds: u64) -> Self {
        self.now = Mono(self.now.0 + seconds * S);
        self
    }

    fn ready(&self) -> bool {
        self.plan().health.ready
    }

    pub(super) fn failure(&self) -> FailureDetected {
        let records = self.plan().records;
        let failure = records.iter().find_map(|record| match &record.event {
            Event::FailureDetected(failure) => Some(failure.clone()),
            _ => None,
        });
        failure.unwrap_or_else(|| panic!("a failure among {records:?}"))
    }
}

/// A probe that gave these answers: `+` or `-`.
fn answered(kind: ProbeKind, rules: &Probe, answers: &str, at: Mono) -> ProbeState {
    let mut state = ProbeState::new(kind, Mono(0));
    for answer in answers.chars() {
        let answer = match answer {
            '+' => Answer::Success,
            _ => Answer::Failure("503".into()),
        };
        state.fold(rules, &answer, at);
    }
    state
}

#[test]
fn a_silent_agent_is_recorded_stopped_and_restarted_with_the_budget() {
    let mut case = Case::followed(notify);
    case.says(&Notice::Ready, NOW);
    case.says(&Notice::Status("asking the model".into()), NOW);
    let plan = case.plan();
    assert!(plan.health.ready);
    assert_eq!(
        plan.wake_at,
        Some(Mono(NOW.0 + 15 * S)),
        "exactly the deadline"
    );
    let case = case.later(15);
    let failure = case.failure();
    assert_eq!((failure.reason, failure.detected_after_us), ("Hang", 0));
    let facts = failure.facts.unwrap();
    assert_eq!(facts.status.as_deref(), Some("asking the model"));
    assert_eq!(facts.heartbeat.unwrap().silent_us, Some(15 * S));
    assert_eq!(case.steps(), ["Stop Hang", "Start Restart"]);
    assert_eq!(case.plan().memory.restarts, 1);
    assert_eq!(case.plan().memory.restart.consecutive, 1);
}

#[test]
fn a_fault_is_recorded_once_and_its_stop_keeps_the_backoff() {
    let mut case = Case::followed(notify).later(15);
    case.says(&Notice::Ready, NOW);
    case.memory.restart.consecutive = 3;
    let plan = case.plan();
    let next = plan.memory.next_start_at.unwrap();
    assert!(next > case.now, "the fourth restart waits");
    case.memory = plan.memory;
    assert_eq!(
        case.kinds(),
        [EventKind::ActionIntended],
        "a stop that has to be tried again is no second failure"
    );
    let stop = case.plan().step.unwrap().action;
    let outcome = Outcome::Stopped {
        exit: Exit {
            status: CRASH,
            at: case.now,
            oom_killed: false,
            outside: None,
        },
        killed: true,
    };
    let settled = settle(
        &case.memory,
        &Done {
            action: &stop,
            outcome: &outcome,
            since: case.now,
            fresh: id(3),
            now: case.now,
            wall: Wall(0),
        },
    );
    assert_eq!(settled.memory.next_start_at, Some(next));
    assert_eq!(settled.memory.last_exit.as_ref().unwrap().reason, "Hang");
}

#[test]
fn an_end_that_a_fault_called_for_is_not_a_second_failure() {
    let mut case = Case::followed(notify).later(15);
    case.says(&Notice::Ready, NOW);
    case.memory = case.plan().memory;
    let at = case.now;
    case.instance(InstanceState::Exited(Exit {
        status: CRASH,
        at,
        oom_killed: false,
        outside: None,
    }));
    let restarts = case.memory.restarts;
    assert!(!case.kinds().contains(&EventKind::FailureDetected));
    assert_eq!(case.plan().memory.restarts, restarts);
    assert_eq!(case.steps(), ["Start Restart"]);
}

#[test]
fn a_paused_agent_that_hangs_is_recorded_and_spared_until_it_is_resumed() {
    let mut case = Case::followed(notify).later(15);
    case.says(&Notice::Ready, NOW);
    case.memory.paused = Some(Paused {
        reason: "look".into(),
        uid: 0,
        at: Wall(0),
    });
    assert!(case.kinds().contains(&EventKind::FailureDetected));
    let plan = case.plan();
    assert_eq!((plan.step, plan.memory.restarts), (None, 0));
    case.memory = plan.memory;
    assert!(!case.kinds().contains(&EventKind::FailureDetected), "once");
    case.memory.paused = None;
    assert_eq!(case.steps()[0], "Stop Hang");
    let recovered = Case {
        now: Mono(NOW.0 + S),
        ..case
    };
    assert_eq!(
        recovered.plan().step,
        None,
        "who has recovered by itself is let live"
    );
}

#[test]
fn an_agent_that_never_says_ready_has_until_its_deadline() {
    let mut case = Case::followed(|spec| {
        notify(spec);
        spec.rollout.progress_deadline = Period::secs(5);
    });
    assert!(!case.ready());
    assert_eq!(case.plan().wake_at, Some(Mono(NOW.0 + 4 * S)));
    assert_eq!(case.plan().records, [], "an agent that starts is no drift");
    case.says(&Notice::Extend(Duration::from_secs(10)), NOW);
    assert_eq!(case.plan().wake_at, Some(Mono(NOW.0 + 10 * S)));
    let case = case.later(10);
    assert_eq!(case.failure().reason, "StartTimeout");
    assert_eq!(case.steps()[0], "Stop StartTimeout");
}

#[test]
fn an_agent_that_announced_its_end_has_as_long_as_a_stop_may_take() {
    let mut case = Case::followed(notify);
    case.says(&Notice::Ready, Mono(NOW.0 - S));
    case.says(&Notice::Stopping, NOW);
    assert!(!case.ready());
    assert_eq!(case.plan().wake_at, Some(Mono(NOW.0 + 10 * S)));
    assert_eq!(case.later(10).failure().reason, "StopTimeout");
}

#[test]
fn an_instance_that_only_goes_on_costs_no_copy_of_what_is_remembered() {
    let mut case = Case::followed(notify);
    case.says(&Notice::Ready, Mono(NOW.0 - S));
    let first = case.plan().memory;
    assert!(!first.is_shared_with(&case.memory), "its start is complete");
    case.memory = first;
    case.says(&Notice::Beat, NOW);
    let case = case.later(1);
    let plan = case.plan();
    assert_eq!((plan.records, plan.step), (vec![], None));
    assert_eq!(plan.memory.started, Some(id(1)));
    assert!(plan.memory.is_shared_with(&case.memory));
}

#[test]
fn what_an_earlier_daemon_saw_started_is_not_waited_for_again() {
    let mut case = Case::followed(notify);
    case.memory.started = Some(id(1));
    case.vitals().followed_since = NOW;
    let plan = case.plan();
    assert!(plan.health.ready);
    assert_eq!(
        plan.wake_at,
        Some(Mono(NOW.0 + 15 * S)),
        "its silence counts from the adoption"
    );
}

#[test]
fn nobody_is_at_fault_as_long_as_no_detector_follows() {
    let mut case = Case::running(notify).later(1000);
    assert_eq!((case.plan().step, case.ready()), (None, false));
    case.observed.vitals = Some(Vitals::new(case.now));
    assert_eq!(case.plan().step.unwrap().reason, "StartTimeout");
}

#[test]
fn what_is_forgiven_is_no_evidence() {
    let mut case = Case::followed(notify).later(100);
    case.says(&Notice::Ready, NOW);
    let now = case.now;
    case.vitals().excused_at = Some(now);
    assert_eq!(case.plan().step, None);
    assert_eq!(
        case.plan().wake_at,
        Some(now.after(Duration::from_secs(15)))
    );
}

#[test]
fn a_failed_liveness_probe_restarts_and_a_failed_readiness_probe_does_not() {
    let both = |spec: &mut AgentSpec| {
        spec.probes.liveness = Some(probe());
        spec.probes.readiness = Some(probe());
    };
    let mut case = Case::followed(both);
    assert_eq!(
        case.with_view(crate::status::assess).phase,
        crate::status::Phase::Starting
    );
    let passed = |kind| Some(answered(kind, &probe(), "+", Mono(NOW.0 - 1)));
    case.vitals().startup = passed(ProbeKind::Startup);
    case.vitals().liveness = passed(ProbeKind::Liveness);
    case.vitals().readiness = passed(ProbeKind::Readiness);
    assert!(case.ready());
    case.vitals().readiness = Some(answered(ProbeKind::Readiness, &probe(), "+---", NOW));
    let plan = case.plan();
    assert_eq!((plan.step, plan.health.ready), (None, false));
    let kinds: Vec<_> = plan.records.iter().map(|r| r.event.kind()).collect();
    assert_eq!(
        kinds,
        [EventKind::Diff],
        "what was ready and is not any more is drift"
    );
    case.vitals().liveness = Some(answered(ProbeKind::Liveness, &probe(), "---", NOW));
    let failure = case.failure();
    assert_eq!(failure.reason, "Unhealthy");
    let facts = failure.facts.unwrap().probe.unwrap();
    assert_eq!((facts.failures, facts.answer.as_str()), (3, "503"));
    assert_eq!(case.steps(), ["Stop Unhealthy", "Start Restart"]);
}

#[test]
fn a_failed_startup_probe_restarts_unless_the_start_was_complete_before() {
    let mut case = Case::followed(|spec| spec.probes.startup = Some(probe()));
    case.vitals().startup = Some(answered(ProbeKind::Startup, &probe(), "---", NOW));
    assert_eq!(case.failure().reason, "StartupFailed");
    case.memory.started = Some(id(1));
    assert_eq!(case.plan().step, None);
}

#[test]
fn memory_at_its_threshold_is_a_graceful_restart_with_its_trajectory() {
    let mut case = Case::followed(|spec| spec.resources.memory_high = Some(ByteSize(100)));
    let rules = case.desired.clone().unwrap().agent.spec.resources.clone();
    for (n, memory_bytes) in [10, 50, 100].into_iter().enumerate() {
        let usage = Usage {
            memory_bytes,
            cpu_us: 0,
        };
        let at = NOW.after(SAMPLE_EVERY * n as u32);
        case.vitals().usage.add(&rules, usage, at);
    }
    let failure = case.failure();
    assert_eq!(failure.reason, "MemoryHigh");
    let facts = failure.facts.unwrap().memory.unwrap();
    assert_eq!((facts.threshold_bytes, facts.trajectory.len()), (100, 3));
    assert_eq!(case.steps(), ["Stop MemoryHigh", "Start Restart"]);
}

#[test]
fn an_agent_whose_dependency_is_not_ready_is_held_and_nothing_is_tried() {
    let mut case = Case::deployed(depends);
    case.unmet = unmet();
    let plan = case.plan();
    assert_eq!((plan.step, plan.wake_at), (None, None));
    let assessed = case.with_view(crate::status::assess);
    assert_eq!(assessed.phase, crate::status::Phase::Held);
    assert_eq!(assessed.message, "waits for base");
    case.unmet.clear();
    assert_eq!(case.steps(), ["Start Desired"]);
}

#[test]
fn a_failure_that_a_dependency_explains_spends_no_budget_and_joins_its_incident() {
    let mut case = Case::ended(CRASH, depends);
    case.unmet = unmet();
    let plan = case.plan();
    let failure = case.failure();
    assert_eq!(failure.because_of, [AgentName::new("base").unwrap()]);
    assert_eq!(failure.restart_after_ms, None);
    assert!(
        plan.records
            .iter()
            .all(|record| record.incident.as_deref() == Some("root"))
    );
    assert_eq!(plan.memory.restart.consecutive, 0);
    assert_eq!(plan.step, None, "held");
    case.memory = plan.memory;
    case.unmet.clear();
    assert_eq!(case.steps(), ["Start Restart"]);
}

#[test]
fn a_running_dependent_is_left_alone_unless_the_fault_is_its_own() {
    let mut case = Case::followed(|spec| {
        depends(spec);
        notify(spec);
        spec.resources.memory_high = Some(ByteSize(100));
    })
    .later(100);
    case.says(&Notice::Ready, NOW);
    case.unmet = unmet();
    assert_eq!(case.plan().step, None, "its silence is its dependency's");
    let rules = case.desired.clone().unwrap().agent.spec.resources.clone();
    let usage = Usage {
        memory_bytes: 100,
        cpu_us: 0,
    };
    case.vitals().usage.add(&rules, usage, NOW);
    // Overdue as well, and yet the fault that is its own is found.
    assert_eq!(case.failure().reason, FaultKind::MemoryHigh.word());
}

#[test]
fn recovery_is_verified_as_soon_as_an_agent_that_can_tell_is_ready() {
    let mut case = Case::followed(notify);
    case.memory.incident = Some(Incident {
        id: "i".into(),
        failed_at: Mono(NOW.0 - 2 * S),
        detected_at: Mono(NOW.0 - 2 * S),
    });
    assert_eq!(case.plan().records, [], "it runs, and that is not enough");
    case.says(&Notice::Ready, NOW);
    assert_eq!(case.kinds(), [EventKind::HealthVerified]);
    assert_eq!(case.plan().memory.incident, None);
}

#[test]
fn only_health_resets_the_backoff() {
    let long = 700 * S;
    let mut case = Case::ended(CRASH, notify);
    case.memory.restart.consecutive = 4;
    if let Observation::Known(Some(instance)) = &mut case.observed.instance {
        instance.started_at = Mono(0);
    }
    let late = |case: &mut Case, ready: bool| {
        let mut vitals = Vitals::new(Mono(0));
        if ready {
            vitals.heartbeat.hear(&Notice::Ready, Mono(S));
        }
        case.observed.vitals = Some(vitals);
        case.now = Mono(long);
        if let Observation::Known(Some(instance)) = &mut case.observed.instance
            && let InstanceState::Exited(exit) = &mut instance.state
        {
            exit.at = Mono(long);
        }
        case.plan().memory.restart.consecutive
    };
    assert_eq!(
        late(&mut case, false),
        5,
        "it lived long and was never ready"
    );
    assert_eq!(late(&mut case, true), 1);
}
