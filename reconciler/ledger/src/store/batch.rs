//! Makes the rows of a transaction, in memory, before the database is touched.

use std::{ops::Range, sync::Arc};

use osmoda_core::{
    digest::Digest,
    event::{Actor, EventKind},
    time::{Clock, Mono, Wall},
};
use serde_json::{Map, Value};

use super::Position;
use crate::{
    audit::went_back,
    entry::{
        Appended, Cause, Context, Draft, DraftFault, EntryRef, IncidentRef, InvalidDraft,
        MAX_CAUSES, MAX_ENTRIES_PER_COMMIT, MAX_INCIDENT, MAX_ORIGIN, Prepared, beginning, clamp,
        write,
    },
    ids::IdSource,
    scrub::Scrubber,
    tlog,
};

/// Room for the body of a usual entry, in bytes.
const USUAL: usize = 768;

/// Everything that fills in what drafts leave open.
pub(super) struct Author {
    pub origin: String,
    pub node: String,
    pub clock: Arc<dyn Clock>,
    pub ids: Box<dyn IdSource>,
    pub scrubber: Arc<Scrubber>,
}

/// A row to be inserted.
pub(super) struct NewRow {
    pub seq: u64,
    /// Where its body stands among [`Batch::bodies`].
    body: Range<usize>,
    pub leaf: Digest,
    pub chain: Digest,
}

/// Rows to be inserted, and where the log then stands.
pub(super) struct Batch {
    pub position: Position,
    pub rows: Vec<NewRow>,
    /// The bodies of all rows, one after the other.
    bodies: Vec<u8>,
}

/// The times of a commit: all its entries carry the same.
#[derive(Clone, Copy)]
struct Now {
    ts: Wall,
    mono: Mono,
}

impl Batch {
    /// An empty one, with room for so many entries.
    pub(super) fn after(position: Position, entries: usize) -> Self {
        Self {
            position,
            rows: Vec::with_capacity(entries),
            bodies: Vec::with_capacity(entries * USUAL),
        }
    }

    /// Bytes of all bodies.
    pub(super) fn bytes(&self) -> u64 {
        self.bodies.len() as u64
    }

    /// The body of one of its rows.
    pub(super) fn body(&self, row: &NewRow) -> &[u8] {
        &self.bodies[row.body.clone()]
    }

    /// Adds the entries of a commit.
    pub(super) fn add(
        &mut self,
        prepared: &Prepared<'_>,
        author: &mut Author,
    ) -> Result<Vec<Appended>, InvalidDraft> {
        let count = prepared.commit().entries.len();
        if count > MAX_ENTRIES_PER_COMMIT {
            return Err(InvalidDraft {
                draft: 0,
                fault: DraftFault::Commit(count),
            });
        }
        let mut done = Vec::with_capacity(count);
        if count == 0 {
            return Ok(done);
        }
        let now = Now {
            ts: clamp(author.clock.wall()),
            mono: author.clock.mono(),
        };
        self.note_regression(now, author)?;
        for (index, (draft, beginning)) in prepared.drafts().enumerate() {
            let appended = self
                .append(draft, beginning, &done, now, author)
                .map_err(|fault| InvalidDraft {
                    draft: index,
                    fault,
                })?;
            done.push(appended);
        }
        Ok(done)
    }

    fn note_regression(&mut self, now: Now, author: &mut Author) -> Result<(), InvalidDraft> {
        let Some(last) = self
            .position
            .last_ts
            .filter(|last| went_back(*last, now.ts))
        else {
            return Ok(());
        };
        let mut body = Map::new();
        body.insert("previousTs".into(), Value::String(last.to_string()));
        body.insert("newTs".into(), Value::String(now.ts.to_string()));
        let draft = Draft {
            kind: EventKind::ClockRegressed,
            agent: None,
            incident: None,
            causes: Vec::new(),
            actor: Actor::System,
            body,
        };
        beginning(&draft, &author.scrubber)
            .and_then(|beginning| self.append(&draft, &beginning, &[], now, author))
            .map(|_| ())
            .map_err(|fault| InvalidDraft { draft: 0, fault })
    }

    fn append(
        &mut self,
        draft: &Draft,
        beginning: &[u8],
        before: &[Appended],
        now: Now,
        author: &mut Author,
    ) -> Result<Appended, DraftFault> {
        let id = author.ids.uuid_v7(now.ts);
        let incident = incident(draft, before, &id)?;
        let causes = causes(draft, before)?;
        let seq = self.position.frontier.size();
        let context = Context {
            seq,
            id: &id,
            incident: incident.as_deref(),
            causes: &causes,
            ts: now.ts,
            mono: now.mono,
            boot: author.clock.boot_id(),
            node: &author.node,
            scrubber: &author.scrubber,
        };
        let start = self.bodies.len();
        write(&mut self.bodies, beginning, draft, &context)?;
        let body = start..self.bodies.len();
        let leaf = tlog::leaf(&self.bodies[body.clone()]);
        let chain = tlog::chain_next(&self.position.chain, &leaf);
        self.position.chain = chain;
        self.position.frontier.push(leaf);
        self.position.last_ts = Some(now.ts);
        self.rows.push(NewRow {
            seq,
            body,
            leaf,
            chain,
        });
        Ok(Appended {
            reference: EntryRef {
                log: author.origin.clone(),
                seq,
                leaf,
            },
            id,
            incident,
            ts: now.ts,
        })
    }
}

fn incident(draft: &Draft, before: &[Appended], own: &str) -> Result<Option<String>, DraftFault> {
    match &draft.incident {
        None => Ok(None),
        Some(IncidentRef::Own) => Ok(Some(own.to_owned())),
        Some(IncidentRef::InCommit(index)) => {
            let named = before.get(*index).ok_or(DraftFault::Forward(*index))?;
            let incident = named.incident.clone();
            incident.map(Some).ok_or(DraftFault::NoIncident(*index))
        }
        Some(IncidentRef::Known(id)) if (1..=MAX_INCIDENT).contains(&id.len()) => {
            Ok(Some(id.clone()))
        }
        Some(IncidentRef::Known(id)) => Err(DraftFault::Incident(id.len())),
    }
}

fn causes(draft: &Draft, before: &[Appended]) -> Result<Vec<EntryRef>, DraftFault> {
    if draft.causes.len() > MAX_CAUSES {
        return Err(DraftFault::Causes(draft.causes.len()));
    }
    let resolve = |cause: &Cause| match cause {
        Cause::InCommit(index) => {
            let named = before.get(*index).ok_or(DraftFault::Forward(*index))?;
            Ok(named.reference.clone())
        }
        Cause::Known(reference) if (1..=MAX_ORIGIN).contains(&reference.log.len()) => {
            Ok(reference.clone())
        }
        Cause::Known(reference) => Err(DraftFault::Log(reference.log.len())),
    };
    draft.causes.iter().map(resolve).collect()
}
