//! Taking messages in: what each one changes of what the loop knows.

use osmoda_core::{
    event::{Actor, Event, OperatorCommand, PauseChange},
    memory::{Paused, StartFailure, StartFailureKind},
    name::AgentName,
    observed::{Instance, InvocationId, Observation},
    outcome::{Done, Outcome, settle},
    plan::Action,
    time::Mono,
};
use osmoda_ledger::{Appended, Cause};
use osmoda_nix::profiles::Profiles;
use osmoda_runtime::{Runtime, RuntimeEvent};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::{
    Reconciler,
    agent::{AgentState, Desire},
    ending::Ending,
    journal::Journal,
    message::Message,
    turn::agent_key,
};
use crate::{
    api::types::Accepted,
    handle::{Command, CommandError, Query},
};

/// Every so many looks at everything an agent is planned anew, whatever the look found of it.
const WHOLE_RESYNC: usize = 20;

/// Key of the node's memory in the state table.
pub const NODE_KEY: &str = "node";

/// Key of the manifest of the Node in force, in the state table.
pub const NODE_SPEC_KEY: &str = "node/spec";

/// What is remembered of the node as a whole. Durable.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeMemory {
    /// Boot id of the daemon's last start.
    pub boot: String,
    /// All agents are paused.
    pub paused: Option<Paused>,
    /// When this was written, by the clock of that boot.
    pub alive_at: Mono,
}

/// A command that waits for its record.
#[derive(Debug)]
pub struct Reply {
    index: usize,
    to: oneshot::Sender<Result<Accepted, CommandError>>,
}

/// State as it is stored.
pub fn encode(state: &impl Serialize) -> Vec<u8> {
    // Structs of text, numbers and lists with text keys always serialize.
    serde_json::to_vec(state).unwrap_or_default()
}

impl<R: Runtime, P: Profiles, J: Journal> Reconciler<R, P, J> {
    pub(super) fn accept_event(&mut self, event: RuntimeEvent) {
        match event {
            RuntimeEvent::Changed(agent) => {
                // Late news of an agent that has been removed since is news of nobody.
                let known = self.agents.contains_key(&agent);
                if known || self.runtime.inspect(&agent) != Observation::Known(None) {
                    self.discover(agent);
                }
            }
        }
    }

    pub(super) fn accept(&mut self, message: Message) {
        match message {
            Message::Specs(read) => self.accept_specs(read),
            Message::Command {
                command,
                actor,
                reply,
            } => {
                self.accept_command(command, actor, reply);
            }
            Message::Refused {
                command,
                actor,
                attempts,
            } => {
                let more = (attempts > 1).then_some(attempts);
                self.note_attempts(&command, actor, false, more);
            }
            Message::Query(query) => self.answer_query(query),
            Message::Shutdown {
                reason,
                keep_agents,
            } => {
                self.ending = Some(Ending {
                    reason,
                    keep_agents,
                    over: false,
                });
                self.mark_all();
            }
        }
    }

    pub(super) fn accept_resynced(&mut self, found: Result<Vec<Instance>, String>) {
        let mut found = match found {
            Ok(found) => found,
            Err(why) => {
                tracing::warn!(reason = %why, "the runtime could not be asked; nothing is done on a guess");
                return;
            }
        };
        found.sort_by(|a, b| a.agent.cmp(&b.agent));
        self.resyncs = self.resyncs.wrapping_add(1);
        let mut instances = found.iter().peekable();
        let mut turn = self.resyncs;
        for (name, state) in self.agents.iter() {
            turn = turn.wrapping_add(1);
            while instances
                .next_if(|instance| instance.agent < *name)
                .is_some()
            {}
            let instance = instances.next_if(|instance| instance.agent == *name);
            let whole = turn.is_multiple_of(WHOLE_RESYNC);
            if whole || !state.was_planned_with(name, instance, &*self.profiles) {
                self.dirty.insert(name.clone());
            }
        }
        for instance in found {
            if !self.agents.contains_key(&instance.agent) {
                self.discover(instance.agent);
            }
        }
    }

    /// An agent that the runtime knows. Once specs have been read, one that is in none of them
    /// is to be absent.
    fn discover(&mut self, agent: AgentName) {
        let desire = if self.specs_read {
            Desire::Absent
        } else {
            Desire::Unread
        };
        let new = || AgentState {
            desire,
            ..AgentState::default()
        };
        self.agents.get_or_insert_with(agent.clone(), new);
        self.dirty.insert(agent);
    }

    pub(super) fn mark(&mut self, agent: AgentName) {
        self.dirty.insert(agent);
    }

    pub(super) fn mark_all(&mut self) {
        self.dirty.extend(self.agents.keys().cloned());
    }

