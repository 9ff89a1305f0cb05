//! The files that hold what agents write to stdout and stderr.
//!
//! LOG_DIR/AGENT/current.log is written by the agent itself (O_APPEND), so that it neither waits
//! for the daemon nor dies with it. At each start the former run's file becomes previous.log,
//! that one previous.2.log, and so on, and the file of the new run, opened as next.log before it was
//! certain to begin, becomes current.log right after it has. A run that writes too much is cut by copying the file to
//! rotated.log and truncating it, which an agent does not notice; what it writes between the two
//! is lost, and counted.

use std::{
    ffi::OsStr,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom},
    os::{
        fd::{AsFd as _, BorrowedFd},
        unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
};

use osmoda_core::name::AgentName;
use rustix::fs::{Mode, OFlags};

/// Runs before the current one that are kept.
pub const PREVIOUS_RUNS: usize = 5;

/// Size from which the file of a single run is cut, in bytes.
pub const RUN_LOG_MAX: u64 = 10 << 20;

/// Most bytes that [`tail`] reads, whatever is asked.
const TAIL_MAX: usize = 1 << 20;

/// Where an agent's output is. A path may not exist (yet).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFiles {
    /// The latest run.
    pub current: PathBuf,
    /// Runs before it, youngest first.
    pub previous: Vec<PathBuf>,
    /// The run that has not begun, while a start waits for its record.
    pub next: PathBuf,
    /// What was last cut from the beginning of a run that wrote too much.
    pub rotated: PathBuf,
}

/// The paths of an agent's output; they can be known without a daemon.
pub fn log_files(log_dir: &Path, agent: &AgentName) -> LogFiles {
    let directory = log_dir.join(agent.as_str());
    let previous = (1..=PREVIOUS_RUNS).map(|age| match age {
        1 => directory.join("previous.log"),
        _ => directory.join(format!("previous.{age}.log")),
    });
    LogFiles {
        previous: previous.collect(),
        current: directory.join("current.log"),
        next: directory.join("next.log"),
        rotated: directory.join("rotated.log"),
    }
}

/// The file of a run that has not begun. Dropped, it leaves the runs before as they are.
pub(super) struct NextRun {
    file: File,
    files: LogFiles,
    began: bool,
}

impl NextRun {
    /// Opens an empty file. No run may be going on.
    pub fn open(files: &LogFiles) -> io::Result<Self> {
        files.settle(false)?;
        let open = || {
            OpenOptions::new()
                .append(true)
                .create(true)
                .mode(0o640)
                .open(&files.next)
        };
        let opened = match (open(), files.next.parent()) {
            (Err(error), Some(directory)) if error.kind() == io::ErrorKind::NotFound => {
                DirBuilder::new()
                    .recursive(true)
                    .mode(0o750)
                    .create(directory)?;
                open()
            }
            (other, _) => other,
        };
        Ok(Self {
            file: opened?,
            files: files.clone(),
            began: false,
        })
    }

    /// Where the run is to write.
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// The run has begun: moves every other one step into the past.
    pub fn begin(mut self) -> io::Result<()> {
        self.began = true;
        self.files.shift()
    }
}

impl Drop for NextRun {
    fn drop(&mut self) {
        // What cannot be removed is empty, and the next run's file.
        if !self.began {
            let _ = fs::remove_file(&self.files.next);
        }
    }
}

impl LogFiles {
    /// Makes good on what a daemon left undone that died while a run began: moves the runs if
    /// the next one has begun. That is so if there is such a file, and either something is in it
    /// or a run is known to go on.
    pub(super) fn settle(&self, running: bool) -> io::Result<()> {
        match fs::metadata(&self.next) {
            Ok(data) if running || data.len() > 0 => self.shift(),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Moves every run one step into the past and the next one to the front.
    fn shift(&self) -> io::Result<()> {
        // The way to the directory is gone once, and not twice for each file.
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let path = self.next.parent().unwrap_or(Path::new("."));
        let directory = rustix::fs::open(path, flags, Mode::empty())?;
        let rename = |from: &Path, to: &Path| {
            let name = |path: &Path| path.file_name().map(OsStr::to_owned).unwrap_or_default();
            rustix::fs::renameat(&directory, name(from), &directory, name(to))
        };
        let rename_if_there = |from: &Path, to: &Path| match rename(from, to) {
            Err(error) if error != rustix::io::Errno::NOENT => Err(error),
            _ => Ok(()),
        };
        for pair in self.previous.windows(2).rev() {
            rename_if_there(&pair[0], &pair[1])?;
        }
        if let Some(youngest) = self.previous.first() {
            rename_if_there(&self.current, youngest)?;
        }
        Ok(rename(&self.next, &self.current)?)
    }
}

impl LogFiles {
    /// Cuts the current run's file if it is larger than `limit` bytes. Returns how many bytes
    /// were lost between copying and truncating, if it was cut.
    pub(super) fn cut_if_large(&self, limit: u64) -> io::Result<Option<u64>> {
        match fs::metadata(&self.current) {
            Ok(data) if data.len() > limit => {}
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => return Ok(None),
        }
        let mut current = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&self.current)?;
        let aside = self.rotated.with_extension("tmp");
        let mut copy = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o640)
            .open(&aside)?;
        let copied = io::copy(&mut current, &mut copy)?;
        let written = current.metadata()?.len();
        current.set_len(0)?;
        fs::rename(&aside, &self.rotated)?;
        Ok(Some(written.saturating_sub(copied)))
    }
}

