use std::{
    io,
    sync::{Arc, Mutex},
};

use osmoda_core::{
    health::Vitals,
    name::AgentName,
    observed::{Generation, Instance, InstanceState, InvocationId},
    resources::Usage,
    spec::{Agent, AgentSpec, HeartbeatSource, Probe, ProbeCheck},
    time::{Clock, Wall},
    units::Period,
};
use tokio::time::Instant;

use super::*;
use crate::detect::{Asked, Question, Senses, board::Board};

/// Milliseconds since the start of the instance.
type Ms = u64;

/// tokio's paused time; the instance starts at zero.
struct Paused(Instant);

impl Clock for Paused {
    fn mono(&self) -> Mono {
        let elapsed = self.0.elapsed().as_micros();
        Mono(u64::try_from(elapsed).unwrap())
    }

    fn wall(&self) -> Wall {
        Wall(0)
    }

    fn boot_id(&self) -> &str {
        "boot"
    }
}

/// How the world answers to what is asked at a time: after how long, and what.
type Script = Box<dyn Fn(Ms) -> (Ms, Answer) + Send + Sync>;

struct World {
    clock: Arc<Paused>,
    script: Script,
    asked: Mutex<Vec<Ms>>,
}

impl Senses for World {
    fn check(&self, _: Question) -> Asked<Answer> {
        let now = self.clock.mono().0 / 1000;
        self.asked.lock().unwrap().push(now);
        let (takes, answer) = (self.script)(now);
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(takes)).await;
            answer
        })
    }

    fn usage(&self, _: AgentName, _: InvocationId) -> Asked<io::Result<Usage>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    fn last_sign(
        &self,
        _: AgentName,
        _: InvocationId,
        _: HeartbeatSource,
    ) -> Asked<io::Result<Option<Mono>>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }
}

fn bad() -> Answer {
    Answer::Failure("no".to_owned())
}

fn at_once(script: impl Fn(Ms) -> Answer + Send + Sync + 'static) -> Script {
    Box::new(move |now| (0, script(now)))
}

/// Good from this time on.
fn good_from(time: Ms) -> Script {
    at_once(move |now| if now >= time { Answer::Success } else { bad() })
}

fn tcp() -> Probe {
    let host = "127.0.0.1".to_owned();
    Probe::new(ProbeCheck::TcpSocket { host, port: 1 })
}

fn exec() -> Probe {
    let command = vec!["true".to_owned()];
    Probe::new(ProbeCheck::Exec { command })
}

/// What was asked when, and what came of it.
struct Seen {
    asked: Vec<Ms>,
    vitals: Vitals,
    woken: usize,
}

impl Seen {
    /// Verdict of a probe and when it became that.
    fn verdict(&self, kind: ProbeKind) -> (Verdict, Ms) {
        let state = match kind {
            ProbeKind::Startup => &self.vitals.startup,
            ProbeKind::Readiness => &self.vitals.readiness,
            ProbeKind::Liveness => &self.vitals.liveness,
        };
        let state = state.as_ref().expect("it was asked");
        (state.verdict, state.since.0 / 1000)
    }
}

/// Probes an instance for this long.
async fn watch(set: impl FnOnce(&mut spec::Probes), script: Script, time: Ms) -> Seen {
    let clock = Arc::new(Paused(Instant::now()));
    let world = Arc::new(World {
        clock: Arc::clone(&clock),
        script,
        asked: Mutex::default(),
    });
    let mut spec = AgentSpec::new(vec!["agent".to_owned()]);
    set(&mut spec.probes);
    let gate = spec.probes.gate();
    let name = AgentName::new("a").unwrap();
    let instance = Instance {
        agent: name.clone(),
        invocation: InvocationId([7; 16]),
        generation: Generation {
            number: 1,
            store_path: "/bundle".into(),
        },
        started_at: Mono(0),
        state: InstanceState::Running { pid: 1 },
        adopted: false,
    };
    let (board, mut woken) = Board::new();
    board.follow(&name, instance.invocation, Vitals::new(Mono(0)));
    let watch = Watch {
        agent: Arc::new(Agent {
            name: name.clone(),
            labels: Default::default(),
            spec: spec.into(),
            manifest: "".into(),
        }),
        instance,
        followed_since: Mono(0),
        board: board.clone(),
        senses: Arc::clone(&world) as Arc<dyn Senses>,
        clock,
    };
    let probing = tokio::spawn(run(watch, gate));
    tokio::time::sleep(Duration::from_millis(time)).await;
    probing.abort();
    let woken = std::iter::from_fn(|| woken.try_recv().ok()).count();
    let asked = world.asked.lock().unwrap().clone();
    Seen {
        asked,
        vitals: board.vitals(&name, InvocationId([7; 16])).unwrap(),
        woken,
    }
}

