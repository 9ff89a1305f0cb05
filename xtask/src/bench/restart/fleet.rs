//! One contender at work: its supervisor, its agents, and what they tell.
//!
//! Every agent sends one [`Record`](super::records::Record) at the very start of its life. A
//! fleet believes nothing else: a restart counts when the killed agent - and no other - has
//! reported from another process, and the old process is gone.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use rustix::process::Signal;

use super::{
    contenders::{Contender, Job},
    records::{Life, Record, Records, monotonic},
};
use crate::{process, project};

/// How long one agent may take to come, at the start or after a kill.
const COME_BOUND: Duration = Duration::from_secs(20);

/// How much longer all may take, for each of them.
const COME_EACH: Duration = Duration::from_millis(50);

/// How long a supervisor may take to end when asked, before it is killed.
const STOP_BOUND: Duration = Duration::from_secs(10);

/// A contender that runs.
pub struct Fleet<'a> {
    contender: &'a dyn Contender,
    job: Job,
    supervisor: Child,
    records: Records,
    agents: Vec<Life>,
    kills: usize,
    ended: bool,
}

/// Whether `new` is what a restart after a kill at `killed` has to be.
fn is_restart(old: Life, new: Life, killed: u64, old_runs: bool) -> anyhow::Result<()> {
    ensure!(old.pid != new.pid, "kept process {}", old.pid);
    ensure!(new.began >= killed, "came back before it was killed");
    ensure!(!old_runs, "its old process {} still runs", old.pid);
    Ok(())
}

/// Two directories of a contender's own; they may be one.
pub struct Places {
    /// For what goes with the machine's next boot.
    pub directory: PathBuf,
    /// For what is durable.
    pub disk: PathBuf,
}

impl<'a> Fleet<'a> {
    /// Starts a contender with `count` agents in empty directories and waits for all of them.
    ///
    /// # Errors
    /// It does not start, or an agent does not come in time.
    pub fn start(
        contender: &'a dyn Contender,
        agent: PathBuf,
        places: Places,
        count: usize,
    ) -> anyhow::Result<Self> {
        let records = Records::listen()?;
        let Places { directory, disk } = places;
        for place in [&disk, &directory] {
            if place.exists() {
                fs::remove_dir_all(place)
                    .with_context(|| format!("emptying {}", place.display()))?;
            }
            fs::create_dir_all(place).with_context(|| format!("creating {}", place.display()))?;
        }
        let job = Job {
            agent,
            directory,
            disk,
            socket_name: records.socket_name().to_owned(),
            count,
        };
        let log = project::create_file(&job.directory.join("supervisor.log"))?;
        let supervisor = contender
            .prepare(&job)?
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("duplicating the log")?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {}", contender.name()))?;
        let mut fleet = Self {
            contender,
            job,
            supervisor,
            records,
            agents: Vec::new(),
            kills: 0,
            ended: false,
        };
        fleet.wait_for_first_lives()?;
        Ok(fleet)
    }

    fn wait_for_first_lives(&mut self) -> anyhow::Result<()> {
        let mut lives = vec![None; self.job.count];
        let start = Instant::now();
        while lives.iter().any(Option::is_none) {
            let record = self.receive(start)?;
            let place = lives.get_mut(record.index).context("an unknown agent")?;
            ensure!(place.is_none(), "agent {} started twice", record.index);
            *place = Some(record.life);
        }
        self.agents = lives.into_iter().flatten().collect();
        Ok(())
    }

