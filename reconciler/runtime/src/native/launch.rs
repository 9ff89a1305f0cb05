//! The steps of a start, all blocking, in their order.
//!
//! [`prepare`]: who and what; then nothing of the former instance may live; then directories,
//! credentials, output and limits. [`Ready::launch`]: what was read and opened gets into its
//! place; then the child. A failure names the step and the thing, and leaves no process behind.

use std::{
    ffi::{CString, OsStr},
    fs::{self, DirBuilder},
    io,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::{
            ffi::OsStrExt as _,
            fs::{DirBuilderExt as _, MetadataExt as _, chown},
        },
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use osmoda_core::{name::AgentName, observed::InvocationId, time::Mono};

use super::{
    cgroup::AgentCgroup,
    credentials::{self, Credentials},
    environment::{self, Surroundings},
    logs::{self, NextRun},
    note::NoteDraft,
    shared::Shared,
    sys::spawn::{
        CStringArray, ChildMemory, ChildPlan, Identity, NotePlan, SpawnError, Stage, spawn,
    },
    tree::{END_WAIT, Session, Tree},
    user::{self, AgentUser},
};
use crate::{StartError, StartRequest};

/// A program that runs.
pub(super) struct Launched {
    pub request: StartRequest,
    pub pid: u32,
    pub pidfd: OwnedFd,
    pub tree: Tree,
    pub started_at: Mono,
}

/// A start of which everything is done that does not act. Dropped, it leaves no trace.
pub(super) struct Ready {
    request: StartRequest,
    user: AgentUser,
    program: PathBuf,
    arguments: Vec<CString>,
    environment: Vec<CString>,
    working_directory: PathBuf,
    credentials: Credentials,
    output: NextRun,
    memory: Arc<ChildMemory>,
    cgroup: Option<(AgentCgroup, OwnedFd)>,
}

/// Reads and opens what a start needs; `former` is what is left of the instance before, whose
/// end is made certain here.
pub(super) fn prepare(
    shared: &Shared,
    request: StartRequest,
    former: Option<&Tree>,
) -> Result<Ready, StartError> {
    if let Some(hook) = &shared.options.on_prepare {
        hook();
    }
    let (agent, spec) = (&request.agent, &*request.spec);
    let user = user::resolve(spec)?;
    if let Some(former) = former {
        end_former(former)?;
    }
    let cgroup = agent_cgroup(shared, agent);
    // Also what no note tells of, such as after a move of the runtime directory.
    let own = cgroup.clone().map(Tree::Cgroup);
    if let Some(own) = own.as_ref().filter(|own| Some(*own) != former) {
        end_former(own)?;
    }
    let home = shared.home(agent);
    own_directory(&home, user.change.as_ref())
        .map_err(|source| system(format!("cannot create {}", home.display()), source))?;
    let hook = shared.options.on_credential.as_ref();
    let credentials =
        credentials::read_all(&shared.options.runtime_dir, agent, &spec.credentials, hook)?;
    let variables = variables(shared, &request, &user, &home, &credentials);
    let path = variables.get("PATH").cloned().unwrap_or_default();
    let command = spec.command.first().map_or("", String::as_str);
    let program = environment::find_program(command, &path)?;
    let environment = environment::to_c_strings(variables)?;
    let files = logs::log_files(&shared.options.log_dir, agent);
    let output = NextRun::open(&files)
        .map_err(|source| system(format!("cannot open {}", files.next.display()), source))?;
    let cgroup = match cgroup {
        Some(cgroup) => {
            let directory = prepare_cgroup(&cgroup, shared, &request)?;
            Some((cgroup, directory))
        }
        None => None,
    };
    Ok(Ready {
        arguments: arguments(&spec.command)?,
        working_directory: spec.working_directory.as_ref().map_or(home, PathBuf::from),
        request,
        user,
        program,
        environment,
        credentials,
        output,
        memory: (shared.memories.take())
            .map_err(|source| system("cannot create a process".to_owned(), source))?,
        cgroup,
    })
}

impl Ready {
    /// Whose start it is.
    pub fn agent(&self) -> &AgentName {
        &self.request.agent
    }

    /// The identity of what will run.
    pub fn invocation(&self) -> InvocationId {
        self.request.invocation
    }

    /// Has [`Self::launch`] go as far as it can without acting, and wait there for the word,
    /// which is given through the memory that is returned. `None`: this start would act before,
    /// because credentials have to be put in their places.
    pub fn hold(&self) -> Option<Arc<ChildMemory>> {
        self.credentials.are_in_place().then(|| {
            self.memory.hold();
            Arc::clone(&self.memory)
        })
    }

    /// The act: puts credentials and output in their places and makes the process.
    pub fn launch(self, shared: &Shared) -> Result<Launched, StartError> {
        let request = self.request;
        self.credentials.put(self.user.change.as_ref())?;
        let (cgroup, directory) = self.cgroup.unzip();
        let started_at = shared.options.clock.mono();
        let draft = NoteDraft {
            invocation: request.invocation,
            generation: &request.generation,
            started_at,
            boot_id: shared.options.clock.boot_id(),
            cgroup: cgroup.as_ref().map(AgentCgroup::path),
        };
        let mut plan = ChildPlan {
            program: c_string(self.program.as_os_str(), "command")?,
            arguments: CStringArray::new(self.arguments),
            environment: CStringArray::new(self.environment),
            working_directory: c_string(self.working_directory.as_os_str(), "workingDirectory")?,
            input: shared.null.as_fd(),
            output: self.output.file(),
            cgroup: directory.as_ref().map(OwnedFd::as_fd),
            identity: self.user.change.clone(),
            open_files: shared.options.open_files,
            neutral_oom_score: shared.protected_from_oom,
            note: Some(note_plan(shared, &request.agent, &draft)?),
        };
        let mut spawned = spawn(&plan, &self.memory);
        let renewed;
        if let Err(SpawnError { error: None, .. }) = spawned
            && let Some(cgroup) = &cgroup
        {
            renewed = renew_cgroup(cgroup, shared, &request)?;
            plan.cgroup = Some(renewed.as_fd());
            spawned = spawn(&plan, &self.memory);
        }
        let failed = |error| start_error(error, &self.program, &self.working_directory);
        let (pid, pidfd) = spawned.map_err(failed)?;
        let session = Session {
            leader: pid,
            leader_known: true,
            invocation: request.invocation,
        };
        drop(plan);
        shared.memories.give_back(self.memory);
        // Its output goes to the file whatever that is called: the agent need not wait for this.
        if let Err(error) = self.output.begin() {
            tracing::warn!(agent = %request.agent, %error, "output of earlier runs cannot be moved");
        }
        Ok(Launched {
            request,
            pid,
            pidfd,
            started_at,
            tree: cgroup.map_or(Tree::Session(session), Tree::Cgroup),
        })
    }
}

/// The cgroup that an agent has in this runtime.
pub(super) fn agent_cgroup(shared: &Shared, agent: &AgentName) -> Option<AgentCgroup> {
    let place = shared.enforcement.cgroup.as_ref()?;
    Some(AgentCgroup::new(place.join(agent.as_str())))
}

fn end_former(former: &Tree) -> Result<(), StartError> {
    let what = "cannot end what is left of the former instance";
    match former.kill_and_wait(END_WAIT) {
        Ok(true) => Ok(()),
        Ok(false) => Err(system(what.to_owned(), io::ErrorKind::TimedOut.into())),
        Err(source) => Err(system(what.to_owned(), source)),
    }
}

fn variables(
    shared: &Shared,
    request: &StartRequest,
    user: &AgentUser,
    home: &Path,
    credentials: &Credentials,
) -> std::collections::BTreeMap<String, Vec<u8>> {
    let options = &shared.options;
    let around = Surroundings {
        agent: &request.agent,
        invocation: request.invocation,
        generation: request.generation.number,
        home,
        user: &user.name,
        notify_socket: options.notify_socket.as_deref(),
        credentials_directory: &credentials::directory(&options.runtime_dir, &request.agent),
        credential_variables: credentials.variables(),
    };
    environment::variables(&request.spec, around)
}

/// An agent's directory, mode 0700 when new, and its user's.
fn own_directory(directory: &Path, owner: Option<&Identity>) -> io::Result<()> {
    let found = match fs::metadata(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            DirBuilder::new().mode(0o700).create(directory)?;
            fs::metadata(directory)?
        }
        other => other?,
    };
    match owner {
        Some(owner) if owner.uid != found.uid() => {
            chown(directory, Some(owner.uid), Some(owner.gid))
        }
        _ => Ok(()),
    }
}

