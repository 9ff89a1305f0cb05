//! Tries to cheat: every attack on a real file, and which evidence finds it.
//!
//! Each attack is judged twice, by `verify` and by docs/verify_ledger.py: with the file alone,
//! and with the checkpoint and the key that were kept elsewhere. What the name of a test says
//! is asserted in both directions: an attack that only outside evidence finds must pass with
//! the file alone, or the name would promise too little.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use osmoda_core::{digest::Digest, event::Actor, time::Wall};
use osmoda_ledger::{
    Cadence, Ledger, Reader, SigningOptions, Store, VerifyOptions,
    checkpoint::Checkpoint,
    note::{Algorithm, Note, NoteSigner, VerifierKey},
    tlog::{self, Frontier},
    verify,
};
use proptest::{prelude::*, test_runner::TestRunner};
use rusqlite::{Connection, params};

use crate::support::*;

/// Entries of the log that is attacked; its key changes after half of them.
const SIZE: u64 = 604;
/// Entries that the checkpoint kept elsewhere covers.
const OUTSIDE: u64 = 452;

/// A ledger with checkpoints and a change of keys, and what was kept elsewhere.
struct Scene {
    directory: tempfile::TempDir,
    path: PathBuf,
    /// A copy of when the checkpoint was carried away.
    old_copy: PathBuf,
    note: PathBuf,
    key: VerifierKey,
}

fn signed_options(directory: &Path) -> osmoda_ledger::OpenOptions {
    let never = Cadence {
        entries: u64::MAX,
        ..Cadence::default()
    };
    osmoda_ledger::OpenOptions {
        signing: Some(SigningOptions {
            key: directory.join("ledger.key"),
            cadence: never,
        }),
        ..options()
    }
}

impl Scene {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger.db");
        let mut store = Store::open(&path, signed_options(directory.path())).unwrap();
        let key = store.key().unwrap();
        let grow = |store: &mut Store, count: u64| {
            let commits: Vec<_> = (0..count).map(numbered).collect();
            store.commit(&commits).unwrap();
            store.checkpoint().unwrap()
        };
        grow(&mut store, 149);
        grow(&mut store, 150);
        store.rotate_key(Actor::System).unwrap();
        let outside = grow(&mut store, 151);
        assert_eq!(outside.checkpoint.size, OUTSIDE);
        let note = directory.path().join("outside.note");
        fs::write(&note, &outside.note).unwrap();
        let old_copy = directory.path().join("old.db");
        osmoda_ledger::backup::backup(&path, &old_copy).unwrap();
        grow(&mut store, 152);
        assert_eq!(store.head().size, SIZE);
        drop(store);
        Self {
            directory,
            path,
            old_copy,
            note,
            key,
        }
    }

    fn sql(&self, sql: &str) {
        tamper(&self.path, DROP_CHECKPOINT_TRIGGERS);
        tamper(&self.path, sql);
    }

    /// Whether `verify` and verify_ledger.py find fault, which they must agree on.
    #[track_caller]
    fn is_found(&self, with_outside: bool) -> bool {
        let mut options = VerifyOptions::default();
        if with_outside {
            let note = fs::read(&self.note).unwrap();
            options.checkpoints = vec![Note::parse(&note).unwrap()];
            options.keys = vec![self.key.clone()];
        }
        let report = verify(&self.path, &options, |_, _| ()).unwrap();
        let outside = with_outside.then_some((&*self.note, &self.key));
        let (sound, said) = python(&self.path, outside);
        assert_eq!(report.ok, sound, "{report:?}\nverify_ledger.py: {said}");
        !report.ok
    }

    /// Asserts that the file alone gives it away, and outside evidence too.
    #[track_caller]
    fn found_by_the_file_alone(&self) {
        assert!(self.is_found(false), "the file alone does not show it");
        assert!(self.is_found(true), "outside evidence does not show it");
    }

    /// Asserts that only outside evidence gives it away.
    #[track_caller]
    fn found_only_from_outside(&self) {
        assert!(!self.is_found(false), "the file alone shows it already");
        assert!(self.is_found(true), "outside evidence does not show it");
    }

    /// What somebody does who knows the format and has the file, but not the key: changes
    /// bodies and computes everything anew that can be.
    fn rewrite(&self, rewrite: impl Fn(u64, Vec<u8>) -> Vec<u8>) {
        recompute(&self.path, rewrite);
    }

    /// The log's own private key, stolen.
    fn stolen_key(&self) -> NoteSigner {
        let text = fs::read_to_string(self.directory.path().join("ledger.key")).unwrap();
        NoteSigner::parse(text.trim_end()).unwrap()
    }
}

