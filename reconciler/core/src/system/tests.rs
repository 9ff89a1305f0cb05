//! Tables: what runs, who is well under it, and what is done about it.

use super::*;
use crate::{event::EventKind, rollout::Verdict, spec::SystemRollback, units::Period};

const S: u64 = 1_000_000;

const COMING: Standing = Standing::Coming { is_new: false };

fn system(number: u64) -> Generation {
    Generation {
        number,
        store_path: format!("/system/{number}").into(),
    }
}

fn stuck(escalates: bool) -> Standing {
    Standing::Stuck {
        message: "its way back is spent".into(),
        escalates,
    }
}

/// A machine, looked at again and again.
#[derive(Default)]
struct Machine {
    memory: SystemMemory,
    rules: NodeRollback,
    agents: Vec<(AgentName, Standing)>,
    checks: Vec<(String, CheckState)>,
    /// Numbers that somebody deleted.
    deleted: Vec<u64>,
    now: u64,
}

impl Machine {
    /// One that runs proven system 1 with these agents.
    fn proven(agents: &[(&str, Standing)]) -> Self {
        let mut machine = Self::default();
        machine.agents(agents);
        machine.look(1);
        machine.look(1);
        machine
    }

    fn agents(&mut self, agents: &[(&str, Standing)]) {
        let named =
            |(name, standing): &(&str, Standing)| (AgentName::new(name).unwrap(), standing.clone());
        self.agents = agents.iter().map(named).collect();
    }

    fn plan(&mut self, running: &Generation) -> SystemPlan {
        self.now += 10 * S;
        let there = (1..10).filter(|number| !self.deleted.contains(number));
        let listed: Vec<_> = there.map(system).collect();
        let plan = look(
            &self.memory,
            &SystemView {
                current: Some(running),
                listed: &listed,
                agents: &self.agents,
                checks: &self.checks,
                rules: &self.rules,
                now: Mono(self.now),
                wall: Wall(i64::try_from(self.now).unwrap()),
                fresh: InvocationId([1; 16]),
            },
        );
        self.memory = plan.memory.clone();
        plan
    }

    /// The kinds of what is recorded when this generation runs.
    fn look(&mut self, running: u64) -> Vec<EventKind> {
        let plan = self.plan(&system(running));
        let intents = plan
            .records
            .iter()
            .filter(|e| e.kind() == EventKind::RollbackIntended);
        assert_eq!(intents.count(), usize::from(plan.switch.is_some()));
        plan.records.iter().map(Event::kind).collect()
    }

    /// The switch under way ends with a code, and this runs.
    fn ends(&mut self, code: i32, running: u64) -> Vec<EventKind> {
        let end = SwitchEnd::Ended {
            code,
            is_switched: code == 0 || code == 4,
            says: format!("code {code}"),
            output: Vec::new(),
        };
        self.end(&end, running)
    }

    fn end(&mut self, end: &SwitchEnd, running: u64) -> Vec<EventKind> {
        let wall = Wall(i64::try_from(self.now).unwrap());
        let running = system(running);
        let plan = settle(&self.memory, end, Some(&running), Mono(self.now), wall);
        assert_eq!(plan.memory.switching, None);
        self.memory = plan.memory;
        plan.records.iter().map(Event::kind).collect()
    }

    /// It goes to this generation, and that runs.
    fn ends_with(&mut self, running: u64) {
        assert_eq!(self.ends(0, running), [RollbackSucceeded]);
    }

    /// One that runs failing system 2 after 1 was proven, and is about to go back.
    fn going_back() -> Self {
        let mut machine = Self::proven(&[("a", Standing::Well)]);
        machine.agents(&[("a", stuck(true))]);
        machine.look(2);
        machine
    }

    fn verdict(&self, number: u64) -> Verdict {
        self.memory.of(&system(number).store_path).unwrap().verdict
    }
}

use EventKind::{
    EscalationExhausted, GenerationBad, GenerationGood, OutsideAction as Outside, RollbackFailed,
    RollbackIntended, RollbackSucceeded,
};

