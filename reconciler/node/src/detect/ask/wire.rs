//! One HTTP/1.1 request and its answer (RFC 9112), over a connection of its own.
//!
//! Bounds: the head of an answer has at most [`HEAD_MAX`] bytes and [`HEADERS_MAX`] fields, more
//! is an error; its body is read as far as the caller wants it. Time is kept by the caller.

use std::pin::pin;

use http_body_util::{BodyExt as _, Full};
use hyper::{HeaderMap, Request, StatusCode, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use osmoda_core::spec::Scheme;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{AskError, tcp, tls};

/// Largest head of an answer, in bytes.
const HEAD_MAX: usize = 64 * 1024;
/// Most header fields of an answer: as many as are read without a place on the heap.
const HEADERS_MAX: usize = 100;

/// `User-Agent` of every request.
pub(super) const USER_AGENT: &str = concat!("osmoda-probe/", env!("CARGO_PKG_VERSION"));

/// Whom to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub scheme: Scheme,
    /// A name or an address; one of IPv6 without its brackets.
    pub host: String,
    pub port: u16,
}

impl Target {
    pub fn new(scheme: Scheme, host: &str, port: u16) -> Self {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Self {
            scheme,
            host: host.to_owned(),
            port,
        }
    }

    /// The port that a URL of this scheme need not name.
    pub fn default_port(scheme: Scheme) -> u16 {
        match scheme {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }

    /// The value of `Host` (RFC 9110 section 7.2).
    pub fn authority(&self) -> String {
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        };
        match self.port == Self::default_port(self.scheme) {
            true => host,
            false => format!("{host}:{}", self.port),
        }
    }
}

/// An answer, its body as far as it was read.
#[derive(Debug)]
pub(super) struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

/// Sends a request and reads the answer, its body until it ends or there is `enough`.
pub(super) async fn exchange(
    target: &Target,
    request: Request<Full<Bytes>>,
    enough: impl FnMut(&HeaderMap, &[u8]) -> bool,
) -> Result<Reply, AskError> {
    let stream = tcp::connect(&target.host, target.port).await?;
    match target.scheme {
        Scheme::Http => talk(stream, request, enough).await,
        Scheme::Https => {
            Box::pin(async {
                let stream = tls::connect(target, stream).await?;
                talk(stream, request, enough).await
            })
            .await
        }
    }
}

async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    request: Request<Full<Bytes>>,
    mut enough: impl FnMut(&HeaderMap, &[u8]) -> bool,
) -> Result<Reply, AskError> {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD_MAX).max_headers(HEADERS_MAX);
    let handshake = builder.handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(AskError::Exchange)?;
    let asking = async move {
        let response = sender.send_request(request).await?;
        let (head, mut rest) = response.into_parts();
        let mut body = Vec::new();
        while !enough(&head.headers, &body)
            && let Some(frame) = rest.frame().await
        {
            if let Some(data) = frame?.data_ref() {
                body.extend_from_slice(data);
            }
        }
        Ok(Reply {
            status: head.status,
            headers: head.headers,
            body,
        })
    };
    let (mut asking, mut connection) = (pin!(asking), pin!(connection));
    let mut open = true;
    loop {
        // The connection moves the bytes; how it ended is told to who asks.
        tokio::select! {
            biased;
            reply = &mut asking => return reply.map_err(AskError::Exchange),
            _ = &mut connection, if open => open = false,
        }
    }
}
