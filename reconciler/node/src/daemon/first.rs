//! The first reading of the specs, and what is in force until it is there.
//!
//! Nix may evaluate specs for a minute, and an agent that fails meanwhile is to be healed. So a
//! daemon that follows another waits for the first reading only a moment; then it supervises
//! with the last valid specs, which the agents' generations hold, and with the Node that was
//! read last, which the ledger's file remembers. What is read in the end is told to the loop
//! like any later reading.
//!
//! Where to start: [`First::begin`].

use std::{path::Path, sync::Arc, time::Duration};

use osmoda_ledger::Reader;
use tokio::task::JoinHandle;

use super::specs::read;
use crate::{
    handle::SpecsRead,
    reconcile::NODE_SPEC_KEY,
    specs::{self, LoadOptions, Loaded, SpecsRef},
};

/// How long agents that are known from before wait for the specs: files that hold no Nix are
/// read in less.
const PATIENCE: Duration = Duration::from_millis(250);

/// A reading that is under way.
pub type Reading = JoinHandle<SpecsRead>;

/// What is known of the specs when the daemon begins.
pub enum First {
    /// They are read.
    Read(SpecsRead),
    /// They are still being read.
    Late {
        /// Tells them.
        reading: Reading,
        /// The Node that was in force last, if one is remembered, and no agents.
        last: Option<Box<Loaded>>,
    },
}

impl First {
    /// Begins to read, and waits for the end of it where nothing is known from before.
    pub async fn begin(specs: SpecsRef, options: LoadOptions, ledger: &Path) -> Self {
        let mut reading = tokio::spawn(read(specs, options));
        if !ledger.exists() {
            return Self::Read(ended(reading).await);
        }
        match tokio::time::timeout(PATIENCE, &mut reading).await {
            Ok(read) => Self::Read(read.unwrap_or_else(|error| Err(failed(&error)))),
            Err(_) => Self::Late {
                reading,
                last: last_node(ledger).map(Box::new),
            },
        }
    }

    /// The specs as far as they are known.
    pub fn known(&self) -> Option<&Loaded> {
        match self {
            Self::Read(read) => read.as_ref().ok().map(Arc::as_ref),
            Self::Late { last, .. } => last.as_deref(),
        }
    }

    /// The same, once they have been read.
    pub async fn settled(self) -> Self {
        match self {
            Self::Read(_) => self,
            Self::Late { reading, .. } => Self::Read(ended(reading).await),
        }
    }
}

/// Waits for the end of a reading.
pub async fn ended(reading: Reading) -> SpecsRead {
    reading.await.unwrap_or_else(|error| Err(failed(&error)))
}

fn failed(error: &tokio::task::JoinError) -> String {
    format!("reading the specs failed: {error}")
}

/// The Node in force last. A ledger that cannot be read remembers none; who opens it to write
/// says what is wrong with it.
fn last_node(ledger: &Path) -> Option<Loaded> {
    let kept = Reader::open(ledger).ok()?.state(NODE_SPEC_KEY).ok()?;
    let manifest = kept.get(NODE_SPEC_KEY)?;
    specs::load_node(std::str::from_utf8(manifest).ok()?)
}