#[test]
fn what_runs_is_proven_when_every_agent_and_every_check_is_well() {
    let mut machine = Machine::default();
    machine.agents(&[("a", COMING)]);
    machine.checks = vec![("disk".into(), CheckState::Coming)];
    assert_eq!(machine.look(1), []);
    machine.agents(&[("a", Standing::Well)]);
    assert_eq!(machine.look(1), []);
    machine.checks = vec![("disk".into(), CheckState::Well)];
    assert_eq!(machine.look(1), [GenerationGood]);
    assert_eq!(machine.look(1), [], "it is said once");
    assert_eq!(machine.memory.last_known_good(), Some(&system(1)));
}

#[test]
fn a_switch_that_leaves_an_escalating_agent_stuck_is_gone_back_from_once() {
    let mut machine = Machine::proven(&[("a", Standing::Well)]);
    machine.agents(&[("a", COMING)]);
    assert_eq!(machine.look(2), [Outside]);
    machine.agents(&[("a", stuck(true))]);
    assert_eq!(machine.look(2), [GenerationBad, RollbackIntended]);
    assert_eq!(machine.memory.switching.as_ref().unwrap().to, system(1));
    assert_eq!(
        machine.look(2),
        [],
        "while it is under way nothing is decided"
    );
    machine.ends_with(1);
    machine.agents(&[("a", Standing::Well)]);
    assert_eq!(machine.look(1), [GenerationGood], "it helped");
    assert_eq!(machine.verdict(2), Verdict::Bad);
    // A person insists on the bad one.
    machine.agents(&[("a", stuck(true))]);
    assert_eq!(
        machine.look(2),
        [Outside, GenerationBad, EscalationExhausted]
    );
}

#[test]
fn a_rollback_that_does_not_help_is_the_last() {
    let mut machine = Machine::proven(&[("a", Standing::Well)]);
    machine.agents(&[("a", stuck(true))]);
    assert_eq!(machine.look(2), [Outside, GenerationBad, RollbackIntended]);
    machine.ends_with(1);
    assert_eq!(machine.look(1), [], "it has time to recover");
    assert_eq!(machine.look(1), [EscalationExhausted]);
    assert_eq!(
        machine.verdict(1),
        Verdict::Good,
        "it was good, and is not to blame"
    );
    assert_eq!(machine.look(1), []);
}

#[test]
fn each_end_of_a_switch_has_its_consequence() {
    let held = [RollbackFailed, EscalationExhausted];
    for code in [1, 11, 100, 137] {
        let mut machine = Machine::going_back();
        assert_eq!(machine.ends(code, 2), held, "code {code}");
        assert_eq!(machine.look(2), [], "it is not tried again");
    }
    let mut machine = Machine::going_back();
    assert_eq!(
        machine.ends(4, 1),
        [RollbackSucceeded],
        "whose units is not said"
    );
    let mut machine = Machine::going_back();
    assert_eq!(machine.ends(2, 1), [RollbackFailed], "activated in part");
    machine.agents(&[("a", Standing::Well)]);
    assert_eq!(machine.look(1), [GenerationGood], "and yet it helped");
    let mut machine = Machine::going_back();
    assert_eq!(machine.ends(0, 2), held, "it said so, and it is not so");
    let mut machine = Machine::going_back();
    assert_eq!(machine.end(&SwitchEnd::Lost, 1), [RollbackSucceeded]);
    let mut machine = Machine::going_back();
    assert_eq!(machine.end(&SwitchEnd::Lost, 2), held);
    let mut machine = Machine::going_back();
    assert_eq!(
        machine.end(&SwitchEnd::Failed("no manager".into()), 2),
        held
    );
}

#[test]
fn nothing_is_proven_before_the_switch_can_have_settled() {
    let mut machine = Machine::proven(&[("a", Standing::Well)]);
    assert_eq!(machine.look(2), [Outside]);
    machine.now -= 5 * S;
    assert_eq!(machine.look(2), []);
    assert_eq!(machine.look(2), [GenerationGood]);
}

