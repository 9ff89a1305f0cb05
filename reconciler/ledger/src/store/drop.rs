//! Drops bodies of entries: old ones (prune), or one that should not have been written
//! (redact). The leaves stay, so everything still verifies, and an entry says what was dropped
//! and by whom.
//!
//! The entry comes first, together with a note to oneself of how far the dropping went; what a
//! crash interrupts goes on when the ledger is opened. Entries that verification rests on
//! (KeyRotated, Pruned, Redacted, LogReset) keep their bodies. In the end the write-ahead log
//! is emptied, and SQLite overwrites what it frees (secure_delete).

use osmoda_core::{
    event::{Actor, EventKind},
    time::Wall,
};
use rusqlite::{OptionalExtension as _, TransactionBehavior, params};
use serde::{Deserialize, Serialize};
use serde_json::{Map, json};

use super::{Store, change_state, signing::own_entry};
use crate::{
    entry::{Appended, Envelope, StateChange},
    error::{CommitError, ReadError},
    reader::Reader,
};

/// Rows that are looked at in one transaction: what waits meanwhile waits for a few
/// milliseconds.
const BATCH: u64 = 512;
/// Key of the state table that says what is still to be dropped.
const STATE: &str = "ledger/dropping";
/// Longest reason, in bytes.
pub const REASON_MAX: usize = 1024;

/// Why no body was dropped.
#[derive(Debug, thiserror::Error)]
pub enum DropError {
    /// There is no such entry, or it has no body any more.
    #[error("entry {0} does not exist or has no body")]
    NoBody(u64),
    /// Without it, the log could not be verified.
    #[error("entry {seq} is of kind {kind}, which verification needs")]
    Needed {
        /// Its place.
        seq: u64,
        /// Its kind.
        kind: String,
    },
    /// No entry is that old.
    #[error("no entry with a body is from before {0}")]
    NothingBefore(Wall),
    /// Another dropping has not come to its end yet.
    #[error("bodies are being dropped already; try again when that is done")]
    Busy,
    /// It could not be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// It could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// What was dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Dropped {
    /// The entry that says so.
    pub seq: u64,
    /// The first entry that it is about.
    pub first_seq: u64,
    /// The last one.
    pub last_seq: u64,
    /// The write-ahead log is empty, so no copy of a body is left there. If a reader held it,
    /// it is emptied later.
    pub log_emptied: bool,
}

/// What is still to be dropped: from `next` to `last`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Dropping {
    next: u64,
    last: u64,
}

impl Dropping {
    fn state(self) -> StateChange {
        // Two numbers always become text.
        let value = serde_json::to_vec(&self).unwrap_or_default();
        StateChange::Put {
            key: STATE.into(),
            value,
        }
    }
}

/// Whether verification needs the body of an entry of this kind.
fn is_needed(kind: &str) -> bool {
    matches!(kind, "KeyRotated" | "Pruned" | "Redacted" | "LogReset")
}

/// The range of entries that `prune --before` is about: from the first that has a body to the
/// last before the first that is younger.
pub(crate) fn prunable(reader: &Reader, before: Wall) -> Result<(u64, u64), DropError> {
    let (mut first, mut last) = (None, None);
    let visit = |row: &crate::audit::Row<'_>| {
        let seq = u64::try_from(row.seq).unwrap_or_default();
        match row.body.map(Envelope::parse) {
            Some(Ok(entry)) if entry.ts >= before => return Err(()),
            Some(Ok(entry)) if is_needed(entry.kind) => {}
            Some(_) => {
                first.get_or_insert(seq);
                last = Some(seq);
            }
            None => {}
        }
        Ok(())
    };
    // That the visit ended early is what it is for.
    let _ = crate::query::for_each_row(reader.connection(), 0, visit).map_err(ReadError::from)?;
    first.zip(last).ok_or(DropError::NothingBefore(before))
}

