//! What an agent says of itself, and how long its silence may last.
//!
//! The words are those of sd_notify(3); heartbeats read from output or from a file end up in
//! the same state. Folding them in and judging the silence are pure; the notify socket and the
//! watchers only bring the news.
//!
//! Invariants: a deadline never moves earlier through an extension; silence is judged only as
//! far as somebody has really listened ([`Heartbeat::heard_until`]).

use std::time::Duration;

use crate::{
    spec::{self, HeartbeatSource},
    time::Mono,
};

/// Longest extension that one EXTEND_TIMEOUT_USEC grants.
pub const EXTENSION_MAX: Duration = Duration::from_secs(3600);
/// Shortest heartbeat timeout an agent may ask for with WATCHDOG_USEC.
pub const TIMEOUT_MIN: Duration = Duration::from_millis(10);
/// An extension is news for the loop, which remembers it for later daemons, if it reaches further
/// than the one before by this much. Those who extend their deadline all the time are heard all
/// the same, and cost a record now and then.
pub const EXTENSION_NOTED: Duration = Duration::from_secs(1);
/// Most bytes kept of a STATUS=.
pub const STATUS_MAX: usize = 512;

/// One assignment of a notification (sd_notify(3)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// `READY=1`: start-up, or a reload, is complete.
    Ready,
    /// `RELOADING=1`: its configuration is being read again, since when by its own
    /// `MONOTONIC_USEC=`; `READY=1` ends that.
    Reloading(Option<Mono>),
    /// `STOPPING=1`: it is ending on its own.
    Stopping,
    /// `STATUS=`: what it is doing, for people.
    Status(String),
    /// `ERRNO=`: why it is about to fail (errno(3)).
    Errno(i32),
    /// `WATCHDOG=1`: it is alive.
    Beat,
    /// `WATCHDOG=trigger`: it asks to be treated as hung.
    Trigger,
    /// `WATCHDOG_USEC=`: its heartbeat timeout from now on; `Duration::MAX` for none.
    Timeout(Duration),
    /// `EXTEND_TIMEOUT_USEC=`: no deadline before this much time has passed.
    Extend(Duration),
}

/// What has been heard of one instance.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Heartbeat {
    /// When it said READY=1 first.
    pub ready_at: Option<Mono>,
    /// Since when it reloads.
    pub reloading_since: Option<Mono>,
    /// Since when it ends on its own.
    pub stopping_since: Option<Mono>,
    /// Its last STATUS=, at most [`STATUS_MAX`] bytes.
    pub status: String,
    /// Its last ERRNO=.
    pub errno: Option<i32>,
    /// Its last heartbeat.
    pub last: Option<Mono>,
    /// When it asked to be treated as hung.
    pub triggered_at: Option<Mono>,
    /// The timeout that it asked for itself.
    pub timeout: Option<Duration>,
    /// No deadline is due before this.
    pub extended_until: Option<Mono>,
    /// Output and File: until when somebody has looked. A notification is heard at once.
    pub heard_until: Option<Mono>,
}

/// What its silence means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// Nothing: the deadline lies ahead.
    Within {
        /// The deadline.
        deadline: Mono,
    },
    /// It hangs.
    Overdue {
        /// Last sign of life, or when the wait for one began.
        since: Mono,
        /// The deadline that passed.
        deadline: Mono,
    },
}

impl Heartbeat {
    /// Folds a notice in. Says whether a decision may follow from it, or is to be remembered: a
    /// beat only moves a deadline away, and whoever waits for the old one looks again then.
    pub fn hear(&mut self, notice: &Notice, now: Mono) -> bool {
        let decisive = |heartbeat: &Self| {
            let Self {
                ready_at,
                stopping_since,
                triggered_at,
                timeout,
                last,
                ..
            } = heartbeat;
            let beats_unready = ready_at.is_none() && last.is_some();
            let told = (*ready_at, *stopping_since, *triggered_at, *timeout);
            (told, beats_unready)
        };
        let before = (decisive(self), self.extended_until);
        self.fold(notice, now);
        let extended = match (before.1, self.extended_until) {
            (Some(before), Some(until)) => until.since(before) > EXTENSION_NOTED,
            (before, until) => before != until,
        };
        decisive(self) != before.0 || extended
    }

    /// Adds what was heard of the same instance before, perhaps by an earlier daemon. What it
    /// has said since holds.
    pub fn recall(&mut self, before: &Self) {
        self.ready_at = self.ready_at.or(before.ready_at);
        self.timeout = self.timeout.or(before.timeout);
        self.extended_until = self.extended_until.max(before.extended_until);
        self.stopping_since = self.stopping_since.or(before.stopping_since);
    }

