//! Feeds the loop with the desired state: at start, on changes, on SIGHUP and at a slow resync.

use std::{sync::Arc, time::Duration};

use tokio::signal::unix::{SignalKind, signal};

use super::{set_operators, watch::SpecWatch};
use crate::{
    api::Authorizer,
    error::chain,
    handle::{Handle, SpecsRead},
    specs::{self, LoadOptions, SpecsRef},
};

/// Time between two readings, for changes that inotify does not tell (network file systems).
const RESYNC: Duration = Duration::from_secs(60);

/// Reads the specs on a thread that may block.
pub async fn read(specs: SpecsRef, options: LoadOptions) -> SpecsRead {
    let read = tokio::task::spawn_blocking(move || specs::load(&specs, &options)).await;
    match read {
        Ok(Ok(loaded)) => Ok(Arc::new(loaded)),
        Ok(Err(error)) => Err(chain(&error)),
        Err(error) => Err(format!("reading the specs failed: {error}")),
    }
}

/// What is read, and who is told.
pub struct Feed {
    /// Where the desired state is.
    pub specs: SpecsRef,
    /// How it is read.
    pub load: LoadOptions,
    /// The loop.
    pub handle: Handle,
    /// Learns who may act.
    pub authorizer: Authorizer,
}

impl Feed {
    /// Tells `first`, and everything that follows it, until the loop is gone.
    pub async fn run(self, first: SpecsRead) {
        let mut watch = self.watch();
        let mut hangup = signal(SignalKind::hangup()).ok();
        let mut told = self.tell(first).await;
        while told {
            let changed = async {
                match &mut watch {
                    Some(watch) => watch.changed().await,
                    None => std::future::pending().await,
                }
            };
            let asked = async {
                match &mut hangup {
                    Some(hangup) => drop(hangup.recv().await),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = changed => {}
                () = asked => tracing::info!("SIGHUP: reading the specs again"),
                () = tokio::time::sleep(RESYNC) => {}
            }
            told = self
                .tell(read(self.specs.clone(), self.load.clone()).await)
                .await;
        }
    }

    fn watch(&self) -> Option<SpecWatch> {
        let path = self.specs.path()?;
        SpecWatch::new(path.to_owned())
            .inspect_err(|error| {
                tracing::warn!(specs = %path.display(), error = %error, "changes are seen every 60 s only");
            })
            .ok()
    }

    async fn tell(&self, read: SpecsRead) -> bool {
        if let Ok(loaded) = &read {
            set_operators(
                &self.authorizer,
                loaded.node.as_ref().map(|node| &node.node),
            );
        }
        self.handle.specs(read).await.is_ok()
    }
}
