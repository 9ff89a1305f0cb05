//! Carries checkpoints of the ledger away from the machine.
//!
//! Whoever holds the node's key can write its log anew, so what proves something is a checkpoint
//! that somebody else keeps: a directory of another host, a webhook, a witness. Each anchor is a
//! task of its own that follows the ledger's checkpoints and takes the newest one there.
//!
//! Invariants:
//! - Nothing waits for an anchor: the ledger offers its newest checkpoint and goes on; an anchor
//!   that is slow or gone holds up neither the loop nor another anchor.
//! - An outage is one AnchorFailed entry when it begins and one AnchorSucceeded when it ends, not
//!   one for each try. A checkpoint that is anchored while all is well changes only a row of the
//!   state table: an entry would make another checkpoint, and that another entry, for ever.
//! - What an anchor already holds is never taken back: a smaller or a different history is
//!   refused as a fork, and told as one.
//!
//! Where to start: [`Anchors`]; one anchor's life is in `task`.

mod directory;
mod log;
mod record;
mod status;
mod task;
#[cfg(test)]
mod tests;
mod webhook;
mod witness;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use osmoda_core::{spec::Anchor, time::Clock};
use osmoda_ledger::Ledger;
use tokio::task::JoinHandle;

pub use self::status::AnchorStatus;
use crate::alerts::Outbox;

/// Every anchor of the node. Cheap to clone.
#[derive(Clone)]
pub struct Anchors {
    shared: Arc<Shared>,
}

struct Shared {
    ledger: Ledger,
    clock: Arc<dyn Clock>,
    outbox: Option<Arc<Outbox>>,
    board: Arc<Board>,
    running: Mutex<BTreeMap<String, Running>>,
}

struct Running {
    anchor: Anchor,
    task: JoinHandle<()>,
}

/// What status shows of each anchor, by name.
#[derive(Debug, Default)]
pub struct Board(Mutex<BTreeMap<String, AnchorStatus>>);

impl Anchors {
    /// No anchors yet. With an outbox, people are told of one that fails.
    pub fn new(ledger: Ledger, clock: Arc<dyn Clock>, outbox: Option<Arc<Outbox>>) -> Self {
        Self {
            shared: Arc::new(Shared {
                ledger,
                clock,
                outbox,
                board: Arc::default(),
                running: Mutex::default(),
            }),
        }
    }

    /// Runs exactly these from now on: what is new begins, what is gone ends, what stays is not
    /// disturbed. Call it within the scheduler.
    pub fn set(&self, wanted: &[Anchor]) {
        let wanted: BTreeMap<_, _> = wanted.iter().map(|one| (name(one), one.clone())).collect();
        let mut running = self
            .shared
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        running.retain(|name, one| {
            let stays = wanted.get(name) == Some(&one.anchor) && !one.task.is_finished();
            if !stays {
                one.task.abort();
                self.shared.board.remove(name);
            }
            stays
        });
        for (name, anchor) in wanted {
            running.entry(name.clone()).or_insert_with(|| {
                let task = task::Task::new(
                    name,
                    &anchor,
                    (self.shared.ledger.clone(), self.shared.outbox.clone()),
                    Arc::clone(&self.shared.clock),
                    Arc::clone(&self.shared.board),
                );
                Running {
                    task: tokio::spawn(task.run()),
                    anchor,
                }
            });
        }
    }

    /// What status shows of them.
    pub fn board(&self) -> Arc<Board> {
        Arc::clone(&self.shared.board)
    }

    /// Ends every task. What was anchored stays anchored.
    pub fn stop(&self) {
        self.set(&[]);
    }
}

impl Board {
    /// Every anchor, by name.
    pub fn all(&self) -> Vec<AnchorStatus> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.values().cloned().collect()
    }

    fn put(&self, status: AnchorStatus) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(status.name.clone(), status);
    }

    fn remove(&self, name: &str) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.remove(name);
    }
}

/// What an anchor is called in status and ledger: its kind and where it is. A webhook's URL is a
/// secret, so the file that holds it stands for it.
pub fn name(anchor: &Anchor) -> String {
    match anchor {
        Anchor::Directory(path) => format!("directory {path}"),
        Anchor::Webhook { url_file } => format!("webhook {url_file}"),
        Anchor::Witness { url, key } => {
            let key = key.split('+').next().unwrap_or_default();
            format!("witness {key} at {}", url.trim_end_matches('/'))
        }
    }
}
