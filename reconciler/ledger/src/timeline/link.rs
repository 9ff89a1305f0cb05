//! What an entry says of others: the facts that decide where it goes.

use osmoda_core::{digest::Digest, time::Wall};
use serde::Deserialize;

use crate::entry::Envelope;

/// What merging needs to know of an entry. Empty where the body was dropped or is no entry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    pub ts: Option<Wall>,
    pub agent: Option<String>,
    pub incident: Option<String>,
    /// Entries that it names as having come before it.
    pub links: Vec<Link>,
}

/// An entry of some log that another one names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub log: String,
    pub seq: u64,
    pub is: Identity,
}

/// How a link says which entry it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Identity {
    /// Its leaf hash.
    Leaf(Digest),
    /// The chain value after it.
    Chain(Digest),
}

#[derive(Deserialize)]
struct Causes {
    causes: Vec<Cause>,
}

#[derive(Deserialize)]
struct Cause {
    log: String,
    seq: u64,
    leaf: Digest,
}

#[derive(Deserialize)]
struct Reset {
    body: ResetBody,
}

/// Body of LogReset, as far as it names the old log.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResetBody {
    origin: String,
    last_good_seq: u64,
    last_good_chain: Digest,
}

impl Facts {
    /// Reads the stored bytes of an entry.
    pub(crate) fn of(body: Option<&[u8]>) -> Self {
        let Some((body, entry)) = body.and_then(|body| Some((body, Envelope::parse(body).ok()?)))
        else {
            return Self::default();
        };
        let causes = serde_json::from_slice::<Causes>(body).map(|entry| entry.causes);
        let mut links: Vec<_> = causes.into_iter().flatten().map(Link::from).collect();
        if entry.kind == "LogReset"
            && let Ok(Reset { body }) = serde_json::from_slice(body)
        {
            links.push(Link {
                log: body.origin,
                seq: body.last_good_seq,
                is: Identity::Chain(body.last_good_chain),
            });
        }
        Self {
            ts: Some(entry.ts),
            agent: entry.agent.map(str::to_owned),
            incident: entry.incident.map(str::to_owned),
            links,
        }
    }
}

impl From<Cause> for Link {
    fn from(cause: Cause) -> Self {
        Self {
            log: cause.log,
            seq: cause.seq,
            is: Identity::Leaf(cause.leaf),
        }
    }
}
