//! Checkpoints, the key that signs them, and proofs from the stored tree.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use osmoda_core::event::{Actor, EventKind};
use osmoda_ledger::{
    Cadence, Ledger, OpenOptions, Reader, SigningOptions, Store,
    checkpoint::Checkpoint,
    note::{Note, NoteSigner, VerifierKey},
    proof::verify_consistency,
    store::SignError,
    tlog,
};
use serde_json::json;

use crate::support::*;

/// Never by itself.
const BY_HAND: Cadence = Cadence {
    entries: u64::MAX,
    after: Duration::from_secs(1 << 30),
    heartbeat: Duration::from_secs(1 << 30),
};

pub fn signing(directory: &Path, cadence: Cadence) -> OpenOptions {
    OpenOptions {
        signing: Some(SigningOptions {
            key: directory.join("ledger.key"),
            cadence,
        }),
        ..options()
    }
}

fn numbers(store: &mut Store, count: u64) {
    let commits: Vec<_> = (0..count).map(numbered).collect();
    store.commit(&commits).unwrap();
}

fn signed_by(note: &str, key: &VerifierKey) -> Checkpoint {
    let note = Note::parse(note.as_bytes()).unwrap();
    note.verify(std::slice::from_ref(key)).unwrap();
    note.text().parse().unwrap()
}

#[test]
fn the_first_start_makes_a_key_that_nobody_else_can_read_and_the_log_names_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let store = Store::open(&path, signing(directory.path(), BY_HAND)).unwrap();
    let key = store.key().unwrap();
    assert_eq!(key.name(), store.origin());
    let file = directory.path().join("ledger.key");
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o7777,
        0o600
    );
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(NoteSigner::parse(text.trim_end()).unwrap().verifier(), key);
    let named = json!({"next": key.to_string(), "previous": null});
    assert_eq!(body_of(&store, 0), *named.as_object().unwrap());
    drop(store);
    // The next start finds it, and has nothing new to say.
    let store = Store::open(&path, signing(directory.path(), BY_HAND)).unwrap();
    assert_eq!(store.key(), Some(key));
    assert_eq!(store.head().size, 1);
    assert_eq!(
        fs::read_dir(directory.path())
            .unwrap()
            .filter(|entry| {
                let name = entry.as_ref().unwrap().file_name();
                name.to_string_lossy().starts_with("ledger.key")
            })
            .count(),
        1
    );
}

#[test]
fn a_checkpoint_says_what_the_log_is_and_writes_no_entry() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let mut store = Store::open(&path, signing(directory.path(), BY_HAND)).unwrap();
    numbers(&mut store, 9);
    let before = store.head();
    let signed = store.checkpoint().unwrap();
    let checkpoint = signed_by(&signed.note, &store.key().unwrap());
    assert_eq!(
        checkpoint,
        Checkpoint::new(&*before.origin, 10, before.root)
    );
    assert_eq!(signed.signed_at, "2026-01-31T12:00:00.000000Z");
    // Nothing has changed: the same one again.
    assert_eq!(store.checkpoint().unwrap(), signed);
    let head = store.head();
    assert_eq!((head.size, head.checkpoint), (10, Some(signed.at())));
    let reader = Reader::open(&path).unwrap();
    assert_eq!(reader.head().unwrap(), store.head());
    assert_eq!(
        reader.checkpoint(None).unwrap().as_ref(),
        Some(&signed.note)
    );
    assert_eq!(reader.checkpoint(Some(9)).unwrap(), None);
}

