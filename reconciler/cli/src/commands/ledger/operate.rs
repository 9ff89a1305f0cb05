//! Has something done to the ledger: by the daemon if one runs, else directly, under the lock
//! that a daemon would hold.

use std::path::{Path, PathBuf};

use osmoda_core::{event::Actor, time::Wall};
use osmoda_ledger::{Ledger, store::DropError};
use osmoda_node::{
    api::types::{LedgerCheckpoint, LedgerDropped, LedgerKey},
    daemon::{DaemonError, OfflineLedger},
    error::chain,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::super::{client, follow, on_runtime, paths};
use crate::{
    args::{Global, Output},
    failure::{Answer, Failure, Outcome, UNREACHABLE},
    output,
};

/// `osmoda ledger checkpoint`.
pub fn checkpoint(global: &Global, file: Option<PathBuf>, output: Output) -> Outcome {
    let request = ("/v1/ledger/checkpoint", json!({}));
    let signed: LedgerCheckpoint = done(global, file.as_deref(), request, |ledger, _| {
        let signed = ledger.checkpoint().map_err(failed)?;
        Ok(LedgerCheckpoint {
            size: signed.checkpoint.size,
            signed_at: signed.signed_at.clone(),
            note: signed.note.clone(),
        })
    })?;
    tell(output, &signed, &signed.note)
}

/// `osmoda ledger key`.
pub fn key(global: &Global, file: Option<PathBuf>, rotate: bool, output: Output) -> Outcome {
    if !rotate {
        let path = super::chosen(global, file)?;
        let head = super::reader(&path)?
            .head()
            .map_err(|error| super::unreadable(&path, &error))?;
        let secret = paths(global)?.ledger_key();
        let found = osmoda_ledger::sign::key_file::verifier(&secret, &head.origin);
        let key = match found.map_err(failed)? {
            Some(key) => key.to_string(),
            None => {
                return Err(
                    Failure::usage(format!("there is no key at {}", secret.display()))
                        .hint("the first start of `osmoda run` makes it"),
                );
            }
        };
        let text = format!("{key}\n");
        return tell(output, &LedgerKey { key, seq: None }, &text);
    }
    let request = ("/v1/ledger/key/rotate", json!({}));
    let changed: LedgerKey = done(global, file.as_deref(), request, |ledger, actor| {
        let (key, appended) = ledger.rotate_key(actor).map_err(failed)?;
        Ok(LedgerKey {
            key: key.to_string(),
            seq: Some(appended.reference.seq),
        })
    })?;
    let text = format!("{}\n", changed.key);
    tell(output, &changed, &text)
}

/// `osmoda ledger prune`.
pub fn prune(global: &Global, file: Option<PathBuf>, before: &str, output: Output) -> Outcome {
    let before: Wall = follow::time(before)?;
    let request = ("/v1/ledger/prune", json!({"before": before.to_string()}));
    let dropped = done(global, file.as_deref(), request, |ledger, actor| {
        ledger
            .prune(before, actor)
            .map(LedgerDropped::from)
            .map_err(undropped)
    })?;
    tell_dropped(output, &dropped)
}

/// `osmoda ledger redact`.
pub fn redact(
    global: &Global,
    file: Option<PathBuf>,
    seq: u64,
    reason: String,
    output: Output,
) -> Outcome {
    let request = ("/v1/ledger/redact", json!({"seq": seq, "reason": reason}));
    let dropped = done(global, file.as_deref(), request, |ledger, actor| {
        ledger
            .redact(seq, reason.clone(), actor)
            .map(LedgerDropped::from)
            .map_err(undropped)
    })?;
    tell_dropped(output, &dropped)
}

fn tell_dropped(output: Output, dropped: &LedgerDropped) -> Outcome {
    let LedgerDropped {
        seq,
        first_seq,
        last_seq,
        ..
    } = dropped;
    let what = match first_seq == last_seq {
        true => format!("what entry {first_seq} said is gone"),
        false => format!("what entries {first_seq} to {last_seq} said is gone"),
    };
    let rest = match dropped.log_emptied {
        true => "",
        false => "; a reader still holds a copy in the write-ahead log, which is overwritten later",
    };
    tell(
        output,
        dropped,
        &format!("{what} (ledger entry {seq}){rest}\n"),
    )
}

fn tell(output: Output, object: &impl Serialize, text: &str) -> Outcome {
    match output.output {
        Some(format) => output::object(format, object)?,
        None => output::print(text)?,
    }
    Ok(Answer::Yes)
}

fn failed(error: impl std::error::Error) -> Failure {
    Failure::internal(chain(&error))
}

/// With the exit code that the daemon's answer would have.
fn undropped(error: DropError) -> Failure {
    match error {
        DropError::NoBody(_) | DropError::NothingBefore(_) | DropError::Needed { .. } => {
            Failure::usage(error.to_string())
        }
        error => failed(error),
    }
}

/// Asks the daemon; where none answers, does it here.
fn done<T: DeserializeOwned>(
    global: &Global,
    file: Option<&Path>,
    (path, body): (&str, Value),
    offline: impl FnOnce(&Ledger, Actor) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let mut result = None;
    on_runtime(async {
        result = Some(match ask(global, file, path, &body).await {
            Err(failure) if failure.code == UNREACHABLE => here(global, file, offline).await,
            answered => answered,
        });
        Ok(Answer::Yes)
    })?;
    result.unwrap_or_else(|| Err(Failure::internal("the request was not made")))
}

async fn ask<T: DeserializeOwned>(
    global: &Global,
    file: Option<&Path>,
    path: &str,
    body: &Value,
) -> Result<T, Failure> {
    if file.is_some() {
        // The daemon has a ledger of its own; another file is nobody's while its lock is free.
        return Err(Failure::new(
            UNREACHABLE,
            "the daemon is not asked about another file",
        ));
    }
    let body = body.to_string().into_bytes();
    Ok(client(global)?.post(path, body).await?)
}

async fn here<T>(
    global: &Global,
    file: Option<&Path>,
    work: impl FnOnce(&Ledger, Actor) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let opened = OfflineLedger::open(&paths(global)?, file).await;
    let offline = opened.map_err(|error| match &error {
        DaemonError::Taken(_) => Failure::new(UNREACHABLE, chain(&error))
            .hint("its daemon does not answer on the socket; see --runtime-dir"),
        _ => Failure::usage(chain(&error)).hint("`osmoda ledger verify` says more"),
    })?;
    let done = work(&offline.ledger, actor());
    offline.ledger.shutdown().await;
    done
}

/// Whoever runs this command.
fn actor() -> Actor {
    Actor::Operator {
        uid: rustix::process::getuid().as_raw(),
        gid: rustix::process::getgid().as_raw(),
        pid: std::process::id(),
        command: "osmoda".to_owned(),
    }
}
