//! Where detectors write what they see of running instances, and the loop reads it.
//!
//! A detector folds its news in and wakes the loop only when the loop may have something to
//! decide; the truth is then read from here, so that late, lost or doubled wake-ups do no harm.
//! What is told of an instance that is not the followed one is dropped. The vitals of an ended
//! instance stay until the next one is followed: they say what it was doing last.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use osmoda_core::{health::Vitals, name::AgentName, observed::InvocationId, time::Mono};
use tokio::sync::mpsc;

/// Whether the loop is to look at an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// What was noted may call for a decision.
    Loop,
    /// Nobody needs to act on it.
    Nobody,
}

/// Clones are handles to the same board.
#[derive(Clone)]
pub struct Board {
    inner: Arc<Inner>,
}

struct Inner {
    followed: Mutex<BTreeMap<AgentName, (InvocationId, Vitals)>>,
    wake: mpsc::UnboundedSender<AgentName>,
    listen: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl Board {
    /// An empty board, and where it says whom to look at.
    pub fn new() -> (Self, mpsc::UnboundedReceiver<AgentName>) {
        let (wake, woken) = mpsc::unbounded_channel();
        let inner = Inner {
            followed: Mutex::default(),
            wake,
            listen: OnceLock::new(),
        };
        (
            Self {
                inner: Arc::new(inner),
            },
            woken,
        )
    }

    fn followed(&self) -> MutexGuard<'_, BTreeMap<AgentName, (InvocationId, Vitals)>> {
        self.inner
            .followed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes something about an instance; `note` says whether the loop is to look.
    pub fn note(
        &self,
        agent: &AgentName,
        invocation: InvocationId,
        note: impl FnOnce(&mut Vitals) -> Wake,
    ) {
        let wake = match self.followed().get_mut(agent) {
            Some((followed, vitals)) if *followed == invocation => note(vitals),
            _ => Wake::Nobody,
        };
        if wake == Wake::Loop {
            let _ = self.inner.wake.send(agent.clone()); // a loop that is gone needs no news
        }
    }

    /// What is known of an instance.
    pub fn vitals(&self, agent: &AgentName, invocation: InvocationId) -> Option<Vitals> {
        let followed = self.followed();
        let (known, vitals) = followed.get(agent)?;
        (*known == invocation).then(|| vitals.clone())
    }

    /// Begins with an instance.
    pub(super) fn follow(&self, agent: &AgentName, invocation: InvocationId, vitals: Vitals) {
        self.followed().insert(agent.clone(), (invocation, vitals));
    }

    pub(super) fn forget(&self, agent: &AgentName) {
        self.followed().remove(agent);
    }

    /// Forgives everybody what should have happened before `now`.
    pub(super) fn excuse_all(&self, now: Mono) {
        for (_, vitals) in self.followed().values_mut() {
            vitals.excused_at = Some(now);
        }
    }

    /// Says how news that waits unread at the edge is taken in; once.
    pub fn listen_with(&self, listen: impl Fn() + Send + Sync + 'static) {
        let _ = self.inner.listen.set(Box::new(listen)); // the first one stays
    }

    /// Takes in what waits unread, so that nobody's silence is judged while its heartbeat lies
    /// in a queue.
    pub fn listen(&self) {
        if let Some(listen) = self.inner.listen.get() {
            listen();
        }
    }
}