#[test]
fn a_key_that_others_could_use_is_refused_and_the_ledger_goes_on_without() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    drop(Store::open(&path, signing(directory.path(), BY_HAND)).unwrap());
    let key = directory.path().join("ledger.key");
    let spoil: [(&str, &dyn Fn()); 4] = [
        ("mode 0644", &|| {
            fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap()
        }),
        ("mode 0660", &|| {
            fs::set_permissions(&key, fs::Permissions::from_mode(0o660)).unwrap()
        }),
        ("is no key", &|| {
            fs::write(&key, "PRIVATE+KEY+x+00000000+AAAA\n").unwrap()
        }),
        ("cannot open", &|| {
            let elsewhere = directory.path().join("elsewhere");
            fs::rename(&key, &elsewhere).unwrap();
            std::os::unix::fs::symlink(&elsewhere, &key).unwrap();
        }),
    ];
    for (reason, spoil) in spoil {
        spoil();
        let mut store = Store::open(&path, signing(directory.path(), BY_HAND)).unwrap();
        assert_eq!(store.key(), None);
        let problem = store.key_problem().unwrap().to_owned();
        assert!(problem.contains(reason), "{problem}");
        numbers(&mut store, 1);
        let refused = store.checkpoint().unwrap_err();
        assert!(matches!(refused, SignError::NoKey(_)), "{refused}");
        drop(store);
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    }
}

#[test]
fn after_a_rotation_both_keys_vouch_for_the_change_and_then_the_new_one_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let mut store = Store::open(&path, signing(directory.path(), BY_HAND)).unwrap();
    numbers(&mut store, 3);
    let old = store.key().unwrap();
    let operator = Actor::Operator {
        uid: 7,
        gid: 8,
        pid: 9,
        command: "osmoda".into(),
    };
    let (new, appended) = store.rotate_key(operator).unwrap();
    assert_ne!(new, old);
    let body = body_of(&store, appended.reference.seq);
    assert_eq!(body["previous"], old.to_string());
    assert_eq!(body["next"], new.to_string());
    let bridge = store.last_checkpoint().unwrap();
    assert_eq!(bridge.checkpoint.size, appended.reference.seq + 1);
    signed_by(&bridge.note, &old);
    signed_by(&bridge.note, &new);
    numbers(&mut store, 1);
    let next = store.checkpoint().unwrap();
    signed_by(&next.note, &new);
    let note = Note::parse(next.note.as_bytes()).unwrap();
    assert!(note.verify(&[old]).is_err());
    drop(store);
    let store = Store::open(&path, signing(directory.path(), BY_HAND)).unwrap();
    assert_eq!(store.key(), Some(new));
    assert_eq!(store.head().size, 6);
}

#[test]
fn a_rotation_that_a_crash_has_interrupted_is_taken_up_or_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let open = || Store::open(&path, signing(directory.path(), BY_HAND)).unwrap();
    let mut store = open();
    let old = store.key().unwrap();
    drop(store);
    // Before the log named the key: nobody has heard of it.
    let seed = [5; 32];
    let name = old.name().to_owned();
    let stray = NoteSigner::from_seed(&name, old.algorithm(), &seed).unwrap();
    let next = directory.path().join("ledger.key.next");
    let write_next = || {
        fs::write(&next, stray.to_secret_text().as_bytes()).unwrap();
        fs::set_permissions(&next, fs::Permissions::from_mode(0o600)).unwrap();
    };
    write_next();
    store = open();
    assert_eq!(store.key(), Some(old.clone()));
    assert!(!next.exists());
    // After the log named it, and before anything was signed with it.
    let mut named = commit(vec![draft(
        EventKind::KeyRotated,
        json!({"previous": old.to_string(), "next": stray.verifier().to_string()}),
    )]);
    named.state = vec![osmoda_ledger::StateChange::Put {
        key: "ledger/key".into(),
        value: stray.verifier().to_string().into_bytes(),
    }];
    store.commit(&[named]).unwrap();
    drop(store);
    write_next();
    store = open();
    assert_eq!(store.key(), Some(stray.verifier()));
    let bridge = store.checkpoint().unwrap();
    signed_by(&bridge.note, &old);
    signed_by(&bridge.note, &stray.verifier());
    assert!(!next.exists());
    drop(store);
    assert_eq!(open().key(), Some(stray.verifier()));
}

