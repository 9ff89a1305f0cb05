//! What agents say reaches the daemon that follows another, and what they said before it counts.

use std::{
    io::IoSliceMut,
    mem::MaybeUninit,
    os::{fd::OwnedFd, unix::net::UnixDatagram},
    process::Command,
};

use rustix::{
    io::{FdFlags, fcntl_setfd},
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg},
    process::{Pid, Signal, kill_process},
};
use serde_json::json;

use crate::support::{Agent, Daemon, Scene, eventually};

fn speaking(actions: &str, timeout: &str) -> Agent {
    Agent::test("a", actions).with("heartbeat", json!({"source": "Notify", "timeout": timeout}))
}

fn send(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// What the agent, which counts, was heard to say last.
fn counted(scene: &Scene) -> Option<u64> {
    scene.look("a")?["message"].as_str()?.parse().ok()
}

/// Waits until the agent is heard to go on counting.
#[track_caller]
fn goes_on(scene: &Scene) {
    let so_far = eventually("it is heard", || counted(scene));
    eventually("it goes on", || counted(scene).filter(|n| *n > so_far));
}

/// Waits for the daemon number `round` of this scene.
#[track_caller]
fn begun(scene: &Scene, round: usize) {
    eventually("the next daemon has begun", || {
        let entries = scene.entries();
        let begun = entries.iter().filter(|e| e.kind() == "NodeStarted");
        (begun.count() == round && scene.osmoda("status").code == 0).then_some(())
    });
}

#[test]
fn who_connected_once_is_heard_by_each_daemon_that_is_executed_in_place() {
    let scene = Scene::with(&[speaking("count --every 50", "10s")]);
    let daemon = scene.daemon();
    let pid = scene.pid("a");
    goes_on(&scene);
    for round in 2..=3 {
        daemon.signal(Signal::USR2);
        begun(&scene, round);
        goes_on(&scene);
    }
    assert_eq!(scene.pid("a"), pid);
    assert!(
        !scene.daemon_log().contains("notify socket"),
        "nothing went wrong with it"
    );
    let ignored = &scene.json("status")["node"]["ignoredNotifications"];
    assert_eq!(*ignored, json!({}));
    daemon.stops();
}

#[test]
fn who_connected_once_is_heard_by_the_daemon_that_follows_one_that_was_killed() {
    let scene = Scene::with(&[speaking("count --every 50", "1h")]);
    let daemon = scene.daemon();
    let pid = scene.pid("a");
    goes_on(&scene);
    // A message that nobody takes would show it that there is nobody.
    send(pid, Signal::STOP);
    daemon.kill();
    let next = scene.daemon();
    send(pid, Signal::CONT);
    goes_on(&scene);
    assert_eq!(scene.pid("a"), pid);
    next.stops();
}

/// A service manager's notify socket, and what it was given to store.
struct Manager(UnixDatagram);

impl Manager {
    fn listening(scene: &Scene) -> Self {
        Self(UnixDatagram::bind(scene.path().join("manager")).unwrap())
    }

    fn of(&self, mut command: Command) -> Command {
        let path = self.0.local_addr().unwrap();
        command.env("NOTIFY_SOCKET", path.as_pathname().unwrap());
        command.env("FDSTORE", "1");
        command
    }

    /// Waits for the next message.
    fn word(&self) -> String {
        let mut text = [0; 256];
        let length = self.0.recv(&mut text).unwrap();
        String::from_utf8_lossy(&text[..length]).into_owned()
    }

    /// Waits for a message with a descriptor; gives its text and that.
    fn stored(&self) -> (String, OwnedFd) {
        loop {
            let mut text = [0; 256];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut slices = [IoSliceMut::new(&mut text)];
            let got = recvmsg(&self.0, &mut slices, &mut control, RecvFlags::empty()).unwrap();
            let mut rights = control.drain().filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(rights) => Some(rights),
                _ => None,
            });
            if let Some(descriptor) = rights.next().and_then(|mut rights| rights.next()) {
                let text = text.get(..got.bytes).unwrap();
                return (String::from_utf8_lossy(text).into_owned(), descriptor);
            }
        }
    }
}

