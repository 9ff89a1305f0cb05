//! The environment of an agent, from a clean slate, and the file that its argv\[0\] means.
//!
//! Nothing leaks in from the daemon. In order of precedence, lowest first: PATH, HOME, USER and
//! LANG; the spec's own variables; those of credentials; what osmoda tells the agent about
//! itself, which a spec cannot forge.

use std::{
    collections::BTreeMap,
    ffi::CString,
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use osmoda_core::{
    name::AgentName,
    observed::InvocationId,
    spec::{AgentSpec, HeartbeatSource},
};

use crate::StartError;

/// PATH of an agent whose spec gives none: NixOS' place, then the usual ones.
pub const DEFAULT_PATH: &str = "/run/current-system/sw/bin:/usr/local/bin:/usr/bin:/bin";

/// LANG of an agent whose spec gives none.
const DEFAULT_LANG: &str = "C.UTF-8";

/// What an environment is made of besides the spec.
pub(crate) struct Surroundings<'a> {
    pub agent: &'a AgentName,
    pub invocation: InvocationId,
    pub generation: u64,
    pub home: &'a Path,
    pub user: &'a str,
    pub notify_socket: Option<&'a Path>,
    pub credentials_directory: &'a Path,
    pub credential_variables: Vec<(String, Vec<u8>)>,
}

/// All variables by name.
pub(crate) fn variables(spec: &AgentSpec, around: Surroundings<'_>) -> BTreeMap<String, Vec<u8>> {
    let bytes = |path: &Path| path.as_os_str().as_encoded_bytes().to_vec();
    let mut all = BTreeMap::from([
        ("PATH".to_owned(), DEFAULT_PATH.into()),
        ("HOME".to_owned(), bytes(around.home)),
        ("USER".to_owned(), around.user.into()),
        ("LANG".to_owned(), DEFAULT_LANG.into()),
    ]);
    let own = spec.environment.iter();
    all.extend(own.map(|(name, value)| (name.clone(), value.clone().into_bytes())));
    all.extend(around.credential_variables);

    let mut tell = |name: &str, value: Vec<u8>| all.insert(name.to_owned(), value);
    tell("OSMODA_AGENT", around.agent.as_str().into());
    tell("OSMODA_GENERATION", around.generation.to_string().into());
    tell("INVOCATION_ID", around.invocation.to_string().into());
    tell("CREDENTIALS_DIRECTORY", bytes(around.credentials_directory));
    if let Some(socket) = around.notify_socket {
        tell("NOTIFY_SOCKET", bytes(socket));
    }
    if let Some(heartbeat) = &spec.heartbeat
        && heartbeat.source == HeartbeatSource::Notify
    {
        let timeout = heartbeat.timeout.get().as_micros().to_string();
        tell("WATCHDOG_USEC", timeout.into());
    }
    all
}

/// As execve(2) wants it.
///
/// # Errors
/// [`StartError::Invalid`] names a variable that cannot be one; never its value.
pub(crate) fn to_c_strings(all: BTreeMap<String, Vec<u8>>) -> Result<Vec<CString>, StartError> {
    let convert = |(name, value): (String, Vec<u8>)| {
        let text = [name.as_bytes(), b"=", &value].concat();
        let valid = !name.is_empty() && !name.contains('=');
        CString::new(text)
            .ok()
            .filter(|_| valid)
            .ok_or_else(|| StartError::Invalid {
                what: format!("environment: {name:?} or its value cannot be passed to a process"),
                source: io::ErrorKind::InvalidInput.into(),
            })
    };
    all.into_iter().map(convert).collect()
}

/// The file to execute for `command`: itself if it has a slash, else the first on `path`.
///
/// # Errors
/// [`StartError::Invalid`]: nothing of that name is on the path.
pub fn find_program(command: &str, path: &[u8]) -> Result<PathBuf, StartError> {
    if command.contains('/') {
        return Ok(command.into());
    }
    let path = String::from_utf8_lossy(path);
    let candidates = path
        .split(':')
        .filter(|directory| directory.starts_with('/'));
    candidates
        .map(|directory| Path::new(directory).join(command))
        .find(|file| is_executable(file))
        .ok_or_else(|| StartError::Invalid {
            what: format!("cannot execute {command}: it is in no directory of PATH ({path})"),
            source: io::ErrorKind::NotFound.into(),
        })
}

fn is_executable(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use osmoda_core::spec::{HEARTBEAT_TIMEOUT, Heartbeat};

    use super::*;

    fn shown(spec: &AgentSpec) -> Vec<String> {
        let around = Surroundings {
            agent: &AgentName::new("a").unwrap(),
            invocation: InvocationId([1; 16]),
            generation: 7,
            home: Path::new("/state/agents/a"),
            user: "root",
            notify_socket: Some(Path::new("/run/notify")),
            credentials_directory: Path::new("/run/credentials/a"),
            credential_variables: vec![("TOKEN".to_owned(), b"secret".to_vec())],
        };
        let strings = to_c_strings(variables(spec, around)).unwrap();
        strings
            .iter()
            .map(|text| text.to_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn it_holds_what_the_contract_lists_and_nothing_else() {
        let spec = AgentSpec::new(vec!["x".to_owned()]);
        assert_eq!(
            shown(&spec),
            [
                "CREDENTIALS_DIRECTORY=/run/credentials/a",
                "HOME=/state/agents/a",
                "INVOCATION_ID=01010101010101010101010101010101",
                "LANG=C.UTF-8",
                "NOTIFY_SOCKET=/run/notify",
                "OSMODA_AGENT=a",
                "OSMODA_GENERATION=7",
                "PATH=/run/current-system/sw/bin:/usr/local/bin:/usr/bin:/bin",
                "TOKEN=secret",
                "USER=root",
            ]
        );
    }

    #[test]
    fn a_spec_may_change_its_surroundings_but_not_its_identity() {
        let mut spec = AgentSpec::new(vec!["x".to_owned()]);
        for name in ["HOME", "PATH", "LANG", "OSMODA_AGENT", "INVOCATION_ID"] {
            spec.environment.insert(name.to_owned(), "mine".to_owned());
        }
        spec.heartbeat = Some(Heartbeat {
            source: HeartbeatSource::Notify,
            timeout: HEARTBEAT_TIMEOUT,
        });
        let shown = shown(&spec);
        for expected in [
            "HOME=mine",
            "PATH=mine",
            "LANG=mine",
            "OSMODA_AGENT=a",
            "WATCHDOG_USEC=15000000",
        ] {
            assert!(
                shown.iter().any(|variable| variable == expected),
                "{expected}: {shown:?}"
            );
        }
        assert!(!shown.contains(&"INVOCATION_ID=mine".to_owned()));
    }

    #[test]
    fn a_variable_that_cannot_be_passed_is_named_without_its_value() {
        for (name, value) in [("A=B", "hunter2"), ("", "hunter2"), ("A", "hunter\0")] {
            let all = BTreeMap::from([(name.to_owned(), value.as_bytes().to_vec())]);
            let error = to_c_strings(all).unwrap_err().to_string();
            assert!(
                error.contains(&format!("{name:?}")) && !error.contains("hunter"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_program_without_a_slash_is_the_first_executable_on_path() {
        let found = find_program("sh", b"relative:/nonexistent:/bin:/usr/bin").unwrap();
        assert_eq!(found, Path::new("/bin/sh"));
        assert_eq!(find_program("./x", b"").unwrap(), Path::new("./x"));
        let error = find_program("no-such-program", b"/bin")
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "cannot execute no-such-program: it is in no directory of PATH (/bin)"
        );
    }
}
