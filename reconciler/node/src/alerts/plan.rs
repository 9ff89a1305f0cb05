//! What a commit owes to the receivers: rows and entries to be written with it, and what the
//! outbox knows afterwards. Nothing is changed here; the outbox applies a plan once it is durable.

use std::collections::{BTreeMap, BTreeSet};

use osmoda_core::{
    alert::{Change, Desk, Filter, Order, Post, Signal, Stamp, judge},
    event::{Actor, EventKind},
    name::AgentName,
};
use osmoda_ledger::{Cause, Commit, Draft, IncidentRef, Scrubber, StateChange};
use serde_json::{Map, Value, json};

use super::{
    facts,
    item::{Counted, Item, in_key},
    outbox::{Inner, Receiver},
    rows,
};

/// Most messages that wait for one receiver.
pub const WAITING_MAX: usize = 1000;
/// How many of the oldest become one when there are more.
pub const FOLDED_AT_ONCE: usize = 500;

/// What is to be written with a commit, and what follows from it.
#[derive(Debug, Default)]
pub struct Plan {
    /// Entries, after those of the commit.
    pub drafts: Vec<Draft>,
    /// Rows.
    pub rows: Vec<StateChange>,
    /// Desks as they then are, by receiver.
    pub desks: BTreeMap<String, Desk>,
    /// Messages that then wait (`None`: no longer), by receiver and number.
    pub items: BTreeMap<(String, u64), Option<Item>>,
    /// What agents wrote last, as far as this commit says.
    pub last_words: BTreeMap<AgentName, Vec<String>>,
    /// The number of the next message.
    pub next: u64,
}

/// Plans what a commit owes.
pub fn plan(inner: &Inner, commit: &Commit, stamp: Stamp<'_>, scrubber: &Scrubber) -> Plan {
    let mut planning = Planning {
        inner,
        stamp,
        scrubber,
        plan: Plan {
            next: inner.next,
            ..Plan::default()
        },
    };
    for (index, draft) in commit.entries.iter().enumerate() {
        planning.draft(index, draft);
    }
    planning.fold_what_is_too_much();
    planning.finish(commit.entries.len())
}

struct Planning<'a> {
    inner: &'a Inner,
    stamp: Stamp<'a>,
    scrubber: &'a Scrubber,
    plan: Plan,
}