const DROP_CHECKPOINT_TRIGGERS: &str = "DROP TRIGGER IF EXISTS checkpoint_stays;
    DROP TRIGGER IF EXISTS checkpoint_is_what_was_signed;";

/// Runs docs/verify_ledger.py: whether it is satisfied, and what it says.
fn python(path: &Path, outside: Option<(&Path, &VerifierKey)>) -> (bool, String) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/verify_ledger.py");
    let mut command = Command::new("python3");
    command.arg(script).arg(path);
    if let Some((note, key)) = outside {
        command.arg("--checkpoint").arg(note);
        command.arg("--key").arg(key.to_string());
    }
    let output = command.output().expect("python3, which the tests need");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(!said.contains("Traceback"), "{said}");
    (output.status.success(), said)
}

/// Bodies through `rewrite`, and from them leaves, chain and tree; checkpoints stay.
fn recompute(path: &Path, rewrite: impl Fn(u64, Vec<u8>) -> Vec<u8>) {
    let connection = Connection::open(path).unwrap();
    connection.execute_batch(DROP_TRIGGERS).unwrap();
    connection.execute_batch("DELETE FROM subtree").unwrap();
    let (origin, mut tree) = (origin_of(&connection), Frontier::default());
    let mut chain = tlog::chain_start(&origin);
    let mut select = connection
        .prepare("SELECT seq, body, leaf FROM entry ORDER BY seq")
        .unwrap();
    let row = |row: &rusqlite::Row<'_>| {
        Ok((
            row.get::<_, u64>(0)?,
            row.get::<_, Option<Vec<u8>>>(1)?,
            row.get(2).map(Digest)?,
        ))
    };
    let rows: Vec<_> = select
        .query_map([], row)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let mut leaves = Vec::new();
    for (seq, body, leaf) in rows {
        let body = body.map(|body| rewrite(seq, body));
        let leaf = body.as_deref().map_or(leaf, tlog::leaf);
        chain = tlog::chain_next(&chain, &leaf);
        tree.push(leaf);
        leaves.push(leaf);
        let update = "UPDATE entry SET body = ?2, leaf = ?3, chain = ?4 WHERE seq = ?1";
        connection
            .execute(update, params![seq, body, leaf.0, chain.0])
            .unwrap();
        if tree.size().is_multiple_of(256) {
            let mut node = Frontier::default();
            leaves.drain(..).for_each(|leaf| node.push(leaf));
            let place = (tree.size() >> 8) - 1;
            let insert = "INSERT INTO subtree VALUES (8, ?1, ?2)";
            connection
                .execute(insert, params![place, node.root().0])
                .unwrap();
        }
    }
    let update = "UPDATE log SET size = ?1, frontier = ?2";
    connection
        .execute(update, params![tree.size(), tree.to_bytes()])
        .unwrap();
}

fn origin_of(connection: &Connection) -> String {
    let origin = connection.query_row("SELECT origin FROM log", [], |row| row.get(0));
    origin.unwrap()
}

/// Signs the log as it now stands again, at all its checkpoints, with `signers` for those
/// after the entry that names the second of them.
fn sign_again(path: &Path, change: u64, old: &NoteSigner, new: &NoteSigner) {
    tamper(path, DROP_CHECKPOINT_TRIGGERS);
    let reader = Reader::open(path).unwrap();
    let connection = Connection::open(path).unwrap();
    let origin = origin_of(&connection);
    let mut select = connection
        .prepare("SELECT size FROM checkpoint ORDER BY size")
        .unwrap();
    let sizes: Vec<u64> = select
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    for size in sizes {
        let checkpoint = Checkpoint::new(&*origin, size, reader.root(size).unwrap());
        let mut note = Note::new(checkpoint.to_string()).unwrap();
        if size <= change + 1 {
            old.sign(&mut note, 0).unwrap();
        }
        if size > change {
            new.sign(&mut note, 0).unwrap();
        }
        let update = "UPDATE checkpoint SET note = ?2 WHERE size = ?1";
        connection
            .execute(update, params![size, note.to_string()])
            .unwrap();
    }
}

