//! Requests as they come over the wire.

use std::net::SocketAddr;

use osmoda_core::digest::Digest;
use osmoda_ledger::{
    checkpoint::Checkpoint,
    note::{Algorithm, Note, NoteSigner},
    tlog::{Frontier, leaf},
    witness::{Memory, Request as Asked},
};
use osmoda_runtime::clock::SystemClock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

const ORIGIN: &str = "a/osmoda/1";

fn log_key() -> NoteSigner {
    NoteSigner::from_seed(ORIGIN, Algorithm::Ed25519, &[1; 32]).unwrap()
}

/// The first checkpoint of a log of `size` entries, as a request.
fn first(size: u64) -> String {
    let mut tree = Frontier::default();
    (0..size).for_each(|n| tree.push(leaf(&n.to_be_bytes())));
    let text = Checkpoint::new(ORIGIN, size, tree.root()).to_string();
    let mut note = Note::new(text).unwrap();
    log_key().sign(&mut note, 0).unwrap();
    Asked::new(0, Vec::new(), note).unwrap().to_string()
}

async fn begin(place: &tempfile::TempDir) -> SocketAddr {
    let signer = NoteSigner::from_seed("w", Algorithm::CosignatureV1, &[2; 32]).unwrap();
    let memory = Memory::open(&place.path().join("witness.db")).unwrap();
    let witness = Arc::new(Witness::new(signer, [log_key().verifier()], memory).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let clock = Arc::new(SystemClock::new().unwrap());
    tokio::spawn(serve(listener, witness, clock, std::future::pending()));
    address
}

/// Status, media type and body of the answer.
async fn ask(address: SocketAddr, method: &str, path: &str, body: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: w\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let media_type = head
        .lines()
        .find_map(|line| line.strip_prefix("content-type: "));
    (
        status,
        media_type.unwrap_or_default().to_owned(),
        body.to_owned(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_answers_the_size_as_the_protocol_wants_it() {
    let place = tempfile::tempdir().unwrap();
    let address = begin(&place).await;
    let (status, _, line) = ask(address, "POST", "/add-checkpoint", &first(3)).await;
    assert_eq!(status, 200);
    assert!(
        line.starts_with("\u{2014} w ") && line.ends_with('\n'),
        "{line}"
    );
    let conflict = ask(address, "POST", "/add-checkpoint", &first(5)).await;
    assert_eq!(
        conflict,
        (409, "text/x.tlog.size".to_owned(), "3\n".to_owned())
    );
}

/// Eight clients ask at once; all build on an empty log.
#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_race_exactly_one_is_cosigned() {
    let place = tempfile::tempdir().unwrap();
    let address = begin(&place).await;
    let racing: Vec<_> = (1..=8)
        .map(|size| {
            let body = first(size);
            tokio::spawn(async move { ask(address, "POST", "/add-checkpoint", &body).await.0 })
        })
        .collect();
    let mut statuses = Vec::new();
    for one in racing {
        statuses.push(one.await.unwrap());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409, 409, 409, 409, 409, 409, 409]);
}

#[tokio::test(flavor = "multi_thread")]
async fn monitors_can_ask_for_the_latest_checkpoint() {
    let place = tempfile::tempdir().unwrap();
    let address = begin(&place).await;
    let path = format!("/{}/checkpoint", Digest::of(ORIGIN.as_bytes()));
    assert_eq!(ask(address, "GET", &path, "").await.0, 404);
    ask(address, "POST", "/add-checkpoint", &first(3)).await;
    let (status, _, note) = ask(address, "GET", &path, "").await;
    assert_eq!(status, 200);
    assert_eq!(Note::parse(note.as_bytes()).unwrap().signatures().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_requests_are_refused_by_their_codes() {
    let place = tempfile::tempdir().unwrap();
    let address = begin(&place).await;
    let long = "x".repeat(REQUEST_MAX + 1);
    let cases = [
        ("GET", "/add-checkpoint", "", 405),
        ("POST", "/", "", 404),
        ("POST", "/sign-subtree", "", 404),
        ("POST", "/add-checkpoint", "hello", 400),
        ("POST", "/add-checkpoint", long.as_str(), 413),
    ];
    for (method, path, body, expected) in cases {
        assert_eq!(
            ask(address, method, path, body).await.0,
            expected,
            "{method} {path}"
        );
    }
}
