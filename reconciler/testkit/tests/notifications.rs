//! The notify socket with real processes: whom it hears, whom it does not, and what it costs.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod common;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::net::UnixDatagram,
    path::PathBuf,
    process::{Command, Stdio},
    sync::Arc,
};

use common::Native;
use osmoda_core::{
    heartbeat::Heartbeat,
    memory::Memory,
    name::AgentName,
    observed::Instance,
    spec::{Agent, AgentSpec, Stop},
    time::Clock,
    units::Period,
};
use osmoda_node::detect::{
    Detectors, Following,
    board::Board,
    notify::{Ignored, Notify, protocol::MESSAGE_MAX, socket::NotifySocket},
};
use osmoda_runtime::{
    Runtime as _, StartRequest,
    clock::SystemClock,
    native::{Cgroups, NativeRuntime},
};
use osmoda_testkit::{
    conformance::{Bench, Subject as _, eventually, generation, within},
    fake_runtime::World,
};

/// A runtime, a listener, and detectors that watch nothing but the board.
struct Listening {
    bench: Bench<Native>,
    runtime: Arc<NativeRuntime>,
    board: Board,
    detectors: Detectors,
    following: BTreeMap<AgentName, Option<Following>>,
    notify: Arc<Notify<NativeRuntime>>,
    socket: PathBuf,
    running: Vec<Instance>,
}

impl Listening {
    fn new(cgroups: Cgroups) -> Self {
        let mut native = Native::new(cgroups);
        native.close();
        let options = native.options();
        let socket = options.notify_socket.clone().unwrap();
        let runtime = Arc::new(NativeRuntime::open(options).unwrap());
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new().unwrap());
        let (board, _woken) = Board::new();
        let world = Arc::new(World::new(Arc::clone(&clock)));
        let detectors = Detectors::new(board.clone(), world, Arc::clone(&clock));
        let bound = NotifySocket::bind(&socket).unwrap();
        let notify = Notify::new(bound, Arc::clone(&runtime), board.clone(), clock);
        Self {
            bench: Bench::new(native),
            runtime,
            board,
            detectors,
            following: BTreeMap::new(),
            notify,
            socket,
            running: Vec::new(),
        }
    }

    /// Starts an agent that runs this script; `$AGENT` is the test agent. Followed only later.
    async fn start(&mut self, name: &str, script: &str) -> Instance {
        let number = u8::try_from(self.running.len()).unwrap() + 1;
        let command = ["/bin/sh", "-c", script].map(str::to_owned);
        let mut spec = AgentSpec::new(command.into());
        spec.environment
            .insert("AGENT".to_owned(), self.bench.subject.program());
        let request = StartRequest {
            agent: AgentName::new(name).unwrap(),
            invocation: self.bench.invocation(number),
            generation: generation(),
            spec: Arc::new(spec),
        };
        let instance = within(self.runtime.start(request)).await.unwrap();
        self.running.push(instance.clone());
        instance
    }

    fn follow(&mut self, instance: &Instance) {
        let agent = Agent {
            name: instance.agent.clone(),
            labels: BTreeMap::new(),
            spec: AgentSpec::new(vec!["x".to_owned()]).into(),
            manifest: "".into(),
        };
        let following = self.following.entry(agent.name.clone()).or_default();
        self.detectors
            .follow(following, &Arc::new(agent), instance, &Memory::default());
    }

    fn heard(&self, instance: &Instance) -> Heartbeat {
        let vitals = self.board.vitals(&instance.agent, instance.invocation);
        vitals.unwrap().heartbeat
    }

    /// Takes in what comes until it is heard.
    async fn until(&self, what: &str, instance: &Instance, is: impl Fn(&Heartbeat) -> bool) {
        eventually(what, || {
            self.notify.drain();
            is(&self.heard(instance)).then_some(())
        })
        .await;
    }

    async fn output(&self, instance: &Instance, line: &str) {
        eventually(line, || {
            self.notify.drain();
            let lines = self.runtime.last_output(&instance.agent, 100, 1 << 16);
            lines.iter().any(|said| said == line).then_some(())
        })
        .await;
    }

    fn ignored(&self, why: Ignored) -> u64 {
        self.board.ignored().get(&why).copied().unwrap_or(0)
    }

    async fn finish(self) {
        let stop = Stop {
            grace_period: Period::millis(0),
            ..Stop::default()
        };
        for Instance {
            agent, invocation, ..
        } in &self.running
        {
            within(self.runtime.stop(agent, *invocation, &stop))
                .await
                .unwrap();
            self.runtime.forget(agent);
        }
        if let Some(place) = &self.runtime.enforcement().cgroup {
            fs::remove_dir(place).unwrap();
        }
    }
}