/// Somebody's own key, under the log's name.
fn foreign_key(scene: &Scene, seed: u8) -> NoteSigner {
    NoteSigner::from_seed(scene.key.name(), Algorithm::Ed25519, &[seed; 32]).unwrap()
}

fn replaced(body: Vec<u8>, from: &str, to: &str) -> Vec<u8> {
    let text = String::from_utf8(body).unwrap();
    assert!(text.contains(from), "{text}");
    text.replace(from, to).into_bytes()
}

#[test]
fn an_honest_log_satisfies_everybody_also_after_pruning_and_redacting() {
    let scene = Scene::new();
    assert!(!scene.is_found(false));
    assert!(!scene.is_found(true));
    let clock = HandClock::at_noon();
    clock.set(NOON + 1_000_000);
    let mut later = signed_options(scene.directory.path());
    later.clock = clock;
    let ledger = Ledger::open(&scene.path, later).unwrap();
    ledger
        .redact(17, "a password".into(), Actor::System)
        .unwrap();
    let dropped = ledger.prune(Wall(NOON + 1), Actor::System).unwrap();
    assert_eq!((dropped.first_seq, dropped.last_seq), (1, SIZE - 1));
    assert!(dropped.log_emptied);
    drop(ledger);
    assert!(!scene.is_found(false));
    assert!(!scene.is_found(true));
    let report = verified(&scene.path);
    // The two entries that name keys keep their bodies.
    assert_eq!(report.without_body, SIZE - 2);
}

#[test]
fn any_flipped_bit_of_any_stored_value_is_found_by_the_file_alone() {
    let scene = Scene::new();
    let flipped = scene.directory.path().join("flipped.db");
    let columns = [
        ("entry", "body", "seq < 4 OR seq > 298 AND seq < 303"),
        ("entry", "body", "1"),
        ("entry", "leaf", "1"),
        ("entry", "chain", "1"),
        ("log", "origin", "1"),
        ("log", "size", "1"),
        ("log", "frontier", "1"),
        ("checkpoint", "size", "1"),
        ("checkpoint", "note", "1"),
        ("subtree", "place", "1"),
        ("subtree", "root", "1"),
    ];
    let which = (
        0..columns.len(),
        any::<prop::sample::Index>(),
        any::<prop::sample::Index>(),
    );
    let mut runner = TestRunner::new(ProptestConfig::with_cases(40));
    let ran = runner.run(&which, |(column, row, bit)| {
        let (table, column, rows) = columns[column];
        fs::copy(&scene.path, &flipped).unwrap();
        flip(&flipped, table, column, rows, row, bit);
        let report = verify(&flipped, &VerifyOptions::default(), |_, _| ()).unwrap();
        let (sound, said) = python(&flipped, None);
        prop_assert!(!report.ok, "{} {}", table, column);
        prop_assert!(!sound, "{} {}: verify_ledger.py: {}", table, column, said);
        Ok(())
    });
    ran.unwrap();
}

