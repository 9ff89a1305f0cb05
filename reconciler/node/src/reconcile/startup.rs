//! From a stopped daemon to a running one: remember, look, close what was left open, adopt.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use osmoda_core::{
    event::{
        ActionFailed, ActionKind, ActionSucceeded, Actor, Adopted, Event, GenerationActivated,
        NodeStarted, RollbackFailed, RollbackSucceeded,
    },
    memory::Memory,
    name::AgentName,
    observed::{Generation, Instance, InstanceState, InvocationId, Observation},
    plan::Record,
    time::{Mono, Wall},
};
use osmoda_ledger::{Cause, EntryRef};
use osmoda_nix::profiles::Profiles;
use osmoda_runtime::Runtime;
use serde_json::Value;

use super::{
    Reconciler,
    accept::{NODE_KEY, NODE_SPEC_KEY, NodeMemory, encode},
    agent::AgentState,
    journal::{Journal, StoredEntry},
    turn::agent_key,
};
use crate::error::chain;

/// Entries searched for intents without outcome. A turn has at most one intent per agent, and
/// outcomes follow within the agents' grace periods.
pub const TAIL: u64 = 16_384;

const FOUND_DONE: &str = "found done by the daemon that followed";
const LEFT_UNDONE: &str = "the daemon ended before it was done; the one that followed decides anew";

/// An intent whose outcome is not on record.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenIntent {
    /// Where it stands.
    pub reference: EntryRef,
    /// Whose.
    pub agent: AgentName,
    /// What was intended.
    pub action: ActionKind,
    /// The instance concerned.
    pub invocation: Option<InvocationId>,
    /// The manifest concerned, hex.
    pub digest: Option<String>,
    /// The generation that was to be made active again.
    pub to: Option<Generation>,
    /// The incident it belongs to.
    pub incident: Option<String>,
}

/// The newest open intent of each agent among `entries` (oldest first), and beside it that of a
/// bundle being made.
pub fn open_intents(entries: &[StoredEntry]) -> Vec<OpenIntent> {
    let mut open = BTreeMap::new();
    for StoredEntry { reference, entry } in entries {
        let Some(agent) = text(entry, "agent").and_then(|name| AgentName::new(name).ok()) else {
            continue;
        };
        match text(entry, "kind") {
            Some(kind @ ("ActionIntended" | "RollbackIntended")) => {
                let body = &entry["body"];
                let action = match kind {
                    "RollbackIntended" => Ok(ActionKind::Switch),
                    _ => serde_json::from_value(body["action"].clone()),
                };
                let Ok(action) = action else {
                    continue;
                };
                let intent = OpenIntent {
                    reference: reference.clone(),
                    agent: agent.clone(),
                    action,
                    invocation: text(body, "invocation")
                        .and_then(|i| InvocationId::from_hex(i).ok()),
                    digest: text(body, "digest").map(str::to_owned),
                    to: serde_json::from_value(body["to"].clone()).ok(),
                    incident: text(entry, "incident").map(str::to_owned),
                };
                open.insert((agent, action == ActionKind::Build), intent);
            }
            Some("ActionSucceeded" | "ActionFailed" | "RollbackSucceeded" | "RollbackFailed") => {
                let of = entry["causes"][0]["seq"].as_u64();
                open.retain(|(whose, _), intent: &mut OpenIntent| {
                    *whose != agent || Some(intent.reference.seq) != of
                });
            }
            _ => {}
        }
    }
    open.into_values().collect()
}

fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key).and_then(Value::as_str)
}

