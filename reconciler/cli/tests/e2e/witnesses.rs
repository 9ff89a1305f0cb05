//! Two nodes watch each other: each has its ledger's checkpoints cosigned by the other's witness.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Child, Stdio},
};

use serde_json::Value;

use crate::support::{Agent, Scene, eventually};

/// `osmoda witness`, which ends with the test.
struct Witness {
    child: Child,
    key: String,
    url: String,
}

impl Witness {
    /// In this scene's place, watching the log of this key.
    fn begin(scene: &Scene, log: &str) -> Self {
        let place = scene.path().join("witness");
        let words = format!(
            "witness --listen 127.0.0.1:0 --state-dir {} --log {log}",
            place.display()
        );
        let mut command = scene.command(&words);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let said: Vec<String> = lines.take(3).map(Result::unwrap).collect();
        let after = |line: &str, words: &str| line.strip_prefix(words).unwrap().to_owned();
        assert!(said[2].starts_with("watching "), "{said:?}");
        Self {
            child,
            key: after(&said[0], "witness "),
            url: after(&said[1], "listening on "),
        }
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The node's spec, with the anchors that are given.
fn declare_node(scene: &Scene, anchors: &str) {
    let text = format!(
        "apiVersion: osmoda/v1\nkind: Node\nspec:\n  ledger:\n    checkpointEvery: 1s\n    anchors: [{anchors}]\n"
    );
    scene.write_spec("node.yaml", &text);
}

fn anchor(witness: &Witness) -> String {
    format!(
        "{{witness: {{url: \"{}\", key: \"{}\"}}}}",
        witness.url, witness.key
    )
}

fn log_key(scene: &Scene) -> String {
    scene.osmoda("ledger key").exits(0).out.trim().to_owned()
}

fn idle(name: &str) -> Agent {
    Agent::running(name, &["/bin/sleep", "1000"])
}

/// What status says of the only anchor, once it is like this.
fn anchor_status(scene: &Scene, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    eventually(what, || {
        let status = scene.json("status");
        Some(status["node"]["ledger"]["anchors"][0].clone()).filter(&is)
    })
}

fn count(scene: &Scene, kind: &str) -> usize {
    let entries = scene.entries();
    entries.iter().filter(|entry| entry.kind() == kind).count()
}

#[test]
fn two_nodes_cosign_each_others_ledgers_and_a_forked_one_is_refused() {
    let scenes = [Scene::with(&[idle("a")]), Scene::with(&[idle("b")])];
    scenes.iter().for_each(|scene| declare_node(scene, ""));
    let first = scenes[0].daemon();
    let _second = scenes[1].daemon();
    // Each runs the witness of the other.
    let of_first = Witness::begin(&scenes[1], &log_key(&scenes[0]));
    let of_second = Witness::begin(&scenes[0], &log_key(&scenes[1]));
    let old = scenes[0].path().join("old.db");
    scenes[0]
        .osmoda(&format!("ledger backup {}", old.display()))
        .exits(0);
    declare_node(&scenes[0], &anchor(&of_first));
    declare_node(&scenes[1], &anchor(&of_second));
    for scene in &scenes {
        anchor_status(scene, "cosigned", |anchor| anchor["size"].is_u64());
        eventually("anchored to its end", || {
            let head = scene.json("ledger head");
            (head["unanchored"] == 0).then_some(())
        });
        assert_eq!(
            count(scene, "AnchorSucceeded"),
            1,
            "once, and not for each checkpoint"
        );
        assert_eq!(count(scene, "AnchorFailed"), 0);
    }
    // What the witness signed vouches for the ledger, outside the node.
    let note = scenes[0].osmoda("ledger anchor witness").exits(0).out;
    let kept = scenes[1].path().join("kept.note");
    fs::write(&kept, &note).unwrap();
    let verify = format!("ledger verify --checkpoint {}", kept.display());
    scenes[0].osmoda(&verify).exits(0);

    // The node goes back to a ledger of before, and goes on from there as if nothing was.
    assert!(first.stop().success());
    let ledger = scenes[0].state().join("ledger.db");
    for suffix in ["-wal", "-shm"] {
        let beside = format!("{}{suffix}", ledger.display());
        // SQLite has removed it if it closed the file in good order.
        let _ = fs::remove_file(beside);
    }
    fs::copy(&old, &ledger).unwrap();
    let _again = scenes[0].daemon();
    let status = anchor_status(&scenes[0], "refused as a fork", |anchor| {
        anchor["fork"] == true
    });
    assert_eq!(
        status["size"],
        Value::Null,
        "the witness signed nothing of it"
    );
    assert_eq!(count(&scenes[0], "AnchorFailed"), 1);
    // The old checkpoint tells the same to whoever kept it.
    let refused = scenes[0].osmoda(&verify);
    assert_eq!(refused.code, 1, "{}", refused.out);
}
