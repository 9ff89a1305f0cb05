//! Reports on real files.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use osmoda_core::{
    digest::Digest,
    event::{Actor, EventKind},
    time::Wall,
};
use osmoda_ledger::{
    Commit, IncidentRef, Reader, StateChange, Store,
    anchor::{AnchorState, Anchored},
    export::{ExportOptions, export},
    report::{AuditReport, Bound, CheckpointGiven, report},
};
use serde_json::json;

use super::support::{HandClock, NOON, commit, draft, numbered, of_agent, options_with, tamper};

const SECOND: i64 = 1_000_000;

/// Ten entries, a second apart: seven numbered, then an incident of three.
fn ten(directory: &Path) -> (PathBuf, Vec<Digest>) {
    let path = directory.join("ledger.db");
    let clock = HandClock::at_noon();
    let mut store = Store::open(&path, options_with(clock.clone())).unwrap();
    let mut roots = vec![store.head().root];
    let incident = |kind, body| {
        let mut draft = of_agent("writer", draft(kind, body));
        draft.incident = Some(IncidentRef::Known("i-1".to_owned()));
        commit(vec![draft])
    };
    let times = json!({"reason": "Recovered", "timeToDetectUs": 40,
        "timeToRestartUs": 2000, "timeToVerifyUs": 90_000});
    let told = [
        incident(EventKind::FailureDetected, json!({"reason": "Crashed"})),
        incident(EventKind::ActionIntended, json!({"action": "Start"})),
        incident(EventKind::HealthVerified, times),
    ];
    for (n, commit) in (0..7).map(numbered).chain(told).enumerate() {
        clock.set(NOON + n as i64 * SECOND);
        store.commit(&[commit]).unwrap();
        roots.push(store.head().root);
    }
    (path, roots)
}

fn given(origin: &str, size: u64, root: Digest) -> Bound {
    Bound::Checkpoint(CheckpointGiven {
        origin: origin.to_owned(),
        size,
        root,
        signed_by: Vec::new(),
    })
}

fn between(path: &Path, from: Bound, to: Bound) -> AuditReport {
    report(path, &from, &to, |_, _| ()).unwrap()
}

#[test]
fn between_two_checkpoints_every_entry_is_there_and_counted() {
    let directory = tempfile::tempdir().unwrap();
    let (path, roots) = ten(directory.path());
    let origin = Reader::open(&path).unwrap().head().unwrap().origin;
    let found = between(
        &path,
        given(&origin, 5, roots[5]),
        given(&origin, 10, roots[10]),
    );
    assert!(found.ok, "{:?}", found.faults);
    let population = &found.population;
    assert_eq!(
        (population.entries, population.present, population.complete),
        (5, 5, true)
    );
    assert_eq!(
        (population.first_seq, population.last_seq),
        (Some(5), Some(9))
    );
    assert_eq!(found.kinds["Diff"], 2);
    assert_eq!(found.agents["writer"].failures, 1);
    assert_eq!(found.from.matches_checkpoint, Some(true));
    let [incident] = &found.incidents[..] else {
        panic!("{:?}", found.incidents);
    };
    assert_eq!(
        (incident.reason.as_str(), incident.first_seq),
        ("Crashed", 7)
    );
    assert_eq!(found.incident_figures.time_to_restart.median_us, Some(2000));
    let recovery = found.criteria.iter().find(|row| row.id == "CC7.5").unwrap();
    assert_eq!(recovery.entries["HealthVerified"], 1);
}

#[test]
fn a_checkpoint_of_another_history_or_another_log_is_a_fault() {
    let directory = tempfile::tempdir().unwrap();
    let (path, roots) = ten(directory.path());
    let origin = Reader::open(&path).unwrap().head().unwrap().origin;
    for (bound, part) in [
        (given(&origin, 5, roots[4]), "rewritten"),
        (given(&origin, 11, roots[10]), "it was cut"),
        (given("b/osmoda/0", 5, roots[5]), "is of the log b/osmoda/0"),
    ] {
        let found = between(&path, Bound::Start, bound);
        assert!(!found.ok, "{part}");
        assert!(found.faults[0].contains(part), "{:?}", found.faults);
    }
}

