//! What the ledger keeps of an anchor: entries for news, a row of the state table for the rest.

use std::sync::Arc;

use osmoda_core::event::{Actor, EventKind};
use osmoda_ledger::{Commit, CommitError, Draft, Ledger, StateChange, anchor::AnchorState};
use osmoda_runtime::blocking::spawn_blocking;
use serde_json::{Map, Value, json};

use crate::alerts::Outbox;

/// Longest reason in an entry, in bytes.
const REASON_MAX: usize = 1024;

/// What is told of an anchor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// It works: for the first time since the daemon's start, or again after an outage.
    Works,
    /// It fails, or the reason is now that it holds another history.
    Fails,
    /// Nothing that an entry is worth.
    None,
}

/// Writes the row, and the entry if there is news, in one transaction; with an outbox, people are
/// told of the news.
///
/// # Errors
/// [`CommitError`]; then neither was written.
pub async fn write(
    ledger: &Ledger,
    outbox: Option<&Arc<Outbox>>,
    state: &AnchorState,
    news: News,
) -> Result<(), CommitError> {
    let entries = draft(state, news).into_iter().collect();
    let value = serde_json::to_vec(state).unwrap_or_default();
    let put = StateChange::Put {
        key: state.key(),
        value,
    };
    let commit = Commit {
        entries,
        state: vec![put],
    };
    match outbox.cloned() {
        Some(outbox) if !commit.entries.is_empty() => {
            let written = spawn_blocking(move || outbox.append(&commit)).await;
            written.unwrap_or(Err(CommitError::Closed)).map(drop)
        }
        _ => ledger.append(commit).await.map(drop),
    }
}

fn draft(state: &AnchorState, news: News) -> Option<Draft> {
    let (kind, body) = match (news, &state.last, &state.failing) {
        (News::Works, Some(last), _) => {
            let body = json!({"anchor": state.name, "size": last.size, "root": last.root});
            (EventKind::AnchorSucceeded, body)
        }
        (News::Fails, last, Some(failing)) => {
            let mut body =
                json!({"anchor": state.name, "reason": cut(&failing.reason), "fork": failing.fork});
            if let Some(last) = last {
                body["size"] = last.size.into();
            }
            (EventKind::AnchorFailed, body)
        }
        _ => return None,
    };
    let body: Map<String, Value> = match body {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    Some(Draft {
        kind,
        agent: None,
        incident: None,
        causes: Vec::new(),
        actor: Actor::System,
        body,
    })
}

fn cut(reason: &str) -> &str {
    let mut end = reason.len().min(REASON_MAX);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    &reason[..end]
}
