//! Deploys on probation: proven, gone back from, or held.

use super::*;
use crate::{
    event::{GenerationBad, RollbackIntended},
    health::Vitals,
    heartbeat::Notice,
    rollout::{BadReason, Verdict},
    spec::{Heartbeat, HeartbeatSource, Rollback},
    units::Period,
};

const S: u64 = 1_000_000;

fn generation(number: u64) -> Generation {
    Generation {
        number,
        store_path: format!("/bundle/{number}").into(),
    }
}

fn notify(spec: &mut AgentSpec) {
    spec.heartbeat = Some(Heartbeat {
        source: HeartbeatSource::Notify,
        timeout: Period::secs(15),
    });
}

impl Case {
    /// Generation 1 is Good; generation 2, of a changed spec, is active since `NOW` and runs.
    pub(super) fn on_probation(change: impl Fn(&mut AgentSpec)) -> Self {
        let mut case = Self::running(&change);
        let desired = agent("v2", change);
        let rollout = &mut case.memory.rollout;
        rollout.activated(&generation(2), desired.digest, false, NOW, Wall(1));
        case.memory.acted = Some(desired.digest);
        case.memory.active = Some(generation(2));
        case.observed.active = Observation::Known(Some(Active {
            generation: generation(2),
            agent: Arc::clone(&desired.agent),
            digest: desired.digest,
        }));
        case.desired = Some(desired);
        case.instance(InstanceState::Running { pid: 7 });
        case.observed.vitals = Some(Vitals::new(NOW));
        case
    }

    fn ends(mut self, status: ExitStatus) -> Self {
        let at = self.now;
        self.instance(InstanceState::Exited(Exit {
            status,
            at,
            oom_killed: false,
            outside: None,
        }));
        self
    }

    fn at(mut self, seconds: u64) -> Self {
        self.now = Mono(NOW.0 + seconds * S);
        self
    }

    /// Plans, remembers, and gives what was recorded.
    fn turn(&mut self) -> Vec<Event> {
        let plan = self.plan();
        self.memory = plan.memory;
        plan.records.into_iter().map(|r| r.event).collect()
    }

    fn bad(&self) -> Option<GenerationBad> {
        self.plan().records.into_iter().find_map(|r| match r.event {
            Event::GenerationBad(bad) => Some(bad),
            _ => None,
        })
    }

    fn verdict(&self, number: u64) -> Option<Verdict> {
        let plan = self.plan();
        let tried = plan.memory.rollout.of(&generation(number));
        tried.map(|tried| tried.verdict)
    }

    /// What a switch to generation 1 ends in.
    fn settled(&mut self, outcome: &Outcome) -> Vec<EventKind> {
        let step = self.plan().step.unwrap();
        self.memory = self.plan().memory;
        let settled = settle(
            &self.memory,
            &Done {
                action: &step.action,
                outcome,
                since: self.now,
                fresh: id(3),
                now: self.now,
                wall: Wall(2),
            },
        );
        self.memory = settled.memory;
        settled.records.iter().map(|r| r.event.kind()).collect()
    }
}

#[test]
fn a_deploy_that_stays_ready_for_min_ready_is_proven_on_time() {
    let mut case = Case::on_probation(default);
    assert_eq!(case.verdict(2), Some(Verdict::Unproven));
    let proven_at = case.plan().wake_at.unwrap();
    assert_eq!(proven_at, Mono(NOW.0 + 9 * S), "10 s after its start");
    case.now = proven_at;
    assert_eq!(case.kinds(), [EventKind::GenerationGood]);
    assert_eq!(case.verdict(2), Some(Verdict::Good));
    case.turn();
    assert_eq!(case.turn(), [], "once");
}

#[test]
fn a_deploy_that_crashes_before_it_is_proven_goes_back_at_once() {
    let case = Case::on_probation(default).at(1).ends(CRASH);
    let bad = case.bad().unwrap();
    assert_eq!((bad.reason, bad.stays), ("FailedOnProbation", None));
    let expected = [
        EventKind::FailureDetected,
        EventKind::GenerationBad,
        EventKind::Diff,
        EventKind::RollbackIntended,
    ];
    assert_eq!(case.kinds(), expected);
    assert_eq!(
        case.steps(),
        ["Switch FailedOnProbation", "Start Restart"],
        "forward to what is known to be good"
    );
}

