//! What a unit is: the properties that a start gives to StartTransientUnit (systemd.exec(5),
//! systemd.service(5), systemd.resource-control(5)).
//!
//! Nothing in it differs between two starts of one spec: what does, and every secret, is in the
//! file that EnvironmentFiles names. So a loaded unit serves for the next start as well.

use std::path::{Path, PathBuf};

use osmoda_core::{
    name::AgentName,
    spec::{AgentSpec, Resources},
};
use zbus::Variant;

use super::{SLICE, bus::Property, options::SystemdOptions, unit_name};

/// systemd's "no limit".
const INFINITY: u64 = u64::MAX;

/// Longest time from fork to exec, in microseconds: mounts and the user database come between.
pub(super) const START_MAX_US: u64 = 60_000_000;

/// Where StateDirectory= lies.
const STATE_ROOT: &str = "/var/lib";

/// What is to run, and as whom.
pub(super) struct What<'a> {
    pub agent: &'a AgentName,
    pub spec: &'a AgentSpec,
    pub program: &'a Path,
    pub command: &'a [String],
    pub environment_file: &'a Path,
    pub place: &'a Place,
}

/// Who an agent is on this host, and where its directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Name for User= and $USER.
    pub user: String,
    pub group: Option<String>,
    /// systemd makes the user up.
    pub dynamic: bool,
    /// Below /var/lib.
    pub state: PathBuf,
    /// As the agent sees it.
    pub home: PathBuf,
}

impl Place {
    /// Of an agent with this user, if its spec names one.
    pub fn of(options: &SystemdOptions, agent: &AgentName, spec: &AgentSpec, user: &str) -> Self {
        let dynamic = spec.user.is_none() && spec.is_sandboxed();
        let base = match options.state_dir.strip_prefix(STATE_ROOT) {
            Ok(below) if below.components().next().is_some() => below.to_owned(),
            _ => PathBuf::from("osmoda"),
        };
        let state = base.join("agents").join(agent.as_str());
        let root = Path::new(STATE_ROOT);
        Self {
            user: if dynamic {
                dynamic_user(agent)
            } else {
                user.to_owned()
            },
            group: spec.group.clone(),
            dynamic,
            home: match dynamic {
                true => root.join("private").join(&state),
                false => root.join(&state),
            },
            state,
        }
    }
}

/// A name for a user that systemd makes up: at most 31 letters (systemd(1), user names), so of a
/// long one the beginning and a hash.
fn dynamic_user(agent: &AgentName) -> String {
    let plain = format!("osmoda-{agent}");
    if plain.len() <= 31 {
        return plain;
    }
    let hash = agent
        .as_str()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
    format!("{}-{:08x}", &plain[..22], hash & 0xffff_ffff)
}

/// The unit of an agent.
pub(super) fn of_agent(options: &SystemdOptions, what: &What<'_>) -> Vec<Property> {
    let mut all = common(options, what);
    let spec = what.spec;
    all.extend([
        ("Description", format!("osmoda agent {}", what.agent).into()),
        // At shutdown osmoda stops first, and does not take what follows for crashes.
        ("Before", strings(&["osmoda.service"])),
        ("SyslogIdentifier", what.agent.as_str().to_owned().into()),
        ("KillSignal", spec.stop.signal.0.into()),
        (
            "TimeoutStopUSec",
            micros(spec.stop.grace_period.get()).into(),
        ),
        // Its main process may tell of another (MAINPID=), which osmoda passes on.
        ("NotifyAccess", "main".into()),
        ("StandardOutput", "journal".into()),
        ("StandardError", "journal".into()),
    ]);
    all
}

/// What the units of an agent and of its probes have in common.
pub(super) fn common(options: &SystemdOptions, what: &What<'_>) -> Vec<Property> {
    let (spec, place) = (what.spec, what.place);
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let flags = vec!["no-env-expand".to_owned()];
    let execute = vec![(text(what.program), what.command.to_vec(), flags)];
    let directory = spec.working_directory.clone();
    let mut all: Vec<Property> = vec![
        ("Type", "exec".into()),
        ("Restart", "no".into()),
        ("CollectMode", "inactive-or-failed".into()),
        ("AddRef", true.into()),
        ("StartLimitIntervalUSec", 0_u64.into()),
        ("Slice", SLICE.into()),
        ("KillMode", "control-group".into()),
        ("SendSIGKILL", true.into()),
        ("TimeoutStartUSec", START_MAX_US.into()),
        ("OOMPolicy", "kill".into()),
        ("IgnoreSIGPIPE", false.into()),
        ("ExecStartEx", execute.into()),
        (
            "WorkingDirectory",
            directory.unwrap_or_else(|| text(&place.home)).into(),
        ),
        ("StateDirectory", vec![text(&place.state)].into()),
        ("StateDirectoryMode", 0o700_u32.into()),
        (
            "EnvironmentFiles",
            vec![(text(what.environment_file), false)].into(),
        ),
    ];
    if place.user != "root" {
        all.push(("User", place.user.clone().into()));
    }
    if let Some(group) = &place.group {
        all.push(("Group", group.clone().into()));
    }
    if !spec.credentials.is_empty() {
        let directory = options.credentials(what.agent);
        let load = spec.credentials.keys();
        let load = load.map(|name| (name.clone(), text(&directory.join(name))));
        all.push(("LoadCredential", load.collect::<Vec<_>>().into()));
    }
    all.extend(limits(&spec.resources));
    if spec.is_sandboxed() {
        all.extend(sandbox(options, place));
    }
    all
}

