//! What the specs ask of this host: programs, users, credentials, limits.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use osmoda_core::spec::Agent;
use osmoda_runtime::native::{DEFAULT_PATH, find_program, survey};

use super::{Findings, Request, is_root};
use crate::{
    daemon::RuntimeKind,
    error::chain,
    specs::{self, Loaded, SpecsRef},
};

/// The specs, if there are any and they can be read at all.
pub(super) fn load(request: &Request) -> Option<Loaded> {
    let is_there = request.specs.path().is_none_or(Path::exists);
    is_there
        .then(|| specs::load(&request.specs, &request.load))?
        .ok()
}

/// Whether Nix is needed for these specs.
pub(super) fn has_nix_specs(specs: &SpecsRef) -> bool {
    let is_nix = |path: &Path| path.extension().is_some_and(|extension| extension == "nix");
    let Some(path) = specs.path() else {
        return true; // a flake
    };
    match fs::read_dir(path) {
        Ok(entries) => entries.flatten().any(|entry| is_nix(&entry.path())),
        Err(_) => is_nix(path),
    }
}

pub(super) fn agents(
    request: &Request,
    loaded: Option<Loaded>,
    daemon: Option<u32>,
    kind: RuntimeKind,
) -> Findings {
    let mut findings = Findings::of("agents");
    let shown = &request.specs;
    let Some(loaded) = loaded else {
        match request.specs.path().is_none_or(Path::exists) {
            true => findings.fail(
                format!("the specs in {shown} cannot be read"),
                format!("`osmoda validate {shown}` says why"),
            ),
            false => findings.warn(
                format!("there are no specs in {shown}"),
                "`osmoda new NAME -- COMMAND` writes one; name another place as SPECS",
            ),
        }
        return findings;
    };
    findings.ok(format!(
        "{} agents are declared in {shown}",
        loaded.agents.len()
    ));
    for rejected in &loaded.rejected {
        findings.fail(
            format!("{} is not valid", rejected.file.display()),
            format!("`osmoda validate {}` says why", rejected.file.display()),
        );
    }
    // Under systemd the runtime's own findings tell of controllers.
    let missing = match kind {
        RuntimeKind::Systemd => Vec::new(),
        RuntimeKind::Native => match survey::cgroups(daemon) {
            Ok(survey) => survey.missing.iter().map(|(name, _)| *name).collect(),
            Err(_) => vec!["memory", "cpu", "pids"],
        },
    };
    for loaded in loaded.agents.values() {
        let spec = &loaded.agent.spec;
        let own_user = kind == RuntimeKind::Systemd && spec.is_sandboxed();
        judge(
            &mut findings,
            &loaded.agent,
            &missing,
            is_root() && !own_user,
        );
    }
    findings
}

/// `root`: who names no user runs as root.
fn judge(findings: &mut Findings, agent: &Agent, missing: &[&str], root: bool) {
    let (name, spec) = (&agent.name, &agent.spec);
    let path = spec.environment.get("PATH");
    let path = path.map_or(DEFAULT_PATH, String::as_str);
    let command = spec.command.first().map_or("", String::as_str);
    match find_program(command, path.as_bytes()).map(|file| (is_program(&file), file)) {
        Ok((Ok(()), _)) => {}
        Ok((Err(error), file)) => findings.fail(
            format!("{name}: cannot execute {}: {error}", file.display()),
            "install it, or correct `command`",
        ),
        Err(error) => findings.fail(
            format!("{name}: {}", chain(&error)),
            "give its full path, or set PATH in `environment`",
        ),
    }
    if runs_as_root(spec.user.as_deref(), root, is_root()) {
        findings.warn(
            format!("{name} runs as root"),
            "give it a user of its own: user in its spec",
        );
    }
    for (credential, from) in &spec.credentials {
        judge_credential(
            findings,
            &format!("{name}: credential {credential}"),
            &from.path,
        );
    }
    let resources = &spec.resources;
    let limits = [
        (
            "memory",
            "resources.memory.max",
            resources.memory_max.is_some(),
        ),
        ("cpu", "resources.cpu.max", resources.cpu_max.is_some()),
        ("pids", "resources.tasksMax", resources.tasks_max.is_some()),
    ];
    for (controller, field, asked) in limits {
        if asked && missing.contains(&controller) {
            findings.warn(
                format!("{name}: {field} is not enforced: there is no {controller} controller"),
                "see the findings on cgroups",
            );
        }
    }
}

