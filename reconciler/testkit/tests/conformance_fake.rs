//! FakeRuntime passes every case that needs no real process, and keeps its own promises.

use std::time::Duration;

use osmoda_core::{
    observed::{ExitStatus, Observation},
    units::Period,
};
use osmoda_runtime::{Runtime as _, StartError};
use osmoda_testkit::{
    conformance::{Bench, Subject, agent, event},
    fake_runtime::{
        FakeRuntime, World,
        fault::{EventFault, StartFault, StopFault},
        paused_clock,
    },
    runtime_conformance,
};
use tokio::time::Instant;

struct Fake {
    world: World,
    runtime: FakeRuntime,
}

impl Fake {
    fn new() -> Self {
        let world = World::new(paused_clock());
        let runtime = world.daemon();
        Self { world, runtime }
    }
}

impl Subject for Fake {
    type Runtime = FakeRuntime;

    fn runtime(&self) -> &FakeRuntime {
        &self.runtime
    }

    fn program(&self) -> String {
        "osmoda-test-agent".to_owned()
    }

    fn restart_daemon(&mut self) {
        self.runtime = self.world.daemon();
    }

    fn sees_everything(&self) -> bool {
        true
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.world.assert_single_instances();
        }
    }
}

// The group `real` needs processes that the fake does not have.
runtime_conformance!(any, probes; [tokio::test(start_paused = true)]; Fake::new());

const CRASH: ExitStatus = ExitStatus::Signal {
    signal: 11,
    core_dumped: true,
};

#[tokio::test(start_paused = true)]
async fn a_lost_exit_is_announced_to_nobody_and_found_by_looking() {
    let mut bench = Bench::new(Fake::new());
    let mut events = bench.runtime().subscribe();
    bench.subject.world.order_event(&agent(), EventFault::Lost);
    bench.start(&["serve"]).await;
    assert!(bench.subject.world.crash(&agent(), CRASH));
    assert_eq!(bench.exit().await.status, CRASH);
    assert!(events.try_recv().is_err());
    assert!(
        !bench.subject.world.crash(&agent(), CRASH),
        "it is dead already"
    );
}

#[tokio::test(start_paused = true)]
async fn a_late_exit_is_announced_late_and_a_doubled_one_twice() {
    let mut bench = Bench::new(Fake::new());
    let mut events = bench.runtime().subscribe();
    let late = Duration::from_secs(40);
    bench
        .subject
        .world
        .order_event(&agent(), EventFault::Late(late));
    bench
        .subject
        .world
        .order_event(&agent(), EventFault::Doubled);
    bench.start(&["serve"]).await;
    let before = Instant::now();
    bench.subject.world.crash(&agent(), CRASH);
    assert!(events.recv().await.is_some());
    assert_eq!(before.elapsed(), late);

    bench.start(&["serve"]).await;
    bench.subject.world.crash(&agent(), CRASH);
    event(&mut events).await;
    event(&mut events).await;
    assert!(events.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_start_that_a_dead_daemon_waited_for_is_adopted_by_the_next() {
    let mut bench = Bench::new(Fake::new());
    let hang = StartFault::HangAfter(Duration::from_secs(60));
    bench.subject.world.order_start(&agent(), hang);
    let spec = bench.spec(&["serve"]);
    let request = bench.request(spec.clone());
    let start = bench.runtime().start(request);
    assert!(
        tokio::time::timeout(Duration::from_secs(1), start)
            .await
            .is_err()
    );
    bench.subject.restart_daemon();
    assert!(bench.inspect().expect("it runs").adopted);
    let second = bench.try_start(spec).await;
    assert!(matches!(second, Err(StartError::AlreadyRunning { .. })));
    assert_eq!(bench.subject.world.starts(&agent()), 1);
}

#[tokio::test(start_paused = true)]
async fn ordered_faults_are_used_up_in_order() {
    let mut bench = Bench::new(Fake::new());
    let world = bench.subject.world.clone();
    let full = StartError::System {
        what: "cannot create a process".to_owned(),
        source: std::io::ErrorKind::OutOfMemory.into(),
    };
    let slow = Duration::from_secs(5);
    world.order_start(&agent(), StartFault::Fail(full));
    world.order_start(&agent(), StartFault::HangBefore(slow));
    world.order_stop(&agent(), StopFault::Hang(slow));
    world.order_observe_failure("no /proc");

    let spec = bench.spec(&["serve"]);
    let failed = bench.try_start(spec).await.unwrap_err();
    assert_eq!(failed.to_string(), "cannot create a process");
    assert_eq!(world.alive(&agent()), 0);
    let before = Instant::now();
    let instance = bench.start(&["serve"]).await;
    assert_eq!(before.elapsed(), slow);
    bench.stop(&instance, Period::secs(1)).await.unwrap();
    assert_eq!(before.elapsed(), 2 * slow);
    assert_eq!(
        bench.runtime().observe().await.unwrap_err().to_string(),
        "no /proc"
    );
    assert_eq!(bench.runtime().observe().await.unwrap().len(), 1);
    assert_eq!((world.starts(&agent()), world.stops(&agent())), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn an_agent_can_be_unknown_for_a_while() {
    let bench = Bench::new(Fake::new());
    let world = &bench.subject.world;
    world.set_unknown(&agent(), Some("permission denied"));
    let unknown = Observation::Unknown("permission denied".to_owned());
    assert_eq!(bench.runtime().inspect(&agent()), unknown);
    world.end_faults();
    assert_eq!(bench.runtime().inspect(&agent()), Observation::Known(None));
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "subject had 2 instances alive at once")]
async fn a_runtime_that_forgets_an_instance_is_caught() {
    let mut bench = Bench::new(Fake::new());
    bench.start(&["serve"]).await;
    bench.subject.world.lose_track_of(&agent());
    bench.start(&["serve"]).await;
    bench.subject.world.assert_single_instances();
}