#[test]
fn proofs_of_any_entry_come_from_the_stored_tree() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let mut store = Store::open(&path, signing(directory.path(), BY_HAND)).unwrap();
    // In pieces, so that nodes are completed in the middle of a commit and at its end.
    for count in [100, 155, 1, 300, 700, 11] {
        numbers(&mut store, count);
    }
    let old = store.checkpoint().unwrap();
    numbers(&mut store, 500);
    let new = store.checkpoint().unwrap();
    let key = [store.key().unwrap()];
    let reader = Reader::open(&path).unwrap();
    for seq in [0, 1, 255, 256, 257, 511, 1023, 1024, 1266, 1267, 1767] {
        let proof = reader.prove(seq).unwrap();
        let entry = proof.extra.clone().unwrap();
        let (checkpoint, _) = proof.verify(&tlog::leaf(&entry), &key).unwrap();
        assert_eq!((proof.index, checkpoint.size), (seq, 1768));
    }
    assert!(reader.prove(1768).is_err());
    let (a, b) = (&old.checkpoint, &new.checkpoint);
    let proof = reader.consistency(a.size, b.size).unwrap();
    verify_consistency(a.size, b.size, &proof, &a.root, &b.root).unwrap();
    assert_eq!(reader.root(a.size).unwrap(), a.root);
    assert!(reader.root(5000).is_err());
    numbers(&mut store, 1);
    assert!(
        reader
            .prove(1768)
            .unwrap_err()
            .to_string()
            .contains("no checkpoint covers")
    );
}

#[test]
fn a_file_from_before_the_stored_tree_gets_it_when_it_is_opened() {
    let (_directory, path) = ledger_of(1000);
    tamper(&path, "DROP TABLE subtree");
    assert_sound(&path, 1000);
    let store = Store::open(&path, options()).unwrap();
    let reader = Reader::open(&path).unwrap();
    assert_eq!(reader.root(1000).unwrap(), store.head().root);
}

#[test]
fn a_wrong_node_of_the_stored_tree_makes_no_wrong_proof() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let mut store = Store::open(&path, signing(directory.path(), BY_HAND)).unwrap();
    numbers(&mut store, 600);
    store.checkpoint().unwrap();
    drop(store);
    tamper(
        &path,
        "UPDATE subtree SET root = zeroblob(32) WHERE place = 0",
    );
    let reader = Reader::open(&path).unwrap();
    assert!(reader.prove(599).is_err());
}

#[tokio::test]
async fn the_writer_signs_by_count_and_a_log_that_is_closed_is_signed_to_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let cadence = Cadence {
        entries: 10,
        ..BY_HAND
    };
    let ledger = Ledger::open(&path, signing(directory.path(), cadence)).unwrap();
    let mut checkpoints = ledger.checkpoints();
    assert!(checkpoints.borrow().is_none());
    for n in 0..9 {
        ledger.append(numbered(n)).await.unwrap();
    }
    let signed = checkpoints
        .wait_for(Option::is_some)
        .await
        .unwrap()
        .clone()
        .unwrap();
    assert_eq!(signed.checkpoint.size, 10);
    assert_eq!(ledger.head().checkpoint, Some(signed.at()));
    ledger.append(numbered(10)).await.unwrap();
    ledger.shutdown().await;
    let reader = Reader::open(&path).unwrap();
    assert_eq!(reader.head().unwrap().checkpoint.unwrap().size, 11);
}

#[tokio::test]
async fn an_idle_log_says_that_it_is_alive_and_signs_that() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let cadence = Cadence {
        entries: u64::MAX,
        after: Duration::ZERO,
        heartbeat: Duration::from_millis(1),
    };
    let ledger = Ledger::open(&path, signing(directory.path(), cadence)).unwrap();
    let mut checkpoints = ledger.checkpoints();
    let far = |signed: &Option<std::sync::Arc<osmoda_ledger::Signed>>| {
        signed
            .as_ref()
            .is_some_and(|signed| signed.checkpoint.size >= 3)
    };
    checkpoints.wait_for(far).await.unwrap();
    ledger.shutdown().await;
    let store = Store::open(&path, options()).unwrap();
    let kind = |seq| {
        let record = store.entry(seq).unwrap().unwrap();
        let entry: serde_json::Value = serde_json::from_slice(&record.entry.unwrap()).unwrap();
        entry["kind"].as_str().unwrap().to_owned()
    };
    assert_eq!(
        [kind(0), kind(1), kind(2)],
        ["KeyRotated", "CheckpointSigned", "CheckpointSigned"]
    );
}
