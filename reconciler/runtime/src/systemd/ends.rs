//! An end: from its first sign to its record, and how one is brought about.
//!
//! The pidfd of the main process tells first that it has ended, systemd's signal how. Between the
//! two the rest of the tree is killed, so that systemd finds nothing to wait for. Then the last
//! words are read from the journal, and whether somebody had systemd send a signal.

use std::{
    io,
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use osmoda_core::{
    name::AgentName,
    observed::{Exit, ExitStatus, Instance, InstanceState, InvocationId, OutsideEnd},
    spec::{Signal, Stop},
    time::{Clock, Mono},
};
use tokio::time::{sleep, timeout};

use super::{
    ear::{Active, Unit, UnitState},
    journal::{self, ManagerId, Run},
    run_files,
    shared::Shared,
};
use crate::{
    StartError, StopError, Stopped,
    blocking::spawn_blocking,
    native::{
        note,
        process::Process,
        shared::{kill_rest, signal_all, stop_failed},
        table::Latest,
        tree::{END_WAIT, Tree},
    },
};

/// Longest wait for systemd to say that a unit is dead whose main process is.
const DEAD_WAIT: Duration = Duration::from_secs(5);
/// Longest wait for the last words once the end is known: a restart waits for it.
const WORDS_WAIT: Duration = Duration::from_millis(50);
/// Longest wait for PID 1's note on an end, which tells whether somebody had it send a signal:
/// whoever is blamed must have done it. It is mostly in the journal before systemd's signal is here;
/// on a machine that is short of time journald may be a second behind. The restart waits for it, so
/// it is not waited for longer.
const NOTE_WAIT: Duration = Duration::from_secs(2);
/// The same for journalctl, which cannot tell a note that comes late from none.
const NOTES_WAIT: Duration = Duration::from_millis(500);
/// Pause between two looks for that note, at first and at most.
const NOTE_PAUSE: Duration = Duration::from_millis(1);
const NOTE_PAUSE_MAX: Duration = Duration::from_millis(32);
/// What is read of them.
const WORDS_LINES: usize = 100;
const WORDS_BYTES: usize = 64 * 1024;
/// How long a unit that failed is left as failed for people to see: the next start mostly comes
/// before, and one that is never cleared would count in somebody's switch of the system.
const FAILED_FOR: Duration = Duration::from_secs(2);

/// CLD_ constants of waitid(2).
const EXITED: i32 = 1;
const KILLED: i32 = 2;
const DUMPED: i32 = 3;

/// How a run ended, as its unit says.
pub(super) fn exit(state: &UnitState, run: ManagerId, at: Mono, stopping: bool) -> Exit {
    if state.run != Some(run) {
        // Somebody has had systemd restart it: nothing is left of how it ended.
        return Exit {
            status: ExitStatus::Unknown,
            at,
            oom_killed: false,
            outside: Some(OutsideEnd::Stopped),
        };
    }
    let status = match state.code {
        EXITED => ExitStatus::Code { code: state.status },
        KILLED | DUMPED => ExitStatus::Signal {
            signal: state.status,
            core_dumped: state.code == DUMPED,
        },
        _ => ExitStatus::Unknown,
    };
    Exit {
        status,
        at,
        oom_killed: state.result == "oom-kill",
        outside: (state.foreign_job && !stopping).then_some(OutsideEnd::Stopped),
    }
}

/// Waits in the background for the end of a running instance that is registered.
pub(super) fn wait_for(shared: &Arc<Shared>, unit: &Arc<Unit>, run: ManagerId, latest: &Latest) {
    let Some(process) = &latest.process else {
        return;
    };
    let agent = latest.instance.agent.clone();
    let watcher = shared.scheduler.spawn(watch(
        Arc::downgrade(shared),
        agent.clone(),
        latest.instance.invocation,
        Arc::clone(process),
        Arc::clone(unit),
        run,
    ));
    shared.table.set_watcher(&agent, watcher.abort_handle());
}

/// Holds no claim on the runtime while it waits, so that dropping it frees the locks at once.
async fn watch(
    shared: Weak<Shared>,
    agent: AgentName,
    invocation: InvocationId,
    process: Arc<Process>,
    unit: Arc<Unit>,
    run: ManagerId,
) {
    tokio::select! {
        () = process.ended() => {}
        _ = unit.wait(|state| is_over(state, run)) => {}
    }
    let Some(held) = shared.upgrade() else { return };
    held.listen();
    if held.table.is_replaced(&agent, &process) {
        return;
    }
    drop(held);
    if conclude(&shared, &agent, invocation, &process, &unit, run)
        .await
        .is_none()
    {
        return;
    }
    if let Some(shared) = shared.upgrade() {
        shared.announce(agent);
    }
    clear_failed(shared, unit, run).await;
}

/// Has systemd forget that a unit failed, once people have had the time to see it.
async fn clear_failed(shared: Weak<Shared>, unit: Arc<Unit>, run: ManagerId) {
    sleep(FAILED_FOR).await;
    if let Some(shared) = shared.upgrade()
        && is_over(&unit.state(), run)
        && unit.state().run == Some(run)
    {
        let _ = shared.bus.reset_failed(&unit.name).await; // it may be gone
    }
}

fn is_over(state: &UnitState, run: ManagerId) -> bool {
    state.run != Some(run) || state.active == Active::Dead
}

/// Waits for the end of an instance and makes it known. Everybody who asks gets the same answer,
/// and asking may be given up. `None`: the daemon ends.
pub(super) async fn conclude(
    shared: &Weak<Shared>,
    agent: &AgentName,
    invocation: InvocationId,
    process: &Process,
    unit: &Unit,
    run: ManagerId,
) -> Option<Exit> {
    let find_out = || async {
        let exit = find_out(shared, agent, process, unit, run).await?;
        // Before anybody is told: whoever is may forget the agent, and with it the note.
        write_down(&*shared.upgrade()?, agent, invocation, &exit);
        Some(exit)
    };
    let exit = process.end_told_by(find_out).await?;
    let table = &shared.upgrade()?.table;
    table.record_exit(agent, invocation, process, &exit);
    Some(exit)
}

/// Puts an end into the note of its instance.
fn write_down(shared: &Shared, agent: &AgentName, invocation: InvocationId, exit: &Exit) {
    let noted = note::update(&shared.instances_dir, agent, |note| {
        if note.invocation == invocation {
            note.exit = Some(exit.clone());
        }
    });
    if let Err(error) = noted {
        tracing::warn!(%agent, %error, "an end is not in the instance note");
    }
}

async fn find_out(
    shared: &Weak<Shared>,
    agent: &AgentName,
    process: &Process,
    unit: &Unit,
    run: ManagerId,
) -> Option<Exit> {
    let clock = Arc::clone(&shared.upgrade()?.options.clock);
    tokio::select! {
        () = process.ended() => {}
        _ = unit.wait(|state| is_over(state, run)) => {}
    }
    let at = clock.mono();
    if let Err(error) = process.tree.kill() {
        // systemd kills it too, and the next start does not go on while something is left.
        tracing::warn!(pid = process.pid, %error, "cannot kill the rest of a process tree");
    }
    let state = match timeout(DEAD_WAIT, unit.wait(|state| is_over(state, run))).await {
        Ok(state) => state,
        Err(_) => {
            let bus = Arc::clone(&shared.upgrade()?.bus);
            match unit.refresh(&bus).await {
                Ok(state) => state,
                Err(error) => {
                    tracing::warn!(unit = unit.name, %error, "systemd does not tell of an end");
                    UnitState::unknown(run)
                }
            }
        }
    };
    let told = ask_the_journal(shared, agent, run).await;
    let shared = shared.upgrade()?;
    if let Some(words) = told.words {
        shared.record(agent, |record| record.last_words = Some(words));
    }
    let outside = state.foreign_job && !shuts_down(&shared).await;
    let mut exit = exit(&state, run, at, !outside);
    if exit.outside.is_none() && !exit.oom_killed && told.sent_a_signal {
        exit.outside = Some(OutsideEnd::Killed);
    }
    Some(exit)
}

/// What the journal tells of a run that is over.
struct Told {
    words: Option<Vec<String>>,
    sent_a_signal: bool,
}

/// What the journal tells of the end of a run.
async fn ask_the_journal(shared: &Weak<Shared>, agent: &AgentName, run: ManagerId) -> Told {
    match wait_for_note(shared, run).await {
        Ok(Some(end)) => {
            let words = match end.words {
                Ok(lines) => Some(journal::within(lines, WORDS_LINES, WORDS_BYTES)),
                Err(_) => words_of(agent, run).await,
            };
            let sent_a_signal = end.sent_a_signal;
            Told {
                words,
                sent_a_signal,
            }
        }
        Ok(None) => Told {
            words: words_of(agent, run).await,
            sent_a_signal: false,
        },
        Err(error) => {
            tracing::debug!(%agent, %error, "the journal's files cannot be read; asking journalctl");
            let sent = spawn_blocking(move || journal::was_sent_a_signal(run));
            let words = words_of(agent, run).await;
            let sent = timeout(NOTES_WAIT, sent).await;
            Told {
                words,
                sent_a_signal: matches!(sent, Ok(Ok(Ok(true)))),
            }
        }
    }
}

/// The last words as journalctl tells them, if it does in time.
async fn words_of(agent: &AgentName, run: ManagerId) -> Option<Vec<String>> {
    let name = agent.clone();
    let words =
        spawn_blocking(move || journal::last(&name, Run::Of(run), WORDS_LINES, WORDS_BYTES));
    match timeout(WORDS_WAIT, words).await {
        Ok(Ok(Ok(words))) => words,
        _ => None,
    }
}

/// What the journal's files tell of a run that is over, as soon as PID 1's note on that is there.
/// `None`: it has made none. It makes none at all where its log level is above info, and none comes
/// where journald is gone: so after one that did not come only a moment is waited for the next.
async fn wait_for_note(
    shared: &Weak<Shared>,
    run: ManagerId,
) -> io::Result<Option<run_files::End>> {
    let patience = match shared.upgrade() {
        Some(shared) if shared.ends_are_noted.load(Ordering::Relaxed) => NOTE_WAIT,
        _ => WORDS_WAIT,
    };
    let looking = async {
        let mut pause = NOTE_PAUSE;
        loop {
            let look = spawn_blocking(move || run_files::end(run, WORDS_LINES)).await;
            if let Some(end) = look.map_err(io::Error::other)?? {
                return Ok(end);
            }
            sleep(pause).await;
            pause = NOTE_PAUSE_MAX.min(pause * 2);
        }
    };
    let found = timeout(patience, looking).await;
    if let Some(shared) = shared.upgrade() {
        let noted = found.is_ok();
        shared.ends_are_noted.store(noted, Ordering::Relaxed);
    }
    found.ok().transpose()
}

/// Whether systemd is on its way down: what it stops then is no outside action.
async fn shuts_down(shared: &Shared) -> bool {
    let state = shared.bus.manager_property("SystemState").await;
    state.is_ok_and(|state| <&str>::try_from(&state).is_ok_and(|state| state == "stopping"))
}

/// Makes the end known of an instance that nobody could watch.
pub(super) fn record_at_once(
    shared: &Arc<Shared>,
    unit: &Arc<Unit>,
    run: ManagerId,
    instance: &Instance,
    tree: Tree,
    exit: Exit,
) {
    write_down(shared, &instance.agent, instance.invocation, &exit);
    let latest = Latest {
        instance: Instance {
            state: InstanceState::Exited(exit),
            ..instance.clone()
        },
        tree,
        process: None,
    };
    shared.table.put(&instance.agent, latest);
    shared.announce(instance.agent.clone());
    let clearing = clear_failed(Arc::downgrade(shared), Arc::clone(unit), run);
    shared.scheduler.spawn(clearing);
}

/// The end of an instance whose process is known to have ended; one that lives refuses a start.
pub(super) async fn ended_or_refused(
    shared: &Arc<Shared>,
    agent: &AgentName,
    latest: Latest,
) -> Result<(), StartError> {
    if let Some(process) = &latest.process {
        if !process.has_ended() {
            let (agent, pid) = (agent.clone(), process.pid);
            return Err(StartError::AlreadyRunning { agent, pid });
        }
        end_of(shared, agent, latest.instance.invocation, process).await;
    }
    let failed = |source| StartError::System {
        what: "cannot end what is left of the former instance".to_owned(),
        source,
    };
    if let Tree::Cgroup(cgroup) = &latest.tree
        && cgroup.is_populated().map_err(failed)?
    {
        let ended = kill_rest(latest.tree.clone()).await;
        ended.map_err(|error| failed(io::Error::other(error)))?;
    }
    Ok(())
}

/// Waits for the end of an instance of this daemon.
pub(super) async fn end_of(
    shared: &Arc<Shared>,
    agent: &AgentName,
    invocation: InvocationId,
    process: &Process,
) -> Option<Exit> {
    let run = shared.record(agent, |record| record.run)?;
    let unit = shared.unit(agent).await.ok()?;
    conclude(
        &Arc::downgrade(shared),
        agent,
        invocation,
        process,
        &unit,
        run,
    )
    .await
}

/// Asks a process tree to end, then makes it.
pub(super) async fn stop(
    shared: &Arc<Shared>,
    agent: &AgentName,
    latest: Latest,
    stop: &Stop,
) -> Result<Stopped, StopError> {
    let invocation = latest.instance.invocation;
    let stopped = match (&latest.process, &latest.instance.state) {
        (Some(process), _) => end(shared, agent, invocation, process, stop).await?,
        (None, InstanceState::Exited(exit)) => Stopped {
            exit: exit.clone(),
            killed: false,
        },
        (None, InstanceState::Running { .. }) => {
            let what = "cannot find the main process";
            return Err(stop_failed(what, io::ErrorKind::NotFound));
        }
    };
    kill_rest(latest.tree).await?;
    shared.remove_secrets(agent, invocation).await;
    Ok(stopped)
}

async fn end(
    shared: &Arc<Shared>,
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
        let sent = process.signal(Signal::KILL);
        sent.map_err(|error| stop_failed(what, error))?;
        kill_rest(process.tree.clone()).await?;
        let ended = timeout(END_WAIT, process.ended()).await;
        ended.map_err(|_| stop_failed(what, io::ErrorKind::TimedOut))?;
    }
    let exit = end_of(shared, agent, invocation, process).await;
    let exit =
        exit.ok_or_else(|| stop_failed("cannot tell how it ended", io::ErrorKind::Interrupted))?;
    Ok(Stopped { exit, killed })
}

/// How an instance ended while nobody watched: what its unit, or else the journal, still tells.
pub(super) fn exit_of_the_past(
    state: &UnitState,
    run: Option<ManagerId>,
    clock: &dyn Clock,
) -> Exit {
    let at = clock.mono();
    if let Some(run) = run.filter(|run| state.run == Some(*run) && state.code != 0) {
        return exit(state, run, at, true);
    }
    let told = run.and_then(|run| journal::exit_of(run).ok().flatten());
    Exit {
        status: told.unwrap_or(ExitStatus::Unknown),
        at,
        oom_killed: false,
        outside: None,
    }
}
