//! A node daemon that runs while it is held.
//!
//! Invariants: a daemon that is dropped is killed, by its own pid; no daemon of any test
//! panics; what a daemon said is shown when its test fails.

use std::{
    fs::OpenOptions,
    io::{self, Read as _, Write as _},
    os::unix::{net::UnixStream, process::ExitStatusExt as _},
    path::Path,
    process::{Child, Command, ExitStatus},
    thread,
    time::Duration,
};

use rustix::process::Signal;

use super::{Scene, eventually, process};

/// Longest time in which a socket may keep a caller waiting.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// A daemon; its agents outlive it until the scene goes.
pub struct Daemon<'a> {
    scene: &'a Scene,
    child: Child,
}

impl<'a> Daemon<'a> {
    /// Starts it and waits until it is ready.
    #[track_caller]
    pub fn start(scene: &'a Scene, command: Command) -> Self {
        let daemon = Self::launch(scene, command);
        daemon.until_ready();
        daemon
    }

    /// Starts it and waits for nothing.
    pub fn launch(scene: &'a Scene, mut command: Command) -> Self {
        let mut log = OpenOptions::new();
        let log = log.append(true).create(true);
        let log = log.open(scene.daemon_log_file()).unwrap();
        let child = command
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { scene, child }
    }

    #[track_caller]
    fn until_ready(&self) {
        eventually("the daemon is ready", || {
            assert!(process::is_alive(self.pid()), "the daemon has ended");
            is_ready(&self.scene.socket()).then_some(())
        });
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        process::signal(self.pid(), signal);
    }

    /// kill -9, and what it leaves behind stays behind.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; gives how it ended.
    #[track_caller]
    pub fn stop(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.ended()
    }

    /// SIGTERM; it must end in order.
    #[track_caller]
    pub fn stops(self) {
        self.signal(Signal::TERM);
        self.ends();
    }

    /// It was told to end, and must do so in order.
    #[track_caller]
    pub fn ends(mut self) {
        let status = self.ended();
        assert_eq!((status.code(), status.signal()), (Some(0), None));
    }

    #[track_caller]
    fn ended(&mut self) -> ExitStatus {
        eventually("the daemon ends", || self.child.try_wait().unwrap())
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        // Both fail only for a child that has been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let log = self.scene.daemon_log();
        if thread::panicking() {
            eprintln!("--- the daemon said:\n{log}---");
        } else {
            assert!(!log.contains("panicked"), "the daemon panicked:\n{log}");
        }
    }
}

/// Whether the daemon behind this socket says that its loop works.
fn is_ready(socket: &Path) -> bool {
    let ask = || -> io::Result<String> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: e2e\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}
