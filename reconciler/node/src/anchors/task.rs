//! One anchor's life: wait for a checkpoint that it does not have, take it there, try again
//! when that fails.

use std::{sync::Arc, time::Duration};

use osmoda_core::{spec::Anchor, time::Clock};
use osmoda_ledger::{
    Ledger,
    anchor::{AnchorState, Anchored, Failing, STATE_PREFIX, read_all},
    sign::Signed,
};
use osmoda_runtime::blocking::spawn_blocking;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::{
    Board,
    directory::Directory,
    log::{AnchorError, Offer},
    record::{self, News},
    status::AnchorStatus,
    webhook, witness,
};
use crate::alerts::Outbox;

/// Time for one try, all its requests included.
const TRY_MAX: Duration = Duration::from_secs(60);
/// Wait after a first failure; each further one doubles it.
pub const BACKOFF_FIRST: Duration = Duration::from_secs(1);
/// Longest wait between two tries.
pub const BACKOFF_MAX: Duration = Duration::from_secs(300);
/// Share of a wait that is drawn at random, so that many nodes do not come back at once.
const JITTER: f64 = 0.2;

/// What a task works with.
pub(super) struct Task {
    way: Way,
    state: AnchorState,
    ledger: Ledger,
    outbox: Option<Arc<Outbox>>,
    clock: Arc<dyn Clock>,
    board: Arc<Board>,
    /// Tries that failed since the last success.
    failures: u32,
    /// The entry about the present state of affairs is written.
    told: bool,
}

/// How the anchor is reached.
enum Way {
    Directory(Directory),
    Webhook { url_file: String },
    Witness { url: String, key: String },
}

impl Task {
    pub(super) fn new(
        name: String,
        anchor: &Anchor,
        (ledger, outbox): (Ledger, Option<Arc<Outbox>>),
        clock: Arc<dyn Clock>,
        board: Arc<Board>,
    ) -> Self {
        let way = match anchor.clone() {
            Anchor::Directory(path) => Way::Directory(Directory::new(&path)),
            Anchor::Webhook { url_file } => Way::Webhook { url_file },
            Anchor::Witness { url, key } => Way::Witness { url, key },
        };
        Self {
            way,
            state: AnchorState::new(name),
            ledger,
            outbox,
            clock,
            board,
            failures: 0,
            told: false,
        }
    }

    /// Until it is aborted, or the ledger is closed.
    pub(super) async fn run(mut self) {
        self.remember().await;
        self.show();
        let mut checkpoints = self.ledger.checkpoints();
        while let Some(signed) = self.next(&mut checkpoints).await {
            let offer = Offer {
                signed,
                ledger: self.ledger.clone(),
            };
            match self.attempt(&offer).await {
                Ok(note) => self.succeeded(&offer, note).await,
                Err(error) => {
                    self.failed(error).await;
                    sleep(self.pause()).await;
                }
            }
        }
    }

    /// What an earlier daemon knew of it.
    async fn remember(&mut self) {
        let ledger = self.ledger.clone();
        let read = spawn_blocking(move || {
            let rows = ledger
                .reader()
                .and_then(|reader| reader.state(STATE_PREFIX));
            read_all(&rows.unwrap_or_default())
        });
        let known = read.await.unwrap_or_default();
        let own = known
            .into_iter()
            .find(|state| state.name == self.state.name);
        // Another log's checkpoint: this one was begun anew, and nothing of it is anchored.
        let origin = format!("{}\n", self.ledger.origin());
        let of_this_log = |last: &Anchored| last.note.starts_with(&origin);
        if let Some(mut own) = own {
            own.last = own.last.filter(of_this_log);
            // An outage that goes on is no news; its end is.
            self.told = own.failing.is_some();
            self.state = own;
        }
    }

