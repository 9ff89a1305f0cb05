//! Agents as transient units of systemd: `osmoda-NAME.service` in `osmoda.slice`.
//!
//! Start with [`SystemdRuntime::open`] and its [`Runtime`] implementation. The rooms:
//! - talking: `bus` (calls), `ear` (signals, and what they add up to for each unit);
//! - a start: `start` (its two parts), `definition` (a spec as properties of a unit),
//!   `environment` (the file with what differs between starts), `launch` (the job);
//! - an end: `ends`; a new daemon: `adopt`; `members` (whose a process is, MAINPID=);
//! - `probe`: exec probes, units of their own; `journal`: what agents write, by journalctl, and
//!   `run_files` by its files (`journal_file`);
//! - `survey`: whether this host can; `shared`: what all of them have in common.
//!
//! What is not systemd's is the native runtime's: the table of instances, their notes, pidfds,
//! credentials, and signals to a cgroup.
//!
//! Invariants: systemd never restarts an agent by itself; a unit's signals are subscribed to
//! before its job is made; what differs between two starts, and every secret, is in a file and not
//! in a property; a live unit of an agent's name that osmoda does not know is stopped before that
//! agent is started.

mod adopt;
mod bus;
mod definition;
mod ear;
mod ends;
mod environment;
pub mod journal;
mod journal_file;
mod launch;
mod members;
mod options;
mod probe;
pub mod run_files;
mod shared;
mod start;
mod survey;

use std::{
    collections::BTreeMap,
    fs::DirBuilder,
    io,
    os::{fd::OwnedFd, unix::fs::DirBuilderExt as _},
    path::Path,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64},
    },
    time::Duration,
};

use osmoda_core::{
    name::AgentName,
    observed::{Instance, InvocationId, Limit, Limits, Observation},
    resources::Usage,
    spec::{AgentSpec, Stop},
    time::Mono,
};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, mpsc},
    task::AbortHandle,
};
use zbus::Variant;

use self::{
    bus::{Bus, Property, SERVICE},
    ear::{Active, Ear},
    shared::{Shared, cgroup_root},
};
use crate::{
    MainPidError, ObserveError, ProbeEnd, ProbeError, ProbeRequest, Runtime, RuntimeEvent, Sender,
    StartRequest, StopError, Stopped,
    blocking::spawn_blocking,
    native::{
        Enforcement,
        lock::{LockError, lock},
        membership::CgroupIds,
        table::Table,
        tree::Tree,
        usage,
    },
};

pub use self::{
    options::{OpenError, SystemdOptions},
    start::Start,
    survey::{Survey, check, survey},
};

/// The slice that all agents are in.
pub const SLICE: &str = "osmoda.slice";

/// What the name of every agent's unit begins with.
pub const UNIT_PREFIX: &str = "osmoda-";

/// Locked by the one daemon that works with this host's systemd, wherever its own directories are.
/// It is there wherever systemd is, and a hardened daemon need not be able to write to it.
pub const HOST_LOCK: &str = "/run/systemd/system";

/// Probes that are being started at once: each has PID 1 at work for a while.
const PROBE_STARTS: usize = 8;

/// Memory limits that differ by less than this are the same one: the kernel has whole pages.
const PAGES: u64 = 64 * 1024;

/// The name of an agent's unit.
pub fn unit_name(agent: &AgentName) -> String {
    format!("{UNIT_PREFIX}{agent}.service")
}

/// Runs agents as transient units.
pub struct SystemdRuntime {
    shared: Arc<Shared>,
    listening: AbortHandle,
    enforcement: Enforcement,
}