#[test]
fn an_agent_that_can_tell_has_its_budget_until_it_is_ready_first() {
    let mut case = Case::on_probation(notify).at(1).ends(CRASH);
    assert_eq!(case.bad(), None, "it may need another try");
    case.memory.restart.recent = vec![NOW; 5];
    assert_eq!(case.bad().unwrap().reason, "CrashLoop");
    let mut ready = Case::on_probation(notify).at(1);
    let heartbeat = &mut ready.observed.vitals.as_mut().unwrap().heartbeat;
    heartbeat.hear(&Notice::Ready, NOW);
    ready.turn();
    let case = ready.ends(CRASH);
    assert_eq!(case.bad().unwrap().reason, "FailedOnProbation");
}

#[test]
fn a_deploy_that_never_gets_ready_goes_back_at_its_deadline() {
    let mut case = Case::on_probation(|spec| {
        notify(spec);
        spec.rollout.progress_deadline = Period::secs(60);
    });
    case.turn();
    let case = case.at(59);
    assert_eq!(case.bad(), None);
    // The instance is condemned for it as well; the generation's fate is decided first.
    let case = case.at(60);
    assert_eq!(case.bad().unwrap().reason, "ProgressDeadlineExceeded");
    assert_eq!(case.steps()[0], "Switch ProgressDeadlineExceeded");
}

#[test]
fn probation_stands_still_while_a_dependency_is_not_ready() {
    let mut case = Case::on_probation(notify);
    case.unmet = vec![Unmet {
        agent: AgentName::new("base").unwrap(),
        incident: None,
    }];
    case.turn();
    let mut case = case.at(10_000);
    assert_eq!(case.bad(), None);
    case.turn();
    let case = case.ends(CRASH);
    assert_eq!(case.bad(), None, "nor is it blamed for an end");
}

#[test]
fn a_proven_generation_is_blamed_for_a_spent_budget_only_while_it_is_suspect() {
    let spent = |seconds| {
        let mut case = Case::on_probation(|spec| spec.restart.max_restarts = 0);
        let generation = generation(2);
        case.memory.rollout.prove(&generation, NOW, Wall(2));
        case.at(seconds).ends(CRASH)
    };
    let hour = 3600;
    assert_eq!(spent(hour).bad().unwrap().reason, "FailedWhileSuspect");
    let old = spent(25 * hour);
    assert_eq!(old.bad(), None);
    let kinds = old.kinds();
    assert!(kinds.contains(&EventKind::EscalationExhausted), "{kinds:?}");
    assert_eq!(old.verdict(2), Some(Verdict::Good));
}

#[test]
fn a_first_deploy_has_nothing_to_go_back_to_and_may_still_come_to_itself() {
    let mut case = Case::running(default);
    case.memory.rollout = Default::default();
    case.memory.restart.recent = vec![NOW; 5];
    case.turn();
    let mut case = case.ends(CRASH);
    let kinds = case.kinds();
    assert!(kinds.contains(&EventKind::EscalationExhausted), "{kinds:?}");
    assert_eq!((case.bad(), case.plan().step), (None, None));
    case.turn();
    assert_eq!(case.verdict(1), Some(Verdict::Unproven));
    let mut case = case.at(400);
    case.instance(InstanceState::Running { pid: 8 });
    case.memory.accounted = None;
    assert_eq!(case.verdict(1), Some(Verdict::Good));
}

#[test]
fn with_rollback_never_the_verdict_stands_and_the_agent_stays() {
    let mut case = Case::on_probation(|spec| spec.rollout.rollback = Rollback::Never)
        .at(1)
        .ends(CRASH);
    let bad = case.bad().unwrap();
    assert_eq!(bad.stays, Some("RollbackOff"));
    assert_eq!(case.steps(), ["Start Restart"]);
    case.turn();
    assert_eq!(case.verdict(2), Some(Verdict::Bad));
}

