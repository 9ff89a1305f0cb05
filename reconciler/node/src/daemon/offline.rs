//! The ledger in the hands of an operator while no daemon runs.
//!
//! It holds the lock of the state directory for as long, so that no daemon starts meanwhile.

use std::{path::Path, sync::Arc};

use osmoda_core::time::Clock;
use osmoda_ledger::{Cadence, Ledger, OpenOptions, SigningOptions};
use osmoda_runtime::clock::SystemClock;

use super::{DaemonError, lock::StateLock};
use crate::paths::Paths;

/// The ledger at its place, and the lock of its state directory.
pub struct OfflineLedger {
    /// The ledger.
    pub ledger: Ledger,
    _lock: StateLock,
}

impl OfflineLedger {
    /// Opens the ledger of the state directory, or `file`, with the directory's key. A ledger
    /// that is damaged is left as it is.
    ///
    /// # Errors
    /// [`DaemonError`]: it is in use, is not there, or cannot be opened.
    pub async fn open(paths: &Paths, file: Option<&Path>) -> Result<Self, DaemonError> {
        let path = file.map_or_else(|| paths.ledger(), Path::to_owned);
        let cannot = |source: Box<dyn std::error::Error + Send + Sync>| {
            DaemonError::system(format!("cannot open {}", path.display()), source)
        };
        // Nothing is made where nothing is.
        std::fs::metadata(&path).map_err(|error| cannot(error.into()))?;
        let lock = StateLock::take(&paths.state).await?;
        let clock = SystemClock::new().map_err(|error| cannot(error.into()))?;
        let clock: Arc<dyn Clock> = Arc::new(clock);
        let host = rustix::system::uname();
        let mut options = OpenOptions::new(host.nodename().to_string_lossy(), clock);
        options.signing = Some(SigningOptions {
            key: paths.ledger_key(),
            cadence: Cadence::default(),
        });
        let ledger = Ledger::open(&path, options).map_err(|error| cannot(error.into()))?;
        Ok(Self {
            ledger,
            _lock: lock,
        })
    }
}
