//! Timelines of real files.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use osmoda_core::{digest::Digest, event::EventKind, time::Wall};
use osmoda_ledger::{
    Cause, EntryRef, Reader, Store,
    export::{ExportOptions, export},
    timeline::{Filter, Input, Order, Timeline, TimelineError, build},
};
use serde_json::json;

use super::support::{HandClock, NOON, commit, draft, numbered, options_with, tamper};

const SECOND: i64 = 1_000_000;

fn input(path: &Path) -> Input {
    Input {
        path: path.to_owned(),
        size: u64::MAX,
        fault: None,
    }
}

fn told(paths: &[&PathBuf]) -> Timeline {
    let inputs: Vec<_> = paths.iter().map(|path| input(path)).collect();
    build(&inputs, &Filter::default()).unwrap()
}

/// `0:0 First, 1:0 Clock`: log, seq and why it stands there.
fn order(timeline: &Timeline) -> String {
    let shown = timeline
        .items
        .iter()
        .map(|item| format!("{}:{} {:?}", item.log, item.seq, item.order));
    shown.collect::<Vec<_>>().join(", ")
}

/// Two ledgers: b's second entry names a's first, whose clock is a minute ahead.
fn two_nodes(directory: &Path, named_leaf: Option<Digest>) -> [PathBuf; 2] {
    let [a, b] = ["a.db", "b.db"].map(|name| directory.join(name));
    let clock = HandClock::at_noon();
    clock.set(NOON + 60 * SECOND);
    let mut store = Store::open(&a, options_with(clock)).unwrap();
    let first = store.commit(&[numbered(0)]).unwrap().remove(0).remove(0);
    store.commit(&[numbered(1)]).unwrap();
    let mut store = Store::open(&b, options_with(HandClock::at_noon())).unwrap();
    let mut effect = draft(EventKind::Diff, json!({"n": 1}));
    let leaf = named_leaf.unwrap_or(first.reference.leaf);
    effect.causes = vec![Cause::Known(EntryRef {
        leaf,
        ..first.reference
    })];
    store.commit(&[numbered(0), commit(vec![effect])]).unwrap();
    [a, b]
}

#[test]
fn a_cause_in_another_nodes_ledger_goes_before_its_effect_whatever_the_clocks_say() {
    let directory = tempfile::tempdir().unwrap();
    let [a, b] = two_nodes(directory.path(), None);
    let timeline = told(&[&a, &b]);
    assert!(timeline.ok);
    let expected = "1:0 First, 0:0 Clock, 1:1 Cause, 0:1 Clock";
    assert_eq!(order(&timeline), expected);
    assert_eq!(timeline.items[2].known_before, [(0, 0)].into());
    assert_eq!(timeline.items[2].entry["body"]["n"], 1);
    assert_eq!(timeline.items[2].order, Order::Cause);
}

#[test]
fn an_export_tells_the_same_as_its_ledger() {
    let directory = tempfile::tempdir().unwrap();
    let [a, b] = two_nodes(directory.path(), None);
    let exported = directory.path().join("a.jsonl");
    let mut file = File::create(&exported).unwrap();
    export(
        &Reader::open(&a).unwrap(),
        &ExportOptions::default(),
        &mut file,
    )
    .unwrap();
    let (of_database, of_export) = (told(&[&a, &b]), told(&[&exported, &b]));
    assert_eq!(of_database.items, of_export.items);
    assert!(of_export.ok);
}

#[test]
fn an_effect_whose_cause_was_rewritten_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let [a, b] = two_nodes(directory.path(), Some(Digest::of(b"what it was before")));
    let timeline = told(&[&a, &b]);
    assert!(!timeline.ok);
    let [finding] = &timeline.findings[..] else {
        panic!("{:?}", timeline.findings);
    };
    assert_eq!((finding.log, finding.seq), (1, 1));
    assert!(finding.message.contains("rewritten"), "{finding:?}");
    assert!(!order(&timeline).contains("Cause"));
}

#[test]
fn the_ledger_that_was_set_aside_comes_before_the_one_that_took_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let mut store = Store::open(&path, options_with(HandClock::at_noon())).unwrap();
    store
        .commit(&[numbered(0), numbered(1), numbered(2)])
        .unwrap();
    drop(store);
    tamper(&path, "UPDATE entry SET body = x'00' WHERE seq = 2");
    let clock = HandClock::at_noon();
    clock.set(NOON - 3600 * SECOND); // the clock cannot help here
    let opened = Store::open_or_reset(&path, options_with(clock)).unwrap();
    let aside = opened.reset.unwrap().moved_to;
    drop(opened.ledger);
    let mut damaged = input(&aside);
    damaged.size = 2; // what verification found sound
    damaged.fault = Some("entry 2: its leaf is not the hash of its body".to_owned());
    let timeline = build(&[input(&path), damaged], &Filter::default()).unwrap();
    assert!(!timeline.ok, "one of the logs is not verified");
    assert_eq!(order(&timeline), "1:0 First, 1:1 Sequence, 0:0 Cause");
}

#[test]
fn two_copies_of_one_log_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let [a, _] = two_nodes(directory.path(), None);
    let copy = directory.path().join("copy.db");
    fs::copy(&a, &copy).unwrap();
    let refused = build(&[input(&a), input(&copy)], &Filter::default());
    assert!(
        matches!(refused, Err(TimelineError::SameLog { .. })),
        "{refused:?}"
    );
}

#[test]
fn only_what_is_asked_for_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let [a, b] = two_nodes(directory.path(), None);
    let filter = Filter {
        since: Some(Wall(NOON + SECOND)),
        ..Filter::default()
    };
    let timeline = build(&[input(&a), input(&b)], &filter).unwrap();
    assert_eq!(order(&timeline), "0:0 First, 0:1 Sequence");
    assert_eq!(timeline.logs[1].size, 2, "the rest was read all the same");
}
