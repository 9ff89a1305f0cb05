//! The rules of alerts as tables: what is told, under which key, and what a storm makes of it.

use std::{collections::BTreeMap, time::Duration};

use super::*;
use crate::{
    event::EventKind::{self, *},
    name::AgentName,
    spec::{
        Alert, AlertProvider,
        Severity::{self, *},
    },
    time::{Mono, Wall},
};

fn agent(name: &str) -> AgentName {
    AgentName::new(name).unwrap()
}

fn receiver(provider: AlertProvider) -> Alert {
    Alert {
        name: "ops".into(),
        provider,
        url_file: None,
        key_file: None,
        chat_id: None,
        min_severity: Warning,
        labels: BTreeMap::new(),
        kinds: Vec::new(),
    }
}

fn fact(kind: EventKind) -> Fact<'static> {
    Fact {
        kind,
        agent: None,
        incident: None,
        about: None,
        restarts: false,
        explained: false,
        marked: false,
    }
}

/// A desk and the time there, in seconds.
struct Scene {
    desk: Desk,
    alert: Alert,
    now: u64,
}

impl Scene {
    fn new(provider: AlertProvider) -> Self {
        Self {
            desk: Desk::default(),
            alert: receiver(provider),
            now: 1,
        }
    }

    /// What is done about an entry: `Send Trigger KEY`.
    fn after(&mut self, kind: EventKind, name: &str, incident: Option<&str>) -> Vec<String> {
        let name = agent(name);
        let fact = Fact {
            agent: Some(&name),
            incident,
            marked: kind == SpecChanged,
            ..fact(kind)
        };
        self.take(&fact)
    }

    fn take(&mut self, fact: &Fact<'_>) -> Vec<String> {
        let Some(signal) = judge(fact) else {
            return Vec::new();
        };
        let stamp = Stamp {
            node: "n",
            now: Mono(self.now * 1_000_000),
            wall: Wall(i64::try_from(self.now).unwrap()),
        };
        let labels = BTreeMap::from([("team".to_owned(), "red".to_owned())]);
        let labels = fact.agent.map(|_| &labels);
        let filter = Filter::of(&self.alert);
        let orders = self.desk.take(&filter, &signal, labels, stamp);
        let shown = |order: Order| match order {
            Order::Send(post) => format!("Send {:?} {}", post.change, post.key),
            Order::Count(post) => format!("Count {:?} {}", post.change, post.key),
        };
        orders.into_iter().map(shown).collect()
    }
}

