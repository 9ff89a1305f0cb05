//! `osmoda witness`: the HTTP side of a witness for the logs of other nodes (C2SP tlog-witness).
//!
//! `POST /add-checkpoint` is the submission prefix, `GET /HASH/checkpoint` the monitoring one.
//! What is decided, and what is remembered, is [`osmoda_ledger::witness`]; here are bounds and
//! status codes. There is no TLS: requests carry their own proof, and who wants privacy puts a
//! proxy or a tunnel in front.
//!
//! Invariants: the decision runs where blocking is allowed and is durable before the answer;
//! connections, their time, heads and bodies are bounded, and whoever comes too many is turned
//! away and not queued.

#[cfg(test)]
mod tests;

use std::{convert::Infallible, future::Future, sync::Arc, time::Duration};

use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ALLOW, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use osmoda_core::time::Clock;
use osmoda_ledger::witness::{REQUEST_MAX, Refusal, Witness};
use osmoda_runtime::blocking::spawn_blocking;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{sleep, timeout},
};

/// Most connections at once.
pub const CONNECTIONS_MAX: usize = 256;
/// Longest life of a connection, whatever is asked on it.
pub const CONNECTION_TIME_MAX: Duration = Duration::from_secs(60);
/// Time for the head of a request, and between two of a connection.
const HEAD_TIME_MAX: Duration = Duration::from_secs(10);
/// Longest head of a request, in bytes (hyper's least).
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Most headers of a request.
const HEADERS_MAX: usize = 64;
/// Pause after accept(2) failed, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Media type of the size in a 409.
const SIZE_TYPE: &str = "text/x.tlog.size";
const TEXT_TYPE: &str = "text/plain; charset=utf-8";

type Answer = Response<Full<Bytes>>;

/// What every request may use.
struct Shared {
    witness: Arc<Witness>,
    clock: Arc<dyn Clock>,
}

/// Serves until `shutdown` resolves; connections that are open then are closed.
pub async fn serve(
    listener: TcpListener,
    witness: Arc<Witness>,
    clock: Arc<dyn Clock>,
    shutdown: impl Future<Output = ()>,
) {
    let shared = Arc::new(Shared { witness, clock });
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => match Arc::clone(&places).try_acquire_owned() {
                    Ok(place) => _ = connections.spawn(converse(stream, Arc::clone(&shared), place)),
                    Err(_) => tracing::warn!("too many connections at once; one was closed"),
                },
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be taken");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(ended) = connections.join_next() => if let Err(error) = ended {
                tracing::error!(%error, "a connection ended in a panic");
            },
            () = shutdown.as_mut() => return,
        }
    }
}

async fn converse(stream: TcpStream, shared: Arc<Shared>, _place: OwnedSemaphorePermit) {
    let service = service_fn(|request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(answer(&shared, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(CONNECTION_TIME_MAX, connection).await {
        Ok(Err(error)) => tracing::debug!(%error, "a connection ended early"),
        Err(_) => tracing::debug!("a connection was closed: its time is up"),
        Ok(Ok(())) => {}
    }
}

async fn answer(shared: &Arc<Shared>, request: Request<Incoming>) -> Answer {
    let path = request.uri().path().to_owned();
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    match (request.method(), segments.as_slice()) {
        (&Method::POST, ["add-checkpoint"]) => add_checkpoint(shared, request.into_body()).await,
        (&Method::GET, [hash, "checkpoint"]) => latest(shared, hash).await,
        (_, ["add-checkpoint"]) => wrong_method("POST"),
        (_, [_, "checkpoint"]) => wrong_method("GET"),
        _ => plain(StatusCode::NOT_FOUND, "there is nothing here\n"),
    }
}

async fn add_checkpoint(shared: &Arc<Shared>, body: Incoming) -> Answer {
    let body = match Limited::new(body, REQUEST_MAX).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            return plain(StatusCode::PAYLOAD_TOO_LARGE, "the request is too long\n");
        }
        Err(_) => return plain(StatusCode::BAD_REQUEST, "the request broke off\n"),
    };
    let now = u64::try_from(shared.clock.wall().0 / 1_000_000).unwrap_or(0);
    let witness = Arc::clone(&shared.witness);
    let judged = spawn_blocking(move || witness.add_checkpoint(&body, now)).await;
    match judged {
        Ok(Ok(cosignature)) => plain(StatusCode::OK, format!("{cosignature}\n")),
        Ok(Err(refusal)) => refused(&refusal),
        Err(error) => {
            tracing::error!(%error, "a request ended in a panic");
            plain(StatusCode::INTERNAL_SERVER_ERROR, "the witness failed\n")
        }
    }
}

fn refused(refusal: &Refusal) -> Answer {
    let status = StatusCode::from_u16(refusal.status());
    let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    match refusal {
        Refusal::Conflict(size) => typed(status, SIZE_TYPE, format!("{size}\n")),
        other => plain(status, format!("{other}\n")),
    }
}

async fn latest(shared: &Arc<Shared>, hash: &str) -> Answer {
    let (witness, hash) = (Arc::clone(&shared.witness), hash.to_owned());
    match spawn_blocking(move || witness.latest(&hash)).await {
        Ok(Ok(Some(note))) => plain(StatusCode::OK, note),
        Ok(Ok(None)) => plain(
            StatusCode::NOT_FOUND,
            "nothing of this log was cosigned here\n",
        ),
        failed => {
            tracing::error!(?failed, "the witness's memory cannot be read");
            refused(&Refusal::Unavailable)
        }
    }
}

fn wrong_method(allowed: &'static str) -> Answer {
    let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, format!("use {allowed}\n"));
    let allowed = HeaderValue::from_static(allowed);
    answer.headers_mut().insert(ALLOW, allowed);
    answer
}

fn plain(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    typed(status, TEXT_TYPE, body)
}

fn typed(status: StatusCode, media_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let media_type = HeaderValue::from_static(media_type);
    answer.headers_mut().insert(CONTENT_TYPE, media_type);
    answer
}
