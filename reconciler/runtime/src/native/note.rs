//! The note that each instance leaves in RUNTIME_DIR/instances before its program runs.
//!
//! One JSON object a file, named by the agent and replaced by rename, so that a reader sees a
//! whole note or none. Adoption reads nothing else: neither the ledger nor a spec. The child
//! itself writes it ([`super::sys`]), filling its pid and start time into a text that its parent
//! has prepared.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use osmoda_core::{
    name::AgentName,
    observed::{Exit, Generation, InvocationId},
    time::Mono,
};
use serde::{Deserialize, Serialize};

/// Version of the format; a note of another version is not understood.
const VERSION: u32 = 1;

/// Largest note that is read, in bytes.
const NOTE_MAX: u64 = 64 * 1024;

/// What an instance says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Note {
    version: u32,
    /// Main process.
    pub pid: u32,
    /// Field 22 of its /proc/PID/stat.
    pub start_time: u64,
    pub invocation: InvocationId,
    pub generation: Generation,
    /// CLOCK_BOOTTIME in microseconds.
    pub started_at: Mono,
    pub boot_id: String,
    /// Its cgroup, if it has one.
    pub cgroup: Option<PathBuf>,
    /// Its session, where that is not the number of the main process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<u32>,
    /// What systemd calls this run, if it is a unit's (its InvocationID).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manager_run: Option<InvocationId>,
    /// How it ended, where nobody could find that out again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
}

impl Note {
    /// Of an instance that has no process yet: pid and start time are 0.
    pub fn new(
        invocation: InvocationId,
        generation: Generation,
        started_at: Mono,
        boot_id: String,
        cgroup: Option<PathBuf>,
    ) -> Self {
        Self {
            version: VERSION,
            pid: 0,
            start_time: 0,
            invocation,
            generation,
            started_at,
            boot_id,
            cgroup,
            session: None,
            manager_run: None,
            exit: None,
        }
    }
}

/// All of a note that is known before there is a process.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NoteDraft<'a> {
    pub invocation: InvocationId,
    pub generation: &'a Generation,
    pub started_at: Mono,
    pub boot_id: &'a str,
    pub cgroup: Option<&'a Path>,
}

impl NoteDraft<'_> {
    /// The text before the pid, between pid and start time, and after it.
    pub fn parts(&self) -> Result<[Vec<u8>; 3], serde_json::Error> {
        let rest = serde_json::to_vec(self)?;
        let mut tail = b",".to_vec();
        tail.extend_from_slice(&rest[1..]); // without its opening brace
        tail.push(b'\n');
        let head = format!("{{\"version\":{VERSION},\"pid\":");
        Ok([head.into_bytes(), b",\"startTime\":".to_vec(), tail])
    }
}

/// Reads every note that is one; what is not is reported and left alone.
///
/// # Errors
/// The directory cannot be read.
pub(crate) fn read_all(directory: &Path) -> io::Result<Vec<(AgentName, Note)>> {
    let mut notes = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        match read(&path) {
            Ok(note) => notes.push(note),
            Err(reason) => {
                tracing::warn!(path = %path.display(), reason, "ignoring an instance note")
            }
        }
    }
    Ok(notes)
}

fn read(path: &Path) -> Result<(AgentName, Note), String> {
    let name = path.file_name().and_then(|name| name.to_str());
    let agent = AgentName::new(name.unwrap_or_default()).map_err(|error| error.to_string())?;
    let length = fs::symlink_metadata(path)
        .map_err(|error| error.to_string())?
        .len();
    if length > NOTE_MAX {
        return Err(format!(
            "it has {length} bytes; at most {NOTE_MAX} are read"
        ));
    }
    let text = fs::read(path).map_err(|error| error.to_string())?;
    let note: Note = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    if note.version != VERSION {
        return Err(format!("its version is {}, not {VERSION}", note.version));
    }
    Ok((agent, note))
}

/// Names another main process in an agent's note, in one step.
///
/// # Errors
/// The note cannot be read or written; it is then as before.
pub(crate) fn rewrite(
    directory: &Path,
    agent: &AgentName,
    pid: u32,
    start_time: u64,
) -> io::Result<()> {
    update(directory, agent, |note| {
        if note.cgroup.is_none() {
            note.session.get_or_insert(note.pid);
        }
        note.pid = pid;
        note.start_time = start_time;
    })
}