/// The last `lines` lines within the last `max_bytes` bytes, lossy UTF-8. A line whose beginning
/// lies before those bytes is left out, unless it is the only one.
pub fn tail(file: &Path, lines: usize, max_bytes: usize) -> io::Result<Vec<String>> {
    let mut file = File::open(file)?;
    let length = file.metadata()?.len();
    if length == 0 {
        return Ok(Vec::new());
    }
    let window = max_bytes.min(TAIL_MAX) as u64;
    let start = length.saturating_sub(window);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(window).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let mut found: Vec<&str> = text.lines().collect();
    if start > 0 && found.len() > 1 {
        found.remove(0);
    }
    let from = found.len().saturating_sub(lines);
    Ok(found[from..]
        .iter()
        .map(|line| (*line).to_owned())
        .collect())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn files(directory: &tempfile::TempDir) -> LogFiles {
        log_files(directory.path(), &AgentName::new("a").unwrap())
    }

    fn begin_run(files: &LogFiles) -> File {
        let next = NextRun::open(files).unwrap();
        let file = next.file.try_clone().unwrap();
        next.begin().unwrap();
        file
    }

    #[test]
    fn a_run_that_wrote_before_its_daemon_died_is_not_lost_to_the_next() {
        let directory = tempfile::tempdir().unwrap();
        let files = files(&directory);
        write!(begin_run(&files), "before").unwrap();
        // The daemon died after the run began and before the files were moved.
        fs::write(&files.next, "of the run").unwrap();
        begin_run(&files);
        assert_eq!(
            fs::read_to_string(&files.previous[0]).unwrap(),
            "of the run"
        );
        assert_eq!(fs::read_to_string(&files.previous[1]).unwrap(), "before");
    }

    #[test]
    fn a_run_that_goes_on_is_the_current_one_also_if_it_is_silent() {
        let directory = tempfile::tempdir().unwrap();
        let files = files(&directory);
        write!(begin_run(&files), "before").unwrap();
        fs::write(&files.next, "").unwrap();
        files.settle(false).unwrap();
        assert_eq!(fs::read_to_string(&files.current).unwrap(), "before");
        files.settle(true).unwrap();
        assert_eq!(fs::read_to_string(&files.current).unwrap(), "");
        assert_eq!(fs::read_to_string(&files.previous[0]).unwrap(), "before");
    }

    #[test]
    fn a_run_that_never_begins_leaves_the_others_as_they_are() {
        let directory = tempfile::tempdir().unwrap();
        let files = files(&directory);
        drop(NextRun::open(&files).unwrap());
        write!(begin_run(&files), "the only run").unwrap();
        for _ in 0..3 {
            drop(NextRun::open(&files).unwrap());
        }
        let left: Vec<_> = fs::read_dir(directory.path().join("a")).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
        assert_eq!(fs::read_to_string(&files.current).unwrap(), "the only run");
    }

    #[test]
    fn each_start_moves_the_runs_one_step_and_the_oldest_goes() {
        let directory = tempfile::tempdir().unwrap();
        let files = files(&directory);
        for run in 0..8 {
            write!(begin_run(&files), "run {run}").unwrap();
        }
        assert_eq!(fs::read_to_string(&files.current).unwrap(), "run 7");
        let previous = files
            .previous
            .iter()
            .map(|path| fs::read_to_string(path).unwrap());
        assert_eq!(
            previous.collect::<Vec<_>>(),
            ["run 6", "run 5", "run 4", "run 3", "run 2"]
        );
        let kept = fs::read_dir(directory.path().join("a")).unwrap().count();
        assert_eq!(kept, 1 + PREVIOUS_RUNS);
    }

    #[test]
    fn a_large_run_is_cut_and_its_writer_goes_on_from_the_beginning() {
        let directory = tempfile::tempdir().unwrap();
        let files = files(&directory);
        let mut writer = begin_run(&files);
        writer.write_all(b"0123456789").unwrap();
        assert_eq!(files.cut_if_large(10).unwrap(), None);
        writer.write_all(b"a").unwrap();
        assert_eq!(files.cut_if_large(10).unwrap(), Some(0));
        writer.write_all(b"b").unwrap();
        assert_eq!(fs::read_to_string(&files.rotated).unwrap(), "0123456789a");
        assert_eq!(fs::read_to_string(&files.current).unwrap(), "b");
    }

    #[test]
    fn a_tail_is_bounded_in_lines_and_bytes_and_begins_with_a_whole_line() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("log");
        fs::write(&file, "first\nsecond\nthird\n").unwrap();
        assert_eq!(tail(&file, 2, 1000).unwrap(), ["second", "third"]);
        assert_eq!(tail(&file, 9, 9).unwrap(), ["third"]);
        assert_eq!(tail(&file, 0, 9).unwrap(), [""; 0]);
        fs::write(&file, b"bad \xff byte").unwrap();
        assert_eq!(tail(&file, 1, 100).unwrap(), ["bad \u{fffd} byte"]);
        assert_eq!(tail(&file, 1, 4).unwrap(), ["byte"]);
        assert!(tail(&directory.path().join("none"), 1, 1).is_err());
    }
}
