//! Anchors of a real ledger: a directory, a webhook and a witness over HTTP.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use osmoda_core::event::{Actor, EventKind};
use osmoda_ledger::{
    Commit, Draft, OpenOptions, StateChange,
    note::{Algorithm, Note, NoteSigner, VerifierKey},
    sign::{Cadence, SigningOptions, key_file},
    witness::{Memory, Witness},
};
use osmoda_runtime::clock::SystemClock;
use serde_json::{Map, Value};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;

/// Longest wait for something that should come.
const BOUND: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(10);

/// A ledger that signs every commit at once, and its anchors.
struct Scene {
    place: TempDir,
    ledger: Ledger,
    anchors: Anchors,
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new().unwrap())
}

fn open(state: &Path) -> Ledger {
    let mut options = OpenOptions::new("alpha", clock());
    options.signing = Some(SigningOptions {
        key: state.join("ledger.key"),
        cadence: Cadence {
            entries: 1,
            ..Cadence::default()
        },
    });
    Ledger::open(&state.join("ledger.db"), options).unwrap()
}

impl Scene {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let ledger = open(place.path());
        Self::with(place, ledger)
    }

    fn with(place: TempDir, ledger: Ledger) -> Self {
        let anchors = Anchors::new(ledger.clone(), clock(), None);
        Self {
            place,
            ledger,
            anchors,
        }
    }

    /// A second ledger that was the same as this one until now.
    async fn fork(&self) -> Self {
        let place = tempfile::tempdir().unwrap();
        self.ledger.backup(&place.path().join("ledger.db")).unwrap();
        fs::copy(self.path("ledger.key"), place.path().join("ledger.key")).unwrap();
        let ledger = open(place.path());
        Self::with(place, ledger)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn key(&self) -> VerifierKey {
        let origin = self.ledger.origin();
        key_file::verifier(&self.path("ledger.key"), origin)
            .unwrap()
            .unwrap()
    }

    async fn grow(&self, kind: EventKind) {
        let draft = Draft {
            kind,
            agent: None,
            incident: None,
            causes: Vec::new(),
            actor: Actor::System,
            body: Map::new(),
        };
        let commit = Commit {
            entries: vec![draft],
            state: Vec::new(),
        };
        self.ledger.append(commit).await.unwrap();
    }

    /// How many entries of this kind there are, and the body of the last.
    fn entries(&self, kind: &str) -> (usize, Value) {
        let records = self.ledger.reader().unwrap().entries(0, 1000).unwrap();
        let entries = records.iter().map(|record| -> Value {
            serde_json::from_slice(record.entry.as_deref().unwrap()).unwrap()
        });
        let found: Vec<_> = entries.filter(|entry| entry["kind"] == kind).collect();
        let last = found.last().map(|entry| entry["body"].clone());
        (found.len(), last.unwrap_or_default())
    }

    fn status(&self, name: &str) -> Option<AnchorStatus> {
        let all = self.anchors.board().all();
        all.into_iter().find(|status| status.name.starts_with(name))
    }

    async fn until(&self, what: &str, is: impl Fn(&Self) -> bool) {
        let wait = async {
            while !is(self) {
                tokio::time::sleep(PAUSE).await;
            }
        };
        if tokio::time::timeout(BOUND, wait).await.is_err() {
            panic!("never: {what}; {:#?}", self.anchors.board().all());
        }
    }

    /// Waits until this anchor has everything.
    async fn anchored(&self, name: &str) {
        self.until("anchored to the end", |scene| {
            let size = scene.ledger.head().size;
            scene.status(name).and_then(|status| status.size) == Some(size)
        })
        .await;
    }
}

fn directory(path: &Path) -> Anchor {
    Anchor::Directory(path.display().to_string())
}

/// The only checkpoint in a directory.
fn held(directory: &Path) -> (PathBuf, Note) {
    let entries = fs::read_dir(directory).unwrap();
    let files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    let [file] = &files[..] else {
        panic!("{files:?}");
    };
    (file.clone(), Note::parse(&fs::read(file).unwrap()).unwrap())
}

