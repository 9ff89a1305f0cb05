//! What a daemon stands on before it opens its runtime: its signals, the lock, the first reading
//! of the specs, the ledger, and the thread of the loop.

use std::{path::PathBuf, sync::Arc};

use osmoda_core::time::Clock;
use osmoda_ledger::{Cadence, Ledger, OpenOptions, Opened, Scrubber, SigningOptions};
use osmoda_runtime::blocking::spawn_blocking;
use osmoda_runtime::{clock::SystemClock, native::CredentialHook};
use tokio::task::JoinHandle;

use super::{
    BundlePlace, DaemonError, DaemonOptions,
    ends::Signals,
    first::First,
    ledger,
    lock::StateLock,
    loop_thread::LoopThread,
    specs::News,
    systemd::{Beginning, ServiceManager},
};
use crate::{
    alerts::{self, Alerts, Outbox},
    anchors::Anchors,
    error::chain,
    paths::Paths,
    specs::Loaded,
};

/// All of it. Dropped, it lets go of the lock.
pub(super) struct Ground {
    pub options: DaemonOptions,
    pub signals: Signals,
    pub manager: ServiceManager,
    /// Dropped when the daemon is ready.
    pub beginning: Beginning,
    pub clock: Arc<dyn Clock>,
    pub scrubber: Arc<Scrubber>,
    /// Held for as long as the daemon works.
    pub lock: StateLock,
    /// The search for a Nix store, which may take its time.
    pub bundles: JoinHandle<Result<BundlePlace, String>>,
    pub news: News,
    /// The first reading of the specs, if it has come to its end.
    pub first: First,
    /// The node's.
    pub name: String,
    pub ledger: Ledger,
    pub alerts: Alerts,
    pub anchors: Anchors,
    pub loop_thread: LoopThread,
}

impl Ground {
    /// Lays it. A second daemon of the same state directory changes nothing.
    ///
    /// # Errors
    /// [`DaemonError`].
    pub async fn lay(options: DaemonOptions) -> Result<Self, DaemonError> {
        let signals = Signals::take()?;
        let manager = ServiceManager::connect();
        let beginning = manager.begin();
        let clock: Arc<dyn Clock> = Arc::new(
            SystemClock::new()
                .map_err(|error| DaemonError::system("cannot read the clock", error))?,
        );
        let paths = &options.paths;
        prepare_directories(paths)?;
        let lock = StateLock::take(&paths.state).await?;
        let choice = options.bundles;
        let bundles = spawn_blocking(move || BundlePlace::find(choice));
        // Begun before the first reading: a change during it is read as well.
        let news = News::begin(&options.specs);
        let ledger_file = ledger_file(&options);
        let first = First::begin(options.specs.clone(), options.load.clone(), &ledger_file).await;
        let name = node_name(first.known());
        let scrubber = Arc::new(Scrubber::new());
        let cadence = ledger::cadence(first.known());
        let opened = open_ledger(&options, &name, &clock, &scrubber, cadence)?;
        let ledger = opened.ledger;
        let alerts = open_alerts(&ledger, &clock, &scrubber, &name)?;
        if let Some(loaded) = first.known() {
            // Before the first entry: also what is found at the start is told.
            alerts.set(loaded);
        }
        if let Some(reset) = &opened.reset {
            alerts.outbox().tell_of_reset(reset);
        }
        let anchors = Anchors::new(
            ledger.clone(),
            Arc::clone(&clock),
            Some(Arc::clone(alerts.outbox())),
        );
        let loop_thread = LoopThread::start()
            .map_err(|error| DaemonError::system("cannot start the loop's thread", error))?;
        Ok(Self {
            signals,
            manager,
            beginning,
            clock,
            scrubber,
            lock,
            bundles,
            news,
            first,
            name,
            ledger,
            alerts,
            anchors,
            loop_thread,
            options,
        })
    }

    /// Has the scrubber learn each credential before a process has it.
    pub fn credential_hook(&self) -> CredentialHook {
        let scrubber = Arc::clone(&self.scrubber);
        Arc::new(move |agent, name, value: &[u8]| {
            scrubber.learn(&format!("{agent}/{name}"), value);
        })
    }
}

fn prepare_directories(paths: &Paths) -> Result<(), DaemonError> {
    // Agents that run as another user pass through the state directory to their own.
    for (path, mode) in [
        (&paths.state, 0o711),
        (&paths.runtime, 0o755),
        (&paths.logs, 0o750),
    ] {
        use std::os::unix::fs::DirBuilderExt as _;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(path)
            .map_err(|error| {
                DaemonError::system(format!("cannot create {}", path.display()), error)
            })?;
    }
    Ok(())
}

fn node_name(specs: Option<&Loaded>) -> String {
    let declared = specs.and_then(|loaded| loaded.node.as_ref());
    let declared = declared.and_then(|node| node.node.name.clone());
    declared.unwrap_or_else(|| {
        rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned()
    })
}

fn ledger_file(options: &DaemonOptions) -> PathBuf {
    let named = options.ledger.clone();
    named.unwrap_or_else(|| options.paths.ledger())
}

fn open_ledger(
    options: &DaemonOptions,
    node: &str,
    clock: &Arc<dyn Clock>,
    scrubber: &Arc<Scrubber>,
    cadence: Cadence,
) -> Result<Opened<Ledger>, DaemonError> {
    let path = ledger_file(options);
    let mut open = OpenOptions::new(node, Arc::clone(clock));
    open.scrubber = Arc::clone(scrubber);
    open.signing = Some(SigningOptions {
        key: options.paths.ledger_key(),
        cadence,
    });
    let opened = Ledger::open_or_reset(&path, open)
        .map_err(|error| DaemonError::system(format!("cannot open {}", path.display()), error))?;
    let resumed = opened.ledger.clone();
    spawn_blocking(move || {
        if let Err(error) = resumed.resume_dropping() {
            tracing::warn!(error = %chain(&error), "bodies of entries are still to be dropped");
        }
    });
    Ok(opened)
}

/// Nothing is sent yet: receivers are known from the specs.
fn open_alerts(
    ledger: &Ledger,
    clock: &Arc<dyn Clock>,
    scrubber: &Arc<Scrubber>,
    node: &str,
) -> Result<Alerts, DaemonError> {
    let (clock, scrubber) = (Arc::clone(clock), Arc::clone(scrubber));
    let outbox = Outbox::open(ledger.clone(), clock, scrubber, node.to_owned())
        .map_err(|error| DaemonError::system("cannot read the alerts that wait", error))?;
    let alerts = Alerts::new(Arc::new(outbox), Arc::new(alerts::Http));
    alerts.begin();
    Ok(alerts)
}
