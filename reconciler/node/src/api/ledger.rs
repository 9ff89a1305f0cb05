//! The ledger itself: its checkpoint, its key, proofs, and what operators may have done to it.
//!
//! What changes something is for those who may act, is written by the ledger with their name in
//! the entry, and when it is refused, that is on record too. Dropping many bodies can take
//! longer than an answer may: it then goes on after the caller was told to look again.

use osmoda_core::{
    event::{Actor, Event, OperatorCommand},
    time::Wall,
};
use osmoda_ledger::{
    Commit, Draft, Ledger, ProveError,
    store::{DropError, Dropped, SignError},
};
use osmoda_runtime::blocking::spawn_blocking;
use serde::de::DeserializeOwned;

use super::{
    actions::{check_reason, object, read_body},
    caller::Caller,
    limits::SEQ_MAX,
    respond::{self, Answer, Problem},
    route::LedgerVerb,
    server::Shared,
    source::EntrySource,
    types::{LedgerCheckpoint, LedgerDropped, LedgerKey, LedgerProof, PruneRequest, RedactRequest},
};
use crate::error::chain;

/// What an operator asked for, read and checked.
#[derive(Debug)]
enum Wanted {
    Checkpoint,
    Rotate,
    Prune(Wall),
    Redact(u64, String),
}

fn open(source: &dyn EntrySource) -> Result<Ledger, Problem> {
    let ledger = source.ledger().cloned();
    ledger.ok_or_else(|| Problem::not_found("this ledger is not one that can be operated"))
}

/// The last signed checkpoint.
pub(super) fn checkpoint(source: &dyn EntrySource) -> Result<LedgerCheckpoint, Problem> {
    let signed = open(source)?.checkpoints().borrow().clone();
    let signed = signed.map(|signed| LedgerCheckpoint {
        size: signed.checkpoint.size,
        signed_at: signed.signed_at.clone(),
        note: signed.note.clone(),
    });
    signed.ok_or_else(|| {
        Problem::not_found("no checkpoint was signed yet")
            .hint("`osmoda ledger checkpoint` signs one")
    })
}

/// The public key.
pub(super) fn key(source: &dyn EntrySource) -> Result<LedgerKey, Problem> {
    let key = open(source)?.key().map_err(unsigned)?;
    Ok(LedgerKey {
        key: key.to_string(),
        seq: None,
    })
}

/// Proof that the ledger holds an entry, from `seq=N`.
pub(super) fn proof(source: &dyn EntrySource, query: &str) -> Result<LedgerProof, Problem> {
    let seq = super::query::seq(query)?;
    let reader = open(source)?.reader();
    let proved = reader
        .map_err(ProveError::Read)
        .and_then(|reader| reader.prove(seq));
    match proved {
        Ok(proof) => Ok(LedgerProof {
            seq,
            proof: proof.to_string(),
        }),
        Err(error @ ProveError::Read(_)) => Err(Problem::internal(chain(&error))),
        Err(error) => Err(Problem::not_found(error.to_string())
            .hint("`osmoda ledger checkpoint` signs what there is")),
    }
}

/// Has something done to the ledger, or refuses it.
pub(super) async fn act<B>(
    shared: &Shared,
    caller: &Caller,
    verb: LedgerVerb,
    body: B,
) -> Result<Answer, Problem>
where
    B: hyper::body::Body<Data = hyper::body::Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let ledger = open(&*shared.ledger)?;
    if let Err(refusal) = shared.authorizer.may_act(caller) {
        let actor = caller.actor();
        let write = move |attempts| {
            // The refusal stands whether or not it can be recorded.
            let write = async move { ledger.append(refused(verb, actor, attempts)).await.ok() };
            drop(tokio::spawn(write));
        };
        return Err(shared.refuse(caller, verb.name(), refusal, Box::new(write)));
    }
    let wanted = read(verb, &read_body(body).await?)?;
    let actor = caller.actor();
    let done = spawn_blocking(move || carry_out(&ledger, wanted, actor)).await;
    done.map_err(|_| Problem::internal("the request ended in a panic"))?
}