/// A witness on a port of its own, which ends with the test.
async fn witness_of(place: &Path, logs: Vec<VerifierKey>) -> (SocketAddr, VerifierKey) {
    let signer = NoteSigner::from_seed("w", Algorithm::CosignatureV1, &[3; 32]).unwrap();
    let memory = Memory::open(&place.join("witness.db")).unwrap();
    let witness = Arc::new(Witness::new(signer, logs, memory).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let key = witness.verifier();
    tokio::spawn(crate::witness::serve(
        listener,
        witness,
        clock(),
        std::future::pending(),
    ));
    (address, key)
}

fn witness(address: SocketAddr, key: &VerifierKey) -> Anchor {
    Anchor::Witness {
        url: format!("http://{address}/"),
        key: key.to_string(),
    }
}

/// Answers requests in this order and gives what it was sent.
async fn web(answers: Vec<&'static str>) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let told = Arc::clone(&seen);
    tokio::spawn(async move {
        for n in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            let mut chunk = [0; 4096];
            // A checkpoint's note ends in a newline, after its signature line.
            while !(request.ends_with(b"\n")
                && String::from_utf8_lossy(&request).contains("\n\u{2014} "))
            {
                let read = stream.read(&mut chunk).await.unwrap();
                assert!(read > 0, "the request broke off");
                request.extend_from_slice(&chunk[..read]);
            }
            told.lock()
                .unwrap()
                .push(String::from_utf8(request).unwrap());
            let answer = answers.get(n).or(answers.last()).unwrap();
            let answer =
                format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (address, seen)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_holds_the_newest_checkpoint_and_success_does_not_feed_itself() {
    let scene = Scene::new();
    let place = scene.path("anchor");
    fs::create_dir(&place).unwrap();
    scene.anchors.set(&[directory(&place)]);
    for _ in 0..5 {
        scene.grow(EventKind::Diff).await;
        scene.anchored("directory").await;
    }
    let (_, note) = held(&place);
    let keys = [scene.key()];
    assert_eq!(note.verify(&keys).unwrap().len(), 1);
    assert_eq!(scene.entries("AnchorFailed").0, 0);
    assert_eq!(
        scene.entries("AnchorSucceeded").0,
        1,
        "once, although many were anchored"
    );
    assert_eq!(scene.ledger.head().unanchored, 0);
    assert_eq!(scene.ledger.head().size, 7, "five, the key's own and that");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_one_entry_however_often_it_is_tried_and_its_end_another() {
    let scene = Scene::new();
    let place = scene.path("not there yet");
    scene.anchors.set(&[directory(&place)]);
    scene.grow(EventKind::Diff).await;
    scene
        .until("tried twice", |scene| {
            scene
                .status("directory")
                .is_some_and(|status| status.failures >= 2)
        })
        .await;
    let (failed, body) = scene.entries("AnchorFailed");
    assert_eq!((failed, &body["fork"]), (1, &Value::Bool(false)));
    assert!(
        body["reason"].as_str().unwrap().contains("No such file"),
        "{body}"
    );
    fs::create_dir(&place).unwrap();
    scene.anchored("directory").await;
    assert_eq!(scene.entries("AnchorFailed").0, 1);
    assert_eq!(scene.entries("AnchorSucceeded").0, 1);
    assert_eq!(scene.status("directory").unwrap().failing_since, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_never_goes_back_to_less_or_to_another_history() {
    let scene = Scene::new();
    let place = scene.path("anchor");
    fs::create_dir(&place).unwrap();
    scene.grow(EventKind::Diff).await;
    let (shorter, other) = (scene.fork().await, scene.fork().await);
    scene.anchors.set(&[directory(&place)]);
    scene.grow(EventKind::Diff).await;
    scene.anchored("directory").await;
    scene.anchors.stop();
    let (file, note) = held(&place);
    shorter.anchors.set(&[directory(&place)]);
    for _ in 0..9 {
        other.grow(EventKind::SpecChanged).await;
    }
    other.anchors.set(&[directory(&place)]);
    for fork in [&shorter, &other] {
        fork.until("told as a fork", |fork| fork.entries("AnchorFailed").0 == 1)
            .await;
        assert_eq!(fork.entries("AnchorFailed").1["fork"], true);
        assert!(fork.status("directory").unwrap().fork);
    }
    assert_eq!(
        held(&place),
        (file, note),
        "what lay there lies there still"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_no_checkpoint_is_not_replaced() {
    let scene = Scene::new();
    let place = scene.path("anchor");
    fs::create_dir(&place).unwrap();
    let id = scene.ledger.origin().rsplit('/').next().unwrap().to_owned();
    let file = place.join(format!("alpha-{id}.checkpoint"));
    fs::write(&file, "somebody's notes\n").unwrap();
    scene.anchors.set(&[directory(&place)]);
    scene.grow(EventKind::Diff).await;
    scene
        .until("refused", |scene| scene.entries("AnchorFailed").0 == 1)
        .await;
    assert_eq!(fs::read_to_string(file).unwrap(), "somebody's notes\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_witness_cosigns_and_its_signature_is_kept_with_the_checkpoint() {
    let scene = Scene::new();
    let (address, key) = witness_of(scene.place.path(), vec![scene.key()]).await;
    scene.anchors.set(&[witness(address, &key)]);
    for _ in 0..3 {
        scene.grow(EventKind::Diff).await;
        scene.anchored("witness").await;
    }
    let rows = scene.ledger.reader().unwrap().state("anchor/").unwrap();
    let kept = osmoda_ledger::anchor::read_all(&rows);
    let note = Note::parse(kept[0].last.as_ref().unwrap().note.as_bytes()).unwrap();
    let keys = [key, scene.key()];
    assert_eq!(note.verify(&keys).unwrap().len(), 2);
    assert_eq!(scene.entries("AnchorSucceeded").0, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_forgot_what_its_witness_knows_is_told_and_proves_from_there() {
    let scene = Scene::new();
    let (address, key) = witness_of(scene.place.path(), vec![scene.key()]).await;
    scene.grow(EventKind::Diff).await;
    scene.anchors.set(&[witness(address, &key)]);
    scene.anchored("witness").await;
    scene.anchors.stop();
    let forget = Commit {
        entries: Vec::new(),
        state: vec![StateChange::Delete {
            key: format!("anchor/{}", name(&witness(address, &key))),
        }],
    };
    scene.ledger.append(forget).await.unwrap();
    scene.grow(EventKind::Diff).await;
    scene.anchors.set(&[witness(address, &key)]);
    scene.anchored("witness").await;
    assert_eq!(scene.entries("AnchorFailed").0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_witness_refuses_a_log_with_two_histories_and_the_node_tells() {
    let scene = Scene::new();
    scene.grow(EventKind::Diff).await;
    let (shorter, other) = (scene.fork().await, scene.fork().await);
    let (address, key) = witness_of(scene.place.path(), vec![scene.key()]).await;
    scene.anchors.set(&[witness(address, &key)]);
    scene.grow(EventKind::Diff).await;
    scene.anchored("witness").await;
    for _ in 0..9 {
        other.grow(EventKind::SpecChanged).await;
    }
    for fork in [&shorter, &other] {
        fork.anchors.set(&[witness(address, &key)]);
        fork.until("told as a fork", |fork| fork.entries("AnchorFailed").0 == 1)
            .await;
        assert_eq!(fork.entries("AnchorFailed").1["fork"], true);
        assert_eq!(fork.entries("AnchorSucceeded").0, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_witness_that_does_not_know_the_log_is_told_with_what_to_do() {
    let scene = Scene::new();
    let (address, key) = witness_of(scene.place.path(), Vec::new()).await;
    scene.anchors.set(&[witness(address, &key)]);
    scene.grow(EventKind::Diff).await;
    scene
        .until("refused", |scene| scene.entries("AnchorFailed").0 == 1)
        .await;
    let (_, body) = scene.entries("AnchorFailed");
    assert!(
        body["reason"]
            .as_str()
            .unwrap()
            .contains("does not watch this log"),
        "{body}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_the_witness_did_not_sign_is_no_anchor() {
    let scene = Scene::new();
    let (address, _) = witness_of(scene.place.path(), vec![scene.key()]).await;
    let stranger = NoteSigner::from_seed("w", Algorithm::CosignatureV1, &[8; 32]).unwrap();
    scene.anchors.set(&[witness(address, &stranger.verifier())]);
    scene.grow(EventKind::Diff).await;
    scene
        .until("refused", |scene| scene.entries("AnchorFailed").0 == 1)
        .await;
    assert_eq!(scene.entries("AnchorSucceeded").0, 0);
    assert!(scene.ledger.head().unanchored > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_gets_the_signed_note_again_until_it_takes_it() {
    let scene = Scene::new();
    let (address, seen) = web(vec!["500 Broken", "204 Kept"]).await;
    let file = scene.path("url");
    fs::write(&file, format!("http://{address}/hook?token=secret\n")).unwrap();
    let anchor = Anchor::Webhook {
        url_file: file.display().to_string(),
    };
    scene.anchors.set(&[anchor]);
    scene.grow(EventKind::Diff).await;
    scene.anchored("webhook").await;
    let (failed, body) = scene.entries("AnchorFailed");
    assert_eq!(failed, 1);
    assert!(!body.to_string().contains("secret"), "{body}");
    let first = seen.lock().unwrap()[0].clone();
    assert!(first.starts_with("POST /hook?token=secret "), "{first}");
    let (head, note) = first.split_once("\r\n\r\n").unwrap();
    let keys = [scene.key()];
    assert!(Note::parse(note.as_bytes()).unwrap().verify(&keys).is_ok());
    let origin = scene.ledger.origin();
    assert!(
        head.contains(&format!("osmoda-checkpoint: {origin} 1\r\n")),
        "{head}"
    );
    let line = note.lines().last().unwrap().trim_start_matches("\u{2014} ");
    assert!(
        head.contains(&format!("osmoda-signature: {line}")),
        "{head}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_not_followed() {
    let scene = Scene::new();
    let (elsewhere, seen) = web(vec!["204 Kept"]).await;
    let answer: &'static str = format!("307 Go\r\nlocation: http://{elsewhere}/").leak();
    let (address, _) = web(vec![answer]).await;
    let file = scene.path("url");
    fs::write(&file, format!("http://{address}/")).unwrap();
    scene.anchors.set(&[Anchor::Webhook {
        url_file: file.display().to_string(),
    }]);
    scene.grow(EventKind::Diff).await;
    scene
        .until("refused", |scene| scene.entries("AnchorFailed").0 == 1)
        .await;
    assert!(seen.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_anchor_that_never_answers_holds_up_nothing_else() {
    let scene = Scene::new();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let key = NoteSigner::from_seed("w", Algorithm::CosignatureV1, &[3; 32]).unwrap();
    let place = scene.path("anchor");
    fs::create_dir(&place).unwrap();
    let stuck = witness(silent.local_addr().unwrap(), &key.verifier());
    scene.anchors.set(&[stuck, directory(&place)]);
    for _ in 0..3 {
        scene.grow(EventKind::Diff).await;
        scene.anchored("directory").await;
    }
    assert_eq!(scene.status("witness").unwrap().size, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_anchor_that_is_withdrawn_ends_and_the_others_go_on() {
    let scene = Scene::new();
    let places = ["one", "two"].map(|name| scene.path(name));
    places
        .iter()
        .for_each(|place| fs::create_dir(place).unwrap());
    scene
        .anchors
        .set(&places.each_ref().map(|place| directory(place)));
    scene.grow(EventKind::Diff).await;
    // To the end, so that no write is under way any more.
    scene
        .until("both", |scene| {
            let size = Some(scene.ledger.head().size);
            scene
                .anchors
                .board()
                .all()
                .iter()
                .all(|one| one.size == size)
                && scene.entries("AnchorSucceeded").0 == 2
        })
        .await;
    scene.anchors.set(&[directory(&places[1])]);
    assert_eq!(scene.anchors.board().all().len(), 1);
    let before = held(&places[0]);
    scene.grow(EventKind::Diff).await;
    scene.anchored("directory").await;
    assert_eq!(held(&places[0]), before);
}
