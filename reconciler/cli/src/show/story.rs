//! Incidents as stories: what happened, why, what was done, how it ended.
//!
//! [`Stories`] reads entries of the ledger in their order and puts those of one incident
//! together. An incident whose causes lead to an entry of another one is that one's
//! consequence. Pure; entries of other versions are taken for what is understood of them.

use std::collections::{BTreeMap, VecDeque};

use osmoda_node::api::types::EntryObject;
use serde_json::Value;

use super::{age, events};

/// Most incidents that are kept; the oldest ones that have ended are forgotten first.
pub const STORIES_MAX: usize = 128;
/// Most deeds that one story keeps; the oldest are forgotten, and counted.
pub const DEEDS_MAX: usize = 32;
/// Most places of entries that are remembered, to follow causes.
const PLACES_MAX: usize = 4096;

/// An incident.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Story {
    /// Its id.
    pub id: String,
    /// Whose.
    pub agent: String,
    /// When it was first recorded (RFC 3339).
    pub opened_at: String,
    /// Seq of its first entry.
    pub first_seq: u64,
    /// How often the agent failed within it.
    pub failures: u64,
    /// The failure that came last.
    pub latest: Option<Failing>,
    /// How often an action failed within it.
    pub failed_actions: u64,
    /// What such an action said last: `could not start: no such file`.
    pub could_not: Option<String>,
    /// The incident that explains it.
    pub root: Option<String>,
    /// What was done, oldest first.
    pub deeds: VecDeque<Deed>,
    /// Deeds before these that were forgotten.
    pub forgotten: u64,
    /// Why nothing but slow retries is left.
    pub exhausted: Option<String>,
    /// How it ended; absent while it is open.
    pub end: Option<End>,
}

/// A failure of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Failing {
    /// When (RFC 3339).
    pub at: String,
    /// CamelCase word.
    pub reason: String,
    /// For people.
    pub message: String,
    /// How long it had run, in milliseconds.
    pub uptime_ms: Option<u64>,
    /// Agents whose failure explains it.
    pub because_of: Vec<String>,
    /// What it said it was doing.
    pub doing: Option<String>,
    /// The end of what it wrote, oldest first.
    pub last_output: Vec<String>,
}

/// Something that was done about it, and how that went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deed {
    /// When (RFC 3339).
    pub at: String,
    /// What.
    pub text: String,
}

/// Verified health.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// When (RFC 3339).
    pub at: String,
    /// From the failure to verified health, in milliseconds.
    pub took_ms: Option<u64>,
    /// It completed its work, as its policy expects.
    pub completed: bool,
}

impl Failing {
    fn of(entry: &Value) -> Self {
        let body = &entry["body"];
        let names = body["becauseOf"].as_array().into_iter().flatten();
        // A line that was too long is stored as {cut, length, sha256}.
        let output = body["lastOutput"].as_array().into_iter().flatten();
        let output = output.filter_map(|line| line.as_str().or(line["cut"].as_str()));
        Self {
            at: text(entry, "ts"),
            reason: text(body, "reason"),
            message: text(body, "message"),
            uptime_ms: body["uptimeMs"].as_u64(),
            because_of: names.filter_map(Value::as_str).map(str::to_owned).collect(),
            doing: body["facts"]["status"].as_str().map(str::to_owned),
            last_output: output.map(str::to_owned).collect(),
        }
    }

    /// A short clause: `it crashed`, `it stopped answering`.
    pub fn verb(&self) -> &'static str {
        match self.reason.as_str() {
            "Crashed" => "it crashed",
            "OomKilled" => "the kernel killed it for want of memory",
            "Exited" => "it ended",
            "Vanished" => "it vanished",
            "ExitUnknown" => "it ended, nobody saw how",
            "Hang" => "it stopped giving signs of life",
            "StopTimeout" => "it announced its end and did not come to it",
            "StartTimeout" => "it was not up in time",
            "StartupFailed" => "its startup probe failed",
            "Unhealthy" => "its liveness probe failed",
            "MemoryHigh" => "its memory reached the threshold",
            "MemoryRising" => "its memory was about to reach the threshold",
            "CpuRunaway" => "it used too much CPU for too long",
            _ => "it failed",
        }
    }
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().to_owned()
}

/// Every incident that was read of.
#[derive(Debug, Clone, Default)]
pub struct Stories {
    by_id: BTreeMap<String, Story>,
    places: BTreeMap<u64, String>,
}

impl Stories {
    /// Reads entries that follow each other.
    pub fn of(entries: &[EntryObject]) -> Self {
        let mut stories = Self::default();
        entries.iter().for_each(|entry| stories.take(entry));
        stories
    }

    /// Reads the next entry.
    pub fn take(&mut self, object: &EntryObject) {
        let entry = &object.entry;
        let Some(id) = entry["incident"].as_str() else {
            return;
        };
        let root = self.root_of(id, entry);
        self.places.insert(object.seq, id.to_owned());
        while self.places.len() > PLACES_MAX {
            self.places.pop_first();
        }
        let story = self
            .by_id
            .entry(id.to_owned())
            .or_insert_with(|| Story::begin(id, object));
        story.root = story.root.take().or(root);
        story.read(object);
        if self.by_id.len() > STORIES_MAX {
            self.forget_one();
        }
    }

