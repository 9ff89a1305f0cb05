//! What agents use and which limits hold on them, measured when somebody asks.
//!
//! An agent with a threshold is sampled by its detector, and the loop tells its use; the others
//! are looked at here, outside of the loop. Invariants: nobody is looked at more often than every
//! [`FRESH`]; one who asks waits at most [`LOOK_TIME_MAX`] for the looks, and for those at all
//! agents [`LIST_TIME_MAX`], while the looks go on for the next one who asks; who could not be
//! looked at in time comes first the next time, and shows what was known before.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use osmoda_core::{
    name::AgentName,
    observed::{InvocationId, Limits},
    resources::Usage,
};
use osmoda_runtime::Runtime;
use tokio::time::{Instant, timeout, timeout_at};

use super::types::{AgentObject, AgentStatus, ResourceStatus};
use crate::detect::Asked;

/// Longest time that is spent looking because somebody asked.
pub const LOOK_TIME_MAX: Duration = Duration::from_millis(300);
/// Longest time that an answer about all agents waits for it: a few hundred looks.
pub const LIST_TIME_MAX: Duration = Duration::from_millis(10);
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
    looker: Arc<Looker>,
}

/// Looks at agents, in rounds: one round at a time, each of which outlives who asked for it.
struct Looker {
    gauge: Arc<dyn Gauge>,
    looks: Mutex<BTreeMap<AgentName, Look>>,
    round: tokio::sync::Mutex<()>,
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
        let looker = Looker {
            gauge,
            looks: Mutex::default(),
            round: tokio::sync::Mutex::default(),
        };
        Self {
            looker: Arc::new(looker),
        }
    }

    /// The limits that hold now.
    pub async fn limits(&self) -> BTreeMap<AgentName, Limits> {
        self.looker.gauge.limits().await
    }

    /// Fills in what the running ones among all agents use.
    pub(super) async fn fill_all(&self, agents: &mut [AgentObject]) {
        let known = agents.iter().map(|agent| agent.metadata.name.as_str());
        let known: BTreeSet<&str> = known.collect();
        self.looker.keep(|name| known.contains(name.as_str()));
        self.fill_within(agents, LIST_TIME_MAX).await;
    }

    /// Fills in what the running ones among these agents use.
    pub(super) async fn fill(&self, agents: &mut [AgentObject]) {
        self.fill_within(agents, LOOK_TIME_MAX).await;
    }

    async fn fill_within(&self, agents: &mut [AgentObject], wait: Duration) {
        let wanted: Vec<_> = agents.iter().filter_map(wanted).collect();
        let used = self.use_of(wanted, wait).await;
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
        self.looker.keep(|name| agents.contains(name));
        self.use_of(running, LOOK_TIME_MAX).await
    }

    /// What these use; who could not be looked at in time and is not known from before is not
    /// among the answers.
    async fn use_of(
        &self,
        wanted: Vec<(AgentName, InvocationId)>,
        wait: Duration,
    ) -> BTreeMap<AgentName, Use> {
        let stale = self.looker.stale(&wanted);
        if !stale.is_empty() {
            let round = tokio::spawn(Arc::clone(&self.looker).round(stale));
            // Too late, it goes on; a panic in it is reported by the scheduler.
            let _ = timeout(wait, round).await;
        }
        let looks = self.looker.looks();
        let known = wanted.into_iter().filter_map(|(name, invocation)| {
            let look = looks.get(&name).filter(|l| l.invocation == invocation)?;
            Some((name, look.used))
        });
        known.collect()
    }
}

impl Looker {
    fn looks(&self) -> MutexGuard<'_, BTreeMap<AgentName, Look>> {
        // Each change is a single insertion.
        self.looks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, is_there: impl Fn(&AgentName) -> bool) {
        self.looks().retain(|name, _| is_there(name));
    }

    /// Those whose use is not known, or not fresh: first those looked at the longest ago.
    fn stale(&self, wanted: &[(AgentName, InvocationId)]) -> Vec<(AgentName, InvocationId)> {
        let looks = self.looks();
        let at = |(name, invocation): &(AgentName, InvocationId)| {
            let look = looks.get(name).filter(|l| l.invocation == *invocation);
            look.map(|look| look.at)
        };
        let is_stale =
            |of: &&(AgentName, InvocationId)| at(of).is_none_or(|at| at.elapsed() >= FRESH);
        let mut stale: Vec<_> = wanted.iter().filter(is_stale).cloned().collect();
        stale.sort_by_key(at);
        stale
    }

    /// Looks at these, as far as time allows. Two who ask at once share the looks of the first.
    async fn round(self: Arc<Self>, wanted: Vec<(AgentName, InvocationId)>) {
        let deadline = Instant::now() + LOOK_TIME_MAX;
        let Ok(_round) = timeout_at(deadline, self.round.lock()).await else {
            return;
        };
        for (name, invocation) in self.stale(&wanted) {
            let before = self.looks().get(&name).cloned();
            let before = before.filter(|look| look.invocation == invocation);
            let looking = self.look(&name, invocation, before.as_ref());
            match timeout_at(deadline, looking).await {
                Ok(Some(look)) => _ = self.looks().insert(name, look),
                Ok(None) => {}
                Err(_) => return,
            }
        }
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
        let measures = Measures::new(Arc::new(Busy {
            takes: LOOK_TIME_MAX * 2 / 3,
            ..Busy::default()
        }));
        let seen = async || {
            let mut agents = [running("a", 1), running("b", 1)];
            measures.fill(&mut agents).await;
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

    #[tokio::test(start_paused = true)]
    async fn a_list_does_not_wait_for_looks_that_go_on_for_the_next_one_who_asks() {
        let gauge = Arc::new(Busy {
            takes: LIST_TIME_MAX * 2,
            ..Busy::default()
        });
        let measures = Measures::new(Arc::clone(&gauge) as Arc<dyn Gauge>);
        let seen = async || {
            let mut agents = [running("a", 1), running("b", 1)];
            measures.fill_all(&mut agents).await;
            agents.map(|agent| agent.status.resources.is_some())
        };
        let begun = Instant::now();
        assert_eq!(seen().await, [false, false]);
        assert_eq!(begun.elapsed(), LIST_TIME_MAX);
        // The round that was begun ends by itself.
        drop(measures.looker.round.lock().await);
        assert_eq!(seen().await, [true, true]);
        assert_eq!(gauge.looks.load(Ordering::Relaxed), 2, "each once");
    }
}
