//! Agents as children of the daemon, on any Linux (5.10 or later), with or without systemd.
//!
//! Start with [`NativeRuntime::open`] and its [`Runtime`] implementation. The rooms:
//! - a start: `launch` (its steps), `user`, `environment`, `credentials`, `logs`, and `sys`, the
//!   only unsafe code, which makes the child;
//! - an end: `process` (the pidfd), `tree` (everything the instance started), `cgroup`;
//! - a new daemon: `lock` (one at a time), `note` (what instances leave), `adopt`;
//! - `delegation` finds where cgroups may be made, `table` is what is known in memory.
//!
//! Invariants: an agent's child leaves its note before its exec, under a lock that the next
//! daemon has to get first, so no instance is ever invisible; a tree is killed before its main
//! process is reaped, and waited for before the next start; nothing is polled.

mod adopt;
mod cgroup;
mod credentials;
mod delegation;
mod environment;
mod launch;
mod lock;
mod logs;
mod membership;
mod note;
mod options;
mod process;
mod procfs;
mod sys;
mod table;
mod tree;
mod user;

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::{fd::OwnedFd, unix::fs::DirBuilderExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use osmoda_core::{
    name::AgentName,
    observed::{Exit, Instance, InstanceState, InvocationId, Observation},
    spec::{Signal, Stop},
};
use tokio::{
    sync::{Semaphore, mpsc},
    task::spawn_blocking,
    time::timeout,
};

use crate::{ObserveError, Runtime, RuntimeEvent, StartError, StartRequest, StopError, Stopped};

use self::{
    process::Process,
    table::{Latest, Table},
    tree::{END_WAIT, Tree},
};

pub use self::{
    credentials::{CREDENTIAL_MAX, CredentialHook},
    delegation::{Cgroups, Enforcement},
    environment::DEFAULT_PATH,
    logs::{LogFiles, PREVIOUS_RUNS, RUN_LOG_MAX, log_files, tail},
    options::{NativeOptions, OpenError},
};

/// Most starts that are in their blocking part at once. Each holds a thread until its exec.
const STARTS_AT_ONCE: usize = 8;

/// Most log files whose size one [`Runtime::observe`] looks at; the next one goes on from there.
const LOG_CHECKS_PER_OBSERVE: usize = 1000;

/// Runs agents as children of this process.
pub struct NativeRuntime {
    shared: Arc<Shared>,
}

/// What the runtime and the starts under way have in common.
struct Shared {
    options: NativeOptions,
    enforcement: Enforcement,
    instances_dir: PathBuf,
    /// Locked; the notes are written relative to it.
    instances: OwnedFd,
    null: File,
    /// The daemon has a negative oom_score_adj, which agents must not inherit.
    protected_from_oom: bool,
    table: Table,
    starts: Semaphore,
    events: Mutex<Option<mpsc::UnboundedSender<RuntimeEvent>>>,
    next_log_check: AtomicU64,
    output_lost: AtomicU64,
}

impl NativeRuntime {
    /// Makes this process the one daemon of `options.runtime_dir` and adopts what a former one
    /// left running. Blocks for up to 2 s if a former daemon's last child is still on its way to
    /// its exec. Has to be called inside a tokio runtime with I/O and time enabled.
    ///
    /// # Errors
    /// [`OpenError::Held`] says who else is at work there; the others, what could not be set up.
    pub fn open(options: NativeOptions) -> Result<Self, OpenError> {
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(OpenError::NoAsyncRuntime);
        }
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
            starts: Semaphore::new(STARTS_AT_ONCE),
            events: Mutex::new(None),
            next_log_check: AtomicU64::new(0),
            output_lost: AtomicU64::new(0),
            options,
            instances_dir,
        });
        adopt::adopt_all(&shared)
            .map_err(failed("adopt what is noted in", &shared.instances_dir))?;
        Ok(Self { shared })
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
    /// Goes on to its end even if the future is dropped.
    async fn start(&self, request: StartRequest) -> Result<Instance, StartError> {
        let start = tokio::spawn(start(Arc::clone(&self.shared), request));
        start
            .await
            .unwrap_or_else(|error| Err(thread_failed(error)))
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

    fn inspect(&self, agent: &AgentName) -> Observation<Option<Instance>> {
        Observation::Known(self.shared.table.instance(agent))
    }

    async fn observe(&self) -> Result<Vec<Instance>, ObserveError> {
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

async fn start(shared: Arc<Shared>, request: StartRequest) -> Result<Instance, StartError> {
    let agent = request.agent.clone();
    let _gate = shared.table.gate(&agent).lock_owned().await;
    let former = match shared.table.latest(&agent) {
        Some(latest) => Some(shared.ended_or_refused(&agent, latest).await?),
        None => None,
    };
    let _permit = shared
        .starts
        .acquire()
        .await
        .map_err(|error| StartError::System {
            what: "cannot start while shutting down".to_owned(),
            source: io::Error::other(error),
        })?;
    let (launched, request) = spawn_blocking({
        let shared = Arc::clone(&shared);
        move || (launch::launch(&shared, &request, former.as_ref()), request)
    })
    .await
    .map_err(thread_failed)?;
    let launched = launched?;
    let instance = Instance {
        agent: agent.clone(),
        invocation: request.invocation,
        generation: request.generation,
        started_at: launched.started_at,
        state: InstanceState::Running { pid: launched.pid },
        adopted: false,
    };
    let tree = launched.tree.clone();
    match Process::new(launched.pid, launched.pidfd, launched.tree) {
        Ok(process) => {
            shared.watch(&agent, instance.clone(), process);
            Ok(instance)
        }
        Err(source) => {
            let _ = kill_rest(tree).await; // an instance that cannot be watched must not live
            let what = "cannot watch the new process".to_owned();
            Err(StartError::System { what, source })
        }
    }
}

impl Shared {
    fn home(&self, agent: &AgentName) -> PathBuf {
        self.options.state_dir.join("agents").join(agent.as_str())
    }

    /// Registers a running instance and waits for its end in the background.
    fn watch(self: &Arc<Self>, agent: &AgentName, instance: Instance, process: Process) {
        let process = Arc::new(process);
        let latest = Latest {
            tree: process.tree.clone(),
            process: Some(Arc::clone(&process)),
            instance,
        };
        let invocation = latest.instance.invocation;
        // Registered first: an end that is seen at once must find its instance.
        self.table.put(agent, latest);
        let watcher = tokio::spawn(watch(
            Arc::downgrade(self),
            agent.clone(),
            invocation,
            process,
        ));
        self.table.set_watcher(agent, watcher.abort_handle());
    }

    /// Waits for the end of a main process and makes it known.
    async fn conclude(
        &self,
        agent: &AgentName,
        invocation: InvocationId,
        process: &Process,
    ) -> Exit {
        let exit = process.exit(&*self.options.clock).await;
        self.table.record_exit(agent, invocation, &exit);
        exit
    }

    /// What is left of an instance that has ended; one that lives refuses the next start.
    async fn ended_or_refused(
        &self,
        agent: &AgentName,
        latest: Latest,
    ) -> Result<Tree, StartError> {
        if let Some(process) = &latest.process {
            if !process.has_ended() {
                let (agent, pid) = (agent.clone(), process.pid);
                return Err(StartError::AlreadyRunning { agent, pid });
            }
            self.conclude(agent, latest.instance.invocation, process)
                .await;
        }
        Ok(latest.tree)
    }

    /// Asks a process tree to end, then makes it.
    async fn end(
        &self,
        agent: &AgentName,
        invocation: InvocationId,
        process: &Process,
        stop: &Stop,
    ) -> Result<Stopped, StopError> {
        if !process.has_ended() {
            signal_all(process, stop.signal).await?;
        }
        let in_grace = timeout(stop.grace_period.get(), process.ended()).await;
        let killed = in_grace.is_err();
        if killed {
            let what = "cannot kill the main process";
            process
                .signal(Signal::KILL)
                .map_err(|error| stop_failed(what, error))?;
            kill_rest(process.tree.clone()).await?;
            let ended = timeout(END_WAIT, process.ended()).await;
            ended.map_err(|_| stop_failed(what, io::ErrorKind::TimedOut))?;
        }
        let exit = self.conclude(agent, invocation, process).await;
        Ok(Stopped { exit, killed })
    }

    /// Credentials of an instance that was stopped; those of a newer start stay.
    async fn remove_credentials(&self, agent: &AgentName, invocation: InvocationId) {
        let _gate = self.table.gate(agent).lock_owned().await;
        let instance = self.table.instance(agent);
        if instance.is_none_or(|latest| latest.invocation != invocation) {
            return;
        }
        if let Err(error) = credentials::remove(&self.options.runtime_dir, agent) {
            tracing::warn!(%agent, %error, "cannot remove the credentials of a stopped agent");
        }
    }

    /// Removes every trace of an agent but its output and its own directory.
    fn forget(&self, agent: &AgentName) {
        let cgroup = match self.table.latest(agent).map(|latest| latest.tree) {
            Some(Tree::Cgroup(cgroup)) => Some(cgroup),
            _ => launch::agent_cgroup(self, agent),
        };
        let removed = [
            note::remove(&self.instances_dir, agent),
            credentials::remove(&self.options.runtime_dir, agent),
            cgroup.map_or(Ok(()), |cgroup| cgroup.remove()),
        ];
        for error in removed.into_iter().filter_map(Result::err) {
            tracing::warn!(%agent, %error, "cannot remove all that is left of an agent");
        }
        self.table.remove(agent);
    }

    /// Cuts files of runs that write too much, a bounded number at a time, and reaps orphans
    /// where they come to this process.
    fn tidy(&self, running: &[(AgentName, InvocationId, Arc<Process>)]) {
        if running.is_empty() {
            return;
        }
        let checks = running.len().min(LOG_CHECKS_PER_OBSERVE);
        let from = self
            .next_log_check
            .fetch_add(checks as u64, Ordering::Relaxed) as usize;
        for (agent, _, _) in running
            .iter()
            .cycle()
            .skip(from % running.len())
            .take(checks)
        {
            match log_files(&self.options.log_dir, agent).cut_if_large(RUN_LOG_MAX) {
                Ok(None) => {}
                Ok(Some(lost)) => {
                    self.output_lost.fetch_add(lost, Ordering::Relaxed);
                    tracing::info!(%agent, lost, "cut the output of a long run");
                }
                Err(error) => tracing::warn!(%agent, %error, "cannot cut the output of a long run"),
            }
        }
        if self.enforcement.cgroup.is_none() || std::process::id() == 1 {
            let mains: Vec<u32> = running.iter().map(|(_, _, process)| process.pid).collect();
            tree::reap_orphans(&mains);
        }
    }

    fn announce(&self, agent: AgentName) {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(events) = &*events {
            let _ = events.send(RuntimeEvent::Changed(agent)); // the loop has gone: nobody to tell
        }
    }
}

/// Holds no claim on the runtime while it waits, so that dropping that frees the lock at once.
async fn watch(
    shared: Weak<Shared>,
    agent: AgentName,
    invocation: InvocationId,
    process: Arc<Process>,
) {
    process.ended().await;
    if let Some(shared) = shared.upgrade() {
        shared.conclude(&agent, invocation, &process).await;
        shared.announce(agent);
    }
}

/// The signal reaches each process once; a stopped one is continued so that it can act on it.
async fn signal_all(process: &Process, signal: Signal) -> Result<(), StopError> {
    let tree = process.tree.clone();
    let send = move || {
        let reached = tree.signal(signal)?;
        tree.signal(Signal(libc::SIGCONT))?;
        io::Result::Ok(reached)
    };
    let what = "cannot signal the process tree";
    let reached = spawn_blocking(send)
        .await
        .map_err(|error| stop_failed(what, io::Error::other(error)))?;
    let reached = reached.map_err(|error| stop_failed(what, error))?;
    if reached.contains(&process.pid) {
        return Ok(());
    }
    // It has left its cgroup or session; its pidfd still holds it.
    process
        .signal(signal)
        .map_err(|error| stop_failed(what, error))
}

/// Kills what lives of a tree, and waits until nothing does.
async fn kill_rest(tree: Tree) -> Result<(), StopError> {
    let what = "cannot end the whole process tree";
    match spawn_blocking(move || tree.kill_and_wait(END_WAIT)).await {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => Err(stop_failed(what, io::ErrorKind::TimedOut)),
        Ok(Err(error)) => Err(stop_failed(what, error)),
        Err(error) => Err(stop_failed(what, io::Error::other(error))),
    }
}

fn stop_failed(what: &str, source: impl Into<io::Error>) -> StopError {
    StopError::System {
        what: what.to_owned(),
        source: source.into(),
    }
}

fn thread_failed(error: tokio::task::JoinError) -> StartError {
    StartError::System {
        what: "the start was broken off".to_owned(),
        source: io::Error::other(error),
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