use ProbeKind::{Liveness, Readiness, Startup};
use Verdict::{Failure, Success, Unknown};

#[tokio::test(start_paused = true)]
async fn a_port_is_found_open_at_most_25_ms_after_it_was_opened() {
    let seen = watch(
        |probes| probes.readiness = Some(tcp()),
        good_from(110),
        1000,
    )
    .await;
    assert_eq!(seen.asked, [0, 25, 50, 75, 100, 125, 500]);
    assert_eq!(seen.verdict(Readiness), (Success, 125));
    assert_eq!(seen.woken, 1);
}

#[tokio::test(start_paused = true)]
async fn a_command_is_asked_at_its_period_and_no_more_often() {
    let seen = watch(
        |probes| probes.readiness = Some(exec()),
        good_from(600),
        1800,
    )
    .await;
    assert_eq!(seen.asked, [0, 500, 1000, 1500]);
    assert_eq!(seen.verdict(Readiness), (Success, 1000));
}

#[tokio::test(start_paused = true)]
async fn failures_of_extra_tries_are_not_counted() {
    let seen = watch(
        |probes| probes.startup = Some(tcp()),
        at_once(|_| bad()),
        9000,
    )
    .await;
    assert_eq!(seen.verdict(Startup), (Failure, 1000));
    let expected: Vec<Ms> = (0..=40).map(|n| n * 25).collect();
    assert_eq!(
        seen.asked, expected,
        "25 ms apart, and none after the verdict"
    );
}

#[tokio::test(start_paused = true)]
async fn extra_tries_end_two_seconds_after_the_start() {
    let seen = watch(
        |probes| probes.readiness = Some(tcp()),
        at_once(|_| bad()),
        3200,
    )
    .await;
    let late: Vec<Ms> = seen.asked.into_iter().filter(|at| *at > 1950).collect();
    assert_eq!(late, [1975, 2000, 2500, 3000]);
}

#[tokio::test(start_paused = true)]
async fn periods_are_counted_from_start_to_start() {
    let takes = |takes| Box::new(move |_| (takes, Answer::Success));
    let seen = watch(|probes| probes.readiness = Some(exec()), takes(300), 1400).await;
    assert_eq!(seen.asked, [0, 500, 1000]);
    let seen = watch(|probes| probes.readiness = Some(exec()), takes(700), 1500).await;
    assert_eq!(seen.asked, [0, 700, 1400], "and none runs beside another");
}

#[tokio::test(start_paused = true)]
async fn an_extra_try_that_is_under_way_when_a_counted_one_is_due_becomes_it() {
    let script = Box::new(|now| if now < 400 { (0, bad()) } else { (1000, bad()) });
    let seen = watch(|probes| probes.startup = Some(tcp()), script, 9000).await;
    // Counted: at 0, the one from 400 to 1400, and the one that followed at once.
    assert_eq!(seen.asked.last_chunk(), Some(&[375, 400, 1400]));
    assert_eq!(seen.verdict(Startup), (Failure, 2400));
}

#[tokio::test(start_paused = true)]
async fn a_failing_liveness_probe_is_asked_sooner_and_held_once_it_has_failed() {
    let script = at_once(|now| if now < 900 { Answer::Success } else { bad() });
    let seen = watch(|probes| probes.liveness = Some(exec()), script, 60_000).await;
    assert_eq!(seen.asked, [0, 500, 1000, 1200, 1400]);
    assert_eq!(seen.verdict(Liveness), (Failure, 1400));
    assert_eq!(seen.woken, 2, "started, failed");
}

#[tokio::test(start_paused = true)]
async fn one_bad_answer_among_good_ones_is_no_failure() {
    let script = at_once(|now| {
        if now % 1000 == 500 {
            bad()
        } else {
            Answer::Success
        }
    });
    let seen = watch(|probes| probes.liveness = Some(exec()), script, 10_000).await;
    assert_eq!(seen.verdict(Liveness).0, Success);
}