/// Flips a bit of a value, whatever its type.
fn flip(
    path: &Path,
    table: &str,
    column: &str,
    rows: &str,
    row: prop::sample::Index,
    bit: prop::sample::Index,
) {
    let connection = Connection::open(path).unwrap();
    connection.execute_batch(DROP_TRIGGERS).unwrap();
    connection.execute_batch(DROP_CHECKPOINT_TRIGGERS).unwrap();
    let count = format!("SELECT count(*) FROM {table} WHERE {rows}");
    let count: usize = connection.query_row(&count, [], |row| row.get(0)).unwrap();
    let select = format!(
        "SELECT {column}, typeof({column}) FROM {table} WHERE {rows} LIMIT 1 OFFSET {}",
        row.index(count)
    );
    let (value, kind) = connection
        .query_row(&select, [], |row| {
            Ok((
                row.get::<_, rusqlite::types::Value>(0)?,
                row.get::<_, String>(1)?,
            ))
        })
        .unwrap();
    let update = format!("UPDATE {table} SET {column} = ?2 WHERE {column} IS ?1");
    let changed: rusqlite::types::Value = match (value.clone(), &*kind) {
        (rusqlite::types::Value::Integer(number), _) => {
            // A number that is another row's already is refused by SQLite: the next bit then.
            let place = bit.index(40);
            let mut flips = (0..40).map(|step| number ^ 1 << ((place + step) % 40));
            let flipped =
                flips.any(|flipped| connection.execute(&update, (number, flipped)).is_ok());
            assert!(flipped, "{table}.{column} cannot be changed");
            return;
        }
        (rusqlite::types::Value::Text(text), _) => {
            let mut bytes = text.into_bytes();
            flip_bit(&mut bytes, bit);
            // What is no UTF-8 is stored as such all the same.
            let sql = format!(
                "UPDATE {table} SET {column} = CAST(x'{}' AS TEXT) WHERE {column} IS ?1",
                bytes
                    .iter()
                    .map(|byte| format!("{byte:02x}"))
                    .collect::<String>()
            );
            connection.execute(&sql, [value]).unwrap();
            return;
        }
        (rusqlite::types::Value::Blob(mut bytes), _) => {
            flip_bit(&mut bytes, bit);
            bytes.into()
        }
        (other, _) => other,
    };
    connection.execute(&update, [value, changed]).unwrap();
}

fn flip_bit(bytes: &mut [u8], bit: prop::sample::Index) {
    let bit = bit.index(bytes.len() * 8);
    bytes[bit / 8] ^= 1 << (bit % 8);
}

#[test]
fn rows_that_are_swapped_dropped_doubled_put_in_or_renumbered_are_found_by_the_file_alone() {
    let copy = "SELECT body, leaf, chain FROM entry WHERE seq = 5";
    for sql in [
        "UPDATE entry SET seq = -1 WHERE seq = 5; UPDATE entry SET seq = 5 WHERE seq = 6;
         UPDATE entry SET seq = 6 WHERE seq = -1",
        "DELETE FROM entry WHERE seq = 5",
        &format!("INSERT INTO entry SELECT 604, * FROM ({copy})"),
        "UPDATE entry SET seq = seq + 1000 WHERE seq >= 300;
         UPDATE entry SET seq = seq - 999 WHERE seq >= 1000;
         INSERT INTO entry SELECT 300, body, leaf, chain FROM entry WHERE seq = 299",
        "DELETE FROM entry WHERE seq = 5; UPDATE entry SET seq = seq + 1000 WHERE seq > 5;
         UPDATE entry SET seq = seq - 1001 WHERE seq > 1000; UPDATE log SET size = size - 1",
        "UPDATE entry SET seq = seq + 1 WHERE seq = 603",
        "UPDATE entry SET seq = -1 WHERE seq = 0",
    ] {
        let scene = Scene::new();
        scene.sql(sql);
        scene.found_by_the_file_alone();
    }
}

/// Cuts the log to `size` entries so that everything fits again but the checkpoints.
fn truncate(scene: &Scene, size: u64) {
    scene.sql(&format!("DELETE FROM entry WHERE seq >= {size}"));
    scene.rewrite(|_, body| body);
}

#[test]
fn a_log_cut_short_that_keeps_its_checkpoints_is_found_by_the_file_alone() {
    let scene = Scene::new();
    truncate(&scene, OUTSIDE - 1);
    scene.found_by_the_file_alone();
}

#[test]
fn a_log_cut_short_together_with_its_checkpoints_is_found_only_by_a_checkpoint_from_outside() {
    let scene = Scene::new();
    truncate(&scene, OUTSIDE - 1);
    scene.sql(&format!("DELETE FROM checkpoint WHERE size >= {OUTSIDE}"));
    scene.found_only_from_outside();
}

#[test]
fn entries_cut_off_after_the_checkpoint_from_outside_are_not_found_and_that_is_why_it_is_renewed() {
    let scene = Scene::new();
    truncate(&scene, OUTSIDE);
    scene.sql(&format!("DELETE FROM checkpoint WHERE size > {OUTSIDE}"));
    assert!(!scene.is_found(false));
    assert!(!scene.is_found(true));
}