impl Store {
    /// Writes the Pruned entry; [`Store::drop_more`] does the rest.
    pub(crate) fn begin_prune(
        &mut self,
        (first, last): (u64, u64),
        before: Wall,
        actor: Actor,
    ) -> Result<Appended, DropError> {
        let mut body = Map::new();
        body.insert("firstSeq".into(), json!(first));
        body.insert("lastSeq".into(), json!(last));
        body.insert("before".into(), json!(before.to_string()));
        self.begin(
            EventKind::Pruned,
            body,
            actor,
            Dropping { next: first, last },
        )
    }

    /// Writes the Redacted entry; [`Store::drop_more`] does the rest.
    pub(crate) fn begin_redact(
        &mut self,
        seq: u64,
        reason: &str,
        actor: Actor,
    ) -> Result<Appended, DropError> {
        let record = self.entry(seq)?;
        let body = record
            .and_then(|record| record.entry)
            .ok_or(DropError::NoBody(seq))?;
        let kind = Envelope::parse(&body)
            .map(|entry| entry.kind.to_owned())
            .unwrap_or_default();
        if is_needed(&kind) {
            return Err(DropError::Needed { seq, kind });
        }
        let mut body = Map::new();
        body.insert("seq".into(), json!(seq));
        let reason = &reason[..reason.floor_char_boundary(REASON_MAX)];
        body.insert("reason".into(), json!(reason));
        self.begin(
            EventKind::Redacted,
            body,
            actor,
            Dropping {
                next: seq,
                last: seq,
            },
        )
    }

    fn begin(
        &mut self,
        kind: EventKind,
        body: Map<String, serde_json::Value>,
        actor: Actor,
        dropping: Dropping,
    ) -> Result<Appended, DropError> {
        if self.is_dropping()? {
            return Err(DropError::Busy);
        }
        let mut commit = own_entry(kind, body, actor);
        commit.state.push(dropping.state());
        let appended = self.commit(&[commit])?.into_iter().flatten().next();
        appended.ok_or(DropError::Commit(CommitError::Closed))
    }

    fn dropping(&self) -> Result<Option<Dropping>, CommitError> {
        let select = "SELECT value FROM state WHERE key = ?1";
        let value: Option<Vec<u8>> = self
            .connection
            .query_row(select, [STATE], |row| row.get(0))
            .optional()?;
        Ok(value.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    /// Whether a dropping was begun that has not come to its end.
    pub(crate) fn is_dropping(&self) -> Result<bool, CommitError> {
        Ok(self.dropping()?.is_some())
    }

    /// Drops some more of what was begun, if anything was. Gives whether there is more to do.
    pub(crate) fn drop_more(&mut self) -> Result<bool, CommitError> {
        self.writing(Self::drop_some)
    }

    fn drop_some(&mut self) -> Result<bool, CommitError> {
        let Some(Dropping { next, last }) = self.dropping()? else {
            return Ok(false);
        };
        let until = last.min(next + BATCH - 1);
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let mut select = transaction
                .prepare_cached("SELECT seq, body FROM entry WHERE seq BETWEEN ?1 AND ?2")?;
            let mut drop =
                transaction.prepare_cached("UPDATE entry SET body = NULL WHERE seq = ?1")?;
            let mut rows = select.query(params![next, until])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                let body: Option<Vec<u8>> = row.get(1)?;
                let kind = body.as_deref().and_then(|body| Envelope::parse(body).ok());
                if body.is_some() && !kind.is_some_and(|entry| is_needed(entry.kind)) {
                    found.push(row.get::<_, u64>(0)?);
                }
            }
            for seq in found {
                drop.execute([seq])?;
            }
        }
        let more = until < last;
        let state = match more {
            true => Dropping {
                next: until + 1,
                last,
            }
            .state(),
            false => StateChange::Delete { key: STATE.into() },
        };
        change_state(&transaction, std::iter::once(&state))?;
        transaction.commit()?;
        Ok(more)
    }

    /// Empties the write-ahead log. Gives whether that was possible: a reader may hold it.
    pub(crate) fn empty_wal(&mut self) -> Result<bool, CommitError> {
        self.writing(|store| {
            let busy =
                store
                    .connection
                    .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
                        row.get::<_, i64>(0)
                    })?;
            Ok(busy == 0)
        })
    }
}
