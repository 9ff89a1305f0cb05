//! Faults: what a detector is said to have found is really there, is found on time, and took as
//! many failures as its threshold asks for.

use std::time::Duration;

use osmoda_core::{
    name::AgentName,
    resources::{PROJECT_ABOVE, SAMPLE_EVERY},
    spec::{AgentSpec, HeartbeatSource},
    time::Mono,
};

use super::{Checked, Inner, Said};
use crate::fake_runtime::{
    conduct::{Aspect, Using},
    health::{Pulse, Truth},
};

/// How much later than it was decided something may be on record: an append before, and its own.
const SLACK: Duration = Duration::from_millis(20);
/// How long after a hindrance the loop may still not look: it tries again what failed, or could not
/// be observed, every two seconds.
const DISTURBANCE: Duration = Duration::from_secs(5);

impl Inner {
    pub(super) fn check_fault(&mut self, agent: &AgentName, said: &Said<'_>) -> Checked {
        if said.kind != "FailureDetected" || said.late {
            return Ok(());
        }
        let truth = self.world.truth(agent);
        let Some(truth) = truth.filter(|t| t.invocation.to_string() == said.invocation()) else {
            return Ok(()); // it has ended meanwhile
        };
        let path = said.path("generation").unwrap_or_default();
        let Some(honest) = self.honest(path) else {
            return Ok(());
        };
        let probes = &honest.spec.probes;
        let threshold = |probe: Option<&osmoda_core::spec::Probe>| {
            probe.map_or(u32::MAX, |probe| probe.failure_threshold)
        };
        let wrong = |why: &str| Err(format!("{agent}: {} was found, but {why}", said.reason()));
        match said.reason() {
            "Hang" => self.check_hang(agent, said, &truth),
            "Unhealthy" => {
                let failures = truth.failures[Aspect::Liveness as usize];
                let needed = threshold(probes.liveness.as_ref());
                if failures < needed {
                    return wrong(&format!("only {failures} of {needed} answers failed"));
                }
                Ok(())
            }
            "StartupFailed" => {
                let aspect = match probes.startup.is_some() {
                    true => Aspect::Startup,
                    false => Aspect::Liveness,
                };
                let failures = truth.failures[aspect as usize];
                let needed = threshold(probes.gate().as_ref());
                if failures < needed {
                    return wrong(&format!("only {failures} of {needed} answers failed"));
                }
                Ok(())
            }
            "StartTimeout" if pulse(said, &truth).ready_at.is_some() => wrong("it said READY=1"),
            "StartTimeout" => self.check_start(agent, said, &truth, &honest.spec),
            "StopTimeout" if truth.pulse.stopping_at.is_none() => wrong("it never said STOPPING=1"),
            "MemoryHigh" | "MemoryRising" if !matches!(truth.using, Using::Leaks(_)) => {
                wrong("it does not leak")
            }
            "MemoryHigh" | "MemoryRising" => self.check_memory(agent, said, &honest.spec),
            "CpuRunaway" if truth.using != Using::RunsAway => wrong("it does not run away"),
            "CpuRunaway" => self.check_cpu(agent, said, &truth, &honest.spec),
            _ => Ok(()),
        }
    }

    fn check_start(
        &self,
        agent: &AgentName,
        said: &Said<'_>,
        truth: &Truth,
        spec: &AgentSpec,
    ) -> Checked {
        let limit = spec.rollout.progress_deadline.get();
        let extended = pulse(said, truth).extended_until.unwrap_or(Mono(0));
        let deadline = truth.started_at.after(limit).max(extended);
        let excused = !truth.spec.depends_on.is_empty();
        let begun = truth.started_at.max(self.last_disturbed(agent));
        let bound = begun.after(limit).after(DISTURBANCE).max(extended);
        self.check_time(agent, said, deadline, Some(bound).filter(|_| !excused))
    }

    /// Found when it was due, and not later than the bound allows, if there is one.
    fn check_time(
        &self,
        agent: &AgentName,
        said: &Said<'_>,
        due: Mono,
        bound: Option<Mono>,
    ) -> Checked {
        let reason = said.reason();
        let found = |when: String| Err(format!("{agent}: {reason} was found {when}"));
        if said.at < due {
            return found(format!("{:?} before its time", due.since(said.at)));
        }
        match bound {
            Some(bound) if said.at > bound.after(SLACK) => {
                found(format!("{:?} after its time", said.at.since(due)))
            }
            _ => Ok(()),
        }
    }