impl SystemdRuntime {
    /// Makes this process the one daemon of this host's systemd and adopts what runs. Has to be
    /// called inside a tokio runtime with I/O and time enabled, where it works from then on.
    ///
    /// # Errors
    /// [`OpenError`] says why this host or this moment does not allow it.
    pub async fn open(options: SystemdOptions) -> Result<Self, OpenError> {
        let scheduler = Handle::try_current().map_err(|_| OpenError::NoAsyncRuntime)?;
        survey::check()?;
        let instances_dir = options.runtime_dir.join("instances");
        let locks = take_locks(&instances_dir).await?;
        let (bus, ear) = (Arc::new(Bus::default()), Arc::new(Ear::default()));
        let connected = bus.connect().await;
        let stream = connected.map_err(|error| OpenError::NoBus(io::Error::other(error)))?;
        let hearing = ear::listen(Arc::downgrade(&ear), Arc::downgrade(&bus), stream);
        let listening = tokio::spawn(hearing).abort_handle();
        let version = bus.manager_property("Version").await;
        let version = version.map_err(|error| OpenError::NoBus(error.into()))?;
        let version = <&str>::try_from(&version)
            .ok()
            .and_then(survey::parse_version);
        survey::check_version(version.unwrap_or(0))?;
        let shared = Arc::new(Shared {
            instances_dir,
            _locks: locks,
            table: Table::default(),
            bus,
            ear,
            records: Mutex::default(),
            cgroup_root: cgroup_root().map_err(|source| OpenError::Io {
                what: "cannot find systemd's cgroup".to_owned(),
                source,
            })?,
            cgroup_ids: CgroupIds::default(),
            scheduler,
            events: Mutex::new(None),
            before_ends: OnceLock::new(),
            ends_are_noted: AtomicBool::new(true),
            probes: AtomicU64::new(0),
            probe_starts: Semaphore::new(PROBE_STARTS),
            options,
        });
        let runtime = Self {
            shared,
            listening,
            enforcement: survey::enforcement(),
        };
        let adopted = adopt::adopt_all(&runtime.shared).await;
        adopted.map_err(|source| OpenError::Io {
            what: "cannot adopt the agents that run".to_owned(),
            source,
        })?;
        Ok(runtime)
    }

    /// Says how what agents have sent is taken in before the end of a main process is judged; once.
    pub fn listen_before_ends(&self, listen: impl Fn() + Send + Sync + 'static) {
        let _ = self.shared.before_ends.set(Box::new(listen)); // the first one stays
    }

    /// Whether `pid` is in the process tree of any agent, or of a probe of one. A process that
    /// cannot be looked at is taken for one: it may have hidden itself.
    pub fn is_in_agent_tree(&self, pid: u32) -> bool {
        members::is_in_the_slice(pid)
    }
}

async fn take_locks(instances_dir: &Path) -> Result<[OwnedFd; 2], OpenError> {
    let directory = instances_dir.to_owned();
    let taking = spawn_blocking(move || {
        let take = |place: &Path| {
            let failed = |source| OpenError::Io {
                what: format!("cannot lock {}", place.display()),
                source,
            };
            let mut builder = DirBuilder::new();
            builder.recursive(true).mode(0o700);
            builder.create(place).map_err(failed)?;
            lock(place).map_err(|error| match error {
                LockError::Held(holder) => OpenError::Held { holder },
                LockError::Io(source) => failed(source),
            })
        };
        Ok([take(Path::new(HOST_LOCK))?, take(&directory)?])
    });
    taking.await.map_err(|error| OpenError::Io {
        what: "cannot take the locks".to_owned(),
        source: io::Error::other(error),
    })?
}

impl Drop for SystemdRuntime {
    /// Gives up watching, the references and the locks; agents go on.
    fn drop(&mut self) {
        self.listening.abort();
        self.shared.table.clear();
        self.shared.bus.lost();
    }
}

impl Runtime for SystemdRuntime {
    type Prepared = Start;

    fn prepare(&self, request: StartRequest) -> Start {
        start::begin(&self.shared, request)
    }

    /// May be dropped and asked again at any time.
    async fn stop(
        &self,
        agent: &AgentName,
        invocation: InvocationId,
        stop: &Stop,
    ) -> Result<Stopped, StopError> {
        let latest = self.shared.table.latest(agent);
        let Some(latest) = latest.filter(|latest| latest.instance.invocation == invocation) else {
            let agent = agent.clone();
            return Err(StopError::NoSuchInstance { agent, invocation });
        };
        ends::stop(&self.shared, agent, latest, stop).await
    }

