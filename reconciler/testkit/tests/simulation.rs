//! The loop under simulated bad luck, and proof that the simulator would notice.
//!
//! `OSMODA_SIM_SEEDS=N` tries seeds 0 to N-1 (default 200); `OSMODA_SIM_SEED=S` replays one. In
//! front of both go the mutations: what is broken on purpose must be seen by one of the first
//! 200 seeds, and be called by its name.

#![expect(
    clippy::panic,
    clippy::print_stdout,
    reason = "a violation is shown as it is, and what was played is worth a line"
)]

use std::{env, thread, time::Duration};

use osmoda_testkit::sim::{
    self, Summary, day,
    deaths::{self, Meanwhile, Outcome},
    expectations,
    monitor::Preparations,
    sabotage::Sabotage,
};

const SEEDS: u64 = 200;
/// Threads that share the seeds.
const THREADS: u64 = 4;

fn variable(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number"))
    })
}

/// What was played in these seeds; panics with the first violation.
fn play(seeds: impl Iterator<Item = u64>) -> Summary {
    let mut total = Summary::default();
    for seed in seeds {
        total += sim::run(seed).unwrap_or_else(|violation| {
            panic!("{violation}\nreplay it with: cargo xtask sim --seed {seed}")
        });
    }
    total
}

#[test]
fn every_seed_keeps_every_promise_and_converges() {
    if let Some(seed) = variable("OSMODA_SIM_SEED") {
        println!("seed {seed}: {:?}", play(seed..=seed));
        return;
    }
    let seeds = variable("OSMODA_SIM_SEEDS").unwrap_or(SEEDS);
    let mut total = Summary::default();
    thread::scope(|scope| {
        let shares = (0..THREADS).map(|first| (first..seeds).step_by(THREADS as usize));
        let players: Vec<_> = shares.map(|share| scope.spawn(|| play(share))).collect();
        for player in players {
            total += player
                .join()
                .unwrap_or_else(|why| std::panic::resume_unwind(why));
        }
    });
    println!("{seeds} seeds: {total:?}");
    let often = [total.starts, total.deaths, total.faults, total.proven];
    let at_times = [total.effects, total.rollbacks];
    let systems = total.system_rollbacks;
    assert!(
        seeds < SEEDS || systems > seeds / 5,
        "systems are gone back from: {total:?}"
    );
    assert!(
        seeds < SEEDS || total.undone > seeds / 2,
        "likely restarts are not decided: {total:?}"
    );
    assert!(
        seeds < SEEDS
            || often.iter().all(|count| *count > seeds)
                && at_times.iter().all(|count| *count > seeds),
        "things happened: {total:?}"
    );
}

#[test]
fn a_seed_decides_everything() {
    assert_eq!(sim::run(7).unwrap(), sim::run(7).unwrap());
}

/// Asserts that one of the first seeds finds the sabotage, and that the first one says this.
fn caught(sabotage: Sabotage, said: &[&str]) {
    let found = (0..SEEDS).find_map(|seed| sim::run_with(seed, sabotage).err());
    let found = found.unwrap_or_else(|| panic!("{sabotage:?} was not noticed"));
    println!("{sabotage:?}, seed {}: {}", found.seed, found.what);
    let named = said.iter().any(|said| found.what.contains(said));
    assert!(named, "{found}");
}

#[test]
fn a_loop_that_forgets_an_exit_is_caught() {
    caught(Sabotage::ForgetsExits, &["not converged", "is not well"]);
}

#[test]
fn a_loop_that_starts_twice_is_caught() {
    caught(Sabotage::StartsTwice, &["has 2 instances"]);
}

#[test]
fn a_loop_that_acts_before_its_intent_is_caught() {
    let said = ["before its intent was written"];
    caught(Sabotage::ActsBeforeIntent, &said);
}

#[test]
fn a_runtime_that_acts_when_it_is_to_prepare_is_caught() {
    let said = ["before its intent was written"];
    caught(Sabotage::ActsWhilePreparing, &said);
}

#[test]
fn a_runtime_that_starts_what_was_prepared_and_is_not_wanted_is_caught() {
    let said = ["before its intent was written"];
    caught(Sabotage::StartsWhatIsUndone, &said);
}

