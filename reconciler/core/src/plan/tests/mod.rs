//! Tables: a view in, the steps and records out.

mod builds;
mod conditions;
mod detectors;
mod handover;
mod properties;
mod rollouts;

use std::{sync::Arc, time::Duration};

use super::*;
use crate::{
    dependency::Unmet,
    event::{EventKind, FailureDetected},
    memory::Finished,
    observed::{Exit, ExitStatus, InstanceState, OutsideEnd},
    outcome::{Done, Outcome, settle},
    project::project,
    restart::RestartMemory,
    spec::RestartPolicy,
    status::{Phase, assess},
};

const CRASH: ExitStatus = ExitStatus::Signal {
    signal: 9,
    core_dumped: false,
};
const NOW: Mono = Mono(10_000_000);

fn id(n: u8) -> InvocationId {
    InvocationId([n; 16])
}

fn agent(text: &str, change: impl FnOnce(&mut AgentSpec)) -> Desired {
    let mut spec = AgentSpec::new(vec!["/bin/agent".into()]);
    change(&mut spec);
    Desired::new(Arc::new(Agent {
        name: AgentName::new("a").unwrap(),
        labels: Default::default(),
        spec: spec.into(),
        manifest: text.into(),
    }))
}

/// One agent and its surroundings; each test changes what it is about.
#[derive(Debug)]
struct Case {
    desired: Option<Desired>,
    observed: Observed,
    memory: Memory,
    all_paused: Option<Paused>,
    bundle: Bundle,
    busy: Option<Busy>,
    hold_until: Option<Mono>,
    shutdown: Option<Shutdown>,
    unmet: Vec<Unmet>,
    now: Mono,
}

/// The wall clock of these tests shows what the other one does.
fn wall(now: Mono) -> Wall {
    Wall(i64::try_from(now.0).unwrap())
}

impl Case {
    /// Declared, and nothing else yet.
    fn declared(change: impl FnOnce(&mut AgentSpec)) -> Self {
        Self {
            desired: Some(agent("v1", change)),
            observed: Observed {
                instance: Observation::Known(None),
                active: Observation::Known(None),
                vitals: None,
                last_output: Vec::new(),
            },
            memory: Memory::default(),
            all_paused: None,
            bundle: Bundle::Immediate,
            busy: None,
            hold_until: None,
            shutdown: None,
            unmet: Vec::new(),
            now: NOW,
        }
    }

    /// Deployed as generation 1, and proven.
    fn deployed(change: impl FnOnce(&mut AgentSpec)) -> Self {
        let mut case = Self::declared(change);
        let desired = case.desired.clone().unwrap();
        let generation = Generation {
            number: 1,
            store_path: "/bundle/1".into(),
        };
        case.memory.acted = Some(desired.digest);
        case.memory.active = Some(generation.clone());
        let rollout = &mut case.memory.rollout;
        rollout.activated(&generation, desired.digest, false, Mono(0), Wall(0));
        rollout.prove(&generation, Mono(0), Wall(0));
        case.observed.active = Observation::Known(Some(Active {
            generation,
            agent: desired.agent,
            digest: desired.digest,
        }));
        case
    }

    /// Running since one second.
    fn running(change: impl FnOnce(&mut AgentSpec)) -> Self {
        let mut case = Self::deployed(change);
        case.memory.current = Some(id(1));
        case.instance(InstanceState::Running { pid: 7 });
        case
    }

    /// Ended just now after one second.
    fn ended(status: ExitStatus, change: impl FnOnce(&mut AgentSpec)) -> Self {
        let mut case = Self::running(change);
        case.instance(InstanceState::Exited(Exit {
            status,
            at: NOW,
            oom_killed: false,
            outside: None,
        }));
        case
    }

    fn instance(&mut self, state: InstanceState) {
        let generation = self.memory.active.clone().unwrap();
        self.observed.instance = Observation::Known(Some(Instance {
            agent: AgentName::new("a").unwrap(),
            invocation: id(1),
            generation,
            started_at: Mono(NOW.0 - 1_000_000),
            state,
            adopted: false,
        }));
    }