    async fn probe(&self, request: ProbeRequest) -> Result<ProbeEnd, ProbeError> {
        probe::run(&self.shared, request).await
    }

    fn inspect(&self, agent: &AgentName) -> Observation<Option<Instance>> {
        Observation::Known(self.shared.table.instance(agent))
    }

    async fn observe(&self) -> Result<Vec<Instance>, ObserveError> {
        let shared = &self.shared;
        shared.listen();
        let listed = shared.bus.list("osmoda-*.service").await;
        let listed = listed.map_err(|error| ObserveError {
            what: "cannot ask systemd for its units".to_owned(),
            source: error.into(),
        })?;
        for (agent, invocation, process) in shared.table.processes() {
            let name = unit_name(&agent);
            let dead = |state: &str| matches!(state, "inactive" | "failed");
            let mut found = listed.iter().filter(|unit| unit.name == name);
            if found.all(|unit| dead(&unit.active_state))
                && let Some(unit) = shared.ear.known(&name)
                && unit.state().active != Active::Dead
            {
                // A signal was missed. Whoever waits for it hears of it now.
                let _ = unit.refresh(&shared.bus).await; // asked again the next time
            }
            if process.has_ended() {
                ends::end_of(shared, &agent, invocation, &process).await;
            }
        }
        Ok(shared.table.instances())
    }

    fn forget(&self, agent: &AgentName) {
        let gate = self.shared.table.gate(agent);
        let Ok(held) = gate.try_lock_owned() else {
            return;
        };
        match self.shared.table.latest(agent) {
            Some(latest) if latest.process.is_some() => {}
            _ => self.shared.forget(agent, held),
        }
    }

    /// Blocks for as long as journalctl takes, unless the instance has just ended: then it was
    /// read meanwhile.
    fn last_output(&self, agent: &AgentName, lines: usize, max_bytes: usize) -> Vec<String> {
        let (run, words) = self
            .shared
            .record(agent, |record| (record.run, record.last_words.take()));
        if let Some(words) = words {
            return journal::within(words, lines, max_bytes);
        }
        let Some(run) = run else { return Vec::new() };
        let run = journal::Run::Of(run);
        match journal::last(agent, run, lines, max_bytes) {
            Ok(lines) => lines.unwrap_or_default(),
            Err(error) => {
                tracing::warn!(%agent, %error, "cannot read what an agent wrote");
                Vec::new()
            }
        }
    }

    async fn usage(&self, agent: &AgentName, invocation: InvocationId) -> io::Result<Usage> {
        let latest = self.shared.table.latest(agent);
        let latest = latest.filter(|latest| latest.instance.invocation == invocation);
        let process = latest
            .and_then(|latest| latest.process)
            .ok_or(io::ErrorKind::NotFound)?;
        let read = spawn_blocking(move || usage::read(&process)).await;
        read.map_err(io::Error::other)?
    }

    async fn limits(&self) -> BTreeMap<AgentName, Limits> {
        let mut all = BTreeMap::new();
        for (agent, _, process) in self.shared.table.processes() {
            let Tree::Cgroup(cgroup) = process.tree.clone() else {
                continue;
            };
            let of_the_kernel = spawn_blocking(move || cgroup.limits()).await;
            let mut limits = of_the_kernel.unwrap_or_default();
            if [limits.memory_max, limits.cpu_max, limits.tasks_max].contains(&Limit::Unknown) {
                limits = self.of_the_unit(&agent, limits).await;
            }
            self.shared.record(&agent, |record| {
                record.foreign |= record
                    .limits
                    .is_some_and(|begun| !are_the_same(&begun, &limits));
            });
            all.insert(agent, limits);
        }
        all
    }

    fn unenforced(&self, spec: &AgentSpec) -> Vec<(&'static str, String)> {
        let missing = self.enforcement.missing(&spec.resources).into_iter();
        missing
            .map(|field| (field, survey::NO_CONTROLLER.to_owned()))
            .collect()
    }

    fn owner(&self, sender: &Sender) -> Option<(AgentName, InvocationId)> {
        members::owner(&self.shared, sender)
    }

