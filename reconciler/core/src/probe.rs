//! Thresholds of probes: many answers in, one verdict out, with Kubernetes' meanings.
//!
//! Initially a liveness probe counts as succeeded, a readiness probe as failed, a startup probe
//! as unknown. A verdict changes after as many equal answers in a row as its threshold asks
//! for. After a liveness or startup probe has failed, it is not asked again before the next
//! instance. When it is asked and who answers are no concern of the fold.

use std::time::Duration;

use crate::{
    heartbeat::cut,
    spec::{self, ProbeCheck, Probes},
    time::Mono,
};

/// Failures in a row after which a liveness probe that serves as startup probe has failed.
pub const LIVENESS_AS_STARTUP_FAILURES: u32 = 30;
/// After a start, network probes are also tried this often ...
pub const FAST_INTERVAL: Duration = Duration::from_millis(25);
/// ... for this long, failures uncounted, so that health is seen at once.
pub const FAST_FOR: Duration = Duration::from_secs(2);
/// A try of who is well comes earlier than its period asks for by less than one part in this many
/// of it, together with others.
const SLACK_PARTS: u32 = 50;
/// Most bytes kept of a probe's answer.
pub const ANSWER_MAX: usize = 1024;

/// Which of the three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum ProbeKind {
    Startup,
    Readiness,
    Liveness,
}

impl ProbeKind {
    /// The field of `spec.probes`.
    pub fn field(self) -> &'static str {
        match self {
            Self::Startup => "startup",
            Self::Readiness => "readiness",
            Self::Liveness => "liveness",
        }
    }
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is well.
    Success,
    /// It is well, with something that people should hear: a redirect to elsewhere that was not
    /// followed. Counts as a success.
    Warning(String),
    /// It is not, or could not be asked; why, for people.
    Failure(String),
    /// Nobody could ask, for want of something that the host is out of. That says nothing about
    /// it: neither a success nor a failure.
    Unasked(String),
}

impl Answer {
    /// Whether it is well.
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Success | Self::Warning(_))
    }
}

/// What the answers so far amount to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Verdict {
    Unknown,
    Success,
    Failure,
}

/// The answers to one probe of one instance, folded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeState {
    /// Which probe.
    pub kind: ProbeKind,
    /// What the answers amount to.
    pub verdict: Verdict,
    /// When the verdict became what it is.
    pub since: Mono,
    /// Equal answers in a row, the last one included.
    pub run: u32,
    /// When the first answer of the run was given.
    pub run_since: Mono,
    /// Why the last answer was a failure, or what it warned of; empty after a plain success.
    pub message: String,
    last: Option<bool>,
}

impl ProbeState {
    /// No answer yet.
    pub fn new(kind: ProbeKind, now: Mono) -> Self {
        let verdict = match kind {
            ProbeKind::Startup => Verdict::Unknown,
            ProbeKind::Readiness => Verdict::Failure,
            ProbeKind::Liveness => Verdict::Success,
        };
        Self {
            kind,
            verdict,
            since: now,
            run: 0,
            run_since: now,
            message: String::new(),
            last: None,
        }
    }

    /// Whether it is asked no more before the next instance: a startup probe that has decided,
    /// a liveness probe that has failed.
    pub fn is_settled(&self) -> bool {
        match self.kind {
            ProbeKind::Startup => self.verdict != Verdict::Unknown,
            ProbeKind::Readiness => false,
            ProbeKind::Liveness => self.verdict == Verdict::Failure,
        }
    }

    /// Folds an answer in; gives whether the verdict changed.
    pub fn fold(&mut self, rules: &spec::Probe, answer: &Answer, now: Mono) -> bool {
        if self.is_settled() {
            return false;
        }
        let success = answer.is_success();
        match answer {
            Answer::Success => self.message.clear(),
            Answer::Warning(said) | Answer::Failure(said) | Answer::Unasked(said) => {
                self.message = cut(said, ANSWER_MAX).to_owned();
            }
        }
        if matches!(answer, Answer::Unasked(_)) {
            return false;
        }
        if self.last == Some(success) {
            self.run = self.run.saturating_add(1);
        } else {
            self.last = Some(success);
            self.run = 1;
            self.run_since = now;
        }
        let (threshold, verdict) = match success {
            true => (rules.success_threshold, Verdict::Success),
            false => (rules.failure_threshold, Verdict::Failure),
        };
        if self.run < threshold || self.verdict == verdict {
            return false;
        }
        self.verdict = verdict;
        self.since = now;
        true
    }

