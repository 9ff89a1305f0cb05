//! Feeds the loop with the desired state: at start, on changes, on SIGHUP and at a slow resync.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use osmoda_runtime::blocking::spawn_blocking;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    time::{Instant, Interval, MissedTickBehavior, interval_at},
};

use super::{
    first::{First, Reading, ended},
    watch::SpecWatch,
    work::set_operators,
};
use crate::{
    alerts::Alerts,
    anchors::Anchors,
    api::Authorizer,
    error::chain,
    handle::{Handle, SpecsRead},
    specs::{self, LoadOptions, Loaded, SpecsRef, Stamp},
};

/// Time between two readings, for changes that inotify does not tell (network file systems).
const RESYNC: Duration = Duration::from_secs(60);

/// Reads the specs on a thread that may block.
pub async fn read(specs: SpecsRef, options: LoadOptions) -> SpecsRead {
    let read = spawn_blocking(move || specs::load(&specs, &options)).await;
    match read {
        Ok(Ok(loaded)) => Ok(Arc::new(loaded)),
        Ok(Err(error)) => Err(chain(&error)),
        Err(error) => Err(format!("reading the specs failed: {error}")),
    }
}

/// As [`read`], unless it would be as it was when this stamp was taken. With the stamp of now.
async fn read_unless(
    specs: SpecsRef,
    options: LoadOptions,
    known: Option<Stamp>,
) -> (Option<Stamp>, Option<SpecsRead>) {
    let stamped = specs.clone();
    // Before the reading: what changes meanwhile shows at the next one.
    let stamp = spawn_blocking(move || Stamp::of(&stamped)).await;
    let stamp = stamp.ok().flatten();
    match stamp.is_some() && stamp == known {
        true => (stamp, None),
        false => (stamp, Some(read(specs, options).await)),
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
    /// Learns where checkpoints are carried.
    pub anchors: Anchors,
    /// Learns where metrics are served over TCP.
    pub metrics_at: watch::Sender<Option<SocketAddr>>,
    /// Learns who is told of what happens.
    pub alerts: Alerts,
    /// When to read again.
    pub news: News,
}

/// Why specs are read.
enum Occasion {
    /// They may have changed, or somebody wants it.
    Change,
    /// Time has passed.
    Resync,
}

/// Everything that says that the specs may have changed.
pub struct News {
    watch: Option<SpecWatch>,
    hangup: Option<Signal>,
    resync: Interval,
}

impl News {
    /// Listens from here on: what comes before it is waited for is kept. From here on, too,
    /// SIGHUP no longer ends the process.
    pub fn begin(specs: &SpecsRef) -> Self {
        let watch = specs.path().and_then(|path| {
            SpecWatch::new(path.to_owned())
                .inspect_err(|error| {
                    tracing::warn!(specs = %path.display(), error = %error, "changes are seen every 60 s only");
                })
                .ok()
        });
        let hangup = signal(SignalKind::hangup())
            .inspect_err(|error| tracing::warn!(error = %error, "SIGHUP is not listened to"))
            .ok();
        // Half a period away from the loop's own resync: both at once would wait for each other
        // at the heap.
        let mut resync = interval_at(Instant::now() + RESYNC / 2, RESYNC);
        resync.set_missed_tick_behavior(MissedTickBehavior::Skip);
        Self {
            watch,
            hangup,
            resync,
        }
    }

    /// Resolves at the next of them, or when it is time for a resync.
    async fn next(&mut self) -> Occasion {
        let changed = async {
            match &mut self.watch {
                Some(watch) => watch.changed().await,
                None => std::future::pending().await,
            }
        };
        let asked = async {
            match &mut self.hangup {
                Some(hangup) => drop(hangup.recv().await),
                None => std::future::pending().await,
            }
        };
        let mut occasion = Occasion::Change;
        tokio::select! {
            () = changed => return Occasion::Change,
            () = asked => tracing::info!("SIGHUP: reading the specs again"),
            _ = self.resync.tick() => occasion = Occasion::Resync,
        }
        if let Some(watch) = &mut self.watch {
            watch.follow(); // what was missed may have been a link's new way
        }
        occasion
    }
}

impl Feed {
    /// Tells what is known when the daemon begins; gives the reading that is still to come.
    /// `in_force`: the last valid specs, by which agents are supervised until then.
    pub async fn begin(&self, first: First, in_force: &Loaded) -> Option<Reading> {
        match first {
            First::Read(read) => {
                self.tell(read).await;
                None
            }
            First::Late { reading, .. } => {
                tracing::info!("the specs are still being read; the last valid ones are in force");
                // Without a Node from before nobody knows whether there is one.
                if in_force.node.is_some() {
                    self.tell_edges(in_force);
                }
                Some(reading)
            }
        }
    }

    /// Tells everything that follows, until the loop is gone.
    pub async fn run(mut self, late: Option<Reading>) {
        let mut told = match late {
            Some(reading) => self.tell(ended(reading).await).await,
            None => true,
        };
        let mut stamp: Option<Stamp> = None;
        while told {
            let known = match self.news.next().await {
                Occasion::Change => None,
                Occasion::Resync => stamp.take(),
            };
            let read = read_unless(self.specs.clone(), self.load.clone(), known).await;
            stamp = read.0;
            if let Some(read) = read.1 {
                told = self.tell(read).await;
            }
        }
    }

    /// Tells the loop; false: it is gone.
    async fn tell(&self, read: SpecsRead) -> bool {
        if let Ok(loaded) = &read {
            self.tell_edges(loaded);
        }
        self.handle.specs(read).await.is_ok()
    }

    /// Tells everybody but the loop.
    fn tell_edges(&self, loaded: &Loaded) {
        let node = loaded.node.as_ref().map(|node| &node.node);
        set_operators(&self.authorizer, node);
        let metrics = node.and_then(|node| node.metrics);
        self.metrics_at.send_if_modified(|at| {
            let changes = *at != metrics;
            *at = metrics;
            changes
        });
        self.anchors
            .set(node.map_or(&[], |node| &node.ledger.anchors));
        self.alerts.set(loaded);
    }
}
