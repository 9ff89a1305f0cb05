//! Tells people what happened: Slack, PagerDuty, Opsgenie, Telegram, or a signed webhook.
//!
//! A message is a row of ledger.db that is written in the very transaction of the entry that
//! caused it ([`outbox`]), so that it exists exactly if the entry does; each receiver has a task
//! of its own (`sender`) that takes its rows out in order and removes a row, on record, once the
//! provider has taken the message.
//!
//! Invariants:
//! - Nothing waits for a provider: the loop writes rows, and that is all it does. A receiver that
//!   hangs or is gone holds up neither the loop nor another receiver.
//! - Messages of one subject (an incident) reach a receiver in their order, and none is sent
//!   again once a 2xx is on record. A daemon that dies between the two sends it again with the
//!   same id and the same dedup key, by which PagerDuty, Opsgenie and a webhook's program know it.
//! - An outage is one AlertFailed entry when it begins, not one for each try.
//! - URLs and keys are read afresh for every try, and are in no row, entry, log or error.
//!
//! Where to start: [`Alerts`]; what alerts and what it is called is in `osmoda_core::alert`.

mod digest;
mod facts;
mod format;
mod item;
pub mod outbox;
mod plan;
mod rows;
mod secrets;
mod send;
mod sender;
pub mod status;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use osmoda_core::{name::AgentName, spec::Node};
use tokio::task::JoinHandle;

pub use self::{
    outbox::Outbox,
    send::{Carrier, Http},
    status::{AlertItem, AlertList, AlertReceiver, AlertTest},
};
use crate::specs::Loaded;

/// Labels of every agent.
pub type Labels = BTreeMap<AgentName, BTreeMap<String, String>>;

/// Every receiver of the node. Cheap to clone.
#[derive(Clone)]
pub struct Alerts {
    shared: Arc<Shared>,
}

struct Shared {
    outbox: Arc<Outbox>,
    carrier: Arc<dyn Carrier>,
    running: Mutex<Running>,
}

#[derive(Default)]
struct Running {
    senders: BTreeMap<String, JoinHandle<()>>,
    digest: Option<JoinHandle<()>>,
}

impl Alerts {
    /// Over this outbox, on this way to the providers; nothing is sent before [`Alerts::begin`].
    pub fn new(outbox: Arc<Outbox>, carrier: Arc<dyn Carrier>) -> Self {
        Self {
            shared: Arc::new(Shared {
                outbox,
                carrier,
                running: Mutex::default(),
            }),
        }
    }

    /// Queues for the receivers of these specs from now on, and has each of them served. Specs
    /// whose Node is refused leave the receivers as they are.
    ///
    /// Call it within the scheduler.
    pub fn set(&self, loaded: &Loaded) {
        let labels = loaded.agents.iter();
        let labels = labels.map(|(name, agent)| (name.clone(), agent.agent.labels.clone()));
        let node = loaded.node.as_ref().map(|node| &node.node);
        let unclear = loaded.rejected.iter().any(|one| one.node || one.incomplete);
        let alerts = match node {
            Some(Node { alerts, .. }) => Some(alerts.as_slice()),
            None if unclear => None,
            None => Some([].as_slice()),
        };
        self.shared.outbox.set(alerts, labels.collect());
        self.begin();
    }

    /// Serves exactly the receivers that are declared: who is new gets a task, who is gone loses
    /// it; a task that ended is begun anew.
    pub fn begin(&self) {
        let shared = &self.shared;
        let wanted = shared.outbox.receivers();
        let mut running = lock(&shared.running);
        running.senders.retain(|name, task| {
            let stays = wanted.contains_key(name) && !task.is_finished();
            if !stays {
                task.abort();
                shared.outbox.interrupted(name);
            }
            stays
        });
        for (name, wake) in wanted {
            running.senders.entry(name.clone()).or_insert_with(|| {
                let (outbox, carrier) = (Arc::clone(&shared.outbox), Arc::clone(&shared.carrier));
                tokio::spawn(sender::Sender::new(name, outbox, carrier, wake).run())
            });
        }
        if running.digest.as_ref().is_none_or(JoinHandle::is_finished) {
            running.digest = Some(tokio::spawn(digest::run(Arc::clone(&shared.outbox))));
        }
    }

    /// The outbox.
    pub fn outbox(&self) -> &Arc<Outbox> {
        &self.shared.outbox
    }

    /// Sends a message to a receiver at once, past the outbox; `None`: it is not declared.
    pub async fn test(&self, name: &str) -> Option<AlertTest> {
        let alert = self.shared.outbox.receiver(name)?;
        Some(send::test(&self.shared.outbox, &*self.shared.carrier, &alert).await)
    }

    /// Ends every task. What waits is in the ledger's file.
    pub fn stop(&self) {
        let mut running = lock(&self.shared.running);
        let senders = std::mem::take(&mut running.senders);
        let digest = running.digest.take();
        senders
            .into_values()
            .chain(digest)
            .for_each(|task| task.abort());
    }
}

/// Who panicked while holding it left nothing half-done: changes are made after they are durable.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