    /// An action ended: draw the conclusions, and put them on record with the next turn.
    pub(super) fn accept_done(
        &mut self,
        name: &AgentName,
        invocation: Option<InvocationId>,
        outcome: &Outcome,
    ) {
        let fresh = (self.ids)();
        let (mut failed_way, mut refused) = (None, None);
        let Some(state) = self.agents.get_mut(name) else {
            return;
        };
        let Some(flight) = state
            .in_flight
            .take_if(|flight| flight.action.invocation() == invocation)
        else {
            return;
        };
        let settled = settle(
            &state.memory,
            &Done {
                action: &flight.action,
                outcome,
                since: flight.since,
                fresh,
                now: self.clock.mono(),
                wall: self.clock.wall(),
            },
        );
        state.hold_until = settled.hold_until;
        if matches!(flight.action, Action::Activate { .. }) && matches!(outcome, Outcome::Failed(_))
        {
            state.bundle = None; // a collector may have been faster: it is seen to anew
        }
        if let Outcome::NotStarted(StartFailure { message, .. })
        | Outcome::AlreadyRunning(message)
        | Outcome::Unusable(message)
        | Outcome::Failed(message) = outcome
        {
            tracing::warn!(agent = %name, action = ?flight.action.kind(), reason = %message, "action failed");
        }
        self.turn
            .records(name, flight.intent.map(Cause::Known), &settled.records);
        if let (Action::Switch { to, .. }, Outcome::Unusable(_) | Outcome::Failed(_)) =
            (&flight.action, outcome)
        {
            failed_way = Some(to.clone());
        }
        if let (Action::Start { generation, .. }, Outcome::NotStarted(failure)) =
            (&flight.action, outcome)
            && failure.kind == StartFailureKind::Bundle
        {
            refused = Some(generation.clone());
        }
        (settled.records.iter()).for_each(|record| self.meters.note(name, &record.event));
        if *outcome == Outcome::Removed {
            self.turn.delete(agent_key(name));
            self.forget(name);
        } else if state.memory != settled.memory {
            state.memory = settled.memory;
            self.signs.note(&state.memory, self.clock.mono());
            self.turn.put(agent_key(name), encode(&state.memory));
        }
        if let Some(generation) = failed_way {
            self.hash_closure(name, generation, "RollbackFailed");
        }
        if let Some(generation) = refused {
            self.hash_refused(name, generation);
        }
        self.mark_again(name);
        if self.ending.is_some() {
            self.mark_all(); // whose dependents are gone may be stopped now
        }
    }

    /// A removed agent is gone, unless it was declared again in the meantime.
    fn forget(&mut self, name: &AgentName) {
        self.set_timer(name, None);
        self.meters.forget(name);
        let removed = self.agents.remove(name);
        self.detectors.board().forget(name);
        let Some(state) = removed else {
            return;
        };
        if state.desire.present().is_some() {
            let again = AgentState {
                desire: state.desire,
                file: state.file,
                recipe: state.recipe,
                ..AgentState::default()
            };
            self.agents.get_or_insert_with(name.clone(), || again);
        }
    }

    fn mark_again(&mut self, name: &AgentName) {
        if self.agents.contains_key(name) {
            self.dirty.insert(name.clone());
        }
    }

    fn accept_command(
        &mut self,
        command: Command,
        actor: Actor,
        reply: oneshot::Sender<Result<Accepted, CommandError>>,
    ) {
        if let Some(agent) = command.agent()
            && !self.agents.contains_key(agent)
        {
            // Nobody waits any longer: nothing is lost with the answer.
            let _ = reply.send(Err(CommandError::NoSuchAgent(agent.clone())));
            return;
        }
        let mut system_way = None;
        let way_back = match &command {
            Command::RollbackSystem { to } => match self.system_way_back(*to) {
                Ok(to) => {
                    system_way = Some(to);
                    None
                }
                Err(why) => {
                    self.note_command(&command, actor, false);
                    let _ = reply.send(Err(why)); // as above
                    return;
                }
            },
            Command::VerifySystem if self.system.edge().is_none() => {
                let why = "there is no system to verify: this is not NixOS".to_owned();
                self.note_command(&command, actor, false);
                let _ = reply.send(Err(CommandError::Impossible(why))); // as above
                return;
            }
            Command::Rollback { agent, to } => match self.way_back(agent, *to) {
                Ok(back) => Some(back),
                Err(why) => {
                    self.note_command(&command, actor, false);
                    let _ = reply.send(Err(why)); // as above
                    return;
                }
            },
            _ => None,
        };
        let uid = match &actor {
            Actor::Operator { uid, .. } => *uid,
            Actor::Reconciler | Actor::System => 0,
        };
        let index = self.note_command(&command, actor.clone(), true);
        self.replies.push(Reply { index, to: reply });
        // Somebody is at it: what has failed is not waited for any longer.
        if let Some(state) = command.agent().and_then(|agent| self.agents.get_mut(agent)) {
            state.try_again();
        }
        match command {
            Command::Restart { agent } => {
                self.change_memory(&agent, |memory| memory.restart_requested = true);
            }
            Command::Verify { agent } => self.hash_all(&agent),
            Command::VerifySystem => self.hash_all_systems(),
            Command::RollbackSystem { .. } => {
                if let Some(to) = system_way {
                    self.roll_back_system(to);
                }
            }
            Command::Rollback { agent, .. } => {
                let desired = self.agents.get(&agent).and_then(|s| s.desire.present());
                let acted = desired.map(|desired| desired.digest);
                self.change_memory(&agent, |memory| {
                    memory.acted = acted.or(memory.acted);
                    memory.rollout.going_back = way_back;
                });
            }
            Command::Pause { agent, reason } => {
                let paused = Paused {
                    reason: reason.clone(),
                    uid,
                    at: self.clock.wall(),
                };
                self.set_pause(agent.as_ref(), Some(paused), &actor, reason);
            }
            Command::Resume { agent } => {
                self.set_pause(agent.as_ref(), None, &actor, String::new());
            }
        }
    }