#[test]
fn a_chain_computed_anew_that_keeps_the_checkpoints_is_found_by_the_file_alone() {
    let scene = Scene::new();
    scene.rewrite(|seq, body| match seq {
        5 => replaced(body, "\"n\":4", "\"n\":5"),
        _ => body,
    });
    scene.found_by_the_file_alone();
}

#[test]
fn a_chain_computed_anew_without_checkpoints_is_found_only_by_a_checkpoint_from_outside() {
    let scene = Scene::new();
    scene.rewrite(|seq, body| match seq {
        5 => replaced(body, "\"n\":4", "\"n\":5"),
        _ => body,
    });
    scene.sql("DELETE FROM checkpoint");
    scene.found_only_from_outside();
}

#[test]
fn a_back_dated_entry_that_keeps_the_checkpoints_is_found_by_the_file_alone() {
    let scene = Scene::new();
    scene.rewrite(|seq, body| match seq {
        5 => replaced(body, "2026-01-31T12:00:00", "2026-01-30T12:00:00"),
        _ => body,
    });
    scene.found_by_the_file_alone();
}

#[test]
fn history_signed_again_with_the_stolen_key_is_found_only_by_a_checkpoint_from_outside() {
    let scene = Scene::new();
    scene.rewrite(|seq, body| match seq {
        400 => replaced(body, "2026-01-31T12:00:00", "2026-01-30T12:00:00"),
        _ => body,
    });
    let stolen = scene.stolen_key();
    // Checkpoints before the change of keys are still right: nothing before it was touched.
    let connection = Connection::open(&scene.path).unwrap();
    let reader = Reader::open(&scene.path).unwrap();
    tamper(&scene.path, DROP_CHECKPOINT_TRIGGERS);
    for size in [OUTSIDE, SIZE] {
        let checkpoint = Checkpoint::new(scene.key.name(), size, reader.root(size).unwrap());
        let mut note = Note::new(checkpoint.to_string()).unwrap();
        stolen.sign(&mut note, 0).unwrap();
        let update = "UPDATE checkpoint SET note = ?2 WHERE size = ?1";
        connection
            .execute(update, params![size, note.to_string()])
            .unwrap();
    }
    drop((connection, reader));
    scene.found_only_from_outside();
}

#[test]
fn an_old_copy_put_back_is_found_only_by_a_later_checkpoint_from_outside() {
    let scene = Scene::new();
    fs::copy(&scene.old_copy, &scene.path).unwrap();
    // It is what the checkpoint was signed for; only a later one shows what is missing.
    assert!(!scene.is_found(true));
    let later = Scene::new();
    fs::copy(&later.old_copy, &later.path).unwrap();
    let mut store = Store::open(&later.path, signed_options(later.directory.path())).unwrap();
    store.commit(&[numbered(1), numbered(2)]).unwrap();
    let newer = store.checkpoint().unwrap();
    drop(store);
    fs::write(&later.note, &newer.note).unwrap();
    fs::copy(&later.old_copy, &later.path).unwrap();
    later.found_only_from_outside();
}

#[test]
fn two_logs_spliced_are_found_by_the_file_alone() {
    let (scene, other) = (Scene::new(), Scene::new());
    for chain_too in [false, true] {
        scene.sql(&format!(
            "ATTACH '{}' AS other; DELETE FROM entry WHERE seq > 500;
             INSERT INTO entry SELECT * FROM other.entry WHERE seq > 500 AND seq < 550;
             UPDATE log SET size = 550",
            other.path.display()
        ));
        if chain_too {
            scene.rewrite(|_, body| body);
        }
        scene.found_by_the_file_alone();
    }
}

