//! Once a day, what happened: read from the ledger, for receivers that people read.
//!
//! It is made at [`HOUR`] o'clock UTC, from the entries since the last one. A day on which no
//! agent failed and nobody did anything is not told of.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use osmoda_core::{alert::Filter, event::EventKind, time::Wall};
use osmoda_ledger::{ReadError, Record, entry::Envelope};
use osmoda_runtime::blocking::spawn_blocking;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::{item::Item, outbox::Outbox, rows, send::message};

/// Hour of the day at which the digest is made, in UTC.
pub const HOUR: i64 = 7;
/// Time between two looks whether it is time.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Most entries that one digest looks at; the newest count.
const ENTRIES_MAX: u64 = 200_000;
/// Entries read at once.
const PAGE: u64 = 1000;
/// Most agents that are named, those with most failures first.
const AGENTS_MAX: usize = 30;

const DAY: i64 = 86_400_000_000;
const ONE_HOUR: i64 = 3_600_000_000;

/// How far the last digest looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Looked {
    /// Entries before this one are told.
    pub size: u64,
    /// When.
    pub at: Wall,
}

/// What happened to an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Count {
    /// Failures.
    pub failures: u64,
    /// Times it was healthy again.
    pub recoveries: u64,
    /// Rollbacks.
    pub rollbacks: u64,
    /// Times that nothing more could be done.
    pub exhausted: u64,
    /// What operators did.
    pub commands: u64,
}