fn prepare_cgroup(
    cgroup: &AgentCgroup,
    shared: &Shared,
    request: &StartRequest,
) -> Result<OwnedFd, StartError> {
    let resources = &request.spec.resources;
    let missing = shared.enforcement.missing(resources);
    if !missing.is_empty() {
        tracing::warn!(agent = %request.agent, ?missing, "limits that this host cannot enforce");
    }
    let prepare = || {
        let directory = cgroup.open()?;
        cgroup.limit(resources, &shared.enforcement.controllers)?;
        // Before anything runs there: what it says in its first instant is heard, even if it is
        // its last.
        shared.cgroup_ids.learn_open(&request.agent, &directory)?;
        Ok(directory)
    };
    let what = || format!("cannot prepare the cgroup {}", cgroup.path().display());
    prepare().map_err(|source| system(what(), source))
}

/// A new cgroup in place of one in which a child was killed at its birth.
///
/// Newer kernels (seen on 6.18) kill whatever is born, with CLONE_INTO_CGROUP, in a cgroup whose
/// cgroup.kill was ever written: they take the birth for one that raced with the kill.
fn renew_cgroup(
    cgroup: &AgentCgroup,
    shared: &Shared,
    request: &StartRequest,
) -> Result<OwnedFd, StartError> {
    let what = || format!("cannot renew the cgroup {}", cgroup.path().display());
    cgroup.remove().map_err(|source| system(what(), source))?;
    prepare_cgroup(cgroup, shared, request)
}

