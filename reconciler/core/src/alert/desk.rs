//! One receiver's desk: what is open there, and what a signal means for it.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{Change, Signal, Subject};
use crate::{
    digest::Digest,
    event::EventKind,
    name::AgentName,
    spec::{Alert, AlertProvider, Severity},
    time::{Mono, Wall},
};

/// Most messages in [`STORM_WINDOW`] that are sent one by one.
pub const STORM_MAX: usize = 20;
/// The window in which they are counted.
pub const STORM_WINDOW: Duration = Duration::from_secs(300);
/// How long a storm's message waits for more to be counted in.
pub const STORM_COLLECT: Duration = Duration::from_secs(60);
/// Most subjects that are open at a desk; beyond it the oldest is forgotten, and not resolved.
pub const OPEN_MAX: usize = 4096;
/// Longest dedup key, in bytes: PagerDuty takes 255 characters.
pub const KEY_MAX: usize = 200;

/// Which signals a receiver wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    min: Severity,
    labels: BTreeMap<String, String>,
    kinds: Vec<String>,
    chat: bool,
}

impl Filter {
    /// As the node's spec has it.
    pub fn of(alert: &Alert) -> Self {
        let chat = matches!(
            alert.provider,
            AlertProvider::Slack | AlertProvider::Telegram
        );
        Self {
            min: alert.min_severity,
            labels: alert.labels.clone(),
            kinds: alert.kinds.clone(),
            chat,
        }
    }

    /// Whether a trigger or a note of this kind and severity passes. A kind that is named is
    /// wanted also where it is healed by itself, unless only what is critical is wanted.
    fn wants(&self, kind: EventKind, severity: Severity) -> bool {
        let word = format!("{kind:?}");
        let named = self.kinds.contains(&word);
        (self.kinds.is_empty() || named)
            && (severity >= self.min || (named && self.min < Severity::Critical))
    }

    /// Whether an agent of these labels (`None`: the node itself) is one that is asked for.
    pub fn is_about(&self, labels: Option<&BTreeMap<String, String>>) -> bool {
        self.labels.is_empty()
            || labels.is_some_and(|labels| {
                let mut wanted = self.labels.iter();
                wanted.all(|(key, value)| labels.get(key) == Some(value))
            })
    }

    /// Whether a note of the node itself, of the highest severity, is wanted.
    pub fn takes_note(&self, kind: EventKind) -> bool {
        self.wants(kind, Severity::Critical) && self.is_about(None)
    }

    /// Whether the receiver is one to be told once a day what happened: people that read, and
    /// programs, but nobody's pager.
    pub fn wants_digest(&self, provider: AlertProvider) -> bool {
        let reads = self.chat || provider == AlertProvider::Webhook;
        reads && self.kinds.is_empty() && self.min < Severity::Critical
    }
}

/// Something that is wrong, as its receiver was told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Open {
    /// The agent concerned.
    pub agent: Option<AgentName>,
    /// The highest severity that was told.
    pub severity: Severity,
    /// Every dedup key that was triggered for it, oldest first.
    pub keys: Vec<String>,
    /// Since when.
    pub since: Wall,
}

/// A message to be queued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Post {
    /// Dedup key at the provider.
    pub key: String,
    /// Messages of one lane are delivered in their order.
    pub lane: String,
    /// Trigger, Resolve or Note.
    pub change: Change,
    /// How urgent it is.
    pub severity: Severity,
}

/// What is to be done for a receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Queue a message.
    Send(Post),
    /// Count the signal in the storm's message with this post's key, which is queued if it is
    /// not waiting yet.
    Count(Post),
}

/// One receiver's desk.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Desk {
    open: BTreeMap<String, Open>,
    recent: VecDeque<Mono>,
    storm: Option<Storm>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Storm {
    key: String,
    since: Mono,
}

/// Now, by both clocks, and whose keys these are.
#[derive(Debug, Clone, Copy)]
pub struct Stamp<'a> {
    /// Name of the node.
    pub node: &'a str,
    /// To measure with.
    pub now: Mono,
    /// For people.
    pub wall: Wall,
}

impl Desk {
    /// A desk where this is open, by subject, as an earlier daemon left it.
    pub fn with(open: BTreeMap<String, Open>) -> Self {
        Self {
            open,
            ..Self::default()
        }
    }

    /// What is open, by subject.
    pub fn open(&self) -> &BTreeMap<String, Open> {
        &self.open
    }

    /// What a signal means for this receiver. `labels` are those of the signal's agent.
    pub fn take(
        &mut self,
        filter: &Filter,
        signal: &Signal,
        labels: Option<&BTreeMap<String, String>>,
        stamp: Stamp<'_>,
    ) -> Vec<Order> {
        match signal.change {
            Change::Resolve => self.resolve(filter, &signal.subject.to_string()),
            Change::ResolveAgent => {
                let of_agent = |open: &&Open| open.agent.is_some() && open.agent == signal.agent;
                let subjects = self.open.iter().filter(|(_, open)| of_agent(open));
                let subjects: Vec<String> = subjects.map(|(subject, _)| subject.clone()).collect();
                let orders = subjects.iter().map(|one| self.resolve(filter, one));
                orders.collect::<Vec<_>>().concat()
            }
            Change::Trigger | Change::Note => {
                let wanted = filter.wants(signal.kind, signal.severity) && filter.is_about(labels);
                match (wanted, signal.change) {
                    (false, _) => Vec::new(),
                    (true, Change::Note) => self.note(signal, stamp),
                    (true, _) => self.trigger(signal, stamp),
                }
            }
        }
    }

