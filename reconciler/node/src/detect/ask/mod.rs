//! How each kind of probe asks its question: [`http`], [`tcp`], [`mcp`] over a connection of its
//! own each time (nothing pooled: what a new client would meet is what counts), [`exec`] through
//! the runtime.
//!
//! Invariants: every answer comes within the probe's timeout, but for the end of a command that
//! had to be killed; what is read of an answer is bounded; what cannot be asked is a failure, unless the host
//! is out of what asking needs: then nothing is known.
//!
//! Where to start: [`ask`].

mod exec;
mod http;
mod location;
mod mcp;
mod sse;
mod tcp;
mod tls;
mod wire;

use std::{io, time::Duration};

use osmoda_core::{probe::Answer, spec::ProbeCheck};
use osmoda_runtime::Runtime;
use tokio::time::{error::Elapsed, timeout};

use self::wire::Target;
use super::Question;
use crate::error::{chain, host_lacks};

/// Why there is no good answer.
#[derive(Debug, thiserror::Error)]
enum AskError {
    /// Nobody accepts connections there.
    #[error("cannot connect to {address}")]
    Connect {
        address: String,
        #[source]
        source: io::Error,
    },
    /// The connection is not one of TLS.
    #[error("cannot speak TLS with {address}")]
    Tls {
        address: String,
        #[source]
        source: io::Error,
    },
    /// The other side does not answer as HTTP/1.1 wants it.
    #[error("no HTTP answer")]
    Exchange(#[source] hyper::Error),
    /// The spec asks for something that cannot be put into a request.
    #[error("this cannot be asked over HTTP")]
    Request(#[source] hyper::http::Error),
    /// It answers, and says that it is not well, or nothing that makes sense.
    #[error("{0}")]
    Unwell(String),
}

/// Asks once.
pub(super) async fn ask<R: Runtime>(runtime: &R, question: &Question) -> Answer {
    match &question.check {
        // The runtime keeps the time: it has processes to end when that is up. What is large and
        // not asked a thousand times a second has a place of its own, here and below: the answer
        // of each is awaited in one as large as the largest.
        ProbeCheck::Exec { command } => Box::pin(exec::ask(runtime, question, command)).await,
        network => over_network(network, question.timeout).await,
    }
}

/// Asks once what needs no process of an agent's.
pub(super) async fn over_network(check: &ProbeCheck, limit: Duration) -> Answer {
    let asked = match check {
        ProbeCheck::HttpGet {
            host,
            port,
            path,
            scheme,
            headers,
            expect,
        } => {
            let target = Target::new(*scheme, host, *port);
            timeout(limit, http::ask(target, path, headers, *expect)).await
        }
        ProbeCheck::TcpSocket { host, port } => timeout(limit, tcp::ask(host, *port)).await,
        ProbeCheck::Mcp { url } => timeout(limit, Box::pin(mcp::ask(url))).await,
        ProbeCheck::Exec { .. } => {
            return Answer::Failure("a command is not asked over the network".into());
        }
    };
    judge(asked, limit)
}

/// What came of asking within this time.
fn judge(asked: Result<Result<Answer, AskError>, Elapsed>, limit: Duration) -> Answer {
    match asked {
        Ok(answer) => answer.unwrap_or_else(|error| not_asked(&error)),
        Err(_) => Answer::Failure(format!("no answer within {limit:?}")),
    }
}

/// What cannot be asked has failed, unless it is the host that lacks what asking needs.
pub(super) fn not_asked(error: &(dyn std::error::Error + 'static)) -> Answer {
    let why = chain(error);
    match host_lacks(error) {
        true => Answer::Unasked(why),
        false => Answer::Failure(why),
    }
}

#[cfg(test)]
mod tests;