#[test]
fn silence_that_is_judged_a_second_late_is_caught() {
    caught(Sabotage::JudgesSilenceLate, &["after its deadline"]);
}

#[test]
fn silence_that_is_judged_a_second_early_is_caught() {
    caught(Sabotage::JudgesSilenceEarly, &["before its deadline"]);
}

#[test]
fn silence_that_is_never_judged_is_caught() {
    caught(Sabotage::NeverJudgesSilence, &["is not well"]);
}

#[test]
fn a_threshold_that_is_forgotten_is_caught() {
    let said = ["answers failed"];
    caught(Sabotage::OneFailureCounts, &said);
}

#[test]
fn a_threshold_that_is_never_reached_is_caught() {
    let said = ["is not well", "is not ready"];
    caught(Sabotage::NoFailureCounts, &said);
}

#[test]
fn a_start_that_is_waited_for_too_long_is_caught() {
    caught(Sabotage::JudgesStartLate, &["after its time"]);
}

#[test]
fn a_start_that_is_not_waited_for_long_enough_is_caught() {
    caught(Sabotage::JudgesStartEarly, &["before its time"]);
}

#[test]
fn memory_beyond_its_threshold_is_caught() {
    caught(Sabotage::JudgesMemoryLate, &["before that was found"]);
}

#[test]
fn memory_that_is_judged_below_its_threshold_is_caught() {
    let said = ["was found at", "it does not leak"];
    caught(Sabotage::JudgesMemoryEarly, &said);
}

#[test]
fn a_runaway_that_lasts_longer_than_its_window_is_caught() {
    caught(Sabotage::JudgesCpuLate, &["after its time"]);
}

#[test]
fn a_runaway_that_is_called_before_its_window_is_over_is_caught() {
    caught(Sabotage::JudgesCpuEarly, &["before its time"]);
}

#[test]
fn a_restart_that_does_not_wait_is_caught() {
    caught(Sabotage::RestartsAtOnce, &["which is not within"]);
}

#[test]
fn a_budget_that_is_never_spent_is_caught() {
    caught(Sabotage::SpendsNoBudget, &["which is not within"]);
}

#[test]
fn a_budget_that_is_spent_at_once_is_caught() {
    caught(Sabotage::SpendsBudgetAtOnce, &["which is not within"]);
}

#[test]
fn dependencies_that_nobody_waits_for_are_caught() {
    let said = ["which it depends on"];
    caught(Sabotage::IgnoresDependencies, &said);
}

#[test]
fn agents_that_are_stopped_before_those_who_need_them_are_caught() {
    let said = ["which depends on it, still runs"];
    caught(Sabotage::StopsInAnyOrder, &said);
}

#[test]
fn a_rollback_to_the_generation_below_is_caught() {
    caught(Sabotage::GoesBackBelow, &["was made active, but"]);
}

#[test]
fn a_bad_generation_that_is_made_active_again_is_caught() {
    let said = ["is Bad and was made active"];
    caught(Sabotage::ReactivatesBad, &said);
}

#[test]
fn a_system_that_is_switched_to_another_generation_is_caught() {
    let said = ["the system was switched before its intent was written"];
    caught(Sabotage::SwitchesElsewhere, &said);
}

#[test]
fn a_switch_of_the_system_that_is_begun_twice_is_caught() {
    caught(Sabotage::SwitchesAnew, &["was launched 2 times"]);
}

#[test]
fn a_switch_of_the_system_whose_end_is_never_told_is_caught() {
    let said = ["has no outcome on record"];
    caught(Sabotage::ForgetsSwitches, &said);
}

/// Microseconds after a bad deploy: before it, at every await of the way back, and after it.
const MOMENTS: std::ops::Range<u64> = 0..200;
/// Between two of them.
const GRAIN: Duration = Duration::from_micros(100);

