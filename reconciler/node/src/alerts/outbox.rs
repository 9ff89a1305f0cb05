//! The outbox: what waits for whom, in memory as in the rows of ledger.db.
//!
//! Invariants:
//! - Rows are written in the transaction of the entry that caused them ([`Outbox::append`]);
//!   memory follows once they are durable, never before.
//! - A message is in flight at most once; it leaves only with its entry on record.
//! - At most [`plan::WAITING_MAX`] messages wait for one receiver: what is more becomes one
//!   message that counts the oldest.
//!
//! Where to start: [`Outbox::append`], then [`Outbox::next`].

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use osmoda_core::{
    alert::{Desk, Filter, Stamp, judge, patience},
    event::{Actor, EventKind},
    name::AgentName,
    spec::{Alert, Severity},
    time::{Clock, Mono, Wall},
};
use osmoda_ledger::{
    Appended, Commit, CommitError, Draft, IncidentRef, Ledger, ReadError, Reset, Scrubber,
};
use osmoda_runtime::blocking::spawn_blocking;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{
    Labels, facts,
    item::Item,
    lock,
    plan::{self, Plan, object},
    rows::{self, Doing},
    send,
};

/// What waits for whom.
pub struct Outbox {
    pub(super) ledger: Ledger,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) scrubber: Arc<Scrubber>,
    node: String,
    inner: Mutex<Inner>,
}

/// What the outbox knows.
#[derive(Debug, Default)]
pub struct Inner {
    pub(super) receivers: BTreeMap<String, Receiver>,
    pub(super) labels: Labels,
    pub(super) last_words: BTreeMap<AgentName, Vec<String>>,
    pub(super) next: u64,
}

/// One receiver.
#[derive(Debug, Default)]
pub struct Receiver {
    /// As it is declared; `None`: it no longer is, and what is left of it waits.
    pub alert: Option<Alert>,
    pub(super) desk: Desk,
    pub(super) items: BTreeMap<u64, Item>,
    pub(super) in_flight: Option<u64>,
    /// When what was refused is tried again.
    refused_until: BTreeMap<u64, Mono>,
    /// Failures in a row of the receiver as such.
    failures: u32,
    pub(super) hold_until: Option<Mono>,
    pub(super) doing: Doing,
    wake: Arc<Notify>,
}

/// What a sender is to do.
#[derive(Debug)]
pub enum Next {
    /// Send this message.
    Send(u64, Box<Item>, Box<Alert>),
    /// Give this message up: it is too old.
    GiveUp(u64, Box<Item>),
    /// Wait until woken, at most so long.
    Wait(Option<Duration>),
}

impl Outbox {
    /// Over a ledger, with what an earlier daemon left in it.
    ///
    /// # Errors
    /// [`ReadError`] if the ledger cannot be read.
    pub fn open(
        ledger: Ledger,
        clock: Arc<dyn Clock>,
        scrubber: Arc<Scrubber>,
        node: String,
    ) -> Result<Self, ReadError> {
        let left = rows::read(&ledger.reader()?.state(rows::PREFIX)?);
        let mut inner = Inner::default();
        for (name, shelf) in left.by_receiver {
            let last = shelf.items.keys().next_back();
            inner.next = inner.next.max(last.map_or(0, |last| last + 1));
            let receiver = Receiver {
                desk: Desk::with(shelf.open),
                items: shelf.items,
                doing: shelf.doing,
                ..Receiver::default()
            };
            inner.receivers.insert(name, receiver);
        }
        inner.declare(&left.receivers);
        Ok(Self {
            ledger,
            clock,
            scrubber,
            node,
            inner: Mutex::new(inner),
        })
    }

    /// Queues for these receivers from now on (`None`: for those of before).
    pub fn set(&self, alerts: Option<&[Alert]>, labels: Labels) {
        let mut inner = lock(&self.inner);
        inner.labels = labels;
        let known = inner.labels.keys().cloned().collect::<BTreeSet<_>>();
        inner.last_words.retain(|agent, _| known.contains(agent));
        let Some(alerts) = alerts else {
            return;
        };
        let before: Vec<Alert> = inner.declared().cloned().collect();
        inner.declare(alerts);
        let mut after: Vec<&Alert> = alerts.iter().collect();
        after.sort_by(|a, b| a.name.cmp(&b.name));
        if !before.iter().eq(after) {
            let row = rows::put(rows::RECEIVERS.to_owned(), &alerts);
            let (ledger, commit) = (self.ledger.clone(), state_only(vec![row]));
            spawn_blocking(move || {
                if let Err(error) = ledger.append_blocking(&commit) {
                    tracing::warn!(%error, "the receivers of alerts are not noted");
                }
            });
        }
    }

