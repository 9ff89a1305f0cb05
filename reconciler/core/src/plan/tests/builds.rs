//! Tables: the bundle of a new spec is made in the background, and nothing waits for it.

use super::*;
use crate::{
    plan::{BUILD_RETRY_FIRST, BUILD_RETRY_MAX},
    rollout::BadReason,
    spec::Rollout,
    status::{ConditionStatus, ConditionType, assess},
};

/// Declared anew as `v2` while `v1` is there; the bundle of `v2` is not.
fn changed(mut case: Case, bundle: Bundle) -> Case {
    case.desired = Some(agent("v2", |_| {}));
    case.bundle = bundle;
    case
}

fn failed(failures: u32, at: Mono) -> Bundle {
    Bundle::Failed {
        message: "no substituter has it".into(),
        failures,
        at,
    }
}

fn intended(plan: &AgentPlan) -> Vec<ActionKind> {
    let actions = plan
        .records
        .iter()
        .filter_map(|record| match &record.event {
            Event::ActionIntended(intent) => Some(intent.action),
            _ => None,
        });
    actions.collect()
}

/// What is done now: whether a bundle is made, and the step.
fn done(case: &Case) -> (bool, Option<ActionKind>) {
    let plan = case.plan();
    let step = plan.step.as_ref().map(|step| step.action.kind());
    let mut expected: Vec<_> = plan
        .build
        .then_some(ActionKind::Build)
        .into_iter()
        .collect();
    expected.extend(step);
    assert_eq!(
        intended(&plan),
        expected,
        "each act has its intent, the step's last"
    );
    (plan.build, step)
}

#[test]
fn a_first_spec_is_built_and_then_activated() {
    let mut case = Case::declared(default);
    case.bundle = Bundle::Absent;
    assert_eq!(done(&case), (true, None));
    case.bundle = Bundle::UnderWay { since: NOW };
    assert_eq!(done(&case), (false, None));
    case.bundle = Bundle::Ready { at: NOW };
    assert_eq!(done(&case), (false, Some(ActionKind::Activate)));
}

#[test]
fn the_old_generation_is_kept_alive_while_the_new_one_is_built() {
    let case = changed(Case::ended(CRASH, default), Bundle::Absent);
    assert_eq!(done(&case), (true, Some(ActionKind::Start)));
    let case = changed(Case::running(default), Bundle::UnderWay { since: NOW });
    assert_eq!(done(&case), (false, None));
    let case = changed(Case::running(default), Bundle::Ready { at: NOW });
    assert_eq!(done(&case), (false, Some(ActionKind::Activate)));
}

#[test]
fn an_old_generation_that_fails_meanwhile_is_gone_back_from_and_the_new_one_still_gets_its_chance()
{
    let mut case = changed(Case::running(default), Bundle::UnderWay { since: NOW });
    let rollout = &mut case.memory.rollout;
    let older = Generation {
        number: 0,
        store_path: "/bundle/0".into(),
    };
    rollout.activated(&older, Digest::of(b"v0"), false, Mono(0), Wall(0));
    rollout.prove(&older, Mono(0), Wall(0));
    case.memory.escalation_due = true;
    let plan = case.plan();
    let step = plan.step.map(|step| step.action.kind());
    assert_eq!(step, Some(ActionKind::Switch));
    let desired = case.desired.as_ref().map(|desired| desired.digest);
    let mut after = plan.memory.rollout.clone();
    let active = case.memory.active.clone().unwrap();
    let again = after.way_back(&Rollout::default(), &active, desired, NOW);
    assert_eq!(again, Ok(older), "the new spec has its own way back");
    assert_eq!(
        after.of(&active).unwrap().reason,
        Some(BadReason::FailedWhileSuspect)
    );
}

#[test]
fn a_build_that_failed_is_tried_again_more_and_more_slowly() {
    let due = |failures| failed(failures, Mono(0)).due().unwrap();
    assert_eq!(due(1), Mono(0).after(BUILD_RETRY_FIRST));
    assert_eq!(due(2), Mono(0).after(BUILD_RETRY_FIRST * 2));
    assert_eq!(due(u32::MAX), Mono(0).after(BUILD_RETRY_MAX));
    let case = changed(Case::running(default), failed(1, NOW));
    assert_eq!(done(&case), (false, None));
    assert_eq!(case.plan().wake_at, Some(NOW.after(BUILD_RETRY_FIRST)));
    let long_ago = Mono(NOW.0 - 10_000_000);
    let case = changed(Case::running(default), failed(1, long_ago));
    assert_eq!(done(&case), (true, None));
}

#[test]
fn nothing_is_built_for_a_paused_agent_or_for_what_is_known_to_be_bad() {
    let mut case = changed(Case::running(default), Bundle::Absent);
    case.memory.paused = Some(Paused {
        reason: String::new(),
        uid: 0,
        at: Wall(0),
    });
    assert_eq!(done(&case), (false, None));
    let mut case = changed(Case::running(default), Bundle::Absent);
    let bad = Generation {
        number: 2,
        store_path: "/bundle/2".into(),
    };
    let digest = case.desired.as_ref().unwrap().digest;
    let rollout = &mut case.memory.rollout;
    rollout.activated(&bad, digest, false, NOW, Wall(0));
    rollout.condemn(&bad, BadReason::CrashLoop, NOW, Wall(0));
    assert_eq!(done(&case), (false, None));
}

#[test]
fn an_active_bundle_that_is_lost_is_made_again_and_nothing_is_done_on_a_guess() {
    let mut case = Case::running(default);
    case.observed.active = Observation::Unknown("the bundle is gone".into());
    case.bundle = Bundle::Absent;
    assert_eq!(done(&case), (true, None));
    case.bundle = Bundle::Ready { at: NOW };
    assert_eq!(done(&case), (false, None), "it was just made");
}

#[test]
fn status_and_diff_say_that_a_new_generation_is_being_made_or_cannot_be() {
    let progressing = |case: &Case| {
        let found = case.with_view(assess);
        let found = found.conditions.into_iter();
        let mut found = found.filter(|c| c.r#type == ConditionType::Progressing);
        let finding = found.next().unwrap();
        (finding.status, finding.reason)
    };
    let case = changed(Case::running(default), Bundle::UnderWay { since: NOW });
    assert_eq!(progressing(&case), (ConditionStatus::True, "Building"));
    let case = changed(Case::running(default), failed(1, NOW));
    assert_eq!(progressing(&case), (ConditionStatus::False, "BuildFailed"));
    let message = case.with_view(assess).message;
    assert_eq!(
        message,
        "the new generation cannot be made: no substituter has it"
    );
    let reasons = case.with_view(crate::diff::diff);
    assert!(
        reasons[0].reason.ends_with("no substituter has it"),
        "{reasons:?}"
    );
}

#[test]
fn an_agent_that_left_the_specs_goes_also_if_its_generation_cannot_be_read() {
    let mut case = Case::running(|_| {});
    case.desired = None;
    case.observed.active = Observation::Unknown("the bundle is gone".into());
    let step = case.plan().step.unwrap();
    assert_eq!(step.action.kind(), ActionKind::Stop);
    case.observed.instance = Observation::Known(None);
    let step = case.plan().step.unwrap();
    assert_eq!(step.action.kind(), ActionKind::Remove);
    case.observed.instance = Observation::Unknown("no answer".into());
    assert_eq!(case.plan().step, None, "perhaps it runs");
}
