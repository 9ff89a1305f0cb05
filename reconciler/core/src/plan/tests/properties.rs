//! What holds for every case.

use proptest::prelude::*;

use super::*;

fn state() -> impl Strategy<Value = Option<InstanceState>> {
    let exit = prop_oneof![
        Just(CRASH),
        Just(ExitStatus::Unknown),
        (0..3).prop_map(|code| ExitStatus::Code { code })
    ];
    prop_oneof![
        Just(None),
        Just(Some(InstanceState::Running { pid: 7 })),
        exit.prop_map(|status| {
            Some(InstanceState::Exited(Exit {
                status,
                at: NOW,
                oom_killed: false,
                outside: None,
            }))
        }),
    ]
}

fn policy() -> impl Strategy<Value = RestartPolicy> {
    prop_oneof![
        Just(RestartPolicy::Always),
        Just(RestartPolicy::OnFailure),
        Just(RestartPolicy::Never)
    ]
}

prop_compose! {
    fn any_case()(
        state in state(),
        policy in policy(),
        deployed in any::<bool>(),
        declared in 0..3_u8,
        consecutive in 0..20_u32,
        requested in any::<bool>(),
        accounted in any::<bool>(),
    ) -> Case {
        let mut case = if deployed {
            Case::deployed(|spec| spec.restart.policy = policy)
        } else {
            Case::declared(|spec| spec.restart.policy = policy)
        };
        case.desired = match declared {
            0 => None,
            1 => case.desired,
            _ => Some(agent("v2", |spec| spec.restart.policy = policy)),
        };
        case.memory.restart.consecutive = consecutive;
        case.memory.restart_requested = requested;
        if let Some(state) = state.filter(|_| deployed) {
            case.memory.current = Some(id(1));
            case.memory.accounted = accounted.then_some(id(1));
            case.instance(state);
        }
        case
    }
}

proptest! {
    #[test]
    fn after_the_plan_is_ideally_applied_the_next_plan_is_empty(case in any_case()) {
        let end = case.with_view(project);
        let removed = end.steps.last().is_some_and(|p| p.step.action == Action::Remove);
        prop_assume!(!removed); // the loop drops the agent: there is no next plan
        let settled = Case {
            observed: end.observed,
            memory: end.memory,
            now: end.now,
            ..case
        };
        prop_assert_eq!(settled.plan().step, None);
        let calm = Case { memory: settled.plan().memory, ..settled };
        let plan = calm.plan();
        prop_assert_eq!(plan.records, vec![]);
        prop_assert!(plan.memory.is_shared_with(&calm.memory), "{:?}", plan.memory);
    }

    #[test]
    fn every_step_has_its_intent_as_the_last_record(case in any_case()) {
        let plan = case.plan();
        let last = plan.records.last().map(|record| record.event.kind());
        prop_assert_eq!(plan.step.is_some(), last == Some(EventKind::ActionIntended));
    }

    #[test]
    fn nothing_is_started_beside_a_running_instance(case in any_case()) {
        let running = case.with_view(|view| view.running().is_some());
        let starts = matches!(case.plan().step, Some(Step { action: Action::Start { .. }, .. }));
        prop_assert!(!(running && starts));
    }
}
