//! Where detectors write what they see of running instances, and the loop reads it.
//!
//! A detector folds its news in and wakes the loop only when the loop may have something to
//! decide; the truth is then read from here, so that late, lost or doubled wake-ups do no harm.
//! What is told of an instance that is not the followed one is dropped, except what it says of
//! itself: it may speak as soon as it runs, and is followed only after that. The vitals of an ended
//! instance stay until the next one is followed: they say what it was doing last.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use osmoda_core::{
    health::Vitals, heartbeat::Heartbeat, name::AgentName, observed::InvocationId, time::Mono,
};
use tokio::sync::mpsc;

use super::notify::Ignored;

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
    followed: Mutex<HashMap<AgentName, (InvocationId, Vitals)>>,
    /// What instances said before they were followed; one an agent.
    early: Mutex<HashMap<AgentName, (InvocationId, Heartbeat)>>,
    ignored: Mutex<BTreeMap<Ignored, u64>>,
    wake: mpsc::UnboundedSender<AgentName>,
    listen: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl Board {
    /// An empty board, and where it says whom to look at.
    pub fn new() -> (Self, mpsc::UnboundedReceiver<AgentName>) {
        let (wake, woken) = mpsc::unbounded_channel();
        let inner = Inner {
            followed: Mutex::default(),
            early: Mutex::default(),
            ignored: Mutex::default(),
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

    fn followed(&self) -> MutexGuard<'_, HashMap<AgentName, (InvocationId, Vitals)>> {
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
            self.wake(agent);
        }
    }

    /// Has the loop look at an agent.
    pub fn wake(&self, agent: &AgentName) {
        let _ = self.inner.wake.send(agent.clone()); // a loop that is gone needs no news
    }

    /// Folds in what an instance says of itself; `hear` says whether a decision may follow from
    /// it. Who gets [`Wake::Loop`] has to call [`Board::wake`] in time: that may serve many.
    pub fn hear(
        &self,
        agent: &AgentName,
        invocation: InvocationId,
        hear: impl FnOnce(&mut Heartbeat) -> bool,
    ) -> Wake {
        let mut followed = self.followed();
        let decisive = match followed.get_mut(agent) {
            Some((known, vitals)) if *known == invocation => hear(&mut vitals.heartbeat),
            _ => {
                // Whoever begins to follow it looks at it then.
                let mut early = self
                    .inner
                    .early
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                let fresh = || (invocation, Heartbeat::default());
                let slot = early.entry(agent.clone()).or_insert_with(fresh);
                if slot.0 != invocation {
                    *slot = fresh();
                }
                hear(&mut slot.1);
                false
            }
        };
        if decisive { Wake::Loop } else { Wake::Nobody }
    }

    /// Counts a notification that was not taken in.
    pub fn ignore(&self, why: Ignored) {
        let mut ignored = self
            .inner
            .ignored
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *ignored.entry(why).or_default() += 1;
    }

    /// How many notifications were not taken in so far, by reason.
    pub fn ignored(&self) -> BTreeMap<Ignored, u64> {
        let ignored = self
            .inner
            .ignored
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        ignored.clone()
    }

    /// What is known of an instance.
    pub fn vitals(&self, agent: &AgentName, invocation: InvocationId) -> Option<Vitals> {
        let followed = self.followed();
        let (known, vitals) = followed.get(agent)?;
        (*known == invocation).then(|| vitals.clone())
    }

    /// Begins with an instance, or anew with it. What it has said of itself stays known.
    pub(super) fn follow(&self, agent: &AgentName, invocation: InvocationId, vitals: Vitals) {
        let mut followed = self.followed();
        let mut early = self
            .inner
            .early
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let early = early
            .remove(agent)
            .filter(|(known, _)| *known == invocation);
        let known = followed
            .get(agent)
            .filter(|(known, _)| *known == invocation);
        let said = known.map(|(_, vitals)| vitals.heartbeat.clone());
        let said = said.or_else(|| early.map(|(_, said)| said));
        let mut heartbeat = said.unwrap_or_else(|| vitals.heartbeat.clone());
        heartbeat.recall(&vitals.heartbeat);
        let vitals = Vitals {
            heartbeat,
            ..vitals
        };
        followed.insert(agent.clone(), (invocation, vitals));
    }

    /// Keeps what an instance said that ended before anybody followed it.
    pub fn keep_last_words(&self, agent: &AgentName, invocation: InvocationId, since: Mono) {
        let early = self
            .inner
            .early
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let spoke = early
            .get(agent)
            .is_some_and(|(known, _)| *known == invocation);
        drop(early);
        if spoke {
            self.follow(agent, invocation, Vitals::new(since));
        }
    }

    /// Forgets an agent that is gone.
    pub(crate) fn forget(&self, agent: &AgentName) {
        self.followed().remove(agent);
        let mut early = self
            .inner
            .early
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        early.remove(agent);
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
    /// in a queue, no end without the last words, and nothing of an old instance is taken for
    /// the next one's.
    pub fn listen(&self) {
        if let Some(listen) = self.inner.listen.get() {
            listen();
        }
    }
}

#[cfg(test)]
mod tests {
    use osmoda_core::heartbeat::Notice;

    use super::*;

    fn agent() -> AgentName {
        AgentName::new("a").unwrap()
    }

    fn hear(board: &Board, invocation: InvocationId, notice: &Notice) -> Wake {
        let at = Mono(7);
        board.hear(&agent(), invocation, |heartbeat| heartbeat.hear(notice, at))
    }

    const FIRST: InvocationId = InvocationId([1; 16]);
    const NEXT: InvocationId = InvocationId([2; 16]);

    #[test]
    fn what_an_earlier_daemon_heard_is_kept_beside_what_is_said_before_it_is_followed() {
        let (board, _woken) = Board::new();
        hear(&board, FIRST, &Notice::Beat);
        let mut vitals = Vitals::new(Mono(5));
        vitals.heartbeat.ready_at = Some(Mono(5));
        board.follow(&agent(), FIRST, vitals);
        let heartbeat = board.vitals(&agent(), FIRST).unwrap().heartbeat;
        assert_eq!(
            (heartbeat.ready_at, heartbeat.last),
            (Some(Mono(5)), Some(Mono(7)))
        );
    }

    #[test]
    fn what_an_instance_says_before_it_is_followed_is_not_lost() {
        let (board, _woken) = Board::new();
        board.follow(&agent(), FIRST, Vitals::new(Mono(1)));
        assert_eq!(hear(&board, NEXT, &Notice::Ready), Wake::Nobody);
        assert_eq!(
            board.vitals(&agent(), FIRST).unwrap().heartbeat.ready_at,
            None
        );
        board.follow(&agent(), NEXT, Vitals::new(Mono(5)));
        let heartbeat = board.vitals(&agent(), NEXT).unwrap().heartbeat;
        assert_eq!(heartbeat.ready_at, Some(Mono(7)));
    }

    #[test]
    fn what_another_instance_said_early_is_not_taken_for_the_followed_ones() {
        let (board, _woken) = Board::new();
        hear(&board, FIRST, &Notice::Ready);
        board.follow(&agent(), NEXT, Vitals::new(Mono(5)));
        let heartbeat = board.vitals(&agent(), NEXT).unwrap().heartbeat;
        assert_eq!(heartbeat, Heartbeat::default());
    }

    #[test]
    fn whoever_begins_anew_with_an_instance_keeps_what_it_said_meanwhile() {
        let (board, _woken) = Board::new();
        board.follow(&agent(), FIRST, Vitals::new(Mono(1)));
        let before = board.vitals(&agent(), FIRST).unwrap();
        assert_eq!(hear(&board, FIRST, &Notice::Ready), Wake::Loop);
        board.follow(&agent(), FIRST, before);
        let heartbeat = board.vitals(&agent(), FIRST).unwrap().heartbeat;
        assert_eq!(heartbeat.ready_at, Some(Mono(7)));
    }

    #[test]
    fn what_is_ignored_is_counted_by_reason() {
        let (board, _woken) = Board::new();
        board.ignore(Ignored::Stranger);
        board.ignore(Ignored::Stranger);
        board.ignore(Ignored::Malformed);
        let expected = BTreeMap::from([(Ignored::Stranger, 2), (Ignored::Malformed, 1)]);
        assert_eq!(board.ignored(), expected);
    }
}
