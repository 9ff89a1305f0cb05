//! A start in two parts: what can be read and made ready, and the act.
//!
//! Order of the act, under the agent's gate: nothing of the former instance lives; credentials,
//! environment and note are in their places; then systemd is asked. So a daemon that dies at any
//! moment leaves a note of what may run.

use std::{collections::BTreeMap, future::Future, io, path::PathBuf, sync::Arc};

use osmoda_core::{
    name::AgentName,
    observed::{Instance, InstanceState},
    time::Mono,
};
use rustix::process::{PidfdFlags, pidfd_open};
use tokio::task::{JoinError, JoinHandle};

use super::{
    bus::Property,
    definition::{self, Place, What},
    ear::{Active, Unit},
    ends, environment,
    launch::{self, How, Ran, Subject},
    shared::Shared,
    unit_name,
};
use crate::{
    PreparedStart, StartError, StartRequest,
    blocking::spawn_blocking,
    native::{
        credentials::{self, Credentials},
        environment::{self as variables, Surroundings},
        note::{self, Note},
        process::Process,
        procfs,
        sys::spawn::pid as to_pid,
        table::Latest,
        user,
    },
};

/// A start that waits for the word.
pub struct Start {
    shared: Arc<Shared>,
    preparing: JoinHandle<Result<Prepared, JoinError>>,
}

struct Prepared {
    request: StartRequest,
    ready: Result<Ready, StartError>,
}

/// All that was read. Dropped, it leaves no trace.
struct Ready {
    place: Place,
    program: PathBuf,
    directory: PathBuf,
    credentials: Credentials,
    environment: Vec<u8>,
    definition: Vec<Property>,
}

/// Begins a start: what can be read now is.
pub(super) fn begin(shared: &Arc<Shared>, request: StartRequest) -> Start {
    let for_it = Arc::clone(shared);
    Start {
        shared: Arc::clone(shared),
        preparing: shared.scheduler.spawn(async move {
            let inherited = inherited(&for_it).await;
            let preparing = spawn_blocking(move || {
                let ready = inherited.and_then(|names| prepare(&for_it, &request, &names));
                Prepared { request, ready }
            });
            preparing.await
        }),
    }
}

/// The variables that systemd gives to all services by itself (systemctl set-environment).
pub(super) async fn inherited(shared: &Shared) -> Result<Vec<String>, StartError> {
    let environment = shared.bus.manager_property("Environment").await;
    let environment = environment.map_err(|error| StartError::System {
        what: "cannot ask systemd for its environment".to_owned(),
        source: error.into(),
    })?;
    let all = Vec::<String>::try_from(environment).unwrap_or_default();
    let names = all.iter().filter_map(|variable| variable.split_once('='));
    Ok(names.map(|(name, _)| name.to_owned()).collect())
}

impl PreparedStart for Start {
    /// Once the word is given the start goes on to its end, even if the future is dropped.
    fn launch(self) -> impl Future<Output = Result<Instance, StartError>> + Send {
        let Self { shared, preparing } = self;
        let scheduler = shared.scheduler.clone();
        let acting = scheduler.spawn(async move {
            let prepared = preparing
                .await
                .and_then(|prepared| prepared)
                .map_err(broken_off)?;
            act(&shared, prepared).await
        });
        async move { acting.await.map_err(broken_off)? }
    }
}

fn broken_off(error: JoinError) -> StartError {
    StartError::System {
        what: "the start was broken off".to_owned(),
        source: io::Error::other(error),
    }
}