/// `by_default`: who names no user does.
fn runs_as_root(user: Option<&str>, by_default: bool, daemon_is_root: bool) -> bool {
    match user {
        None => by_default,
        Some(user) => daemon_is_root && (user == "root" || user == "0"),
    }
}

fn is_program(file: &PathBuf) -> io::Result<()> {
    let data = fs::metadata(file)?;
    match (data.is_file(), data.mode() & 0o111) {
        (false, _) => Err(io::Error::other("it is no file")),
        (true, 0) => Err(io::ErrorKind::PermissionDenied.into()),
        (true, _) => Ok(()),
    }
}

fn judge_credential(findings: &mut Findings, what: &str, path: &str) {
    match fs::File::open(path).and_then(|file| file.metadata()) {
        Err(error) => findings.fail(
            format!("{what}: {path} cannot be read: {error}"),
            "create it, readable by the daemon's user; the agent is not started without",
        ),
        Ok(data) if data.mode() & 0o007 != 0 => findings.warn(
            format!(
                "{what}: every user can read {path} (mode {:o})",
                data.mode() & 0o777
            ),
            format!("chmod 0400 {path}"),
        ),
        Ok(data) if data.mode() & 0o020 != 0 => findings.warn(
            format!(
                "{what}: its group can change {path} (mode {:o})",
                data.mode() & 0o777
            ),
            format!("chmod g-w {path}"),
        ),
        Ok(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use osmoda_core::{
        name::AgentName,
        spec::{AgentSpec, Credential},
    };

    use super::*;
    use crate::doctor::{Level, levels};

    /// What is found about an agent with this command, changed like this.
    fn judged(command: &str, change: impl FnOnce(&mut AgentSpec)) -> Findings {
        let mut spec = AgentSpec::new(vec![command.to_owned()]);
        change(&mut spec);
        let agent = Agent {
            name: AgentName::new("a").unwrap(),
            labels: Default::default(),
            spec: spec.into(),
            manifest: "{}".into(),
        };
        let mut findings = Findings::of("agents");
        judge(&mut findings, &agent, &["memory"], false);
        findings
    }

    #[test]
    fn a_program_is_there_and_can_be_executed() {
        assert_eq!(levels(&judged("sh", |_| {})), []);
        assert_eq!(levels(&judged("/bin/sh", |_| {})), []);
        assert_eq!(levels(&judged("no-such-program", |_| {})), [Level::Fail]);
        assert_eq!(levels(&judged("/etc/passwd", |_| {})), [Level::Fail]);
        assert_eq!(levels(&judged("/etc", |_| {})), [Level::Fail]);
        let elsewhere = judged("sh", |spec| {
            spec.environment
                .insert("PATH".into(), "/nonexistent".into());
        });
        assert_eq!(levels(&elsewhere), [Level::Fail]);
    }

    #[test]
    fn a_credential_is_there_and_private() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap().to_owned();
        let with = |path: &str, mode| {
            fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
            let found = judged("sh", |spec| {
                let credential = Credential {
                    path: path.to_owned(),
                    environment_variable: None,
                };
                spec.credentials.insert("key".into(), credential);
            });
            levels(&found)
        };
        assert_eq!(with(&path, 0o600), []);
        assert_eq!(with(&path, 0o644), [Level::Warn]);
        assert_eq!(with(&path, 0o660), [Level::Warn]);
        assert_eq!(with("/nonexistent", 0o600), [Level::Fail]);
    }

    #[test]
    fn only_a_limit_without_its_controller_is_told() {
        let found = judged("sh", |spec| {
            spec.resources.memory_max = Some(osmoda_core::units::ByteSize(1));
            spec.resources.tasks_max = Some(1);
        });
        assert_eq!(levels(&found), [Level::Warn]);
        assert!(found.all[0].message.contains("resources.memory.max"));
    }

    #[test]
    fn root_is_who_a_root_daemon_runs_agents_as_unless_told() {
        assert!(runs_as_root(None, true, true) && runs_as_root(Some("root"), false, true));
        assert!(!runs_as_root(Some("ada"), true, true));
        assert!(
            !runs_as_root(None, false, true),
            "it gets a user of its own"
        );
        assert!(!runs_as_root(None, false, false) && !runs_as_root(Some("root"), false, false));
    }
}
