//! Turns a draft into the bytes of an entry, in one pass and in the order of its keys.
//!
//! Keys are written in ASCII order, as RFC 8785 wants: actor, agent, body, boot, causes, id,
//! incident, kind, mono, node, seq, ts, v.

use osmoda_core::{
    event::Actor,
    time::{Mono, Wall},
};
use serde_json::{Map, Value};

use super::{Draft, DraftFault, ENTRY_VERSION, EntryRef, MAX_COMMAND, fit};
use crate::{
    canonical::{MAX_ENTRY, write_entry_object, write_string},
    scrub::Scrubber,
};

/// What the store knows of an entry and its author does not.
pub(crate) struct Context<'a> {
    pub seq: u64,
    pub id: &'a str,
    pub incident: Option<&'a str>,
    pub causes: &'a [EntryRef],
    pub ts: Wall,
    pub mono: Mono,
    pub boot: &'a str,
    pub node: &'a str,
    pub scrubber: &'a Scrubber,
}

/// The canonical bytes of the entry, at most [`MAX_ENTRY`] of them.
pub(crate) fn write(draft: &Draft, context: &Context<'_>) -> Result<Vec<u8>, DraftFault> {
    let head = head(draft, context);
    let tail = tail(draft, context)?;
    for string_max in fit::STRING_LIMITS {
        let body = fit::body(&draft.body, context.scrubber, string_max);
        if let Some(entry) = assemble(&head, &body, &tail)? {
            return Ok(entry);
        }
    }
    let body = fit::body_as_text(&draft.body, context.scrubber);
    let fault = || DraftFault::Canonical("its envelope leaves no room for a body".into());
    assemble(&head, &body, &tail)?.ok_or_else(fault)
}

/// `None` if the whole is too long.
fn assemble(
    head: &[u8],
    body: &Map<String, Value>,
    tail: &[u8],
) -> Result<Option<Vec<u8>>, DraftFault> {
    let mut entry = Vec::with_capacity(1024);
    entry.extend_from_slice(head);
    write_entry_object(&mut entry, body, 2)
        .map_err(|error| DraftFault::Canonical(error.to_string()))?;
    entry.extend_from_slice(tail);
    Ok((entry.len() <= MAX_ENTRY).then_some(entry))
}

/// From the opening brace to the key `body`.
fn head(draft: &Draft, context: &Context<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    out.extend_from_slice(b"{\"actor\":");
    write_actor(&mut out, &draft.actor, context.scrubber);
    if let Some(agent) = &draft.agent {
        out.extend_from_slice(b",\"agent\":");
        write_string(&mut out, agent.as_str());
    }
    out.extend_from_slice(b",\"body\":");
    out
}

fn write_actor(out: &mut Vec<u8>, actor: &Actor, scrubber: &Scrubber) {
    match actor {
        Actor::Reconciler => out.extend_from_slice(br#"{"type":"Reconciler"}"#),
        Actor::System => out.extend_from_slice(br#"{"type":"System"}"#),
        Actor::Operator {
            uid,
            gid,
            pid,
            command,
        } => {
            let command = scrubber.scrub(command);
            out.extend_from_slice(b"{\"command\":");
            write_string(out, &command[..command.floor_char_boundary(MAX_COMMAND)]);
            let rest = format!(r#","gid":{gid},"pid":{pid},"type":"Operator","uid":{uid}}}"#);
            out.extend_from_slice(rest.as_bytes());
        }
    }
}

/// From the key `boot` to the closing brace.
fn tail(draft: &Draft, context: &Context<'_>) -> Result<Vec<u8>, DraftFault> {
    let kind = serde_json::to_string(&draft.kind);
    let kind = kind.map_err(|error| DraftFault::Canonical(error.to_string()))?;
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(b",\"boot\":");
    write_string(&mut out, context.boot);
    out.extend_from_slice(b",\"causes\":");
    write_causes(&mut out, context.causes);
    out.extend_from_slice(b",\"id\":");
    write_string(&mut out, context.id);
    if let Some(incident) = context.incident {
        out.extend_from_slice(b",\"incident\":");
        write_string(&mut out, incident);
    }
    out.extend_from_slice(b",\"kind\":");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(format!(",\"mono\":\"{}\",\"node\":", context.mono.0).as_bytes());
    write_string(&mut out, context.node);
    let (seq, ts) = (context.seq, context.ts);
    let rest = format!(r#","seq":{seq},"ts":"{ts}","v":{ENTRY_VERSION}}}"#);
    out.extend_from_slice(rest.as_bytes());
    Ok(out)
}

fn write_causes(out: &mut Vec<u8>, causes: &[EntryRef]) {
    out.push(b'[');
    for (index, cause) in causes.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(format!("{{\"leaf\":\"{}\",\"log\":", cause.leaf).as_bytes());
        write_string(out, &cause.log);
        out.extend_from_slice(format!(",\"seq\":{}}}", cause.seq).as_bytes());
    }
    out.push(b']');
}