    fn with_view<T>(&self, f: impl FnOnce(&View<'_>) -> T) -> T {
        let name = AgentName::new("a").unwrap();
        f(&View {
            name: &name,
            desired: self.desired.as_ref(),
            observed: &self.observed,
            memory: &self.memory,
            all_paused: self.all_paused.as_ref(),
            spec_error: None,
            unmet: &self.unmet,
            bundle: &self.bundle,
            busy: self.busy,
            hold_until: self.hold_until,
            shutdown: self.shutdown,
            now: self.now,
            wall: wall(self.now),
            fresh: id(2),
        })
    }

    fn plan(&self) -> AgentPlan {
        self.with_view(plan)
    }

    /// The steps until in sync, in words.
    fn steps(&self) -> Vec<String> {
        let steps = self.with_view(project).steps;
        steps
            .iter()
            .map(|p| format!("{:?} {}", p.step.action.kind(), p.step.reason))
            .collect()
    }

    fn kinds(&self) -> Vec<EventKind> {
        self.plan()
            .records
            .iter()
            .map(|record| record.event.kind())
            .collect()
    }
}

fn default(_: &mut AgentSpec) {}

#[test]
fn a_declared_agent_is_deployed_and_started() {
    let case = Case::declared(default);
    assert_eq!(case.steps(), ["Activate SpecChanged", "Start Desired"]);
    assert_eq!(case.kinds(), [EventKind::Diff, EventKind::ActionIntended]);
}

#[test]
fn an_agent_that_is_as_desired_needs_nothing_and_writes_nothing() {
    let plan = Case::running(default).plan();
    assert_eq!(
        (plan.records, plan.step, plan.wake_at),
        (vec![], None, None)
    );
}

#[test]
fn a_crash_is_recorded_and_restarted_at_once() {
    let case = Case::ended(CRASH, default);
    let expected = [
        EventKind::FailureDetected,
        EventKind::Diff,
        EventKind::ActionIntended,
    ];
    assert_eq!(case.kinds(), expected);
    assert_eq!(case.steps(), ["Start Restart"]);
    let plan = case.plan();
    let incident = Some(id(1).to_string());
    assert!(
        plan.records
            .iter()
            .all(|record| record.incident == incident)
    );
    assert_eq!(plan.memory.restarts, 1);
}

#[test]
fn a_recorded_end_is_not_recorded_again() {
    let mut case = Case::ended(CRASH, default);
    case.memory = case.plan().memory;
    case.memory.next_start_at = Some(NOW.after(Duration::from_secs(1)));
    let plan = case.plan();
    assert_eq!((plan.records, plan.step), (vec![], None));
    assert_eq!(plan.wake_at, case.memory.next_start_at);
}

#[test]
fn the_second_crash_in_a_row_waits_for_its_backoff() {
    let mut case = Case::ended(CRASH, default);
    case.memory.restart.consecutive = 1;
    let plan = case.plan();
    assert_eq!(plan.step, None);
    let wait = plan.wake_at.unwrap().since(NOW).as_millis();
    assert!(
        (100..=110).contains(&wait),
        "initial backoff plus jitter, not {wait}"
    );
    case.memory = plan.memory;
    case.now = plan.wake_at.unwrap();
    assert_eq!(case.steps(), ["Start Restart"]);
}

#[test]
fn exit_code_0_is_an_end_only_for_the_policies_that_say_so() {
    let done = ExitStatus::Code { code: 0 };
    let with = |policy| move |spec: &mut AgentSpec| spec.restart.policy = policy;
    assert_eq!(Case::ended(done, default).steps(), ["Start Restart"]);
    for policy in [RestartPolicy::OnFailure, RestartPolicy::Never] {
        let case = Case::ended(done, with(policy));
        assert_eq!(case.steps(), [""; 0]);
        assert_eq!(case.kinds(), [EventKind::HealthVerified]);
        assert_eq!(case.plan().memory.finished, Some(Finished::Succeeded));
    }
    let never = Case::ended(CRASH, with(RestartPolicy::Never));
    assert_eq!(never.steps(), [""; 0]);
    assert_eq!(never.plan().memory.finished, Some(Finished::Failed));
}

/// Ended by somebody past osmoda, while on probation.
fn ended_outside(outside: OutsideEnd, status: ExitStatus, policy: RestartPolicy) -> Case {
    let mut case = Case::ended(status, |spec| spec.restart.policy = policy);
    let generation = case.memory.active.clone().unwrap();
    let digest = case.desired.as_ref().unwrap().digest;
    case.memory.rollout = Default::default();
    let rollout = &mut case.memory.rollout;
    rollout.activated(&generation, digest, false, Mono(0), Wall(0));
    let Observation::Known(Some(instance)) = &mut case.observed.instance else {
        unreachable!("it was made above");
    };
    let InstanceState::Exited(exit) = &mut instance.state else {
        unreachable!("it has ended");
    };
    exit.outside = Some(outside);
    case
}

#[test]
fn who_is_stopped_by_a_person_is_not_blamed_and_is_healed_or_left_as_the_policy_says() {
    use OutsideEnd::{Killed, Stopped};
    use RestartPolicy::{Always, Never, OnFailure};
    let done = ExitStatus::Code { code: 0 };
    for (outside, status, policy, healed) in [
        (Stopped, CRASH, Always, true),
        (Stopped, done, Always, true),
        (Killed, CRASH, Always, true),
        (Stopped, CRASH, OnFailure, false),
        (Killed, CRASH, OnFailure, true),
        (Killed, done, OnFailure, false),
        (Stopped, CRASH, Never, false),
        (Killed, CRASH, Never, false),
    ] {
        let case = ended_outside(outside, status, policy);
        let told = format!("{outside:?} {status} {policy:?}");
        let plan = case.plan();
        assert_eq!(case.kinds()[0], EventKind::OutsideAction, "{told}");
        assert!(
            !case.kinds().contains(&EventKind::FailureDetected),
            "{told}"
        );
        assert!(!case.kinds().contains(&EventKind::GenerationBad), "{told}");
        assert_eq!(
            (plan.memory.restarts, &plan.memory.incident),
            (0, &None),
            "{told}"
        );
        assert_eq!(plan.memory.restart, RestartMemory::default(), "{told}");
        let steps: &[&str] = if healed { &["Start Desired"] } else { &[] };
        assert_eq!(case.steps(), steps, "{told}");
        let stays = (!healed).then_some(Finished::Stopped);
        assert_eq!(case.plan().step.is_none(), stays.is_some(), "{told}");
    }
}

#[test]
fn a_stop_that_is_respected_is_in_sync_until_somebody_asks_for_a_restart() {
    let mut case = ended_outside(OutsideEnd::Stopped, CRASH, RestartPolicy::OnFailure);
    case.memory = case.plan().memory;
    case.now = NOW.after(Duration::from_secs(3600));
    let plan = case.plan();
    assert_eq!(
        (plan.records, plan.step),
        (vec![], None),
        "no deadline runs out"
    );
    let assessed = case.with_view(assess);
    assert_eq!((assessed.phase, assessed.ready), (Phase::Succeeded, false));
    assert!(
        assessed.message.contains("osmoda restart a"),
        "{}",
        assessed.message
    );
    case.memory.restart_requested = true;
    assert_eq!(case.steps(), ["Start OperatorRequest"]);
}

#[test]
fn a_replaced_instance_that_a_person_stops_makes_way_for_the_active_generation() {
    let mut case = ended_outside(OutsideEnd::Stopped, CRASH, RestartPolicy::Never);
    let next = Generation {
        number: 2,
        store_path: "/bundle/2".into(),
    };
    case.memory.active = Some(next.clone());
    if let Observation::Known(Some(active)) = &mut case.observed.active {
        active.generation = next;
    }
    assert_eq!(case.steps(), ["Start Desired"]);
}

#[test]
fn a_spent_budget_is_said_once_and_restarts_go_on_slowly() {
    let mut case = Case::ended(CRASH, |spec| spec.restart.max_restarts = 0);
    assert!(case.kinds().contains(&EventKind::EscalationExhausted));
    let plan = case.plan();
    assert!(plan.wake_at.unwrap().since(NOW) >= Duration::from_secs(300));
    case.memory = plan.memory;
    case.memory.accounted = None;
    assert!(!case.kinds().contains(&EventKind::EscalationExhausted));
}

#[test]
fn a_changed_spec_is_deployed_and_the_old_instance_replaced() {
    let mut case = Case::running(default);
    case.desired = Some(agent("v2", default));
    let expected = [
        "Activate SpecChanged",
        "Stop GenerationChanged",
        "Start Desired",
    ];
    assert_eq!(case.steps(), expected);
}

#[test]
fn a_removed_agent_is_stopped_and_forgotten() {
    let mut case = Case::running(default);
    case.desired = None;
    assert_eq!(case.steps(), ["Stop SpecRemoved", "Remove SpecRemoved"]);
}

#[test]
fn a_profile_switched_by_a_person_is_respected_and_recorded() {
    let mut case = Case::running(default);
    if let Observation::Known(Some(active)) = &mut case.observed.active {
        active.generation = Generation {
            number: 9,
            store_path: "/bundle/9".into(),
        };
    }
    assert_eq!(case.steps(), ["Stop GenerationChanged", "Start Desired"]);
    assert_eq!(case.kinds()[0], EventKind::OutsideAction);
}

#[test]
fn a_profile_removed_by_a_person_is_deployed_again() {
    let mut case = Case::running(default);
    case.observed.active = Observation::Known(None);
    assert_eq!(
        case.steps(),
        [
            "Activate SpecChanged",
            "Stop GenerationChanged",
            "Start Desired"
        ]
    );
    assert_eq!(case.kinds()[0], EventKind::OutsideAction);
}

#[test]
fn nothing_is_started_or_stopped_on_unknown() {
    for case in [
        Case::declared(default),
        Case::running(default),
        Case::ended(CRASH, default),
    ] {
        let unknown_instance = Case {
            observed: Observed {
                instance: Observation::Unknown("no answer".into()),
                ..case.observed.clone()
            },
            ..case
        };
        let plan = unknown_instance.plan();
        assert_eq!(plan.step, None);
        assert_eq!(plan.wake_at, Some(NOW.after(UNKNOWN_RETRY)));
        let unknown_active = Case {
            observed: Observed {
                active: Observation::Unknown("no answer".into()),
                instance: Observation::Known(None),
                vitals: None,
                last_output: Vec::new(),
            },
            ..unknown_instance
        };
        let step = unknown_active.plan().step;
        let deployed = step.map(|step| step.action.kind());
        let never_deployed = unknown_active.memory.acted.is_none();
        assert_eq!(deployed, never_deployed.then_some(ActionKind::Activate));
    }
}

#[test]
fn an_instance_that_runs_after_its_recorded_end_is_looked_at_again_later() {
    let mut case = Case::running(default);
    case.memory.accounted = Some(id(1));
    case.memory.restart_requested = true;
    let plan = case.plan();
    assert_eq!(
        (plan.step, plan.wake_at),
        (None, Some(NOW.after(UNKNOWN_RETRY)))
    );
}

#[test]
fn a_paused_agent_is_observed_and_recorded_and_left_alone() {
    let paused = Paused {
        reason: "look".into(),
        uid: 0,
        at: Wall(0),
    };
    let mut case = Case::ended(CRASH, default);
    case.memory.paused = Some(paused.clone());
    assert_eq!(case.kinds(), [EventKind::FailureDetected, EventKind::Diff]);
    assert_eq!(case.plan().step, None);
    let mut case = Case::declared(default);
    case.all_paused = Some(paused);
    assert_eq!(case.plan().step, None);
}

#[test]
fn a_busy_agent_is_left_to_its_action() {
    let mut case = Case::ended(CRASH, default);
    case.busy = Some(Busy::Stopping);
    let plan = case.plan();
    assert_eq!((plan.records, plan.step), (vec![], None));
}

#[test]
fn a_failed_action_is_not_tried_again_before_its_time() {
    let mut case = Case::declared(default);
    case.hold_until = Some(NOW.after(Duration::from_secs(1)));
    let plan = case.plan();
    assert_eq!((plan.step, plan.wake_at), (None, case.hold_until));
}

#[test]
fn an_operators_restart_stops_starts_and_does_not_count() {
    let mut case = Case::running(default);
    case.memory.restart_requested = true;
    assert_eq!(
        case.steps(),
        ["Stop OperatorRequest", "Start OperatorRequest"]
    );
    let after = case.with_view(project);
    assert_eq!(after.memory.restarts, 0);
    assert!(!after.memory.restart_requested);
}

#[test]
fn an_operators_restart_does_not_wait_for_backoff_or_policy() {
    let mut case = Case::deployed(default);
    case.memory.restart_requested = true;
    case.memory.finished = Some(Finished::Failed);
    case.memory.next_start_at = Some(NOW.after(Duration::from_secs(60)));
    assert_eq!(case.steps(), ["Start OperatorRequest"]);
}

#[test]
fn recovery_counts_only_after_min_ready() {
    let mut case = Case::running(default);
    case.memory.incident = Some(crate::memory::Incident {
        id: "i".into(),
        failed_at: Mono(NOW.0 - 1_500_000),
        detected_at: Mono(NOW.0 - 1_499_000),
    });
    let plan = case.plan();
    assert_eq!(plan.records, []);
    let proven_at = plan.wake_at.unwrap();
    assert_eq!(proven_at.since(NOW), Duration::from_secs(9));
    case.now = proven_at;
    let plan = case.plan();
    let [
        Record {
            event: Event::HealthVerified(verified),
            incident,
        },
    ] = &plan.records[..]
    else {
        panic!("expected one HealthVerified, got {:?}", plan.records);
    };
    assert_eq!(incident.as_deref(), Some("i"));
    assert_eq!(verified.time_to_detect_us, 1000);
    assert_eq!(verified.time_to_restart_us, 500_000);
    assert_eq!(plan.memory.incident, None);
}

#[test]
fn an_instance_that_is_gone_without_a_trace_is_a_failure() {
    let mut case = Case::running(default);
    case.observed.instance = Observation::Known(None);
    assert_eq!(case.kinds()[0], EventKind::FailureDetected);
    assert_eq!(case.steps(), ["Start Restart"]);
}

#[test]
fn a_reboot_is_no_failure_of_an_agent() {
    let mut case = Case::running(default);
    case.observed.instance = Observation::Known(None);
    case.memory.rebooted(NOW);
    assert_eq!(case.steps(), ["Start Desired"]);
    assert!(!case.kinds().contains(&EventKind::FailureDetected));
}

#[test]
fn at_shutdown_an_agent_waits_for_its_dependents_and_is_not_restarted() {
    let mut case = Case::running(default);
    case.shutdown = Some(Shutdown::Wait);
    assert_eq!(case.plan().step, None);
    case.shutdown = Some(Shutdown::Now);
    assert!(matches!(
        case.plan().step.unwrap().action,
        Action::Stop { .. }
    ));
    let mut case = Case::ended(CRASH, default);
    case.shutdown = Some(Shutdown::Now);
    assert_eq!(case.plan().step, None);
}

#[test]
fn an_action_that_fails_is_tried_again_at_ever_longer_intervals() {
    let first = Case::declared(default).plan();
    let action = &first.step.as_ref().unwrap().action;
    assert_eq!(action.kind(), ActionKind::Activate);
    let after = |memory: &Memory, outcome: &Outcome| {
        let done = Done {
            action,
            outcome,
            since: NOW,
            fresh: id(0),
            now: NOW,
            wall: Wall(0),
        };
        settle(memory, &done)
    };
    let full = Outcome::Failed("no space left on device".into());
    let mut memory = first.memory.clone();
    let mut pauses = Vec::new();
    for _ in 0..10 {
        let settled = after(&memory, &full);
        let pause = settled.hold_until.unwrap().since(NOW);
        pauses.push(pause.as_secs());
        let told = settled
            .records
            .iter()
            .find_map(|record| match &record.event {
                Event::ActionFailed(failed) => failed.retry_after_ms,
                _ => None,
            });
        assert_eq!(told.map(Duration::from_millis), Some(pause));
        memory = settled.memory;
    }
    assert_eq!(pauses, [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    let generation = Generation {
        number: 1,
        store_path: "/bundle".into(),
    };
    let pruned = Vec::new();
    let done = after(&memory, &Outcome::Activated { generation, pruned });
    assert_eq!(done.hold_until, None);
    let again = after(&done.memory, &full);
    assert_eq!(again.hold_until, Some(NOW.after(Duration::from_secs(2))));
}

#[test]
fn a_start_that_fails_is_tried_again_with_the_same_backoff() {
    let case = Case::deployed(default);
    let first = case.plan();
    let failure = crate::memory::StartFailure {
        kind: crate::memory::StartFailureKind::Invalid,
        message: "cannot execute /bin/agent".into(),
    };
    let outcome = Outcome::NotStarted(failure);
    let mut memory = first.memory;
    let mut waits = Vec::new();
    for _ in 0..3 {
        let done = Done {
            action: &first.step.as_ref().unwrap().action,
            outcome: &outcome,
            since: NOW,
            fresh: id(0),
            now: NOW,
            wall: Wall(0),
        };
        memory = settle(&memory, &done).memory;
        waits.push(memory.next_start_at.unwrap().since(NOW).as_millis());
    }
    assert_eq!(waits, [0, 100, 200]);
}

#[test]
fn a_start_for_which_the_host_lacks_something_spends_no_budget_and_is_tried_ever_slower() {
    let case = Case::deployed(default);
    let first = case.plan();
    let failure = crate::memory::StartFailure {
        kind: crate::memory::StartFailureKind::Exhausted,
        message: "cannot clone: Too many open files".into(),
    };
    let outcome = Outcome::NotStarted(failure);
    let mut memory = first.memory;
    let mut waits = Vec::new();
    for _ in 0..20 {
        let done = Done {
            action: &first.step.as_ref().unwrap().action,
            outcome: &outcome,
            since: NOW,
            fresh: id(0),
            now: NOW,
            wall: Wall(0),
        };
        let settled = settle(&memory, &done);
        assert_eq!(settled.hold_until, settled.memory.next_start_at);
        memory = settled.memory;
        waits.push(memory.next_start_at.unwrap().since(NOW).as_secs());
    }
    assert_eq!(waits[..6], [0, 0, 0, 0, 1, 3]);
    assert_eq!(waits[19], 300, "backoff.max");
    assert!(!memory.escalation_due);
    assert_eq!(memory.restart, crate::restart::RestartMemory::default());
    let mut later = case;
    later.memory = memory;
    later.now = NOW.after(Duration::from_secs(24 * 3600));
    let plan = later.plan();
    let bad = |record: &Record| matches!(record.event, Event::GenerationBad(_));
    assert!(!plan.records.iter().any(bad), "no deadline runs meanwhile");
    let start = plan.step.map(|step| step.action.kind());
    assert_eq!(start, Some(crate::event::ActionKind::Start));
}
