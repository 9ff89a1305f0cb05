//! Another process of its tree becomes an instance's main process (MAINPID= of sd_notify(3)).
//!
//! Order: the note first, so that a daemon that dies in between leaves one that names a process
//! of the tree; then the table. The former main process is still waited for, but only to be
//! reaped. No start of the agent can be under way meanwhile: its gate is held.

use std::{io, os::fd::AsFd as _, sync::Arc, time::Duration};

use osmoda_core::{
    name::AgentName,
    observed::{Instance, InstanceState, InvocationId},
};
use rustix::process::{PidfdFlags, pidfd_open};

use super::{
    membership, note, process::Process, procfs, shared::Shared, sys::spawn::pid as to_pid,
    table::Latest,
};
use crate::{MainPidError, Sender};

/// How often a gate that is held is tried again, and the pause before each: together far below
/// what a caller notices.
const GATE_TRIES: u32 = 10;
const GATE_PAUSE: Duration = Duration::from_millis(1);

/// See [`crate::Runtime::set_main_pid`].
pub(super) fn set(
    shared: &Arc<Shared>,
    agent: &AgentName,
    invocation: InvocationId,
    pid: u32,
) -> Result<(), MainPidError> {
    if shared.table.tell_main(agent, invocation, pid) {
        return Ok(()); // done by its start, once it is registered
    }
    let gate = shared.table.gate(agent);
    let Some(_held) = held_soon(&gate) else {
        let agent = agent.clone();
        return Err(MainPidError::NoSuchInstance { agent, invocation });
    };
    set_holding_the_gate(shared, agent, invocation, pid).map(|_| ())
}

/// The gate, unless somebody has it for longer than a start takes from its registration to its
/// end: then the instance is being stopped.
fn held_soon(gate: &tokio::sync::Mutex<()>) -> Option<tokio::sync::MutexGuard<'_, ()>> {
    for _ in 0..GATE_TRIES {
        if let Ok(held) = gate.try_lock() {
            return Some(held);
        }
        std::thread::sleep(GATE_PAUSE);
    }
    gate.try_lock().ok()
}

/// Makes good on what an instance said while it was being started; its gate is held. Gives the
/// instance with its new main process, if there is one.
pub(super) fn set_as_told(shared: &Arc<Shared>, agent: &AgentName) -> Option<Instance> {
    let pid = shared.table.take_told_main(agent)?;
    let invocation = shared.table.instance(agent)?.invocation;
    match set_holding_the_gate(shared, agent, invocation, pid) {
        Ok(instance) => Some(instance),
        Err(error) => {
            tracing::warn!(%agent, pid, %error, "the main process stays the one that was started");
            None
        }
    }
}

fn set_holding_the_gate(
    shared: &Arc<Shared>,
    agent: &AgentName,
    invocation: InvocationId,
    pid: u32,
) -> Result<Instance, MainPidError> {
    let no_instance = || MainPidError::NoSuchInstance {
        agent: agent.clone(),
        invocation,
    };
    let latest = shared.table.latest(agent);
    let latest = latest.filter(|latest| latest.instance.invocation == invocation);
    let Some(Latest {
        mut instance,
        process: Some(former),
        ..
    }) = latest
    else {
        return Err(no_instance());
    };
    if former.pid == pid {
        return Ok(instance);
    }
    let foreign = || MainPidError::NotOfItsTree {
        agent: agent.clone(),
        pid,
    };
    // The pidfd comes first: what is read after that is about the process it holds.
    let pidfd = to_pid(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    let pidfd = pidfd.ok_or_else(foreign)?;
    let failed = |what: &str| {
        let what = what.to_owned();
        move |source: io::Error| MainPidError::System { what, source }
    };
    let copy = pidfd
        .as_fd()
        .try_clone_to_owned()
        .map_err(failed("cannot hold the new main process"))?;
    let sender = Sender {
        pid,
        pidfd: Some(copy),
    };
    let owner = membership::owner(shared, &sender);
    let stat = procfs::stat(pid).map_err(|_| foreign())?;
    if owner.as_ref() != Some(&(agent.clone(), invocation)) || stat.dead {
        return Err(foreign());
    }
    let _there = shared.scheduler.enter();
    let process = Process::new(pid, pidfd, former.tree.clone())
        .map_err(failed("cannot watch the new main process"))?;
    note::rewrite(&shared.instances_dir, agent, pid, stat.start_time)
        .map_err(failed("cannot rewrite the instance note"))?;
    instance.state = InstanceState::Running { pid };
    tracing::info!(%agent, pid, former = former.pid, "another main process");
    shared.watch(agent, instance.clone(), process);
    Ok(instance)
}
