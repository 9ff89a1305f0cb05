//! The handle: many at once, one fsync; order, faults and the end.

use osmoda_core::event::EventKind;
use osmoda_ledger::{Cause, CommitError, Ledger, Store};
use serde_json::json;

use crate::support::*;

#[tokio::test]
async fn an_append_is_there_for_head_readers_and_followers() {
    let (_directory, path) = ledger_of(1);
    let ledger = Ledger::open(&path, options()).unwrap();
    let mut growth = ledger.follow();
    assert_eq!(*growth.borrow_and_update(), 1);
    let done = ledger.append(numbered(1)).await.unwrap();
    assert_eq!(done[0].reference.seq, 1);
    assert_eq!(done[0].reference.log, ledger.origin());
    assert_eq!(ledger.head().size, 2);
    growth.changed().await.unwrap();
    assert_eq!(*growth.borrow_and_update(), 2);
    let reader = ledger.reader().unwrap();
    let last = reader.tail(1).unwrap().remove(0);
    assert_eq!((last.seq, last.leaf), (1, done[0].reference.leaf));
    ledger.shutdown().await;
    assert_sound(&path, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_appends_at_once_all_arrive_in_one_order() {
    let (_directory, path) = ledger_of(0);
    let ledger = Ledger::open(&path, options()).unwrap();
    let appends: Vec<_> = (0..1500)
        .map(|n| {
            let ledger = ledger.clone();
            tokio::spawn(async move { ledger.append(numbered(n)).await })
        })
        .collect();
    let mut seqs = Vec::new();
    for append in appends {
        seqs.push(append.await.unwrap().unwrap()[0].reference.seq);
    }
    seqs.sort_unstable();
    assert_eq!(seqs, (0..1500).collect::<Vec<_>>());
    ledger.shutdown().await;
    assert_sound(&path, 1500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invalid_commit_fails_alone() {
    let (_directory, path) = ledger_of(0);
    let ledger = Ledger::open(&path, options()).unwrap();
    let appends: Vec<_> = (0..60)
        .map(|n| {
            let mut commit = numbered(n);
            if n % 3 == 0 {
                commit.entries[0].causes = vec![Cause::InCommit(0)];
            }
            let ledger = ledger.clone();
            tokio::spawn(async move { ledger.append(commit).await })
        })
        .collect();
    for (n, append) in appends.into_iter().enumerate() {
        let answer = append.await.unwrap();
        assert_eq!(
            matches!(answer, Err(CommitError::Invalid(_))),
            n % 3 == 0,
            "{n}"
        );
    }
    ledger.shutdown().await;
    assert_sound(&path, 40);
}

#[tokio::test]
async fn after_the_end_nothing_is_taken_and_nothing_waits() {
    let (_directory, path) = ledger_of(0);
    let ledger = Ledger::open(&path, options()).unwrap();
    let other = ledger.clone();
    ledger.append(numbered(0)).await.unwrap();
    ledger.shutdown().await;
    ledger.shutdown().await;
    let refused = other.append(numbered(1)).await;
    assert!(matches!(refused, Err(CommitError::Closed)));
    assert!(
        !path.with_file_name("ledger.db-wal").exists(),
        "closed in order"
    );
    assert_sound(&path, 1);
}

#[tokio::test]
async fn dropping_every_handle_ends_the_writer_and_frees_the_file() {
    let (_directory, path) = ledger_of(0);
    let ledger = Ledger::open(&path, options()).unwrap();
    let mut growth = ledger.follow();
    ledger.append(numbered(0)).await.unwrap();
    growth.borrow_and_update();
    drop(ledger);
    // The sender lives in what the writer holds, so this ends when the writer has.
    assert!(growth.changed().await.is_err());
    assert_sound(&path, 1);
}

#[tokio::test]
async fn a_store_in_memory_has_a_handle_but_no_readers() {
    let ledger = Ledger::start(Store::in_memory(options()).unwrap()).unwrap();
    ledger.append(numbered(0)).await.unwrap();
    assert_eq!(ledger.head().size, 1);
    assert!(ledger.reader().is_err());
}

#[tokio::test]
async fn the_entries_of_an_agent_are_found_from_the_newest() {
    let (_directory, path) = ledger_of(0);
    let ledger = Ledger::open(&path, options()).unwrap();
    for n in 0..10 {
        let agent = if n % 2 == 0 { "even" } else { "odd" };
        let entry = of_agent(agent, draft(EventKind::Diff, json!({ "n": n })));
        ledger.append(commit(vec![entry])).await.unwrap();
    }
    let reader = ledger.reader().unwrap();
    let seqs = |before, limit| {
        let page = reader.by_agent("odd", before, limit).unwrap();
        let seqs: Vec<_> = page.records.iter().map(|record| record.seq).collect();
        (seqs, page.reached)
    };
    assert_eq!(seqs(u64::MAX, 2), (vec![9, 7], 7));
    assert_eq!(seqs(7, 9), (vec![5, 3, 1], 0));
    assert_eq!(reader.by_agent("none", u64::MAX, 9).unwrap().records, []);
    assert_eq!(reader.entry(3).unwrap().map(|record| record.seq), Some(3));
    assert_eq!(reader.entry(10).unwrap(), None);
}

#[tokio::test]
async fn a_reset_is_told_by_the_handle_too() {
    let (_directory, path) = ledger_of(2);
    tamper(&path, "UPDATE entry SET chain = zeroblob(32) WHERE seq = 1");
    let opened = Ledger::open_or_reset(&path, options()).unwrap();
    assert_eq!(opened.reset.unwrap().last_good_seq, Some(0));
    assert_eq!(opened.ledger.head().size, 1);
}
