//! How the daemon ends, and what it listens to until then.

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinHandle,
};

use super::{DaemonError, systemd::ServiceManager};
use crate::handle::Handle;

/// Why the daemon's work is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// It was asked to stop.
    Stop {
        /// By which signal.
        signal: &'static str,
    },
    /// It is to become the newest program.
    Reexec,
}

/// The signals that the daemon answers.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    user2: Signal,
}

impl Signals {
    /// Takes the signals over.
    pub fn take() -> Result<Self, DaemonError> {
        let take = |kind| {
            signal(kind).map_err(|error| DaemonError::system("cannot listen to signals", error))
        };
        Ok(Self {
            terminate: take(SignalKind::terminate())?,
            interrupt: take(SignalKind::interrupt())?,
            user2: take(SignalKind::user_defined2())?,
        })
    }

    async fn next(&mut self) -> Ending {
        tokio::select! {
            _ = self.terminate.recv() => Ending::Stop { signal: "SIGTERM" },
            _ = self.interrupt.recv() => Ending::Stop { signal: "SIGINT" },
            _ = self.user2.recv() => Ending::Reexec,
        }
    }
}

/// Waits for a signal and then for the loop to end in order. `hand_over` is called before the
/// loop's last turn if another program is to follow in this process. A second signal does not wait:
/// the agents that still run are left to the next daemon.
pub async fn wait(
    mut signals: Signals,
    manager: &ServiceManager,
    handle: &Handle,
    keep_agents: bool,
    mut loop_ended: JoinHandle<()>,
    hand_over: impl FnOnce(),
) -> Result<Ending, DaemonError> {
    manager.notify("READY=1\nSTATUS=reconciling");
    let mut watchdog = manager.watchdog_interval().map(tokio::time::interval);
    let ending = loop {
        let tick = async {
            match &mut watchdog {
                Some(interval) => drop(interval.tick().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ending = signals.next() => break ending,
            result = &mut loop_ended => return Err(loop_failed(result)),
            // Only a loop that answers keeps the service manager quiet.
            () = tick => if handle.ping().await.is_ok() { manager.notify("WATCHDOG=1") },
        }
    };
    manager.notify(match &ending {
        Ending::Stop { .. } => "STOPPING=1",
        // Until the new program says READY=1. Told that this one stops, systemd would wait for
        // its end and at last see to it.
        Ending::Reexec => "RELOADING=1\nWATCHDOG=1",
    });
    if ending == Ending::Reexec {
        hand_over();
    }
    let (reason, keep) = match &ending {
        Ending::Stop { signal } => (*signal, keep_agents),
        Ending::Reexec => ("SIGUSR2", true),
    };
    if handle.shutdown(reason.to_owned(), keep).await.is_err() {
        return Err(loop_failed(loop_ended.await));
    }
    tokio::select! {
        result = &mut loop_ended => match result {
            Ok(()) => Ok(ending),
            failed => Err(loop_failed(failed)),
        },
        _ = signals.next() => {
            tracing::warn!("a second signal: what still runs is left to the next daemon");
            Ok(ending)
        }
    }
}

fn loop_failed(result: Result<(), tokio::task::JoinError>) -> DaemonError {
    match result {
        Ok(()) => DaemonError::system("the loop ended by itself", "nobody asked it to"),
        Err(error) => DaemonError::system("the loop failed", error),
    }
}