#[test]
fn what_heals_by_itself_is_less_urgent_than_what_does_not() {
    let severity = |fact: Fact<'_>| judge(&fact).map(|signal| (signal.change, signal.severity));
    let of_incident = |kind| Fact {
        incident: Some("i1"),
        ..fact(kind)
    };
    let failure = of_incident(FailureDetected);
    let cases: [(Fact<'_>, Option<(Change, Severity)>); 13] = [
        (fact(EscalationExhausted), Some((Change::Note, Critical))),
        (
            Fact {
                restarts: true,
                ..failure
            },
            Some((Change::Trigger, Info)),
        ),
        (failure, Some((Change::Trigger, Warning))),
        (
            Fact {
                explained: true,
                ..failure
            },
            None,
        ),
        (of_incident(GenerationBad), Some((Change::Trigger, Warning))),
        (
            of_incident(EscalationExhausted),
            Some((Change::Trigger, Critical)),
        ),
        (
            of_incident(RollbackFailed),
            Some((Change::Trigger, Critical)),
        ),
        (of_incident(HealthVerified), Some((Change::Resolve, Info))),
        (of_incident(AnchorFailed), Some((Change::Trigger, Warning))),
        (
            Fact {
                marked: true,
                ..of_incident(AnchorFailed)
            },
            Some((Change::Trigger, Critical)),
        ),
        (fact(LogReset), Some((Change::Note, Critical))),
        (fact(ActionIntended), None),
        (fact(AlertFailed), None),
    ];
    for (fact, expected) in cases {
        assert_eq!(severity(fact), expected, "{fact:?}");
    }
}

#[test]
fn an_incident_is_triggered_once_and_resolved_once() {
    let mut pager = Scene::new(AlertProvider::PagerDuty);
    let key = "osmoda/n/incident/i1";
    assert_eq!(
        pager.after(GenerationBad, "a", Some("i1")),
        [format!("Send Trigger {key}")]
    );
    assert_eq!(pager.after(GenerationBad, "a", Some("i1")), [""; 0]);
    assert_eq!(
        pager.after(HealthVerified, "a", Some("i1")),
        [format!("Send Resolve {key}")]
    );
    assert_eq!(pager.after(HealthVerified, "a", Some("i1")), [""; 0]);
    assert_eq!(pager.desk.open().len(), 0);
}

#[test]
fn a_severity_that_rises_has_a_key_of_its_own_and_both_are_resolved() {
    let raised = "osmoda/n/incident/i1/Critical";
    let mut pager = Scene::new(AlertProvider::Opsgenie);
    pager.after(GenerationBad, "a", Some("i1"));
    assert_eq!(
        pager.after(EscalationExhausted, "a", Some("i1")),
        [format!("Send Trigger {raised}")]
    );
    assert_eq!(
        pager.after(GenerationBad, "a", Some("i1")),
        [""; 0],
        "less urgent: no news"
    );
    let resolved = pager.after(HealthVerified, "a", Some("i1"));
    assert_eq!(
        resolved,
        [
            "Send Resolve osmoda/n/incident/i1".to_owned(),
            format!("Send Resolve {raised}")
        ]
    );
    let mut chat = Scene::new(AlertProvider::Slack);
    chat.after(GenerationBad, "a", Some("i1"));
    chat.after(EscalationExhausted, "a", Some("i1"));
    let resolved = chat.after(HealthVerified, "a", Some("i1"));
    assert_eq!(
        resolved,
        [format!("Send Resolve {raised}")],
        "people read one"
    );
}

#[test]
fn what_was_not_told_is_not_resolved() {
    let mut pager = Scene::new(AlertProvider::PagerDuty);
    let healed = Fact {
        restarts: true,
        incident: Some("i1"),
        ..fact(FailureDetected)
    };
    assert_eq!(pager.take(&healed), [""; 0], "less than a Warning");
    assert_eq!(pager.after(HealthVerified, "a", Some("i1")), [""; 0]);
}

#[test]
fn what_comes_again_has_another_key() {
    let mut pager = Scene::new(AlertProvider::PagerDuty);
    let first = pager.after(ActionFailed, "a", None);
    assert_eq!(first, ["Send Trigger osmoda/n/agent/a/ActionFailed/1"]);
    pager.now = 5;
    assert_eq!(pager.after(ActionFailed, "a", None), [""; 0]);
    let resolved = pager.after(ActionSucceeded, "a", None);
    assert_eq!(resolved, ["Send Resolve osmoda/n/agent/a/ActionFailed/1"]);
    let second = pager.after(ActionFailed, "a", None);
    assert_eq!(second, ["Send Trigger osmoda/n/agent/a/ActionFailed/5"]);
}

#[test]
fn an_agent_that_is_removed_leaves_nothing_open() {
    let mut pager = Scene::new(AlertProvider::PagerDuty);
    pager.after(GenerationBad, "a", Some("i1"));
    pager.after(GenerationBad, "b", Some("i2"));
    assert_eq!(
        pager.after(SpecChanged, "a", None),
        ["Send Resolve osmoda/n/incident/i1"]
    );
    assert_eq!(pager.desk.open().len(), 1);
}

#[test]
fn a_receiver_gets_what_it_asked_for() {
    let mut scene = Scene::new(AlertProvider::Webhook);
    let healed = |scene: &mut Scene, incident: &'static str| {
        let name = agent("a");
        let failure = Fact {
            restarts: true,
            incident: Some(incident),
            agent: Some(&name),
            ..fact(FailureDetected)
        };
        scene.take(&failure).len()
    };
    assert_eq!(healed(&mut scene, "i0"), 0);
    scene.alert.kinds = vec!["FailureDetected".into()];
    assert_eq!(
        healed(&mut scene, "i1"),
        1,
        "a kind that is named is wanted"
    );
    assert_eq!(
        scene.after(GenerationBad, "a", Some("i2")),
        [""; 0],
        "another kind"
    );
    scene.alert.min_severity = Critical;
    assert_eq!(healed(&mut scene, "i3"), 0, "only what is critical");
    scene.alert = receiver(AlertProvider::Webhook);
    scene.alert.labels = BTreeMap::from([("team".into(), "red".into())]);
    assert_eq!(scene.after(GenerationBad, "a", Some("i4")).len(), 1);
    scene.alert.labels = BTreeMap::from([("team".into(), "blue".into())]);
    assert_eq!(
        scene.after(GenerationBad, "a", Some("i5")),
        [""; 0],
        "another team"
    );
    assert_eq!(
        scene.take(&fact(LogReset)),
        [""; 0],
        "no agent, so no agent of the team"
    );
}