    /// Who this is.
    pub fn contender(&self) -> &'a dyn Contender {
        self.contender
    }

    /// How long the youngest agent has lived.
    pub fn age(&self) -> Duration {
        let youngest = self.agents.iter().map(|life| life.began).max();
        Duration::from_nanos(monotonic().saturating_sub(youngest.unwrap_or_default()))
    }

    /// Kills every agent at once; returns the nanoseconds from just before the first kill to
    /// the first act of the last agent that is back.
    ///
    /// # Errors
    /// One does not come back in time, one restarts twice, or an old one lives on.
    pub fn kill_all(&mut self) -> anyhow::Result<u64> {
        self.nobody_came_uncalled()?;
        let old = self.agents.clone();
        let began = monotonic();
        for life in &old {
            process::kill(life.pid, Signal::KILL);
        }
        // Those that were put into the background by a script are this process' children.
        process::reap_killed(old.iter().map(|life| life.pid));
        let start = Instant::now();
        let mut missing: BTreeSet<usize> = (0..old.len()).collect();
        while !missing.is_empty() {
            let record = self.receive(start)?;
            ensure!(
                missing.remove(&record.index),
                "agent {} started again without having been killed",
                record.index
            );
            self.agents[record.index] = record.life;
        }
        for (index, (old, new)) in old.iter().zip(&self.agents).enumerate() {
            is_restart(*old, *new, began, process::is_alive(old.pid))
                .with_context(|| format!("agent {index}"))?;
        }
        self.kills += old.len();
        let last = self.agents.iter().map(|life| life.began).max();
        Ok(last.unwrap_or(began) - began)
    }

    /// The processes of the supervisor, without those of its agents.
    pub fn supervisor_pids(&self) -> BTreeSet<u32> {
        let mut pids = process::descendants(self.supervisor.id());
        pids.insert(self.supervisor.id());
        for life in &self.agents {
            pids.remove(&life.pid);
        }
        pids
    }

    /// Ends it in its own way, kills what is left, and lets the contender check its records.
    ///
    /// # Errors
    /// Something of it survives SIGKILL, or its records do not tell what happened.
    pub fn stop(mut self) -> anyhow::Result<()> {
        self.end()?;
        self.contender.verify(&self.job, self.kills)
    }

    fn end(&mut self) -> anyhow::Result<()> {
        self.ended = true;
        let root = self.supervisor.id();
        let mut below = process::descendants(root);
        let asked = self.contender.ask_to_stop(&self.job, root);
        process::wait_for_end(&BTreeSet::from([root]), STOP_BOUND);
        process::end_descendants(root);
        process::kill(root, Signal::KILL);
        self.supervisor.wait().context("waiting for a supervisor")?;
        // What it left behind: supervisors before agents, or they would start them again.
        let agents: BTreeSet<u32> = self.agents.iter().map(|life| life.pid).collect();
        below.extend(&agents);
        for pid in below.difference(&agents).chain(&agents) {
            process::kill(*pid, Signal::KILL);
        }
        let left = process::wait_for_end(&below, STOP_BOUND);
        process::reap(&below);
        ensure!(left.is_empty(), "processes {left:?} cannot be ended");
        self.end_latecomers()?;
        asked
    }

    /// Ends what the supervisor was just about to start when it was looked at, and left behind
    /// without a parent: it fell to this process.
    fn end_latecomers(&self) -> anyhow::Result<()> {
        let start = Instant::now();
        loop {
            let mut late = process::descendants(std::process::id());
            late.retain(|pid| self.is_of_this_fleet(*pid));
            if late.is_empty() {
                return Ok(());
            }
            ensure!(
                start.elapsed() < STOP_BOUND,
                "{late:?} come again and again"
            );
            for pid in &late {
                process::kill(*pid, Signal::KILL);
            }
            process::wait_for_end(&late, STOP_BOUND);
            process::reap(&late);
        }
    }

    /// Whether a process is in the fleet's directory, or was given something of it.
    fn is_of_this_fleet(&self, pid: u32) -> bool {
        let directory = &self.job.directory;
        let is_here = process::directory(pid).is_some_and(|place| place.starts_with(directory));
        is_here
            || process::words(pid)
                .iter()
                .any(|word| *word == self.job.socket_name || Path::new(word).starts_with(directory))
    }

    /// A record nobody waits for is an agent that was started without need.
    fn nobody_came_uncalled(&self) -> anyhow::Result<()> {
        let uncalled = self.records.is_any_waiting()?;
        ensure!(
            !uncalled,
            "{} started an agent that had not been killed",
            self.contender.name()
        );
        Ok(())
    }

    fn receive(&mut self, start: Instant) -> anyhow::Result<Record> {
        let each = COME_EACH.saturating_mul(u32::try_from(self.job.count).unwrap_or(u32::MAX));
        let bound = COME_BOUND + each;
        let left = bound.saturating_sub(start.elapsed());
        self.records.next(left).with_context(|| {
            let log = self.job.directory.join("supervisor.log");
            let said = fs::read_to_string(log).unwrap_or_default();
            format!(
                "no agent of {} came within {} s; it said last: {}",
                self.contender.name(),
                bound.as_secs(),
                said.lines().last().unwrap_or("nothing")
            )
        })
    }
}

impl Drop for Fleet<'_> {
    fn drop(&mut self) {
        if !self.ended {
            // An error is on its way already; what counts is that nothing is left running.
            let _ = self.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::bench::{build::c_program, restart::contenders::floor::Floor};

    #[test]
    fn only_a_new_process_after_the_kill_is_a_restart() {
        let old = Life { pid: 7, began: 10 };
        let new = Life { pid: 8, began: 30 };
        assert!(is_restart(old, new, 20, false).is_ok());
        assert!(is_restart(old, Life { pid: 7, ..new }, 20, false).is_err());
        assert!(is_restart(old, Life { began: 15, ..new }, 20, false).is_err());
        assert!(is_restart(old, new, 20, true).is_err());
    }

    #[test]
    fn the_floor_brings_every_agent_back_and_leaves_nothing_when_stopped() {
        let output = project::target().join("test/fleet");
        let floor = Floor {
            program: c_program("floor", &output).unwrap(),
        };
        let agent = c_program("agent", &output).unwrap();
        let places = Places {
            directory: output.join("work"),
            disk: output.join("work"),
        };
        let mut fleet = Fleet::start(&floor, agent, places, 20).unwrap();
        let before: BTreeSet<u32> = fleet.agents.iter().map(|life| life.pid).collect();
        fleet.kill_all().unwrap();
        let after: BTreeSet<u32> = fleet.agents.iter().map(|life| life.pid).collect();
        assert!(before.is_disjoint(&after));
        let supervisor = fleet.supervisor_pids();
        // Supervisors whose start programs put agents into the background leave such ones.
        let orphan = |index: &str, socket: &str| {
            let agent = fleet.job.agent.to_str().unwrap();
            let script = format!("{agent} {socket} {index} </dev/null >/dev/null 2>&1 & echo $!");
            let printed = project::output(Command::new("sh").args(["-c", &script])).unwrap();
            printed.trim().parse::<u32>().unwrap()
        };
        process::adopt_orphans().unwrap();
        let late = orphan("3", &fleet.job.socket_name);
        let other = orphan("3", &format!("{}0", fleet.job.socket_name));
        fleet.stop().unwrap();
        let all = after.union(&supervisor).chain([&late]);
        assert_eq!(all.filter(|pid| process::is_alive(**pid)).count(), 0);
        assert!(process::is_alive(other), "it is of another fleet");
        process::kill(other, Signal::KILL);
        process::reap_killed([other]);
    }
}
