//! Loops that are broken on purpose, to prove that the simulator would notice.
//!
//! Each breaks what the loop relies on, which to the world looks the same as a loop that is
//! wrong in that way: a runtime that acts differently ([`runtime`]), profiles or a machine that do
//! ([`profiles`], [`system`]), a disk that answers too soon, or specs that say something else than was
//! declared ([`Sabotage::twisted`]).

pub mod profiles;
pub mod runtime;
pub mod system;

use std::sync::Arc;

use osmoda_core::spec::Agent;
use serde_json::{Value, json};

use super::blueprint::read;

/// What is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// Nothing.
    None,
    /// Exits are never seen.
    ForgetsExits,
    /// Each start is carried out twice.
    StartsTwice,
    /// Appends are acknowledged before they are written.
    ActsBeforeIntent,
    /// What is to be prepared is done.
    ActsWhilePreparing,
    /// What was prepared and is not wanted is done all the same.
    StartsWhatIsUndone,
    /// Silence is judged a second after its deadline.
    JudgesSilenceLate,
    /// Silence is judged a second before its deadline.
    JudgesSilenceEarly,
    /// Silence is never judged.
    NeverJudgesSilence,
    /// One failed answer of a probe is a failed probe.
    OneFailureCounts,
    /// A threshold is never reached: a probe may fail as often as it likes.
    NoFailureCounts,
    /// READY=1 is waited for twice as long as it may take.
    JudgesStartLate,
    /// READY=1 is waited for a second less than it may take.
    JudgesStartEarly,
    /// Memory may grow to twice its threshold.
    JudgesMemoryLate,
    /// Half of what memory may grow to is too much.
    JudgesMemoryEarly,
    /// CPU use is judged over a longer window.
    JudgesCpuLate,
    /// CPU use is judged over a shorter window.
    JudgesCpuEarly,
    /// Nobody waits before a restart.
    RestartsAtOnce,
    /// The budget of restarts is never spent.
    SpendsNoBudget,
    /// The first restart spends the budget.
    SpendsBudgetAtOnce,
    /// Nobody waits for anybody.
    IgnoresDependencies,
    /// Dependencies are forgotten when the daemon is told to end.
    StopsInAnyOrder,
    /// A rollback leads to the generation below, as `nix-env --rollback`.
    GoesBackBelow,
    /// What was gone back from is made active again.
    ReactivatesBad,
    /// The system is switched to another generation than was decided on.
    SwitchesElsewhere,
    /// A switch of the system is begun anew, whatever became of it.
    SwitchesAnew,
    /// The end of a switch of the system is never told.
    ForgetsSwitches,
}

impl Sabotage {
    /// What the loop is told of a declared agent.
    pub(super) fn twisted(self, honest: &Arc<Agent>) -> Arc<Agent> {
        let mut manifest: Value =
            serde_json::from_str(&honest.manifest).expect("manifests are JSON");
        let spec = &mut manifest["spec"];
        match self {
            Self::JudgesSilenceLate | Self::JudgesSilenceEarly => {
                let Some(rules) = &honest.spec.heartbeat else {
                    return Arc::clone(honest);
                };
                let honest = rules.timeout.get().as_secs();
                let judged = match self {
                    Self::JudgesSilenceLate => honest + 1,
                    _ => honest - 1,
                };
                spec["heartbeat"]["timeout"] = json!(format!("{judged}s"));
            }
            Self::NeverJudgesSilence => {
                // As quiet as it can be and still wait for READY=1.
                if honest.spec.heartbeat.is_none() {
                    return Arc::clone(honest);
                }
                spec["heartbeat"]["timeout"] = json!("24h");
            }
            Self::OneFailureCounts => all_thresholds(spec, 1),
            Self::NoFailureCounts => all_thresholds(spec, 1_000),
            Self::JudgesStartLate => spec["rollout"]["progressDeadline"] = json!("50s"),
            Self::JudgesStartEarly => spec["rollout"]["progressDeadline"] = json!("24s"),
            Self::JudgesMemoryLate | Self::JudgesMemoryEarly => {
                let Some(honest) = honest.spec.resources.memory_high else {
                    return Arc::clone(honest);
                };
                let judged = match self {
                    Self::JudgesMemoryLate => honest.0 * 2,
                    _ => honest.0 / 2,
                };
                spec["resources"]["memory"]["high"] = json!(judged);
            }
            Self::JudgesCpuLate | Self::JudgesCpuEarly => {
                if honest.spec.resources.cpu_runaway.is_none() {
                    return Arc::clone(honest);
                }
                let judged = match self {
                    Self::JudgesCpuLate => "40s",
                    _ => "10s",
                };
                spec["resources"]["cpu"]["runaway"]["for"] = json!(judged);
            }
            Self::RestartsAtOnce => {
                spec["restart"]["backoff"] = json!({"initial": "1ms", "max": "1ms"});
            }
            Self::SpendsNoBudget => spec["restart"]["maxRestarts"] = json!(1_000),
            Self::SpendsBudgetAtOnce => spec["restart"]["maxRestarts"] = json!(0),
            Self::IgnoresDependencies => spec["dependsOn"] = json!([]),
            _ => return Arc::clone(honest),
        }
        prune(spec);
        read(&honest.name, spec)
    }
}

fn all_thresholds(spec: &mut Value, threshold: u32) {
    for probe in ["startup", "readiness", "liveness"] {
        if !spec["probes"][probe].is_null() {
            spec["probes"][probe]["failureThreshold"] = json!(threshold);
        }
    }
}

/// Looking for a field that is not there leaves a null behind.
fn prune(spec: &mut Value) {
    if let Value::Object(fields) = spec {
        fields.retain(|_, value| !value.is_null());
        fields.values_mut().for_each(prune);
        fields.retain(|_, value| value != &json!({}));
    }
}
