//! What agents use and which limits hold on them, measured when somebody asks.
//!
//! An agent with a threshold is sampled by its detector, and the loop tells its use; the others
//! are looked at here, outside of the loop. Invariants: an answer waits at most [`LOOK_TIME_MAX`]
//! for it; nobody is looked at more often than every [`FRESH`]; who could not be looked at in
//! time comes first the next time, and shows what was known before.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Arc,
    time::Duration,
};

use osmoda_core::{
    name::AgentName,
    observed::{InvocationId, Limits},
    resources::Usage,
};
use osmoda_runtime::Runtime;
use tokio::{
    sync::Mutex,
    time::{Instant, timeout_at},
};

use super::types::{AgentObject, AgentStatus, ResourceStatus};
use crate::detect::Asked;

/// Longest time that one answer spends looking.
pub const LOOK_TIME_MAX: Duration = Duration::from_millis(300);
/// How long a look stays good. CPU use is the mean over at least this long.
pub const FRESH: Duration = Duration::from_secs(1);

/// What can be measured of agents.
pub trait Gauge: Send + Sync + 'static {
    /// What this instance's process tree uses.
    fn usage(&self, agent: AgentName, invocation: InvocationId) -> Asked<io::Result<Usage>>;

    /// The limits on every instance that runs.
    fn limits(&self) -> Asked<BTreeMap<AgentName, Limits>>;
}

/// Asks the runtime.
pub struct RuntimeGauge<R> {
    runtime: Arc<R>,
}

impl<R: Runtime> RuntimeGauge<R> {
    /// A gauge of this runtime's agents.
    pub fn new(runtime: Arc<R>) -> Self {
        Self { runtime }
    }
}

impl<R: Runtime> Gauge for RuntimeGauge<R> {
    fn usage(&self, agent: AgentName, invocation: InvocationId) -> Asked<io::Result<Usage>> {
        let runtime = Arc::clone(&self.runtime);
        Box::pin(async move { runtime.usage(&agent, invocation).await })
    }

    fn limits(&self) -> Asked<BTreeMap<AgentName, Limits>> {
        let runtime = Arc::clone(&self.runtime);
        Box::pin(async move { runtime.limits().await })
    }
}

/// A gauge, and what it showed last.
pub struct Measures {
    gauge: Arc<dyn Gauge>,
    looks: Mutex<BTreeMap<AgentName, Look>>,
}

/// What an instance's process tree used when it was looked at last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Use {
    /// Memory, in bytes.
    pub memory_bytes: u64,
    /// CPU time since the instance began, in microseconds.
    pub cpu_us: u64,
    /// CPU since the look before, in percent of one CPU; absent at the first one.
    pub cpu_percent: Option<u32>,
}

#[derive(Debug, Clone)]
struct Look {
    invocation: InvocationId,
    at: Instant,
    used: Use,
}

impl Measures {
    /// Nothing has been looked at yet.
    pub fn new(gauge: Arc<dyn Gauge>) -> Self {
        Self {
            gauge,
            looks: Mutex::default(),
        }
    }

    /// The limits that hold now.
    pub async fn limits(&self) -> BTreeMap<AgentName, Limits> {
        self.gauge.limits().await
    }

    /// Fills in what the running ones among all agents use.
    pub(super) async fn fill_all(&self, agents: &mut [AgentObject]) {
        {
            let mut looks = self.looks.lock().await;
            let known: BTreeSet<&str> = (agents.iter())
                .map(|agent| agent.metadata.name.as_str())
                .collect();
            looks.retain(|name, _| known.contains(name.as_str()));
        }
        self.fill(agents).await;
    }

    /// Fills in what the running ones among these agents use.
    pub(super) async fn fill(&self, agents: &mut [AgentObject]) {
        let wanted = agents.iter().filter_map(wanted).collect();
        let used = self.use_of(wanted).await;
        for agent in agents.iter_mut().filter(|a| is_wanted(&a.status)) {
            let used = used.get(agent.metadata.name.as_str());
            agent.status.resources = used.map(|used| ResourceStatus {
                memory_bytes: Some(used.memory_bytes),
                cpu_percent: used.cpu_percent,
            });
        }
    }

    /// What the running ones use, where `agents` are all that there are.
    pub async fn use_of_all(
        &self,
        agents: &BTreeSet<AgentName>,
        running: Vec<(AgentName, InvocationId)>,
    ) -> BTreeMap<AgentName, Use> {
        self.looks
            .lock()
            .await
            .retain(|name, _| agents.contains(name));
        self.use_of(running).await
    }

    /// What these use; who could not be looked at in time and is not known from before is not
    /// among the answers.
    async fn use_of(&self, mut wanted: Vec<(AgentName, InvocationId)>) -> BTreeMap<AgentName, Use> {
        let deadline = Instant::now() + LOOK_TIME_MAX;
        // Two who ask at once share the looks of the first; who comes too late, what is known.
        let Ok(mut looks) = timeout_at(deadline, self.looks.lock()).await else {
            return BTreeMap::new();
        };
        wanted.sort_by_key(|(name, _)| looks.get(name).map(|look| look.at));
        let mut found = BTreeMap::new();
        for (name, invocation) in wanted {
            let known = looks
                .get(&name)
                .filter(|look| look.invocation == invocation)
                .cloned();
            let look = match &known {
                Some(look) if look.at.elapsed() < FRESH => None,
                known => {
                    let look = self.look(&name, invocation, known.as_ref());
                    timeout_at(deadline, look).await.ok().flatten()
                }
            };
            if let Some(shown) = look.as_ref().or(known.as_ref()) {
                found.insert(name.clone(), shown.used);
            }
            if let Some(look) = look {
                looks.insert(name, look);
            }
        }
        found
    }

