//! One pass over a sound log that counts what a report needs.

use std::collections::BTreeMap;

use osmoda_core::time::Wall;
use serde_json::Value;

use super::{
    AgentFigures, INCIDENTS_MAX, IncidentFigures, OperatorFigures, Population, Times, empty_root,
    incidents::{Incident, Incidents},
    shown,
    span::{Bound, Edge},
};
use crate::{
    audit::went_back,
    error::ReadError,
    timeline::{Read, Source},
    tlog::Frontier,
};

/// Entries before the period after which incidents that ended are forgotten.
const FORGET_EVERY: u64 = 8192;

/// What was counted.
pub(super) struct Collected {
    pub from: Edge,
    pub to: Edge,
    pub population: Population,
    pub kinds: BTreeMap<String, u64>,
    pub agents: BTreeMap<String, AgentFigures>,
    pub operators: Vec<OperatorFigures>,
    pub incidents: Vec<Incident>,
    pub figures: IncidentFigures,
}

impl Default for Collected {
    fn default() -> Self {
        Self {
            from: Bound::Start.edge(0, empty_root()),
            to: Bound::End.edge(0, empty_root()),
            population: Population::default(),
            kinds: BTreeMap::new(),
            agents: BTreeMap::new(),
            operators: Vec::new(),
            incidents: Vec::new(),
            figures: IncidentFigures::default(),
        }
    }
}

/// Reads `source` from its beginning to the end of the period.
pub(super) fn collect(
    mut source: Source,
    from: &Bound,
    to: &Bound,
) -> Result<Collected, ReadError> {
    let mut pass = Pass::default();
    let (mut begin, mut end) = (None, None);
    let mut tree = Frontier::default();
    loop {
        let next = source.read()?;
        let seq = tree.size();
        let ts = next.as_ref().and_then(|read| read.facts.ts);
        // The log's end is where both of them lie at the latest.
        let over = next.is_none();
        if begin.is_none() && (over || from.is_at(seq, ts)) {
            begin = Some(from.edge(seq, tree.root()));
        }
        if end.is_none() && (over || to.is_at(seq, ts)) {
            end = Some(to.edge(seq, tree.root()));
        }
        let Some(read) = next else { break };
        if end.is_some() && begin.is_some() {
            break;
        }
        pass.take(&read, begin.is_some() && end.is_none());
        tree.push(read.leaf);
    }
    let root = tree.root();
    let from = begin.unwrap_or_else(|| from.edge(tree.size(), root));
    let to = end.unwrap_or_else(|| to.edge(tree.size(), root));
    Ok(pass.done(from, to))
}

#[derive(Default)]
struct Pass {
    population: Population,
    last_ts: Option<Wall>,
    first_ts: Option<Wall>,
    kinds: BTreeMap<String, u64>,
    agents: BTreeMap<String, AgentFigures>,
    operators: BTreeMap<(u64, String), (u64, u64)>,
    incidents: Incidents,
}

impl Pass {
    fn take(&mut self, read: &Read, inside: bool) {
        let belongs = read.facts.incident.is_some();
        let body = read.body.as_deref().filter(|_| inside || belongs);
        let entry: Value = body
            .and_then(|bytes| serde_json::from_slice(bytes).ok())
            .unwrap_or_default();
        self.incidents.take(0, read.seq, read.leaf, &entry);
        if inside {
            self.count(read, &entry);
        } else if read.seq.is_multiple_of(FORGET_EVERY) {
            self.incidents.forget_recovered();
        }
        self.last_ts = read.facts.ts.or(self.last_ts);
    }

    fn count(&mut self, read: &Read, entry: &Value) {
        let population = &mut self.population;
        population.present += 1;
        population.first_seq.get_or_insert(read.seq);
        population.last_seq = Some(read.seq);
        if read.body.is_none() {
            population.without_body += 1;
            *self.kinds.entry("(body dropped)".to_owned()).or_default() += 1;
            return;
        }
        self.first_ts = self.first_ts.or(read.facts.ts);
        if let (Some(last), Some(ts)) = (self.last_ts, read.facts.ts)
            && went_back(last, ts)
        {
            population.clock_regressions.push(read.seq);
        }
        let body = &entry["body"];
        population.late += u64::from(body["late"].is_string());
        let kind = entry["kind"].as_str().unwrap_or_default();
        *self.kinds.entry(kind.to_owned()).or_default() += 1;
        let agent = self
            .agents
            .entry(read.facts.agent.clone().unwrap_or_default());
        let agent = agent.or_default();
        agent.entries += 1;
        match kind {
            "FailureDetected" => agent.failures += 1,
            "HealthVerified" => agent.recoveries += 1,
            "RecordingDegraded" => population.dropped += body["dropped"].as_u64().unwrap_or(0),
            "OperatorCommand" => self.operator(entry),
            _ => {}
        }
    }

    fn operator(&mut self, entry: &Value) {
        let uid = entry["actor"]["uid"].as_u64().unwrap_or_default();
        let verb = entry["body"]["verb"].as_str().unwrap_or("?").to_owned();
        let (accepted, refused) = self.operators.entry((uid, verb)).or_default();
        match entry["body"]["accepted"] == true {
            true => *accepted += 1,
            false => *refused += 1,
        }
    }

    fn done(mut self, from: Edge, to: Edge) -> Collected {
        let entries = to.size.saturating_sub(from.size);
        self.population.entries = entries;
        self.population.complete = self.population.present == entries;
        self.population.first_at = shown(self.first_ts);
        self.population.last_at = match self.population.present {
            0 => None,
            _ => shown(self.last_ts),
        };
        let mut incidents = self.incidents.done();
        incidents.retain(|incident| incident.last_seq >= from.size || incident.recovery.is_none());
        let mut figures = figures(&incidents);
        figures.left_out = incidents.len().saturating_sub(INCIDENTS_MAX) as u64;
        incidents.truncate(INCIDENTS_MAX);
        let operator = |((uid, verb), (accepted, refused))| OperatorFigures {
            uid,
            verb,
            accepted,
            refused,
        };
        Collected {
            from,
            to,
            population: self.population,
            kinds: self.kinds,
            agents: self.agents,
            operators: self.operators.into_iter().map(operator).collect(),
            incidents,
            figures,
        }
    }
}

fn figures(incidents: &[Incident]) -> IncidentFigures {
    let recovered = || incidents.iter().filter_map(|one| one.recovery.as_ref());
    let escalated = incidents.iter().filter(|one| one.escalated).count();
    let done = recovered().count();
    IncidentFigures {
        total: incidents.len() as u64,
        recovered: done as u64,
        open: (incidents.len() - done) as u64,
        escalated: escalated as u64,
        time_to_detect: Times::of(recovered().filter_map(|r| r.time_to_detect_us).collect()),
        time_to_restart: Times::of(recovered().filter_map(|r| r.time_to_restart_us).collect()),
        time_to_verify: Times::of(recovered().filter_map(|r| r.time_to_verify_us).collect()),
        left_out: 0,
    }
}
