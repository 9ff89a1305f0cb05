//! Logs in memory, merged; each `check` tells a story and expects it in one order.

use std::convert::Infallible;

use osmoda_core::{digest::Digest, time::Wall};
use proptest::prelude::*;

use super::{
    link::{Facts, Identity, Link},
    merge::{Log, Merger},
    source::Read,
};

/// A log whose entries have made-up leaves: the name of the log and the seq.
#[derive(Clone)]
struct Told {
    name: &'static str,
    entries: Vec<Read>,
    at: usize,
}

fn leaf(log: &str, seq: u64) -> Digest {
    Digest::of(format!("{log}{seq}").as_bytes())
}

/// Entries as (second of the clock, names of others): `(3, &["b0"])`.
fn log(name: &'static str, entries: &[(i64, &[&str])]) -> Told {
    let entry = |(seq, (second, links)): (usize, &(i64, &[&str]))| {
        let seq = seq as u64;
        let link = |named: &&str| {
            let (log, number) = named.split_at(1);
            let number = number.parse().unwrap();
            Link {
                log: log.to_owned(),
                seq: number,
                is: Identity::Leaf(leaf(log, number)),
            }
        };
        Read {
            seq,
            leaf: leaf(name, seq),
            body: None,
            facts: Facts {
                ts: Some(Wall(second * 1_000_000)),
                links: links.iter().map(link).collect(),
                ..Facts::default()
            },
        }
    };
    Told {
        name,
        entries: entries.iter().enumerate().map(entry).collect(),
        at: 0,
    }
}

impl Log for Told {
    type Error = Infallible;

    fn origin(&self) -> &str {
        self.name
    }

    fn next(&mut self) -> Result<Option<Read>, Infallible> {
        self.at += 1;
        Ok(self.entries.get(self.at - 1).cloned())
    }

    fn is(&self, seq: u64, identity: &Identity) -> Result<bool, Infallible> {
        Ok(*identity == Identity::Leaf(leaf(self.name, seq)))
    }
}

/// `a0 b0 a1`, with `=` before an entry that is certain to come after the one before it,
/// `!` after one that says what cannot be.
fn merged(logs: Vec<Told>) -> String {
    let names: Vec<_> = logs.iter().map(|log| log.name).collect();
    let mut merger = Merger::new(logs);
    let mut text = Vec::new();
    let mut last: Option<(usize, u64)> = None;
    while let Ok(Some(next)) = merger.next() {
        let sure =
            last.is_some_and(|(log, seq)| log == next.log || merger.knows(next.log, log, seq));
        let sign = if sure { "=" } else { "" };
        let bad = if next.findings.is_empty() { "" } else { "!" };
        text.push(format!("{sign}{}{}{bad}", names[next.log], next.entry.seq));
        last = Some((next.log, next.entry.seq));
    }
    text.join(" ")
}

#[test]
fn without_causes_the_clock_decides_and_only_a_logs_own_order_is_certain() {
    let a = log("a", &[(1, &[]), (2, &[]), (5, &[])]);
    let b = log("b", &[(3, &[]), (4, &[])]);
    assert_eq!(merged(vec![a, b]), "a0 =a1 b0 =b1 a2");
}

#[test]
fn a_cause_comes_first_even_if_its_clock_is_an_hour_ahead() {
    let a = log("a", &[(3600, &[]), (3601, &[])]);
    let b = log("b", &[(1, &[]), (2, &["a0"]), (3, &[])]);
    assert_eq!(merged(vec![a, b]), "b0 a0 =b1 =b2 a1");
}

#[test]
fn certainty_is_passed_on_from_log_to_log() {
    let a = log("a", &[(30, &[]), (31, &[])]);
    let b = log("b", &[(20, &["a0"]), (40, &[])]);
    let c = log("c", &[(10, &["b0"])]);
    let mut merger = Merger::new(vec![a.clone(), b.clone(), c.clone()]);
    for _ in 0..3 {
        merger.next().unwrap();
    }
    assert!(merger.knows(2, 0, 0), "c0 follows b0, which follows a0");
    assert!(!merger.knows(2, 0, 1), "nothing is known of a1");
    assert_eq!(merger.known_before(2), [(0, 0), (1, 0)].into());
    assert_eq!(merged(vec![a, b, c]), "a0 =b0 =c0 a1 b1");
}

