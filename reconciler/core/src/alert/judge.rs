//! From an entry's facts to a signal: the one table that says what alerts, and how urgent it is.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{event::EventKind, name::AgentName, spec::Severity};

/// What the judgement needs of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fact<'a> {
    /// Its kind.
    pub kind: EventKind,
    /// The agent concerned.
    pub agent: Option<&'a AgentName>,
    /// The incident that it belongs to.
    pub incident: Option<&'a str>,
    /// What it is about beside an agent: a file of specs, an anchor, a closure, the system.
    pub about: Option<&'a str>,
    /// Of a failure: the agent is started again by itself.
    pub restarts: bool,
    /// Of a failure: that of a dependency explains it, and is told instead.
    pub explained: bool,
    /// Of an anchor: it holds another history. Of a spec: the agent was removed. Of a closure: it
    /// is damaged.
    pub marked: bool,
}

/// What an alert is about; it can be open at most once at a time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// An incident, by its id.
    Incident(String),
    /// An agent that nothing can be done to at the moment.
    Agent(AgentName),
    /// Anything else, such as an anchor or a file of specs.
    Thing(String),
}

impl fmt::Display for Subject {
    /// Unique among subjects: `incident/ID`, `agent/NAME`, `node/WHAT`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Incident(id) => write!(f, "incident/{id}"),
            Self::Agent(name) => write!(f, "agent/{name}"),
            Self::Thing(what) => write!(f, "node/{what}"),
        }
    }
}

/// What a signal changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Change {
    /// Something is wrong from now on.
    Trigger,
    /// It is well again.
    Resolve,
    /// Everything about the agent is over: it was removed.
    ResolveAgent,
    /// Something happened that has no end to be waited for.
    Note,
}

/// An entry that people may be told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signal {
    /// Its kind.
    pub kind: EventKind,
    /// How urgent it is.
    pub severity: Severity,
    /// What it changes.
    pub change: Change,
    /// What it is about.
    pub subject: Subject,
    /// The agent concerned.
    pub agent: Option<AgentName>,
}

/// The signal of an entry; `None`: nobody is told of it.
pub fn judge(fact: &Fact<'_>) -> Option<Signal> {
    use Change::{Note, Resolve, ResolveAgent, Trigger};
    use Severity::{Critical, Info, Warning};
    let (change, severity) = match fact.kind {
        // Healed by itself in a moment, as most are. What does not heal has entries of its own.
        EventKind::FailureDetected if fact.explained => return None,
        EventKind::FailureDetected if fact.restarts => (Trigger, Info),
        EventKind::FailureDetected => (Trigger, Warning),
        EventKind::ActionFailed | EventKind::GenerationBad => (Trigger, Warning),
        EventKind::EscalationExhausted | EventKind::RollbackFailed => (Trigger, Critical),
        EventKind::ActionSucceeded if fact.incident.is_none() => (Resolve, Info),
        EventKind::HealthVerified => (Resolve, Info),
        EventKind::SpecChanged if fact.marked => (ResolveAgent, Info),
        EventKind::RollbackSucceeded
        | EventKind::NodeStarted
        | EventKind::NodeStopped
        | EventKind::Paused
        | EventKind::Resumed => (Note, Info),
        EventKind::SpecRejected | EventKind::OutsideAction => (Note, Warning),
        EventKind::RecordingDegraded | EventKind::LogReset => (Note, Critical),
        EventKind::AnchorFailed if fact.marked => (Trigger, Critical),
        EventKind::AnchorFailed => (Trigger, Warning),
        EventKind::AnchorSucceeded => (Resolve, Info),
        EventKind::ClosureVerified if fact.marked => (Trigger, Warning),
        EventKind::ClosureVerified => (Resolve, Info),
        // The machine's own: what was wrong with it is over.
        EventKind::GenerationGood if fact.agent.is_none() => (Resolve, Info),
        _ => return None,
    };
    let has_an_end = fact.incident.is_some() || fact.agent.is_some() || fact.about.is_some();
    let change = match change {
        // Nothing tells of an end.
        Trigger if !has_an_end => Note,
        change => change,
    };
    Some(Signal {
        kind: fact.kind,
        severity,
        change,
        subject: subject(fact),
        agent: fact.agent.cloned(),
    })
}

fn subject(fact: &Fact<'_>) -> Subject {
    match (fact.incident, fact.agent, fact.about) {
        // Whose it is tells who wants to know, and not what is wrong.
        (_, _, Some(about)) if fact.kind == EventKind::ClosureVerified => {
            Subject::Thing(about.to_owned())
        }
        (Some(incident), ..) => Subject::Incident(incident.to_owned()),
        (None, Some(agent), _) => Subject::Agent(agent.clone()),
        (None, None, Some(about)) => Subject::Thing(about.to_owned()),
        (None, None, None) => Subject::Thing(format!("{:?}", fact.kind)),
    }
}
