//! What no supervisor can be faster than: a thread for each agent that takes its heartbeats,
//! sleeps until the deadline, and sends SIGTERM. It knows when the silence begins, and records
//! nothing.

use std::{
    os::unix::net::UnixDatagram,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow};
use rustix::process::Signal;

use super::{BEAT_EVERY_MS, BEATS, Settings, record::Records};
use crate::process;

/// Longest wait for a heartbeat.
const BEAT_BOUND: Duration = Duration::from_secs(30);

/// Delays of as many hangs of as many agents.
///
/// # Errors
/// An agent does not do as it should.
pub fn measure(
    beat: &Path,
    ground: &Path,
    agents: usize,
    settings: &Settings,
) -> anyhow::Result<Vec<u64>> {
    let records = Records::bind(&format!("floor-{agents}"))?;
    thread::scope(|scope| {
        let guard = |index: usize| {
            let socket = ground.join(format!("floor-{agents}-{index}"));
            let name = records.name();
            scope.spawn(move || guard(beat, &socket, name, settings))
        };
        let guards: Vec<_> = (0..agents).map(guard).collect();
        let delays = records.delays(agents * settings.hangs, settings.timeout_ms);
        for guard in guards {
            guard
                .join()
                .map_err(|_| anyhow!("a guard of the floor panicked"))??;
        }
        delays
    })
}

/// Starts an agent again and again, and ends it at its deadline.
fn guard(beat: &Path, socket: &Path, records: &str, settings: &Settings) -> anyhow::Result<()> {
    let beats = UnixDatagram::bind(socket).context("binding the floor's notify socket")?;
    beats
        .set_read_timeout(Some(BEAT_BOUND))
        .context("bounding the wait")?;
    for _ in 0..settings.hangs {
        let mut agent = Command::new(beat)
            .args([records, &BEATS.to_string(), &BEAT_EVERY_MS.to_string()])
            .env("NOTIFY_SOCKET", socket)
            .spawn()
            .context("starting an agent")?;
        // READY=1 comes before the heartbeats.
        for _ in 0..=BEATS {
            beats
                .recv(&mut [0; 64])
                .context("no heartbeat of the floor's agent")?;
        }
        let silent_since = Instant::now();
        let timeout = Duration::from_millis(settings.timeout_ms);
        thread::sleep(timeout.saturating_sub(silent_since.elapsed()));
        process::kill(agent.id(), Signal::TERM);
        agent.wait().context("waiting for an agent's end")?;
    }
    Ok(())
}
