//! The node daemon in the foreground: the loop with everything real around it.
//!
//! Order matters. Locks come first, so that a second daemon changes nothing; then the ledger,
//! so that everything after it can be recorded; then the runtime, which adopts what runs; then
//! the loop, which remembers and closes what was left open; and the API last, so that who gets
//! an answer gets one from a daemon that knows its agents.
//!
//! Where to start: [`run`].

mod bundles;
mod ends;
mod handover;
mod ledger;
mod lock;
mod loop_thread;
mod offline;
mod program;
mod specs;
mod system;
mod systemd;
mod watch;

use std::{
    ffi::OsString,
    os::{fd::OwnedFd, unix::process::CommandExt as _},
    path::PathBuf,
    process::Command,
    sync::Arc,
};

use osmoda_core::{observed::InvocationId, spec::Node, time::Clock};
use osmoda_ledger::{Cadence, Ledger, OpenOptions, Opened, Scrubber, SigningOptions};
use osmoda_nix::profiles::SymlinkProfiles;
use osmoda_runtime::{
    clock::SystemClock,
    native::{NativeOptions, NativeRuntime, OpenError},
};
use rustix::rand::{GetRandomFlags, getrandom};
use tokio::sync::watch as channel;

pub use self::{
    bundles::{BundlePlace, BundlesChoice},
    offline::OfflineLedger,
};
use self::{
    ends::{Ending, Signals},
    ledger::LedgerJournal,
    lock::StateLock,
    loop_thread::LoopThread,
    systemd::ServiceManager,
};
use crate::{
    alerts::{self, Alerts, Outbox},
    anchors::Anchors,
    api::{self, ApiOptions, Authorizer, Listener},
    detect::{
        notify::{self, Notify, socket::NotifySocket},
        senses::RealSenses,
    },
    error::chain,
    handle::SpecsRead,
    metrics::{self, Metrics},
    paths::Paths,
    reconcile::{Edges, NodeFacts, Reconciler, act::Offload},
    specs::{LoadOptions, SpecsRef},
};

/// Threads of the scheduler for everything but the loop: the API, the specs, the anchors. The
/// loop has a scheduler of its own ([`LoopThread`]).
const WORKERS: usize = 1;

/// Which runtime to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RuntimeChoice {
    /// The best that the host has.
    #[default]
    Auto,
    /// Children of the daemon.
    Native,
    /// Transient units of systemd.
    Systemd,
}

/// What `osmoda run` was asked for.
#[derive(Debug, Clone)]
pub struct DaemonOptions {
    /// Where everything lives.
    pub paths: Paths,
    /// The desired state.
    pub specs: SpecsRef,
    /// How specs are read.
    pub load: LoadOptions,
    /// Which runtime.
    pub runtime: RuntimeChoice,
    /// Where bundles of new generations are made.
    pub bundles: BundlesChoice,
    /// Leave agents running at SIGTERM.
    pub keep_agents: bool,
    /// The ledger's file, if it is not the state directory's.
    pub ledger: Option<PathBuf>,
    /// Below which directory the machine's own generations are; `/` but for tests.
    pub system_root: PathBuf,
}

/// Why the daemon did not start, or ended.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum DaemonError {
    /// Somebody else does this job already.
    #[error("{0}")]
    Taken(String),
    /// What was asked for cannot be had.
    #[error("{0}")]
    Refused(String),
    /// The specs cannot be read, and no agent is known from before.
    #[error("{0}")]
    Specs(String),
    /// The system refused something.
    #[error("{what}")]
    System {
        what: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl DaemonError {
    /// The exit code of `osmoda run`.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Taken(_) => 1,
            Self::Refused(_) | Self::Specs(_) => 2,
            Self::System { .. } => 5,
        }
    }

    fn system(
        what: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::System {
            what: what.into(),
            source: source.into(),
        }
    }
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// [`DaemonError`].
pub fn run(options: DaemonOptions) -> Result<(), DaemonError> {
    if options.runtime == RuntimeChoice::Systemd {
        let sentence = "the systemd runtime is not available in this version; use --runtime native";
        return Err(DaemonError::Refused(sentence.into()));
    }
    // Read before anything else changes: SIGUSR2 executes what is at this path then.
    let program = program::successor();
    let given = handover::given();
    let scheduler = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .thread_name("osmoda")
        .enable_all()
        .build()
        .map_err(|error| DaemonError::system("cannot start the scheduler", error))?;
    let (ending, socket) = scheduler.block_on(serve(options, given))?;
    // Whatever still blocks (a spec that is being evaluated) ends with the process.
    scheduler.shutdown_background();
    match ending {
        Ending::Stop { .. } => Ok(()),
        Ending::Reexec => Err(reexec(program, socket)),
    }
}

