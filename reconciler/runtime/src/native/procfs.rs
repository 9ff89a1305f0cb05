//! The few facts that are read from /proc (proc(5)).

use std::{fs, io};

use osmoda_core::observed::InvocationId;

/// What /proc/PID/stat says of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    /// It has ended and waits to be reaped.
    pub dead: bool,
    /// Parent.
    pub parent: u32,
    /// Session (setsid(2)).
    pub session: u32,
    /// CPU time of it and of the children it has waited for, in clock ticks.
    pub cpu_ticks: u64,
    /// When it was made, in clock ticks since boot: with the pid, its identity for this boot.
    pub start_time: u64,
}

/// Reads /proc/PID/stat.
///
/// # Errors
/// There is no such process (any more), or its line is not as proc_pid_stat(5) has it.
pub(crate) fn stat(pid: u32) -> io::Result<Stat> {
    let line = fs::read(format!("/proc/{pid}/stat"))?;
    parse_stat(&String::from_utf8_lossy(&line))
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not a stat line"))
}

/// Field 2 is the name in parentheses and may hold anything, so fields are counted after it.
fn parse_stat(line: &str) -> Option<Stat> {
    let (_, fields) = line.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3);
    Some(Stat {
        dead: matches!(*field(3)?, "Z" | "X" | "x"),
        parent: field(4)?.parse().ok()?,
        session: field(6)?.parse().ok()?,
        cpu_ticks: (14..=17).try_fold(0_u64, |sum, number| {
            Some(sum.saturating_add(field(number)?.parse().ok()?))
        })?,
        start_time: field(22)?.parse().ok()?,
    })
}

/// Every process that /proc shows now.
///
/// # Errors
/// /proc cannot be read.
pub(crate) fn pids() -> io::Result<Vec<u32>> {
    let entries = fs::read_dir("/proc")?;
    Ok(entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect())
}

/// Whether a process was executed with `variable` (`NAME=value`) in its environment.
pub(crate) fn has_variable(pid: u32, variable: &str) -> bool {
    fs::read(format!("/proc/{pid}/environ")).is_ok_and(|text| {
        text.split(|byte| *byte == 0)
            .any(|item| item == variable.as_bytes())
    })
}

/// The value of a variable that a process was executed with, if it is UTF-8.
pub(crate) fn variable(pid: u32, name: &str) -> Option<String> {
    values(pid, name).into_iter().next()
}

/// The instances that the environment a process was executed with names; it may hold a name more
/// than once.
pub(crate) fn invocations(pid: u32) -> Vec<InvocationId> {
    let named = values(pid, "INVOCATION_ID").into_iter();
    named
        .filter_map(|value| InvocationId::from_hex(&value).ok())
        .collect()
}

fn values(pid: u32, name: &str) -> Vec<String> {
    let text = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let items = text.split(|byte| *byte == 0);
    let values = items.filter_map(|item| item.strip_prefix(name.as_bytes())?.strip_prefix(b"="));
    values
        .filter_map(|value| String::from_utf8(value.to_vec()).ok())
        .collect()
}

/// The name of a process, for people.
pub(crate) fn command_name(pid: u32) -> Option<String> {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(name.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let line = "42 (a) R 1 (b) Z 7 42 41 0 -1 4 0 0 0 0 1 2 3 4 20 0 1 0 98765 0 0";
        let expected = Stat {
            dead: true,
            parent: 7,
            session: 41,
            cpu_ticks: 10,
            start_time: 98_765,
        };
        assert_eq!(parse_stat(line), Some(expected));
        assert_eq!(parse_stat("42 (a) R 1"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn a_process_is_asked_for_the_instances_that_it_names() {
        let id = InvocationId([0xab; 16]);
        // What a process was executed with; what it sets later does not show.
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .env_remove("OSMODA_AGENT")
            .env("INVOCATION_ID", id.to_string())
            .env("INVOCATION_ID_OLD", InvocationId([1; 16]).to_string())
            .spawn()
            .unwrap();
        // The kernel lets the parent go on a moment before the environment is in its place.
        let start = std::time::Instant::now();
        while invocations(child.id()).is_empty() {
            assert!(start.elapsed().as_secs() < 20, "it names nothing");
            std::thread::yield_now();
        }
        assert_eq!(invocations(child.id()), [id]);
        assert_eq!(variable(child.id(), "OSMODA_AGENT"), None);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn this_process_is_alive_and_listed() {
        let me = std::process::id();
        assert!(!stat(me).unwrap().dead);
        assert!(pids().unwrap().contains(&me));
    }
}
