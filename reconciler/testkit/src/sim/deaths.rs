//! A rollback, and one thing that happens at the worst moment, microsecond by microsecond.

use std::time::Duration;

use osmoda_core::time::{Clock as _, Mono};
use osmoda_nix::profiles::Profiles as _;

use super::{
    Simulation, Violation,
    blueprint::{Blueprint, Declaration, Quality},
    sabotage::Sabotage,
    scheduler,
};

/// Time in which a deploy is proven, and in which all is over after the worst moment.
const PROVEN_WITHIN: Duration = Duration::from_secs(30);

/// What happens while a bad deploy is gone back from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meanwhile {
    /// The daemon dies, and is back a second later.
    DaemonDies,
    /// The machine loses its power.
    PowerFails,
    /// Somebody deletes the last known good generation; the one before it is good too.
    LastGoodDeleted,
    /// Its bundle is damaged.
    LastGoodDamaged,
    /// Somebody makes the oldest generation active.
    OldestChosen,
}

/// How it came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// The generation that is active, by the version it was declared as.
    pub active: u64,
    /// Rollbacks that succeeded.
    pub rollbacks: usize,
    /// The bad deploy is on record as Bad.
    pub condemned: bool,
    /// The agent runs, and is well.
    pub works: bool,
}

/// Versions 1 and 2 of an agent are good and proven, 3 crashes at once; `after` it was declared
/// something happens.
///
/// # Errors
/// The first broken promise.
pub fn rollback(after: Duration, meanwhile: Meanwhile) -> Result<Outcome, Box<Violation>> {
    scheduler().block_on(async {
        let mut simulation = Simulation::new(0, Sabotage::None, &["alpha"]);
        simulation.blueprint = Blueprint::default();
        let played = simulation.roll_back(after, meanwhile).await;
        played.map_err(|what| simulation.violation(what))
    })
}

/// A deploy on probation, and a daemon that dies or a machine that loses its power `after` it was
/// declared and is away for `away`. Gives when the verdict came, counted from the declaration in
/// time in which the machine was on.
///
/// # Errors
/// The first broken promise, or that there was no verdict.
pub fn probation(
    bad: bool,
    meanwhile: Meanwhile,
    after: Duration,
    away: Duration,
) -> Result<Duration, Box<Violation>> {
    scheduler().block_on(async {
        let mut simulation = Simulation::new(0, Sabotage::None, &["alpha"]);
        simulation.blueprint = Blueprint::plain(&simulation.names);
        let judged = simulation.judged(bad, meanwhile, after, away).await;
        judged.map_err(|what| simulation.violation(what))
    })
}

impl Simulation {
    async fn judged(
        &mut self,
        bad: bool,
        meanwhile: Meanwhile,
        after: Duration,
        away: Duration,
    ) -> Result<Duration, String> {
        let agent = self.names[0].clone();
        self.start_daemon().await?;
        let quality = match bad {
            true => Quality::NeverReady,
            false => Quality::Good,
        };
        for (version, quality) in [(1, Quality::Good), (2, quality)] {
            let declaration = Declaration {
                version,
                policy: "Always",
                quality,
            };
            self.desired.insert(agent.clone(), declaration);
            if version == 2 {
                tokio::time::sleep(PROVEN_WITHIN).await;
            }
            self.tell_specs().await?;
        }
        let declared = self.clock.mono();
        tokio::time::sleep(after).await;
        let lived = self.clock.mono().since(declared);
        match meanwhile {
            Meanwhile::PowerFails => self.reboot(away).await?,
            _ => {
                self.kill_daemon().await;
                tokio::time::sleep(away).await;
                self.start_daemon().await?;
            }
        }
        tokio::time::sleep(3 * PROVEN_WITHIN).await;
        self.check()?;
        let kind = if bad {
            "GenerationBad"
        } else {
            "GenerationGood"
        };
        let entries = self.disk.entries(0);
        let verdict = entries.iter().rev().map(|stored| &stored.entry);
        let verdict = verdict.filter(|entry| entry["body"]["generation"]["number"] == 2);
        let verdict = verdict.into_iter().find(|entry| entry["kind"] == kind);
        let at = verdict.and_then(|entry| entry["mono"].as_str()?.parse().ok());
        let at = Mono(at.ok_or_else(|| format!("no {kind}"))?);
        Ok(match meanwhile {
            // A boot begins a new clock.
            Meanwhile::PowerFails => lived + at.since(Mono(0)),
            _ => at.since(declared),
        })
    }

    async fn roll_back(
        &mut self,
        after: Duration,
        meanwhile: Meanwhile,
    ) -> Result<Outcome, String> {
        let agent = self.names[0].clone();
        self.start_daemon().await?;
        let deploys = [Quality::Good, Quality::Good, Quality::Crashes(0)];
        for (version, quality) in (1..).zip(deploys) {
            let declaration = Declaration {
                version,
                policy: "Always",
                quality,
            };
            self.desired.insert(agent.clone(), declaration);
            self.tell_specs().await?;
            if quality == Quality::Good {
                tokio::time::sleep(PROVEN_WITHIN).await;
            }
        }
        tokio::time::sleep(after).await;
        let listed = self
            .profiles
            .list(&agent)
            .map_err(|error| error.to_string())?;
        let last_good = listed.get(1).ok_or("the second deploy is not there")?;
        match meanwhile {
            Meanwhile::DaemonDies => {
                self.kill_daemon().await;
                tokio::time::sleep(Duration::from_secs(1)).await;
                self.start_daemon().await?;
            }
            Meanwhile::PowerFails => self.reboot(Duration::from_secs(1)).await?,
            Meanwhile::LastGoodDeleted => {
                self.monitor.spoil(last_good);
                self.profiles.delete_from_outside(&agent, last_good.number);
            }
            Meanwhile::LastGoodDamaged => {
                self.monitor.spoil(last_good);
                self.profiles.damage(last_good);
            }
            Meanwhile::OldestChosen => drop(self.profiles.switch_from_outside(&agent, 1)),
        }
        // Nobody is told of what people do; the next look at everything finds it.
        tokio::time::sleep(3 * PROVEN_WITHIN).await;
        self.check()?;
        self.outcome()
    }

    fn outcome(&self) -> Result<Outcome, String> {
        let agent = &self.names[0];
        let active = self
            .profiles
            .active(agent)
            .map_err(|error| error.to_string())?;
        let active = active.ok_or("no generation is active")?;
        let entries = self.disk.entries(0);
        let count = |kind: &str| entries.iter().filter(|e| e.entry["kind"] == kind).count();
        Ok(Outcome {
            active: active.number,
            rollbacks: count("RollbackSucceeded"),
            condemned: count("GenerationBad") == 1,
            works: self.world.truth(agent).is_some_and(|truth| truth.is_well),
        })
    }
}
