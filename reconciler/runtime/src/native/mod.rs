//! Agents as children of the daemon, on any Linux (5.10 or later), with or without systemd.
//!
//! Start with [`NativeRuntime::open`] and its [`Runtime`] implementation. The rooms:
//! - a start: `start` (its two parts), `launchers` (the threads they are done on), `launch` (its
//!   steps), `user`, `environment`, `credentials`, `logs`, `memories`, and `sys`, the only unsafe
//!   code, which makes the child;
//! - an end: `process` (the pidfd), `tree` (everything the instance started), `cgroup`;
//! - a message: `membership` (whose it is), `main_process` (MAINPID=), `output`;
//! - `shared` is the work between those: a start or an end as a whole;
//! - a new daemon: `lock` (one at a time), `note` (what instances leave), `adopt`;
//! - before any of that: `survey`, what the host offers;
//! - `probe` runs commands that ask after an instance, beside its tree and never in it;
//! - `delegation` finds where cgroups may be made, `table` is what is known in memory.
//!
//! Invariants: an agent's child leaves its note before its exec, under a lock that the next
//! daemon has to get first, so no instance is ever invisible; a tree is killed before its main
//! process is reaped, and waited for before the next start; nothing is polled.

mod adopt;
mod apart;
pub(crate) mod cgroup;
pub(crate) mod credentials;
mod delegation;
pub(crate) mod environment;
mod launch;
mod launchers;
pub(crate) mod lock;
mod logs;
pub(crate) mod main_process;
pub(crate) mod membership;
mod memories;
pub(crate) mod note;
mod options;
mod output;
pub(crate) mod probe;
pub(crate) mod process;
pub(crate) mod procfs;
mod reconnect;
pub(crate) mod shared;
mod start;
pub mod survey;
pub(crate) mod sys;
pub(crate) mod table;
pub(crate) mod tree;
pub(crate) mod usage;
pub(crate) mod user;

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, OpenOptions},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use osmoda_core::{
    name::AgentName,
    observed::{Instance, InstanceState, InvocationId, Limits, Observation},
    resources::Usage,
    spec::{AgentSpec, Stop},
    time::Mono,
};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, mpsc},
};

use crate::{
    MainPidError, ObserveError, ProbeEnd, ProbeError, ProbeRequest, Runtime, RuntimeEvent, Sender,
    StartRequest, StopError, Stopped, blocking::spawn_blocking,
};

use self::{
    launchers::Launchers,
    memories::ChildMemories,
    shared::{Shared, kill_rest, stop_failed},
    start::Start,
    table::Table,
    tree::Tree,
};

pub use self::{
    credentials::{CREDENTIAL_MAX, CredentialHook},
    delegation::{Cgroups, Enforcement},
    environment::{DEFAULT_PATH, find_program},
    logs::{LogFiles, PREVIOUS_RUNS, RUN_LOG_MAX, log_files, tail},
    options::{NativeOptions, OpenError},
    output::stamp,
    sys::{
        heap::share_one_heap,
        inherited::inherited,
        receive::{Datagram, identify_senders, receive},
    },
};

/// Looks at the use of trees at once: without cgroups each is a walk of /proc, and those who ask
/// more often than that can be answered get their answers later.
const LOOKS_AT_ONCE: usize = 1;

/// Runs agents as children of this process.
pub struct NativeRuntime {
    shared: Arc<Shared>,
    looks: Semaphore,
}

