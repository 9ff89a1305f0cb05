//! The daemon at work over one runtime, from its opening to the end.
//!
//! Where to start: [`work`].

use std::{os::fd::OwnedFd, path::PathBuf, sync::Arc};

use osmoda_core::{observed::InvocationId, spec::Node, time::Clock};
use osmoda_nix::profiles::SymlinkProfiles;
use rustix::rand::{GetRandomFlags, getrandom};
use tokio::sync::watch as channel;

use super::{
    DaemonError,
    ends::{self, Ending},
    first::First,
    ground::Ground,
    handover,
    host_runtime::HostRuntime,
    ledger::LedgerJournal,
    specs, system,
};
use crate::{
    api::{self, ApiOptions, Authorizer, EntrySource, Listener},
    detect::{
        notify::{self, Notify, socket::NotifySocket},
        senses::RealSenses,
    },
    error::chain,
    handle::Handle,
    metrics::{self, Metrics},
    paths::Paths,
    reconcile::{Edges, NodeFacts, Reconciler, act::Offload},
    specs::{Loaded, LoadedAgent},
};

type Loop<R> = Reconciler<R, SymlinkProfiles, LedgerJournal>;

/// Puts the loop together with `runtime` and all that is on the ground, and works until a signal.
/// Gives how it ended and, for the program that follows in this process, the notify socket.
///
/// # Errors
/// [`DaemonError`].
pub(super) async fn work<R: HostRuntime>(
    runtime: R,
    mut ground: Ground,
    given: Option<OwnedFd>,
) -> Result<(Ending, Option<OwnedFd>), DaemonError> {
    let runtime = Arc::new(runtime);
    let paths = ground.options.paths.clone();
    // Before anything else: what agents say while this daemon begins waits there.
    let notifications = handover::socket(given, &paths.notify()).map_err(|error| {
        DaemonError::system(
            format!("cannot listen on {}", paths.notify().display()),
            error,
        )
    })?;
    let (mut reconciler, handle) = prepare_loop(&mut ground, &runtime).await?;
    let notifications = listen_to_agents(notifications, &runtime, &reconciler, &ground.clock);
    handover::store(&ground.manager, || notifications.share());
    let source = entries(&ground)?;
    let (metrics, metrics_at) = measure(&ground, &runtime, &reconciler, &handle, &source);
    let restored = reconciler.restore().await;
    restored.map_err(|why| DaemonError::system("cannot take over from the last daemon", why))?;
    if reconciler.known().is_empty() {
        ground.first = ground.first.settled().await;
        if let First::Read(Err(why)) = &ground.first {
            return Err(DaemonError::Specs(why.clone()));
        }
    }
    let in_force = in_force(&mut reconciler, &ground.first);
    let listener = listen(&paths)?;
    let (shutdown, shutdown_seen) = channel::channel(false);
    let authorizer = authorizer(&runtime);
    let Ground {
        options,
        signals,
        manager,
        beginning,
        lock,
        news,
        first,
        ledger,
        alerts,
        anchors,
        loop_thread,
        ..
    } = ground;
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
    let late = feed.begin(first, &in_force).await;
    let served = tokio::spawn(api::serve(ApiOptions {
        listener,
        handle: handle.clone(),
        ledger: source,
        logs: runtime.logs(&paths),
        measures: Arc::clone(&metrics.measures),
        metrics,
        authorizer,
        alerts: Some(alerts.clone()),
        shutdown: shutdown_seen,
    }));
    let loop_ended = loop_thread.scheduler().spawn(reconciler.run());
    tokio::spawn(feed.run(late));
    let mut socket = None;
    let hand_over = || match notifications.hand_over() {
        Ok(handed) => socket = Some(handed),
        Err(error) => tracing::warn!(%error, "the notify socket cannot be handed on"),
    };
    let keep = options.keep_agents || R::OUTLIVES_DAEMON;
    drop(beginning);
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

/// The loop with its edges, and the way to it.
async fn prepare_loop<R: HostRuntime>(
    ground: &mut Ground,
    runtime: &Arc<R>,
) -> Result<(Loop<R>, Handle), DaemonError> {
    let options = &ground.options;
    let bundles = match (&mut ground.bundles).await {
        Ok(found) => found.map_err(DaemonError::Refused)?,
        Err(error) => return Err(DaemonError::system("cannot look for a Nix store", error)),
    };
    let system = system::of_machine(&options.system_root, &options.paths, &bundles);
    let profiles = bundles.profiles(&options.paths)?;
    let facts = NodeFacts {
        name: ground.name.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        runtime: R::NAME.to_owned(),
        specs: options.specs.to_string(),
    };
    let journal = LedgerJournal::open(
        ground.ledger.clone(),
        ground.anchors.board(),
        Arc::clone(ground.alerts.outbox()),
    );
    let edges = Edges {
        runtime: Arc::clone(runtime),
        profiles: Arc::new(profiles),
        journal: journal.map_err(|error| DaemonError::system("cannot read the ledger", error))?,
        senses: Arc::new(RealSenses::new(
            Arc::clone(runtime),
            Arc::clone(&ground.clock),
            Arc::clone(&ground.scrubber),
        )),
        clock: Arc::clone(&ground.clock),
        ids: Box::new(fresh_id),
        offload: Offload::Thread,
    };
    let (mut reconciler, handle) = Reconciler::new(edges, facts);
    if let Some(system) = system {
        reconciler = reconciler.with_system(system);
    }
    Ok((reconciler, handle))
}

/// The ledger, to be read by the API.
fn entries(ground: &Ground) -> Result<Arc<dyn EntrySource>, DaemonError> {
    let source = api::source::LedgerSource::new(ground.ledger.clone());
    let source = source.map_err(|error| DaemonError::system("cannot read the ledger", error))?;
    Ok(Arc::new(source))
}

/// What /metrics shows, and where it is told to serve it over TCP.
fn measure<R: HostRuntime>(
    ground: &Ground,
    runtime: &Arc<R>,
    reconciler: &Loop<R>,
    handle: &Handle,
    source: &Arc<dyn EntrySource>,
) -> (Arc<Metrics>, channel::Sender<Option<std::net::SocketAddr>>) {
    let gauge = api::RuntimeGauge::new(Arc::clone(runtime));
    let metrics = Arc::new(Metrics {
        build: metrics::Build {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            runtime: R::NAME.to_owned(),
        },
        meters: reconciler.meters(),
        handle: handle.clone(),
        measures: Arc::new(api::Measures::new(Arc::new(gauge))),
        ledger: Arc::clone(source),
        anchors: ground.anchors.board(),
        board: reconciler.board().clone(),
    });
    let (metrics_at, wanted) = channel::channel(None);
    tokio::spawn(metrics::listen::run(Arc::clone(&metrics), wanted));
    (metrics, metrics_at)
}

/// The last valid specs, by which agents are supervised while the specs are still being read.
fn in_force<R: HostRuntime>(reconciler: &mut Loop<R>, first: &First) -> Loaded {
    let First::Late { last, .. } = first else {
        return Loaded::default();
    };
    let declared = reconciler.carry_on().into_iter();
    let agents = declared.map(|(name, agent)| {
        let loaded = LoadedAgent {
            agent,
            file: PathBuf::new(),
            recipe: None,
        };
        (name, loaded)
    });
    Loaded {
        agents: agents.collect(),
        node: last.as_ref().and_then(|last| last.node.clone()),
        ..Loaded::default()
    }
}

/// Takes in what agents say, for as long as the daemon lives.
fn listen_to_agents<R: HostRuntime>(
    socket: NotifySocket,
    runtime: &Arc<R>,
    reconciler: &Loop<R>,
    clock: &Arc<dyn Clock>,
) -> Arc<Notify<R>> {
    let board = reconciler.board().clone();
    if let Some(bound_as) = socket.bound_anew_as() {
        for agent in runtime.reconnect_senders(&bound_as) {
            tracing::info!(%agent, "its connection to the notify socket was made anew");
        }
    }
    let listener = Notify::new(socket, Arc::clone(runtime), board, Arc::clone(clock));
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

fn listen(paths: &Paths) -> Result<Listener, DaemonError> {
    Listener::bind(&paths.socket()).map_err(|error| match error {
        api::ApiError::Taken { .. } => DaemonError::Taken(error.to_string()),
        other => DaemonError::system("cannot serve the API", other),
    })
}

fn authorizer<R: HostRuntime>(runtime: &Arc<R>) -> Authorizer {
    let runtime = Arc::clone(runtime);
    let in_agent_tree = Arc::new(move |pid| runtime.is_in_agent_tree(pid));
    Authorizer::new(rustix::process::geteuid().as_raw(), in_agent_tree)
}

/// Sets who may act besides root and the daemon's own user.
pub(super) fn set_operators(authorizer: &Authorizer, node: Option<&Node>) {
    let operators = node.map(|node| node.operators.clone()).unwrap_or_default();
    for unknown in authorizer.set_operators(&operators) {
        tracing::warn!(operator = unknown, "no such user or group on this host");
    }
}