impl Planning<'_> {
    fn draft(&mut self, index: usize, draft: &Draft) {
        if let (EventKind::FailureDetected, Some(agent)) = (draft.kind, &draft.agent) {
            let output = facts::output(draft, self.scrubber);
            self.plan.last_words.insert(agent.clone(), output);
        }
        let mut about = None;
        let Some(signal) = judge(&facts::fact(draft, &mut about)) else {
            return;
        };
        let labels = signal.agent.as_ref();
        let labels = labels.and_then(|agent| self.inner.labels.get(agent));
        let mut told = Vec::new();
        for (name, receiver) in &self.inner.receivers {
            let Some(alert) = &receiver.alert else {
                continue;
            };
            let desk = self.plan.desks.entry(name.clone());
            let desk = desk.or_insert_with(|| receiver.desk.clone());
            let orders = desk.take(&Filter::of(alert), &signal, labels, self.stamp);
            if let Some(Order::Send(post) | Order::Count(post)) = orders.first() {
                told.push((name.clone(), post.clone()));
            }
            for order in orders {
                match order {
                    Order::Send(post) => self.send(name, &post, draft, &signal),
                    Order::Count(post) => self.count(name, receiver, &post, &signal),
                }
            }
        }
        if let Some((_, post)) = told.first() {
            let receivers = told.iter().map(|(name, _)| name.as_str()).collect();
            self.plan.drafts.push(queued(index, draft, post, receivers));
        }
    }

    fn put(&mut self, receiver: &str, item: Item) {
        let number = self.plan.next;
        self.plan.next += 1;
        let place = (receiver.to_owned(), number);
        self.plan.items.insert(place, Some(item));
    }

    fn send(&mut self, receiver: &str, post: &Post, draft: &Draft, signal: &Signal) {
        let words = facts::words(draft, self.scrubber);
        let output = match (&signal.agent, post.change) {
            (Some(agent), Change::Trigger) => {
                let said = self.plan.last_words.get(agent);
                let said = said.or_else(|| self.inner.last_words.get(agent));
                said.cloned().unwrap_or_default()
            }
            _ => Vec::new(),
        };
        let counted = post.change == Change::Resolve && post.key.contains("/storm/");
        let title = match counted {
            true => "all that was counted in a storm is well again".to_owned(),
            false => words.title,
        };
        let item = Item {
            kind: format!("{:?}", draft.kind),
            agent: draft.agent.as_ref().map(ToString::to_string),
            incident: match &draft.incident {
                Some(IncidentRef::Known(id)) => Some(id.clone()),
                _ => None,
            },
            title,
            facts: words.facts,
            output,
            ..self.blank(post)
        };
        self.put(receiver, item);
    }

    /// A message with nothing in it yet.
    fn blank(&self, post: &Post) -> Item {
        Item {
            id: Item::id_of(&post.key, post.change, self.stamp.wall),
            key: post.key.clone(),
            lane: post.lane.clone(),
            change: post.change,
            severity: post.severity,
            kind: String::new(),
            node: self.stamp.node.to_owned(),
            agent: None,
            incident: None,
            title: String::new(),
            facts: Vec::new(),
            output: Vec::new(),
            at: self.stamp.wall,
            counted: None,
            tries: 0,
            refusals: 0,
            last_error: None,
        }
    }

    /// Counts a signal in the storm's message, which is begun if it does not wait.
    fn count(&mut self, name: &str, receiver: &Receiver, post: &Post, signal: &Signal) {
        let mut planned = self.plan.items.iter();
        let planned = planned.find_map(|((whose, number), item)| {
            let item = item.as_ref().filter(|item| item.key == post.key)?;
            (whose == name).then(|| (*number, item.clone()))
        });
        let waits = || {
            let of_storm = |(number, item): &(&u64, &Item)| {
                item.key == post.key && receiver.in_flight != Some(**number)
            };
            let found = receiver.items.iter().rev().find(of_storm);
            found.map(|(number, item)| (*number, item.clone()))
        };
        let (number, mut item) = match planned.or_else(waits) {
            Some(found) => found,
            None => {
                self.plan.next += 1;
                let item = Item {
                    kind: "Storm".to_owned(),
                    ..self.blank(post)
                };
                (self.plan.next - 1, item)
            }
        };
        let counted = item.counted.get_or_insert_default();
        counted.add(1, signal.agent.iter().map(ToString::to_string));
        item.severity = item.severity.max(post.severity);
        item.title = format!(
            "node: many alerts at once: {}",
            counted.sentence("more alert")
        );
        self.plan
            .items
            .insert((name.to_owned(), number), Some(item));
    }

    /// The oldest messages of a receiver that has too many become one that counts them.
    fn fold_what_is_too_much(&mut self) {
        let names: BTreeSet<String> = (self.plan.items.keys())
            .map(|(name, _)| name.clone())
            .collect();
        for name in names {
            let Some(receiver) = self.inner.receivers.get(&name) else {
                continue;
            };
            let mut waiting = receiver.items.clone();
            for ((whose, number), item) in &self.plan.items {
                if let (true, Some(item)) = (*whose == name, item) {
                    waiting.insert(*number, item.clone());
                }
            }
            if waiting.len() > WAITING_MAX {
                waiting.retain(|number, _| receiver.in_flight != Some(*number));
                self.fold(&name, waiting);
            }
        }
    }

    fn fold(&mut self, name: &str, waiting: BTreeMap<u64, Item>) {
        let oldest: Vec<(u64, Item)> = waiting.into_iter().take(FOLDED_AT_ONCE).collect();
        let Some((first, begin)) = oldest.first().cloned() else {
            return;
        };
        let mut counted = Counted::default();
        let mut severity = begin.severity;
        for (number, item) in oldest {
            severity = severity.max(item.severity);
            match item.counted {
                Some(earlier) => counted.add(earlier.count, earlier.agents),
                None => counted.add(1, item.agent),
            }
            self.plan.items.insert((name.to_owned(), number), None);
        }
        tracing::warn!(
            receiver = name,
            messages = counted.count,
            "too many alerts wait: the oldest become one that counts them"
        );
        let key = format!("osmoda/{}/overflow/{}", in_key(self.stamp.node), begin.at.0);
        let post = Post {
            lane: key.clone(),
            key,
            change: Change::Note,
            severity,
        };
        let item = Item {
            kind: "Overflow".to_owned(),
            title: format!(
                "node: {} since {} could not be delivered in time",
                counted.sentence("alert"),
                begin.at
            ),
            at: begin.at,
            counted: Some(counted),
            ..self.blank(&post)
        };
        self.plan.items.insert((name.to_owned(), first), Some(item));
    }

    /// Writes down which rows change.
    fn finish(mut self, entries: usize) -> Plan {
        let room = osmoda_ledger::entry::MAX_ENTRIES_PER_COMMIT.saturating_sub(entries);
        self.plan.drafts.truncate(room);
        for ((name, number), item) in &self.plan.items {
            let key = rows::item_key(name, *number);
            self.plan.rows.push(match item {
                Some(item) => rows::put(key, item),
                None => rows::delete(key),
            });
        }
        let mut changed = Vec::new();
        for (name, desk) in &self.plan.desks {
            let Some(before) = self.inner.receivers.get(name).map(|old| old.desk.open()) else {
                continue;
            };
            let now = desk.open();
            let gone = before.keys().filter(|subject| !now.contains_key(*subject));
            changed.extend(gone.map(|subject| rows::delete(rows::open_key(name, subject))));
            let new = now
                .iter()
                .filter(|(subject, open)| before.get(*subject) != Some(open));
            changed
                .extend(new.map(|(subject, open)| rows::put(rows::open_key(name, subject), open)));
        }
        self.plan.rows.extend(changed);
        self.plan
    }
}

fn queued(index: usize, draft: &Draft, post: &Post, receivers: Vec<&str>) -> Draft {
    let body = json!({
        "receivers": receivers,
        "change": post.change,
        "severity": post.severity,
        "key": post.key,
    });
    let incident = match &draft.incident {
        Some(IncidentRef::Known(id)) => Some(IncidentRef::Known(id.clone())),
        _ => None,
    };
    Draft {
        kind: EventKind::AlertQueued,
        agent: draft.agent.clone(),
        incident,
        causes: vec![Cause::InCommit(index)],
        actor: Actor::System,
        body: object(body),
    }
}

/// The members of an object.
pub fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