#[tokio::test(start_paused = true)]
async fn readiness_fails_after_its_threshold_and_comes_back() {
    let script = at_once(|now| match now {
        1000..3000 => bad(),
        _ => Answer::Success,
    });
    let readiness = |probes: &mut spec::Probes| {
        let mut probe = exec();
        probe.success_threshold = 2;
        probes.readiness = Some(probe);
    };
    let seen = watch(readiness, script, 4000).await;
    // Ready at the second success (500); failed at the third failure (1000, 1200, 1400); two
    // successes again at 3400 (the period goes on from 1400) and 3900.
    assert_eq!(seen.asked[..5], [0, 500, 1000, 1200, 1400]);
    assert_eq!(seen.verdict(Readiness), (Success, 3900));
    assert_eq!(seen.woken, 3);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_asked_before_the_initial_delay() {
    let delayed = |probes: &mut spec::Probes| {
        let mut probe = tcp();
        probe.initial_delay = Period::millis(1900);
        probes.readiness = Some(probe);
    };
    let seen = watch(delayed, at_once(|_| bad()), 2450).await;
    assert_eq!(seen.asked, [1900, 1925, 1950, 1975, 2000, 2400]);
}

#[tokio::test(start_paused = true)]
async fn the_initial_delay_counts_from_the_start_and_not_from_what_gated_it() {
    let both = |probes: &mut spec::Probes| {
        probes.startup = Some(exec());
        let mut readiness = exec();
        readiness.initial_delay = Period::millis(700);
        probes.readiness = Some(readiness);
    };
    let seen = watch(both, good_from(400), 1100).await;
    assert_eq!(seen.asked, [0, 500, 700], "startup twice, then readiness");
}

#[tokio::test(start_paused = true)]
async fn until_startup_has_succeeded_nothing_else_is_asked() {
    let all = |probes: &mut spec::Probes| {
        let mut startup = exec();
        startup.failure_threshold = 100;
        probes.startup = Some(startup);
        probes.readiness = Some(exec());
        probes.liveness = Some(exec());
    };
    let seen = watch(all, at_once(|_| bad()), 20_000).await;
    assert_eq!(seen.asked.len(), 40);
    assert_eq!(seen.verdict(Startup).0, Unknown);
    assert!(seen.vitals.readiness.is_none() && seen.vitals.liveness.is_none());
    let seen = watch(all, good_from(1800), 2100).await;
    assert_eq!(seen.asked, [0, 500, 1000, 1500, 2000, 2000, 2000]);
}

#[tokio::test(start_paused = true)]
async fn a_failed_startup_probe_ends_all_probing() {
    let all = |probes: &mut spec::Probes| {
        probes.startup = Some(exec());
        probes.readiness = Some(exec());
    };
    let seen = watch(all, at_once(|_| bad()), 20_000).await;
    assert_eq!(seen.asked, [0, 500, 1000]);
    assert_eq!(seen.verdict(Startup), (Failure, 1000));
}

#[tokio::test(start_paused = true)]
async fn a_liveness_probe_that_gates_the_start_has_patience_and_then_none() {
    let seen = watch(
        |probes| probes.liveness = Some(exec()),
        good_from(14_000),
        14_400,
    )
    .await;
    assert_eq!(seen.verdict(Startup), (Success, 14_000));
    assert_eq!(
        seen.asked.last(),
        Some(&14_000),
        "its next turn is a period later"
    );
    let seen = watch(
        |probes| probes.liveness = Some(exec()),
        at_once(|_| bad()),
        60_000,
    )
    .await;
    assert_eq!(
        seen.verdict(Startup),
        (Failure, 14_500),
        "30 failures, 500 ms apart"
    );
}

#[tokio::test(start_paused = true)]
async fn a_prober_that_panics_fails_and_goes_on() {
    let script = at_once(|now| match now {
        0..1000 => panic!("ordered by the test"),
        _ => Answer::Success,
    });
    let patient = |probes: &mut spec::Probes| {
        let mut startup = exec();
        startup.failure_threshold = 2;
        probes.startup = Some(startup);
    };
    let seen = watch(patient, script, 9000).await;
    assert_eq!(seen.verdict(Startup), (Failure, 500));
    let message = seen.vitals.startup.unwrap().message;
    assert_eq!(message, "the prober panicked");
}

#[tokio::test(start_paused = true)]
async fn a_prober_that_never_answers_fails() {
    let once = |probes: &mut spec::Probes| {
        let mut startup = exec();
        startup.failure_threshold = 1;
        probes.startup = Some(startup);
    };
    let never = Box::new(|_| (Ms::from(u32::MAX), Answer::Success));
    let seen = watch(once, never, 60_000).await;
    assert_eq!(
        seen.verdict(Startup),
        (Failure, 16_000),
        "1 s and the overtime"
    );
}
