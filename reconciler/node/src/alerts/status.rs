//! What the API and the command line show of alerts. No secret is in it.

use osmoda_core::{
    alert::Change,
    spec::{Alert, Severity},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::outbox::{Inner, Outbox, Receiver};
use crate::api::openapi::schemas;

/// The outbox: `osmoda alerts list -o json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AlertList {
    /// Who is told, by name.
    pub receivers: Vec<AlertReceiver>,
    /// What waits, by receiver and in the order of sending.
    pub items: Vec<AlertItem>,
}

/// One receiver of alerts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AlertReceiver {
    /// Its name.
    pub name: String,
    /// Its provider; absent if it is no longer declared.
    pub provider: Option<String>,
    /// Messages that wait.
    pub waiting: u64,
    /// What was told and is not over.
    pub open: u64,
    /// Since when messages do not get through (RFC 3339); absent if they do.
    pub failing_since: Option<String>,
    /// Why the last try failed.
    pub reason: Option<String>,
    /// When the next try comes, in milliseconds; absent if nothing waits.
    pub next_try_in_ms: Option<u64>,
    /// When it last took a message (RFC 3339).
    pub delivered_at: Option<String>,
}

/// A message that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AlertItem {
    /// Whom it is for.
    pub receiver: String,
    /// The same for every try.
    pub id: String,
    /// Dedup key at the provider.
    pub key: String,
    /// Trigger, Resolve or Note.
    #[schema(value_type = schemas::Change)]
    pub change: Change,
    /// How urgent it is.
    #[schema(value_type = schemas::Severity)]
    pub severity: Severity,
    /// Kind of the entry that caused it.
    pub kind: String,
    /// The agent concerned.
    pub agent: Option<String>,
    /// The incident.
    pub incident: Option<String>,
    /// One line.
    pub title: String,
    /// Since when it waits (RFC 3339).
    pub queued_at: String,
    /// It is being sent at this moment.
    pub in_flight: bool,
    /// Tries that failed.
    pub tries: u32,
    /// When the next one comes, in milliseconds.
    pub next_try_in_ms: u64,
    /// Why the last one failed.
    pub last_error: Option<String>,
}

/// How a test message fared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AlertTest {
    /// Which receiver.
    pub name: String,
    /// Its provider.
    pub provider: String,
    /// The provider has taken the message.
    pub delivered: bool,
    /// Why not.
    pub reason: Option<String>,
}

impl AlertTest {
    /// Of a receiver.
    pub fn of(alert: &Alert, sent: Result<(), String>) -> Self {
        Self {
            name: alert.name.clone(),
            provider: format!("{:?}", alert.provider),
            delivered: sent.is_ok(),
            reason: sent.err(),
        }
    }
}

impl Outbox {
    /// How the receivers are doing.
    pub fn status(&self) -> Vec<AlertReceiver> {
        self.look(|inner| self.receivers_of(inner))
    }

    /// The same, and everything that waits.
    pub fn list(&self) -> AlertList {
        self.look(|inner| AlertList {
            receivers: self.receivers_of(inner),
            items: self.items_of(inner),
        })
    }

    fn receivers_of(&self, inner: &Inner) -> Vec<AlertReceiver> {
        let shown = |(name, receiver): (&String, &Receiver)| AlertReceiver {
            name: name.clone(),
            provider: (receiver.alert.as_ref()).map(|alert| format!("{:?}", alert.provider)),
            waiting: receiver.items.len() as u64,
            open: receiver.desk.open().len() as u64,
            failing_since: receiver.doing.failing_since.clone(),
            reason: receiver.doing.reason.clone(),
            next_try_in_ms: (receiver.items.keys())
                .map(|number| self.next_try_in_ms(receiver, *number))
                .min(),
            delivered_at: receiver.doing.delivered_at.clone(),
        };
        inner.receivers.iter().map(shown).collect()
    }

    fn items_of(&self, inner: &Inner) -> Vec<AlertItem> {
        let mut items = Vec::new();
        for (name, receiver) in &inner.receivers {
            for (number, item) in &receiver.items {
                items.push(AlertItem {
                    receiver: name.clone(),
                    id: item.id.clone(),
                    key: item.key.clone(),
                    change: item.change,
                    severity: item.severity,
                    kind: item.kind.clone(),
                    agent: item.agent.clone(),
                    incident: item.incident.clone(),
                    title: item.title.clone(),
                    queued_at: item.at.to_string(),
                    in_flight: receiver.in_flight == Some(*number),
                    tries: item.tries,
                    next_try_in_ms: self.next_try_in_ms(receiver, *number),
                    last_error: item.last_error.clone(),
                });
            }
        }
        items
    }

    fn next_try_in_ms(&self, receiver: &Receiver, number: u64) -> u64 {
        let now = self.clock.mono();
        let held = receiver.held(number).map(|until| until.since(now));
        let due = receiver.items.get(&number).map(|item| item.due().0);
        let due = due.map_or(0, |due| due.saturating_sub(self.clock.wall().0).max(0));
        let held = held.map_or(0, |held| held.as_millis());
        u64::try_from(held)
            .unwrap_or(u64::MAX)
            .max(due.unsigned_abs() / 1000)
    }
}
