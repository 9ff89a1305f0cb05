//! Sets a damaged ledger aside, so that supervision goes on and the evidence stays.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

use osmoda_core::{
    digest::Digest,
    event::{Actor, EventKind},
    time::Wall,
};
use serde_json::{Map, Value, json};

use crate::{entry::Draft, error::Damage};

/// What was done about a damaged ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reset {
    /// Where the old file is now (with its -wal and -shm beside it), unchanged.
    pub moved_to: PathBuf,
    /// What was found.
    pub reason: String,
    /// Origin of the old log, if it could be read.
    pub origin: Option<String>,
    /// The last entry of the old log that was seen to be sound.
    pub last_good_seq: Option<u64>,
    /// Chain value after that entry.
    pub last_good_chain: Option<Digest>,
}

/// `path` with `suffix` appended to its last part.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

impl Reset {
    /// Decides on a name that is free: `ledger.db.damaged-20260131T120000Z`.
    pub(super) fn plan(path: &Path, damage: Damage, now: Wall) -> Self {
        let compact: String = now.to_string().replace(['-', ':'], "");
        let stamp = compact.split('.').next().unwrap_or_default();
        let first = beside(path, &format!(".damaged-{stamp}Z"));
        let free = |candidate: &PathBuf| {
            let parts = ["", "-wal", "-shm"].map(|suffix| beside(candidate, suffix));
            parts.iter().all(|part| fs::symlink_metadata(part).is_err())
        };
        let others = (2u64..).map(|n| beside(&first, &format!("-{n}")));
        let moved_to = std::iter::once(first.clone()).chain(others).find(free);
        Self {
            moved_to: moved_to.unwrap_or(first),
            reason: damage.reason,
            origin: damage.origin,
            last_good_seq: damage.last_good.map(|good| good.seq),
            last_good_chain: damage.last_good.map(|good| good.chain),
        }
    }

    /// Renames the old file and what SQLite keeps beside it.
    pub(super) fn set_aside(&self, path: &Path) -> io::Result<()> {
        for suffix in ["-wal", "-shm", ""] {
            match fs::rename(beside(path, suffix), beside(&self.moved_to, suffix)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// The first entry of the new log.
    pub(super) fn draft(&self) -> Draft {
        let mut body = Map::new();
        let moved_to = self.moved_to.to_string_lossy().into_owned();
        body.insert("movedTo".into(), Value::String(moved_to));
        body.insert("reason".into(), Value::String(self.reason.clone()));
        body.insert("origin".into(), json!(self.origin));
        body.insert("lastGoodSeq".into(), json!(self.last_good_seq));
        body.insert("lastGoodChain".into(), json!(self.last_good_chain));
        Draft {
            kind: EventKind::LogReset,
            agent: None,
            incident: None,
            causes: Vec::new(),
            actor: Actor::System,
            body,
        }
    }
}
