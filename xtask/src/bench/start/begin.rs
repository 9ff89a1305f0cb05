//! From the exec of a daemon to the first act of its first agent: where there is no ledger yet,
//! and on one with many entries.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, ensure};

use crate::{
    bench::restart::records::{Records, monotonic},
    node::Node,
};

/// Longest wait for an agent.
const COME_BOUND: Duration = Duration::from_secs(60);

/// Who starts, and where.
pub struct Begin<'a> {
    pub osmoda: &'a Path,
    pub agent: &'a Path,
    /// Empty; the places of the daemons.
    pub ground: PathBuf,
    pub rounds: u32,
}

impl Begin<'_> {
    /// Nanoseconds of each start, on a machine that osmoda was never on.
    ///
    /// # Errors
    /// A daemon or its agent does not start.
    pub fn without_a_ledger(&self) -> anyhow::Result<Vec<u64>> {
        println!("starting daemons without a ledger ...");
        let one = |round| self.once(&self.ground.join(format!("new{round}")));
        (0..self.rounds).map(one).collect()
    }

    /// Nanoseconds of each start on this ledger, which has its key beside it. It gets the entries
    /// of these starts.
    ///
    /// # Errors
    /// A daemon or its agent does not start, or the ledger is set aside instead of used.
    pub fn on(&self, ledger: &Path, entries: u64) -> anyhow::Result<Vec<u64>> {
        println!("starting daemons on {} ...", ledger.display());
        let place = self.ground.join("old");
        let state = place.join("state");
        fs::create_dir_all(&state).with_context(|| format!("creating {}", state.display()))?;
        let moves = [
            (ledger.to_owned(), state.join("ledger.db")),
            (ledger.with_extension("key"), state.join("ledger.key")),
        ];
        let rename = |from: &Path, to: &Path| {
            fs::rename(from, to).with_context(|| format!("moving {}", from.display()))
        };
        for (outside, inside) in &moves {
            rename(outside, inside)?;
        }
        let before = fs::metadata(&moves[0].1).context("the ledger")?.len();
        let samples = (0..self.rounds).map(|_| self.once(&place)).collect();
        let after = fs::metadata(&moves[0].1).context("the ledger")?.len();
        for (outside, inside) in &moves {
            rename(inside, outside)?;
        }
        ensure!(
            after >= before,
            "a ledger of {entries} entries was set aside: {before} bytes became {after}"
        );
        samples
    }

    fn once(&self, place: &Path) -> anyhow::Result<u64> {
        let records = Records::listen()?;
        let manifest = format!(
            "apiVersion: osmoda/v1\nkind: Agent\nmetadata: {{name: first}}\nspec:\n  \
             command: [{:?}, {:?}, \"0\"]\n",
            self.agent.display().to_string(),
            records.socket_name(),
        );
        let asked = monotonic();
        let node = Node::start(self.osmoda, place, &manifest)?;
        let record = records
            .next(COME_BOUND)
            .with_context(|| format!("the daemon said:\n{}", node.log()))?;
        node.stop()?;
        ensure!(record.life.began > asked, "an agent of an earlier daemon");
        Ok(record.life.began - asked)
    }
}
