//! The HTTP API on the Unix socket. [`types`] are its objects.
//!
//! HTTP/1.1 with JSON; the command line uses nothing else. Where to start: [`serve`] takes
//! connections, [`route`] reads what is asked for, and the modules below answer it. Invariants:
//! - nothing a caller sends ends the server or delays another caller without bound ([`limits`]);
//! - who calls is told by the kernel ([`caller`]), and what they may do by [`authorize`];
//! - every answer that is not 200 carries an [`types::ErrorObject`].

mod actions;
mod alerts;
pub mod authorize;
pub mod caller;
pub(crate) mod connection;
mod entries;
mod follow;
pub mod gauge;
mod ledger;
pub mod limits;
mod logs;
pub mod openapi;
pub mod operations;
mod plan;
mod query;
mod refusals;
pub(crate) mod respond;
pub mod route;
mod server;
mod socket;
pub mod source;
mod stall;
#[cfg(test)]
pub(crate) mod tests;
pub mod types;

use std::{path::PathBuf, sync::Arc};

use tokio::sync::watch;

pub use self::{
    authorize::{Authorizer, InAgentTree},
    gauge::{Gauge, Measures, RuntimeGauge, Use},
    logs::Logs,
    server::serve,
    socket::Listener,
    source::EntrySource,
};
use crate::{alerts::Alerts, handle::Handle, metrics::Metrics};

/// Everything that the API needs.
pub struct ApiOptions {
    /// Where it is served.
    pub listener: Listener,
    /// The way to the loop.
    pub handle: Handle,
    /// The ledger, to be read.
    pub ledger: Arc<dyn EntrySource>,
    /// Where agents' output is.
    pub logs: Logs,
    /// What agents that run use.
    pub measures: Arc<Measures>,
    /// What /metrics shows.
    pub metrics: Arc<Metrics>,
    /// Who may do what.
    pub authorizer: Authorizer,
    /// Who is told of what happens; absent where nobody can be.
    pub alerts: Option<Alerts>,
    /// Turns true when the daemon ends.
    pub shutdown: watch::Receiver<bool>,
}

/// Why the API cannot be served.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum ApiError {
    /// Another daemon serves there.
    #[error("{path} is served by {holder}")]
    Taken { path: PathBuf, holder: String },
    /// Something else lies there; it is not removed.
    #[error("{path} exists and is not a socket")]
    NotASocket { path: PathBuf },
    /// The system refused.
    #[error("cannot listen on {path}")]
    Bind {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}