    /// `None`: it has ended meanwhile, or its use cannot be read.
    async fn look(
        &self,
        name: &AgentName,
        invocation: InvocationId,
        before: Option<&Look>,
    ) -> Option<Look> {
        let usage = self.gauge.usage(name.clone(), invocation).await.ok()?;
        let at = Instant::now();
        let percent = |before: &Look| {
            let used = usage.cpu_us.saturating_sub(before.used.cpu_us);
            let passed = at.duration_since(before.at).as_micros().max(1);
            u32::try_from(u128::from(used) * 100 / passed).unwrap_or(u32::MAX)
        };
        let used = Use {
            memory_bytes: usage.memory_bytes,
            cpu_us: usage.cpu_us,
            cpu_percent: before.map(percent),
        };
        Some(Look {
            invocation,
            at,
            used,
        })
    }
}

fn wanted(agent: &AgentObject) -> Option<(AgentName, InvocationId)> {
    let invocation = agent.status.invocation.as_deref().unwrap_or_default();
    let name = AgentName::new(&agent.metadata.name).ok()?;
    let invocation = InvocationId::from_hex(invocation).ok()?;
    is_wanted(&agent.status).then_some((name, invocation))
}

fn is_wanted(status: &AgentStatus) -> bool {
    status.pid.is_some() && status.invocation.is_some() && status.resources.is_none()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use serde_json::json;

    use super::*;

    /// Each look finds 10 ms of CPU time and 1000 bytes more than the one before.
    #[derive(Default)]
    struct Busy {
        looks: AtomicU64,
        takes: Duration,
    }

    impl Gauge for Busy {
        fn usage(&self, _: AgentName, _: InvocationId) -> Asked<io::Result<Usage>> {
            let look = self.looks.fetch_add(1, Ordering::Relaxed) + 1;
            let takes = self.takes;
            Box::pin(async move {
                tokio::time::sleep(takes).await;
                Ok(Usage {
                    memory_bytes: look * 1000,
                    cpu_us: look * 10_000,
                })
            })
        }

        fn limits(&self) -> Asked<BTreeMap<AgentName, Limits>> {
            Box::pin(async { BTreeMap::new() })
        }
    }

    fn running(name: &str, invocation: u8) -> AgentObject {
        serde_json::from_value(json!({
            "apiVersion": "osmoda/v1", "kind": "Agent",
            "metadata": {"name": name, "labels": {}, "generation": 1},
            "spec": {},
            "status": {
                "phase": "Running", "ready": true, "message": "", "restarts": 0, "pid": 7,
                "invocation": InvocationId([invocation; 16]), "generation": {},
                "observedGeneration": 1, "conditions": [], "notEnforced": []
            }
        }))
        .unwrap()
    }

    /// Memory and CPU that one agent shows.
    async fn ask(measures: &Measures, invocation: u8) -> Option<(u64, Option<u32>)> {
        let mut agents = [running("a", invocation)];
        measures.fill_all(&mut agents).await;
        let shown = agents[0].status.resources.take()?;
        Some((shown.memory_bytes?, shown.cpu_percent))
    }

    #[tokio::test(start_paused = true)]
    async fn cpu_is_the_mean_since_the_look_before_and_a_fresh_look_is_kept() {
        let measures = Measures::new(Arc::new(Busy::default()));
        assert_eq!(ask(&measures, 1).await, Some((1000, None)));
        assert_eq!(ask(&measures, 1).await, Some((1000, None)));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(ask(&measures, 1).await, Some((2000, Some(1))));
        let another = ask(&measures, 2).await;
        assert_eq!(another, Some((3000, None)), "a new instance begins anew");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_does_not_run_is_not_looked_at() {
        let gauge = Arc::new(Busy::default());
        let measures = Measures::new(Arc::clone(&gauge) as Arc<dyn Gauge>);
        let mut agents = [running("a", 1)];
        agents[0].status.pid = None;
        measures.fill(&mut agents).await;
        assert_eq!(agents[0].status.resources, None);
        assert_eq!(gauge.looks.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_look_holds_an_answer_up_for_its_bound_and_the_rest_come_first_next_time() {
        let gauge = Busy {
            takes: LOOK_TIME_MAX * 2 / 3,
            ..Busy::default()
        };
        let measures = Measures::new(Arc::new(gauge));
        let seen = async || {
            let mut agents = [running("a", 1), running("b", 1)];
            measures.fill_all(&mut agents).await;
            agents.map(|agent| agent.status.resources.is_some())
        };
        let begun = Instant::now();
        assert_eq!(seen().await, [true, false]);
        assert_eq!(begun.elapsed(), LOOK_TIME_MAX);
        tokio::time::advance(FRESH).await;
        assert_eq!(
            seen().await,
            [true, true],
            "b first, and what was known of a"
        );
    }
}
