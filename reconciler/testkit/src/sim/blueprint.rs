//! What a seed's agents are like: who depends on whom, what is looked at, how deploys are judged.
//!
//! An agent keeps its traits for the whole run, whatever is deployed; a [`Declaration`] adds what
//! one deploy is like, good or bad.

use std::{collections::BTreeMap, sync::Arc};

use osmoda_core::{name::AgentName, spec::Agent};
use osmoda_node::specs::load_manifest;
use serde_json::{Value, json};

use crate::fake_runtime::conduct::{Aspect, MODEST};

/// `resources.memory.high` of agents that have one, in bytes.
pub const MEMORY_HIGH: u64 = 4 * MODEST;

/// How long an agent must stay ready to be proven, in seconds.
const MIN_READY: u64 = 8;

/// What a deploy is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quality {
    /// Nothing is wrong with it.
    Good,
    /// There is no such program.
    CannotStart,
    /// It crashes this many milliseconds after each start.
    Crashes(u64),
    /// It falls ill this many milliseconds after each start.
    FallsIll(u64),
    /// It runs, and is never ready.
    NeverReady,
}

impl Quality {
    fn command(self, version: u64) -> Vec<String> {
        let program = match self {
            Self::CannotStart => "/nonexistent/agent",
            _ => "/bin/agent",
        };
        let then = match self {
            Self::Good | Self::CannotStart => Vec::new(),
            Self::Crashes(after) => vec!["crash-after".to_owned(), after.to_string()],
            Self::FallsIll(after) => vec!["ill-after".to_owned(), after.to_string()],
            Self::NeverReady => vec!["never-ready".to_owned()],
        };
        let mut command = vec![program.to_owned(), format!("v{version}"), "then".to_owned()];
        command.extend(then);
        command
    }
}

/// Whether this is the command of a good deploy.
pub fn is_good(command: &[String]) -> bool {
    command
        .first()
        .is_some_and(|program| program == "/bin/agent")
        && command.len() == 3
}

/// One deploy of an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Declaration {
    /// Makes it a new manifest.
    pub version: u64,
    /// Always, OnFailure or Never.
    pub policy: &'static str,
    /// What it is like.
    pub quality: Quality,
}

/// What an agent is like in every deploy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traits {
    /// Whom it waits for.
    pub depends_on: Vec<AgentName>,
    /// Its spec without command and policy.
    rules: Value,
}

/// The agents of a run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Blueprint(BTreeMap<AgentName, Traits>);

impl Blueprint {
    /// Agents that tell when they are ready, each waiting for the one before it, with a probation of
    /// [`MIN_READY`] and 25 s to get ready.
    pub fn plain(names: &[AgentName]) -> Self {
        let traits = names.iter().enumerate().map(|(n, name)| {
            let depends_on: Vec<_> = names[..n].last().cloned().into_iter().collect();
            let mut rules = json!({
                "heartbeat": {"source": "Notify", "timeout": "15s"},
                "rollout": {"minReady": format!("{MIN_READY}s"), "progressDeadline": "25s"},
            });
            if let Some(before) = depends_on.first() {
                rules["dependsOn"] = json!([before.as_str()]);
            }
            (name.clone(), Traits { depends_on, rules })
        });
        Self(traits.collect())
    }

    /// What a seed makes of these agents, in the order of their dependencies.
    pub fn draw(names: &[AgentName], random: &mut fastrand::Rng) -> Self {
        let shape = random.u8(..3);
        let traits = names.iter().enumerate().map(|(n, name)| {
            // A chain, a diamond in every four, or no dependencies at all.
            let needs: &[usize] = match (shape, n % 4) {
                (1, 1..) => &[1],
                (2, 1) => &[1],
                (2, 2) => &[2],
                (2, 3) => &[1, 2],
                _ => &[],
            };
            let depends_on = needs.iter().map(|back| names[n - back].clone()).collect();
            (name.clone(), Traits::draw(depends_on, random))
        });
        Self(traits.collect())
    }

    /// Whom an agent waits for.
    pub fn depends_on(&self, agent: &AgentName) -> &[AgentName] {
        self.0
            .get(agent)
            .map_or(&[], |traits| traits.depends_on.as_slice())
    }

    /// Whether an agent asks for the system to go back, should its own way back not help.
    pub fn escalates(&self, agent: &AgentName) -> bool {
        let rules = self.0.get(agent).map(|traits| &traits.rules);
        rules.is_some_and(|rules| rules["rollout"]["rollback"] == "System")
    }