    fn note_command(&mut self, command: &Command, actor: Actor, accepted: bool) -> usize {
        self.note_attempts(command, actor, accepted, None)
    }

    fn note_attempts(
        &mut self,
        command: &Command,
        actor: Actor,
        accepted: bool,
        attempts: Option<u64>,
    ) -> usize {
        let reason = match command {
            Command::Pause { reason, .. } => reason.clone(),
            Command::Rollback { to: Some(to), .. } | Command::RollbackSystem { to: Some(to) } => {
                format!("to generation {to}")
            }
            Command::Restart { .. }
            | Command::Rollback { .. }
            | Command::Resume { .. }
            | Command::RollbackSystem { .. }
            | Command::VerifySystem
            | Command::Verify { .. } => String::new(),
        };
        let body = OperatorCommand {
            verb: command.verb().to_owned(),
            reason,
            accepted,
            attempts,
        };
        self.turn
            .note(command.agent(), actor, &Event::OperatorCommand(body))
    }

    fn set_pause(
        &mut self,
        agent: Option<&AgentName>,
        paused: Option<Paused>,
        actor: &Actor,
        reason: String,
    ) {
        let change = PauseChange {
            reason,
            all: agent.is_none(),
        };
        let event = if paused.is_some() {
            Event::Paused(change)
        } else {
            Event::Resumed(change)
        };
        self.turn.note(agent, actor.clone(), &event);
        match agent {
            Some(agent) => self.change_memory(agent, |memory| memory.paused = paused),
            None => {
                self.all_paused = paused;
                self.put_node_memory();
                self.mark_all();
            }
        }
    }

    pub(super) fn put_node_memory(&mut self) {
        let memory = NodeMemory {
            boot: self.clock.boot_id().to_owned(),
            paused: self.all_paused.clone(),
            alive_at: self.clock.mono(),
        };
        self.turn.put(NODE_KEY.to_owned(), encode(&memory));
    }

    pub(super) fn change_memory(
        &mut self,
        name: &AgentName,
        change: impl FnOnce(&mut osmoda_core::memory::Memory),
    ) {
        if let Some(state) = self.agents.get_mut(name) {
            change(&mut state.memory);
            self.turn.put(agent_key(name), encode(&state.memory));
            self.mark_again(name);
        }
    }

    /// Answers the commands of this turn, now that they are on record.
    pub(super) fn answer(&mut self, appended: Option<&[Appended]>) {
        for reply in self.replies.drain(..) {
            let seq = appended
                .and_then(|all| all.get(reply.index))
                .map(|a| a.reference.seq);
            // Nobody waits any longer: nothing is lost with the answer.
            let _ = reply.to.send(Ok(Accepted {
                accepted: true,
                seq,
            }));
        }
    }

    /// Nobody waits for an answer any longer when sending it fails.
    fn answer_query(&mut self, query: Query) {
        match query {
            Query::Ping(to) => drop(to.send(())),
            Query::Status(to) => drop(to.send(self.report_status())),
            Query::Summary(to) => drop(to.send(self.report_summary())),
            Query::Agent(name, to) => drop(to.send(self.report_agent(&name))),
            Query::Generations(name, to) => drop(to.send(self.report_generations(&name))),
            Query::SystemGenerations(to) => drop(to.send(self.report_system_generations())),
            Query::Diff(limits, to) => drop(to.send(self.report_diff(&limits))),
            Query::Plan(specs, to) => drop(to.send(self.report_plan(specs.as_deref()))),
        }
    }
}