async fn a_tree_is_heard(cgroups: Cgroups) {
    let mut listening = Listening::new(cgroups);
    let script = "$AGENT notify STATUS=child; \
                  ( ( $AGENT notify ERRNO=3 & ) ); exec $AGENT notify READY=1 then sleep";
    let instance = listening.start("a", script).await;
    // It may speak before anybody follows it.
    listening.notify.drain();
    listening.follow(&instance);
    listening
        .until("the main process is heard", &instance, |said| {
            said.ready_at.is_some()
        })
        .await;
    listening.finish().await;
}

#[tokio::test]
async fn an_agent_is_heard_with_cgroups() {
    a_tree_is_heard(Cgroups::Auto).await;
}

#[tokio::test]
async fn an_agent_is_heard_without_cgroups() {
    a_tree_is_heard(Cgroups::Off).await;
}

async fn descendants_are_heard(cgroups: Cgroups) {
    let mut listening = Listening::new(cgroups);
    // Each waits until it was heard: without cgroups nobody knows a process that has gone.
    let script = "$AGENT notify STATUS=child then sleep & \
                  ( $AGENT setsid then notify ERRNO=3 then sleep & ) ; exec $AGENT sleep";
    let instance = listening.start("a", script).await;
    listening.follow(&instance);
    let all = |said: &Heartbeat| said.status == "child" && said.errno == Some(3);
    listening
        .until("a child and a grandchild are heard", &instance, all)
        .await;
    assert_eq!(listening.board.ignored(), BTreeMap::new());
    listening.finish().await;
}

#[tokio::test]
async fn children_and_theirs_are_heard_with_cgroups() {
    descendants_are_heard(Cgroups::Auto).await;
}

#[tokio::test]
async fn children_and_theirs_are_heard_without_cgroups() {
    descendants_are_heard(Cgroups::Off).await;
}

#[tokio::test]
#[expect(clippy::print_stderr, reason = "a test that skips says so")]
async fn a_sender_that_has_ended_and_was_reaped_is_heard_where_the_kernel_keeps_its_cgroup() {
    let mut listening = Listening::new(Cgroups::Auto);
    let script = "$AGENT notify STATUS=gone; echo reaped; exec $AGENT sleep";
    let instance = listening.start("a", script).await;
    listening.follow(&instance);
    eventually("its sender is gone", || {
        let lines = listening.runtime.last_output(&instance.agent, 9, 1000);
        lines.contains(&"reaped".to_owned()).then_some(())
    })
    .await;
    listening.notify.drain();
    let unheard = listening.ignored(Ignored::Stranger);
    if unheard > 0 {
        eprintln!("not heard: this host has no cgroups, or a kernel that forgets them");
    } else {
        assert_eq!(listening.heard(&instance).status, "gone");
    }
    assert!(unheard <= 1);
    listening.finish().await;
}

#[tokio::test]
async fn strangers_are_ignored_and_counted_by_reason() {
    let mut listening = Listening::new(Cgroups::Auto);
    let instance = listening.start("a", "exec $AGENT sleep").await;
    listening.follow(&instance);
    let socket = UnixDatagram::unbound().unwrap();
    socket.send_to(b"STOPPING=1", &listening.socket).unwrap();
    socket.send_to(b"", &listening.socket).unwrap();
    socket
        .send_to(&[b'x'; MESSAGE_MAX + 1], &listening.socket)
        .unwrap();
    listening.notify.drain();
    let expected = BTreeMap::from([(Ignored::Stranger, 2), (Ignored::Truncated, 1)]);
    assert_eq!(listening.board.ignored(), expected);
    assert_eq!(listening.heard(&instance), Heartbeat::default());
    listening.finish().await;
}

