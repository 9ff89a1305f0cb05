//! Turns a draft into the bytes of an entry, in one pass and in the order of its keys.
//!
//! Keys are written in ASCII order, as RFC 8785 wants: actor, agent, body, boot, causes, id,
//! incident, kind, mono, node, seq, ts, v.

use std::{fmt, io::Write as _};

use osmoda_core::{
    event::Actor,
    time::{Mono, Wall},
};
use serde_json::{Map, Value};

use super::{Draft, DraftFault, ENTRY_VERSION, EntryRef, MAX_COMMAND, fit};
use crate::{
    canonical::{MAX_ENTRY, MAX_STRING, write_entry_object, write_string},
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

/// Appends the first part of an entry, from the opening brace to the end of its body: what can be
/// written without knowing where the entry will stand.
pub(super) fn begin(
    out: &mut Vec<u8>,
    draft: &Draft,
    scrubber: &Scrubber,
) -> Result<(), DraftFault> {
    head(out, draft, scrubber);
    write_body(out, &fit::body(&draft.body, scrubber, MAX_STRING))
}

/// Appends the canonical bytes of the entry, at most [`MAX_ENTRY`] of them, that begins as
/// [`begin`] has written it.
pub(crate) fn write(
    out: &mut Vec<u8>,
    beginning: &[u8],
    draft: &Draft,
    context: &Context<'_>,
) -> Result<(), DraftFault> {
    let start = out.len();
    out.extend_from_slice(beginning);
    tail(out, draft, context)?;
    let mut shorter = fit::SHORTER_LIMITS.iter();
    while out.len() - start > MAX_ENTRY {
        out.truncate(start);
        head(out, draft, context.scrubber);
        let Some(limit) = shorter.next() else {
            write_body(out, &fit::body_as_text(&draft.body, context.scrubber))?;
            tail(out, draft, context)?;
            break;
        };
        write_body(out, &fit::body(&draft.body, context.scrubber, *limit))?;
        tail(out, draft, context)?;
    }
    if out.len() - start > MAX_ENTRY {
        let fault = "its envelope leaves no room for a body";
        return Err(DraftFault::Canonical(fault.into()));
    }
    Ok(())
}

/// The body is at the second level of the entry.
fn write_body(out: &mut Vec<u8>, body: &Map<String, Value>) -> Result<(), DraftFault> {
    write_entry_object(out, body, 2).map_err(|error| DraftFault::Canonical(error.to_string()))
}

/// From the opening brace to the key `body`.
fn head(out: &mut Vec<u8>, draft: &Draft, scrubber: &Scrubber) {
    out.extend_from_slice(b"{\"actor\":");
    write_actor(out, &draft.actor, scrubber);
    if let Some(agent) = &draft.agent {
        out.extend_from_slice(b",\"agent\":");
        write_string(out, agent.as_str());
    }
    out.extend_from_slice(b",\"body\":");
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
            put(
                out,
                format_args!(r#","gid":{gid},"pid":{pid},"type":"Operator","uid":{uid}}}"#),
            );
        }
    }
}

/// From the key `boot` to the closing brace.
fn tail(out: &mut Vec<u8>, draft: &Draft, context: &Context<'_>) -> Result<(), DraftFault> {
    out.extend_from_slice(b",\"boot\":");
    write_string(out, context.boot);
    out.extend_from_slice(b",\"causes\":");
    write_causes(out, context.causes);
    out.extend_from_slice(b",\"id\":");
    write_string(out, context.id);
    if let Some(incident) = context.incident {
        out.extend_from_slice(b",\"incident\":");
        write_string(out, incident);
    }
    out.extend_from_slice(b",\"kind\":");
    serde_json::to_writer(&mut *out, &draft.kind)
        .map_err(|error| DraftFault::Canonical(error.to_string()))?;
    put(out, format_args!(r#","mono":"{}","node":"#, context.mono.0));
    write_string(out, context.node);
    let (seq, ts) = (context.seq, context.ts);
    put(
        out,
        format_args!(r#","seq":{seq},"ts":"{ts}","v":{ENTRY_VERSION}}}"#),
    );
    Ok(())
}

fn write_causes(out: &mut Vec<u8>, causes: &[EntryRef]) {
    out.push(b'[');
    for (index, cause) in causes.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        put(out, format_args!(r#"{{"leaf":"{}","log":"#, cause.leaf));
        write_string(out, &cause.log);
        put(out, format_args!(r#","seq":{}}}"#, cause.seq));
    }
    out.push(b']');
}

/// Memory takes whatever it is given.
fn put(out: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}
