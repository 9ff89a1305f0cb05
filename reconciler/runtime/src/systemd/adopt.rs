//! Finds what a former daemon left running: its notes say what may run, systemd what does.
//!
//! A note names systemd's run; a unit that is in another run is not the note's instance, and is
//! stopped by the next start. A note without a run is of a daemon that died while it started: what
//! runs under that name then is what it started, for nothing else did before.

use std::{io, sync::Arc};

use osmoda_core::{
    name::AgentName,
    observed::{Instance, InstanceState},
};
use rustix::process::{PidfdFlags, pidfd_open};

use super::{
    bus::BusError,
    ear::{Active, Unit, UnitState},
    ends,
    journal::ManagerId,
    members,
    probe::PROBE_UNITS,
    shared::Shared,
};
use crate::blocking::spawn_blocking;
use crate::native::{
    note::{self, Note},
    process::Process,
    procfs,
    sys::spawn::pid as to_pid,
    table::Latest,
};

/// Takes over every instance that has a note of this boot, and ends what probes of a former daemon
/// left.
///
/// # Errors
/// The notes cannot be read, or systemd cannot be asked.
pub(super) async fn adopt_all(shared: &Arc<Shared>) -> io::Result<()> {
    for left in shared.bus.list(PROBE_UNITS).await? {
        let _ = shared.bus.stop(&left.name).await; // it may just have ended
    }
    for (agent, note) in note::read_all(&shared.instances_dir)? {
        if note.boot_id != shared.options.clock.boot_id() {
            tracing::info!(%agent, "removing an instance note of another boot");
            note::remove(&shared.instances_dir, &agent)?;
            continue;
        }
        adopt(shared, &agent, note).await?;
    }
    Ok(())
}

async fn adopt(shared: &Arc<Shared>, agent: &AgentName, note: Note) -> Result<(), BusError> {
    let unit = shared.unit(agent).await?;
    // Referenced first: what ends from now on stays to be asked about.
    match shared.bus.reference(&unit.name).await {
        Ok(()) | Err(BusError::NoSuchUnit(_)) => {}
        Err(error) => return Err(error),
    }
    let state = unit.refresh(&shared.bus).await?;
    unit.expect_no_job();
    let noted = note.manager_run.map(ManagerId);
    let run = noted.or_else(|| state.run.filter(|_| state.active != Active::Dead));
    shared.record(agent, |record| record.run = run);
    let tree = shared.tree(agent);
    let instance = |state| Instance {
        agent: agent.clone(),
        invocation: note.invocation,
        generation: note.generation.clone(),
        started_at: note.started_at,
        state,
        adopted: true,
    };
    let lives = run.is_some() && state.run == run && state.active != Active::Dead;
    if let (true, Some(run), Some((pid, pidfd))) = (lives, run, main_process(agent, &note, &state))
    {
        shared.cgroup_ids.learn(agent, &tree);
        let process = Process::new(pid, pidfd, tree).map_err(|e| BusError::Other(e.to_string()))?;
        complete(shared, agent, &note, run, pid);
        let latest = Latest::running(instance(InstanceState::Running { pid }), process);
        shared.table.put(agent, latest.clone());
        ends::wait_for(shared, &unit, run, &latest);
        return Ok(());
    }
    let exit = match note.exit.clone() {
        Some(exit) => exit,
        None => find_out(shared, &unit, run).await,
    };
    if state.active == Active::Dead
        && let Err(error) = tree.kill()
    {
        tracing::warn!(%agent, %error, "cannot kill what a former instance left");
    }
    let latest = Latest {
        instance: instance(InstanceState::Exited(exit)),
        tree,
        process: None,
    };
    shared.table.put(agent, latest);
    Ok(())
}

/// The main process of a live instance: the one that the note names, if it still lives in the
/// unit, else systemd's.
fn main_process(
    agent: &AgentName,
    note: &Note,
    state: &UnitState,
) -> Option<(u32, std::os::fd::OwnedFd)> {
    let candidates = [note.pid, state.main_pid]
        .into_iter()
        .filter(|pid| *pid != 0);
    candidates.into_iter().find_map(|pid| {
        let pidfd = pidfd_open(to_pid(pid)?, PidfdFlags::empty()).ok()?;
        let stat = procfs::stat(pid).ok()?;
        let itself = pid != note.pid || stat.start_time == note.start_time;
        let here = members::agent_of_process(pid).as_ref() == Some(agent);
        (itself && here && !stat.dead).then_some((pid, pidfd))
    })
}

/// Gives a note what its daemon had no time for.
fn complete(shared: &Shared, agent: &AgentName, note: &Note, run: ManagerId, pid: u32) {
    if note.manager_run.is_some() {
        return;
    }
    let start_time = procfs::stat(pid).map_or(0, |stat| stat.start_time);
    let noted = note::update(&shared.instances_dir, agent, |note| {
        note.pid = pid;
        note.start_time = start_time;
        note.manager_run = Some(run.0);
    });
    if let Err(error) = noted {
        tracing::warn!(%agent, %error, "the instance note lacks the main process");
    }
}

async fn find_out(
    shared: &Shared,
    unit: &Unit,
    run: Option<ManagerId>,
) -> osmoda_core::observed::Exit {
    let state = unit.state();
    let clock = Arc::clone(&shared.options.clock);
    let asking = spawn_blocking(move || ends::exit_of_the_past(&state, run, &*clock)).await;
    asking.unwrap_or_else(|_| osmoda_core::observed::Exit {
        status: osmoda_core::observed::ExitStatus::Unknown,
        at: shared.options.clock.mono(),
        oom_killed: false,
        outside: None,
    })
}