/// The three hard limits; what the spec does not name is unlimited, whatever the manager's
/// defaults are. memory.high is osmoda's own: a graceful restart, not the kernel's throttling.
fn limits(resources: &Resources) -> Vec<Property> {
    let memory = resources.memory_max.map_or(INFINITY, |size| size.0);
    let cpu = resources.cpu_max;
    let cpu = cpu.map_or(INFINITY, |share| u64::from(share.0) * 10_000);
    vec![
        ("MemoryAccounting", true.into()),
        ("CPUAccounting", true.into()),
        ("TasksAccounting", true.into()),
        ("MemoryMax", memory.into()),
        ("CPUQuotaPerSecUSec", cpu.into()),
        ("TasksMax", resources.tasks_max.unwrap_or(INFINITY).into()),
    ]
}

/// Left out on purpose: RestrictNamespaces and MemoryDenyWriteExecute, which end browsers and
/// JavaScript; PrivateDevices and ProtectClock, which close /dev to GPUs; PrivateNetwork.
fn sandbox(options: &SystemdOptions, place: &Place) -> Vec<Property> {
    let mut all: Vec<Property> = vec![
        ("DynamicUser", place.dynamic.into()),
        ("NoNewPrivileges", true.into()),
        ("ProtectSystem", "strict".into()),
        ("ProtectHome", "read-only".into()),
        ("PrivateTmp", true.into()),
        ("ProtectKernelTunables", true.into()),
        ("ProtectKernelModules", true.into()),
        ("ProtectKernelLogs", true.into()),
        ("ProtectControlGroups", true.into()),
        ("ProtectHostname", true.into()),
        ("ProtectProc", "invisible".into()),
        ("RestrictSUIDSGID", true.into()),
        ("RestrictRealtime", true.into()),
        ("LockPersonality", true.into()),
        ("RemoveIPC", true.into()),
        ("CapabilityBoundingSet", 0_u64.into()),
        ("SystemCallArchitectures", strings(&["native"])),
    ];
    let own = ["credentials", "environment", "instances"];
    let own = own.map(|name| options.runtime_dir.join(name));
    let hidden = own.iter().chain(&options.hidden);
    // A dash: what is not there need not be hidden.
    let hidden: Vec<String> = hidden.map(|path| format!("-{}", path.display())).collect();
    all.push(("InaccessiblePaths", hidden.into()));
    if is_hidden_by_the_sandbox(&options.runtime_dir) {
        // The directory and not the socket: a later daemon may bind a new one.
        let path = options.runtime_dir.to_string_lossy().into_owned();
        let bind = vec![(path.clone(), path, true, 0_u64)];
        all.push(("BindReadOnlyPaths", bind.into()));
    }
    all
}

/// Whether PrivateTmp= takes a path away.
fn is_hidden_by_the_sandbox(path: &Path) -> bool {
    ["/tmp", "/var/tmp"]
        .iter()
        .any(|hidden| path.starts_with(hidden))
}

pub(super) fn strings(all: &[&str]) -> Variant<'static> {
    let all: Vec<String> = all.iter().map(|text| (*text).to_owned()).collect();
    all.into()
}

pub(super) fn micros(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(INFINITY)
}

/// Where systemd puts an agent's credentials, for $CREDENTIALS_DIRECTORY.
pub(super) fn credentials_directory(unit: &str) -> PathBuf {
    Path::new("/run/credentials").join(unit)
}

/// The agent that a unit's name is of.
pub(super) fn agent_of(unit: &str) -> Option<AgentName> {
    let name = unit
        .strip_prefix(super::UNIT_PREFIX)?
        .strip_suffix(".service")?;
    AgentName::new(name)
        .ok()
        .filter(|agent| unit_name(agent) == unit)
}
