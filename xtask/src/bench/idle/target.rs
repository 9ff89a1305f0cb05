//! The server that probes ask: it answers every request with 200, and counts.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::Context as _;

/// Threads that answer, so that one slow caller does not hold up the others.
const THREADS: usize = 4;

/// Longest time that a caller may take with its request.
const REQUEST_BOUND: Duration = Duration::from_secs(1);

/// Most bytes of a request that are read; a probe's has less than 200.
const REQUEST_MAX: usize = 4096;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";

/// Listens until this program ends.
pub struct Target {
    port: u16,
    answered: Arc<AtomicU64>,
}

impl Target {
    /// On a free port of 127.0.0.1.
    ///
    /// # Errors
    /// There is none.
    pub fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("listening for probes")?;
        let address = listener.local_addr().context("asking for the port")?;
        let answered = Arc::new(AtomicU64::new(0));
        for _ in 0..THREADS {
            let listener = listener.try_clone().context("sharing the listener")?;
            let answered = Arc::clone(&answered);
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    if answer(stream).is_ok() {
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        Ok(Self {
            port: address.port(),
            answered,
        })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many requests were answered so far.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(REQUEST_BOUND))?;
    let mut request = [0; REQUEST_MAX];
    let mut length = 0;
    while !request[..length].ends_with(b"\r\n\r\n") {
        let read = stream.read(&mut request[length..])?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        length += read;
    }
    stream.write_all(ANSWER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_is_answered_and_counted_and_nothing_else() {
        let target = Target::start().unwrap();
        drop(TcpStream::connect(("127.0.0.1", target.port())).unwrap());
        let mut stream = TcpStream::connect(("127.0.0.1", target.port())).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
        while target.answered() == 0 {
            thread::yield_now();
        }
        assert_eq!(target.answered(), 1);
    }
}
