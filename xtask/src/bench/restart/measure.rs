//! The measurements. Contenders take turns within each, so that a slow moment of the machine
//! hits all of them; one that fails is out, with its reason, and the others go on.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Settings, contenders::Contender, cost, fleet::Fleet, stats::is_steady};

/// How long a settled agent has lived before it is killed: more than the second after which
/// the classic supervisors restart at once.
const SETTLED_AGE: Duration = Duration::from_millis(1100);

/// How long a young agent has lived before it is killed.
const YOUNG_AGE: Duration = Duration::from_millis(100);

/// Pause between two kills, so that one contender's work is done before the next one's turn.
const TURN_GAP: Duration = Duration::from_millis(100);

/// Batches after which a median that is still not steady is taken as it is.
const BATCHES_MAX: usize = 8;

/// Rounds of a batch of killing many at once.
const BURST_ROUNDS: usize = 6;

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
    /// Memory with one agent.
    pub memory_one: Option<u64>,
    /// Memory with many agents.
    pub memory_many: Option<u64>,
    /// Processor milliseconds a second with many idle agents.
    pub idle_ms_per_s: Option<f64>,
}

/// A contender and how it fares.
pub struct Entrant {
    pub contender: Box<dyn Contender>,
    pub version: String,
    pub measures: Measures,
    /// Why it is out, if it is.
    pub failure: Option<String>,
}

/// Where a measurement works and with what.
pub struct Ground {
    /// The agent's program.
    pub agent: PathBuf,
    /// Contenders get directories below it.
    pub directory: PathBuf,
}

impl Ground {
    fn start<'a>(&self, contender: &'a dyn Contender, count: usize) -> anyhow::Result<Fleet<'a>> {
        let name: String = contender
            .name()
            .chars()
            .map(|c| if c.is_alphanumeric() { c } else { '-' })
            .collect();
        let directory: &Path = &self.directory;
        Fleet::start(contender, self.agent.clone(), directory.join(name), count)
    }
}

/// All measurements, in place.
pub fn all(entrants: &mut [Entrant], ground: &Ground, settings: &Settings) {
    println!("one settled agent killed ...");
    let sink = |measures: &mut Measures, sample| measures.settled_ns.push(sample);
    turns(entrants, ground, 1, settings.kills, sink);
    println!("one young agent killed ...");
    for _ in 0..settings.kills {
        each(entrants, |entrant| young(entrant, ground));
    }
    println!("{} killed at once ...", settings.burst);
    let sink = |measures: &mut Measures, sample| measures.burst_ns.push(sample);
    turns(entrants, ground, settings.burst, BURST_ROUNDS, sink);
    println!("1 and {} idle agents ...", settings.many);
    each(entrants, |entrant| costs(entrant, ground, settings.many));
}

/// Runs a step for every entrant that is still in.
fn each(entrants: &mut [Entrant], mut step: impl FnMut(&mut Entrant) -> anyhow::Result<()>) {
    for entrant in entrants.iter_mut().filter(|e| e.failure.is_none()) {
        if let Err(error) = step(entrant) {
            fail(entrant.contender.as_ref(), &mut entrant.failure, &error);
        }
    }
}

fn fail(contender: &dyn Contender, failure: &mut Option<String>, error: &anyhow::Error) {
    println!("  {} is out: {error:#}", contender.name());
    *failure = Some(format!("{error:#}"));
}

/// Keeps all contenders running with `count` agents each and kills those of one after the
/// other, in batches of `rounds`, until all medians are steady.
fn turns(
    entrants: &mut [Entrant],
    ground: &Ground,
    count: usize,
    rounds: usize,
    sink: fn(&mut Measures, u64),
) {
    struct Turn<'a> {
        fleet: Option<Fleet<'a>>,
        measures: &'a mut Measures,
        failure: &'a mut Option<String>,
        samples: Vec<u64>,
    }
    let mut field = Vec::new();
    for entrant in entrants.iter_mut().filter(|e| e.failure.is_none()) {
        let contender = entrant.contender.as_ref();
        match ground.start(contender, count) {
            Ok(fleet) => field.push(Turn {
                fleet: Some(fleet),
                measures: &mut entrant.measures,
                failure: &mut entrant.failure,
                samples: Vec::new(),
            }),
            Err(error) => fail(contender, &mut entrant.failure, &error),
        }
    }
    for batch in 0..BATCHES_MAX {
        for round in 0..rounds {
            // Another one begins each round: none always follows the same neighbour's noise.
            let first = (batch * rounds + round) % field.len().max(1);
            let (front, back) = field.split_at_mut(first);
            for turn in back.iter_mut().chain(front) {
                let Some(fleet) = &mut turn.fleet else {
                    continue;
                };
                cost::pause(TURN_GAP);
                cost::wait_until_age(fleet, SETTLED_AGE);
                match fleet.kill_all() {
                    Ok(sample) => turn.samples.push(sample),
                    Err(error) => {
                        fail(fleet.contender(), turn.failure, &error);
                        turn.fleet = None;
                    }
                }
            }
        }
        let steady = |turn: &Turn<'_>| turn.fleet.is_none() || is_steady(&turn.samples, rounds);
        if batch > 0 && field.iter().all(steady) {
            break;
        }
    }
    for turn in field {
        let Some(fleet) = turn.fleet else {
            continue;
        };
        let contender = fleet.contender();
        match fleet.stop() {
            Ok(()) => turn
                .samples
                .into_iter()
                .for_each(|sample| sink(turn.measures, sample)),
            Err(error) => fail(contender, turn.failure, &error),
        }
    }
}

fn young(entrant: &mut Entrant, ground: &Ground) -> anyhow::Result<()> {
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