/// Until it is aborted.
pub async fn run(outbox: Arc<Outbox>) {
    loop {
        let at_work = Arc::clone(&outbox);
        match spawn_blocking(move || look(&at_work)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the daily digest cannot be made"),
            Err(error) => tracing::warn!(%error, "the daily digest ended in a panic"),
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Makes the digest if it is time. Blocks.
///
/// # Errors
/// A sentence: the ledger cannot be read or written.
pub fn look(outbox: &Outbox) -> Result<(), String> {
    let now = outbox.clock.wall();
    let receivers = receivers(outbox);
    if receivers.is_empty() {
        return Ok(());
    }
    let failed = |error: ReadError| crate::error::chain(&error);
    let reader = outbox.ledger.reader().map_err(failed)?;
    let rows = reader.state(rows::DIGEST).map_err(failed)?;
    let last = rows.get(rows::DIGEST);
    let last: Option<Looked> = last.and_then(|row| serde_json::from_slice(row).ok());
    let size = outbox.ledger.head().size;
    let looked = Looked { size, at: now };
    let row = rows::put(rows::DIGEST.to_owned(), &looked);
    let queue = |messages| {
        let queued = outbox.queue(messages, vec![row]);
        queued.map_err(|error| crate::error::chain(&error))
    };
    let Some(last) = last else {
        return queue(Vec::new()); // From here on.
    };
    if !is_due(last.at, now) {
        return Ok(());
    }
    let from = last.size.max(size.saturating_sub(ENTRIES_MAX));
    let counts = count(from, size, |from, limit| reader.entries(from, limit)).map_err(failed)?;
    let messages = receivers.into_iter().filter_map(|(name, filter)| {
        let counts = outbox.look(|inner| {
            let about = |agent: &str| inner.labels.iter().find(|(name, _)| name.as_str() == agent);
            let mut counts = counts.clone();
            counts.retain(|agent, _| filter.is_about(about(agent).map(|(_, labels)| labels)));
            counts
        });
        let item = digest(outbox, &counts, last.at)?;
        Some((name, item))
    });
    queue(messages.collect())
}

fn receivers(outbox: &Outbox) -> Vec<(String, Filter)> {
    outbox.look(|inner| {
        let declared = inner.receivers.iter();
        let declared = declared.filter_map(|(name, receiver)| {
            let alert = receiver.alert.as_ref()?;
            let filter = Filter::of(alert);
            let wants = filter.wants_digest(alert.provider);
            wants.then(|| (name.clone(), filter))
        });
        declared.collect()
    })
}

/// Whether the hour has come between the two.
fn is_due(last: Wall, now: Wall) -> bool {
    let day_of = |wall: Wall| (wall.0 - HOUR * ONE_HOUR).div_euclid(DAY);
    day_of(now) > day_of(last)
}

/// What happened to each agent from one entry to another.
fn count(
    from: u64,
    until: u64,
    read: impl Fn(u64, u64) -> Result<Vec<Record>, ReadError>,
) -> Result<BTreeMap<String, Count>, ReadError> {
    let mut counts: BTreeMap<String, Count> = BTreeMap::new();
    let mut next = from;
    while next < until {
        let page = read(next, PAGE.min(until - next))?;
        let Some(last) = page.last() else {
            break;
        };
        next = last.seq + 1;
        let bodies = page.iter().filter_map(|record| record.entry.as_deref());
        for entry in bodies.filter_map(|bytes| Envelope::parse(bytes).ok()) {
            let Some(agent) = entry.agent else {
                continue;
            };
            let kind = |kind: EventKind| entry.kind == format!("{kind:?}");
            let mut change = Count::default();
            change.failures += u64::from(kind(EventKind::FailureDetected));
            change.recoveries += u64::from(kind(EventKind::HealthVerified));
            change.rollbacks += u64::from(kind(EventKind::RollbackSucceeded));
            change.exhausted += u64::from(kind(EventKind::EscalationExhausted));
            change.commands += u64::from(kind(EventKind::OperatorCommand));
            if change != Count::default() {
                let count = counts.entry(agent.to_owned()).or_default();
                count.failures += change.failures;
                count.recoveries += change.recoveries;
                count.rollbacks += change.rollbacks;
                count.exhausted += change.exhausted;
                count.commands += change.commands;
            }
        }
    }
    Ok(counts)
}

/// The message; `None` if there is nothing to tell.
fn digest(outbox: &Outbox, counts: &BTreeMap<String, Count>, since: Wall) -> Option<Item> {
    if counts.is_empty() {
        return None;
    }
    let failures: u64 = counts.values().map(|count| count.failures).sum();
    let title = format!(
        "node: {} of {} since {since}",
        times(failures, "failure"),
        times(counts.len() as u64, "agent"),
    );
    let mut item = message(outbox, "Digest", &title);
    let mut rows: Vec<_> = counts.iter().collect();
    rows.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let fact = |(agent, count): &(&String, &Count)| ((*agent).clone(), sentence(count));
    item.facts = rows.iter().take(AGENTS_MAX).map(fact).collect();
    Some(item)
}

fn sentence(count: &Count) -> String {
    let parts = [
        (count.failures, "failure"),
        (count.recoveries, "recovery"),
        (count.rollbacks, "rollback"),
        (count.exhausted, "time beyond its budget"),
        (count.commands, "command"),
    ];
    let parts = parts.iter().filter(|(count, _)| *count > 0);
    let parts: Vec<String> = parts.map(|(count, what)| times(*count, what)).collect();
    parts.join(", ")
}

fn times(count: u64, what: &str) -> String {
    match (count, what) {
        (1, _) => format!("1 {what}"),
        (_, "recovery") => format!("{count} recoveries"),
        (_, "time beyond its budget") => format!("{count} times beyond its budget"),
        _ => format!("{count} {what}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_due_once_a_day_at_its_hour() {
        let at = |day: i64, hour: i64| Wall(day * DAY + hour * ONE_HOUR);
        assert!(!is_due(at(1, 8), at(1, 23)));
        assert!(!is_due(at(1, 8), at(2, 6)));
        assert!(is_due(at(1, 8), at(2, 7)));
        assert!(is_due(at(1, 6), at(1, 7)));
        assert!(is_due(at(1, 8), at(9, 0)), "after an outage of the node");
    }

    #[test]
    fn what_happened_to_an_agent_is_one_line() {
        let count = Count {
            failures: 3,
            recoveries: 2,
            rollbacks: 1,
            ..Count::default()
        };
        assert_eq!(sentence(&count), "3 failures, 2 recoveries, 1 rollback");
    }
}