    fn root_of(&self, id: &str, entry: &Value) -> Option<String> {
        let causes = entry["causes"].as_array().into_iter().flatten();
        let mut roots = causes.filter_map(|cause| self.places.get(&cause["seq"].as_u64()?));
        roots.find(|root| *root != id).cloned()
    }

    fn forget_one(&mut self) {
        let oldest = |(_, story): &(&String, &Story)| (story.is_open(), story.first_seq);
        let oldest = self.by_id.iter().min_by_key(oldest);
        if let Some(id) = oldest.map(|(id, _)| id.clone()) {
            self.by_id.remove(&id);
        }
    }

    /// One incident.
    pub fn get(&self, id: &str) -> Option<&Story> {
        self.by_id.get(id)
    }

    /// The incidents that follow from this one.
    pub fn consequences<'a>(&'a self, id: &'a str) -> impl Iterator<Item = &'a Story> {
        let all = self.by_id.values();
        all.filter(move |story| story.root.as_deref() == Some(id))
    }

    /// Open ones first, then by their beginning, the newest first.
    pub fn newest_first(&self) -> Vec<&Story> {
        let mut all: Vec<&Story> = self.by_id.values().collect();
        all.sort_by_key(|story| (story.end.is_some(), std::cmp::Reverse(story.first_seq)));
        all
    }

    /// The incident of an agent that began last.
    pub fn latest_of(&self, agent: &str) -> Option<&Story> {
        let all = self.by_id.values().filter(|story| story.agent == agent);
        all.max_by_key(|story| story.first_seq)
    }
}

impl Story {
    fn begin(id: &str, object: &EntryObject) -> Self {
        Self {
            id: id.to_owned(),
            agent: text(&object.entry, "agent"),
            opened_at: text(&object.entry, "ts"),
            first_seq: object.seq,
            failures: 0,
            latest: None,
            failed_actions: 0,
            could_not: None,
            root: None,
            deeds: VecDeque::new(),
            forgotten: 0,
            exhausted: None,
            end: None,
        }
    }

    fn read(&mut self, object: &EntryObject) {
        let entry = &object.entry;
        let body = &entry["body"];
        match entry["kind"].as_str().unwrap_or_default() {
            "FailureDetected" => {
                self.failures += 1;
                self.latest = Some(Failing::of(entry));
            }
            "HealthVerified" => {
                self.end = Some(End {
                    at: text(entry, "ts"),
                    took_ms: body["timeToVerifyUs"].as_u64().map(|us| us / 1000),
                    completed: body["reason"] == "Completed",
                });
            }
            "Diff" | "ActionIntended" | "RollbackIntended" => {}
            kind => {
                match kind {
                    "EscalationExhausted" => self.exhausted = Some(events::what(object)),
                    "ActionFailed" => {
                        self.failed_actions += 1;
                        let failed = events::what_failed(entry);
                        // The same once more says nothing new but when it is tried again.
                        let again = |deed: &&Deed| deed.text.starts_with(&failed);
                        if self.deeds.back().filter(again).is_some() {
                            self.deeds.pop_back();
                        }
                        self.could_not = Some(failed);
                    }
                    _ => {}
                }
                self.deeds.push_back(Deed {
                    at: text(entry, "ts"),
                    text: events::what(object),
                });
                if self.deeds.len() > DEEDS_MAX {
                    self.deeds.pop_front();
                    self.forgotten += 1;
                }
            }
        }
    }

    /// Whether health has not been verified yet.
    pub fn is_open(&self) -> bool {
        self.end.is_none()
    }

    /// What happened, in a clause: `it crashed: the main process ended: SIGSEGV`.
    pub fn happened(&self) -> String {
        let Some(failing) = &self.latest else {
            return match (&self.could_not, self.failed_actions) {
                (None, _) => "it failed before the entries that are shown".to_owned(),
                (Some(what), 1) => format!("osmoda {what}"),
                (Some(what), times) => format!("osmoda {what} ({times} tries by now)"),
            };
        };
        let after = failing.uptime_ms.map(|ms| format!(" after {}", age(ms)));
        let times = match self.failures {
            0 | 1 => String::new(),
            times => format!(", {times} times by now"),
        };
        let why = match failing.message.strip_prefix("the main process ended: ") {
            Some(how) => how,
            None => &failing.message,
        };
        let why = match why {
            "" => String::new(),
            why => format!(" ({why})"),
        };
        let after = after.unwrap_or_default();
        format!("{}{after}{why}{times}", failing.verb())
    }

    /// How it ended, or that it has not.
    pub fn ended(&self) -> String {
        match &self.end {
            None => "open".to_owned(),
            Some(end) if end.completed => "completed, as its policy expects".to_owned(),
            Some(End { took_ms, .. }) => match took_ms {
                Some(ms) => format!("healthy again after {}", age(*ms)),
                None => "healthy again".to_owned(),
            },
        }
    }
}

#[cfg(test)]
#[path = "story/tests.rs"]
mod tests;