    fn fold(&mut self, notice: &Notice, now: Mono) {
        match notice {
            Notice::Ready => {
                self.ready_at.get_or_insert(now);
                self.reloading_since = None;
            }
            Notice::Reloading(since) => {
                // Not before it was ready, and not in the future, whatever it says.
                let earliest = self.ready_at.unwrap_or(now);
                self.reloading_since = Some(since.unwrap_or(now).clamp(earliest.min(now), now));
            }
            Notice::Stopping => {
                self.stopping_since.get_or_insert(now);
            }
            Notice::Status(text) => self.status = cut(text, STATUS_MAX).to_owned(),
            Notice::Errno(errno) => self.errno = Some(*errno),
            Notice::Beat => self.beat(now),
            Notice::Trigger => {
                self.triggered_at.get_or_insert(now);
            }
            Notice::Timeout(timeout) => {
                self.timeout = Some((*timeout).max(TIMEOUT_MIN));
                self.beat(now); // a new timeout runs from now, as in systemd
            }
            Notice::Extend(time) => {
                let until = now.after((*time).min(EXTENSION_MAX));
                self.extended_until = Some(self.extended_until.map_or(until, |at| at.max(until)));
            }
        }
    }

    /// A sign of life at `at`; one that is older than the last is no news.
    pub fn beat(&mut self, at: Mono) {
        self.last = Some(self.last.map_or(at, |last| last.max(at)));
    }

    /// `at`, or the end of an extension that reaches further.
    pub fn extended(&self, at: Mono) -> Mono {
        self.extended_until.map_or(at, |until| until.max(at))
    }

    /// Judges the silence since `armed_at`, when heartbeats began to be expected.
    pub fn judge(&self, rules: &spec::Heartbeat, armed_at: Mono, now: Mono) -> Silence {
        let since = self.last.map_or(armed_at, |last| last.max(armed_at));
        if let Some(deadline) = self.triggered_at {
            return Silence::Overdue { since, deadline };
        }
        let timeout = match rules.source {
            HeartbeatSource::Notify => self.timeout.unwrap_or(rules.timeout.get()),
            HeartbeatSource::Output | HeartbeatSource::File(_) => rules.timeout.get(),
        };
        let deadline = self.extended(since.after(timeout));
        let heard_until = match rules.source {
            HeartbeatSource::Notify => now,
            HeartbeatSource::Output | HeartbeatSource::File(_) => {
                self.heard_until.unwrap_or(armed_at)
            }
        };
        if now.min(heard_until) >= deadline {
            Silence::Overdue { since, deadline }
        } else {
            Silence::Within { deadline }
        }
    }
}