    /// Appends a commit together with what it owes to receivers, in one transaction; blocks until
    /// it is durable. The answer is that of the commit's own entries first.
    ///
    /// # Errors
    /// [`CommitError`]; then nothing was recorded and nothing is owed.
    pub fn append(&self, commit: &Commit) -> Result<Vec<Appended>, CommitError> {
        if lock(&self.inner).declared().next().is_none() {
            return self.ledger.append_blocking(commit);
        }
        let alerts = commit.entries.iter().any(|draft| {
            let mut about = None;
            judge(&facts::fact(draft, &mut about)).is_some()
        });
        if !alerts {
            return self.ledger.append_blocking(commit);
        }
        let mut inner = lock(&self.inner);
        let stamp = Stamp {
            node: &self.node,
            now: self.clock.mono(),
            wall: self.clock.wall(),
        };
        let plan = plan::plan(&inner, commit, stamp, &self.scrubber);
        let mut whole = commit.clone();
        whole.entries.extend(plan.drafts.iter().cloned());
        whole.state.extend(plan.rows.iter().cloned());
        let appended = self.ledger.append_blocking(&whole)?;
        inner.apply(plan);
        Ok(appended)
    }

    /// Queues what is said of a ledger that was damaged: its entry was written as the file was
    /// made, before there was an outbox in it.
    pub fn tell_of_reset(&self, reset: &Reset) {
        let mut item = send::message(
            self,
            "LogReset",
            "node: the ledger was damaged; it was set aside and begun anew",
        );
        item.severity = Severity::Critical;
        item.facts = vec![
            ("Found".to_owned(), reset.reason.clone()),
            ("Moved to".to_owned(), reset.moved_to.display().to_string()),
        ];
        let told = self.look(|inner| {
            let wants = |alert: &&Alert| Filter::of(alert).takes_note(EventKind::LogReset);
            let names = inner.declared().filter(wants);
            names
                .map(|alert| (alert.name.clone(), item.clone()))
                .collect()
        });
        if let Err(error) = self.queue(told, Vec::new()) {
            tracing::warn!(%error, "nobody is told that the ledger was begun anew");
        }
    }

    /// Queues a message that no entry of the loop causes, with the rows that go with it.
    ///
    /// # Errors
    /// [`CommitError`].
    pub(super) fn queue(
        &self,
        messages: Vec<(String, Item)>,
        rows: Vec<osmoda_ledger::StateChange>,
    ) -> Result<(), CommitError> {
        let mut inner = lock(&self.inner);
        let mut plan = Plan {
            next: inner.next,
            rows,
            ..Plan::default()
        };
        for (receiver, item) in messages {
            let row = rows::put(rows::item_key(&receiver, plan.next), &item);
            plan.rows.push(row);
            plan.items.insert((receiver, plan.next), Some(item));
            plan.next += 1;
        }
        self.ledger
            .append_blocking(&state_only(plan.rows.clone()))?;
        inner.apply(plan);
        Ok(())
    }

    /// The receivers that are declared, and what wakes their senders.
    pub fn receivers(&self) -> BTreeMap<String, Arc<Notify>> {
        let inner = lock(&self.inner);
        let declared = inner.receivers.iter();
        declared
            .filter(|(_, receiver)| receiver.alert.is_some())
            .map(|(name, receiver)| (name.clone(), Arc::clone(&receiver.wake)))
            .collect()
    }

    /// One that is declared.
    pub fn receiver(&self, name: &str) -> Option<Alert> {
        lock(&self.inner).receivers.get(name)?.alert.clone()
    }

    /// Name of the node.
    pub fn node(&self) -> &str {
        &self.node
    }

    pub(super) fn look<T>(&self, look: impl FnOnce(&Inner) -> T) -> T {
        look(&lock(&self.inner))
    }

    /// What the sender of `name` is to do now. What it is to send is in flight from here on.
    pub(super) fn next(&self, name: &str) -> Next {
        let (now, wall) = (self.clock.mono(), self.clock.wall());
        let mut inner = lock(&self.inner);
        let receiver = inner.receivers.get_mut(name);
        let Some(receiver) = receiver.filter(|receiver| receiver.alert.is_some()) else {
            return Next::Wait(None);
        };
        receiver.next(now, wall)
    }