#[test]
fn what_was_gone_back_from_is_not_deployed_again_and_the_diff_says_why() {
    let mut case = Case::on_probation(default).at(1).ends(CRASH);
    let digest = agent("v1", default).digest;
    let records = case.settled(&Outcome::Switched { digest });
    assert_eq!(
        records,
        [EventKind::RollbackSucceeded, EventKind::GenerationActivated]
    );
    case.observed.active = Observation::Known(Some(Active {
        generation: generation(1),
        agent: agent("v1", default).agent,
        digest,
    }));
    assert_eq!(case.steps(), ["Start Restart"]);
    let differences = case.with_view(crate::diff::diff);
    let why = &differences[0];
    assert_eq!(why.path, "generation");
    assert!(why.reason.contains("FailedOnProbation"), "{}", why.reason);
    // The same bad spec again, after another one.
    case.memory.acted = Some(Digest::of(b"another"));
    assert_eq!(case.steps(), ["Start Restart"]);
    // A fixed one goes forward.
    case.desired = Some(agent("v3", default));
    assert_eq!(case.steps()[0], "Activate SpecChanged");
    // Whoever looks at the one that runs again is told why it is not the desired one.
    let message = |case: &mut Case| {
        case.instance(InstanceState::Running { pid: 8 });
        case.with_view(|view| crate::status::assess(view).message)
    };
    case.desired = Some(agent("v2", default));
    assert_eq!(
        message(&mut case),
        "generation 2 is bad (FailedOnProbation): generation 1 stays until the spec changes"
    );
    case.desired = Some(agent("v3", default));
    assert_eq!(message(&mut case), "");
}

#[test]
fn what_was_deployed_since_has_a_way_back_though_the_bad_spec_is_desired_again() {
    let mut case = Case::running(default);
    let bad = agent("bad", default);
    let rollout = &mut case.memory.rollout;
    rollout.activated(&generation(2), bad.digest, false, NOW, Wall(1));
    rollout.condemn(&generation(2), BadReason::FailedOnProbation, NOW, Wall(1));
    rollout.went_back_for = Some(bad.digest);
    case.memory.acted = Some(bad.digest);
    case.desired = Some(agent("v3", default));
    let records = case.settled(&Outcome::Activated {
        generation: generation(3),
        pruned: Vec::new(),
    });
    assert!(records.contains(&EventKind::GenerationActivated));
    case.observed.active = Observation::Known(Some(Active {
        generation: generation(3),
        agent: agent("v3", default).agent,
        digest: agent("v3", default).digest,
    }));
    case.desired = Some(bad);
    case.instance(InstanceState::Running { pid: 9 });
    case.turn();
    let case = case.ends(CRASH);
    assert_eq!(case.bad().unwrap().stays, None);
    assert_eq!(case.steps()[0], "Switch FailedOnProbation");
}

#[test]
fn a_way_back_that_is_gone_gives_way_to_the_next_or_to_holding_on() {
    let mut case = Case::on_probation(default).at(1).ends(CRASH);
    let records = case.settled(&Outcome::Unusable("damaged".into()));
    assert_eq!(records, [EventKind::RollbackFailed]);
    assert_eq!(case.steps(), ["Start Restart"], "the slow retry goes on");
    assert_eq!(case.memory.rollout.going_back, None);
}

#[test]
fn an_operators_rollback_is_made_and_kept_until_the_spec_changes() {
    let mut case = Case::on_probation(default);
    case.memory.rollout.going_back = Some(crate::rollout::GoingBack {
        to: generation(1),
        because: None,
    });
    let plan = case.plan();
    let intent = plan.records.iter().find_map(|record| match &record.event {
        Event::RollbackIntended(intent) => Some(intent.clone()),
        _ => None,
    });
    let expected = RollbackIntended {
        from: Some(generation(2)),
        to: generation(1),
        reason: "OperatorRequest",
    };
    assert_eq!(intent, Some(expected));
    assert_eq!(
        case.steps(),
        [
            "Switch OperatorRequest",
            "Stop GenerationChanged",
            "Start Desired"
        ]
    );
}

#[test]
fn a_persons_own_switch_lifts_a_bad_verdict_and_begins_a_fresh_probation() {
    let mut case = Case::on_probation(default);
    let rollout = &mut case.memory.rollout;
    rollout.prove(&generation(2), NOW, Wall(2));
    rollout.condemn(&generation(1), BadReason::CrashLoop, NOW, Wall(3));
    case.observed.active = Observation::Known(Some(Active {
        generation: generation(1),
        agent: agent("v1", default).agent,
        digest: agent("v1", default).digest,
    }));
    assert_eq!(case.kinds()[0], EventKind::OutsideAction);
    assert_eq!(case.verdict(1), Some(Verdict::Unproven));
    assert!(case.plan().memory.rollout.probation.is_some());
}
