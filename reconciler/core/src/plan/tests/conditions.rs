//! When conditions change is noted by the plan that changes them, whether or not anybody looks.

use super::*;
use crate::status::{
    ConditionStatus,
    ConditionType::{self, Available, Progressing, Ready},
};

/// Seconds since the start of the instance after which it is available: minReady.
const MIN_READY: u64 = 10;

impl Case {
    /// Takes over what its plan remembers, and gives what the plan changed `of` the conditions.
    #[track_caller]
    fn noted(&mut self, of: ConditionType) -> (ConditionStatus, Mono) {
        self.memory = self.plan().memory;
        let (status, at) = self.memory.transitions.get(of).unwrap();
        (status, Mono(u64::try_from(at.0).unwrap()))
    }

    fn wait_until(&mut self, seconds: u64) -> Mono {
        self.now = NOW.after(Duration::from_secs(seconds));
        self.now
    }

    fn crash(&mut self) {
        self.instance(InstanceState::Exited(Exit {
            status: CRASH,
            at: self.now,
            oom_killed: false,
            outside: None,
        }));
    }
}

#[test]
fn readiness_is_dated_when_it_changes_and_stays_so_dated() {
    let mut case = Case::running(default);
    assert_eq!(case.noted(Ready), (ConditionStatus::True, NOW));
    case.wait_until(5);
    assert_eq!(case.noted(Ready), (ConditionStatus::True, NOW));
    let crashed = case.wait_until(7);
    case.crash();
    assert_eq!(case.noted(Ready), (ConditionStatus::False, crashed));
    case.wait_until(20);
    assert_eq!(case.noted(Ready), (ConditionStatus::False, crashed));
}

#[test]
fn an_action_counts_from_the_plan_that_begins_it() {
    let mut case = Case::running(default);
    assert_eq!(case.noted(Progressing), (ConditionStatus::False, NOW));
    let asked = case.wait_until(3);
    case.memory.restart_requested = true;
    assert_eq!(case.plan().step.unwrap().action.kind(), ActionKind::Stop);
    assert_eq!(case.noted(Progressing), (ConditionStatus::True, asked));
    assert_eq!(case.noted(Ready), (ConditionStatus::False, asked));
    case.busy = Some(Busy::Stopping);
    case.wait_until(9);
    assert_eq!(case.noted(Ready), (ConditionStatus::False, asked));
}

#[test]
fn what_becomes_available_by_time_alone_is_looked_at_when_it_does() {
    let mut case = Case::running(default);
    case.now = Mono(NOW.0 - 1_000_000); // just started
    let ripe = case.now.after(Duration::from_secs(MIN_READY));
    let plan = case.plan();
    assert_eq!((plan.wake_at, plan.ripens_at), (None, Some(ripe)));
    assert_eq!(case.noted(Available).0, ConditionStatus::False);
    case.now = ripe;
    assert_eq!(case.noted(Available), (ConditionStatus::True, ripe));
    assert_eq!(case.plan().ripens_at, None);
    case.wait_until(60);
    assert_eq!(case.noted(Available), (ConditionStatus::True, ripe));
}

#[test]
fn status_tells_the_noted_time_and_for_what_is_not_noted_yet_its_own() {
    let mut case = Case::running(default);
    case.noted(Ready);
    let told = |case: &Case| {
        let assessment = case.with_view(crate::status::assess);
        let conditions = case.memory.conditions(&assessment, wall(case.now));
        let ready = conditions.into_iter().find(|c| c.r#type == Ready).unwrap();
        (ready.status, ready.last_transition_time)
    };
    let crashed = case.wait_until(4);
    assert_eq!(told(&case), (ConditionStatus::True, wall(NOW).to_string()));
    case.crash();
    assert_eq!(
        told(&case),
        (ConditionStatus::False, wall(crashed).to_string())
    );
}
