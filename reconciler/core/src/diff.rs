//! Desired against observed, field by field.
//!
//! Drift is judged on what osmoda controls and can read back: the active generation, whether an
//! instance runs, which generation it runs, and its [`limits`]. argv, cwd and uid are shown elsewhere and not
//! judged: wrappers, shebangs and setproctitle(3) change them honestly.

use serde::{Deserialize, Serialize};

use crate::{
    dependency::Unmet,
    digest::Digest,
    health::judge,
    observed::{InstanceState, Limit, Limits, Observation},
    plan::{Bundle, View},
    spec::Resources,
};

/// Largest page of any Linux, in bytes: a memory limit is rounded down by less than this.
const PAGE_MAX: u64 = 64 << 10;

/// One field that is not as desired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Name of the field, dotted.
    pub path: String,
    /// What it should be.
    pub desired: String,
    /// What was read.
    pub observed: String,
    /// Why they differ, for people; may be empty.
    pub reason: String,
}

impl Difference {
    /// Whether osmoda leaves it as it is until the spec changes.
    pub fn is_kept(&self) -> bool {
        self.reason == SWITCHED_OUTSIDE || self.reason.starts_with(HELD_BACK)
    }
}

/// Path of the difference of an agent that runs and is not ready.
pub const READY_PATH: &str = "instance.ready";

/// Beginning of the reason of a difference that osmoda keeps up: it went back, or did not go.
pub const HELD_BACK: &str = "the desired generation is Bad";

/// Reason of a difference that osmoda leaves alone: a person's choice is respected.
pub const SWITCHED_OUTSIDE: &str =
    "the profile was switched outside osmoda; respected until the spec changes";

/// The fields in which an agent is not as desired; empty: in sync.
pub fn diff(view: &View<'_>) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut note = |path: &str, desired: String, observed: String, reason: String| {
        found.push(Difference {
            path: path.to_owned(),
            desired,
            observed,
            reason,
        });
    };
    let Some(desired) = view.desired else {
        if view.running().is_some() || matches!(&view.observed.active, Observation::Known(Some(_)))
        {
            note(
                "agent",
                "absent".into(),
                "present".into(),
                "removed from the specs".into(),
            );
        }
        return found;
    };
    match &view.observed.active {
        Observation::Unknown(why) => {
            note(
                "generation",
                short(desired.digest),
                "unknown".into(),
                why.clone(),
            );
        }
        Observation::Known(None) => {
            note(
                "generation",
                short(desired.digest),
                "none".into(),
                "not deployed yet".into(),
            );
        }
        Observation::Known(Some(active)) => {
            if active.digest != desired.digest {
                let deployed = view.memory.acted == Some(desired.digest);
                let bad = view.memory.rollout.bad(desired.digest);
                let reason = match (bad.and_then(|tried| tried.reason), deployed) {
                    (Some(why), _) => format!(
                        "{HELD_BACK} ({}); what is active stays until the spec changes",
                        why.word()
                    ),
                    (None, true) => SWITCHED_OUTSIDE.to_owned(),
                    (None, false) => spec_changed(view.bundle),
                };
                let observed = format!(
                    "{} (generation {})",
                    short(active.digest),
                    active.generation.number
                );
                note("generation", short(desired.digest), observed, reason);
            } else if view
                .memory
                .active
                .as_ref()
                .is_some_and(|known| *known != active.generation)
            {
                let known = view.memory.active.as_ref().map_or(0, |known| known.number);
                let observed = format!("generation {}", active.generation.number);
                let reason = "the profile was changed outside osmoda".into();
                note(
                    "generation",
                    format!("generation {known}"),
                    observed,
                    reason,
                );
            }
        }
    }
    match &view.observed.instance {
        Observation::Unknown(why) => {
            note(
                "instance.running",
                "true".into(),
                "unknown".into(),
                why.clone(),
            );
        }
        Observation::Known(instance) => match instance.as_ref().map(|i| (&i.state, i)) {
            Some((InstanceState::Running { .. }, instance)) => {
                if let Observation::Known(Some(active)) = &view.observed.active
                    && instance.generation != active.generation
                {
                    let number = |n: u64| format!("generation {n}");
                    let reason = "not restarted into the active generation yet".into();
                    let observed = number(instance.generation.number);
                    note(
                        "instance.generation",
                        number(active.generation.number),
                        observed,
                        reason,
                    );
                }
                if let Some((_, why)) = judge(view).waiting {
                    note(READY_PATH, "true".into(), "false".into(), why);
                }
            }
            // It ran to the end that its policy allows: nothing is left to do.
            _ if view.memory.finished.is_some() => {}
            Some((InstanceState::Exited(exit), _)) => {
                note(
                    "instance.running",
                    "true".into(),
                    "false".into(),
                    exit.status.to_string(),
                );
            }
            None => {
                let reason = not_started_because(view);
                note("instance.running", "true".into(), "false".into(), reason);
            }
        },
    }
    found
}