fn at_every_moment(meanwhile: Meanwhile, allowed: impl Fn(&Outcome) -> bool) {
    let mut interrupted = 0;
    for moment in MOMENTS {
        let after = GRAIN * u32::try_from(moment).unwrap_or(u32::MAX);
        let outcome =
            deaths::rollback(after, meanwhile).unwrap_or_else(|broken| panic!("{broken}"));
        assert!(outcome.works, "{after:?}: {outcome:?}");
        assert!(allowed(&outcome), "{after:?}: {outcome:?}");
        interrupted += usize::from(outcome.active != 2);
    }
    println!("{meanwhile:?}: {interrupted} of {MOMENTS:?} did not end with generation 2");
}

#[test]
fn a_rollback_ends_well_wherever_the_daemon_dies() {
    let went_back = |outcome: &Outcome| (outcome.active, outcome.rollbacks) == (2, 1);
    at_every_moment(Meanwhile::DaemonDies, |o| went_back(o) && o.condemned);
    at_every_moment(Meanwhile::PowerFails, |o| went_back(o) && o.condemned);
}

#[test]
fn a_way_back_that_is_taken_away_leads_to_the_good_one_before_it() {
    let good = |outcome: &Outcome| matches!(outcome.active, 1 | 2);
    at_every_moment(Meanwhile::LastGoodDeleted, good);
    at_every_moment(Meanwhile::LastGoodDamaged, good);
}

#[test]
fn a_persons_choice_in_the_midst_of_a_rollback_ends_in_something_good() {
    at_every_moment(Meanwhile::OldestChosen, |o| matches!(o.active, 1 | 2));
}

#[test]
fn a_restart_that_was_expected_and_not_decided_leaves_nothing_behind() {
    let outcome = expectations::cascade().unwrap();
    let preparations = Preparations {
        under_way: 0,
        undone: 1,
    };
    let expected = expectations::Outcome {
        preparations,
        starts: [2, 2],
        well: 2,
    };
    assert_eq!(outcome, expected);
}

/// Of a deploy that is bad or good, how long its probation lasted, when the daemon dies or the
/// power fails ten times as far into it as these tenths of seconds say; 3 s later all is back.
fn probations(bad: bool, meanwhile: Meanwhile, tenths: std::ops::Range<u32>) -> Vec<Duration> {
    let away = Duration::from_secs(3);
    let moments = tenths.step_by(7).map(|n| Duration::from_millis(100) * n);
    let judged = moments.map(|after| deaths::probation(bad, meanwhile, after, away));
    judged
        .map(|judged| judged.unwrap_or_else(|broken| panic!("{broken}")))
        .collect()
}

#[test]
fn a_probation_survives_the_daemon_with_the_time_that_is_left() {
    // Good after 8 s, Bad after 25 s; what passed while nobody looked counts.
    for lasted in probations(false, Meanwhile::DaemonDies, 5..75) {
        assert!((8_000..11_500).contains(&lasted.as_millis()), "{lasted:?}");
    }
    for lasted in probations(true, Meanwhile::DaemonDies, 5..240) {
        assert!((25_000..28_500).contains(&lasted.as_millis()), "{lasted:?}");
    }
}

#[test]
fn a_probation_survives_the_machine_with_the_time_that_is_left() {
    // Signs of life come every 10 s, so that as much may count twice; then the boot and 3 s
    // until the daemon is there.
    for lasted in probations(true, Meanwhile::PowerFails, 5..240) {
        assert!((25_000..36_000).contains(&lasted.as_millis()), "{lasted:?}");
    }
}

/// Run by `cargo xtask test --all` and `cargo xtask test simulation`: it takes a while.
#[test]
#[ignore = "24 hours of 20 agents take minutes"]
fn a_day_of_many_agents_leaves_no_task_and_no_memory_behind() {
    const AGENTS: usize = 20;
    let held = day::live(0, AGENTS, 24).unwrap_or_else(|broken| panic!("{broken}"));
    for (hour, held) in held.iter().enumerate() {
        println!("hour {hour}: {held:?}");
    }
    let (early, late) = (held[5], held[23]);
    assert!(held.iter().all(|held| held.missing == 0), "{held:?}");
    let most = held.iter().map(|held| held.tasks).max().unwrap_or_default();
    assert!(most <= early.tasks + AGENTS, "tasks grow: {held:?}");
    assert!(late.memory < 2 * early.memory, "memory grows: {held:?}");
    assert!(late.entries > early.entries, "it was a day with events");
}