    /// Folds in the answer to a try between the regular ones: a success counts, a failure is
    /// nothing. Gives whether the verdict changed.
    pub fn fold_extra(&mut self, rules: &spec::Probe, answer: &Answer, now: Mono) -> bool {
        answer.is_success() && self.fold(rules, answer, now)
    }

    /// Whether extra tries help: it is asked over the network, and not known to be well.
    pub fn is_hurried(&self, rules: &spec::Probe) -> bool {
        !is_local(rules) && self.verdict != Verdict::Success
    }

    /// Time from the start of one counted try to the start of the next: shorter while failures
    /// add up to a verdict. A try that takes longer is followed by the next at once.
    pub fn interval(&self, rules: &spec::Probe) -> Duration {
        let undecided = self.last == Some(false) && self.verdict != Verdict::Failure;
        match undecided && self.kind != ProbeKind::Startup {
            true => rules.retry_interval.get().min(rules.period.get()),
            false => rules.period.get(),
        }
    }

    /// When the next counted try is due after one that began at `from`: an interval later. Who is
    /// well and asked over the network is asked together with others, earlier by less than a part
    /// in [`SLACK_PARTS`] of its period, so that a thousand probes are not as many wakeups. A try
    /// that began a little late, as they all do, changes nothing: from the second one on each is
    /// a period after the one before.
    pub fn due_after(&self, from: Mono, rules: &spec::Probe) -> Mono {
        let due = from.after(self.interval(rules));
        match self.verdict == Verdict::Success && self.last == Some(true) && !is_local(rules) {
            true => due.rounded_down(rules.period.get() / SLACK_PARTS),
            false => due,
        }
    }
}

/// Whether it starts a process instead of asking over the network.
fn is_local(rules: &spec::Probe) -> bool {
    matches!(rules.check, ProbeCheck::Exec { .. })
}

