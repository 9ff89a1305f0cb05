//! The machine a benchmark ran on, so that a result can be judged.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread::available_parallelism,
};

use crate::project;

/// What is worth knowing of it.
#[derive(Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Machine {
    /// Model of the processor.
    pub processor: String,
    /// How many of them.
    pub processors: usize,
    /// Main memory in MiB.
    pub memory_mib: u64,
    /// Version of the kernel.
    pub kernel: String,
    /// Name and version of the distribution.
    pub system: String,
    /// Load over the last minute when the benchmark began: other work disturbs it.
    pub load: String,
    /// Commit of this tree, marked if files had been changed since.
    pub commit: String,
}

impl Machine {
    /// Looks at this one. What cannot be found out is "unknown".
    pub fn look() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let unknown = || "unknown".to_owned();
        let memory_kib = field(&read("/proc/meminfo"), "MemTotal:")
            .and_then(|value| value.trim_end_matches("kB").trim().parse::<u64>().ok());
        let load = read("/proc/loadavg");
        Self {
            processor: field(&read("/proc/cpuinfo"), "model name")
                .map(|value| value.trim_start_matches([':', ' ']).to_owned())
                .unwrap_or_else(unknown),
            processors: available_parallelism().map_or(1, usize::from),
            memory_mib: memory_kib.unwrap_or_default() / 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            system: field(&read("/etc/os-release"), "PRETTY_NAME=")
                .map(|value| value.trim_matches('"').to_owned())
                .unwrap_or_else(unknown),
            load: load.split(' ').next().unwrap_or_default().to_owned(),
            commit: commit().unwrap_or_else(unknown),
        }
    }

    /// One line for people.
    pub fn describe(&self) -> String {
        format!(
            "{} x {}, {} MiB, {}, Linux {}, load {}, commit {}",
            self.processors,
            self.processor,
            self.memory_mib,
            self.system,
            self.kernel,
            self.load,
            self.commit
        )
    }
}

/// Short id of the commit, and whether anything that could be measured is another since: the tables
/// that benchmarks themselves write cannot.
fn commit() -> Option<String> {
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        let git = git.args(arguments).current_dir(project::root());
        project::output(git).ok()
    };
    let id = git(&["rev-parse", "--short", "HEAD"])?;
    let others = ["status", "--porcelain", "--", ".", ":!docs/performance.md"];
    let dirty = match git(&others)?.is_empty() {
        true => "",
        false => "-dirty",
    };
    Some(format!("{}{dirty}", id.trim()))
}

/// The value of the first line that begins with this name.
fn field(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().to_owned())
}

/// The type of the file system that holds a path (mountinfo, proc(5)), or "unknown".
pub fn file_system(path: &Path) -> String {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    type_of_mount(&mounts, &path).unwrap_or_else(|| "unknown".to_owned())
}

fn type_of_mount(mountinfo: &str, path: &Path) -> Option<String> {
    let mounts = mountinfo.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let point = PathBuf::from(before.split(' ').nth(4)?);
        let kind = after.split(' ').next()?;
        path.starts_with(&point)
            .then(|| (point.components().count(), kind.to_owned()))
    });
    // Of two mounts on one point the later one is seen, and max_by_key gives the later one.
    Some(mounts.max_by_key(|(depth, _)| *depth)?.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_mount_above_a_path_holds_it() {
        let mounts = "20 1 0:1 / / rw shared:1 - ext4 /dev/vda rw\n\
                      21 20 0:2 / /run rw - tmpfs tmpfs rw\n\
                      22 20 0:3 / /runner rw - xfs /dev/vdb rw\n";
        let kind = |path| type_of_mount(mounts, Path::new(path));
        assert_eq!(kind("/run/osmoda").as_deref(), Some("tmpfs"));
        assert_eq!(kind("/running").as_deref(), Some("ext4"));
    }

    #[test]
    fn a_field_is_found_by_its_name() {
        assert_eq!(
            field("A: 1\nMemTotal:  42 kB\n", "MemTotal:").unwrap(),
            "42 kB"
        );
    }
}