/// Becomes the program that is now at that path. Agents, their
/// notes and the ledger are as a daemon that died would leave them: the new one adopts.
fn reexec(program: std::io::Result<PathBuf>, socket: Option<OwnedFd>) -> DaemonError {
    let program = match program {
        Ok(program) => program,
        Err(error) => return DaemonError::system("cannot tell which program this is", error),
    };
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    tracing::info!(program = %program.display(), "executing in place");
    let mut command = Command::new(&program);
    command.args(arguments);
    if let Some(socket) = &socket
        && let Err(error) = handover::hand_on(&mut command, socket)
    {
        tracing::warn!(%error, "the notify socket cannot be handed on");
    }
    let error = command.exec();
    DaemonError::system(format!("cannot execute {}", program.display()), error)
}

async fn serve(
    options: DaemonOptions,
    given: Option<OwnedFd>,
) -> Result<(Ending, Option<OwnedFd>), DaemonError> {
    let signals = Signals::take()?;
    let manager = ServiceManager::connect();
    let clock: Arc<dyn Clock> = Arc::new(
        SystemClock::new().map_err(|error| DaemonError::system("cannot read the clock", error))?,
    );
    let paths = &options.paths;
    prepare_directories(paths)?;
    let lock = StateLock::take(&paths.state).await?;
    let choice = options.bundles;
    let bundles = tokio::task::spawn_blocking(move || BundlePlace::find(choice));
    // Begun before the first reading: a change during it is read as well.
    let news = specs::News::begin(&options.specs);
    let first = specs::read(options.specs.clone(), options.load.clone()).await;
    let name = node_name(&first);
    let scrubber = Arc::new(Scrubber::new());
    let opened = open_ledger(&options, &name, &clock, &scrubber, ledger::cadence(&first))?;
    let ledger = opened.ledger;
    let alerts = open_alerts(&ledger, &clock, &scrubber, &name)?;
    if let Ok(loaded) = &first {
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
    let runtime = {
        // Ends of processes are waited for where the loop is.
        let _there = loop_thread.scheduler().enter();
        Arc::new(open_runtime(paths, &clock, &scrubber)?)
    };
    // Before anything else: what agents say while this daemon begins waits there.
    let notifications = handover::socket(given, &paths.notify()).map_err(|error| {
        DaemonError::system(
            format!("cannot listen on {}", paths.notify().display()),
            error,
        )
    })?;
    let bundles = match bundles.await {
        Ok(found) => found.map_err(DaemonError::Refused)?,
        Err(error) => return Err(DaemonError::system("cannot look for a Nix store", error)),
    };
    let system = system::of_machine(&options.system_root, paths, &bundles);
    let profiles = bundles.profiles(paths)?;
    let facts = NodeFacts {
        name,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        runtime: "native".to_owned(),
        specs: options.specs.to_string(),
    };
    let build = metrics::Build {
        version: facts.version.clone(),
        runtime: facts.runtime.clone(),
    };
    let edges = Edges {
        runtime: Arc::clone(&runtime),
        profiles: Arc::new(profiles),
        journal: LedgerJournal::open(ledger.clone(), anchors.board(), Arc::clone(alerts.outbox()))
            .map_err(|error| DaemonError::system("cannot read the ledger", error))?,
        senses: Arc::new(RealSenses::new(
            Arc::clone(&runtime),
            Arc::clone(&clock),
            Arc::clone(&scrubber),
        )),
        clock: Arc::clone(&clock),
        ids: Box::new(fresh_id),
        offload: Offload::Thread,
    };
    let (mut reconciler, handle) = Reconciler::new(edges, facts);
    if let Some(system) = system {
        reconciler = reconciler.with_system(system);
    }
    let notifications = listen_to_agents(notifications, &runtime, &reconciler, clock);
    handover::store(&manager, || notifications.share());
    let source = api::source::LedgerSource::new(ledger.clone())
        .map_err(|error| DaemonError::system("cannot read the ledger", error))?;
    let source: Arc<dyn api::EntrySource> = Arc::new(source);
    let measures = Arc::new(api::Measures::new(Arc::new(api::RuntimeGauge::new(
        Arc::clone(&runtime),
    ))));
    let metrics = Arc::new(Metrics {
        build,
        meters: reconciler.meters(),
        handle: handle.clone(),
        measures: Arc::clone(&measures),
        ledger: Arc::clone(&source),
        anchors: anchors.board(),
        board: reconciler.board().clone(),
    });
    let (metrics_at, wanted) = channel::channel(None);
    tokio::spawn(metrics::listen::run(Arc::clone(&metrics), wanted));
    let restored = reconciler.restore().await;
    restored.map_err(|why| DaemonError::system("cannot take over from the last daemon", why))?;
    if let Err(why) = &first
        && reconciler.known().is_empty()
    {
        return Err(DaemonError::Specs(why.clone()));
    }
    let listener = listen(paths)?;
    let (shutdown, shutdown_seen) = channel::channel(false);
    let authorizer = authorizer(&runtime);
    let feed = specs::Feed {
        specs: options.specs,
        load: options.load,
        handle: handle.clone(),
        authorizer: authorizer.clone(),
        anchors: anchors.clone(),
        alerts: alerts.clone(),
        metrics_at,
        news,
    };
    // Before the first question can come: who asks is told of the agents that are declared.
    feed.tell(first).await;
    let served = tokio::spawn(api::serve(ApiOptions {
        listener,
        handle: handle.clone(),
        ledger: source,
        logs: api::LogFiles {
            directory: paths.logs.clone(),
        },
        measures,
        metrics,
        authorizer,
        alerts: Some(alerts.clone()),
        shutdown: shutdown_seen,
    }));
    let loop_ended = loop_thread.scheduler().spawn(reconciler.run());
    tokio::spawn(feed.run());
    let mut socket = None;
    let hand_over = || match notifications.hand_over() {
        Ok(handed) => socket = Some(handed),
        Err(error) => tracing::warn!(%error, "the notify socket cannot be handed on"),
    };
    let keep = options.keep_agents;
    let ending = ends::wait(signals, &manager, &handle, keep, loop_ended, hand_over).await;
    // The API ends by itself when it hears of the shutdown; a failure of it is on record there.
    let _ = shutdown.send(true);
    if let Ok(Err(error)) = served.await {
        tracing::error!(error = %chain(&error), "the API failed");
    }
    anchors.stop();
    alerts.stop();
    ledger.shutdown().await;
    drop(lock);
    ending.map(|ending| (ending, socket))
}

/// Takes in what agents say, for as long as the daemon lives.
fn listen_to_agents(
    socket: NotifySocket,
    runtime: &Arc<NativeRuntime>,
    reconciler: &Reconciler<NativeRuntime, SymlinkProfiles, LedgerJournal>,
    clock: Arc<dyn Clock>,
) -> Arc<Notify<NativeRuntime>> {
    let board = reconciler.board().clone();
    let listener = Notify::new(socket, Arc::clone(runtime), board, clock);
    let before_ends = Arc::downgrade(&listener);
    runtime.listen_before_ends(move || notify::drain(&before_ends));
    let listening = Arc::clone(&listener);
    tokio::spawn(async move { listening.run().await });
    listener
}

/// 128 random bits of the kernel. An early boot that has none yet is waited for.
fn fresh_id() -> InvocationId {
    let mut bytes = [0; 16];
    while getrandom(&mut bytes, GetRandomFlags::empty()) != Ok(bytes.len()) {}
    InvocationId(bytes)
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

fn node_name(specs: &SpecsRead) -> String {
    let declared = specs.as_ref().ok().and_then(|loaded| loaded.node.as_ref());
    let declared = declared.and_then(|node| node.node.name.clone());
    declared.unwrap_or_else(|| {
        rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned()
    })
}

fn open_ledger(
    options: &DaemonOptions,
    node: &str,
    clock: &Arc<dyn Clock>,
    scrubber: &Arc<Scrubber>,
    cadence: Cadence,
) -> Result<Opened<Ledger>, DaemonError> {
    let path = options
        .ledger
        .clone()
        .unwrap_or_else(|| options.paths.ledger());
    let mut open = OpenOptions::new(node, Arc::clone(clock));
    open.scrubber = Arc::clone(scrubber);
    open.signing = Some(SigningOptions {
        key: options.paths.ledger_key(),
        cadence,
    });
    let opened = Ledger::open_or_reset(&path, open)
        .map_err(|error| DaemonError::system(format!("cannot open {}", path.display()), error))?;
    let resumed = opened.ledger.clone();
    tokio::task::spawn_blocking(move || {
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

fn open_runtime(
    paths: &Paths,
    clock: &Arc<dyn Clock>,
    scrubber: &Arc<Scrubber>,
) -> Result<NativeRuntime, DaemonError> {
    let mut native = NativeOptions::new(
        paths.runtime.clone(),
        paths.logs.clone(),
        paths.state.clone(),
        Arc::clone(clock),
    );
    native.notify_socket = Some(paths.notify());
    let scrubber = Arc::clone(scrubber);
    native.on_credential = Some(Arc::new(move |agent, name, value: &[u8]| {
        scrubber.learn(&format!("{agent}/{name}"), value);
    }));
    NativeRuntime::open(native).map_err(|error| match error {
        OpenError::Held { .. } => DaemonError::Taken(format!(
            "{error}; stop that one, or name another directory with --runtime-dir"
        )),
        other => DaemonError::system("cannot open the native runtime", other),
    })
}

fn listen(paths: &Paths) -> Result<Listener, DaemonError> {
    Listener::bind(&paths.socket()).map_err(|error| match error {
        api::ApiError::Taken { .. } => DaemonError::Taken(error.to_string()),
        other => DaemonError::system("cannot serve the API", other),
    })
}

fn authorizer(runtime: &Arc<NativeRuntime>) -> Authorizer {
    let runtime = Arc::clone(runtime);
    let in_agent_tree = Arc::new(move |pid| runtime.is_in_agent_tree(pid));
    Authorizer::new(rustix::process::geteuid().as_raw(), in_agent_tree)
}

/// Sets who may act besides root and the daemon's own user.
fn set_operators(authorizer: &Authorizer, node: Option<&Node>) {
    let operators = node.map(|node| node.operators.clone()).unwrap_or_default();
    for unknown in authorizer.set_operators(&operators) {
        tracing::warn!(operator = unknown, "no such user or group on this host");
    }
}