#[test]
fn who_was_not_well_before_and_who_does_not_escalate_condemns_no_system() {
    let mut machine = Machine::proven(&[("ill", Standing::Well), ("calm", Standing::Well)]);
    machine.agents(&[("ill", stuck(true)), ("calm", Standing::Well)]);
    machine.look(1);
    machine.agents(&[("ill", stuck(true)), ("calm", stuck(false))]);
    assert_eq!(machine.look(2), [Outside]);
    assert_eq!(machine.verdict(2), Verdict::Unproven);
    machine.agents(&[("ill", stuck(true)), ("calm", Standing::Well)]);
    assert_eq!(machine.look(2), [GenerationGood]);
}

#[test]
fn a_health_check_that_begins_to_fail_condemns_what_is_on_probation_and_nothing_else() {
    let failed = || vec![("net".into(), CheckState::Failed("no route".into()))];
    let mut machine = Machine::proven(&[]);
    assert_eq!(machine.look(2), [Outside]);
    machine.checks = failed();
    assert_eq!(machine.look(2), [GenerationBad, RollbackIntended]);
    let mut machine = Machine::proven(&[]);
    machine.checks = failed();
    assert_eq!(machine.look(1), [], "what is proven is not judged again");
    assert_eq!(machine.look(2), [Outside]);
    assert_eq!(machine.look(2), [GenerationGood], "it failed before");
}

#[test]
fn the_budget_and_never_and_nothing_good_leave_the_system_as_it_is() {
    let stays = |machine: &mut Machine, running| {
        let plan = machine.plan(&system(running));
        assert_eq!(plan.switch, None);
        let bad = plan.records.iter().find_map(|event| match event {
            Event::SystemBad(bad) => bad.stays,
            _ => None,
        });
        bad.unwrap()
    };
    let mut machine = Machine::default();
    machine.agents(&[("a", stuck(true))]);
    assert_eq!(stays(&mut machine, 1), "NothingToGoBackTo");
    let mut machine = Machine::proven(&[]);
    machine.agents(&[("a", stuck(true))]);
    machine.rules.system = SystemRollback::Never;
    assert_eq!(stays(&mut machine, 2), "RollbackOff");
    let mut machine = Machine::proven(&[]);
    machine.rules.budget = 1;
    machine.rules.per = Period::secs(3600);
    machine.agents(&[("a", stuck(true))]);
    machine.look(2);
    machine.agents(&[]);
    machine.ends_with(1);
    machine.look(1);
    machine.agents(&[("a", stuck(true))]);
    assert_eq!(stays(&mut machine, 3), "RollbackBudgetSpent");
    machine.agents(&[]);
    machine.look(1);
    machine.now += 3600 * S;
    machine.agents(&[("a", stuck(true))]);
    assert!(machine.plan(&system(4)).switch.is_some());
}

#[test]
fn a_test_that_is_no_generation_is_never_called_good_and_is_gone_back_from() {
    let mut machine = Machine::proven(&[("a", Standing::Well)]);
    let test = Generation {
        number: 0,
        store_path: "/system/test".into(),
    };
    let kinds = |plan: SystemPlan| plan.records.iter().map(Event::kind).collect::<Vec<_>>();
    let first = machine.plan(&test);
    assert_eq!(kinds(first), [Outside]);
    machine.agents(&[("a", stuck(true))]);
    let then = machine.plan(&test);
    assert_eq!(kinds(then), [GenerationBad, RollbackIntended]);
}

#[test]
fn the_same_system_under_another_number_is_no_change() {
    let mut machine = Machine::proven(&[("a", Standing::Well)]);
    let renumbered = Generation {
        number: 7,
        ..system(1)
    };
    assert_eq!(machine.plan(&renumbered).records, []);
    assert_eq!(machine.memory.last_known_good(), Some(&renumbered));
}

