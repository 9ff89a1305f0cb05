//! What agents report: when they last beat, and when they were told to stop.

use std::{
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixDatagram},
    },
    time::Duration,
};

use anyhow::{Context as _, ensure};

/// Size of `struct record` of xtask/bench/beat.c: three 64-bit numbers in native byte order.
const BYTES: usize = 24;

/// Longest wait for the next record.
const COME_BOUND: Duration = Duration::from_secs(30);

/// The socket that they report to.
pub struct Records {
    socket: UnixDatagram,
    name: String,
}

impl Records {
    /// With a name of this process' own.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn bind(suffix: &str) -> anyhow::Result<Self> {
        let name = format!("osmoda-bench-hang-{}-{suffix}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).context("naming a socket")?;
        let socket = UnixDatagram::bind_addr(&address).context("binding a socket")?;
        socket
            .set_read_timeout(Some(COME_BOUND))
            .context("bounding the wait")?;
        Ok(Self {
            socket,
            name: format!("@{name}"),
        })
    }

    /// Its name; `@` stands for the NUL with which an abstract one begins (unix(7)).
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How long after its deadline each of so many agents was told to stop, in nanoseconds.
    ///
    /// # Errors
    /// One does not come, or was told too early.
    pub fn delays(&self, wanted: usize, timeout_ms: u64) -> anyhow::Result<Vec<u64>> {
        let next = |_| {
            let mut bytes = [0; BYTES];
            let read = self.socket.recv(&mut bytes);
            let read = read.context("no agent was told to stop in time")?;
            ensure!(read == BYTES, "a record of {read} bytes");
            delay(&bytes, timeout_ms)
        };
        (0..wanted).map(next).collect()
    }
}

fn delay(bytes: &[u8; BYTES], timeout_ms: u64) -> anyhow::Result<u64> {
    let number = |at: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[at..at + 8]);
        u64::from_ne_bytes(word)
    };
    let (pid, last_beat, stop) = (number(0), number(8), number(16));
    let deadline = last_beat + timeout_ms * 1_000_000;
    let delay = stop.checked_sub(deadline);
    delay.with_context(|| format!("process {pid} was told to stop before its deadline"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(last_beat: u64, stop: u64) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        for (word, number) in bytes.chunks_mut(8).zip([7, last_beat, stop]) {
            word.copy_from_slice(&number.to_ne_bytes());
        }
        bytes
    }

    #[test]
    fn the_delay_counts_from_the_deadline() {
        let bytes = record(5_000_000, 505_300_000);
        assert_eq!(delay(&bytes, 500).unwrap(), 300_000);
    }

    #[test]
    fn a_stop_before_the_deadline_is_no_measurement() {
        let error = delay(&record(5_000_000, 504_999_999), 500).unwrap_err();
        assert!(error.to_string().contains("process 7"), "{error}");
    }
}
