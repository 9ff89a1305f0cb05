//! Finds what a former daemon left running.
//!
//! A note names a process by pid, start time and boot, so a pid that was given to another process
//! is recognised. Whatever a dead main process left behind is killed here and now.

use std::{io, os::fd::OwnedFd, sync::Arc};

use osmoda_core::{
    name::AgentName,
    observed::{Exit, ExitStatus, Instance, InstanceState},
};
use rustix::process::{PidfdFlags, pidfd_open};

use super::{
    cgroup::AgentCgroup,
    logs::log_files,
    note::{self, Note},
    process::{self, Process},
    procfs,
    shared::Shared,
    sys::spawn::pid,
    table::Latest,
    tree::{Session, Tree},
};

/// What has become of the process of a note.
enum Found {
    Alive(OwnedFd),
    /// Ended and not reaped: its pid is still its own.
    Dead(OwnedFd),
    Gone,
}

/// Takes over every instance that has a note of this boot.
///
/// # Errors
/// The notes cannot be read.
pub(super) fn adopt_all(shared: &Arc<Shared>) -> io::Result<()> {
    for (agent, note) in note::read_all(&shared.instances_dir)? {
        if note.boot_id != shared.options.clock.boot_id() {
            tracing::info!(%agent, "removing an instance note of another boot");
            note::remove(&shared.instances_dir, &agent)?;
            continue;
        }
        adopt(shared, &agent, note)?;
    }
    Ok(())
}

fn adopt(shared: &Arc<Shared>, agent: &AgentName, note: Note) -> io::Result<()> {
    let found = find(&note);
    settle_output(shared, agent, matches!(found, Found::Alive(_)));
    let tree = match &note.cgroup {
        Some(path) => Tree::Cgroup(AgentCgroup::new(path.clone())),
        None => Tree::Session(Session {
            leader: note.session.unwrap_or(note.pid),
            leader_known: is_its_session(&note, &found),
            invocation: note.invocation,
        }),
    };
    let instance = |state| Instance {
        agent: agent.clone(),
        invocation: note.invocation,
        generation: note.generation.clone(),
        started_at: note.started_at,
        state,
        adopted: true,
    };
    let status = match found {
        Found::Alive(pidfd) => {
            let process = Process::new(note.pid, pidfd, tree)?;
            shared.watch(
                agent,
                instance(InstanceState::Running { pid: note.pid }),
                process,
            );
            return Ok(());
        }
        Found::Dead(pidfd) => {
            kill_rest(agent, &tree);
            process::reap(&pidfd).unwrap_or(ExitStatus::Unknown)
        }
        Found::Gone => {
            kill_rest(agent, &tree);
            ExitStatus::Unknown
        }
    };
    let exit = Exit {
        status,
        at: shared.options.clock.mono(),
        oom_killed: false,
        outside: None,
    };
    let latest = Latest {
        instance: instance(InstanceState::Exited(exit)),
        tree,
        process: None,
    };
    shared.table.put(agent, latest);
    Ok(())
}

/// Whether the number of the session still means this one: it is kept from others for as long as
/// a process of it lives or is not reaped.
fn is_its_session(note: &Note, found: &Found) -> bool {
    match (found, note.session) {
        (Found::Gone, _) => false,
        (_, None) => true,
        (_, Some(session)) => procfs::stat(note.pid).is_ok_and(|stat| stat.session == session),
    }
}

/// The pidfd comes first: what /proc says after that is about the process it holds.
fn find(note: &Note) -> Found {
    let pidfd = pid(note.pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    match (pidfd, procfs::stat(note.pid)) {
        (Some(pidfd), Ok(stat)) if stat.start_time == note.start_time => {
            if stat.dead {
                Found::Dead(pidfd)
            } else {
                Found::Alive(pidfd)
            }
        }
        _ => Found::Gone,
    }
}

/// The former daemon may have died while the output of the instance's first moments still went to
/// a file of another name.
fn settle_output(shared: &Shared, agent: &AgentName, running: bool) {
    if let Err(error) = log_files(&shared.options.log_dir, agent).settle(running) {
        tracing::warn!(%agent, %error, "output of earlier runs cannot be moved");
    }
}

fn kill_rest(agent: &AgentName, tree: &Tree) {
    if let Err(error) = tree.kill() {
        tracing::warn!(%agent, %error, "cannot kill what a former instance left");
    }
}