    /// Its sender was ended: nothing is in flight any more.
    pub(super) fn interrupted(&self, name: &str) {
        if let Some(receiver) = lock(&self.inner).receivers.get_mut(name) {
            receiver.in_flight = None;
        }
    }

    /// The provider has taken the message: its row goes, on record.
    ///
    /// # Errors
    /// [`CommitError`]; then it is still in flight, and this is to be tried again.
    pub(super) async fn delivered(
        &self,
        name: &str,
        number: u64,
        item: &Item,
    ) -> Result<(), CommitError> {
        let wall = self.clock.wall();
        let doing = Doing {
            delivered_at: Some(wall.to_string()),
            ..Doing::default()
        };
        let waited = wall.0.saturating_sub(item.at.0) / 1000;
        let body = json!({
            "receiver": name, "key": item.key, "change": item.change,
            "tries": item.tries + 1, "waitedMs": waited.max(0),
        });
        let commit = Commit {
            entries: vec![entry(EventKind::AlertDelivered, item, body)],
            state: vec![
                rows::delete(rows::item_key(name, number)),
                rows::put(rows::doing_key(name), &doing),
            ],
        };
        self.commit(commit).await?;
        self.settle(name, number, |receiver| {
            receiver.items.remove(&number);
            receiver.refused_until.remove(&number);
            (receiver.failures, receiver.hold_until) = (0, None);
            receiver.doing = doing;
        });
        Ok(())
    }

    /// The receiver cannot be reached, or takes nothing now. `draw` is from 0 to 1, at random.
    pub(super) async fn failed(
        &self,
        name: &str,
        number: u64,
        why: &str,
        asked: Option<Duration>,
        draw: f64,
    ) {
        let (now, wall) = (self.clock.mono(), self.clock.wall());
        let changed = self.settle(name, number, |receiver| {
            receiver.failures = receiver.failures.saturating_add(1);
            receiver.hold_until = Some(now.after(patience::wait(receiver.failures, draw, asked)));
            let is_news = receiver.doing.failing_since.is_none();
            receiver.doing.reason = Some(why.to_owned());
            let since = || wall.to_string();
            receiver.doing.failing_since.get_or_insert_with(since);
            let item = receiver.items.get_mut(&number)?;
            item.tries = item.tries.saturating_add(1);
            item.last_error = Some(why.to_owned());
            Some((item.clone(), receiver.doing.clone(), is_news))
        });
        let Some((item, doing, is_news)) = changed.flatten() else {
            return;
        };
        tracing::warn!(
            receiver = name,
            reason = why,
            "an alert does not get through"
        );
        let body = json!({"receiver": name, "reason": why});
        let entries = is_news.then(|| entry(EventKind::AlertFailed, &item, body));
        self.note(Commit {
            entries: entries.into_iter().collect(),
            state: vec![
                rows::put(rows::item_key(name, number), &item),
                rows::put(rows::doing_key(name), &doing),
            ],
        })
        .await;
    }

    /// The provider refuses this message; others may well be taken.
    pub(super) async fn refused(&self, name: &str, number: u64, why: &str, draw: f64) {
        let now = self.clock.mono();
        let changed = self.settle(name, number, |receiver| {
            let item = receiver.items.get_mut(&number)?;
            item.tries = item.tries.saturating_add(1);
            item.refusals = item.refusals.saturating_add(1);
            item.last_error = Some(why.to_owned());
            let wait = patience::wait(item.refusals, draw, None);
            receiver.refused_until.insert(number, now.after(wait));
            Some(item.clone())
        });
        let Some(item) = changed.flatten() else {
            return;
        };
        tracing::warn!(receiver = name, reason = why, "an alert is refused");
        if item.refusals >= patience::REFUSALS_MAX {
            self.give_up(name, number, &item, why).await;
        } else {
            let row = rows::put(rows::item_key(name, number), &item);
            self.note(state_only(vec![row])).await;
        }
    }

    /// The message is not tried any longer; the entry says why.
    pub(super) async fn give_up(&self, name: &str, number: u64, item: &Item, why: &str) {
        let body = json!({
            "receiver": name, "key": item.key, "change": item.change,
            "reason": why, "givenUp": true,
        });
        self.note(Commit {
            entries: vec![entry(EventKind::AlertFailed, item, body)],
            state: vec![rows::delete(rows::item_key(name, number))],
        })
        .await;
        self.settle(name, number, |receiver| {
            receiver.items.remove(&number);
            receiver.refused_until.remove(&number);
        });
    }

