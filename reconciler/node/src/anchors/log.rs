//! The log as an anchor sees it: the checkpoint to be anchored, and proofs about it.

use std::sync::Arc;

use osmoda_core::digest::Digest;
use osmoda_ledger::{Ledger, Reader, sign::Signed};
use osmoda_runtime::blocking::spawn_blocking;

use crate::{error::chain, web::WebError};

/// Why a checkpoint was not anchored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct AnchorError {
    /// What failed, on what and why. It never holds a secret URL.
    pub reason: String,
    /// The anchor holds another history of this log than this node has.
    pub fork: bool,
}

impl From<WebError> for AnchorError {
    fn from(error: WebError) -> Self {
        Self::passing(error.0)
    }
}

impl AnchorError {
    /// Something that may work the next time.
    pub fn passing(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            fork: false,
        }
    }

    /// The anchor's history and this one do not agree.
    pub fn fork(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            fork: true,
        }
    }
}

/// A checkpoint, and the ledger that it is of.
#[derive(Clone)]
pub struct Offer {
    /// What is to be anchored.
    pub signed: Arc<Signed>,
    /// Where proofs come from.
    pub ledger: Ledger,
}

impl Offer {
    /// Entries that the checkpoint covers.
    pub fn size(&self) -> u64 {
        self.signed.checkpoint.size
    }

    /// Root over the first `size` entries of the log.
    ///
    /// # Errors
    /// [`AnchorError`] if the ledger cannot be read.
    pub async fn root(&self, size: u64) -> Result<Digest, AnchorError> {
        self.read(move |reader| reader.root(size)).await
    }

    /// That the checkpoint's tree begins with that of `old` entries.
    ///
    /// # Errors
    /// [`AnchorError`] if the ledger cannot be read.
    pub async fn consistency(&self, old: u64) -> Result<Vec<Digest>, AnchorError> {
        let new = self.size();
        self.read(move |reader| reader.consistency(old, new)).await
    }

    async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Reader) -> Result<T, osmoda_ledger::ReadError> + Send + 'static,
    ) -> Result<T, AnchorError> {
        let ledger = self.ledger.clone();
        let read = spawn_blocking(move || ledger.reader().and_then(|reader| query(&reader)));
        match read.await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(AnchorError::passing(chain(&error))),
            Err(error) => Err(AnchorError::passing(format!(
                "reading the ledger failed: {error}"
            ))),
        }
    }
}
