//! A word with a server on this machine.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, ensure};

/// How long a server may take to answer.
const ANSWER_BOUND: Duration = Duration::from_secs(10);

/// Most bytes of an answer that are read.
const ANSWER_MAX: usize = 64 * 1024;

/// Says `words` to the server on this port; what it answers must hold `expected`. Reads no
/// further, since some servers leave the connection open.
///
/// # Errors
/// Nobody listens, or the answer is another.
pub fn expect(port: u16, words: &str, expected: &str) -> anyhow::Result<()> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_BOUND)
        .with_context(|| format!("connecting to {address}"))?;
    stream
        .set_read_timeout(Some(ANSWER_BOUND))
        .context("bounding the wait")?;
    stream
        .write_all(words.as_bytes())
        .with_context(|| format!("writing to {address}"))?;
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    while !holds(&answer, expected) && answer.len() < ANSWER_MAX {
        let read = stream
            .read(&mut piece)
            .with_context(|| format!("reading the answer of {address}"))?;
        if read == 0 {
            break;
        }
        answer.extend_from_slice(&piece[..read]);
    }
    let text = String::from_utf8_lossy(&answer);
    ensure!(
        holds(&answer, expected),
        "{expected:?} is not in the answer of {address}: {text}"
    );
    Ok(())
}

fn holds(answer: &[u8], expected: &str) -> bool {
    let expected = expected.as_bytes();
    answer.windows(expected.len()).any(|part| part == expected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{net::TcpListener, thread};

    fn server_that_says(pieces: [&'static str; 2]) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_exact(&mut [0; 4]).unwrap();
            for piece in pieces {
                stream.write_all(piece.as_bytes()).unwrap();
            }
        });
        port
    }

    #[test]
    fn an_answer_in_pieces_is_one_answer() {
        assert!(expect(server_that_says(["PO", "NG"]), "PING", "PONG").is_ok());
    }

    #[test]
    fn another_answer_is_refused() {
        let error = expect(server_that_says(["E", "RR"]), "PING", "PONG").unwrap_err();
        assert!(error.to_string().contains("ERR"), "{error:#}");
    }
}