fn prepare(
    shared: &Shared,
    request: &StartRequest,
    inherited: &[String],
) -> Result<Ready, StartError> {
    let (agent, spec) = (&request.agent, &*request.spec);
    let options = &shared.options;
    let user = user::resolve(spec)?;
    let place = Place::of(options, agent, spec, &user.name);
    let hook = options.on_credential.as_ref();
    let credentials = credentials::read_all(&options.runtime_dir, agent, &spec.credentials, hook)?;
    let unit = unit_name(agent);
    let around = Surroundings {
        agent,
        invocation: request.invocation,
        generation: request.generation.number,
        home: &place.home,
        user: &place.user,
        notify_socket: options.notify_socket.as_deref(),
        credentials_directory: &definition::credentials_directory(&unit),
        credential_variables: credentials.variables(),
    };
    let all = variables::variables(spec, around);
    let (program, directory) = program(
        &all,
        &spec.command,
        spec.working_directory.as_deref(),
        &place,
    )?;
    let what = What {
        agent,
        spec,
        program: &program,
        command: &spec.command,
        environment_file: &options.environment(agent),
        place: &place,
    };
    let mut definition = definition::of_agent(options, &what);
    definition.push(("UnsetEnvironment", unset(&all, inherited)));
    Ok(Ready {
        environment: environment::text(&all)?,
        definition,
        place,
        program,
        directory,
        credentials,
    })
}

/// The file to execute, absolute, and the directory that it begins in.
pub(super) fn program(
    all: &BTreeMap<String, Vec<u8>>,
    command: &[String],
    working_directory: Option<&str>,
    place: &Place,
) -> Result<(PathBuf, PathBuf), StartError> {
    let path = all.get("PATH").cloned().unwrap_or_default();
    let first = command.first().map_or("", String::as_str);
    let directory = working_directory.map_or_else(|| place.home.clone(), PathBuf::from);
    let program = directory.join(variables::find_program(first, &path)?);
    Ok((program, directory))
}

/// What systemd would add to an environment: what it inherits, and what it makes itself.
pub(super) fn unset(
    all: &BTreeMap<String, Vec<u8>>,
    inherited: &[String],
) -> zbus::Variant<'static> {
    let own = environment::SYSTEMDS_OWN.iter().copied();
    let added = own.chain(inherited.iter().map(String::as_str));
    let added: Vec<&str> = added.filter(|name| !all.contains_key(*name)).collect();
    definition::strings(&added)
}

async fn act(shared: &Arc<Shared>, prepared: Prepared) -> Result<Instance, StartError> {
    let Prepared { request, ready } = prepared;
    let agent = request.agent.clone();
    let _gate = shared.table.gate(&agent).lock_owned().await;
    if let Some(latest) = shared.table.latest(&agent) {
        ends::ended_or_refused(shared, &agent, latest).await?;
    }
    let ready = ready?;
    let started_at = shared.options.clock.mono();
    let unit = shared
        .unit(&agent)
        .await
        .map_err(|error| StartError::System {
            what: format!("cannot listen to {}", unit_name(&agent)),
            source: error.into(),
        })?;
    put(shared, &ready, &request, started_at)?;
    shared.table.set_starting(&agent, request.invocation);
    match run(shared, &agent, &unit, ready).await {
        Ok(ran) => register(shared, &unit, request, ran, started_at).await,
        Err(error) => {
            if let Err(error) = note::remove(&shared.instances_dir, &agent) {
                tracing::warn!(%agent, %error, "cannot remove the note of a failed start");
            }
            shared.remove_files(&agent);
            launch::make_room(&shared.bus, &unit.name).await;
            shared.record(&agent, |record| record.definition = None);
            Err(error)
        }
    }
}

/// Puts files and note in their places: a few small ones in the runtime directory, which is in
/// memory, so that waiting for another thread would take longer.
fn put(
    shared: &Shared,
    ready: &Ready,
    request: &StartRequest,
    started_at: Mono,
) -> Result<(), StartError> {
    ready.credentials.put(None)?;
    let failed = |what: &str| {
        let what = what.to_owned();
        move |source| StartError::System { what, source }
    };
    environment::put(
        &shared.options.environment(&request.agent),
        &ready.environment,
    )
    .map_err(failed("cannot write the environment of the agent"))?;
    let note = Note::new(
        request.invocation,
        request.generation.clone(),
        started_at,
        shared.options.clock.boot_id().to_owned(),
        Some(shared.cgroup(&unit_name(&request.agent)).path().to_owned()),
    );
    note::write(&shared.instances_dir, &request.agent, &note)
        .map_err(failed("cannot write the instance note"))
}

