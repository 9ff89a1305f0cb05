//! `cargo xtask bench restart`: how long a killed agent is away, under osmoda and under others.
//!
//! The agent (xtask/bench/agent.c) reads the clock as its first act; the time counts from just
//! before its kill. [`contenders`] are the supervisors, [`fleet`] runs one and believes only
//! what agents report, [`measure`] lets them take turns, [`report`] writes down what came out.

mod contenders;
pub(super) mod cost;
mod fleet;
mod measure;
pub(super) mod records;
mod report;
mod under_systemd;

use std::collections::BTreeMap;

use anyhow::bail;

use super::{
    build::{self, Common},
    goal::Goal,
    machine::{self, Machine},
    output,
};
use crate::{process, project};
use contenders::{Contender, Role};
use measure::{Entrant, Ground, Measures, Part};
use report::{Report, Row};

pub use under_systemd::{SystemdArgs, run as run_under_systemd};

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    settings: Settings,
    /// Only contenders whose name begins with one of these (the floor always runs).
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Only these measurements.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = ALL)]
    parts: Vec<Part>,
}

/// Every measurement, in the order in which they are made.
const ALL: [Part; 5] = [
    Part::Settled,
    Part::Young,
    Part::Burst,
    Part::Cost,
    Part::Flood,
];

/// How much is measured.
#[derive(Debug, Clone, clap::Args, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// Kills of one agent in a batch; batches repeat until the medians are steady.
    #[arg(long, default_value_t = 12)]
    kills: usize,
    /// How many agents are killed at once.
    #[arg(long, default_value_t = 50)]
    burst: usize,
    /// A great many that are killed at once, and whose memory is taken.
    #[arg(long, default_value_t = 1000)]
    flood: usize,
    /// How many agents the idle cost is taken with.
    #[arg(long, default_value_t = 200)]
    many: usize,
}

/// Measures and writes target/bench/restart.{json,md,svg}.
///
/// # Errors
/// It cannot be set up, or osmoda or the floor did not do what it was measured for. What a peer
/// did not do is in the table.
pub fn run(args: &Args, common: &Common) -> anyhow::Result<Vec<Goal>> {
    let place = output::Ground::new("restart")?;
    let memory = output::in_memory("restart");
    let ground = Ground {
        agent: build::c_program("agent", &output::directory())?,
        directory: memory.as_ref().unwrap_or(&place).path().to_owned(),
        disk: place.path().to_owned(),
    };
    let floor = build::c_program("floor", &output::directory())?;
    let osmoda = common.osmoda()?;
    let machine = Machine::look();
    println!("{}", machine.describe());

    let mut entrants = enter(contenders::all(floor, osmoda), &args.only);
    measure::all(&mut entrants, &ground, &args.settings, &args.parts);
    let left = process::descendants(std::process::id());
    process::end_descendants(std::process::id());

    let report = Report {
        file_system: machine::file_system(&ground.disk),
        directories: machine::file_system(&ground.directory),
        machine,
        settings: args.settings.clone(),
        rows: entrants.into_iter().map(Row::from).collect(),
    };
    let (table, goals) = (report.markdown(), report.goals());
    output::publish("restart", &report, &table, &goals, common)?;
    let plot = output::directory().join("restart.svg");
    project::write_file(&plot, report.plot().svg())?;
    if !left.is_empty() {
        bail!("contenders left processes {left:?} behind");
    }
    report.demand_whole()?;
    Ok(goals)
}

/// Who takes part, with what is here and what is not.
fn enter(contenders: Vec<Box<dyn Contender>>, only: &[String]) -> Vec<Entrant> {
    let asked_for = |name: &str| {
        let mut prefixes = only.iter();
        only.is_empty() || prefixes.any(|prefix| name.starts_with(prefix.as_str()))
    };
    let mut entrants = Vec::new();
    for contender in contenders {
        if contender.role() != Role::Floor && !asked_for(&contender.name()) {
            continue;
        }
        let (version, absent) = match contender.version() {
            Ok(version) => (version, None),
            Err(reason) => (String::new(), Some(format!("{reason:#}"))),
        };
        match &absent {
            None => println!("{} {version}: {}", contender.name(), contender.settings()),
            Some(reason) => println!("{} is not measured: {reason}", contender.name()),
        }
        entrants.push(Entrant {
            contender,
            version,
            measures: Measures::default(),
            absent,
            failures: BTreeMap::new(),
        });
    }
    entrants
}
