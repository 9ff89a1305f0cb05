//! `/metrics` over TCP on loopback, where `listen.metrics` of the Node says so.
//!
//! Whoever can connect may read: every user of this machine, agents included. There is nothing
//! else here, no action and no other path. Invariants: the address follows the specs; an address
//! that cannot be had is told once and tried again; connections, heads and time are bounded as
//! those of the API are.
//!
//! Where to start: [`run`].

use std::{net::SocketAddr, sync::Arc, time::Duration};

use hyper::{Method, Request, body::Incoming};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{Metrics, text::Form};
use crate::api::{
    connection::converse,
    limits,
    respond::{self, Answer, Problem},
};

/// Most connections at once; a Prometheus server keeps one.
pub const CONNECTIONS_MAX: usize = 16;
/// Pause before an address that cannot be had is tried again.
pub const RETRY: Duration = Duration::from_secs(5);

/// Serves on whatever address is wanted, until the sender of `wanted` is gone.
pub async fn run(metrics: Arc<Metrics>, mut wanted: watch::Receiver<Option<SocketAddr>>) {
    loop {
        let address = *wanted.borrow_and_update();
        let serving = async {
            match address {
                Some(address) => serve(&metrics, address).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = serving => {}
            changed = wanted.changed() => if changed.is_err() {
                return;
            },
        }
    }
}

/// Serves for ever; dropping it closes the address and every connection.
async fn serve(metrics: &Arc<Metrics>, address: SocketAddr) {
    let listener = bound(address).await;
    tracing::info!(%address, "metrics are served");
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => match Arc::clone(&places).try_acquire_owned() {
                    Ok(place) => _ = connections.spawn(attend(stream, Arc::clone(metrics), place)),
                    // Closed at once: there is room again when another one ends.
                    Err(_) => drop(stream),
                },
                Err(error) => {
                    tracing::warn!(%error, "a connection to /metrics could not be taken");
                    sleep(limits::ACCEPT_PAUSE).await;
                }
            },
            Some(ended) = connections.join_next() => if let Err(error) = ended {
                tracing::error!(%error, "a connection to /metrics ended in a panic");
            },
        }
    }
}

async fn bound(address: SocketAddr) -> TcpListener {
    let mut told = false;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(error) if !told => {
                tracing::warn!(%address, %error, "metrics cannot be served there yet");
                told = true;
            }
            Err(_) => {}
        }
        sleep(RETRY).await;
    }
}

async fn attend(stream: TcpStream, metrics: Arc<Metrics>, _place: OwnedSemaphorePermit) {
    let respond = |request| {
        let metrics = Arc::clone(&metrics);
        async move { answer(&metrics, &request).await }
    };
    converse(stream, respond, std::future::pending()).await;
}

async fn answer(metrics: &Metrics, request: &Request<Incoming>) -> Answer {
    let path = request.uri().path();
    if path != "/metrics" {
        return Problem::not_found(format!("there is no {path:?} here"))
            .hint("this address has /metrics only; the API is on the Unix socket")
            .answer();
    }
    if request.method() != Method::GET {
        return Problem::wrong_method(
            format!("/metrics does not know {}", request.method()),
            "GET",
        )
        .hint("use GET /metrics")
        .answer();
    }
    let accept = request.headers().get(hyper::header::ACCEPT);
    let form = Form::wanted(accept.and_then(|value| value.to_str().ok()));
    match timeout(limits::REQUEST_TIME_MAX, metrics.read(form)).await {
        Ok(text) => respond::metrics(form, text),
        Err(_) => Problem::unavailable("the metrics could not be gathered in time").answer(),
    }
}