    fn note(&mut self, signal: &Signal, stamp: Stamp<'_>) -> Vec<Order> {
        if self.is_storm(stamp) {
            return vec![Order::Count(self.storm_post(signal, stamp))];
        }
        let key = key(stamp.node, &signal.subject, Some((signal.kind, stamp.wall)));
        vec![Order::Send(Post {
            lane: key.clone(),
            key,
            change: Change::Note,
            severity: signal.severity,
        })]
    }

    fn trigger(&mut self, signal: &Signal, stamp: Stamp<'_>) -> Vec<Order> {
        let subject = signal.subject.to_string();
        if let Some(open) = self.open.get(&subject)
            && open.severity >= signal.severity
        {
            return Vec::new();
        }
        let storm = self.is_storm(stamp);
        let storm = storm.then(|| self.storm_post(signal, stamp));
        let open = self.open.entry(subject.clone()).or_insert_with(|| Open {
            agent: signal.agent.clone(),
            severity: signal.severity,
            keys: Vec::new(),
            since: stamp.wall,
        });
        open.severity = signal.severity;
        let order = match storm {
            Some(post) => Order::Count(post),
            None => Order::Send(Post {
                key: open.next_key(stamp.node, signal),
                lane: subject,
                change: Change::Trigger,
                severity: signal.severity,
            }),
        };
        let (Order::Send(post) | Order::Count(post)) = &order;
        if open.keys.last() != Some(&post.key) {
            open.keys.push(post.key.clone());
        }
        self.forget_the_oldest();
        vec![order]
    }

    /// Closes every key that was opened for the subject. People read one such message.
    fn resolve(&mut self, filter: &Filter, subject: &str) -> Vec<Order> {
        let Some(open) = self.open.remove(subject) else {
            return Vec::new();
        };
        // A storm's message is over with the last of those that it counted.
        let others = &self.open;
        let closes = |key: &&String| !others.values().any(|other| other.keys.contains(key));
        let keys: Vec<&String> = open.keys.iter().filter(closes).collect();
        let skipped = match filter.chat {
            true => keys.len().saturating_sub(1),
            false => 0,
        };
        let post = |key: &String| {
            Order::Send(Post {
                key: key.clone(),
                lane: match is_storms(key) {
                    true => key.clone(),
                    false => subject.to_owned(),
                },
                change: Change::Resolve,
                severity: open.severity,
            })
        };
        keys.into_iter().skip(skipped).map(post).collect()
    }

    /// Counts this message among the recent ones; whether they are too many by now.
    fn is_storm(&mut self, stamp: Stamp<'_>) -> bool {
        let is_old = |at: &Mono| stamp.now.since(*at) >= STORM_WINDOW;
        while self.recent.front().is_some_and(is_old) {
            self.recent.pop_front();
        }
        if self.recent.len() >= STORM_MAX {
            return true;
        }
        self.recent.push_back(stamp.now);
        self.storm = None;
        false
    }

    /// The message that counts, which collects for [`STORM_COLLECT`]; then comes the next one.
    fn storm_post(&mut self, signal: &Signal, stamp: Stamp<'_>) -> Post {
        let collects = |storm: &&mut Storm| stamp.now.since(storm.since) < STORM_COLLECT;
        let key = match self.storm.as_mut().filter(collects) {
            Some(storm) => storm.key.clone(),
            None => {
                let key = format!("osmoda/{}/storm/{}", short(stamp.node), stamp.wall.0);
                self.storm = Some(Storm {
                    key: key.clone(),
                    since: stamp.now,
                });
                key
            }
        };
        Post {
            lane: key.clone(),
            key,
            change: Change::Trigger,
            severity: signal.severity,
        }
    }

    fn forget_the_oldest(&mut self) {
        if self.open.len() <= OPEN_MAX {
            return;
        }
        let oldest = self.open.iter().min_by_key(|(_, open)| open.since);
        if let Some(subject) = oldest.map(|(subject, _)| subject.clone()) {
            self.open.remove(&subject);
        }
    }
}

impl Open {
    /// The first key is the subject's; a severity that rises afterwards has one of its own.
    fn next_key(&self, node: &str, signal: &Signal) -> String {
        let since = match signal.subject {
            Subject::Incident(_) => None,
            Subject::Agent(_) | Subject::Thing(_) => Some((signal.kind, self.since)),
        };
        let key = key(node, &signal.subject, since);
        match self.keys.is_empty() {
            true => key,
            false => format!("{key}/{:?}", signal.severity),
        }
    }
}

fn is_storms(key: &str) -> bool {
    key.split('/').nth(2) == Some("storm")
}

/// `osmoda/NODE/SUBJECT`, with the kind and the time where the subject can come again. What is
/// longer than [`KEY_MAX`] is cut, and its hash stands for the rest.
fn key(node: &str, subject: &Subject, when: Option<(EventKind, Wall)>) -> String {
    let mut key = format!("osmoda/{}/{subject}", short(node));
    if let Some((kind, wall)) = when {
        key.push_str(&format!("/{kind:?}/{}", wall.0));
    }
    if key.len() > KEY_MAX {
        let hash = Digest::of(key.as_bytes()).to_string();
        key.truncate(key.floor_char_boundary(KEY_MAX - 33));
        key.push('~');
        key.push_str(&hash[..32]);
    }
    key
}

fn short(node: &str) -> &str {
    &node[..node.floor_char_boundary(63)]
}
