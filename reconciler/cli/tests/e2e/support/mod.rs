//! What every test here is made of: a scene, a daemon in it, and looks at the outcome.
//!
//! Where to start: [`Scene`].

mod agent;
mod daemon;
mod nix;
mod process;
mod provider;
mod ran;
mod records;
mod scene;
mod terminal;

use std::{
    thread,
    time::{Duration, Instant},
};

pub use agent::{Agent, test_agent};
pub use daemon::Daemon;
pub use nix::Nix;
pub use process::{is_alive, kill};
pub use provider::{Act, Provider, Taken};
pub use ran::{Follower, Ran};
pub use records::{Entry, kinds};
pub use scene::Scene;
pub use terminal::OnTerminal;

/// Longest wait for anything: a busy machine is slow, a missing event never comes.
pub const PATIENCE: Duration = Duration::from_secs(45);
/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// Looks again and again until there is something to see; `None` when patience is at its end.
pub fn poll<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let seen = look();
        if seen.is_some() || Instant::now() >= deadline {
            return seen;
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// Looks again and again until there is something to see.
#[track_caller]
pub fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    match poll(look) {
        Some(seen) => seen,
        None => panic!("not within {PATIENCE:?}: {what}"),
    }
}

/// Whether a program of the host is there; a test that is skipped for it says so.
pub fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|directory| directory.join(program).exists());
    if !found {
        eprintln!("skipped: {program} is not on PATH");
    }
    found
}

/// Whether the tests run as root; a test that is skipped for it says so.
pub fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: only root can do this");
    }
    root
}
