//! A pseudo-terminal with a program on it, as a person would see it.
//!
//! Invariants: whoever is on it is killed with it; nothing waits longer than [`poll`] does.

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    os::fd::{AsFd as _, OwnedFd},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use rustix::{
    process::Signal,
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Termios, Winsize, tcgetattr, tcsetwinsize},
};

use super::{eventually, process};

/// A program on a terminal of its own.
pub struct OnTerminal {
    ours: File,
    theirs: OwnedFd,
    child: Child,
    said: Arc<Mutex<Vec<u8>>>,
}

/// The settings of a terminal, as text: they cannot be compared as they are.
pub fn settings(of: &Termios) -> String {
    format!("{of:?}")
}

impl OnTerminal {
    /// Starts the command on a terminal of this size, in a session of its own.
    pub fn start(command: &Command, columns: u16, rows: u16) -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let name = ptsname(&ours, Vec::new()).unwrap();
        let mut open = OpenOptions::new();
        let theirs = open.read(true).write(true);
        let theirs: OwnedFd = theirs.open(name.to_str().unwrap()).unwrap().into();
        tcsetwinsize(&theirs, size(columns, rows)).unwrap();
        let mut session = Command::new("setsid");
        session.arg("--ctty").arg(command.get_program());
        session.args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => session.env(name, value),
                None => session.env_remove(name),
            };
        }
        let end = || Stdio::from(theirs.try_clone().unwrap());
        session.env("TERM", "xterm-256color").env_remove("NO_COLOR");
        let session = session.stdin(end()).stdout(end()).stderr(end());
        let child = session.spawn().unwrap();
        let said = Arc::new(Mutex::new(Vec::new()));
        let mut reader = File::from(ours.try_clone().unwrap());
        let heard = Arc::clone(&said);
        thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut piece) {
                heard.lock().unwrap().extend_from_slice(&piece[..count]);
            }
        });
        Self {
            ours: ours.into(),
            theirs,
            child,
            said,
        }
    }

    /// Presses keys.
    pub fn types(&mut self, keys: &str) {
        self.ours.write_all(keys.as_bytes()).unwrap();
    }

    /// Makes the terminal another size: the kernel sends SIGWINCH.
    pub fn resize(&self, columns: u16, rows: u16) {
        tcsetwinsize(&self.ours, size(columns, rows)).unwrap();
    }

    pub fn signal(&self, signal: Signal) {
        process::signal(self.child.id(), signal);
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The terminal's settings now.
    pub fn settings(&self) -> String {
        settings(&tcgetattr(self.theirs.as_fd()).unwrap())
    }

    /// Everything that was written so far.
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&self.said.lock().unwrap()).into_owned()
    }

    /// Waits until this was written after the first `from` bytes; gives how much was by then.
    #[track_caller]
    pub fn says(&self, words: &str, from: usize) -> usize {
        eventually(&format!("{words:?} on the terminal"), || {
            let said = self.said();
            said.get(from..)?.contains(words).then_some(said.len())
        })
    }

    /// Waits for its end.
    #[track_caller]
    pub fn ends(&mut self) -> ExitStatus {
        eventually("the program ends", || self.child.try_wait().unwrap())
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        // Both fail only for a child that has been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn size(columns: u16, rows: u16) -> Winsize {
    Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}