/// Changes an agent's note, in one step.
///
/// # Errors
/// As [`rewrite`].
pub(crate) fn update(
    directory: &Path,
    agent: &AgentName,
    change: impl FnOnce(&mut Note),
) -> io::Result<()> {
    let (_, mut note) = read(&directory.join(agent.as_str())).map_err(io::Error::other)?;
    change(&mut note);
    write(directory, agent, &note)
}

/// Puts an agent's note into place, in one step.
///
/// # Errors
/// It cannot be written; what was there is as before.
pub(crate) fn write(directory: &Path, agent: &AgentName, note: &Note) -> io::Result<()> {
    let mut text = serde_json::to_vec(note)?;
    text.push(b'\n');
    let draft = directory.join(format!("{agent}.main"));
    fs::write(&draft, text)?;
    fs::rename(draft, directory.join(agent.as_str()))
}

/// Removes an agent's note; none is a success.
pub(crate) fn remove(directory: &Path, agent: &AgentName) -> io::Result<()> {
    match fs::remove_file(directory.join(agent.as_str())) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> String {
        let draft = NoteDraft {
            invocation: InvocationId([0xab; 16]),
            generation: &Generation {
                number: 3,
                store_path: "/nix/store/x-bundle".to_owned().into(),
            },
            started_at: Mono(77),
            boot_id: "boot",
            cgroup: Some(Path::new("/sys/fs/cgroup/a")),
        };
        let [head, middle, tail] = draft.parts().unwrap();
        let parts = [&head[..], b"42", &middle, b"99", &tail].concat();
        String::from_utf8(parts).unwrap()
    }

    #[test]
    fn the_parts_with_their_numbers_are_the_published_format() {
        assert_eq!(
            text(),
            concat!(
                r#"{"version":1,"pid":42,"startTime":99,"invocation":"abababababababababababababababab","#,
                r#""generation":{"number":3,"storePath":"/nix/store/x-bundle"},"startedAt":77,"#,
                r#""bootId":"boot","cgroup":"/sys/fs/cgroup/a"}"#,
                "\n"
            )
        );
    }

    #[test]
    fn another_main_process_is_named_and_everything_else_stays() {
        let directory = tempfile::tempdir().unwrap();
        let agent = AgentName::new("a").unwrap();
        fs::write(directory.path().join("a"), text()).unwrap();
        rewrite(directory.path(), &agent, 43, 100).unwrap();
        let changed = text().replace(
            "\"pid\":42,\"startTime\":99",
            "\"pid\":43,\"startTime\":100",
        );
        assert_eq!(
            fs::read_to_string(directory.path().join("a")).unwrap(),
            changed
        );

        let without_cgroup = text().replace("\"/sys/fs/cgroup/a\"", "null");
        fs::write(directory.path().join("a"), without_cgroup).unwrap();
        for pid in [43, 44] {
            rewrite(directory.path(), &agent, pid, 100).unwrap();
            let [(_, note)] = &read_all(directory.path()).unwrap()[..] else {
                panic!("one note");
            };
            assert_eq!((note.pid, note.session), (pid, Some(42)));
        }
    }

    #[test]
    fn whole_notes_are_read_and_everything_else_is_ignored() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
        write("good", &text());
        write("good.new", &text());
        write("cut", &text()[..40]);
        write("empty", "");
        write("future", &text().replace("\"version\":1", "\"version\":2"));
        write(
            "surprise",
            &text().replace("\"pid\"", "\"extra\":0,\"pid\""),
        );
        write("huge", &" ".repeat(70_000));
        let notes = read_all(directory.path()).unwrap();
        let [(agent, note)] = &notes[..] else {
            panic!("{notes:?}");
        };
        assert_eq!(agent.as_str(), "good");
        assert_eq!((note.pid, note.start_time), (42, 99));
        assert_eq!(note.cgroup.as_deref(), Some(Path::new("/sys/fs/cgroup/a")));
        assert_eq!(format!("{:?}", note.invocation), "ab".repeat(16));
    }
}
