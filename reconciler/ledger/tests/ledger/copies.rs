//! Exports and backups: they hold the same bytes and verify like the original.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use osmoda_core::{event::EventKind, time::Wall};
use osmoda_ledger::{
    Ledger, Reader, Store,
    export::{ExportOptions, export},
};
use serde_json::{Value, json};

use crate::support::*;

fn exported(path: &Path, options: &ExportOptions) -> String {
    let mut out = Vec::new();
    export(&Reader::open(path).unwrap(), options, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// Verifies `text` as a file.
fn written(text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.jsonl");
    fs::write(&path, text).unwrap();
    (directory, path)
}

#[test]
fn a_whole_export_verifies_to_the_same_root() {
    let (_directory, path) = ledger_of(20);
    let text = exported(&path, &ExportOptions::default());
    assert_eq!(text.lines().count(), 22);
    assert!(
        text.lines()
            .all(|line| serde_json::from_str::<Value>(line).is_ok())
    );
    let (_other, copy) = written(&text);
    assert_sound(&copy, 20);
    assert_eq!(verified(&copy), verified(&path));
}

#[test]
fn an_export_holds_the_exact_bytes_that_were_hashed() {
    let (_directory, path) = ledger_of(3);
    let text = exported(&path, &ExportOptions::default());
    let store = Store::open(&path, options()).unwrap();
    for (line, record) in text.lines().skip(1).zip(store.entries(0, 3).unwrap()) {
        let bytes = record.entry.unwrap();
        let entry = String::from_utf8(bytes).unwrap();
        assert!(line.ends_with(&format!("\"entry\":{entry}}}")));
    }
}

#[test]
fn a_changed_export_is_found() {
    let (_directory, path) = ledger_of(20);
    let text = exported(&path, &ExportOptions::default());
    let lines: Vec<&str> = text.lines().collect();
    let without = |index: usize| {
        let mut lines = lines.clone();
        lines.remove(index);
        lines.join("\n") + "\n"
    };
    let changes: [(String, Option<u64>); 9] = [
        (text.replace("\"n\":7", "\"n\":8"), Some(7)),
        (without(0), None),
        (without(8), Some(7)),
        (without(20), None),
        (without(21), Some(20)),
        (text.clone() + lines[20] + "\n", None),
        (text.replacen("\"seq\":7", "\"seq\":8", 1), Some(7)),
        (
            text.replace(
                "\"complete\":true,\"size\":20",
                "\"complete\":true,\"size\":21",
            ),
            None,
        ),
        (text.replace("{\"size\":20,", "{\"size\":19,"), None),
    ];
    for (index, (changed, seq)) in changes.iter().enumerate() {
        assert_ne!(*changed, text, "{index}");
        let (_other, copy) = written(changed);
        if index == 1 {
            assert!(!verified(&copy).ok); // no header: taken for a database, and it is none
            continue;
        }
        assert_bad(&copy, *seq, "");
    }
}

#[test]
fn a_part_of_a_log_is_exported_by_agent_and_time_and_says_so() {
    let clock = HandClock::at_noon();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let mut store = Store::open(&path, options_with(std::sync::Arc::clone(&clock))).unwrap();
    for n in 0..6 {
        clock.set(NOON + n * 1_000_000);
        let agent = if n % 2 == 0 { "even" } else { "odd" };
        let entry = of_agent(agent, draft(EventKind::Diff, json!({ "n": n })));
        store.commit(&[commit(vec![entry])]).unwrap();
    }
    let some = ExportOptions {
        since: Some(Wall(NOON + 3_000_000)),
        agent: Some("odd".into()),
    };
    let text = exported(&path, &some);
    let seqs: Vec<_> = text
        .lines()
        .skip(1)
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["seq"].clone())
        .collect();
    assert_eq!(seqs, [json!(3), json!(5)]);
    let (_other, copy) = written(&text);
    assert_bad(&copy, None, "only a whole export");
}

#[tokio::test]
async fn a_backup_of_a_running_ledger_is_whole_private_and_verifies() {
    let (directory, path) = ledger_of(30);
    let ledger = Ledger::open(&path, options()).unwrap();
    ledger.append(numbered(30)).await.unwrap();
    let target = directory.path().join("copy.db");
    assert_eq!(ledger.backup(&target).unwrap(), 31);
    ledger.append(numbered(31)).await.unwrap();
    assert_sound(&target, 31);
    assert_sound(&path, 32);
    let mode = fs::metadata(&target).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let again = ledger.backup(&target).unwrap_err();
    assert!(again.to_string().contains("copy.db"), "{again}");
    assert!(!directory.path().join("copy.db.part").exists());
    assert_sound(&target, 31);
    let mut names: Vec<_> = fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("copy"))
        .collect();
    names.sort();
    assert_eq!(names, ["copy.db"]);
    // A copy can be opened and gone on with.
    let mut copy = Store::open(&target, options()).unwrap();
    copy.commit(&[numbered(99)]).unwrap();
}

#[test]
fn a_ledger_on_a_read_only_file_is_read_without_writing_beside_it() {
    let (directory, path) = ledger_of(4);
    let before: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
    assert_sound(&path, 4);
    let odd = directory.path().join("a name?with#odd%20signs.db");
    fs::copy(&path, &odd).unwrap();
    assert_sound(&odd, 4);
    assert_eq!(
        fs::read_dir(directory.path()).unwrap().count(),
        before.len() + 1
    );
}
