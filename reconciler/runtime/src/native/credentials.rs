//! Hands secrets to an agent: read afresh at each start, never shown.
//!
//! Values reach RUNTIME_DIR/credentials/AGENT (mode 0500, files 0400, the agent's own user) and,
//! if the spec names one, an environment variable. They are never part of an error, of Debug
//! output or of a log line; the hook lets the node teach its scrubber each value before any
//! process has it. The directory is made aside and renamed into place while no instance runs.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown},
    path::{Path, PathBuf},
    sync::Arc,
};

use osmoda_core::{name::AgentName, spec::Credential};
use std::collections::BTreeMap;

use super::sys::spawn::Identity;
use crate::StartError;

/// Largest credential in bytes, as systemd's (systemd.exec(5), LoadCredential=).
pub const CREDENTIAL_MAX: u64 = 1 << 20;

/// Called with agent, name and value of each credential before its process exists.
pub type CredentialHook = Arc<dyn Fn(&AgentName, &str, &[u8]) + Send + Sync>;

/// Where an agent's credentials are.
pub(crate) fn directory(runtime_dir: &Path, agent: &AgentName) -> PathBuf {
    runtime_dir.join("credentials").join(agent.as_str())
}

/// What was read for one start. Never shown; dropped, it leaves nothing.
pub(crate) struct Credentials {
    /// Name, value, and the variable it also goes to.
    values: Vec<(String, Vec<u8>, Option<String>)>,
    directory: PathBuf,
    /// There are none, and none were there before.
    in_place: bool,
}

/// Reads an agent's credentials.
///
/// # Errors
/// [`StartError::Credential`] if one cannot be had.
pub(crate) fn read_all(
    runtime_dir: &Path,
    agent: &AgentName,
    credentials: &BTreeMap<String, Credential>,
    hook: Option<&CredentialHook>,
) -> Result<Credentials, StartError> {
    let mut values = Vec::new();
    for (name, credential) in credentials {
        let failed = |source| StartError::Credential {
            name: name.clone(),
            path: credential.path.clone(),
            source,
        };
        let value = read(name, credential).map_err(failed)?;
        if let Some(hook) = hook {
            hook(agent, name, &value);
        }
        if credential.environment_variable.is_some() && in_a_variable(&value).contains(&0) {
            return Err(failed(invalid(
                "it holds a zero byte, which a variable cannot",
            )));
        }
        values.push((name.clone(), value, credential.environment_variable.clone()));
    }
    let directory = directory(runtime_dir, agent);
    Ok(Credentials {
        in_place: values.is_empty() && is_empty_directory(&directory),
        values,
        directory,
    })
}

/// In a variable exactly one newline at the end is dropped, as `$(cat file)` would; the file has
/// the value byte for byte.
fn in_a_variable(value: &[u8]) -> &[u8] {
    value.strip_suffix(b"\n").unwrap_or(value)
}

impl Credentials {
    /// Whether [`Self::put`] has nothing to do.
    pub fn are_in_place(&self) -> bool {
        self.in_place
    }

    /// The variables they go to.
    pub fn variables(&self) -> Vec<(String, Vec<u8>)> {
        let named = self.values.iter().filter_map(|(_, value, variable)| {
            Some((variable.clone()?, in_a_variable(value).to_vec()))
        });
        named.collect()
    }

    /// Puts the files into place, instead of those of the instance before.
    ///
    /// # Errors
    /// [`StartError::System`] if they cannot be written.
    pub fn put(&self, owner: Option<&Identity>) -> Result<(), StartError> {
        if self.in_place {
            return Ok(());
        }
        let directory = &self.directory;
        write_all(directory, &self.values, owner).map_err(|source| StartError::System {
            what: format!("cannot write the credentials below {}", directory.display()),
            source,
        })
    }
}

/// Removes an agent's credentials; none is a success.
pub(crate) fn remove(runtime_dir: &Path, agent: &AgentName) -> io::Result<()> {
    remove_directory(&directory(runtime_dir, agent))
}

fn read(name: &str, credential: &Credential) -> io::Result<Vec<u8>> {
    if name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) {
        return Err(invalid("its name cannot be the name of a file"));
    }
    let mut value = Vec::new();
    let file = File::open(&credential.path)?;
    file.take(CREDENTIAL_MAX + 1).read_to_end(&mut value)?;
    if value.len() as u64 > CREDENTIAL_MAX {
        return Err(invalid("it is larger than 1 MiB"));
    }
    Ok(value)
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

