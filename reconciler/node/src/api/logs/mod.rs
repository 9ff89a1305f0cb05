//! Agents' output: its last lines, and what comes.
//!
//! The native runtime keeps it in [`files`], systemd's journal for the other.

mod files;

use std::{io, path::PathBuf};

use osmoda_core::name::AgentName;
use osmoda_runtime::systemd::journal::{self, Run};

use self::files::{LogFiles, take_lines};
use super::{
    follow::{EventStream, event},
    limits::LOG_BYTES_MAX,
    types::LogLine,
};

/// Where the output of agents is.
#[derive(Debug, Clone)]
pub struct Logs(Place);

#[derive(Debug, Clone)]
enum Place {
    Files(LogFiles),
    Journal,
}

impl Logs {
    /// In files below this directory: LOG_DIR of the native runtime.
    pub fn files(directory: PathBuf) -> Self {
        Self(Place::Files(LogFiles { directory }))
    }

    /// In the journal: of agents that are units of systemd.
    pub fn journal() -> Self {
        Self(Place::Journal)
    }

    /// The last lines; `None` if the agent never wrote anything. Blocks.
    pub(super) fn last(
        &self,
        agent: &AgentName,
        previous: bool,
        lines: usize,
    ) -> io::Result<Option<Vec<String>>> {
        match &self.0 {
            Place::Files(files) => files.last(agent, previous, lines),
            Place::Journal => {
                let run = if previous { Run::Previous } else { Run::Latest };
                journal::last(agent, run, lines, LOG_BYTES_MAX)
            }
        }
    }

    /// Sends the last `lines` lines of the current run, and what comes.
    pub(super) async fn follow(&self, agent: &AgentName, lines: usize, stream: EventStream) {
        let followed = match &self.0 {
            Place::Files(files) => files.follow(agent, lines, stream).await,
            Place::Journal => follow_journal(agent, lines, stream).await,
        };
        if let Err(error) = followed {
            tracing::warn!(%agent, %error, "a stream of output ends: it cannot be read");
        }
    }
}

async fn follow_journal(
    agent: &AgentName,
    lines: usize,
    mut stream: EventStream,
) -> io::Result<()> {
    let mut follow = journal::follow(agent, lines, LOG_BYTES_MAX).await?;
    let mut found = std::mem::take(&mut follow.first);
    let mut partial = Vec::new();
    loop {
        for line in found {
            if stream.send(event(None, &LogLine { line })).await.is_err() {
                return Ok(());
            }
        }
        let Ok(read) = stream.idle(follow.read()).await else {
            return Ok(());
        };
        let bytes = read?;
        if bytes.is_empty() {
            return Err(io::Error::other("journalctl has ended"));
        }
        partial.extend_from_slice(&bytes);
        found = take_lines(&mut partial);
    }
}