#[tokio::test]
async fn what_an_agent_says_wrong_is_counted_and_harms_nothing() {
    let mut listening = Listening::new(Cgroups::Auto);
    let script = "$AGENT notify BARRIER=1 READY=1 then notify BARRIER=1 then \
                  notify MAINPID=1 STATUS=well then sleep";
    let instance = listening.start("a", script).await;
    listening.follow(&instance);
    listening
        .until("all is heard", &instance, |said| said.status == "well")
        .await;
    let expected = BTreeMap::from([
        (Ignored::Malformed, 1),
        (Ignored::Barrier, 1),
        (Ignored::MainPid, 1),
    ]);
    assert_eq!(listening.board.ignored(), expected);
    assert_eq!(listening.heard(&instance).ready_at, None);
    listening.finish().await;
}

#[tokio::test]
async fn a_flood_of_one_agent_does_not_keep_another_from_being_heard() {
    let mut listening = Listening::new(Cgroups::Auto);
    let loud = listening
        .start("loud", "exec $AGENT heartbeat --every 0")
        .await;
    listening.follow(&loud);
    let notify = Arc::clone(&listening.notify);
    let task = tokio::spawn(async move { notify.run().await });
    eventually("the flood is there", || listening.heard(&loud).last).await;
    let quiet = listening
        .start("quiet", "exec $AGENT notify READY=1 then sleep")
        .await;
    listening.follow(&quiet);
    eventually("the other one is heard", || {
        listening.heard(&quiet).ready_at
    })
    .await;
    task.abort();
    listening.finish().await;
}

#[expect(clippy::print_stderr, reason = "a test that skips says so")]
fn has_python() -> bool {
    let asked = Command::new("python3")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    let found = asked.is_ok_and(|status| status.success());
    if !found {
        eprintln!("skipped: python3 is not on PATH");
    }
    found
}

#[tokio::test]
async fn a_barrier_opens_once_everything_before_it_was_taken_in() {
    if !has_python() {
        return;
    }
    let mut listening = Listening::new(Cgroups::Auto);
    let script = "exec python3 -c '
import os, select, socket, time
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
at = os.environ[\"NOTIFY_SOCKET\"]
ours, theirs = os.pipe()
s.connect(at)
s.send(b\"READY=1\")
socket.send_fds(s, [b\"BARRIER=1\"], [theirs])
os.close(theirs)
print(\"sent\", flush=True)
select.select([ours], [], [])
print(\"open\", flush=True)
time.sleep(300)'";
    let instance = listening.start("a", script).await;
    listening.follow(&instance);
    eventually("it has sent", || {
        let lines = listening.runtime.last_output(&instance.agent, 9, 1000);
        lines.contains(&"sent".to_owned()).then_some(())
    })
    .await;
    assert_eq!(listening.heard(&instance).ready_at, None);
    listening.output(&instance, "open").await;
    assert!(listening.heard(&instance).ready_at.is_some());
    listening.finish().await;
}

/// Open descriptors of this process.
fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

#[tokio::test]
async fn descriptors_that_nobody_wants_are_closed() {
    if !has_python() {
        return;
    }
    let listening = Listening::new(Cgroups::Off);
    let send = "import socket, sys\n\
                s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n\
                s.connect(sys.argv[1])\n\
                for text in [b'FDSTORE=1', b'BARRIER=1', b'x' * 9000]:\n    \
                socket.send_fds(s, [text], [0, 1, 2])";
    let before = open_descriptors();
    for _ in 0..20 {
        let mut python = Command::new("python3");
        python
            .args(["-c", send])
            .arg(&listening.socket)
            .stdin(Stdio::null());
        assert!(python.status().unwrap().success());
        listening.notify.drain();
    }
    assert_eq!(listening.ignored(Ignored::Stranger), 40);
    assert_eq!(listening.ignored(Ignored::Truncated), 20);
    // Other tests of this process may open some; sixty messages carried 180.
    assert!(open_descriptors() < before + 60);
    listening.finish().await;
}