    /// What cannot be written is known to memory, and written with what comes next of its kind.
    async fn note(&self, commit: Commit) {
        if let Err(error) = self.commit(commit).await {
            tracing::warn!(%error, "what became of an alert is not recorded");
        }
    }

    /// On a thread that may block until it is durable.
    async fn commit(&self, commit: Commit) -> Result<(), CommitError> {
        let ledger = self.ledger.clone();
        let written = spawn_blocking(move || ledger.append_blocking(&commit)).await;
        written.unwrap_or(Err(CommitError::Closed)).map(drop)
    }

    fn settle<T>(
        &self,
        name: &str,
        number: u64,
        change: impl FnOnce(&mut Receiver) -> T,
    ) -> Option<T> {
        let mut inner = lock(&self.inner);
        let receiver = inner.receivers.get_mut(name)?;
        receiver.in_flight.take_if(|flying| *flying == number);
        Some(change(receiver))
    }
}

impl Inner {
    fn declared(&self) -> impl Iterator<Item = &Alert> {
        self.receivers
            .values()
            .filter_map(|receiver| receiver.alert.as_ref())
    }

    /// Who is gone keeps what waits: a file that is moved is gone for a moment, too.
    fn declare(&mut self, alerts: &[Alert]) {
        for receiver in self.receivers.values_mut() {
            receiver.alert = None;
        }
        for alert in alerts {
            let receiver = self.receivers.entry(alert.name.clone()).or_default();
            receiver.alert = Some(alert.clone());
            receiver.wake.notify_one();
        }
        self.receivers.retain(|_, receiver| {
            receiver.alert.is_some()
                || !receiver.items.is_empty()
                || !receiver.desk.open().is_empty()
        });
    }

    fn apply(&mut self, plan: Plan) {
        self.next = plan.next;
        self.last_words.extend(plan.last_words);
        for (name, desk) in plan.desks {
            if let Some(receiver) = self.receivers.get_mut(&name) {
                receiver.desk = desk;
            }
        }
        for ((name, number), item) in plan.items {
            let Some(receiver) = self.receivers.get_mut(&name) else {
                continue;
            };
            match item {
                Some(item) => _ = receiver.items.insert(number, item),
                None => {
                    receiver.items.remove(&number);
                    receiver.refused_until.remove(&number);
                }
            }
            receiver.wake.notify_one();
        }
    }
}

impl Receiver {
    /// The first message that may be sent: none of its lane is before it.
    fn next(&mut self, now: Mono, wall: Wall) -> Next {
        let Some(alert) = &self.alert else {
            return Next::Wait(None);
        };
        if let Some(until) = self.hold_until.filter(|until| *until > now) {
            return Next::Wait(Some(until.since(now)));
        }
        let mut lanes = BTreeSet::new();
        let mut soonest: Option<Duration> = None;
        for (number, item) in &self.items {
            if !lanes.insert(item.lane.as_str()) {
                continue;
            }
            if patience::is_over(item.at, wall) {
                self.in_flight = Some(*number);
                return Next::GiveUp(*number, Box::new(item.clone()));
            }
            let due = item.due().0.saturating_sub(wall.0);
            let due = Duration::from_micros(u64::try_from(due).unwrap_or(0));
            let refused = self.refused_until.get(number);
            let wait = refused.map_or(due, |until| until.since(now).max(due));
            if wait.is_zero() {
                self.in_flight = Some(*number);
                return Next::Send(*number, Box::new(item.clone()), Box::new(alert.clone()));
            }
            soonest = Some(soonest.map_or(wait, |other| other.min(wait)));
        }
        Next::Wait(soonest)
    }

    /// Until when a message is not tried.
    pub(super) fn held(&self, number: u64) -> Option<Mono> {
        let refused = self.refused_until.get(&number).copied();
        self.hold_until.max(refused)
    }
}

fn state_only(state: Vec<osmoda_ledger::StateChange>) -> Commit {
    Commit {
        entries: Vec::new(),
        state,
    }
}

fn entry(kind: EventKind, item: &Item, body: Value) -> Draft {
    Draft {
        kind,
        agent: item
            .agent
            .as_deref()
            .and_then(|name| AgentName::new(name).ok()),
        incident: item.incident.clone().map(IncidentRef::Known),
        causes: Vec::new(),
        actor: Actor::System,
        body: object(body),
    }
}
