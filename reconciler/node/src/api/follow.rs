//! Server-sent events (WHATWG HTML, section 9.2): the ledger as it grows.
//!
//! A stream holds a place in the ledger, not a queue of its own: a slow reader lags behind, and
//! what it has not read yet stays on disk. At most one batch and
//! [`limits::STREAM_CHUNKS_MAX`] chunks are in memory for it, and [`super::stall`] drops a reader
//! that reads nothing at all.

use std::{convert::Infallible, sync::Arc};

use http_body_util::channel::{Channel, Sender};
use hyper::body::Bytes;
use osmoda_core::name::AgentName;
use osmoda_runtime::blocking::spawn_blocking;
use serde::Serialize;
use tokio::{sync::watch, time::timeout};

use super::{
    entries::concerns,
    limits::{self, ENTRY_BATCH, KEEPALIVE_EVERY},
    respond::{self, Answer},
    source::EntrySource,
    types::EntryObject,
};

/// Resolves once the daemon ends, also if it did so without a word.
pub(super) async fn ending(shutdown: &mut watch::Receiver<bool>) {
    let _ = shutdown.wait_for(|down| *down).await;
}

/// The reader is gone, or is to go.
#[derive(Debug)]
pub(super) struct Hangup;

/// The writing end of a stream of events.
pub(super) struct EventStream {
    sender: Sender<Bytes, Infallible>,
    shutdown: watch::Receiver<bool>,
}

impl EventStream {
    /// A stream, and the answer that carries it.
    pub(super) fn open(shutdown: watch::Receiver<bool>) -> (Self, Answer) {
        let (sender, body) = Channel::new(limits::STREAM_CHUNKS_MAX);
        (Self { sender, shutdown }, respond::events(body))
    }

    /// Waits until the reader has room, then sends.
    pub(super) async fn send(&mut self, text: String) -> Result<(), Hangup> {
        tokio::select! {
            sent = self.sender.send_data(Bytes::from(text)) => sent.map_err(|_| Hangup),
            () = ending(&mut self.shutdown) => Err(Hangup),
        }
    }

    /// Waits for `awaited`; sends a comment now and then, so that a dead reader is noticed.
    pub(super) async fn idle<T>(&mut self, awaited: impl Future<Output = T>) -> Result<T, Hangup> {
        let mut awaited = std::pin::pin!(awaited);
        loop {
            let waited = tokio::select! {
                waited = timeout(KEEPALIVE_EVERY, awaited.as_mut()) => waited,
                () = ending(&mut self.shutdown) => return Err(Hangup),
            };
            match waited {
                Ok(result) => return Ok(result),
                Err(_) => self.send(": still here\n\n".to_owned()).await?,
            }
        }
    }
}

/// One event. JSON holds no line break, so that one `data:` line is enough.
pub(super) fn event(id: Option<u64>, object: &impl Serialize) -> String {
    let data = serde_json::to_string(object).unwrap_or_else(|_| "null".to_owned());
    match id {
        Some(id) => format!("id: {id}\ndata: {data}\n\n"),
        None => format!("data: {data}\n\n"),
    }
}

/// Sends entries from `from` on, for ever.
pub(super) async fn entries(
    source: Arc<dyn EntrySource>,
    from: u64,
    agent: Option<AgentName>,
    mut stream: EventStream,
) {
    let mut size = source.follow();
    let mut next = from;
    loop {
        size.mark_unchanged(); // what comes after this wakes the wait below
        let Some(batch) = read(Arc::clone(&source), next).await else {
            return;
        };
        let Some(last) = batch.last() else {
            match stream.idle(size.changed()).await {
                Ok(Ok(())) => continue,
                Ok(Err(_)) | Err(Hangup) => return,
            }
        };
        next = last.seq + 1;
        let shown = batch.iter().filter(|entry| concerns(entry, agent.as_ref()));
        for entry in shown {
            if stream.send(event(Some(entry.seq), entry)).await.is_err() {
                return;
            }
        }
    }
}

async fn read(source: Arc<dyn EntrySource>, from: u64) -> Option<Vec<EntryObject>> {
    match spawn_blocking(move || source.entries(from, ENTRY_BATCH)).await {
        Ok(Ok(batch)) => Some(batch),
        Ok(Err(error)) => {
            tracing::warn!(
                error,
                from,
                "a stream of entries ends: the ledger cannot be read"
            );
            None
        }
        Err(_) => None,
    }
}