/// Why a changed spec is not in force yet.
fn spec_changed(bundle: &Bundle) -> String {
    match bundle {
        Bundle::Immediate | Bundle::Ready { .. } => "the spec changed".to_owned(),
        Bundle::Absent | Bundle::UnderWay { .. } => {
            "the spec changed; what it needs of the Nix store is being fetched".to_owned()
        }
        Bundle::Failed { message, .. } => format!("the spec changed, and {message}"),
    }
}

/// The limits of the running instance that are not as its generation declares; `observed`: as
/// the kernel has them. One that the kernel does not enforce here is no drift.
pub fn limits(view: &View<'_>, observed: &Limits) -> Vec<Difference> {
    let (Some(_), Some(spec)) = (view.running(), view.rules()) else {
        return Vec::new();
    };
    changed_limits(&spec.resources, observed)
}

fn changed_limits(resources: &Resources, observed: &Limits) -> Vec<Difference> {
    let memory_max = resources.memory_max.map(|size| size.0);
    let cpu_max = resources.cpu_max.map(|share| u64::from(share.0));
    let limits = [
        (
            "resources.memory.max",
            memory_max,
            observed.memory_max,
            PAGE_MAX,
            "",
        ),
        ("resources.cpu.max", cpu_max, observed.cpu_max, 1, "%"),
        (
            "resources.tasksMax",
            resources.tasks_max,
            observed.tasks_max,
            1,
            "",
        ),
    ];
    let mut found = Vec::new();
    for (path, desired, observed, rounding, unit) in limits {
        let observed = match observed {
            Limit::Unknown => continue,
            Limit::Unlimited => None,
            Limit::At(value) => Some(value),
        };
        let same = match (desired, observed) {
            (Some(desired), Some(observed)) => desired
                .checked_sub(observed)
                .is_some_and(|by| by < rounding),
            (desired, observed) => desired == observed,
        };
        if !same {
            let text = |limit: Option<u64>| {
                limit.map_or("none".to_owned(), |value| format!("{value}{unit}"))
            };
            found.push(Difference {
                path: path.to_owned(),
                desired: text(desired),
                observed: text(observed),
                reason: "the limit was changed outside osmoda; the next start sets it".to_owned(),
            });
        }
    }
    found
}

fn not_started_because(view: &View<'_>) -> String {
    if let Some(failure) = &view.memory.last_start_error {
        return failure.message.clone();
    }
    match waits_for(view.unmet) {
        Some(whom) => format!("held: {whom}"),
        None => "not started yet".to_owned(),
    }
}

/// `waits for a, b`; nothing if every dependency is ready.
pub(crate) fn waits_for(unmet: &[Unmet]) -> Option<String> {
    let names: Vec<_> = unmet.iter().map(|unmet| unmet.agent.to_string()).collect();
    (!names.is_empty()).then(|| format!("waits for {}", names.join(", ")))
}

/// The first 12 hexadecimal digits: enough for people to tell two manifests apart.
fn short(digest: Digest) -> String {
    let mut text = digest.to_string();
    text.truncate(12);
    text
}

/// One digest over a list of differences, without their reasons.
pub fn fingerprint(differences: &[Difference]) -> Digest {
    let mut text = String::new();
    for difference in differences {
        for part in [&difference.path, &difference.desired, &difference.observed] {
            text.push_str(part);
            text.push('\0');
        }
    }
    Digest::of(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{ByteSize, CpuPercent};

    /// Paths and observed values of the limits that differ.
    fn changed(resources: &Resources, observed: Limits) -> Vec<(String, String, String)> {
        let found = changed_limits(resources, &observed).into_iter();
        found.map(|d| (d.path, d.desired, d.observed)).collect()
    }

    #[test]
    fn a_limit_that_was_changed_by_hand_differs_and_one_that_nothing_enforces_does_not() {
        let resources = Resources {
            memory_max: Some(ByteSize(100_000_000)),
            cpu_max: Some(CpuPercent(50)),
            tasks_max: Some(20),
            ..Resources::default()
        };
        assert_eq!(changed(&resources, Limits::default()), []);
        let rounded_down = 100_000_000 / 4096 * 4096;
        let in_force = Limits {
            memory_max: Limit::At(rounded_down),
            cpu_max: Limit::At(50),
            tasks_max: Limit::At(20),
        };
        assert_eq!(changed(&resources, in_force), []);
        let by_hand = Limits {
            memory_max: Limit::Unlimited,
            cpu_max: Limit::At(60),
            tasks_max: Limit::At(19),
        };
        let text = |path: &str, desired: &str, observed: &str| {
            (path.to_owned(), desired.to_owned(), observed.to_owned())
        };
        let expected = [
            text("resources.memory.max", "100000000", "none"),
            text("resources.cpu.max", "50%", "60%"),
            text("resources.tasksMax", "20", "19"),
        ];
        assert_eq!(changed(&resources, by_hand), expected);
        let none_asked = changed(&Resources::default(), in_force);
        assert_eq!(none_asked.len(), 3, "limits that nobody declared");
    }
}
