//! Whose a process is, and which of an agent's processes is the main one.
//!
//! systemd keeps each agent in a cgroup of its own, whose path names the unit; where the kernel
//! tells the cgroup of a process that has ended (6.15), that is asked first. Another main process
//! (MAINPID= of sd_notify(3)) has to become systemd's, too, or it would end with the former one:
//! systemd is told by a notification in the name of the former, as NotifyAccess=main allows.

use std::{
    io,
    os::fd::AsFd as _,
    path::{Component, Path},
    sync::Arc,
};

use osmoda_core::{
    name::AgentName,
    observed::{InstanceState, InvocationId},
};
use rustix::{
    net::{
        AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
        SocketFlags, SocketType, UCred, sendmsg_addr, socket_with,
    },
    process::{PidfdFlags, getgid, getuid, pidfd_open},
};

use super::{SLICE, definition, ends, probe, shared::Shared};
use crate::{
    MainPidError, Sender,
    native::{
        main_process::held_soon,
        membership::{lives, own_cgroup},
        note,
        process::Process,
        procfs,
        sys::spawn::pid as to_pid,
        table::Latest,
    },
};

/// Where systemd hears of its services.
const SYSTEMDS_SOCKET: &str = "/run/systemd/notify";

/// Whose process sent something; see [`crate::Runtime::owner`].
pub(super) fn owner(shared: &Shared, sender: &Sender) -> Option<(AgentName, InvocationId)> {
    let pidfd = sender.pidfd.as_ref();
    let by_id = pidfd.and_then(|pidfd| shared.cgroup_ids.agent(pidfd));
    let by_path = || agent_of_process(sender.pid).filter(|_| lives(sender));
    let agent = by_id.or_else(by_path)?;
    let invocation = shared.table.invocation(&agent)?;
    Some((agent, invocation))
}

/// The agent in whose unit a process is.
pub(super) fn agent_of_process(pid: u32) -> Option<AgentName> {
    definition::agent_of(&unit_of_process(pid)?)
}

/// The unit in our slice that a process is in.
fn unit_of_process(pid: u32) -> Option<String> {
    unit_in(&own_cgroup(pid).ok()??)
}

fn unit_in(cgroup: &str) -> Option<String> {
    let mut parts = Path::new(cgroup).components();
    parts.find(|part| *part == Component::Normal(SLICE.as_ref()))?;
    parts.next()?.as_os_str().to_str().map(str::to_owned)
}

/// Whether a process is in our slice. One that cannot be looked at is taken for it: it may have
/// hidden itself.
pub(super) fn is_in_the_slice(pid: u32) -> bool {
    match own_cgroup(pid) {
        Ok(Some(cgroup)) => unit_in(&cgroup)
            .is_some_and(|unit| definition::agent_of(&unit).is_some() || probe::is_one(&unit)),
        Ok(None) => false,
        Err(_) => true,
    }
}

/// See [`crate::Runtime::set_main_pid`].
pub(super) fn set_main_pid(
    shared: &Arc<Shared>,
    agent: &AgentName,
    invocation: InvocationId,
    pid: u32,
) -> Result<(), MainPidError> {
    if shared.table.tell_main(agent, invocation, pid) {
        return Ok(()); // done by its start, once it is registered
    }
    let missing = || MainPidError::NoSuchInstance {
        agent: agent.clone(),
        invocation,
    };
    let gate = shared.table.gate(agent);
    let _held = held_soon(&gate).ok_or_else(missing)?;
    let latest = shared.table.latest(agent);
    let latest = latest.filter(|latest| latest.instance.invocation == invocation);
    let latest = latest.filter(|latest| latest.process.is_some());
    let latest = latest.ok_or_else(missing)?;
    let former = latest.process.as_ref().map(|process| process.pid);
    if former == Some(pid) {
        return Ok(());
    }
    let next = replaced(shared, agent, pid, &latest)?;
    shared.table.put(agent, next.clone());
    let run = shared.record(agent, |record| record.run);
    if let (Some(run), Some(unit)) = (run, shared.ear.known(&super::unit_name(agent))) {
        ends::wait_for(shared, &unit, run, &next);
    }
    Ok(())
}

/// The instance with another main process, noted but not registered; `None`: it stays as it is.
pub(super) fn successor(
    shared: &Shared,
    agent: &AgentName,
    pid: u32,
    latest: &Latest,
) -> Option<Latest> {
    if latest
        .process
        .as_ref()
        .is_some_and(|process| process.pid == pid)
    {
        return None;
    }
    match replaced(shared, agent, pid, latest) {
        Ok(next) => Some(next),
        Err(error) => {
            tracing::warn!(%agent, pid, %error, "the main process stays the one that it was");
            None
        }
    }
}

fn replaced(
    shared: &Shared,
    agent: &AgentName,
    pid: u32,
    latest: &Latest,
) -> Result<Latest, MainPidError> {
    let foreign = || MainPidError::NotOfItsTree {
        agent: agent.clone(),
        pid,
    };
    let failed = |what: &str| {
        let what = what.to_owned();
        move |source: io::Error| MainPidError::System { what, source }
    };
    // The pidfd comes first: what is read after that is about the process it holds.
    let pidfd = to_pid(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    let pidfd = pidfd.ok_or_else(foreign)?;
    let stat = procfs::stat(pid).map_err(|_| foreign())?;
    if stat.dead || agent_of_process(pid).as_ref() != Some(agent) {
        return Err(foreign());
    }
    let former = latest.process.as_ref().map_or(pid, |process| process.pid);
    tell_systemd(former, pid).map_err(failed("cannot tell systemd of the new main process"))?;
    let _there = shared.scheduler.enter();
    let process = Process::new(pid, pidfd, latest.tree.clone())
        .map_err(failed("cannot watch the new main process"))?;
    note::rewrite(&shared.instances_dir, agent, pid, stat.start_time)
        .map_err(failed("cannot rewrite the instance note"))?;
    tracing::info!(%agent, pid, former, "another main process");
    let mut instance = latest.instance.clone();
    instance.state = InstanceState::Running { pid };
    Ok(Latest::running(instance, process))
}

/// Says MAINPID= to systemd in the name of the unit's present main process.
fn tell_systemd(former: u32, pid: u32) -> io::Result<()> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
    let former = to_pid(former).ok_or(io::ErrorKind::InvalidInput)?;
    let credentials = UCred {
        pid: former,
        uid: getuid(),
        gid: getgid(),
    };
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmCredentials(credentials));
    let text = format!("MAINPID={pid}");
    sendmsg_addr(
        socket.as_fd(),
        &SocketAddrUnix::new(SYSTEMDS_SOCKET)?,
        &[io::IoSlice::new(text.as_bytes())],
        &mut control,
        SendFlags::empty(),
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_known_by_the_path_of_its_cgroup() {
        let unit = |path| unit_in(path);
        let expected = Some("osmoda-a.service".to_owned());
        assert_eq!(unit("/osmoda.slice/osmoda-a.service"), expected);
        assert_eq!(unit("/x/osmoda.slice/osmoda-a.service/deep/er"), expected);
        for other in ["/", "/osmoda.slice", "/system.slice/osmoda-a.service"] {
            assert_eq!(unit(other), None, "{other}");
        }
    }
}
