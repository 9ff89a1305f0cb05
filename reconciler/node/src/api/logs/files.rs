//! Output in files, as the native runtime keeps it.
//!
//! A file that is followed is looked at every [`LOG_POLL`]; only while somebody follows. A new
//! run of the agent renames the file and begins another, which is noticed by its inode; a file
//! that became shorter was cut and is read from its beginning.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use osmoda_core::name::AgentName;
use osmoda_runtime::blocking::spawn_blocking;
use osmoda_runtime::native::{log_files, tail};
use tokio::time::sleep;

use crate::api::{
    follow::{EventStream, event},
    limits::{LOG_BYTES_MAX, LOG_LINE_BYTES_MAX, LOG_POLL, LOG_READ_BYTES},
    types::LogLine,
};

/// The directory that holds agents' output.
#[derive(Debug, Clone)]
pub(super) struct LogFiles {
    /// LOG_DIR of the native runtime.
    pub directory: PathBuf,
}

impl LogFiles {
    fn path(&self, agent: &AgentName, previous: bool) -> PathBuf {
        let files = log_files(&self.directory, agent);
        match files.previous.into_iter().next() {
            Some(youngest) if previous => youngest,
            _ => files.current,
        }
    }

    /// The last lines; `None` if the agent has written no such file. Blocks.
    pub(super) fn last(
        &self,
        agent: &AgentName,
        previous: bool,
        lines: usize,
    ) -> io::Result<Option<Vec<String>>> {
        match tail(&self.path(agent, previous), lines, LOG_BYTES_MAX) {
            Ok(lines) => Ok(Some(lines)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends the last `lines` lines of the current run, and what comes.
    pub(super) async fn follow(
        &self,
        agent: &AgentName,
        lines: usize,
        mut stream: EventStream,
    ) -> io::Result<()> {
        let mut follower = Follower::new(self.path(agent, false), lines);
        loop {
            // The follower goes to a blocking thread and comes back with what it read.
            let read = spawn_blocking(move || {
                let read = follower.read();
                (follower, read)
            });
            let (returned, read) = read.await.map_err(io::Error::other)?;
            follower = returned;
            let found = read?;
            if found.is_empty() && stream.idle(sleep(LOG_POLL)).await.is_err() {
                return Ok(());
            }
            for line in found {
                if stream.send(event(None, &LogLine { line })).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
}

/// Reads a growing file line by line, across its replacement.
#[derive(Debug)]
struct Follower {
    path: PathBuf,
    open: Option<Open>,
    /// Lines to begin with; the files after the first are read from their beginning.
    lines: Option<usize>,
    /// The beginning of a line whose end has not been written yet.
    partial: Vec<u8>,
}

#[derive(Debug)]
struct Open {
    file: File,
    inode: u64,
    offset: u64,
}

impl Follower {
    fn new(path: PathBuf, lines: usize) -> Self {
        Self {
            path,
            open: None,
            lines: Some(lines),
            partial: Vec::new(),
        }
    }

    /// What has been written since the last time; empty if nothing was.
    fn read(&mut self) -> io::Result<Vec<String>> {
        if self.open.is_none() {
            self.open = self.open_file()?;
        }
        let Some(open) = &mut self.open else {
            return Ok(Vec::new());
        };
        let bytes = open.next()?;
        if bytes.is_empty() && is_replaced(&self.path, open.inode)? {
            self.open = None;
            return Ok(self.end_of_run());
        }
        self.partial.extend_from_slice(&bytes);
        Ok(take_lines(&mut self.partial))
    }

    fn open_file(&mut self) -> io::Result<Option<Open>> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let inode = file.metadata()?.ino();
        let offset = match self.lines.take() {
            Some(lines) => start_of_last(&mut file, lines)?,
            None => 0,
        };
        Ok(Some(Open {
            file,
            inode,
            offset,
        }))
    }

    /// A run may end in the middle of a line.
    fn end_of_run(&mut self) -> Vec<String> {
        let rest = std::mem::take(&mut self.partial);
        if rest.is_empty() {
            Vec::new()
        } else {
            vec![String::from_utf8_lossy(&rest).into_owned()]
        }
    }
}

impl Open {
    fn next(&mut self) -> io::Result<Vec<u8>> {
        if self.file.metadata()?.len() < self.offset {
            self.offset = 0;
        }
        self.file.seek(SeekFrom::Start(self.offset))?;
        let mut bytes = Vec::new();
        (&self.file).take(LOG_READ_BYTES).read_to_end(&mut bytes)?;
        self.offset += bytes.len() as u64;
        Ok(bytes)
    }
}

fn is_replaced(path: &Path, inode: u64) -> io::Result<bool> {
    match std::fs::metadata(path) {
        Ok(found) => Ok(found.ino() != inode),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Where the last `lines` lines begin, looking back at most [`LOG_BYTES_MAX`] bytes.
fn start_of_last(file: &mut File, lines: usize) -> io::Result<u64> {
    let length = file.metadata()?.len();
    let start = length.saturating_sub(LOG_BYTES_MAX as u64);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(length - start).read_to_end(&mut bytes)?;
    let ends_whole = bytes.last() == Some(&b'\n');
    let breaks = bytes
        .iter()
        .enumerate()
        .rev()
        .filter(|(_, byte)| **byte == b'\n');
    let skip = if ends_whole {
        lines
    } else {
        lines.saturating_sub(1)
    };
    let begin = match breaks.map(|(place, _)| place + 1).nth(skip) {
        Some(begin) => begin as u64,
        None => 0,
    };
    Ok(start + begin)
}

/// Takes every whole line, and pieces of one that is longer than [`LOG_LINE_BYTES_MAX`].
pub(super) fn take_lines(partial: &mut Vec<u8>) -> Vec<String> {
    let mut lines = Vec::new();
    let mut rest = partial.as_slice();
    loop {
        let end = rest.iter().position(|byte| *byte == b'\n');
        let (line, after) = match end {
            Some(end) if end <= LOG_LINE_BYTES_MAX => (&rest[..end], &rest[end + 1..]),
            _ if rest.len() > LOG_LINE_BYTES_MAX => rest.split_at(LOG_LINE_BYTES_MAX),
            _ => break,
        };
        lines.push(String::from_utf8_lossy(line).into_owned());
        rest = after;
    }
    *partial = rest.to_vec();
    lines
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write};

    use super::*;

    struct Scene {
        directory: tempfile::TempDir,
    }

    impl Scene {
        fn new() -> Self {
            Self {
                directory: tempfile::tempdir().unwrap(),
            }
        }

        fn path(&self) -> PathBuf {
            self.directory.path().join("current.log")
        }

        fn write(&self, text: &str) {
            let mut file = File::options()
                .append(true)
                .create(true)
                .open(self.path())
                .unwrap();
            file.write_all(text.as_bytes()).unwrap();
        }
    }

    #[test]
    fn following_begins_with_the_last_lines_and_goes_on() {
        let scene = Scene::new();
        scene.write("1\n2\n3\n");
        let mut follower = Follower::new(scene.path(), 2);
        assert_eq!(follower.read().unwrap(), ["2", "3"]);
        assert_eq!(follower.read().unwrap(), [""; 0]);
        scene.write("4\nhalf");
        assert_eq!(follower.read().unwrap(), ["4"]);
        scene.write(" a line\n");
        assert_eq!(follower.read().unwrap(), ["half a line"]);
    }

    #[test]
    fn following_can_begin_before_the_file_exists_or_with_nothing_shown() {
        let scene = Scene::new();
        let mut early = Follower::new(scene.path(), 5);
        assert_eq!(early.read().unwrap(), [""; 0]);
        scene.write("first\n");
        assert_eq!(early.read().unwrap(), ["first"]);
        let mut none = Follower::new(scene.path(), 0);
        assert_eq!(none.read().unwrap(), [""; 0]);
        scene.write("second\n");
        assert_eq!(none.read().unwrap(), ["second"]);
    }

    #[test]
    fn a_new_run_is_followed_and_the_end_of_the_old_one_is_not_lost() {
        let scene = Scene::new();
        scene.write("old\n");
        let mut follower = Follower::new(scene.path(), 5);
        assert_eq!(follower.read().unwrap(), ["old"]);
        scene.write("last words, cut");
        fs::rename(scene.path(), scene.path().with_extension("previous")).unwrap();
        scene.write("new\n");
        let mut lines = Vec::new();
        for _ in 0..5 {
            lines.extend(follower.read().unwrap());
        }
        assert_eq!(lines, ["last words, cut", "new"]);
    }

    #[test]
    fn a_file_that_was_cut_is_read_from_its_beginning() {
        let scene = Scene::new();
        scene.write("long long ago\n");
        let mut follower = Follower::new(scene.path(), 5);
        assert_eq!(follower.read().unwrap(), ["long long ago"]);
        File::options()
            .write(true)
            .open(scene.path())
            .unwrap()
            .set_len(0)
            .unwrap();
        scene.write("again\n");
        assert_eq!(follower.read().unwrap(), ["again"]);
    }

    #[test]
    fn a_line_without_end_comes_in_pieces_and_garbage_does_no_harm() {
        let mut partial = vec![b'x'; LOG_LINE_BYTES_MAX + 2];
        let lines = take_lines(&mut partial);
        assert_eq!((lines.len(), partial.as_slice()), (1, b"xx".as_slice()));
        let mut partial = b"\xff\xfe\n\n".to_vec();
        assert_eq!(take_lines(&mut partial), ["\u{fffd}\u{fffd}", ""]);
    }
}
