//! The measurements. Contenders take turns within each, so that a slow moment of the machine
//! hits all of them. What one of them does not manage is missing in its row, with the reason; it
//! takes part in the rest, and so do the others.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use super::{
    Settings,
    contenders::{Contender, Role},
    cost,
    fleet::{Fleet, Places},
};
use crate::bench::stats::is_steady;

/// How long a settled agent has lived before it is killed: more than the second after which
/// the classic supervisors restart at once.
const SETTLED_AGE: Duration = Duration::from_millis(1100);

/// How long a young agent has lived before it is killed.
const YOUNG_AGE: Duration = Duration::from_millis(100);

/// Pause between two kills, so that one contender's work is done before the next one's turn.
const TURN_GAP: Duration = Duration::from_millis(100);

/// Batches after which a median that is still not steady is taken as it is.
const BATCHES_MAX: usize = 6;

/// Rounds of a batch of killing many at once.
const BURST_ROUNDS: usize = 6;

/// Kills of a great many at once.
const FLOOD_ROUNDS: usize = 3;

/// A contender that takes longer than this is in another class, and waiting for it often would
/// say nothing more.
const SLOW_NS: u64 = 400_000_000;

/// Samples of such a contender.
const SLOW_SAMPLES: usize = 4;

/// What was measured of one contender. Times in nanoseconds, memory in bytes.
#[derive(Debug, Default, Clone, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Measures {
    /// Kill to restart of one settled agent.
    pub settled_ns: Vec<u64>,
    /// Kill to restart of one agent that was started for the first time 0.1 s before.
    pub young_ns: Vec<u64>,
    /// Kill of many to the restart of the last.
    pub burst_ns: Vec<u64>,
    /// The same of a great many.
    pub flood_ns: Vec<u64>,
    /// Memory with one agent.
    pub memory_one: Option<u64>,
    /// Memory with many agents.
    pub memory_many: Option<u64>,
    /// Memory with a great many.
    pub memory_most: Option<u64>,
    /// Processor milliseconds a second with many idle agents.
    pub idle_ms_per_s: Option<f64>,
}

/// One of the measurements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Part {
    /// One settled agent killed.
    Settled,
    /// One young agent killed.
    Young,
    /// Many killed at once.
    Burst,
    /// Memory and idle processor time.
    Cost,
    /// A great many killed at once, and their memory.
    Flood,
}

impl Part {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Settled => "one settled agent killed",
            Self::Young => "one young agent killed",
            Self::Burst => "many killed at once",
            Self::Flood => "a great many killed at once",
            Self::Cost => "memory and idle processor time",
        }
    }
}

/// A contender and how it fares.
pub struct Entrant {
    pub contender: Box<dyn Contender>,
    pub version: String,
    pub measures: Measures,
    /// Why it does not take part, if it is not here.
    pub absent: Option<String>,
    /// What it did not manage, and why.
    pub failures: BTreeMap<Part, String>,
}

/// Where a measurement works and with what.
pub struct Ground {
    /// The agent's program.
    pub agent: PathBuf,
    /// Contenders get directories below it: in memory, if the machine has room there.
    pub directory: PathBuf,
    /// On a disk: for what a contender has to make durable.
    pub disk: PathBuf,
}

impl Ground {
    fn start<'a>(&self, contender: &'a dyn Contender, count: usize) -> anyhow::Result<Fleet<'a>> {
        let name: String = contender
            .name()
            .chars()
            .map(|c| if c.is_alphanumeric() { c } else { '-' })
            .collect();
        let places = Places {
            directory: match contender.lives_on_disk() {
                true => self.disk.join(&name),
                false => self.directory.join(&name),
            },
            disk: self.disk.join(&name),
        };
        Fleet::start(contender, self.agent.clone(), places, count)
    }
}

/// These measurements, in place.
pub fn all(entrants: &mut [Entrant], ground: &Ground, settings: &Settings, parts: &[Part]) {
    for part in parts {
        measure(entrants, ground, settings, *part);
    }
}

