//! What the daemon's runtime and the work under way have in common, and that work but for starts
//! ([`super::start`]): an end from its signal to its record, and tidying up.

use std::{
    fs::File,
    io,
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use osmoda_core::{
    name::AgentName,
    observed::{Exit, Instance, InvocationId},
    spec::{Signal, Stop},
    time::Clock,
};
use tokio::{runtime::Handle, sync::mpsc, time::timeout};

use super::{
    credentials,
    delegation::Enforcement,
    launch,
    launchers::Launchers,
    logs::{RUN_LOG_MAX, log_files},
    membership::CgroupIds,
    memories::ChildMemories,
    note,
    options::NativeOptions,
    output::OutputLooks,
    probe::Probes,
    process::Process,
    table::{Latest, Table},
    tree::{self, END_WAIT, Tree},
};
use crate::{RuntimeEvent, StartError, StopError, Stopped, blocking::spawn_blocking};

/// Most log files whose size one [`Runtime::observe`] looks at; the next one goes on from there.
const LOG_CHECKS_PER_OBSERVE: usize = 1000;

/// How long after it became known an end has been dealt with.
const REAPED_AFTER: Duration = Duration::from_millis(2);

/// What the runtime and the starts under way have in common.
pub(super) struct Shared {
    pub options: NativeOptions,
    pub enforcement: Enforcement,
    pub instances_dir: PathBuf,
    /// Locked; the notes are written relative to it.
    pub instances: OwnedFd,
    pub null: File,
    /// The daemon has a negative oom_score_adj, which agents must not inherit.
    pub protected_from_oom: bool,
    pub table: Table,
    pub probes: Arc<Probes>,
    pub launchers: Launchers,
    pub memories: ChildMemories,
    /// Where ends of processes are waited for.
    pub scheduler: Handle,
    pub events: Mutex<Option<mpsc::UnboundedSender<RuntimeEvent>>>,
    pub next_log_check: AtomicU64,
    pub output_lost: AtomicU64,
    pub cgroup_ids: CgroupIds,
    pub output_looks: OutputLooks,
    /// Takes in what agents have sent before their ends are judged.
    pub before_ends: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl Shared {
    pub fn home(&self, agent: &AgentName) -> PathBuf {
        self.options.state_dir.join("agents").join(agent.as_str())
    }

    /// Registers a running instance and waits for its end in the background.
    pub fn watch(self: &Arc<Self>, agent: &AgentName, instance: Instance, process: Process) {
        let latest = Latest::running(instance, process);
        self.cgroup_ids.learn(agent, &latest.tree);
        // Registered first: an end that is seen at once must find its instance.
        self.table.put(agent, latest.clone());
        self.wait_for(agent, &latest);
    }

    /// Waits in the background for the end of a running instance that is registered.
    pub fn wait_for(self: &Arc<Self>, agent: &AgentName, latest: &Latest) {
        let Some(process) = &latest.process else {
            return;
        };
        let watcher = self.scheduler.spawn(watch(
            Arc::downgrade(self),
            Arc::clone(&self.options.clock),
            agent.clone(),
            latest.instance.invocation,
            Arc::clone(process),
        ));
        self.table.set_watcher(agent, watcher.abort_handle());
    }

    /// Waits for the end of a main process, makes it known and reaps it.
    pub async fn conclude(
        &self,
        agent: &AgentName,
        invocation: InvocationId,
        process: &Process,
    ) -> Exit {
        let exit = process.exit(&*self.options.clock).await;
        self.table.record_exit(agent, invocation, process, &exit);
        process.reap();
        exit
    }

    /// Takes in what agents have sent: one may have named another main process with its last
    /// breath.
    pub fn listen(&self) {
        if let Some(listen) = self.before_ends.get() {
            listen();
        }
    }

    /// What is left of an instance that has ended; one that lives refuses the next start.
    pub async fn ended_or_refused(
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
    pub async fn end(
        &self,
        agent: &AgentName,
        invocation: InvocationId,
        process: &Process,
        stop: &Stop,
    ) -> Result<Stopped, StopError> {
        process.begin_stop(stop.grace_period.get());
        if !process.has_ended() {
            signal_all(process, stop.signal).await?;
        }
        let killed = !process.ended_in_grace().await;
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
    pub async fn remove_credentials(&self, agent: &AgentName, invocation: InvocationId) {
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
    pub fn forget(&self, agent: &AgentName) {
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
        self.cgroup_ids.forget(agent);
        self.output_looks.forget(agent);
        self.table.remove(agent);
    }

    /// Cuts files of runs that write too much, a bounded number at a time, and reaps orphans
    /// where they come to this process.
    pub fn tidy(&self, running: &[(AgentName, InvocationId, Arc<Process>)]) {
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
            let mains = running.iter().map(|(_, _, process)| process.pid);
            self.probes.while_none_begins(|probes| {
                let mains: Vec<u32> = mains.chain(probes).collect();
                tree::reap_orphans(&mains);
            });
        }
    }

    fn announce(&self, agent: AgentName) {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(events) = &*events {
            let _ = events.send(RuntimeEvent::Changed(agent)); // the loop has gone: nobody to tell
        }
    }
}

/// Holds no claim on the runtime while it waits, neither for the end nor for the rest of the tree
/// to go, so that dropping the runtime frees the lock at once.
async fn watch(
    shared: Weak<Shared>,
    clock: Arc<dyn Clock>,
    agent: AgentName,
    invocation: InvocationId,
    process: Arc<Process>,
) {
    process.ended().await;
    if let Some(shared) = shared.upgrade() {
        shared.listen();
        if shared.table.is_replaced(&agent, &process) {
            process.reap();
            return;
        }
    }
    let exit = process.exit(&*clock).await;
    if let Some(shared) = shared.upgrade() {
        shared
            .table
            .record_exit(&agent, invocation, &process, &exit);
        shared.announce(agent);
    }
    // To free what is left of a process takes time that a restart would wait for.
    tokio::time::sleep(REAPED_AFTER).await;
    drop(process);
}

/// The signal reaches each process once; a stopped one is continued so that it can act on it.
pub(crate) async fn signal_all(process: &Process, signal: Signal) -> Result<(), StopError> {
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
pub(crate) async fn kill_rest(tree: Tree) -> Result<(), StopError> {
    let what = "cannot end the whole process tree";
    match spawn_blocking(move || tree.kill_and_wait(END_WAIT)).await {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => Err(stop_failed(what, io::ErrorKind::TimedOut)),
        Ok(Err(error)) => Err(stop_failed(what, error)),
        Err(error) => Err(stop_failed(what, io::Error::other(error))),
    }
}

pub(crate) fn stop_failed(what: &str, source: impl Into<io::Error>) -> StopError {
    StopError::System {
        what: what.to_owned(),
        source: source.into(),
    }
}

pub(super) fn thread_failed(error: tokio::task::JoinError) -> StartError {
    StartError::System {
        what: "the start was broken off".to_owned(),
        source: io::Error::other(error),
    }
}
