//! Makes the process of a probe: as the agent's own start, without what makes an instance.
//!
//! It gets the variables of the instance, credentials as the instance has them, and differs in
//! three: INVOCATION_ID is its own, OSMODA_PROBE holds that of the instance, and there is no
//! NOTIFY_SOCKET or WATCHDOG_USEC, because a probe must not speak for its agent. Its cgroup lies
//! beside the agent's, with the same limits, and is used once.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read as _},
    os::fd::{AsFd as _, OwnedFd},
    path::{Path, PathBuf},
};

use osmoda_core::{
    observed::{Generation, InvocationId},
    spec::AgentSpec,
};
use rustix::{
    fs::{Gid, Uid, fchown},
    pipe::{PipeFlags, pipe_with},
    rand::{GetRandomFlags, getrandom},
};

use super::registry::Listing;
use crate::{
    ProbeRequest, StartError,
    native::{
        cgroup::AgentCgroup,
        credentials::{self, CREDENTIAL_MAX},
        environment::{self, Surroundings},
        launch::{arguments, c_string, start_error, system},
        shared::Shared,
        sys::spawn::{CStringArray, ChildMemory, ChildPlan, Identity, spawn},
        tree::{Session, Tree},
        user,
    },
};

/// Holds the identity of the instance that a probe asks about.
pub(crate) const MARK: &str = "OSMODA_PROBE";

/// Between an agent's name, which has no dot, and a number.
pub(super) const CGROUP_MARK: &str = ".probe.";

/// A probe's process, and the end of the pipe that it writes to.
pub(super) struct Launched {
    pub pid: u32,
    pub pidfd: OwnedFd,
    pub tree: Tree,
    pub output: OwnedFd,
    pub listing: Listing,
}

/// Starts the process; blocks until its program runs.
pub(super) fn launch(
    shared: &Shared,
    request: &ProbeRequest,
    generation: &Generation,
) -> Result<Launched, StartError> {
    let (agent, spec) = (&request.agent.name, &request.agent.spec);
    let user = user::resolve(spec)?;
    let home = shared.home(agent);
    let identity = fresh_identity();
    let given = credential_variables(&shared.options.runtime_dir, request)?;
    let around = Surroundings {
        agent,
        invocation: identity,
        generation: generation.number,
        home: &home,
        user: &user.name,
        notify_socket: None,
        credentials_directory: &credentials::directory(&shared.options.runtime_dir, agent),
        credential_variables: given,
    };
    let mut variables = environment::variables(spec, around);
    variables.remove("WATCHDOG_USEC");
    variables.insert(MARK.to_owned(), request.invocation.to_string().into());
    let path = variables.get("PATH").cloned().unwrap_or_default();
    let command = request.command.first().map_or("", String::as_str);
    let program = environment::find_program(command, &path)?;
    let directory = match &spec.working_directory {
        Some(directory) => PathBuf::from(directory),
        None => home,
    };
    let (output, written) = pipe(user.change.as_ref())?;
    let serial = shared.probes.next_serial();
    let cgroup = shared.enforcement.cgroup.as_ref();
    let cgroup = cgroup.map(|place| AgentCgroup::new(place.join(cgroup_name(agent, serial))));
    let opened = match &cgroup {
        Some(cgroup) => Some(prepare(cgroup, shared, spec)?),
        None => None,
    };
    let plan = ChildPlan {
        program: c_string(program.as_os_str(), "command")?,
        arguments: CStringArray::new(arguments(&request.command)?),
        environment: CStringArray::new(environment::to_c_strings(variables)?),
        working_directory: c_string(directory.as_os_str(), "workingDirectory")?,
        input: shared.null.as_fd(),
        output: written.as_fd(),
        cgroup: opened.as_ref().map(OwnedFd::as_fd),
        identity: user.change.clone(),
        open_files: shared.options.open_files,
        neutral_oom_score: shared.protected_from_oom,
        note: None,
    };
    let memory = ChildMemory::new()
        .map_err(|source| system("cannot create a process".to_owned(), source))?;
    let begun = shared
        .probes
        .begin(serial, identity, || spawn(&plan, &memory));
    let (listing, pid, pidfd) = begun.map_err(|error| {
        let removed = cgroup.as_ref().map(AgentCgroup::remove);
        if let Some(Err(error)) = removed {
            tracing::warn!(%agent, %error, "cannot remove the cgroup of a probe");
        }
        start_error(error, &program, &directory)
    })?;
    let session = Session {
        leader: pid,
        leader_known: true,
        invocation: identity,
    };
    Ok(Launched {
        pid,
        pidfd,
        tree: cgroup.map_or(Tree::Session(session), Tree::Cgroup),
        output,
        listing,
    })
}

fn cgroup_name(agent: &osmoda_core::name::AgentName, serial: u64) -> String {
    format!("{agent}{CGROUP_MARK}{serial}")
}

fn prepare(cgroup: &AgentCgroup, shared: &Shared, spec: &AgentSpec) -> Result<OwnedFd, StartError> {
    let prepare = || {
        let directory = cgroup.open()?;
        cgroup.limit(&spec.resources, &shared.enforcement.controllers)?;
        Ok(directory)
    };
    let what = || format!("cannot prepare the cgroup {}", cgroup.path().display());
    prepare().map_err(|source| system(what(), source))
}

/// Its reading end and its writing end. The latter is the agent's user's, who may then open it by
/// name (/dev/stdout) too.
fn pipe(owner: Option<&Identity>) -> Result<(OwnedFd, OwnedFd), StartError> {
    let make = || {
        let (reading, writing) = pipe_with(PipeFlags::CLOEXEC)?;
        if let Some(owner) = owner {
            let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
            fchown(&writing, Some(uid), Some(gid))?;
        }
        io::Result::Ok((reading, writing))
    };
    make().map_err(|source| system("cannot make a pipe for the output".to_owned(), source))
}

/// The variables of credentials, from the files that the instance was given at its start.
pub(crate) fn credential_variables(
    runtime_dir: &Path,
    request: &ProbeRequest,
) -> Result<Vec<(String, Vec<u8>)>, StartError> {
    let directory = credentials::directory(runtime_dir, &request.agent.name);
    let declared: &BTreeMap<_, _> = &request.agent.spec.credentials;
    let mut variables = Vec::new();
    for (name, credential) in declared {
        let Some(variable) = &credential.environment_variable else {
            continue;
        };
        let path = directory.join(name);
        let mut value = Vec::new();
        let read = File::open(&path).and_then(|file| {
            let mut file = file.take(CREDENTIAL_MAX);
            file.read_to_end(&mut value)
        });
        read.map_err(|source| StartError::Credential {
            name: name.clone(),
            path: path.display().to_string(),
            source,
        })?;
        let text = value.strip_suffix(b"\n").unwrap_or(&value);
        variables.push((variable.clone(), text.to_vec()));
    }
    Ok(variables)
}

fn fresh_identity() -> InvocationId {
    let mut bytes = [0; 16];
    // The agent runs, so the kernel has had its random bits for long.
    while getrandom(&mut bytes, GetRandomFlags::empty()) != Ok(bytes.len()) {}
    InvocationId(bytes)
}