impl<R: Runtime, P: Profiles, J: Journal> Reconciler<R, P, J> {
    /// Takes over from the daemon before this one. The desired state is read afterwards.
    ///
    /// # Errors
    /// A sentence for people: what could not be read. Nothing was started or stopped.
    pub async fn restore(&mut self) -> Result<(), String> {
        let rebooted = self.remember()?;
        let instances = self
            .runtime
            .observe()
            .await
            .map_err(|error| chain(&error))?;
        let known = self.profiles.agents().map_err(|error| chain(&error))?;
        for name in known
            .into_iter()
            .chain(instances.iter().map(|i| i.agent.clone()))
        {
            self.agents.get_or_insert_with(name, AgentState::default);
        }
        let running: Vec<_> = instances
            .iter()
            .filter_map(|instance| match instance.state {
                InstanceState::Running { pid } => Some((instance, pid)),
                InstanceState::Exited(_) => None,
            })
            .collect();
        let started = NodeStarted {
            version: self.facts.version.clone(),
            runtime: self.facts.runtime.clone(),
            pid: self.facts.pid,
            adopted: running.len() as u64,
            rebooted,
        };
        self.turn
            .note(None, Actor::System, &Event::NodeStarted(started));
        self.put_node_memory();
        self.close_intents(&instances)?;
        let now = self.clock.mono();
        for (instance, pid) in running {
            let adopted = Adopted {
                invocation: instance.invocation,
                pid,
                generation: instance.generation.clone(),
                uptime_ms: u64::try_from(now.since(instance.started_at).as_millis())
                    .unwrap_or(u64::MAX),
            };
            self.turn.note(
                Some(&instance.agent),
                Actor::Reconciler,
                &Event::Adopted(adopted),
            );
        }
        Ok(())
    }

    /// Reads the durable memory back; says whether the machine was booted since.
    fn remember(&mut self) -> Result<bool, String> {
        let kept = self.recorder.journal.state(NODE_KEY)?;
        let spec = kept.get(NODE_SPEC_KEY);
        let spec = spec.and_then(|bytes| std::str::from_utf8(bytes).ok());
        self.node_spec = spec.map(Arc::from);
        let node: NodeMemory = kept
            .get(NODE_KEY)
            .and_then(|bytes| serde_json::from_slice(bytes).ok())
            .unwrap_or_default();
        let last = self.last_entry_at()?.max(node.alive_at);
        let rebooted = !node.boot.is_empty() && node.boot != self.clock.boot_id();
        self.all_paused = node.paused;
        for (key, bytes) in self.recorder.journal.state("agent/")? {
            let Some(name) = key
                .strip_prefix("agent/")
                .and_then(|n| AgentName::new(n).ok())
            else {
                continue;
            };
            let mut memory: Memory = serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::error!(agent = %name, error = %error, "memory of an agent cannot be read; it begins anew");
                Memory::default()
            });
            if rebooted {
                memory.rebooted(last);
                self.turn.put(key.clone(), encode(&memory));
            }
            let remembered = || AgentState::remembered(memory);
            self.agents.get_or_insert_with(name, remembered);
        }
        self.remember_system(rebooted, last)?;
        self.signs.due = Some(self.clock.mono()); // what is on probation goes on
        Ok(rebooted)
    }

    /// When the last entry was written, by the clock of its boot.
    fn last_entry_at(&mut self) -> Result<Mono, String> {
        let tail = self.recorder.journal.tail(1)?;
        let mono = tail.last().and_then(|last| text(&last.entry, "mono"));
        Ok(Mono(
            mono.and_then(|us| us.parse().ok()).unwrap_or_default(),
        ))
    }

    /// What was under way when the last daemon ended: found out now, and put on record. What was
    /// before its own beginning it has closed in the same commit as that.
    fn close_intents(&mut self, instances: &[Instance]) -> Result<(), String> {
        let tail = self.recorder.journal.since_start(TAIL)?;
        for intent in open_intents(&tail) {
            let name = intent.agent.clone();
            let Some(state) = self.agents.get_mut(&name) else {
                continue;
            };
            let instance = instances
                .iter()
                .find(|i| i.agent == name && intent.invocation == Some(i.invocation));
            let observed = state.observe(
                &name,
                &*self.runtime,
                &*self.profiles,
                self.detectors.board(),
            );
            let events = match intent.action {
                ActionKind::Start => close_start(&mut state.memory, &intent, instance),
                ActionKind::Stop => close_stop(&mut state.memory, &intent, instance),
                ActionKind::Activate => {
                    let active = match &observed.active {
                        Observation::Known(Some(active)) => Some(active),
                        _ => None,
                    };
                    close_activate(&mut state.memory, &intent, active)
                }
                ActionKind::Switch => {
                    let active = match &observed.active {
                        Observation::Known(Some(active)) => Some(active),
                        _ => None,
                    };
                    let times = (self.clock.mono(), self.clock.wall());
                    close_switch(&mut state.memory, &intent, active, times)
                }
                ActionKind::Build | ActionKind::Remove => vec![failed(&intent)],
            };
            let records: Vec<_> = events
                .into_iter()
                .map(|event| Record {
                    event,
                    incident: intent.incident.clone(),
                })
                .collect();
            let encoded = encode(&state.memory);
            let root = Cause::Known(intent.reference.clone());
            self.turn.records(&name, Some(root), &records);
            self.turn.put(agent_key(&name), encoded);
        }
        Ok(())
    }

    /// Names of all agents that are known, from whatever source.
    pub fn known(&self) -> BTreeSet<AgentName> {
        self.agents.keys().cloned().collect()
    }
}