impl Probes {
    /// What gates the start: the startup probe, or else the liveness probe with more patience,
    /// so that a slow starter is not killed.
    pub fn gate(&self) -> Option<spec::Probe> {
        self.startup.clone().or_else(|| {
            self.liveness.clone().map(|liveness| spec::Probe {
                failure_threshold: liveness.failure_threshold.max(LIVENESS_AS_STARTUP_FAILURES),
                success_threshold: 1,
                ..liveness
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::ProbeCheck;

    fn rules(successes: u32, failures: u32) -> spec::Probe {
        let command = vec!["true".to_owned()];
        let mut rules = spec::Probe::new(ProbeCheck::Exec { command });
        rules.success_threshold = successes;
        rules.failure_threshold = failures;
        rules
    }

    /// Verdicts after each answer: `+` is a success, `-` a failure.
    fn verdicts(kind: ProbeKind, rules: &spec::Probe, answers: &str) -> Vec<Verdict> {
        let mut state = ProbeState::new(kind, Mono(0));
        let mut fold = |answer| {
            let answer = match answer {
                '+' => Answer::Success,
                _ => Answer::Failure("no".into()),
            };
            state.fold(rules, &answer, Mono(1));
            state.verdict
        };
        answers.chars().map(&mut fold).collect()
    }

    use Verdict::{Failure as F, Success as S, Unknown as U};

    #[test]
    fn before_any_answer_liveness_is_well_readiness_is_not_and_startup_is_unknown() {
        let initial = |kind| ProbeState::new(kind, Mono(0)).verdict;
        assert_eq!(initial(ProbeKind::Liveness), S);
        assert_eq!(initial(ProbeKind::Readiness), F);
        assert_eq!(initial(ProbeKind::Startup), U);
    }

    #[test]
    fn a_verdict_takes_as_many_equal_answers_in_a_row_as_its_threshold() {
        let seen = verdicts(ProbeKind::Readiness, &rules(2, 3), "+-++--+---");
        assert_eq!(seen, [F, F, F, S, S, S, S, S, S, F]);
    }

    #[test]
    fn a_failed_liveness_probe_stays_failed_until_the_next_instance() {
        let seen = verdicts(ProbeKind::Liveness, &rules(1, 3), "---++");
        assert_eq!(seen, [S, S, F, F, F]);
    }

    #[test]
    fn a_startup_probe_decides_once() {
        assert_eq!(
            verdicts(ProbeKind::Startup, &rules(1, 2), "-+--"),
            [U, S, S, S]
        );
        assert_eq!(verdicts(ProbeKind::Startup, &rules(1, 2), "--+"), [U, F, F]);
    }

    #[test]
    fn a_warning_is_a_success_that_is_heard() {
        let rules = rules(1, 3);
        let mut state = ProbeState::new(ProbeKind::Readiness, Mono(0));
        assert!(state.fold(&rules, &Answer::Warning("elsewhere".into()), Mono(1)));
        assert_eq!((state.verdict, &*state.message), (S, "elsewhere"));
        state.fold(&rules, &Answer::Success, Mono(2));
        assert_eq!(state.message, "");
    }

    #[test]
    fn what_nobody_could_ask_changes_nothing_and_is_heard() {
        let rules = rules(2, 2);
        let mut state = ProbeState::new(ProbeKind::Readiness, Mono(0));
        let mut said = Vec::new();
        for answer in ["+", "?", "+", "-", "?", "?", "?", "-"] {
            let answer = match answer {
                "+" => Answer::Success,
                "-" => Answer::Failure("no".into()),
                _ => Answer::Unasked("too many open files".into()),
            };
            state.fold(&rules, &answer, Mono(1));
            said.push((state.verdict, state.run, state.message.clone()));
        }
        let verdicts: Vec<_> = said.iter().map(|(verdict, ..)| *verdict).collect();
        assert_eq!(verdicts, [F, F, S, S, S, S, S, F]);
        assert_eq!(said[6], (S, 1, "too many open files".to_owned()));
    }

    #[test]
    fn an_extra_try_can_only_succeed() {
        let rules = rules(2, 1);
        let mut state = ProbeState::new(ProbeKind::Startup, Mono(0));
        for _ in 0..9 {
            assert!(!state.fold_extra(&rules, &Answer::Failure("no".into()), Mono(1)));
        }
        assert!(!state.fold_extra(&rules, &Answer::Success, Mono(2)));
        assert!(!state.fold_extra(&rules, &Answer::Failure("no".into()), Mono(3)));
        assert!(state.fold_extra(&rules, &Answer::Success, Mono(4)));
        assert_eq!(state.verdict, S);
    }

    #[test]
    fn only_what_is_asked_over_the_network_and_not_yet_well_is_hurried() {
        let exec = rules(1, 3);
        let host = "127.0.0.1".to_owned();
        let tcp = spec::Probe::new(ProbeCheck::TcpSocket { host, port: 1 });
        let hurried = |kind, rules| ProbeState::new(kind, Mono(0)).is_hurried(rules);
        assert!(hurried(ProbeKind::Startup, &tcp));
        assert!(hurried(ProbeKind::Readiness, &tcp));
        assert!(!hurried(ProbeKind::Liveness, &tcp));
        assert!(!hurried(ProbeKind::Startup, &exec));
    }

    #[test]
    fn who_is_well_is_asked_together_with_others_and_then_exactly_at_its_period() {
        let host = "127.0.0.1".to_owned();
        let tcp = spec::Probe::new(ProbeCheck::TcpSocket { host, port: 1 });
        let exec = rules(1, 3);
        let period = tcp.period.get();
        let from = Mono(1_234_567);
        let exact = from.after(period);
        let mut state = ProbeState::new(ProbeKind::Readiness, from);
        assert_eq!(state.due_after(from, &tcp), exact, "not known to be well");
        state.fold(&tcp, &Answer::Success, from);
        let due = state.due_after(from, &tcp);
        assert_eq!(due, Mono(1_730_000), "a multiple of 10 ms");
        let late = due.after(Duration::from_millis(3));
        assert_eq!(state.due_after(late, &tcp), due.after(period));
        assert_eq!(state.due_after(from, &exec), exact, "it starts a process");
        state.fold(&tcp, &Answer::Failure("no".into()), due);
        let retry = due.after(tcp.retry_interval.get());
        assert_eq!(state.due_after(due, &tcp), retry);
    }

    #[test]
    fn a_liveness_probe_without_a_startup_probe_gates_the_start_with_patience() {
        let mut probes = Probes {
            liveness: Some(rules(1, 3)),
            ..Probes::default()
        };
        assert_eq!(probes.gate().unwrap().failure_threshold, 30);
        probes.startup = Some(rules(1, 7));
        assert_eq!(probes.gate().unwrap().failure_threshold, 7);
    }

    #[test]
    fn after_a_first_failure_the_next_tries_come_sooner() {
        let rules = rules(1, 3);
        let mut state = ProbeState::new(ProbeKind::Liveness, Mono(0));
        assert_eq!(state.interval(&rules), rules.period.get());
        state.fold(&rules, &Answer::Failure("no".into()), Mono(1));
        assert_eq!(state.interval(&rules), rules.retry_interval.get());
    }
}