    /// Who waits for an agent.
    pub fn dependents(&self, agent: &AgentName) -> Vec<AgentName> {
        let waits = |(_, traits): &(&AgentName, &Traits)| traits.depends_on.contains(agent);
        self.0
            .iter()
            .filter(waits)
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// The manifest of a deploy.
    pub fn manifest(&self, agent: &AgentName, declaration: Declaration) -> Arc<Agent> {
        let rules = self.0.get(agent).map(|traits| traits.rules.clone());
        let mut spec = rules.unwrap_or_else(|| json!({}));
        spec["command"] = json!(declaration.quality.command(declaration.version));
        spec["restart"]["policy"] = json!(declaration.policy);
        read(agent, &spec)
    }
}

impl Traits {
    fn draw(depends_on: Vec<AgentName>, random: &mut fastrand::Rng) -> Self {
        let suspect_for = random.choice(["30s", "1h"]);
        let rollback = random.choice(["Agent", "Agent", "System", "Never"]);
        let mut rules = json!({
            "restart": {
                "backoff": {"max": "5s", "resetAfter": "60s"},
                "maxRestarts": 3,
                "within": "120s",
            },
            "rollout": {
                "minReady": format!("{MIN_READY}s"),
                "progressDeadline": "25s",
                "historyLimit": random.u32(2..6),
                "suspectFor": suspect_for,
                "rollback": rollback,
            },
            "stop": {"gracePeriod": "4s"},
        });
        if !depends_on.is_empty() {
            let names: Vec<_> = depends_on.iter().map(AgentName::as_str).collect();
            rules["dependsOn"] = json!(names);
        }
        let timeout = format!("{}s", random.u32(4..15));
        match random.u8(..6) {
            0..=2 => rules["heartbeat"] = json!({"source": "Notify", "timeout": timeout}),
            3 => rules["heartbeat"] = json!({"source": "Output", "timeout": timeout}),
            4 => {
                let file = "/run/agent/beat";
                rules["heartbeat"] = json!({"source": "File", "timeout": timeout, "file": file});
            }
            _ => {}
        }
        let mut probe = |field: &str, aspect: Aspect, share: u8, random: &mut fastrand::Rng| {
            if random.u8(..10) < share {
                rules["probes"][field] = json!({
                    "httpGet": {"port": 8080, "path": aspect.path()},
                    "period": format!("{}ms", random.u32(1500..5000)),
                    "retryInterval": "400ms",
                    "failureThreshold": random.u32(2..4),
                });
            }
        };
        probe("startup", Aspect::Startup, 3, random);
        probe("readiness", Aspect::Readiness, 4, random);
        probe("liveness", Aspect::Liveness, 5, random);
        if random.bool() {
            rules["resources"]["memory"]["high"] = json!(MEMORY_HIGH);
        }
        if random.bool() {
            rules["resources"]["cpu"]["runaway"] = json!({"above": "90%", "for": "20s"});
        }
        Self { depends_on, rules }
    }
}

/// A manifest as a bundle would hold it.
pub fn read(agent: &AgentName, spec: &Value) -> Arc<Agent> {
    let manifest = json!({
        "apiVersion": "osmoda/v1",
        "kind": "Agent",
        "metadata": {"name": agent.as_str()},
        "spec": spec,
    });
    let agent = load_manifest(&manifest.to_string()).expect("the simulator's manifests are valid");
    Arc::new(agent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize) -> Vec<AgentName> {
        let name = |n| AgentName::new(&format!("agent-{n}")).unwrap();
        (0..count).map(name).collect()
    }

    #[test]
    fn every_draw_gives_valid_manifests_and_some_draw_each_detector_and_shape() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..50 {
            let mut random = fastrand::Rng::with_seed(seed);
            let agents = names(4);
            let blueprint = Blueprint::draw(&agents, &mut random);
            let declaration = Declaration {
                version: 1,
                policy: "Always",
                quality: Quality::FallsIll(3),
            };
            for agent in &agents {
                let spec = &blueprint.manifest(agent, declaration).spec;
                let shown = [
                    ("heartbeat", spec.heartbeat.is_some()),
                    ("startup", spec.probes.startup.is_some()),
                    ("readiness", spec.probes.readiness.is_some()),
                    ("liveness", spec.probes.liveness.is_some()),
                    ("memory", spec.resources.memory_high.is_some()),
                    ("cpu", spec.resources.cpu_runaway.is_some()),
                    ("chain", spec.depends_on.len() == 1),
                    ("diamond", spec.depends_on.len() == 2),
                ];
                seen.extend(
                    shown
                        .into_iter()
                        .filter(|(_, is)| *is)
                        .map(|(what, _)| what),
                );
            }
        }
        assert_eq!(seen.len(), 8, "{seen:?}");
    }
}