fn close_start(
    memory: &mut Memory,
    intent: &OpenIntent,
    instance: Option<&Instance>,
) -> Vec<Event> {
    match instance {
        Some(instance) => {
            let pid = match instance.state {
                InstanceState::Running { pid } => Some(pid),
                InstanceState::Exited(_) => None,
            };
            memory.current = intent.invocation;
            vec![succeeded(intent, pid)]
        }
        None => {
            memory.never_ran();
            vec![failed(intent)]
        }
    }
}

fn close_stop(memory: &mut Memory, intent: &OpenIntent, instance: Option<&Instance>) -> Vec<Event> {
    match instance {
        Some(Instance {
            state: InstanceState::Running { .. },
            ..
        }) => vec![failed(intent)],
        Some(_) | None => {
            memory.accounted = intent.invocation; // its end was wanted
            vec![succeeded(intent, None)]
        }
    }
}

fn close_activate(
    memory: &mut Memory,
    intent: &OpenIntent,
    active: Option<&osmoda_core::plan::Active>,
) -> Vec<Event> {
    match active {
        Some(active) if Some(active.digest.to_string()) == intent.digest => {
            let previous = memory.active.replace(active.generation.clone());
            memory.acted = Some(active.digest);
            memory.restart = osmoda_core::restart::RestartMemory::default();
            memory.finished = None;
            let body = GenerationActivated {
                generation: active.generation.clone(),
                digest: active.digest,
                previous,
            };
            vec![succeeded(intent, None), Event::GenerationActivated(body)]
        }
        _ => vec![failed(intent)],
    }
}

/// The link may have been switched or not: it is what it is, and the plan goes on from there.
fn close_switch(
    memory: &mut Memory,
    intent: &OpenIntent,
    active: Option<&osmoda_core::plan::Active>,
    (now, wall): (Mono, Wall),
) -> Vec<Event> {
    let Some(to) = intent.to.clone() else {
        return vec![failed(intent)];
    };
    match active.filter(|active| active.generation == to) {
        Some(active) => {
            let back = memory.rollout.going_back.as_ref();
            let chosen = back.is_none_or(|back| back.because.is_none());
            let (digest, previous) = (active.digest, memory.active.replace(to.clone()));
            memory.rollout.activated(&to, digest, chosen, now, wall);
            memory.restart = osmoda_core::restart::RestartMemory::default();
            memory.finished = None;
            let succeeded = RollbackSucceeded {
                to: to.clone(),
                took_us: 0,
                note: FOUND_DONE.to_owned(),
            };
            let activated = GenerationActivated {
                generation: to,
                digest,
                previous,
            };
            vec![
                Event::RollbackSucceeded(succeeded),
                Event::GenerationActivated(activated),
            ]
        }
        None => vec![Event::RollbackFailed(RollbackFailed {
            to,
            message: LEFT_UNDONE.to_owned(),
        })],
    }
}

fn succeeded(intent: &OpenIntent, pid: Option<u32>) -> Event {
    Event::ActionSucceeded(ActionSucceeded {
        action: intent.action,
        invocation: intent.invocation,
        pid,
        exit: None,
        killed: false,
        took_us: 0,
        note: FOUND_DONE.to_owned(),
    })
}

fn failed(intent: &OpenIntent) -> Event {
    Event::ActionFailed(ActionFailed {
        action: intent.action,
        invocation: intent.invocation,
        message: LEFT_UNDONE.to_owned(),
        retry_after_ms: None,
    })
}
