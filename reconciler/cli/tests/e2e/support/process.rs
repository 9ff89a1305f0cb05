//! Processes of this machine, by /proc.

use std::{collections::BTreeMap, fs, path::Path};

use rustix::process::{Pid, Signal, kill_process};

/// Sends a signal to one process; that it has just ended is no failure.
pub fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    match kill_process(pid, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(error) => panic!("cannot send {signal:?} to {pid:?}: {error}"),
    }
}

/// SIGKILL.
pub fn kill(pid: u32) {
    signal(pid, Signal::KILL);
}

/// Whether it runs: a zombie does not.
pub fn is_alive(pid: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    let state = stat.rsplit_once(')').map_or("", |(_, rest)| rest).trim();
    !state.starts_with('Z') && !state.starts_with('X')
}

/// Every process with the environment of an agent whose daemon has this runtime directory, by
/// the name of the agent.
pub fn of_agents(run: &Path) -> BTreeMap<String, Vec<u32>> {
    let mut found: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    for pid in processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let environment = String::from_utf8_lossy(&environment).into_owned();
        let variable = |name: &str| {
            let mut items = environment.split('\0');
            items.find_map(|item| item.strip_prefix(name)?.strip_prefix('='))
        };
        let (Some(agent), Some(place)) =
            (variable("OSMODA_AGENT"), variable("CREDENTIALS_DIRECTORY"))
        else {
            continue;
        };
        if Path::new(place).starts_with(run) && is_alive(pid) {
            found.entry(agent.to_owned()).or_default().push(pid);
        }
    }
    found
}