fn refused(verb: LedgerVerb, actor: Actor, attempts: u64) -> Commit {
    let event = Event::OperatorCommand(OperatorCommand {
        verb: verb.name().to_owned(),
        reason: String::new(),
        accepted: false,
        attempts: (attempts > 1).then_some(attempts),
    });
    // A struct of texts always becomes an object.
    let body = serde_json::to_value(&event).ok();
    let body = body
        .and_then(|body| body.as_object().cloned())
        .unwrap_or_default();
    Commit {
        entries: vec![Draft {
            kind: event.kind(),
            agent: None,
            incident: None,
            causes: Vec::new(),
            actor,
            body,
        }],
        state: Vec::new(),
    }
}

fn read(verb: LedgerVerb, body: &[u8]) -> Result<Wanted, Problem> {
    fn parse<T: DeserializeOwned>(body: &[u8], form: &str) -> Result<T, Problem> {
        object(body).map_err(|problem| problem.hint(format!("it takes {form}")))
    }
    match verb {
        LedgerVerb::Checkpoint => Ok(Wanted::Checkpoint),
        LedgerVerb::Rotate => Ok(Wanted::Rotate),
        LedgerVerb::Prune => {
            let request: PruneRequest = parse(body, "{\"before\": \"2026-01-31T12:00:00Z\"}")?;
            let time: Result<jiff::Timestamp, _> = request.before.parse();
            let time =
                time.map_err(|_| Problem::invalid(format!("{:?} is no time", request.before)))?;
            Ok(Wanted::Prune(Wall(time.as_microsecond())))
        }
        LedgerVerb::Redact => {
            let request: RedactRequest = parse(body, "{\"seq\": 7, \"reason\": \"why\"}")?;
            check_reason(&request.reason)?;
            if request.seq > SEQ_MAX {
                let message = format!("no entry has the number {}", request.seq);
                return Err(Problem::invalid(message));
            }
            Ok(Wanted::Redact(request.seq, request.reason))
        }
    }
}

/// Blocks until it is durable.
fn carry_out(ledger: &Ledger, wanted: Wanted, actor: Actor) -> Result<Answer, Problem> {
    match wanted {
        Wanted::Checkpoint => {
            let signed = ledger.checkpoint().map_err(unsigned)?;
            Ok(respond::found(&LedgerCheckpoint {
                size: signed.checkpoint.size,
                signed_at: signed.signed_at.clone(),
                note: signed.note.clone(),
            }))
        }
        Wanted::Rotate => {
            let (key, appended) = ledger.rotate_key(actor).map_err(unsigned)?;
            Ok(respond::found(&LedgerKey {
                key: key.to_string(),
                seq: Some(appended.reference.seq),
            }))
        }
        Wanted::Prune(before) => ledger.prune(before, actor).map(told).map_err(undropped),
        Wanted::Redact(seq, reason) => ledger
            .redact(seq, reason, actor)
            .map(told)
            .map_err(undropped),
    }
}

fn told(dropped: Dropped) -> Answer {
    respond::found(&LedgerDropped::from(dropped))
}

fn unsigned(error: SignError) -> Problem {
    match error {
        SignError::Commit(error) if error.is_retryable() => {
            Problem::unavailable(chain(&error)).hint("try again when the ledger can be written")
        }
        error => Problem::internal(chain(&error)),
    }
}

fn undropped(error: DropError) -> Problem {
    match error {
        DropError::NoBody(_) | DropError::NothingBefore(_) => Problem::not_found(error.to_string()),
        DropError::Needed { .. } => Problem::invalid(error.to_string()),
        DropError::Busy => Problem::unavailable(error.to_string()),
        DropError::Commit(error) if error.is_retryable() => {
            Problem::unavailable(chain(&error)).hint("try again when the ledger can be written")
        }
        error => Problem::internal(chain(&error)),
    }
}