    fn check_memory(&self, agent: &AgentName, said: &Said<'_>, spec: &AgentSpec) -> Checked {
        let Some(high) = spec.resources.memory_high.map(|size| size.0) else {
            return Err(format!("{agent}: memory was judged without a threshold"));
        };
        let samples = said.body["facts"]["memory"]["trajectory"].as_array();
        let mut youngest = samples.into_iter().flatten().rev().map(|sample| {
            let (at, bytes) = (sample["monoUs"].as_u64(), sample["memoryBytes"].as_u64());
            (Mono(at.unwrap_or_default()), bytes.unwrap_or_default())
        });
        let reached = youngest.next().map_or(0, |(_, bytes)| bytes);
        let needed = match said.reason() {
            "MemoryHigh" => high,
            _ => high / 100 * PROJECT_ABOVE,
        };
        if reached < needed {
            let reason = said.reason();
            return Err(format!(
                "{agent}: {reason} was found at {reached} of {needed} bytes"
            ));
        }
        let excused_until = self.last_disturbed(agent).after(DISTURBANCE);
        match youngest.next() {
            Some((at, before)) if before >= high && at > excused_until => Err(format!(
                "{agent}: memory was at {before} of {high} bytes before that was found"
            )),
            _ => Ok(()),
        }
    }

    fn check_cpu(
        &self,
        agent: &AgentName,
        said: &Said<'_>,
        truth: &Truth,
        spec: &AgentSpec,
    ) -> Checked {
        let Some(rules) = spec.resources.cpu_runaway else {
            return Err(format!("{agent}: CPU use was judged without a threshold"));
        };
        let window = rules.window.get();
        let due = truth.behaves_since.after(window);
        let begun = truth.behaves_since.max(self.last_disturbed(agent));
        // It begins between two samples, and is found at one.
        let bound = begun
            .after(window)
            .after(SAMPLE_EVERY * 2)
            .after(DISTURBANCE);
        self.check_time(agent, said, due, Some(bound))
    }

    fn check_hang(&self, agent: &AgentName, said: &Said<'_>, truth: &Truth) -> Checked {
        let path = said.path("generation").unwrap_or_default();
        let rules = self.honest(path).and_then(|a| a.spec.heartbeat.as_ref());
        if truth.pulse.triggered_at.is_some() {
            return Ok(()); // it asked for it
        }
        let pulse = pulse(said, truth);
        let Some(rules) = rules else {
            return Err(format!(
                "{agent}: a hang was found where nothing is listened to"
            ));
        };
        let timeout = rules.timeout.get();
        let last = pulse.last.max(pulse.ready_at);
        let silent_since = last.unwrap_or(truth.started_at);
        let deadline = silent_since
            .after(timeout)
            .max(pulse.extended_until.unwrap_or(Mono(0)));
        if said.at < deadline {
            let early = deadline.since(said.at);
            return Err(format!(
                "{agent}: a hang was found {early:?} before its deadline"
            ));
        }
        if last.is_none() || !truth.spec.depends_on.is_empty() {
            return Ok(()); // when the wait began is for the loop to know
        }
        let disturbed = self.last_disturbed(agent);
        let excused = match disturbed == Mono(0) {
            true => deadline,
            false => disturbed.after(timeout).after(DISTURBANCE).max(deadline),
        };
        // Output and File are looked at again one timeout later, if the clock was just missed.
        let looks = match rules.source {
            HeartbeatSource::Notify => Duration::ZERO,
            HeartbeatSource::Output | HeartbeatSource::File(_) => SLACK,
        };
        let bound = excused.after(SLACK).after(looks);
        if said.at > bound {
            let late = said.at.since(deadline);
            return Err(format!(
                "{agent}: a hang was found {late:?} after its deadline"
            ));
        }
        Ok(())
    }
}

/// What was heard before something was found. What is heard while the finding is being written
/// comes too late for it.
fn pulse(said: &Said<'_>, truth: &Truth) -> Pulse {
    match said.at.since(truth.heard_at) < SLACK {
        true => truth.pulse_before,
        false => truth.pulse,
    }
}