/// Runs `osmoda` as a service manager does that stored a descriptor (sd_listen_fds(3)).
fn given(stored: &OwnedFd, osmoda: &Command) -> Command {
    use std::os::fd::AsRawFd as _;
    fcntl_setfd(stored, FdFlags::empty()).unwrap();
    let script = format!(
        "exec 3<&{}; export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=osmoda-notify; exec \"$@\"",
        stored.as_raw_fd()
    );
    let mut command = Command::new("bash");
    command.args(["-c", script.as_str(), "bash"]);
    command.arg(osmoda.get_program()).args(osmoda.get_args());
    for (name, value) in osmoda.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.current_dir(osmoda.get_current_dir().unwrap());
    command
}

#[test]
fn the_manager_is_asked_for_patience_from_the_first_moment_until_the_daemon_is_ready() {
    let scene = Scene::new();
    let manager = Manager::listening(&scene);
    let mut command = manager.of(scene.run_command(""));
    command.env("WATCHDOG_USEC", "30000000");
    let daemon = Daemon::start(&scene, command);
    let first = manager.word();
    assert!(
        first.starts_with("WATCHDOG=1\nEXTEND_TIMEOUT_USEC="),
        "{first}"
    );
    eventually("it is ready", || {
        manager.word().starts_with("READY=1").then_some(())
    });
    daemon.stops();
}

#[test]
fn who_connected_once_is_heard_by_the_daemon_that_follows_one_that_was_killed_under_a_manager() {
    let scene = Scene::with(&[speaking("count --every 50", "10s")]);
    let manager = Manager::listening(&scene);
    let daemon = Daemon::start(&scene, manager.of(scene.run_command("")));
    let (said, stored) = manager.stored();
    assert_eq!(said, "FDSTORE=1\nFDNAME=osmoda-notify");
    let pid = scene.pid("a");
    goes_on(&scene);
    daemon.kill();
    let daemon = Daemon::start(&scene, given(&stored, &manager.of(scene.run_command(""))));
    goes_on(&scene);
    // And on from there, without the manager's doing.
    daemon.signal(Signal::USR2);
    begun(&scene, 3);
    goes_on(&scene);
    assert_eq!(scene.pid("a"), pid);
    assert!(!scene.daemon_log().contains("notify socket"));
}

#[test]
fn an_adopted_agent_is_held_to_the_timeout_that_it_asked_for_itself() {
    let actions = "notify READY=1 WATCHDOG_USEC=3000000 then heartbeat --every 50";
    let scene = Scene::with(&[speaking(actions, "1h")]);
    let daemon = scene.daemon();
    let ready = scene.until("a", "is ready", |status| status["ready"] == true);
    let pid = u32::try_from(ready["pid"].as_u64().unwrap()).unwrap();
    daemon.kill();
    let _daemon = scene.daemon();
    scene.until("a", "is ready again", |status| status["ready"] == true);
    let frozen = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(frozen, Signal::STOP).unwrap();
    let failure = scene.entry("its silence is found", |e| e.is("FailureDetected", "a"));
    assert_eq!(failure.body()["reason"], "Hang");
    scene.other_pid("a", pid);
    scene.verifies();
}

#[test]
fn status_counts_what_strangers_say() {
    let scene = Scene::with(&[speaking("notify READY=1 then sleep", "1h")]);
    let _daemon = scene.daemon();
    let socket = UnixDatagram::unbound().unwrap();
    let notify = scene.run_dir().join("notify");
    for text in [&b"READY=1"[..], b"STOPPING=1", &[b'x'; 9000]] {
        socket.send_to(text, &notify).unwrap();
    }
    eventually("they are counted", || {
        let ignored = &scene.json("status")["node"]["ignoredNotifications"];
        (*ignored == json!({"Stranger": 2, "Truncated": 1})).then_some(())
    });
    let shown = scene.osmoda("status").out;
    let line = "3 notifications ignored (Stranger 2, Truncated 1)";
    assert!(
        shown
            .lines()
            .any(|l| l.starts_with("node ") && l.contains(line)),
        "{shown}"
    );
}
