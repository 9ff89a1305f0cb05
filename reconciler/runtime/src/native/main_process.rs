//! Another process of its tree becomes an instance's main process (MAINPID= of sd_notify(3)).
//!
//! Order: the note first, so that a daemon that dies in between leaves one that names a process
//! of the tree; then the table. The former main process is still waited for, but only to be
//! reaped. No start of the agent can be under way meanwhile: its gate is held. What is named
//! while the start is under way counts when it is registered, before anybody looks for its end.

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

/// Most main processes that an instance may name while it is being started; more is mischief, and
/// must not hold up the start.
const NAMED_MAX: usize = 8;

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
    set_holding_the_gate(shared, agent, invocation, pid)
}

/// The gate, unless somebody has it for longer than a start takes from its registration to its
/// end: then the instance is being stopped.
pub(crate) fn held_soon(gate: &tokio::sync::Mutex<()>) -> Option<tokio::sync::MutexGuard<'_, ()>> {
    for _ in 0..GATE_TRIES {
        if let Ok(held) = gate.try_lock() {
            return Some(held);
        }
        std::thread::sleep(GATE_PAUSE);
    }
    gate.try_lock().ok()
}

/// Registers an instance that was started and waits for its end in the background; its gate is
/// held. The main process is the one that it named meanwhile, if any: the end of the one that was
/// started is then no end of the instance, however early it comes.
pub(super) fn register(shared: &Arc<Shared>, instance: Instance, process: Process) -> Instance {
    let (agent, invocation) = (instance.agent.clone(), instance.invocation);
    let mut latest = Latest::running(instance, process);
    let mut formers = Vec::new();
    let mut named = 0;
    while let Err(pid) = shared.table.put_started(&agent, &latest) {
        match successor(shared, &agent, invocation, pid, &latest) {
            Ok(Some(next)) => formers.push(std::mem::replace(&mut latest, next)),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%agent, pid, %error, "the main process stays the one that it was");
            }
        }
        named += 1;
        if named == NAMED_MAX {
            shared.table.put(&agent, latest.clone());
            break;
        }
    }
    formers.push(latest.clone());
    for latest in formers {
        shared.wait_for(&agent, &latest);
    }
    latest.instance
}

fn set_holding_the_gate(
    shared: &Arc<Shared>,
    agent: &AgentName,
    invocation: InvocationId,
    pid: u32,
) -> Result<(), MainPidError> {
    let latest = shared.table.latest(agent);
    let latest = latest.filter(|latest| latest.instance.invocation == invocation);
    let latest = latest.filter(|latest| latest.process.is_some());
    let latest = latest.ok_or_else(|| MainPidError::NoSuchInstance {
        agent: agent.clone(),
        invocation,
    })?;
    if let Some(next) = successor(shared, agent, invocation, pid, &latest)? {
        shared.table.put(agent, next.clone());
        shared.wait_for(agent, &next);
    }
    Ok(())
}

/// The instance with this process of its tree as its main process, noted but not registered;
/// `None`: it is that already.
fn successor(
    shared: &Shared,
    agent: &AgentName,
    invocation: InvocationId,
    pid: u32,
    latest: &Latest,
) -> Result<Option<Latest>, MainPidError> {
    let former = latest.process.as_ref().map(|process| process.pid);
    if former == Some(pid) {
        return Ok(None);
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
    let process = Process::new(pid, pidfd, latest.tree.clone())
        .map_err(failed("cannot watch the new main process"))?;
    note::rewrite(&shared.instances_dir, agent, pid, stat.start_time)
        .map_err(failed("cannot rewrite the instance note"))?;
    tracing::info!(%agent, pid, former, "another main process");
    let mut instance = latest.instance.clone();
    instance.state = InstanceState::Running { pid };
    Ok(Some(Latest::running(instance, process)))
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::{BufRead as _, BufReader},
        path::Path,
        process::{Child, Command, Stdio},
    };

    use osmoda_core::{observed::Generation, time::Clock as _};

    use super::*;
    use crate::{
        Runtime as _,
        clock::SystemClock,
        native::{
            NativeOptions, NativeRuntime,
            note::NoteDraft,
            tree::{Session, Tree},
        },
    };

    const INVOCATION: &str = "0123456789abcdef0123456789abcdef";

    /// A program with a child that outlives it, and the child's pid; it ends at the end of its
    /// input. The child itself tells: one that is still before its exec has no environment to
    /// be known by.
    fn program_with_a_child() -> (Child, u32) {
        let mut program = Command::new("setsid")
            .args(["sh", "-c", "sh -c 'echo $$; sleep 1000; :' & read -r _"])
            .env("INVOCATION_ID", INVOCATION)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(program.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        (program, line.trim().parse().unwrap())
    }

    fn leave_note(directory: &Path, instance: &Instance, pid: u32) {
        let draft = NoteDraft {
            invocation: instance.invocation,
            generation: &instance.generation,
            started_at: instance.started_at,
            boot_id: "test",
            cgroup: None,
        };
        let [head, middle, tail] = draft
            .parts()
            .unwrap()
            .map(|part| String::from_utf8(part).unwrap());
        let text = format!("{head}{pid}{middle}1{tail}");
        fs::write(directory.join(instance.agent.as_str()), text).unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_end_before_the_registration_is_no_end_of_an_instance_that_named_another() {
        let directory = tempfile::tempdir().unwrap();
        let place = |name: &str| directory.path().join(name);
        let clock = Arc::new(SystemClock::new().unwrap());
        let options = NativeOptions::new(place("run"), place("log"), place("state"), clock.clone());
        let runtime = NativeRuntime::open(options).unwrap();
        let shared = &runtime.shared;

        let (mut program, child) = program_with_a_child();
        let leader = program.id();
        let invocation = InvocationId::from_hex(INVOCATION).unwrap();
        let agent = AgentName::new("a").unwrap();
        let instance = Instance {
            agent: agent.clone(),
            invocation,
            generation: Generation {
                number: 1,
                store_path: "/bundle".to_owned().into(),
            },
            started_at: clock.mono(),
            state: InstanceState::Running { pid: leader },
            adopted: false,
        };
        leave_note(&shared.instances_dir, &instance, leader);
        shared.table.set_starting(&agent, invocation);
        set(shared, &agent, invocation, child).unwrap();
        let session = Session {
            leader,
            leader_known: true,
            invocation,
        };
        let pidfd = pidfd_open(to_pid(leader).unwrap(), PidfdFlags::empty()).unwrap();
        let process = Process::new(leader, pidfd, Tree::Session(session)).unwrap();
        drop(program.stdin.take());
        process.ended().await;

        let running = InstanceState::Running { pid: child };
        assert_eq!(register(shared, instance, process).state, running);
        while procfs::stat(leader).is_ok() {
            tokio::task::yield_now().await; // until it is reaped
        }
        let observed = runtime.observe().await.unwrap();
        assert_eq!(observed.len(), 1);
        assert_eq!(observed[0].state, running);
        assert!(!procfs::stat(child).unwrap().dead);
        let stop = osmoda_core::spec::Stop::default();
        runtime.stop(&agent, invocation, &stop).await.unwrap();
        runtime.forget(&agent);
        if let Some(place) = &runtime.enforcement().cgroup {
            fs::remove_dir(place).unwrap();
        }
    }
}
