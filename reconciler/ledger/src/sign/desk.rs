//! The writer's hand in signing: it looks at the desk after each turn.

use std::time::Instant;

use super::cadence::{Due, Pacer};
use crate::store::Store;

/// Signs when it is due.
#[derive(Debug)]
pub(crate) struct Desk {
    pacer: Pacer,
}

impl Desk {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            pacer: Pacer::new(now),
        }
    }

    /// Signs what is due, in memory, and gives when to look again; `None` if nothing will ever
    /// be due. What goes wrong is told and tried again after the usual time.
    pub(crate) fn attend(&mut self, store: &mut Store, now: Instant) -> Option<Instant> {
        let (unsigned, cadence) = store.unsigned()?;
        let failed = match self.pacer.due(&cadence, unsigned, now) {
            Due::At(at) => return Some(at),
            Due::Sign => store.sign().err(),
            Due::Heartbeat => store
                .append_heartbeat()
                .map_err(Into::into)
                .and_then(|()| store.sign())
                .err(),
        };
        if let Some(error) = failed {
            tracing::warn!(%error, "the ledger was not signed");
        }
        self.pacer.signed(now);
        let (unsigned, cadence) = store.unsigned()?;
        match self.pacer.due(&cadence, unsigned, now) {
            Due::At(at) => Some(at),
            Due::Sign | Due::Heartbeat => Some(now + cadence.after),
        }
    }
}