impl NativeRuntime {
    /// Makes this process the one daemon of `options.runtime_dir` and adopts what a former one
    /// left running. Blocks for up to 2 s if a former daemon's last child is still on its way to
    /// its exec. Has to be called inside a tokio runtime with I/O and time enabled.
    ///
    /// # Errors
    /// [`OpenError::Held`] says who else is at work there; the others, what could not be set up.
    pub fn open(options: NativeOptions) -> Result<Self, OpenError> {
        let scheduler = Handle::try_current().map_err(|_| OpenError::NoAsyncRuntime)?;
        let instances_dir = options.runtime_dir.join("instances");
        create(&instances_dir, 0o700)?;
        create(&options.state_dir.join("agents"), 0o711)?;
        let instances = lock::lock(&instances_dir).map_err(|error| match error {
            lock::LockError::Held(holder) => OpenError::Held {
                directory: instances_dir.clone(),
                holder,
            },
            lock::LockError::Io(source) => failed("lock", &instances_dir)(source),
        })?;
        let enforcement = delegation::prepare(&options.cgroups, &options.state_dir);
        if let Some(reason) = &enforcement.reason {
            tracing::info!(reason, "not everything can be enforced here");
        }
        if enforcement.cgroup.is_none() {
            become_subreaper();
        }
        let null = Path::new("/dev/null");
        let shared = Arc::new(Shared {
            enforcement,
            instances,
            null: OpenOptions::new()
                .read(true)
                .open(null)
                .map_err(failed("open", null))?,
            protected_from_oom: is_protected_from_oom(),
            table: Table::default(),
            probes: Arc::default(),
            launchers: Launchers::new(sys::heap::give_back),
            memories: ChildMemories::default(),
            scheduler,
            events: Mutex::new(None),
            next_log_check: AtomicU64::new(0),
            output_lost: AtomicU64::new(0),
            cgroup_ids: membership::CgroupIds::default(),
            output_looks: output::OutputLooks::default(),
            before_ends: OnceLock::new(),
            options,
            instances_dir,
        });
        probe::sweep(&shared);
        adopt::adopt_all(&shared)
            .map_err(failed("adopt what is noted in", &shared.instances_dir))?;
        Ok(Self {
            shared,
            looks: Semaphore::new(LOOKS_AT_ONCE),
        })
    }

    /// Says how what agents have sent is taken in before the end of a main process is judged; once.
    pub fn listen_before_ends(&self, listen: impl Fn() + Send + Sync + 'static) {
        let _ = self.shared.before_ends.set(Box::new(listen)); // the first one stays
    }

    /// What this host lets the runtime enforce.
    pub fn enforcement(&self) -> &Enforcement {
        &self.shared.enforcement
    }

    /// Where an agent's output is; [`log_files`] tells without a daemon.
    pub fn log_files(&self, agent: &AgentName) -> LogFiles {
        log_files(&self.shared.options.log_dir, agent)
    }

    /// Bytes of output lost so far when files of a single run were cut.
    pub fn output_lost(&self) -> u64 {
        self.shared.output_lost.load(Ordering::Relaxed)
    }

    /// Pids of an agent's living processes. With a cgroup one small read, else a walk of /proc.
    ///
    /// # Errors
    /// /proc cannot be read.
    pub fn pids(&self, agent: &AgentName) -> io::Result<Vec<u32>> {
        match self.shared.table.latest(agent) {
            Some(latest) => latest.tree.pids(),
            None => Ok(Vec::new()),
        }
    }

    /// The cgroup of an agent's latest instance, if it has one.
    pub fn cgroup(&self, agent: &AgentName) -> Option<PathBuf> {
        match self.shared.table.latest(agent)?.tree {
            Tree::Cgroup(cgroup) => Some(cgroup.path().to_owned()),
            Tree::Session(_) => None,
        }
    }
}

impl Drop for NativeRuntime {
    /// Gives up watching and the lock; agents go on.
    fn drop(&mut self) {
        self.shared.table.clear();
    }
}

impl Runtime for NativeRuntime {
    type Prepared = Start;

    fn prepare(&self, request: StartRequest) -> Start {
        start::begin(&self.shared, request)
    }

    /// May be dropped and asked again at any time.
    async fn stop(
        &self,
        agent: &AgentName,
        invocation: InvocationId,
        stop: &Stop,
    ) -> Result<Stopped, StopError> {
        let latest = self.shared.table.latest(agent);
        let Some(latest) = latest.filter(|latest| latest.instance.invocation == invocation) else {
            let agent = agent.clone();
            return Err(StopError::NoSuchInstance { agent, invocation });
        };
        let stopped = match (&latest.process, &latest.instance.state) {
            (Some(process), _) => self.shared.end(agent, invocation, process, stop).await?,
            (None, InstanceState::Exited(exit)) => Stopped {
                exit: exit.clone(),
                killed: false,
            },
            (None, InstanceState::Running { .. }) => {
                return Err(stop_failed(
                    "cannot find the main process",
                    io::ErrorKind::NotFound,
                ));
            }
        };
        kill_rest(latest.tree).await?;
        self.shared.remove_credentials(agent, invocation).await;
        Ok(stopped)
    }

    async fn probe(&self, request: ProbeRequest) -> Result<ProbeEnd, ProbeError> {
        probe::run(&self.shared, request).await
    }

    fn inspect(&self, agent: &AgentName) -> Observation<Option<Instance>> {
        Observation::Known(self.shared.table.instance(agent))
    }