#[test]
fn what_an_entry_knew_is_passed_on_and_not_what_its_log_learned_later() {
    let a = log("a", &[(1, &[])]);
    let b = log("b", &[(2, &[]), (3, &["a0"])]);
    let c = log("c", &[(4, &["b0"])]);
    let mut merger = Merger::new(vec![a, b, c]);
    for _ in 0..4 {
        merger.next().unwrap();
    }
    assert!(merger.knows(2, 1, 0));
    assert!(
        !merger.knows(2, 0, 0),
        "c0 names b0, which came before b heard of a0"
    );
}

#[test]
fn a_clock_that_goes_back_does_not_turn_a_log_round() {
    let a = log("a", &[(10, &[]), (2, &[]), (12, &[])]);
    let b = log("b", &[(5, &[]), (11, &[])]);
    assert_eq!(merged(vec![a, b]), "b0 a0 =a1 b1 a2");
}

#[test]
fn causes_in_logs_that_are_not_here_hold_nothing_up() {
    let a = log("a", &[(1, &["x7"]), (2, &[])]);
    assert_eq!(merged(vec![a]), "a0 =a1");
}

#[test]
fn a_cause_that_a_copy_does_not_reach_is_found() {
    let a = log("a", &[(1, &["b5"])]);
    let b = log("b", &[(2, &[])]);
    assert_eq!(merged(vec![a, b]), "b0 a0!");
}

#[test]
fn a_cause_with_another_hash_is_found_and_makes_nothing_certain() {
    let a = log("a", &[(1, &[])]);
    let mut b = log("b", &[(2, &["a0"])]);
    b.entries[0].facts.links[0].is = Identity::Leaf(leaf("a", 99));
    assert_eq!(merged(vec![a, b]), "a0 b0!");
}

#[test]
fn logs_that_contradict_each_other_are_told_all_the_same() {
    let a = log("a", &[(1, &["b1"]), (2, &[])]);
    let b = log("b", &[(3, &["a1"]), (4, &[])]);
    assert_eq!(merged(vec![a, b]), "a0! =a1 =b0 =b1");
}

proptest! {
    /// Whatever the clocks say: no entry is lost, no log is turned round, and no entry comes
    /// before one that it names.
    #[test]
    fn every_order_respects_sequence_and_cause(
        clocks in prop::collection::vec(prop::collection::vec(0i64..50, 0..12), 3),
        names in prop::collection::vec((0usize..3, 0usize..12, 0usize..3, 0usize..12), 0..10),
    ) {
        const NAMES: [&str; 3] = ["a", "b", "c"];
        let mut logs: Vec<Told> = clocks
            .iter()
            .zip(NAMES)
            .map(|(seconds, name)| {
                let entries: Vec<(i64, &[&str])> = seconds.iter().map(|s| (*s, &[][..])).collect();
                log(name, &entries)
            })
            .collect();
        // Later rounds name earlier ones, so that no contradiction is possible.
        for (from, seq, to, named) in names {
            if from != to && named < seq && seq < logs[from].entries.len() && named < logs[to].entries.len() {
                logs[from].entries[seq].facts.links.push(Link {
                    log: NAMES[to].to_owned(),
                    seq: named as u64,
                    is: Identity::Leaf(leaf(NAMES[to], named as u64)),
                });
            }
        }
        let total: usize = logs.iter().map(|log| log.entries.len()).sum();
        let mut merger = Merger::new(logs);
        let mut given = [0u64; 3];
        let mut count = 0;
        while let Ok(Some(next)) = merger.next() {
            prop_assert_eq!(next.entry.seq, given[next.log]);
            prop_assert!(next.findings.is_empty());
            for link in &next.entry.facts.links {
                let other = NAMES.iter().position(|name| *name == link.log).unwrap();
                prop_assert!(link.seq < given[other]);
                prop_assert!(merger.knows(next.log, other, link.seq));
            }
            given[next.log] += 1;
            count += 1;
        }
        prop_assert_eq!(count, total);
    }
}
