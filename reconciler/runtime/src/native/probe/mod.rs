//! Exec probes: a command run as its agent runs, and then gone with all it started.
//!
//! Invariants: a probe is never a part of an instance, neither by cgroup nor by session nor by
//! INVOCATION_ID, so that no start, stop, adoption or measurement of the agent takes it for one;
//! for the question who may act, it is the agent. It ends with its main process, at its timeout,
//! or when nobody waits for it any more, whichever comes first, and then all of it is killed.
//! What a dead daemon's probes left is killed by the next daemon ([`sweep`]).
//!
//! Where to start: [`run`].

mod launch;
mod registry;
mod sweep;

use std::{future::pending, io, sync::Arc};

use osmoda_core::{
    observed::{ExitStatus, Generation},
    time::Clock,
};
use tokio::{
    net::unix::pipe,
    sync::oneshot,
    time::{Instant, sleep_until, timeout},
};

use self::{
    launch::{Launched, launch},
    registry::Listing,
};
use super::{
    process::Process,
    shared::{Shared, thread_failed},
    tree::{END_WAIT, Tree},
};
use crate::{
    PROBE_OUTPUT_MAX, ProbeEnd, ProbeError, ProbeRequest, StartError, blocking::spawn_blocking,
};

pub(crate) use self::launch::{MARK, credential_variables};
pub(super) use self::{
    registry::Probes,
    sweep::{is_of_a_probe, sweep},
};

/// Bytes read from the output at once.
const READ_BYTES: usize = 4096;
/// Most bytes that are looked through for the end of the output once the probe has ended: what a
/// pipe holds (pipe(7)).
const REST_MAX: usize = 64 * 1024;

type Answer = oneshot::Sender<Result<ProbeEnd, ProbeError>>;

/// Runs a probe to its end. Dropped, it leaves nothing behind.
pub(super) async fn run(
    shared: &Arc<Shared>,
    request: ProbeRequest,
) -> Result<ProbeEnd, ProbeError> {
    let agent = &request.agent.name;
    let latest = shared.table.latest(agent);
    let running = latest.filter(|latest| {
        latest.process.is_some() && latest.instance.invocation == request.invocation
    });
    let Some(running) = running else {
        return Err(ProbeError::NotRunning {
            agent: agent.clone(),
            invocation: request.invocation,
        });
    };
    let (answer, answered) = oneshot::channel();
    let generation = running.instance.generation;
    tokio::spawn(attend(Arc::clone(shared), request, generation, answer));
    let broken_off = |_| {
        Err(ProbeError::Start(StartError::System {
            what: "the probe was broken off".to_owned(),
            source: io::ErrorKind::Interrupted.into(),
        }))
    };
    answered.await.unwrap_or_else(broken_off)
}

/// A task of its own, which sees to the end of the probe even if nobody waits for the answer.
async fn attend(shared: Arc<Shared>, request: ProbeRequest, from: Generation, mut answer: Answer) {
    let probes = Arc::clone(&shared.probes);
    let permit = tokio::select! {
        permit = probes.starts.acquire() => permit,
        () = answer.closed() => return,
    };
    // Its time begins now: that others were first is not its agent's fault.
    let deadline = Instant::now() + request.timeout;
    let clock = Arc::clone(&shared.options.clock);
    let mut launching = spawn_blocking(move || launch(&shared, &request, &from));
    let launched = tokio::select! {
        launched = &mut launching => launched,
        () = sleep_until(deadline) => {
            // The start itself hangs (a dead file system); who asks is not kept waiting for it.
            let _ = answer.send(Ok(timed_out()));
            if let Ok(Ok(begun)) = launching.await.map(|launched| launched.and_then(Begun::new)) {
                begun.finish(None, &*clock).await;
            }
            return;
        }
    };
    drop(permit);
    let launched = launched
        .map_err(thread_failed)
        .and_then(|launched| launched);
    let mut begun = match launched.and_then(Begun::new) {
        Ok(begun) => begun,
        Err(error) => {
            let _ = answer.send(Err(ProbeError::Start(error))); // nobody may be waiting
            return;
        }
    };
    let status = tokio::select! {
        exit = begun.process.exit(&*clock) => Some(exit.status),
        () = sleep_until(deadline) => None,
        () = answer.closed() => None,
        () = begun.output.keep_reading() => None, // never comes
    };
    let end = begun.finish(status, &*clock).await;
    let _ = answer.send(Ok(end)); // nobody may be waiting
}

