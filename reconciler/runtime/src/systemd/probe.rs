//! Exec probes: each is a transient unit of its own beside its agent's, run as the agent runs.
//!
//! It ends with its main process, at its timeout, or when nobody waits for it any more, whichever
//! comes first, and then all of it is killed; systemd sees to that if the daemon dies before.

use std::{
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use osmoda_core::{name::AgentName, observed::Generation};
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep_until, timeout},
};
use zbus::{Fd, Variant};

use super::{
    bus::Property,
    definition::{self, Place, What},
    ear::{Active, Unit},
    ends, environment,
    launch::{self, How, Ran, Subject},
    shared::Shared,
    start, unit_name,
};
use crate::{
    ProbeEnd, ProbeError, ProbeRequest, StartError,
    blocking::spawn_blocking,
    native::{
        environment::{self as variables, Surroundings},
        probe::{MARK, Output, credential_variables},
        tree::END_WAIT,
        user,
    },
};

/// Between an agent's name, which has no dot, and a number.
const BETWEEN: &str = ".probe.";
/// The names of all probes' units.
pub(super) const PROBE_UNITS: &str = "osmoda-*.probe.*.service";
/// How much longer than its time a probe may run before systemd itself ends it.
const SLACK: Duration = Duration::from_secs(10);

type Answer = oneshot::Sender<Result<ProbeEnd, ProbeError>>;

/// Whether a unit's name is a probe's.
pub(super) fn is_one(unit: &str) -> bool {
    let name = unit.strip_prefix(super::UNIT_PREFIX);
    name.is_some_and(|name| name.contains(BETWEEN) && name.ends_with(".service"))
}

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
    let attending = attend(Arc::clone(shared), request, generation, answer);
    shared.scheduler.spawn(attending);
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
    let permit = tokio::select! {
        permit = shared.probe_starts.acquire() => permit,
        () = answer.closed() => return,
    };
    // Its time begins now: that others were first is not its agent's fault.
    let deadline = Instant::now() + request.timeout;
    let begun = tokio::spawn(Begun::begin(Arc::clone(&shared), request, from));
    tokio::pin!(begun);
    let begun = tokio::select! {
        begun = &mut begun => begun,
        () = sleep_until(deadline) => {
            // The start itself takes too long; who asks is not kept waiting for it.
            let _ = answer.send(Ok(ProbeEnd { status: None, output: Vec::new() }));
            if let Ok(Ok(begun)) = begun.await {
                begun.finish(false).await;
            }
            return;
        }
    };
    drop(permit);
    let mut begun = match begun.map_err(|error| StartError::System {
        what: "the probe was broken off".to_owned(),
        source: io::Error::other(error),
    }) {
        Ok(Ok(begun)) => begun,
        Ok(Err(error)) | Err(error) => {
            let _ = answer.send(Err(ProbeError::Start(error))); // nobody may be waiting
            return;
        }
    };
    let ended = tokio::select! {
        () = begun.unit.wait_until_dead() => true,
        () = sleep_until(deadline) => false,
        () = answer.closed() => false,
        () = begun.output.keep_reading() => false, // never comes
    };
    let end = begun.finish(ended).await;
    let _ = answer.send(Ok(end)); // nobody may be waiting
}

/// A probe that runs.
struct Begun {
    shared: Arc<Shared>,
    unit: Arc<Unit>,
    ran: Ran,
    output: Output,
    environment_file: PathBuf,
}

/// What was read for it.
struct Ready {
    environment: Vec<u8>,
    definition: Vec<Property>,
    program: PathBuf,
    directory: PathBuf,
    sandboxed: bool,
    output: OwnedFd,
}

impl Begun {
    async fn begin(
        shared: Arc<Shared>,
        request: ProbeRequest,
        generation: Generation,
    ) -> Result<Self, StartError> {
        let name = name(&request.agent.name, shared.next_probe());
        let environment_file = shared.options.runtime_dir.join("environment").join(&name);
        let inherited = start::inherited(&shared).await?;
        let preparing = {
            let (shared, name, file) =
                (Arc::clone(&shared), name.clone(), environment_file.clone());
            spawn_blocking(move || {
                let ready = prepare(&shared, &request, (&generation, &inherited), &name, &file)?;
                environment::put(&file, &ready.environment).map_err(|source| {
                    let what = "cannot write the environment of the probe".to_owned();
                    StartError::System { what, source }
                })?;
                Ok(ready)
            })
        };
        let failed = |what: &str| {
            let what = what.to_owned();
            move |source| StartError::System { what, source }
        };
        let ready = preparing.await;
        let ready =
            ready.map_err(|e| failed("the probe was broken off")(io::Error::other(e)))??;
        let listening = shared.ear.unit(&shared.bus, &name).await;
        let unit = listening.map_err(|e| failed("cannot listen to the probe's unit")(e.into()))?;
        let subject = Subject {
            program: &ready.program,
            directory: &ready.directory,
            sandboxed: ready.sandboxed,
        };
        let how = How::Anew(&ready.definition);
        let started = launch::start(&shared.bus, &unit, how, &subject).await;
        // Its writing end is systemd's now.
        drop(ready.definition);
        let output = Output::new(ready.output).map_err(failed("cannot read what it writes"));
        match started.and_then(|ran| Ok((ran, output?))) {
            Ok((ran, output)) => Ok(Self {
                shared,
                unit,
                ran,
                output,
                environment_file,
            }),
            Err(error) => {
                clear(&shared, &unit, &environment_file).await;
                Err(error)
            }
        }
    }