#[test]
fn keys_and_checkpoints_replaced_by_ones_own_are_found_only_from_outside() {
    let scene = Scene::new();
    let (first, second) = (foreign_key(&scene, 1), foreign_key(&scene, 2));
    let (first_text, second_text) = (first.verifier().to_string(), second.verifier().to_string());
    let own = |named: &str, body: Vec<u8>| {
        let mut entry: serde_json::Value = serde_json::from_slice(&body).unwrap();
        entry["body"]["next"] = named.into();
        if !entry["body"]["previous"].is_null() {
            entry["body"]["previous"] = first_text.clone().into();
        }
        osmoda_ledger::canonical::canonical_entry(&entry).unwrap()
    };
    scene.rewrite(|seq, body| match seq {
        0 => own(&first_text, body),
        300 => own(&second_text, body),
        _ => body,
    });
    sign_again(&scene.path, 300, &first, &second);
    scene.found_only_from_outside();
}

#[test]
fn a_key_that_the_one_before_does_not_vouch_for_is_found_by_the_file_alone() {
    let scene = Scene::new();
    let foreign = foreign_key(&scene, 3);
    let text = foreign.verifier().to_string();
    scene.rewrite(|seq, body| match seq {
        300 => {
            let mut entry: serde_json::Value = serde_json::from_slice(&body).unwrap();
            entry["body"]["next"] = text.clone().into();
            osmoda_ledger::canonical::canonical_entry(&entry).unwrap()
        }
        _ => body,
    });
    let reader = Reader::open(&scene.path).unwrap();
    let connection = Connection::open(&scene.path).unwrap();
    connection.execute_batch(DROP_CHECKPOINT_TRIGGERS).unwrap();
    for size in [301, OUTSIDE, SIZE] {
        let checkpoint = Checkpoint::new(scene.key.name(), size, reader.root(size).unwrap());
        let mut note = Note::new(checkpoint.to_string()).unwrap();
        foreign.sign(&mut note, 0).unwrap();
        let update = "UPDATE checkpoint SET note = ?2 WHERE size = ?1";
        connection
            .execute(update, params![size, note.to_string()])
            .unwrap();
    }
    drop((reader, connection));
    scene.found_by_the_file_alone();
}

#[test]
fn forged_notes_are_found_by_the_file_alone() {
    let scene = Scene::new();
    let root = Reader::open(&scene.path).unwrap().root(500).unwrap();
    let right = Checkpoint::new(scene.key.name(), 500, root).to_string();
    let mut foreign = Note::new(right.clone()).unwrap();
    foreign_key(&scene, 4).sign(&mut foreign, 0).unwrap();
    let mut other_root =
        Note::new(Checkpoint::new(scene.key.name(), 500, Digest([1; 32])).to_string()).unwrap();
    scene.stolen_key().sign(&mut other_root, 0).unwrap();
    let mut other_log = Note::new(right.replace("osmoda", "osmodb")).unwrap();
    scene.stolen_key().sign(&mut other_log, 0).unwrap();
    let unsigned = format!("{right}\n");
    let notes = [
        foreign.to_string(),
        other_root.to_string(),
        other_log.to_string(),
        unsigned,
        String::new(),
    ];
    for note in notes {
        let scene = Scene::new();
        let connection = Connection::open(&scene.path).unwrap();
        let insert = "INSERT INTO checkpoint VALUES (500, '2026-01-31T12:00:00.000000Z', ?1)";
        connection.execute(insert, [note]).unwrap();
        drop(connection);
        scene.found_by_the_file_alone();
    }
}

#[test]
fn a_forged_checkpoint_from_outside_convinces_nobody() {
    let scene = Scene::new();
    let root = Reader::open(&scene.path).unwrap().root(500).unwrap();
    let mut note = Note::new(Checkpoint::new(scene.key.name(), 500, root).to_string()).unwrap();
    foreign_key(&scene, 5).sign(&mut note, 0).unwrap();
    fs::write(&scene.note, note.to_string()).unwrap();
    assert!(scene.is_found(true));
}

#[test]
fn entries_deleted_and_vacuumed_away_are_found_by_the_file_alone() {
    let scene = Scene::new();
    scene.sql("DELETE FROM entry WHERE seq BETWEEN 200 AND 210; VACUUM");
    scene.found_by_the_file_alone();
}

#[test]
fn a_body_set_to_null_that_no_entry_explains_is_found_by_the_file_alone() {
    let scene = Scene::new();
    scene.sql("UPDATE entry SET body = NULL WHERE seq = 200");
    scene.found_by_the_file_alone();
}