#[test]
fn a_period_of_time_is_the_entries_of_that_time() {
    let directory = tempfile::tempdir().unwrap();
    let (path, _) = ten(directory.path());
    let at = |second: i64| Bound::Time(Wall(NOON + second * SECOND));
    let found = between(&path, at(2), at(6));
    assert_eq!((found.from.size, found.to.size), (2, 6));
    assert_eq!(found.population.present, 4);
    assert!(found.incidents.is_empty());
    let after = between(&path, at(100), Bound::End);
    assert_eq!((after.from.size, after.to.size), (10, 10));
    assert!(after.population.complete && after.population.entries == 0);
}

#[test]
fn an_incident_that_is_open_at_the_end_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let (path, _) = ten(directory.path());
    let found = between(&path, Bound::Start, Bound::Size(9));
    assert_eq!(
        (
            found.incident_figures.open,
            found.incident_figures.recovered
        ),
        (1, 0)
    );
    assert_eq!(found.incidents[0].recovery, None);
    let later = between(&path, Bound::Size(9), Bound::End);
    assert_eq!(
        later.incident_figures.recovered, 1,
        "it ended in this period"
    );
}

#[test]
fn a_ledger_that_is_not_sound_gives_no_figures() {
    let directory = tempfile::tempdir().unwrap();
    let (path, _) = ten(directory.path());
    tamper(&path, "UPDATE entry SET body = x'7b7d' WHERE seq = 3");
    let found = between(&path, Bound::Start, Bound::End);
    assert!(!found.ok);
    assert_eq!(found.verification.first_bad, Some(3));
    assert_eq!(found.population.present, 0);
}

#[test]
fn an_export_gives_the_same_figures() {
    let directory = tempfile::tempdir().unwrap();
    let (path, _) = ten(directory.path());
    let exported = directory.path().join("ledger.jsonl");
    let mut file = File::create(&exported).unwrap();
    export(
        &Reader::open(&path).unwrap(),
        &ExportOptions::default(),
        &mut file,
    )
    .unwrap();
    let [of_database, of_export] =
        [&path, &exported].map(|path| between(path, Bound::Size(1), Bound::End));
    assert_eq!(of_database.population, of_export.population);
    assert_eq!(of_database.incidents, of_export.incidents);
    assert_eq!(of_database.to.root, of_export.to.root);
}

#[test]
fn what_no_anchor_has_taken_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let (path, roots) = ten(directory.path());
    let mut store = Store::open(&path, options_with(HandClock::at_noon())).unwrap();
    let state = AnchorState {
        last: Some(Anchored {
            size: 6,
            root: roots[6],
            at: Wall(NOON).to_string(),
            note: String::new(),
        }),
        ..AnchorState::new("directory /mnt/a")
    };
    let put = StateChange::Put {
        key: state.key(),
        value: serde_json::to_vec(&state).unwrap(),
    };
    store
        .commit(&[Commit {
            entries: Vec::new(),
            state: vec![put],
        }])
        .unwrap();
    let found = between(&path, Bound::Start, Bound::End);
    assert_eq!(
        (found.anchoring.anchored, found.anchoring.unanchored),
        (6, 4)
    );
    assert!(!found.anchoring.unknown);
}

#[test]
fn operators_are_counted_by_what_they_did_and_what_was_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let mut store = Store::open(&path, options_with(HandClock::at_noon())).unwrap();
    for accepted in [true, false, true] {
        let mut command = draft(
            EventKind::OperatorCommand,
            json!({"verb": "restart", "reason": "", "accepted": accepted}),
        );
        command.actor = Actor::Operator {
            uid: 1000,
            gid: 1000,
            pid: 1,
            command: "osmoda".to_owned(),
        };
        store.commit(&[commit(vec![command])]).unwrap();
    }
    let found = between(&path, Bound::Start, Bound::End);
    let [operator] = &found.operators[..] else {
        panic!("{:?}", found.operators);
    };
    assert_eq!(
        (operator.uid, operator.accepted, operator.refused),
        (1000, 2, 1)
    );
}