fn note_plan<'a>(
    shared: &'a Shared,
    agent: &AgentName,
    draft: &NoteDraft<'_>,
) -> Result<NotePlan<'a>, StartError> {
    let parts = draft
        .parts()
        .map_err(|source| system("cannot write the instance note".to_owned(), source.into()))?;
    Ok(NotePlan {
        directory: shared.instances.as_fd(),
        temporary: c_string(OsStr::new(&format!("{agent}.new")), "name")?,
        name: c_string(OsStr::new(agent.as_str()), "name")?,
        parts,
    })
}

pub(super) fn arguments(command: &[String]) -> Result<Vec<CString>, StartError> {
    let convert = |text: &String| c_string(OsStr::new(text), "command");
    command.iter().map(convert).collect()
}

pub(super) fn c_string(text: &OsStr, field: &str) -> Result<CString, StartError> {
    CString::new(text.as_bytes()).map_err(|error| StartError::Invalid {
        what: format!("{field} holds a zero byte"),
        source: error.into(),
    })
}

pub(super) fn system(what: String, source: io::Error) -> StartError {
    StartError::System { what, source }
}

/// Says what the child could not do, and whether the spec or the system is to blame.
pub(super) fn start_error(failure: SpawnError, program: &Path, directory: &Path) -> StartError {
    let shown = program.display();
    let what = match failure.stage {
        Stage::Clone => "cannot create a process".to_owned(),
        Stage::Session => "cannot begin a session".to_owned(),
        Stage::Cgroup => "cannot enter the agent's cgroup".to_owned(),
        Stage::Descriptors => "cannot connect input and output".to_owned(),
        Stage::Limits => "cannot set the limit of open files".to_owned(),
        Stage::Word => "cannot wait for the word to start".to_owned(),
        Stage::Note => "cannot write the instance note".to_owned(),
        Stage::Identity => "cannot change to the agent's user".to_owned(),
        Stage::WorkingDirectory => {
            format!("cannot enter the working directory {}", directory.display())
        }
        Stage::Execute => match &failure.error {
            Some(error) if error.kind() == io::ErrorKind::NotFound && program.exists() => {
                format!("cannot execute {shown} (its interpreter or loader is missing)")
            }
            _ => format!("cannot execute {shown}"),
        },
    };
    let Some(source) = failure.error else {
        let source = io::Error::other("it was killed before that");
        return system(format!("cannot execute {shown}"), source);
    };
    let specified = matches!(failure.stage, Stage::WorkingDirectory | Stage::Execute);
    if specified && is_lasting(&source) {
        StartError::Invalid { what, source }
    } else {
        system(what, source)
    }
}

/// Whether the same files give the same error again.
fn is_lasting(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ENOENT
                | libc::EACCES
                | libc::EPERM
                | libc::ENOTDIR
                | libc::EISDIR
                | libc::ELOOP
                | libc::ENAMETOOLONG
                | libc::ENOEXEC
                | libc::EINVAL
                | libc::ELIBBAD
                | libc::E2BIG
        )
    )
}
