//! Writes commits, and keeps what cannot be written until it can.
//!
//! Invariants: order is kept; nothing is reported as recorded that is not; when the disk is
//! full, supervision goes on and the entries follow, marked `late`, after a RecordingDegraded
//! entry that says how many and why.

use std::{collections::VecDeque, time::Duration};

use osmoda_core::{
    event::{Actor, Event, RecordingDegraded},
    time::{Mono, Wall},
};
use osmoda_ledger::{Appended, Commit, CommitError, StateChange};
use serde_json::Value;

use super::{journal::Journal, turn::Turn};

/// Pause between tries to write what waits.
pub const RETRY: Duration = Duration::from_secs(1);
/// Most entries that wait in memory; beyond it the oldest are dropped and counted.
pub const BACKLOG_ENTRIES_MAX: usize = 10_000;

/// The loop's way to the journal.
#[derive(Debug)]
pub struct Recorder<J> {
    /// Behind it.
    pub journal: J,
    backlog: Option<Backlog>,
}

#[derive(Debug)]
struct Backlog {
    reason: String,
    since: Mono,
    retry_at: Mono,
    commits: VecDeque<Commit>,
    entries: usize,
    dropped: u64,
}

impl<J: Journal> Recorder<J> {
    /// Nothing waits.
    pub fn new(journal: J) -> Self {
        Self {
            journal,
            backlog: None,
        }
    }

    /// Why entries cannot be written at the moment.
    pub fn degraded(&self) -> Option<&str> {
        self.backlog.as_ref().map(|backlog| backlog.reason.as_str())
    }

    /// Entries that wait to be written.
    pub fn waiting(&self) -> usize {
        self.backlog.as_ref().map_or(0, |backlog| backlog.entries)
    }

    /// When to try again.
    pub fn retry_at(&self) -> Option<Mono> {
        self.backlog.as_ref().map(|backlog| backlog.retry_at)
    }

    /// Writes a commit. `None`: it is kept, and will be written late.
    pub async fn record(&mut self, commit: Commit, now: Mono, wall: Wall) -> Option<Vec<Appended>> {
        if let Some(backlog) = &mut self.backlog {
            backlog.keep(commit, wall);
            return None;
        }
        match self.journal.append(&commit).await {
            Ok(appended) => Some(appended),
            Err(error) => {
                tracing::error!(error = %error, "recording is degraded: agents are supervised, entries wait");
                let mut backlog = Backlog::new(&error, now);
                backlog.keep(commit, wall);
                self.backlog = Some(backlog);
                None
            }
        }
    }

    /// Tries to write what waits, if it is time.
    pub async fn retry(&mut self, now: Mono) {
        let Some(mut backlog) = self.backlog.take_if(|backlog| backlog.retry_at <= now) else {
            return;
        };
        if let Err(error) = self.write(&mut backlog, now).await {
            backlog.reason = error.to_string();
            backlog.retry_at = now.after(RETRY);
            self.backlog = Some(backlog);
            return;
        }
        tracing::info!("recording works again");
    }

    async fn write(&self, backlog: &mut Backlog, now: Mono) -> Result<(), CommitError> {
        self.journal.append(&backlog.announcement(now)).await?;
        while let Some(commit) = backlog.commits.front() {
            match self.journal.append(commit).await {
                Err(error) if error.is_retryable() => return Err(error),
                Err(error) => {
                    tracing::error!(error = %error, "entries dropped: the ledger refuses them");
                    backlog.dropped += commit.entries.len() as u64;
                }
                Ok(_) => {}
            }
            backlog.entries -= commit.entries.len();
            backlog.commits.pop_front();
        }
        Ok(())
    }
}

impl Backlog {
    fn new(error: &CommitError, now: Mono) -> Self {
        Self {
            reason: error.to_string(),
            since: now,
            retry_at: now.after(RETRY),
            commits: VecDeque::new(),
            entries: 0,
            dropped: 0,
        }
    }

    fn keep(&mut self, mut commit: Commit, wall: Wall) {
        for draft in &mut commit.entries {
            draft
                .body
                .insert("late".to_owned(), Value::String(wall.to_string()));
        }
        self.entries += commit.entries.len();
        self.commits.push_back(commit);
        while self.entries > BACKLOG_ENTRIES_MAX && self.commits.len() > 1 {
            self.drop_oldest();
        }
    }

    /// Drops the oldest entries, never a state change: the next commit takes those over.
    fn drop_oldest(&mut self) {
        let Some(oldest) = self.commits.pop_front() else {
            return;
        };
        self.entries -= oldest.entries.len();
        self.dropped += oldest.entries.len() as u64;
        if let Some(next) = self.commits.front_mut() {
            let kept = oldest
                .state
                .into_iter()
                .filter(|old| !next.state.iter().any(|new| key(new) == key(old)));
            let kept: Vec<_> = kept.collect();
            next.state.extend(kept);
        }
    }

    fn announcement(&self, now: Mono) -> Commit {
        let mut turn = Turn::default();
        let event = Event::RecordingDegraded(RecordingDegraded {
            reason: self.reason.clone(),
            lasted_ms: u64::try_from(now.since(self.since).as_millis()).unwrap_or(u64::MAX),
            late: self.entries as u64,
            dropped: self.dropped,
        });
        turn.note(None, Actor::System, &event);
        turn.into_commit()
    }
}

fn key(change: &StateChange) -> &str {
    match change {
        StateChange::Put { key, .. } | StateChange::Delete { key } => key,
    }
}