    fn set_main_pid(
        &self,
        agent: &AgentName,
        invocation: InvocationId,
        pid: u32,
    ) -> Result<(), MainPidError> {
        members::set_main_pid(&self.shared, agent, invocation, pid)
    }

    fn extend_stop(&self, agent: &AgentName, invocation: InvocationId, by: Duration) {
        let latest = self.shared.table.latest(agent);
        let latest = latest.filter(|latest| latest.instance.invocation == invocation);
        if let Some(process) = latest.and_then(|latest| latest.process) {
            process.extend_stop(by);
        }
    }

    async fn last_output_at(
        &self,
        agent: &AgentName,
        invocation: InvocationId,
    ) -> io::Result<Option<Mono>> {
        let instance = self.shared.table.instance(agent);
        let instance = instance.filter(|instance| instance.invocation == invocation);
        instance.ok_or(io::ErrorKind::NotFound)?;
        let Some(run) = self.shared.record(agent, |record| record.run) else {
            return Ok(None);
        };
        let (clock, name) = (Arc::clone(&self.shared.options.clock), agent.clone());
        let agent = name.clone();
        let reading = spawn_blocking(move || journal::last_at(&agent, run));
        let Some(at) = reading.await.map_err(io::Error::other)?? else {
            return Ok(None);
        };
        let passed = i64::try_from(at.realtime_us).unwrap_or(i64::MAX);
        let passed = u64::try_from(clock.wall().0.saturating_sub(passed)).unwrap_or(0);
        let told = Mono(clock.mono().0.saturating_sub(passed));
        // Two clocks are read one after the other: the same line is given the same time.
        Ok(Some(self.shared.record(
            &name,
            |record| match record.last_line {
                Some((line, told)) if line == at => told,
                _ => record.last_line.insert((at, told)).1,
            },
        )))
    }

    fn subscribe(&self) -> mpsc::UnboundedReceiver<RuntimeEvent> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let events = &self.shared.events;
        *events.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        receiver
    }
}

impl SystemdRuntime {
    /// Limits that the kernel does not tell, as the properties of the unit are.
    async fn of_the_unit(&self, agent: &AgentName, known: Limits) -> Limits {
        let unit = unit_name(agent);
        let Ok(all) = self.shared.bus.properties(&unit, SERVICE).await else {
            return known;
        };
        let told = |name: &str| {
            let number = all.get(name).and_then(|value| u64::try_from(value).ok());
            number.map_or(Limit::Unknown, limit)
        };
        let or = |known, told| if known == Limit::Unknown { told } else { known };
        Limits {
            memory_max: or(known.memory_max, told("MemoryMax")),
            cpu_max: or(known.cpu_max, percent(told("CPUQuotaPerSecUSec"))),
            tasks_max: or(known.tasks_max, told("TasksMax")),
        }
    }
}

/// The limits that a definition sets.
fn limits_of(definition: &[Property]) -> Limits {
    let told = |name: &str| {
        let mut all = definition.iter();
        match all.find(|(known, _)| *known == name) {
            Some((_, Variant::U64(number))) => limit(*number),
            _ => Limit::Unknown,
        }
    };
    Limits {
        memory_max: told("MemoryMax"),
        cpu_max: percent(told("CPUQuotaPerSecUSec")),
        tasks_max: told("TasksMax"),
    }
}

fn limit(number: u64) -> Limit {
    match number {
        u64::MAX => Limit::Unlimited,
        number => Limit::At(number),
    }
}

/// Microseconds a second as percent of one CPU.
fn percent(limit: Limit) -> Limit {
    match limit {
        Limit::At(micros) => Limit::At(micros / 10_000),
        other => other,
    }
}

fn are_the_same(begun: &Limits, now: &Limits) -> bool {
    let same = |begun, now, slack| match (begun, now) {
        (Limit::At(a), Limit::At(b)) => u64::abs_diff(a, b) <= slack,
        (Limit::Unknown, _) | (_, Limit::Unknown) => true,
        (begun, now) => begun == now,
    };
    same(begun.memory_max, now.memory_max, PAGES)
        && same(begun.cpu_max, now.cpu_max, 0)
        && same(begun.tasks_max, now.tasks_max, 0)
}