fn timed_out() -> ProbeEnd {
    ProbeEnd {
        status: None,
        output: Vec::new(),
    }
}

/// A probe that runs.
struct Begun {
    process: Process,
    output: Output,
    _listing: Listing,
}

impl Begun {
    fn new(launched: Launched) -> Result<Self, StartError> {
        let Launched {
            pid,
            pidfd,
            tree,
            output,
            listing,
        } = launched;
        let watched = Output::new(output).and_then(|output| {
            let process = Process::new(pid, pidfd, tree.clone())?;
            Ok((process, output))
        });
        match watched {
            Ok((process, output)) => Ok(Self {
                process,
                output,
                _listing: listing,
            }),
            Err(source) => {
                // What cannot be watched must not live; its end is found by the next sweep.
                let _ = tree.kill();
                Err(StartError::System {
                    what: "cannot watch the probe".to_owned(),
                    source,
                })
            }
        }
    }

    /// Kills what is left and gives how it ended.
    async fn finish(mut self, status: Option<ExitStatus>, clock: &dyn Clock) -> ProbeEnd {
        let pid = self.process.pid;
        if status.is_none() {
            let _ = self.process.signal(osmoda_core::spec::Signal::KILL); // or by its tree, below
        }
        let tree = self.process.tree.clone();
        match spawn_blocking(move || end(&tree)).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => tracing::warn!(pid, "a probe does not end even when it is killed"),
            Ok(Err(error)) => tracing::warn!(pid, %error, "cannot end what a probe started"),
            Err(error) => tracing::warn!(pid, %error, "the end of a probe was broken off"),
        }
        if timeout(END_WAIT, self.process.exit(clock)).await.is_err() {
            tracing::warn!(pid, "a probe cannot be reaped");
        }
        self.output.read_rest();
        ProbeEnd {
            status,
            output: self.output.kept,
        }
    }
}

/// Kills all of it, waits until nothing lives, and removes its cgroup. False: something lives on.
fn end(tree: &Tree) -> io::Result<bool> {
    let ended = tree.kill_and_wait(END_WAIT)?;
    if let (true, Tree::Cgroup(cgroup)) = (ended, tree) {
        cgroup.remove()?;
    }
    Ok(ended)
}

/// What a probe writes: the beginning is kept, the rest is read and dropped, so that it can go on
/// writing.
pub(crate) struct Output {
    from: pipe::Receiver,
    kept: Vec<u8>,
}

impl Output {
    pub fn new(reading: std::os::fd::OwnedFd) -> io::Result<Self> {
        Ok(Self {
            from: pipe::Receiver::from_owned_fd(reading)?,
            kept: Vec::new(),
        })
    }

    /// What was kept.
    pub fn into_kept(self) -> Vec<u8> {
        self.kept
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = PROBE_OUTPUT_MAX.saturating_sub(self.kept.len());
        self.kept.extend(bytes.iter().take(room));
    }

    /// Never resolves: that the output has ended says nothing of the probe's end.
    pub async fn keep_reading(&mut self) {
        let mut buffer = [0; READ_BYTES];
        while self.from.readable().await.is_ok() {
            match self.from.try_read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => self.keep(buffer.get(..length).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => break,
            }
        }
        pending().await
    }

    /// What it wrote last; a child that holds the pipe open is not waited for. The pipe itself is
    /// asked: the scheduler may not have heard yet that there is something in it.
    pub fn read_rest(&mut self) {
        let mut buffer = [0; READ_BYTES];
        for _ in 0..REST_MAX / READ_BYTES {
            match rustix::io::read(&self.from, &mut buffer) {
                Ok(length) if length > 0 => self.keep(buffer.get(..length).unwrap_or_default()),
                _ => return,
            }
        }
    }
}