    /// Kills what is left and gives how it ended.
    async fn finish(mut self, ended: bool) -> ProbeEnd {
        let name = self.unit.name.clone();
        let cgroup = self.shared.cgroup(&name);
        match spawn_blocking(move || cgroup.kill_and_wait(END_WAIT)).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => {
                tracing::warn!(unit = name, "a probe does not end even when it is killed")
            }
            Ok(Err(error)) => {
                tracing::warn!(unit = name, %error, "cannot end what a probe started")
            }
            Err(error) => tracing::warn!(unit = name, %error, "the end of a probe was broken off"),
        }
        if timeout(END_WAIT, self.unit.wait_until_dead())
            .await
            .is_err()
        {
            tracing::warn!(unit = name, "systemd does not tell of the end of a probe");
        }
        self.output.read_rest();
        let now = self.shared.options.clock.mono();
        let exit = ends::exit(&self.unit.state(), self.ran.run, now, true);
        clear(&self.shared, &self.unit, &self.environment_file).await;
        ProbeEnd {
            status: ended.then_some(exit.status),
            output: self.output.into_kept(),
        }
    }
}

/// Leaves nothing of a probe's unit.
async fn clear(shared: &Shared, unit: &Unit, environment_file: &Path) {
    if let Err(error) = environment::remove(environment_file) {
        tracing::warn!(unit = unit.name, %error, "cannot remove the environment of a probe");
    }
    launch::make_room(&shared.bus, &unit.name).await;
    shared.ear.forget(&shared.bus, &unit.name).await;
}

fn name(agent: &AgentName, serial: u64) -> String {
    format!("{}{agent}{BETWEEN}{serial}.service", super::UNIT_PREFIX)
}

fn prepare(
    shared: &Shared,
    request: &ProbeRequest,
    (generation, inherited): (&Generation, &[String]),
    name: &str,
    environment_file: &Path,
) -> Result<Ready, StartError> {
    let (agent, spec) = (&request.agent.name, &request.agent.spec);
    let options = &shared.options;
    let user = user::resolve(spec)?;
    let place = Place::of(options, agent, spec, &user.name);
    let around = Surroundings {
        agent,
        invocation: request.invocation,
        generation: generation.number,
        home: &place.home,
        user: &place.user,
        notify_socket: None,
        credentials_directory: &definition::credentials_directory(name),
        credential_variables: credential_variables(&options.runtime_dir, request)?,
    };
    let mut all = variables::variables(spec, around);
    all.remove("WATCHDOG_USEC");
    // systemd gives it one of its own; with the instance's it would be taken for it.
    all.remove("INVOCATION_ID");
    all.insert(MARK.to_owned(), request.invocation.to_string().into());
    let directory = spec.working_directory.as_deref();
    let (program, directory) = start::program(&all, &request.command, directory, &place)?;
    let what = What {
        agent,
        spec,
        program: &program,
        command: &request.command,
        environment_file,
        place: &place,
    };
    let (output, written) = pipe_with(PipeFlags::CLOEXEC).map_err(|errno| StartError::System {
        what: "cannot make a pipe for the output".to_owned(),
        source: errno.into(),
    })?;
    let copy = written.try_clone().map_err(|source| StartError::System {
        what: "cannot make a pipe for the output".to_owned(),
        source,
    })?;
    let longest = definition::micros(request.timeout.saturating_add(SLACK));
    let mut definition = definition::common(options, &what);
    definition.extend([
        (
            "Description",
            format!("probe of osmoda agent {agent}").into(),
        ),
        ("KillSignal", libc::SIGKILL.into()),
        ("RuntimeMaxUSec", longest.into()),
        // The agent's /tmp, where it has one of its own.
        (
            "JoinsNamespaceOf",
            definition::strings(&[&unit_name(agent)]),
        ),
        (
            "StandardOutputFileDescriptor",
            Variant::Fd(Fd::Owned(written)),
        ),
        ("StandardErrorFileDescriptor", Variant::Fd(Fd::Owned(copy))),
        ("UnsetEnvironment", start::unset(&all, inherited)),
    ]);
    Ok(Ready {
        environment: environment::text(&all)?,
        definition,
        program,
        directory,
        sandboxed: place.dynamic,
        output,
    })
}

impl Unit {
    async fn wait_until_dead(&self) {
        self.wait(|state| state.active == Active::Dead).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probes_unit_is_no_agents() {
        let unit = name(&AgentName::new("a-probe-1").unwrap(), 7);
        assert_eq!(unit, "osmoda-a-probe-1.probe.7.service");
        assert!(is_one(&unit));
        assert_eq!(definition::agent_of(&unit), None);
        assert!(!is_one("osmoda-a-probe-1.service"));
    }
}