#[test]
fn what_is_remembered_is_bounded_and_the_last_known_good_is_never_forgotten() {
    let mut machine = Machine::proven(&[("a", Standing::Well)]);
    machine.agents(&[("a", COMING)]);
    for number in 2..300 {
        machine.look(number);
    }
    assert_eq!(machine.memory.tried.len(), SYSTEMS_MAX);
    assert_eq!(machine.memory.last_known_good(), Some(&system(1)));
}

#[test]
fn an_operator_goes_where_they_like() {
    let machine = Machine::proven(&[("a", Standing::Well)]);
    let plan = go_back(&machine.memory, system(9), InvocationId([2; 16]));
    assert_eq!(plan.switch.as_ref().unwrap().to, system(9));
    assert!(plan.switch.unwrap().by_operator);
    let mut memory = plan.memory;
    memory.switched(Some(&system(9)), Mono(0), Wall(0));
    let probation = memory.probation.unwrap();
    assert!(!probation.after_rollback, "it may be gone back from");
}

#[test]
fn an_agent_that_is_seen_before_the_system_that_brings_it_is_that_systems() {
    let mut machine = Machine::proven(&[("a", Standing::Well)]);
    let new = Standing::Coming { is_new: true };
    machine.agents(&[("a", Standing::Well), ("b", new)]);
    machine.look(1);
    machine.agents(&[("a", Standing::Well), ("b", stuck(true))]);
    assert_eq!(machine.look(2), [Outside, GenerationBad, RollbackIntended]);
}

#[test]
fn a_clock_that_was_set_back_does_not_change_which_one_is_the_last_known_good() {
    let mut machine = Machine::proven(&[]);
    machine.look(2);
    machine.look(2);
    machine.now = S; // and the wall clock with it
    machine.look(3);
    machine.now += 100 * S;
    machine.memory.prove(&system(3), Wall(-1));
    assert_eq!(machine.memory.last_known_good(), Some(&system(3)));
    assert_eq!(
        machine.memory.good_other_than(Some("/system/3")),
        Some(&system(2))
    );
}

#[test]
fn a_damaged_system_is_not_gone_back_to_until_it_is_found_whole() {
    let mut machine = Machine::proven(&[]);
    machine.look(2);
    machine.look(2);
    machine.memory.verified(&system(2), false);
    assert!(machine.memory.is_damaged("/system/2"));
    machine.agents(&[("a", stuck(true))]);
    assert_eq!(machine.look(3), [Outside, GenerationBad, RollbackIntended]);
    assert_eq!(machine.memory.switching.as_ref().unwrap().to, system(1));
    machine.memory.verified(&system(2), true);
    assert_eq!(machine.memory.last_known_good(), Some(&system(2)));
}

#[test]
fn a_system_that_somebody_deleted_is_passed_over() {
    let mut machine = Machine::proven(&[]);
    machine.look(2);
    machine.look(2);
    machine.deleted = vec![2];
    machine.agents(&[("a", stuck(true))]);
    assert_eq!(machine.look(3), [Outside, GenerationBad, RollbackIntended]);
    assert_eq!(machine.memory.switching.as_ref().unwrap().to, system(1));
}

#[test]
fn what_somebody_made_run_during_a_switch_of_ours_has_a_probation_of_its_own() {
    let mut machine = Machine::going_back();
    assert_eq!(machine.ends(11, 3), [RollbackFailed, EscalationExhausted]);
    machine.agents(&[("a", Standing::Well)]);
    assert_eq!(machine.look(3), [Outside]);
    assert_eq!(machine.look(3), [GenerationGood]);
}

#[test]
fn what_was_wrong_under_the_bad_system_is_not_held_against_the_one_gone_back_to_at_once() {
    let mut machine = Machine::going_back();
    machine.ends_with(1);
    assert_eq!(machine.look(1), [], "the specs of 1 are yet to be read");
    machine.agents(&[("a", Standing::Well)]);
    assert_eq!(machine.look(1), [GenerationGood]);
}
