//! `osmoda doctor`: what of this host helps or hinders osmoda, with a remedy for each finding.
//!
//! Needs no daemon and changes nothing that stays. Whatever is missing is a finding, never an
//! error: [`examine`] always gives a report. Where to start: [`examine`]; each area has a module.
//! Every function below takes what it judges as an argument and looks at the host itself only for
//! facts, so that the judgement can be tested with facts of any host.

mod agents;
mod disk;
mod host;
mod ledger;
mod nix;
mod permissions;
mod runtime;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{
    daemon::{BundlesChoice, RuntimeChoice, RuntimeKind},
    paths::Paths,
    specs::{LoadOptions, SpecsRef},
};

/// What is to be examined.
#[derive(Debug, Clone)]
pub struct Request {
    /// Where everything lives, or would.
    pub paths: Paths,
    /// The specs.
    pub specs: SpecsRef,
    /// How they are read.
    pub load: LoadOptions,
    /// The ledger's file, if it is not the state directory's.
    pub ledger: Option<PathBuf>,
    /// Where bundles of new generations are made.
    pub bundles: BundlesChoice,
    /// What starts agents, as the daemon is or will be told.
    pub runtime: RuntimeChoice,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// osmoda works, but not as well as it could.
    Warn,
    /// Something does not work.
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// runtime, cgroups, kernel, nix, permissions, disk, clock, limits, ledger or agents.
    pub area: String,
    /// How bad it is.
    pub level: Level,
    /// What was found.
    pub message: String,
    /// What to do about it; empty if nothing needs to be done.
    pub remedy: String,
}

/// Everything that was found: `osmoda doctor -o json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Nothing failed.
    pub ok: bool,
    /// In the order of the areas.
    pub findings: Vec<Finding>,
}

/// Findings of one area in the making.
struct Findings {
    area: &'static str,
    all: Vec<Finding>,
}

impl Findings {
    fn of(area: &'static str) -> Self {
        Self {
            area,
            all: Vec::new(),
        }
    }

    fn note(&mut self, level: Level, message: impl Into<String>, remedy: impl Into<String>) {
        self.all.push(Finding {
            area: self.area.to_owned(),
            level,
            message: message.into(),
            remedy: remedy.into(),
        });
    }

    fn ok(&mut self, message: impl Into<String>) {
        self.note(Level::Ok, message, "");
    }

    fn warn(&mut self, message: impl Into<String>, remedy: impl Into<String>) {
        self.note(Level::Warn, message, remedy);
    }

    fn fail(&mut self, message: impl Into<String>, remedy: impl Into<String>) {
        self.note(Level::Fail, message, remedy);
    }
}

/// Looks at everything. Blocks, for seconds if Nix is slow.
pub fn examine(request: &Request) -> Report {
    let paths = &request.paths;
    let daemon = permissions::daemon(paths);
    let ledger = request.ledger.clone().unwrap_or_else(|| paths.ledger());
    let specs = agents::load(request);
    let (kind, runtime) = runtime::runtime(request.runtime, daemon);
    let cgroups = match kind {
        RuntimeKind::Native => runtime::cgroups(daemon),
        RuntimeKind::Systemd => Findings::of("cgroups"), // they are systemd's to divide
    };
    let areas = [
        runtime,
        cgroups,
        runtime::kernel(),
        nix::nix(request),
        permissions::permissions(paths, daemon),
        disk::disk(&paths.state),
        host::clock(&ledger),
        host::limits(specs.as_ref().map_or(0, |loaded| loaded.agents.len())),
        ledger::ledger(&ledger),
        agents::agents(request, specs, daemon, kind),
    ];
    let findings: Vec<_> = areas.into_iter().flat_map(|area| area.all).collect();
    Report {
        ok: findings.iter().all(|finding| finding.level != Level::Fail),
        findings,
    }
}

/// How this process may be a daemon: who it is.
fn is_root() -> bool {
    ::rustix::process::geteuid().is_root()
}

#[cfg(test)]
fn levels(findings: &Findings) -> Vec<Level> {
    findings.all.iter().map(|finding| finding.level).collect()
}
