//! The loop by itself: on a fake world whose time stands still while anybody works, with profiles
//! and a real ledger in memory.

#![allow(
    clippy::unwrap_used,
    reason = "a test's own ground: what cannot be had ends the test"
)]

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use osmoda_core::{name::AgentName, observed::InvocationId, spec::Agent, time::Clock};
use osmoda_ledger::{Appended, Commit, CommitError, Head, OpenOptions, Store};
use osmoda_nix::profiles::MemoryProfiles;
use osmoda_node::{
    detect::board::Board,
    handle::Handle,
    reconcile::{
        Edges, NodeFacts, Reconciler,
        act::Offload,
        journal::{Journal, StoredEntry},
    },
    specs::{Loaded, LoadedAgent},
};

use crate::fake_runtime::{World, paused_clock};

/// A running loop and what surrounds it.
pub struct Alone {
    /// What really runs.
    pub world: World,
    /// Generations.
    pub profiles: Arc<MemoryProfiles>,
    /// Where detectors write.
    pub board: Board,
    /// The way to speak to the loop.
    pub handle: Handle,
}

impl Alone {
    /// A loop that knows nobody yet. To be called on a scheduler whose time is paused.
    ///
    /// # Panics
    /// A ledger in memory cannot be had.
    pub async fn begin() -> Self {
        let clock = paused_clock();
        let world = World::new(Arc::clone(&clock) as Arc<dyn Clock>);
        let profiles = Arc::new(MemoryProfiles::new());
        let options = OpenOptions::new("alone", Arc::clone(&clock) as Arc<dyn Clock>);
        let mut random = fastrand::Rng::with_seed(1);
        let edges = Edges {
            runtime: Arc::new(world.daemon()),
            profiles: Arc::clone(&profiles),
            journal: InMemory(Mutex::new(Store::in_memory(options).unwrap())),
            senses: Arc::new(world.clone()),
            clock,
            ids: Box::new(move || InvocationId(random.u128(..).to_le_bytes())),
            offload: Offload::Inline,
        };
        let facts = NodeFacts {
            name: "alone".into(),
            version: "0".into(),
            pid: 1,
            runtime: "fake".into(),
            specs: "specs".into(),
        };
        let (mut reconciler, handle) = Reconciler::new(edges, facts);
        reconciler.restore().await.unwrap();
        let board = reconciler.board().clone();
        world.listen(Some(board.clone()));
        tokio::spawn(reconciler.run());
        Self {
            world,
            profiles,
            board,
            handle,
        }
    }

    /// Declares these agents, and no others.
    ///
    /// # Panics
    /// The loop is gone.
    pub async fn declare(&self, agents: impl IntoIterator<Item = Agent>) {
        let agents = agents.into_iter().map(|agent| {
            let name: AgentName = agent.name.clone();
            let loaded = LoadedAgent {
                agent: Arc::new(agent),
                file: PathBuf::from("agents.yaml"),
                recipe: None,
            };
            (name, loaded)
        });
        let loaded = Loaded {
            agents: agents.collect(),
            ..Loaded::default()
        };
        self.handle.specs(Ok(Arc::new(loaded))).await.unwrap();
    }
}

/// The store in memory, without a wait for any disk.
struct InMemory(Mutex<Store>);

impl InMemory {
    fn store(&self) -> MutexGuard<'_, Store> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Journal for InMemory {
    async fn append(&self, commit: &Commit) -> Result<Vec<Appended>, CommitError> {
        let mut appended = self.store().commit(std::slice::from_ref(commit))?;
        Ok(appended.pop().unwrap_or_default())
    }

    fn state(&self, prefix: &str) -> Result<BTreeMap<String, Vec<u8>>, String> {
        let state = self.store().state(prefix);
        state.map_err(|error| error.to_string())
    }

    fn tail(&self, _: u64) -> Result<Vec<StoredEntry>, String> {
        Ok(Vec::new())
    }

    fn head(&self) -> Head {
        self.store().head()
    }
}