fn write_all(
    directory: &Path,
    values: &[(String, Vec<u8>, Option<String>)],
    owner: Option<&Identity>,
) -> io::Result<()> {
    let aside = directory.with_extension("tmp"); // no agent's name has a dot
    remove_directory(&aside)?;
    if let Some(parent) = directory.parent() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o711)
            .create(parent)?;
    }
    fs::DirBuilder::new().mode(0o700).create(&aside)?;
    for (name, value, _) in values {
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o400)
            .open(aside.join(name))?;
        file.write_all(value)?;
        if let Some(owner) = owner {
            fchown(&file, Some(owner.uid), Some(owner.gid))?;
        }
    }
    let opened = File::open(&aside)?;
    if let Some(owner) = owner {
        fchown(&opened, Some(owner.uid), Some(owner.gid))?;
    }
    opened.set_permissions(Permissions::from_mode(0o500))?;
    remove_directory(directory)?;
    fs::rename(&aside, directory)
}

fn is_empty_directory(directory: &Path) -> bool {
    fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_none())
}

/// The directory is not writable even for its owner, so it is opened up first.
fn remove_directory(directory: &Path) -> io::Result<()> {
    match fs::set_permissions(directory, Permissions::from_mode(0o700)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => fs::remove_dir_all(directory),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    struct Setup {
        runtime_dir: tempfile::TempDir,
        secrets: tempfile::TempDir,
        agent: AgentName,
    }

    impl Setup {
        fn new() -> Self {
            Self {
                runtime_dir: tempfile::tempdir().unwrap(),
                secrets: tempfile::tempdir().unwrap(),
                agent: AgentName::new("a").unwrap(),
            }
        }

        fn credential(&self, value: &[u8], variable: Option<&str>) -> Credential {
            let path = self.secrets.path().join("secret");
            fs::write(&path, value).unwrap();
            Credential {
                path: path.to_str().unwrap().to_owned(),
                environment_variable: variable.map(str::to_owned),
            }
        }

        fn provide(
            &self,
            name: &str,
            credential: Credential,
        ) -> Result<Vec<(String, Vec<u8>)>, StartError> {
            let all = BTreeMap::from([(name.to_owned(), credential)]);
            let read = read_all(self.runtime_dir.path(), &self.agent, &all, None)?;
            read.put(None)?;
            Ok(read.variables())
        }

        fn directory(&self) -> PathBuf {
            directory(self.runtime_dir.path(), &self.agent)
        }
    }

    #[test]
    fn a_value_is_written_byte_for_byte_and_read_only_and_renewed() {
        let setup = Setup::new();
        let variables = setup
            .provide("key", setup.credential(b"one\n\n", Some("KEY")))
            .unwrap();
        assert_eq!(variables, [("KEY".to_owned(), b"one\n".to_vec())]);
        let file = setup.directory().join("key");
        assert_eq!(fs::read(&file).unwrap(), b"one\n\n");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(&file), 0o400);
        assert_eq!(mode(&setup.directory()), 0o500);

        setup
            .provide("other", setup.credential(b"two", None))
            .unwrap();
        assert!(
            !file.exists(),
            "a credential that the spec no longer has stayed"
        );
        assert_eq!(fs::read(setup.directory().join("other")).unwrap(), b"two");
        remove(setup.runtime_dir.path(), &setup.agent).unwrap();
        assert!(!setup.directory().exists());
    }

    #[test]
    fn a_refused_value_is_not_shown() {
        let setup = Setup::new();
        let zero = setup
            .provide("key", setup.credential(b"hun\0ter2", Some("KEY")))
            .unwrap_err();
        let large = setup
            .provide("key", setup.credential(&vec![b'h'; (1 << 20) + 1], None))
            .unwrap_err();
        let name = setup
            .provide("../key", setup.credential(b"hunter2", None))
            .unwrap_err();
        for error in [zero, large, name] {
            let shown = format!("{error} {error:?}");
            assert!(matches!(error, StartError::Credential { .. }), "{shown}");
            assert!(
                !shown.contains("hun\\0") && !shown.contains("hunter"),
                "{shown}"
            );
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let setup = Setup::new();
        let credential = Credential {
            path: "/nonexistent/secret".to_owned(),
            environment_variable: None,
        };
        let error = setup.provide("key", credential).unwrap_err();
        assert_eq!(
            error.to_string(),
            "credential key: cannot read /nonexistent/secret"
        );
    }

    #[test]
    fn the_hook_learns_each_value_first() {
        let setup = Setup::new();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let directory = setup.directory();
        let hook: CredentialHook = Arc::new({
            let seen = Arc::clone(&seen);
            move |agent: &AgentName, name: &str, value: &[u8]| {
                let early = !directory.exists();
                seen.lock().unwrap().push((
                    agent.to_string(),
                    name.to_owned(),
                    value.to_vec(),
                    early,
                ));
            }
        });
        let all = BTreeMap::from([("key".to_owned(), setup.credential(b"v", None))]);
        read_all(setup.runtime_dir.path(), &setup.agent, &all, Some(&hook))
            .unwrap()
            .put(None)
            .unwrap();
        let expected = [("a".to_owned(), "key".to_owned(), b"v".to_vec(), true)];
        assert_eq!(*seen.lock().unwrap(), expected);
    }
}
