//! The families, in the order in which they are shown. docs/metrics.md explains each.

use std::collections::BTreeMap;

use osmoda_core::name::AgentName;

use super::{
    Build,
    meters::{AgentMeters, Counted},
    process::OwnProcess,
    text::{Form, Kind, Text, Value},
};
use crate::{
    anchors::AnchorStatus,
    api::{Use, types::LedgerHead},
    detect::notify::Ignored,
};

/// What one reading found.
pub struct Gathered<'a> {
    pub build: &'a Build,
    pub counted: Counted,
    pub used: BTreeMap<AgentName, Use>,
    pub messages: usize,
    pub head: LedgerHead,
    pub anchors: Vec<AnchorStatus>,
    pub ignored: BTreeMap<Ignored, u64>,
    pub process: OwnProcess,
}

impl Gathered<'_> {
    pub fn text(&self, form: Form) -> String {
        let mut text = Text::new(form);
        self.node(&mut text);
        self.agents(&mut text);
        self.failures(&mut text);
        self.recoveries(&mut text);
        self.the_loop(&mut text);
        self.ledger(&mut text);
        self.anchors(&mut text);
        self.process(&mut text);
        text.end()
    }

    fn node(&self, text: &mut Text) {
        text.family(
            "osmoda_build",
            Kind::Info,
            "",
            "Version and runtime of the node daemon.",
        );
        let Build { version, runtime } = self.build;
        text.sample(&[("version", version), ("runtime", runtime)], 1u64);
        text.family(
            "osmoda_agents",
            Kind::Gauge,
            "",
            "Agents that the node daemon knows.",
        );
        text.sample(&[], self.counted.agents.len());
    }

    /// A gauge with one series for each agent of which there is something to say.
    fn each<V: Into<Value>>(
        &self,
        text: &mut Text,
        (name, unit, help): (&str, &str, &str),
        value: impl Fn(&AgentName, &AgentMeters) -> Option<V>,
    ) {
        text.family(name, Kind::Gauge, unit, help);
        for (agent, meters) in &self.counted.agents {
            if let Some(value) = value(agent, meters) {
                text.sample(&[("agent", agent.as_str())], value);
            }
        }
    }

    fn agents(&self, text: &mut Text) {
        let up = ("osmoda_agent_up", "", "An instance of the agent runs.");
        self.each(text, up, |_, agent| Some(agent.seen.running.is_some()));
        let ready = ("osmoda_agent_ready", "", "The agent does its work.");
        self.each(text, ready, |_, agent| Some(agent.seen.ready));
        let paused = (
            "osmoda_agent_paused",
            "",
            "The agent is observed and not acted on.",
        );
        self.each(text, paused, |_, agent| Some(agent.seen.paused));
        let help = "A failure of the agent is not yet followed by verified health.";
        let incident = ("osmoda_agent_incident_open", "", help);
        self.each(text, incident, |_, agent| Some(agent.seen.incident));
        let help = "Number of the agent's active generation; 0: none.";
        let generation = ("osmoda_agent_generation", "", help);
        self.each(text, generation, |_, agent| Some(agent.seen.generation));
        let help = "Memory of the agent's process tree.";
        let memory = ("osmoda_agent_memory_bytes", "bytes", help);
        self.each(text, memory, |name, _| {
            Some(self.used.get(name)?.memory_bytes)
        });
        let help = "CPU time of the agent's process tree since this instance began.";
        text.family("osmoda_agent_cpu_seconds", Kind::Counter, "seconds", help);
        for (agent, used) in &self.used {
            let seconds = used.cpu_us as f64 / 1e6;
            text.sample(&[("agent", agent.as_str())], seconds);
        }
    }

    fn failures(&self, text: &mut Text) {
        let help = "Restarts of the agent, by the reason of the failure that each answers.";
        text.family("osmoda_agent_restarts", Kind::Counter, "", help);
        self.by_reason(text, |agent| &agent.restarts);
        let help = "Failures of the agent, by reason.";
        text.family("osmoda_agent_failures", Kind::Counter, "", help);
        self.by_reason(text, |agent| &agent.failures);
    }

    fn by_reason(
        &self,
        text: &mut Text,
        counts: impl Fn(&AgentMeters) -> &BTreeMap<&'static str, u64>,
    ) {
        for (name, agent) in &self.counted.agents {
            for (reason, count) in counts(agent) {
                text.sample(&[("agent", name.as_str()), ("reason", *reason)], *count);
            }
        }
    }

    fn recoveries(&self, text: &mut Text) {
        let counted = &self.counted;
        let seconds = |text: &mut Text, name, help| {
            text.family(name, Kind::Histogram, "seconds", help);
        };
        seconds(
            text,
            "osmoda_detection_seconds",
            "Time from a failure to its detection, of failures that were recovered from.",
        );
        text.histogram(&counted.detection);
        seconds(
            text,
            "osmoda_restart_seconds",
            "Time from a failure to the start of the instance that proved healthy.",
        );
        text.histogram(&counted.restart);
        seconds(
            text,
            "osmoda_recovery_seconds",
            "Time from a failure to verified health.",
        );
        text.histogram(&counted.recovery);
    }

    fn the_loop(&self, text: &mut Text) {
        text.family(
            "osmoda_reconcile_seconds",
            Kind::Histogram,
            "seconds",
            "Time that one turn of the reconcile loop took, writing the ledger included.",
        );
        text.histogram(&self.counted.turns);
        let help = "What waits for the reconcile loop, or for what it began.";
        text.family("osmoda_queue_depth", Kind::Gauge, "", help);
        let depths = self.counted.depths;
        for (queue, depth) in [
            ("actions", depths.actions),
            ("agents", depths.dirty),
            ("entries", depths.entries),
            ("events", depths.events),
            ("messages", self.messages),
        ] {
            text.sample(&[("queue", queue)], depth);
        }
        let help = "Datagrams on the notify socket that were not taken in, by reason.";
        text.family("osmoda_notifications_ignored", Kind::Counter, "", help);
        for why in Ignored::ALL {
            let count = self.ignored.get(&why).copied().unwrap_or_default();
            text.sample(&[("reason", why.word())], count);
        }
    }

    fn ledger(&self, text: &mut Text) {
        let help = "Entries in the audit ledger.";
        text.family("osmoda_ledger_entries", Kind::Gauge, "", help);
        text.sample(&[], self.head.size);
        let help = "Entries that no copy outside this machine vouches for.";
        text.family("osmoda_ledger_unanchored", Kind::Gauge, "", help);
        text.sample(&[], self.head.unanchored);
        let help = "Entries that the newest signed checkpoint covers.";
        text.family("osmoda_ledger_checkpoint_entries", Kind::Gauge, "", help);
        let signed = self
            .head
            .checkpoint
            .as_ref()
            .map_or(0, |signed| signed.size);
        text.sample(&[], signed);
    }

    fn anchors(&self, text: &mut Text) {
        let help = "Entries of the last checkpoint that the anchor took.";
        text.family("osmoda_anchor_entries", Kind::Gauge, "", help);
        for anchor in &self.anchors {
            text.sample(&[("anchor", &anchor.name)], anchor.size.unwrap_or(0));
        }
        let help = "Tries to reach the anchor that failed in a row; 0: it works.";
        text.family("osmoda_anchor_failed_tries", Kind::Gauge, "", help);
        for anchor in &self.anchors {
            let failures = u64::from(anchor.failures);
            text.sample(&[("anchor", &anchor.name)], failures);
        }
        let help = "The anchor holds another history of this ledger.";
        text.family("osmoda_anchor_fork", Kind::Gauge, "", help);
        for anchor in &self.anchors {
            text.sample(&[("anchor", &anchor.name)], anchor.fork);
        }
    }

    fn process(&self, text: &mut Text) {
        let own = self.process;
        if let Some(bytes) = own.resident_bytes {
            let help = "Resident memory of the node daemon.";
            text.family("process_resident_memory_bytes", Kind::Gauge, "bytes", help);
            text.sample(&[], bytes);
        }
        if let Some(seconds) = own.cpu_seconds {
            let help = "User and system CPU time of the node daemon.";
            text.family("process_cpu_seconds", Kind::Counter, "seconds", help);
            text.sample(&[], seconds);
        }
        if let Some(count) = own.descriptors {
            let help = "Open file descriptors of the node daemon.";
            text.family("process_open_fds", Kind::Gauge, "", help);
            text.sample(&[], count);
        }
    }
}