/// Has systemd start it: as it is loaded, if nothing about it is to change.
async fn run(
    shared: &Shared,
    agent: &AgentName,
    unit: &Unit,
    ready: Ready,
) -> Result<Ran, StartError> {
    let subject = Subject {
        program: &ready.program,
        directory: &ready.directory,
        sandboxed: ready.place.dynamic,
    };
    let fits = shared.record(agent, |record| {
        !record.foreign && record.definition.as_ref() == Some(&ready.definition)
    });
    if fits && unit.state().active == Active::Dead {
        match launch::start(&shared.bus, unit, How::Again, &subject).await {
            Err(StartError::System { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
    }
    if let Some(true) = shared.record(agent, |record| {
        record
            .definition
            .take()
            .map(|_| std::mem::take(&mut record.foreign))
    }) {
        // Also what was set for good.
        launch::make_room(&shared.bus, &unit.name).await;
        if let Err(error) = shared.bus.revert(&unit.name).await {
            tracing::warn!(%agent, %error, "what somebody set for a unit cannot be undone");
        }
    } else {
        launch::make_room(&shared.bus, &unit.name).await;
    }
    let ran = launch::start(&shared.bus, unit, How::Anew(&ready.definition), &subject).await?;
    shared.record(agent, |record| {
        record.limits = Some(super::limits_of(&ready.definition));
        record.definition = Some(ready.definition);
    });
    Ok(ran)
}

/// Makes what runs the agent's instance.
async fn register(
    shared: &Arc<Shared>,
    unit: &Arc<Unit>,
    request: StartRequest,
    ran: Ran,
    started_at: Mono,
) -> Result<Instance, StartError> {
    let agent = request.agent;
    shared.record(&agent, |record| {
        record.run = Some(ran.run);
        record.last_words = None;
    });
    let instance = Instance {
        agent: agent.clone(),
        invocation: request.invocation,
        generation: request.generation,
        started_at,
        state: InstanceState::Running { pid: ran.pid },
        adopted: false,
    };
    let tree = shared.tree(&agent);
    shared.cgroup_ids.learn(&agent, &tree);
    let start_time = procfs::stat(ran.pid).map_or(0, |stat| stat.start_time);
    let (run, pid) = (ran.run, ran.pid);
    let noted = note::update(&shared.instances_dir, &agent, |note| {
        note.pid = pid;
        note.start_time = start_time;
        note.manager_run = Some(run.0);
    });
    if let Err(error) = noted {
        tracing::warn!(%agent, %error, "the instance note lacks the main process");
    }
    let pidfd = to_pid(ran.pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    let lives = ran.state.active != Active::Dead;
    let (Some(pidfd), true) = (pidfd, lives) else {
        // It has ended before anybody could look.
        let state = unit.wait(|state| state.run != Some(run) || state.active == Active::Dead);
        let state = state.await;
        let exit = ends::exit(&state, run, shared.options.clock.mono(), false);
        ends::record_at_once(shared, unit, run, &instance, tree, exit);
        return Ok(instance);
    };
    let _there = shared.scheduler.enter();
    let process = Process::new(ran.pid, pidfd, tree).map_err(|source| StartError::System {
        what: "cannot watch the new process".to_owned(),
        source,
    })?;
    let mut latest = Latest::running(instance, process);
    while let Err(pid) = shared.table.put_started(&agent, &latest) {
        if let Some(next) = super::members::successor(shared, &agent, pid, &latest) {
            latest = next;
        }
    }
    ends::wait_for(shared, unit, run, &latest);
    Ok(latest.instance)
}