    /// The newest checkpoint, once there is one that the anchor does not have.
    async fn next(
        &self,
        checkpoints: &mut watch::Receiver<Option<Arc<Signed>>>,
    ) -> Option<Arc<Signed>> {
        let is_new = |signed: &Option<Arc<Signed>>| {
            let root = signed.as_ref().map(|signed| signed.checkpoint.root);
            root.is_some() && root != self.state.last.as_ref().map(|last| last.root)
        };
        let newest = checkpoints.wait_for(is_new).await.ok()?;
        newest.clone()
    }

    async fn attempt(&mut self, offer: &Offer) -> Result<String, AnchorError> {
        let known = self.state.last.as_ref().map(|last| last.size);
        let tried = async {
            match &mut self.way {
                Way::Directory(directory) => directory.anchor(offer).await,
                Way::Webhook { url_file } => webhook::anchor(url_file, offer).await,
                Way::Witness { url, key } => witness::anchor(url, key, known, offer).await,
            }
        };
        let late = |_| AnchorError::passing(format!("no result within {} s", TRY_MAX.as_secs()));
        timeout(TRY_MAX, tried).await.map_err(late)?
    }

    async fn succeeded(&mut self, offer: &Offer, note: String) {
        let was_failing = self.state.failing.take().is_some();
        self.state.last = Some(Anchored {
            size: offer.size(),
            root: offer.signed.checkpoint.root,
            at: self.clock.wall().to_string(),
            note,
        });
        self.failures = 0;
        let news = match was_failing || !self.told {
            true => News::Works,
            false => News::None,
        };
        self.told = self.write(news).await || news == News::None;
        self.ledger.set_anchored(offer.size());
        self.show();
    }

    async fn failed(&mut self, error: AnchorError) {
        self.failures = self.failures.saturating_add(1);
        tracing::warn!(
            anchor = self.state.name,
            reason = error.reason,
            fork = error.fork,
            "not anchored"
        );
        let before = self.state.failing.take();
        // What a later look changes is the reason; when it began, stays.
        let since = before.as_ref().map(|failing| failing.since.clone());
        let is_news = match &before {
            None => true,
            Some(before) => !self.told || (error.fork && !before.fork),
        };
        let changed = before
            .as_ref()
            .is_none_or(|before| before.reason != error.reason);
        self.state.failing = Some(Failing {
            since: since.unwrap_or_else(|| self.clock.wall().to_string()),
            reason: error.reason,
            fork: error.fork,
        });
        if is_news {
            self.told = self.write(News::Fails).await;
        } else if changed {
            self.write(News::None).await;
        }
        self.show();
    }

    /// Whether it was written. What was not is written with what comes next.
    async fn write(&self, news: News) -> bool {
        let written = record::write(&self.ledger, self.outbox.as_ref(), &self.state, news).await;
        if let Err(error) = &written {
            tracing::warn!(anchor = self.state.name, %error, "an anchor's state is not recorded");
        }
        written.is_ok()
    }

    /// Exponential, with jitter.
    fn pause(&self) -> Duration {
        let doublings = self.failures.saturating_sub(1).min(16);
        let wait = BACKOFF_FIRST
            .saturating_mul(1 << doublings)
            .min(BACKOFF_MAX);
        wait.mul_f64(1.0 - JITTER * fraction())
    }

    fn show(&self) {
        let last = self.state.last.as_ref();
        let failing = self.state.failing.as_ref();
        self.board.put(AnchorStatus {
            name: self.state.name.clone(),
            size: last.map(|last| last.size),
            at: last.map(|last| last.at.clone()),
            failing_since: failing.map(|failing| failing.since.clone()),
            reason: failing.map(|failing| failing.reason.clone()),
            fork: failing.is_some_and(|failing| failing.fork),
            failures: self.failures,
        });
    }
}

/// A number from 0 to 1 of the kernel's random numbers; 0 where it has none yet.
fn fraction() -> f64 {
    let mut bytes = [0; 4];
    let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::NONBLOCK);
    match filled {
        Ok(4) => f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX),
        _ => 0.0,
    }
}
