//! What is left to the next: by an instance to the generation that replaces it, by a daemon to
//! the one that follows, by a bundle that nobody can read to the spec that is deployed over it.

use super::{detectors::notify, *};
use crate::{
    health::Vitals,
    heartbeat::{Heartbeat, Notice},
    memory::{Incident, Said},
};

const S: u64 = 1_000_000;

impl Case {
    /// Generation 2 is active and on probation; the instance is still one of generation 1.
    fn replaced(change: impl Fn(&mut AgentSpec)) -> Self {
        let mut case = Self::on_probation(change);
        case.with_instance(|instance| instance.generation.number = 1);
        case
    }

    fn with_instance(&mut self, change: impl FnOnce(&mut Instance)) {
        match &mut self.observed.instance {
            Observation::Known(Some(instance)) => change(instance),
            other => panic!("an instance, not {other:?}"),
        }
    }

    fn ended_with(mut self, status: ExitStatus) -> Self {
        let at = self.now;
        let oom_killed = false;
        self.with_instance(|instance| {
            instance.state = InstanceState::Exited(Exit {
                status,
                at,
                oom_killed,
                outside: None,
            });
        });
        self
    }

    fn paused(mut self) -> Self {
        self.memory.paused = Some(Paused {
            reason: "look".into(),
            uid: 0,
            at: Wall(0),
        });
        self
    }

    /// What is active cannot be read, and another spec was declared.
    fn unread() -> Self {
        let mut case = Self::running(default);
        case.observed.active = Observation::Unknown("the bundle is damaged".into());
        case.desired = Some(agent("v2", default));
        case
    }
}

#[test]
fn an_instance_that_is_replaced_is_not_held_to_the_rules_of_the_next_generation() {
    let mut case = Case::replaced(notify).later(60);
    case.says(&Notice::Ready, NOW);
    assert!(!case.kinds().contains(&EventKind::FailureDetected));
    assert_eq!(case.steps(), ["Stop GenerationChanged", "Start Desired"]);
}

#[test]
fn the_end_of_a_replaced_instance_is_on_record_and_costs_the_next_generation_nothing() {
    let case = Case::replaced(default).ended_with(CRASH);
    let plan = case.plan();
    let kinds = case.kinds();
    assert!(kinds.contains(&EventKind::FailureDetected), "{kinds:?}");
    assert!(!kinds.contains(&EventKind::GenerationBad), "{kinds:?}");
    assert_eq!(plan.memory.restart.consecutive, 0);
    assert_eq!(case.steps(), ["Start Restart"], "and at once");
}

#[test]
fn a_replaced_instance_that_ends_well_does_not_finish_the_next_generation() {
    let success = ExitStatus::Code { code: 0 };
    for policy in [RestartPolicy::OnFailure, RestartPolicy::Never] {
        let case = Case::replaced(|spec| spec.restart.policy = policy).ended_with(success);
        assert_eq!(case.plan().memory.finished, None, "{policy:?}");
        assert_eq!(case.steps(), ["Start Restart"], "{policy:?}");
    }
}

#[test]
fn an_agent_at_fault_that_a_pause_spares_is_of_no_use_and_has_not_recovered() {
    let mut case = Case::followed(notify).later(15).paused();
    case.says(&Notice::Ready, NOW);
    let incident = Incident {
        id: "i".into(),
        failed_at: NOW,
        detected_at: NOW,
    };
    case.memory.incident = Some(incident.clone());
    let plan = case.plan();
    assert!(!plan.health.ready);
    assert_eq!(plan.memory.incident, Some(incident));
    assert!(!case.kinds().contains(&EventKind::HealthVerified));
}

#[test]
fn a_paused_agent_is_looked_at_when_its_silence_would_be_a_fault() {
    let mut case = Case::followed(notify).paused();
    case.says(&Notice::Ready, NOW);
    assert_eq!(case.plan().wake_at, Some(Mono(NOW.0 + 15 * S)));
}

/// What a later daemon knows of an instance whose memory `case` leaves behind.
fn adopted(case: &Case, at: Mono) -> Case {
    let memory = case.plan().memory;
    let mut next = Case::followed(notify);
    let mut vitals = Vitals::new(at);
    if let Some(said) = memory.said {
        vitals.heartbeat.recall(&said.heard(at));
    }
    next.observed.vitals = Some(vitals);
    (next.memory, next.now) = (memory, at);
    next.with_instance(|instance| instance.adopted = true);
    next
}

#[test]
fn ready_is_said_once_and_remembered_for_the_daemons_that_follow() {
    let mut case = Case::followed(notify);
    assert_eq!(case.plan().memory.said, None);
    let later = Mono(NOW.0 + S);
    assert!(!adopted(&case, later).plan().health.ready);
    case.says(&Notice::Ready, NOW);
    assert!(adopted(&case, later).plan().health.ready);
}

