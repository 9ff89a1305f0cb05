//! Just enough HTTP/1.1 (RFC 9112) to ask an agent on this machine something.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context, bail};

/// How long an agent may take to answer.
const ANSWER_BOUND: Duration = Duration::from_secs(5);

/// Longest answer that is read, in bytes.
const ANSWER_MAX: u64 = 1 << 20;

/// What came back.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

/// Asks 127.0.0.1; with a body (JSON) by POST, else by GET.
///
/// # Errors
/// Nobody listens, or what comes back is no answer.
pub fn ask(port: u16, path: &str, body: Option<&str>) -> anyhow::Result<Answer> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_BOUND)
        .with_context(|| format!("connecting to {address}"))?;
    stream.set_read_timeout(Some(ANSWER_BOUND))?;
    stream.set_write_timeout(Some(ANSWER_BOUND))?;
    let (method, body) = match body {
        Some(body) => ("POST", body),
        None => ("GET", ""),
    };
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream
        .write_all(request.as_bytes())
        .with_context(|| format!("asking {address}"))?;
    let mut bytes = Vec::new();
    stream
        .take(ANSWER_MAX)
        .read_to_end(&mut bytes)
        .with_context(|| format!("reading the answer of {address}"))?;
    parse(&String::from_utf8_lossy(&bytes))
}

/// The agents' servers send a body as it is, never in chunks.
fn parse(text: &str) -> anyhow::Result<Answer> {
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        bail!("an answer without an end of its head");
    };
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    Ok(Answer {
        status: status.context("an answer without a status")?,
        body: body.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_a_status_and_a_body() {
        let answer = parse("HTTP/1.1 503 Service Unavailable\r\nServer: x\r\n\r\n{}").unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (503, "{}"));
        assert!(parse("HTTP/1.1 200 OK\r\nServer").is_err());
        assert!(parse("nonsense\r\n\r\n").is_err());
    }
}