#[test]
fn in_a_storm_messages_are_counted_together() {
    let mut pager = Scene::new(AlertProvider::PagerDuty);
    for n in 0..desk::STORM_MAX {
        let sent = pager.after(GenerationBad, "a", Some(&format!("i{n}")));
        assert_eq!(sent, [format!("Send Trigger osmoda/n/incident/i{n}")]);
    }
    let counted = pager.after(GenerationBad, "b", Some("x"));
    assert_eq!(counted, ["Count Trigger osmoda/n/storm/1"]);
    assert_eq!(pager.after(GenerationBad, "c", Some("y")), counted);
    pager.now += desk::STORM_COLLECT.as_secs();
    let next = pager.after(GenerationBad, "d", Some("z"));
    assert_eq!(
        next,
        ["Count Trigger osmoda/n/storm/61"],
        "the first one is on its way"
    );
    assert_eq!(
        pager.after(HealthVerified, "b", Some("x")),
        [""; 0],
        "one is still broken"
    );
    assert_eq!(
        pager.after(HealthVerified, "c", Some("y")),
        ["Send Resolve osmoda/n/storm/1"]
    );
    pager.now += desk::STORM_WINDOW.as_secs();
    let calm = pager.after(GenerationBad, "e", Some("w"));
    assert_eq!(calm, ["Send Trigger osmoda/n/incident/w"]);
}

#[test]
fn keys_are_short_and_differ_however_long_the_subject_is() {
    let mut pager = Scene::new(AlertProvider::PagerDuty);
    let mut key_of = |end: char| {
        let about = format!("{}{end}", "ü".repeat(500));
        let fact = Fact {
            about: Some(&about),
            ..fact(AnchorFailed)
        };
        pager.take(&fact).concat().replace("Send Trigger ", "")
    };
    let (one, other) = (key_of('1'), key_of('2'));
    assert_ne!(one, other);
    for key in [one, other] {
        assert!(key.len() <= desk::KEY_MAX, "{} bytes", key.len());
    }
}

#[test]
fn what_is_open_is_bounded() {
    let mut pager = Scene::new(AlertProvider::PagerDuty);
    for n in 0..=desk::OPEN_MAX {
        pager.now += 1;
        pager.after(GenerationBad, "a", Some(&format!("i{n}")));
    }
    assert_eq!(pager.desk.open().len(), desk::OPEN_MAX);
    assert!(
        !pager.desk.open().contains_key("incident/i0"),
        "the oldest goes"
    );
}

#[test]
fn waits_double_up_to_a_bound_and_never_undercut_what_was_asked() {
    let seconds = |failures, draw, asked| patience::wait(failures, draw, asked).as_millis();
    assert_eq!(seconds(1, 0.0, None), 1000);
    assert_eq!(seconds(1, 1.0, None), 800, "jitter shortens");
    assert_eq!(seconds(4, 0.0, None), 8000);
    assert_eq!(seconds(1000, 0.0, None), 900_000);
    assert_eq!(seconds(1, 0.0, Some(Duration::from_secs(30))), 30_000);
    assert_eq!(seconds(1, 0.0, Some(Duration::from_secs(86_400))), 900_000);
    for failures in 1..40 {
        let (shorter, longer) = (
            seconds(failures, 1.0, None),
            seconds(failures + 1, 1.0, None),
        );
        assert!(shorter <= longer, "after {failures} failures");
    }
}

#[test]
fn a_message_is_given_up_after_a_week_and_not_because_a_clock_was_set_back() {
    let day = 86_400_000_000;
    assert!(!patience::is_over(Wall(0), Wall(7 * day)));
    assert!(patience::is_over(Wall(0), Wall(7 * day + 1)));
    assert!(!patience::is_over(Wall(9 * day), Wall(0)));
}

#[test]
fn damage_is_told_as_its_own_thing_and_resolved_when_the_closure_is_found_whole() {
    let owner = agent("a");
    let found = |marked| Fact {
        agent: Some(&owner),
        about: Some("closure /nix/store/x"),
        marked,
        ..fact(ClosureVerified)
    };
    let damaged = judge(&found(true)).unwrap();
    assert_eq!(
        (damaged.severity, damaged.change),
        (Warning, Change::Trigger)
    );
    assert_eq!(damaged.agent, Some(agent("a")));
    let whole = judge(&found(false)).unwrap();
    assert_eq!(
        (whole.change, &whole.subject),
        (Change::Resolve, &damaged.subject)
    );
    assert_eq!(damaged.subject.to_string(), "node/closure /nix/store/x");
}

#[test]
fn what_is_wrong_with_the_system_is_open_until_a_system_is_good() {
    let of_system = |kind| Fact {
        about: Some("system"),
        ..fact(kind)
    };
    let bad = judge(&of_system(GenerationBad)).unwrap();
    assert_eq!(bad.change, Change::Trigger);
    let held = judge(&of_system(EscalationExhausted)).unwrap();
    assert_eq!((held.change, held.severity), (Change::Trigger, Critical));
    let good = judge(&of_system(GenerationGood)).unwrap();
    assert_eq!((good.change, good.subject), (Change::Resolve, bad.subject));
    let owner = agent("a");
    let of_agent = Fact {
        agent: Some(&owner),
        ..fact(GenerationGood)
    };
    assert_eq!(judge(&of_agent), None);
}