#[test]
fn an_adopted_agent_is_judged_by_the_timeout_and_the_extension_that_it_asked_for() {
    let mut case = Case::followed(notify);
    case.says(&Notice::Ready, NOW);
    let adoption = Mono(NOW.0 + S);
    let deadline = |case: &Case| adopted(case, adoption).plan().wake_at;
    assert_eq!(
        deadline(&case),
        Some(Mono(adoption.0 + 15 * S)),
        "its spec's"
    );
    case.says(&Notice::Timeout(Duration::from_secs(3)), NOW);
    assert_eq!(deadline(&case), Some(Mono(adoption.0 + 3 * S)));
    case.says(&Notice::Extend(Duration::from_secs(60)), NOW);
    assert_eq!(deadline(&case), Some(Mono(NOW.0 + 60 * S)));
    case.says(&Notice::Timeout(Duration::MAX), NOW);
    let far = deadline(&case).unwrap();
    assert!(
        far > Mono(NOW.0 + 1_000_000 * S),
        "it asked not to be watched: {far:?}"
    );
}

#[test]
fn an_adopted_agent_that_announced_its_end_has_what_is_left_of_its_grace_period() {
    let mut case = Case::followed(notify);
    case.says(&Notice::Ready, NOW);
    case.says(&Notice::Stopping, NOW);
    let next = adopted(&case, Mono(NOW.0 + 4 * S));
    assert_eq!(next.plan().wake_at, Some(Mono(NOW.0 + 10 * S)));
    assert_eq!(next.later(6).failure().reason, "StopTimeout");
}

#[test]
fn what_another_instance_said_is_forgotten_with_the_next_that_speaks() {
    let mut case = Case::followed(notify);
    case.memory.said = Said::of(id(9), &{
        let mut heard = Heartbeat::default();
        heard.hear(&Notice::Ready, NOW);
        heard
    });
    assert!(!case.plan().health.ready, "that was not this one");
    case.says(&Notice::Timeout(Duration::from_secs(3)), NOW);
    let said = case.plan().memory.said.unwrap();
    assert_eq!((said.invocation, said.ready), (id(1), false));
}

#[test]
fn an_adopted_agent_has_as_long_to_say_ready_as_somebody_listens() {
    let mut case = Case::followed(notify);
    let limit = case.desired.as_ref().unwrap().agent.spec.rollout.clone();
    let limit = limit.progress_deadline.get();
    let followed_since = case.observed.vitals.as_ref().unwrap().followed_since;
    case.with_instance(|instance| {
        instance.adopted = true;
        instance.started_at = Mono(0);
    });
    case.now = Mono(0).after(limit);
    assert_eq!(case.plan().wake_at, Some(followed_since.after(limit)));
    case.now = followed_since.after(limit);
    assert_eq!(case.plan().step.unwrap().reason, "StartTimeout");
}

#[test]
fn an_adopted_agent_whose_heartbeats_come_has_said_ready_to_a_daemon_that_died() {
    let mut case = Case::followed(notify);
    case.says(&Notice::Beat, NOW);
    assert!(
        !case.plan().health.ready,
        "one that was just started has not"
    );
    case.with_instance(|instance| instance.adopted = true);
    assert!(case.plan().health.ready);
    assert_eq!(case.plan().wake_at, Some(Mono(NOW.0 + 15 * S)));
}

#[test]
fn a_new_spec_is_deployed_over_a_generation_that_cannot_be_read() {
    let step = Case::unread().plan().step.unwrap();
    assert_eq!(
        (step.action.kind(), step.reason),
        (ActionKind::Activate, "SpecChanged")
    );
}

#[test]
fn nothing_is_deployed_over_what_cannot_be_read_without_need_or_against_a_hold() {
    let mut same = Case::unread();
    same.memory.acted = same.desired.as_ref().map(|desired| desired.digest);
    let mut held = Case::unread();
    held.hold_until = Some(Mono(NOW.0 + S));
    let mut unsure = Case::unread();
    unsure.observed.instance = Observation::Unknown("no answer".into());
    for case in [same, held, unsure, Case::unread().paused()] {
        assert_eq!(case.plan().step, None, "{case:?}");
    }
}

#[test]
fn an_agent_that_left_the_specs_is_stopped_also_if_its_generation_cannot_be_read() {
    let mut case = Case::unread();
    case.desired = None;
    let step = case.plan().step.unwrap();
    assert_eq!(
        (step.action.kind(), step.reason),
        (ActionKind::Stop, "SpecRemoved")
    );
}