fn measure(entrants: &mut [Entrant], ground: &Ground, settings: &Settings, part: Part) {
    let agents = match part {
        Part::Settled | Part::Young => 1,
        Part::Burst => settings.burst,
        Part::Cost => settings.many,
        Part::Flood => settings.flood,
    };
    println!("{} ({agents}) ...", part.name());
    match part {
        Part::Settled => {
            let sink = |measures: &mut Measures, sample| measures.settled_ns.push(sample);
            turns(entrants, ground, part, agents, settings.kills, sink);
        }
        Part::Young => {
            for _ in 0..settings.kills {
                each(entrants, part, |entrant| young(entrant, ground));
            }
        }
        Part::Burst => {
            let sink = |measures: &mut Measures, sample| measures.burst_ns.push(sample);
            turns(entrants, ground, part, agents, BURST_ROUNDS, sink);
        }
        Part::Cost => each(entrants, part, |entrant| costs(entrant, ground, agents)),
        Part::Flood => {
            each(entrants, part, |entrant| flood(entrant, ground, agents));
            // Too many to keep all contenders' running at once, so those that are compared have a
            // second turn at the end.
            each(entrants, part, |entrant| match entrant.contender.role() {
                Role::Floor | Role::Osmoda => flood(entrant, ground, agents),
                Role::Peer | Role::Bare => Ok(()),
            });
        }
    }
}

/// Runs a step for every entrant that is here and has not failed in this part.
fn each(
    entrants: &mut [Entrant],
    part: Part,
    mut step: impl FnMut(&mut Entrant) -> anyhow::Result<()>,
) {
    for entrant in entrants
        .iter_mut()
        .filter(|entrant| entrant.takes_part(part))
    {
        if let Err(error) = step(entrant) {
            entrant.fail(part, &error);
        }
    }
}

impl Entrant {
    fn takes_part(&self, part: Part) -> bool {
        self.absent.is_none() && !self.failures.contains_key(&part)
    }

    fn fail(&mut self, part: Part, error: &anyhow::Error) {
        let name = self.contender.name();
        note(&name, &mut self.failures, part, error);
    }
}

fn note(name: &str, failures: &mut BTreeMap<Part, String>, part: Part, error: &anyhow::Error) {
    println!("  {name} fails: {error:#}");
    failures.insert(part, format!("{error:#}"));
}

/// Whether more samples of a contender would say nothing more.
fn is_slow(samples: &[u64]) -> bool {
    samples.len() >= SLOW_SAMPLES && samples.iter().all(|sample| *sample > SLOW_NS)
}

/// Has contenders take turns, those that wait to be told first, then those that look around.
fn turns(
    entrants: &mut [Entrant],
    ground: &Ground,
    part: Part,
    count: usize,
    rounds: usize,
    sink: fn(&mut Measures, u64),
) {
    for looks_around in [false, true] {
        let field = entrants.iter_mut().filter(|entrant| {
            entrant.takes_part(part) && entrant.contender.looks_around() == looks_around
        });
        turns_of(field, ground, part, count, rounds, sink);
    }
}

/// Keeps all of them running with `count` agents each and kills those of one after the other, in
/// batches of `rounds`, until all medians are steady.
fn turns_of<'e>(
    entrants: impl Iterator<Item = &'e mut Entrant>,
    ground: &Ground,
    part: Part,
    count: usize,
    rounds: usize,
    sink: fn(&mut Measures, u64),
) {
    let mut field = Vec::new();
    for entrant in entrants {
        let contender = entrant.contender.as_ref();
        match ground.start(contender, count) {
            Ok(fleet) => field.push(Turn {
                fleet: Some(fleet),
                measures: &mut entrant.measures,
                failures: &mut entrant.failures,
                samples: Vec::new(),
            }),
            Err(error) => note(&contender.name(), &mut entrant.failures, part, &error),
        }
    }
    for batch in 0..BATCHES_MAX {
        for round in 0..rounds {
            // Another one begins each round: none always follows the same neighbour's noise.
            let first = (batch * rounds + round) % field.len().max(1);
            let (front, back) = field.split_at_mut(first);
            for turn in back.iter_mut().chain(front) {
                turn.take(part);
            }
        }
        let steady = |turn: &Turn<'_>| {
            turn.fleet.is_none() || is_slow(&turn.samples) || is_steady(&turn.samples, rounds)
        };
        if batch > 0 && field.iter().all(steady) {
            break;
        }
    }
    for turn in field {
        turn.end(part, sink);
    }
}