    async fn observe(&self) -> Result<Vec<Instance>, ObserveError> {
        self.shared.listen();
        let running = self.shared.table.processes();
        for (agent, invocation, process) in &running {
            if process.has_ended() {
                self.shared.conclude(agent, *invocation, process).await;
            }
        }
        let shared = Arc::clone(&self.shared);
        let tidy = spawn_blocking(move || shared.tidy(&running)).await;
        tidy.map_err(|error| ObserveError {
            what: "cannot look at the agents".to_owned(),
            source: io::Error::other(error),
        })?;
        Ok(self.shared.table.instances())
    }

    fn forget(&self, agent: &AgentName) {
        let gate = self.shared.table.gate(agent);
        let Ok(_held) = gate.try_lock() else { return };
        match self.shared.table.latest(agent) {
            Some(latest) if latest.process.is_some() => {}
            _ => self.shared.forget(agent),
        }
    }

    fn last_output(&self, agent: &AgentName, lines: usize, max_bytes: usize) -> Vec<String> {
        let current = self.log_files(agent).current;
        tail(&current, lines, max_bytes).unwrap_or_default()
    }

    async fn usage(&self, agent: &AgentName, invocation: InvocationId) -> io::Result<Usage> {
        let latest = self.shared.table.latest(agent);
        let latest = latest.filter(|latest| latest.instance.invocation == invocation);
        let process = latest
            .and_then(|latest| latest.process)
            .ok_or(io::ErrorKind::NotFound)?;
        let _look = self.looks.acquire().await.map_err(io::Error::other)?;
        let read = spawn_blocking(move || usage::read(&process)).await;
        read.map_err(io::Error::other)?
    }

    async fn limits(&self) -> BTreeMap<AgentName, Limits> {
        let processes = self.shared.table.processes().into_iter();
        let cgroups = processes.filter_map(|(agent, _, process)| match &process.tree {
            Tree::Cgroup(cgroup) => Some((agent, cgroup.clone())),
            Tree::Session(_) => None,
        });
        let cgroups: Vec<_> = cgroups.collect();
        let read = move || {
            let cgroups = cgroups.into_iter();
            cgroups
                .map(|(agent, cgroup)| (agent, cgroup.limits()))
                .collect()
        };
        // A runtime that shuts down knows nothing any more.
        spawn_blocking(read).await.unwrap_or_default()
    }

    fn unenforced(&self, spec: &AgentSpec) -> Vec<(&'static str, String)> {
        self.shared.enforcement.unenforced(spec)
    }

    fn owner(&self, sender: &Sender) -> Option<(AgentName, InvocationId)> {
        membership::owner(&self.shared, sender)
    }

    fn set_main_pid(
        &self,
        agent: &AgentName,
        invocation: InvocationId,
        pid: u32,
    ) -> Result<(), MainPidError> {
        main_process::set(&self.shared, agent, invocation, pid)
    }

    fn extend_stop(&self, agent: &AgentName, invocation: InvocationId, by: Duration) {
        let latest = self.shared.table.latest(agent);
        let latest = latest.filter(|latest| latest.instance.invocation == invocation);
        if let Some(process) = latest.and_then(|latest| latest.process) {
            process.extend_stop(by);
        }
    }

    async fn last_output_at(
        &self,
        agent: &AgentName,
        invocation: InvocationId,
    ) -> io::Result<Option<Mono>> {
        output::last_output_at(&self.shared, agent, invocation).await
    }

    fn subscribe(&self) -> mpsc::UnboundedReceiver<RuntimeEvent> {
        let (sender, receiver) = mpsc::unbounded_channel();
        *self
            .shared
            .events
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(sender);
        receiver
    }
}

fn create(directory: &Path, mode: u32) -> Result<(), OpenError> {
    let mut builder = DirBuilder::new();
    let made = builder.recursive(true).mode(mode).create(directory);
    made.map_err(failed("create", directory))
}

fn failed<'a>(verb: &'a str, path: &'a Path) -> impl Fn(io::Error) -> OpenError + 'a {
    move |source| OpenError::Io {
        what: format!("cannot {verb} {}", path.display()),
        source,
    }
}

/// Without cgroups, orphans of a tree have to come to this process to be found and reaped.
fn become_subreaper() {
    let me = rustix::process::getpid();
    if let Err(error) = rustix::process::set_child_subreaper(Some(me)) {
        tracing::warn!(%error, "orphaned processes of agents will not come to this process");
    }
}

fn is_protected_from_oom() -> bool {
    let score = fs::read_to_string("/proc/self/oom_score_adj");
    score.is_ok_and(|score| score.starts_with('-'))
}