/// The longest beginning of `text` of at most `max` bytes that ends between characters.
pub(crate) fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Period;

    const S: u64 = 1_000_000;

    fn rules(source: HeartbeatSource) -> spec::Heartbeat {
        spec::Heartbeat {
            source,
            timeout: Period::secs(15),
        }
    }

    fn overdue(heartbeat: &Heartbeat, source: HeartbeatSource, now: u64) -> bool {
        let judged = heartbeat.judge(&rules(source), Mono(0), Mono(now));
        matches!(judged, Silence::Overdue { .. })
    }

    #[test]
    fn silence_is_a_hang_exactly_at_the_deadline() {
        let mut heartbeat = Heartbeat::default();
        heartbeat.hear(&Notice::Beat, Mono(2 * S));
        assert!(!overdue(&heartbeat, HeartbeatSource::Notify, 17 * S - 1));
        assert!(overdue(&heartbeat, HeartbeatSource::Notify, 17 * S));
    }

    #[test]
    fn a_long_call_that_extends_its_deadline_is_not_a_hang_even_if_a_beat_follows() {
        let mut heartbeat = Heartbeat::default();
        heartbeat.hear(&Notice::Extend(Duration::from_secs(60)), Mono(S));
        heartbeat.hear(&Notice::Beat, Mono(2 * S));
        assert!(!overdue(&heartbeat, HeartbeatSource::Notify, 61 * S - 1));
        assert!(overdue(&heartbeat, HeartbeatSource::Notify, 61 * S));
    }

    #[test]
    fn an_extension_ends_after_an_hour_at_the_latest() {
        let mut heartbeat = Heartbeat::default();
        heartbeat.hear(&Notice::Extend(Duration::MAX), Mono(0));
        assert!(!overdue(&heartbeat, HeartbeatSource::Notify, 3600 * S - 1));
        assert!(overdue(&heartbeat, HeartbeatSource::Notify, 3600 * S));
    }

    #[test]
    fn an_agent_may_change_its_own_timeout_and_ask_to_be_treated_as_hung() {
        let mut heartbeat = Heartbeat::default();
        heartbeat.hear(&Notice::Timeout(Duration::from_secs(1)), Mono(5 * S));
        assert!(!overdue(&heartbeat, HeartbeatSource::Notify, 6 * S - 1));
        assert!(overdue(&heartbeat, HeartbeatSource::Notify, 6 * S));
        heartbeat.hear(&Notice::Beat, Mono(6 * S));
        heartbeat.hear(&Notice::Trigger, Mono(6 * S));
        assert!(overdue(&heartbeat, HeartbeatSource::Notify, 6 * S));
    }

    #[test]
    fn output_is_judged_only_as_far_as_somebody_has_looked() {
        let mut heartbeat = Heartbeat::default();
        assert!(!overdue(&heartbeat, HeartbeatSource::Output, 99 * S));
        heartbeat.heard_until = Some(Mono(15 * S));
        assert!(overdue(&heartbeat, HeartbeatSource::Output, 99 * S));
        heartbeat.beat(Mono(14 * S));
        assert!(!overdue(&heartbeat, HeartbeatSource::Output, 99 * S));
    }

    #[test]
    fn only_news_that_may_call_for_a_decision_says_so() {
        let mut heartbeat = Heartbeat::default();
        let mut hear = |notice: Notice| heartbeat.hear(&notice, Mono(S));
        assert!(
            hear(Notice::Beat),
            "of an adopted one it says that it is ready"
        );
        assert!(!hear(Notice::Beat));
        assert!(hear(Notice::Ready));
        assert!(!hear(Notice::Beat));
        assert!(hear(Notice::Extend(Duration::from_secs(1))));
        assert!(
            !hear(Notice::Extend(Duration::from_secs(2))),
            "hardly further"
        );
        assert!(
            hear(Notice::Extend(Duration::from_secs(4))),
            "to be remembered"
        );
        assert!(!hear(Notice::Extend(Duration::from_secs(1))), "behind that");
        assert!(!hear(Notice::Status("busy".into())));
        assert!(hear(Notice::Timeout(Duration::from_secs(1))));
        assert!(!hear(Notice::Timeout(Duration::from_secs(1))));
        assert!(!hear(Notice::Reloading(None)));
        assert!(!hear(Notice::Ready), "the end of a reload is no new start");
        assert!(hear(Notice::Trigger));
        assert!(hear(Notice::Stopping));
        assert!(!hear(Notice::Stopping));
    }

    #[test]
    fn a_reload_that_never_ends_is_no_hang_while_beats_go_on() {
        let mut heartbeat = Heartbeat::default();
        heartbeat.hear(&Notice::Ready, Mono(0));
        heartbeat.hear(&Notice::Reloading(None), Mono(S));
        for second in (2..100).step_by(10) {
            assert!(!overdue(&heartbeat, HeartbeatSource::Notify, second * S));
            heartbeat.hear(&Notice::Beat, Mono(second * S));
        }
        assert_eq!(heartbeat.reloading_since, Some(Mono(S)));
        assert!(overdue(&heartbeat, HeartbeatSource::Notify, 107 * S));
    }

    #[test]
    fn a_reload_began_when_it_says_but_not_before_it_was_ready_nor_in_the_future() {
        let mut heartbeat = Heartbeat::default();
        let mut since = |said, now| {
            heartbeat.hear(&Notice::Reloading(said), Mono(now));
            heartbeat.reloading_since
        };
        assert_eq!(since(Some(Mono(1)), 2 * S), Some(Mono(2 * S)), "unready");
        heartbeat.hear(&Notice::Ready, Mono(3 * S));
        let mut since = |said, now| {
            heartbeat.hear(&Notice::Reloading(said), Mono(now));
            heartbeat.reloading_since
        };
        assert_eq!(since(Some(Mono(5 * S)), 6 * S), Some(Mono(5 * S)));
        assert_eq!(since(Some(Mono(0)), 6 * S), Some(Mono(3 * S)));
        assert_eq!(since(Some(Mono(9 * S)), 6 * S), Some(Mono(6 * S)));
        assert_eq!(since(None, 7 * S), Some(Mono(7 * S)));
        heartbeat.hear(&Notice::Ready, Mono(8 * S));
        assert_eq!(heartbeat.reloading_since, None);
    }

    #[test]
    fn a_status_is_cut_between_characters() {
        let mut heartbeat = Heartbeat::default();
        heartbeat.hear(&Notice::Status("ü".repeat(STATUS_MAX)), Mono(0));
        assert_eq!(heartbeat.status, "ü".repeat(STATUS_MAX / 2));
    }
}