/// A contender that takes turns.
struct Turn<'a> {
    /// `None`: it has failed.
    fleet: Option<Fleet<'a>>,
    measures: &'a mut Measures,
    failures: &'a mut BTreeMap<Part, String>,
    samples: Vec<u64>,
}

impl Turn<'_> {
    fn take(&mut self, part: Part) {
        let Some(fleet) = self.fleet.as_mut().filter(|_| !is_slow(&self.samples)) else {
            return;
        };
        cost::pause(TURN_GAP);
        cost::wait_until_age(fleet, SETTLED_AGE);
        match fleet.kill_all() {
            Ok(sample) => self.samples.push(sample),
            Err(error) => {
                let name = fleet.contender().name();
                note(&name, self.failures, part, &error);
                self.fleet = None;
            }
        }
    }

    /// Samples count if the contender's own records agree in the end.
    fn end(self, part: Part, sink: fn(&mut Measures, u64)) {
        let Some(fleet) = self.fleet else {
            return;
        };
        let name = fleet.contender().name();
        match fleet.stop() {
            Ok(()) => (self.samples.into_iter()).for_each(|sample| sink(self.measures, sample)),
            Err(error) => note(&name, self.failures, part, &error),
        }
    }
}

fn young(entrant: &mut Entrant, ground: &Ground) -> anyhow::Result<()> {
    if is_slow(&entrant.measures.young_ns) {
        return Ok(());
    }
    let mut fleet = ground.start(entrant.contender.as_ref(), 1)?;
    cost::wait_until_age(&fleet, YOUNG_AGE);
    let sample = fleet.kill_all()?;
    fleet.stop()?;
    entrant.measures.young_ns.push(sample);
    Ok(())
}

fn costs(entrant: &mut Entrant, ground: &Ground, many: usize) -> anyhow::Result<()> {
    let fleet = ground.start(entrant.contender.as_ref(), 1)?;
    entrant.measures.memory_one = Some(cost::settled_memory(&fleet)?);
    fleet.stop()?;
    let fleet = ground.start(entrant.contender.as_ref(), many)?;
    entrant.measures.memory_many = Some(cost::settled_memory(&fleet)?);
    entrant.measures.idle_ms_per_s = Some(cost::idle_processor(&fleet)?);
    fleet.stop()
}

/// Kills a great many at once, a few times; memory is taken before, from agents that were only
/// started.
fn flood(entrant: &mut Entrant, ground: &Ground, count: usize) -> anyhow::Result<()> {
    let mut fleet = ground.start(entrant.contender.as_ref(), count)?;
    entrant.measures.memory_most = Some(cost::settled_memory(&fleet)?);
    let mut samples = Vec::new();
    for _ in 0..FLOOD_ROUNDS {
        cost::wait_until_age(&fleet, SETTLED_AGE);
        samples.push(fleet.kill_all()?);
    }
    fleet.stop()?;
    entrant.measures.flood_ns.extend(samples);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_is_always_slow_is_spared_the_rest() {
        let (slow, fast) = (SLOW_NS + 1, SLOW_NS - 1);
        assert!(is_slow(&[slow; SLOW_SAMPLES]));
        assert!(!is_slow(&[slow; SLOW_SAMPLES - 1]));
        assert!(!is_slow(&[slow, slow, slow, fast, slow]));
    }
}
