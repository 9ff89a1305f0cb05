//! The API through a real Unix socket, with a stub in the place of the loop.

mod bounds;

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use osmoda_core::{
    event::Actor,
    name::AgentName,
    observed::{InvocationId, Limits},
    resources::Usage,
    time::Wall,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};

use super::{
    ApiError, ApiOptions, Authorizer, EntrySource, Gauge, Listener, Logs, Measures, limits, serve,
    types::{
        Accepted, AgentList, AgentObject, AgentSummary, DiffReport, EntryObject, GenerationList,
        LedgerHead, NodeStatus, PlanReport, PlanStep, StatusSummary,
    },
};
use crate::{
    detect::{Asked, board::Board},
    handle::{Command, CommandError, Handle, Query},
    metrics::{Build, Metrics},
    reconcile::message::Message,
};

/// Longest wait for something that is to happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// A ledger in memory: entry n was written n seconds after 1970 began.
pub(crate) struct Entries {
    agents: Vec<String>,
    padding: usize,
    size: watch::Sender<u64>,
    furthest_read: AtomicU64,
}

impl Entries {
    /// `size` entries, of these agents in turn.
    pub(crate) fn of(size: u64, agents: &[&str]) -> Self {
        Self {
            agents: agents.iter().map(|name| (*name).to_owned()).collect(),
            padding: 0,
            size: watch::Sender::new(size),
            furthest_read: AtomicU64::new(0),
        }
    }

    fn grow(&self) {
        self.size.send_modify(|size| *size += 1);
    }
}

impl EntrySource for Entries {
    fn head(&self) -> LedgerHead {
        LedgerHead {
            origin: "test/osmoda/0".to_owned(),
            size: *self.size.borrow(),
            root: "00".to_owned(),
            chain: "11".to_owned(),
            checkpoint: None,
            unanchored: *self.size.borrow(),
        }
    }

    fn entries(&self, from: u64, limit: usize) -> Result<Vec<EntryObject>, String> {
        let end = (*self.size.borrow()).min(from.saturating_add(limit as u64));
        self.furthest_read.fetch_max(end, Ordering::SeqCst);
        let entry = |seq: u64| {
            let agent = &self.agents[seq as usize % self.agents.len()];
            let ts = Wall(seq as i64 * 1_000_000).to_string();
            let padding = "x".repeat(self.padding);
            let entry = json!({"seq": seq, "ts": ts, "agent": agent, "padding": padding});
            EntryObject {
                seq,
                leaf: format!("{seq:064x}"),
                entry,
            }
        };
        Ok((from..end).map(entry).collect())
    }

    fn newest(&self, limit: usize, agent: Option<&str>) -> Result<Vec<EntryObject>, String> {
        let mut all = self.entries(0, usize::MAX)?;
        all.retain(|entry| agent.is_none_or(|name| entry.entry["agent"] == name));
        Ok(all.split_off(all.len().saturating_sub(limit)))
    }

    fn follow(&self) -> watch::Receiver<u64> {
        self.size.subscribe()
    }
}

/// Every agent uses the same, all the time.
struct StillGauge;

impl Gauge for StillGauge {
    fn usage(&self, _: AgentName, _: InvocationId) -> Asked<io::Result<Usage>> {
        Box::pin(async {
            Ok(Usage {
                memory_bytes: 4096,
                cpu_us: 7,
            })
        })
    }

    fn limits(&self) -> Asked<BTreeMap<AgentName, Limits>> {
        Box::pin(async { BTreeMap::new() })
    }
}

/// Metrics of a node that has seen nothing yet.
pub(crate) fn metrics(handle: Handle, ledger: Arc<dyn EntrySource>) -> Arc<Metrics> {
    Arc::new(Metrics {
        build: Build {
            version: "1.2.3".to_owned(),
            runtime: "native".to_owned(),
        },
        meters: Arc::default(),
        handle,
        measures: Arc::new(Measures::new(Arc::new(StillGauge))),
        ledger,
        anchors: Arc::default(),
        board: Board::new().0,
    })
}

/// A served API.
struct Scene {
    directory: tempfile::TempDir,
    ledger: Arc<Entries>,
    /// What reached the loop, for people.
    heard: Arc<Mutex<Vec<String>>>,
    shutdown: watch::Sender<bool>,
    server: JoinHandle<Result<(), ApiError>>,
}

impl Scene {
    fn start() -> Self {
        Self::with(Entries::of(5, &["a", "b"]), false)
    }

    fn with(ledger: Entries, in_agent_tree: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = Listener::bind(&directory.path().join("osmoda.sock")).unwrap();
        let ledger = Arc::new(ledger);
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (sender, inbox) = mpsc::channel(16);
        tokio::spawn(loop_stub(inbox, Arc::clone(&heard)));
        let uid = rustix::process::geteuid().as_raw();
        let shutdown = watch::Sender::new(false);
        let handle = Handle::new(sender);
        let metrics = metrics(handle.clone(), Arc::clone(&ledger) as Arc<dyn EntrySource>);
        let options = ApiOptions {
            alerts: None,
            listener,
            handle,
            ledger: Arc::clone(&ledger) as Arc<dyn EntrySource>,
            logs: Logs::files(directory.path().join("logs")),
            measures: Arc::clone(&metrics.measures),
            metrics,
            authorizer: Authorizer::new(uid, Arc::new(move |_| in_agent_tree)),
            shutdown: shutdown.subscribe(),
        };
        let server = tokio::spawn(serve(options));
        Self {
            directory,
            ledger,
            heard,
            shutdown,
            server,
        }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("osmoda.sock")
    }

    async fn connect(&self) -> UnixStream {
        UnixStream::connect(self.socket()).await.unwrap()
    }

    /// Sends bytes as they are and reads until the server hangs up.
    async fn raw(&self, request: &[u8]) -> String {
        let mut stream = self.connect().await;
        // The server may have its answer, and hang up, before it has read everything.
        let _ = stream.write_all(request).await;
        let mut answer = Vec::new();
        let _ = timeout(PATIENCE, stream.read_to_end(&mut answer))
            .await
            .expect("an answer");
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn send(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: osmoda\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        parse(&self.raw(request.as_bytes()).await)
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.send("GET", path, "").await
    }

    /// Opens a stream of events and reads past its head.
    async fn stream(&self, path: &str, header: &str) -> BufReader<UnixStream> {
        let mut stream = self.connect().await;
        let request = format!("GET {path} HTTP/1.1\r\nhost: osmoda\r\n{header}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            timeout(PATIENCE, stream.read_line(&mut line))
                .await
                .unwrap()
                .unwrap();
        }
        stream
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

fn parse(answer: &str) -> (u16, Value) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .unwrap_or(0);
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

/// The next line of an event stream that begins with `prefix`, without it.
async fn next(stream: &mut BufReader<UnixStream>, prefix: &str) -> String {
    let found = async {
        loop {
            let mut line = String::new();
            let read = stream.read_line(&mut line).await;
            assert_ne!(read.unwrap(), 0, "the stream ended");
            if let Some(rest) = line.trim_end().strip_prefix(prefix) {
                return rest.to_owned();
            }
        }
    };
    // Around the whole: comments keep coming on a stream without events.
    timeout(PATIENCE, found).await.expect("an event")
}

/// Answers as the loop would, for the one agent `a`.
async fn loop_stub(mut inbox: mpsc::Receiver<Message>, heard: Arc<Mutex<Vec<String>>>) {
    let who = |actor: &Actor| match actor {
        Actor::Operator { uid, pid, .. } => format!("uid {uid} pid {pid}"),
        other => format!("{other:?}"),
    };
    while let Some(message) = inbox.recv().await {
        let said = match message {
            Message::Query(query) => {
                answer(query);
                continue;
            }
            Message::Command {
                command,
                actor,
                reply,
            } => {
                if let Some(name) = command.agent().filter(|name| name.as_str() != "a") {
                    reply
                        .send(Err(CommandError::NoSuchAgent(name.clone())))
                        .unwrap();
                    continue;
                }
                let reason = match &command {
                    Command::Pause { reason, .. } => format!(" because {reason}"),
                    _ => String::new(),
                };
                let said = format!("{} by {}{reason}", command.verb(), who(&actor));
                reply
                    .send(Ok(Accepted {
                        accepted: true,
                        seq: Some(7),
                    }))
                    .unwrap();
                said
            }
            Message::Refused {
                command,
                actor,
                attempts,
            } => {
                format!("refused {} by {} x {attempts}", command.verb(), who(&actor))
            }
            other => format!("{other:?}"),
        };
        heard.lock().unwrap().push(said);
    }
}

fn answer(query: Query) {
    // A caller that has hung up does not wait for its answer.
    match query {
        Query::Ping(reply) => _ = reply.send(()),
        Query::Status(reply) => _ = reply.send(status()),
        Query::Summary(reply) => {
            let AgentList { node, items, .. } = status();
            _ = reply.send(StatusSummary {
                api_version: "osmoda/v1".to_owned(),
                kind: "StatusSummary".to_owned(),
                node,
                items: items.into_iter().map(AgentSummary::from).collect(),
            });
        }
        Query::Agent(name, reply) => {
            _ = reply.send((name.as_str() == "a").then(agent));
        }
        Query::Generations(name, reply) => {
            let list = GenerationList { items: Vec::new() };
            _ = reply.send((name.as_str() == "a").then_some(Ok(list)));
        }
        Query::SystemGenerations(reply) => _ = reply.send(None),
        Query::Diff(_, reply) => {
            let system = std::collections::BTreeMap::new();
            _ = reply.send(DiffReport {
                in_sync: true,
                agents: Vec::new(),
                system,
            });
        }
        Query::Plan(specs, reply) => {
            let names = specs.map(|specs| specs.agents.into_keys().collect::<Vec<_>>());
            let step = |name: osmoda_core::name::AgentName| PlanStep {
                agent: name.to_string(),
                action: "Start".to_owned(),
                reason: "Desired".to_owned(),
                from: "stopped".to_owned(),
                to: "running".to_owned(),
                in_ms: 0,
            };
            let steps = names.unwrap_or_default().into_iter().map(step).collect();
            _ = reply.send(PlanReport { steps });
        }
    }
}

fn agent() -> AgentObject {
    serde_json::from_value(json!({
        "apiVersion": "osmoda/v1", "kind": "Agent",
        "metadata": {"name": "a", "labels": {}, "generation": 1},
        "spec": {"command": ["/bin/a"]},
        "status": {
            "phase": "Running", "ready": true, "message": "", "restarts": 0,
            "generation": {}, "observedGeneration": 1, "conditions": [], "notEnforced": []
        }
    }))
    .unwrap()
}

fn status() -> AgentList {
    let node: NodeStatus = serde_json::from_value(json!({
        "name": "here", "version": "0", "pid": 1, "runtime": "native", "specs": "/specs",
        "uptimeMs": 1, "specErrors": [],
        "ledger": {"origin": "o", "size": 5, "root": "00", "chain": "11"}
    }))
    .unwrap();
    AgentList {
        api_version: "osmoda/v1".to_owned(),
        kind: "AgentList".to_owned(),
        node,
        items: vec![agent()],
    }
}

#[tokio::test]
async fn what_is_asked_for_is_answered() {
    let scene = Scene::start();
    assert_eq!(
        scene.get("/openapi.json").await,
        (200, super::openapi::document())
    );
    assert_eq!(
        scene.get("/v1/status").await,
        (200, serde_json::to_value(status()).unwrap())
    );
    assert_eq!(
        scene.get("/v1/agents").await,
        (200, json!({"items": [agent()]}))
    );
    assert_eq!(
        scene.get("/v1/agents/a").await,
        (200, serde_json::to_value(agent()).unwrap())
    );
    assert_eq!(scene.get("/v1/diff").await.1["inSync"], true);
    assert_eq!(scene.get("/v1/plan").await, (200, json!({"steps": []})));
    assert_eq!(
        scene.get("/v1/ledger/head").await.1["origin"],
        "test/osmoda/0"
    );
    assert_eq!(scene.get("/healthz").await, (200, json!({"alive": true})));
    assert_eq!(scene.get("/readyz").await, (200, json!({"ready": true})));
    let (status, page) = scene.get("/v1/ledger/entries?from=3&limit=1").await;
    assert_eq!(
        (status, &page["items"][0]["seq"], &page["size"]),
        (200, &json!(3), &json!(5))
    );
    let (status, page) = scene.get("/v1/events?agent=b").await;
    let seqs: Vec<_> = page["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| &e["seq"])
        .collect();
    assert_eq!((status, seqs), (200, vec![&json!(1), &json!(3)]));
}

#[tokio::test]
async fn metrics_come_in_the_form_that_is_asked_for() {
    let scene = Scene::start();
    let read = async |accept: &str| {
        let request =
            format!("GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{accept}\r\n");
        scene.raw(request.as_bytes()).await
    };
    let open = read("").await;
    assert!(open.contains("content-type: application/openmetrics-text; version=1.0.0"));
    assert!(open.ends_with("# EOF\n") && open.contains("\nosmoda_ledger_entries 5\n"));
    let plain = read("accept: text/plain\r\n").await;
    assert!(plain.contains("content-type: text/plain; version=0.0.4"));
    assert!(!plain.contains("# EOF"));
}

#[tokio::test]
async fn errors_have_a_stable_form() {
    let scene = Scene::start();
    let expected = json!({
        "code": "NotFound",
        "message": "there is no agent \"zzz\"",
        "hint": "`osmoda status` lists the agents that there are",
    });
    assert_eq!(scene.get("/v1/agents/zzz").await, (404, expected.clone()));
    assert_eq!(
        scene.get("/v1/agents/zzz/logs").await,
        (404, expected.clone())
    );
    assert_eq!(
        scene.send("POST", "/v1/agents/zzz/restart", "").await,
        (404, expected)
    );
    for (method, path, body, status) in [
        ("GET", "/v1/metrics", "", 404),
        ("POST", "/metrics", "", 405),
        ("PUT", "/v1/status", "", 405),
        ("GET", "/v1/status?x=1", "", 400),
        ("GET", "/v1/events?limit=many", "", 400),
        ("POST", "/v1/agents/a/pause", "not json", 400),
        ("POST", "/v1/agents/a/pause", r#"{"raeson": "typo"}"#, 400),
        ("POST", "/v1/agents/a/resume", r#"{"reason": "no"}"#, 400),
        ("POST", "/v1/resume", "[]", 400),
        ("POST", "/v1/resume", "\t", 400),
        ("POST", "/v1/agents/a/pause", r#"["upgrade"]"#, 400),
        ("POST", "/v1/plan", r#"{"not": "a list"}"#, 400),
    ] {
        let (found, object) = scene.send(method, path, body).await;
        assert_eq!(found, status, "{method} {path}: {object}");
        assert!(
            object["code"].is_string() && object["message"].is_string(),
            "{path}: {object}"
        );
    }
    assert_eq!(scene.heard(), [""; 0], "nothing of it may reach the loop");
}

#[tokio::test]
async fn commands_are_carried_out_in_the_name_of_who_gave_them() {
    let scene = Scene::start();
    let accepted = (200, json!({"accepted": true, "seq": 7}));
    assert_eq!(
        scene.send("POST", "/v1/agents/a/restart", "").await,
        accepted
    );
    let reason = r#"{"reason": "upgrade"}"#;
    assert_eq!(
        scene.send("POST", "/v1/agents/a/pause", reason).await,
        accepted
    );
    assert_eq!(scene.send("POST", "/v1/pause", reason).await, accepted);
    assert_eq!(scene.send("POST", "/v1/resume", "{}").await, accepted);
    let me = format!(
        "uid {} pid {}",
        rustix::process::geteuid().as_raw(),
        std::process::id()
    );
    let expected = [
        format!("restart by {me}"),
        format!("pause by {me} because upgrade"),
        format!("pause by {me} because upgrade"),
        format!("resume by {me} because "),
    ];
    let heard = scene.heard();
    assert_eq!(heard[..3], expected[..3]);
    assert_eq!(heard[3], format!("resume by {me}"));
}

#[tokio::test]
async fn a_process_of_an_agent_reads_but_never_acts_and_its_attempt_is_on_record() {
    let scene = Scene::with(Entries::of(5, &["a"]), true);
    assert_eq!(scene.get("/v1/status").await.0, 200);
    for (path, verb) in [("/v1/agents/a/restart", "restart"), ("/v1/pause", "pause")] {
        let (status, object) = scene.send("POST", path, "garbage").await;
        assert_eq!((status, &object["code"]), (403, &json!("Forbidden")));
        let last = scene.heard().pop().unwrap();
        assert!(
            last.starts_with(&format!("refused {verb} by uid")),
            "{last}"
        );
    }
    assert_eq!(scene.heard().len(), 2);
}

#[tokio::test]
async fn a_plan_of_other_specs_reads_each_manifest() {
    let scene = Scene::start();
    let manifest = |name| {
        json!({
            "apiVersion": "osmoda/v1", "kind": "Agent",
            "metadata": {"name": name}, "spec": {"command": ["/bin/x"]}
        })
    };
    let body = json!([manifest("one"), manifest("two")]).to_string();
    let (status, report) = scene.send("POST", "/v1/plan", &body).await;
    let agents: Vec<_> = report["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| &s["agent"])
        .collect();
    assert_eq!((status, agents), (200, vec![&json!("one"), &json!("two")]));
    let twice = json!([manifest("one"), manifest("one")]).to_string();
    assert_eq!(scene.send("POST", "/v1/plan", &twice).await.0, 400);
}

#[tokio::test]
async fn garbage_never_ends_the_server() {
    let scene = Scene::start();
    let many_headers = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(1000));
    let long_head = format!("GET / HTTP/1.1\r\na: {}\r\n\r\n", "b".repeat(200_000));
    let garbage: [&[u8]; 8] = [
        b"",
        b"\0\0\0\0",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"POST /v1/plan HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        many_headers.as_bytes(),
        long_head.as_bytes(),
    ];
    for request in garbage {
        let mut stream = scene.connect().await;
        let _ = stream.write_all(request).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = timeout(PATIENCE, stream.read_to_end(&mut answer))
            .await
            .expect("no hang");
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{request:?}");
    }
    assert_eq!(scene.get("/v1/status").await.0, 200);
}

#[tokio::test]
async fn a_body_beyond_its_bound_is_refused() {
    let scene = Scene::start();
    let body = " ".repeat(limits::BODY_BYTES_MAX + 1);
    let (status, object) = scene.send("POST", "/v1/plan", &body).await;
    assert_eq!((status, &object["code"]), (413, &json!("InvalidRequest")));
}

#[tokio::test]
async fn too_many_connections_are_turned_away_until_one_ends() {
    let scene = Scene::start();
    let mut held = Vec::new();
    for _ in 0..limits::ACTOR_CONNECTIONS_MAX {
        let mut stream = scene.connect().await;
        // Answered, so that it is known to have its place.
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        let mut first = [0; 12];
        stream.read_exact(&mut first).await.unwrap();
        held.push(stream);
    }
    let mut refused = scene.connect().await;
    let mut answer = String::new();
    timeout(PATIENCE, refused.read_to_string(&mut answer))
        .await
        .unwrap()
        .unwrap();
    let (status, object) = parse(&answer);
    assert_eq!((status, &object["code"]), (503, &json!("Unavailable")));
    held.pop();
    let served = async { while scene.get("/healthz").await.0 != 200 {} };
    timeout(PATIENCE, served)
        .await
        .expect("a place becomes free");
}

#[tokio::test]
async fn events_are_followed_as_they_are_written() {
    let scene = Scene::start();
    let mut stream = scene.stream("/v1/events?follow=1&limit=2", "").await;
    for seq in [3, 4] {
        assert_eq!(next(&mut stream, "id: ").await, seq.to_string());
    }
    for seq in 5..50_u64 {
        scene.ledger.grow();
        assert_eq!(next(&mut stream, "id: ").await, seq.to_string());
        let object: Value = serde_json::from_str(&next(&mut stream, "data: ").await).unwrap();
        assert_eq!(object["seq"], seq);
    }
}

#[tokio::test]
async fn a_reader_that_lost_its_connection_misses_nothing() {
    let scene = Scene::start();
    let mut stream = scene
        .stream("/v1/events?follow=1", "Last-Event-ID: 1\r\n")
        .await;
    assert_eq!(next(&mut stream, "id: ").await, "2");
    let mut of_one = scene
        .stream("/v1/events?follow=1&agent=b&since=0", "")
        .await;
    assert_eq!(next(&mut of_one, "id: ").await, "1");
    assert_eq!(next(&mut of_one, "id: ").await, "3");
}

#[tokio::test]
async fn a_slow_reader_holds_nothing_in_memory_and_misses_nothing() {
    // Batch, chunks and the socket's buffer hold a small part of so many entries of 1 KB.
    const ENTRIES: u64 = 20_000;
    let ledger = Entries {
        padding: 1000,
        ..Entries::of(ENTRIES, &["a"])
    };
    let scene = Scene::with(ledger, false);
    let mut slow = scene.stream("/v1/events?follow=1&since=0", "").await;
    // Others are served meanwhile, and the slow one's place in the ledger stays behind.
    for _ in 0..300 {
        assert_eq!(scene.get("/v1/status").await.0, 200);
    }
    let read = scene.ledger.furthest_read.load(Ordering::SeqCst);
    assert!(
        read > 0 && read < ENTRIES / 2,
        "{read} entries were read for a reader that waits"
    );
    for seq in 0..ENTRIES {
        assert_eq!(next(&mut slow, "id: ").await, seq.to_string());
    }
}

#[tokio::test]
async fn output_is_shown_and_followed() {
    let scene = Scene::start();
    let directory = scene.directory.path().join("logs/a");
    std::fs::create_dir_all(&directory).unwrap();
    assert_eq!(scene.get("/v1/agents/a/logs").await.1["lines"], json!([]));
    std::fs::write(directory.join("current.log"), "one\ntwo\nthree\n").unwrap();
    std::fs::write(directory.join("previous.log"), "before\n").unwrap();
    assert_eq!(
        scene.get("/v1/agents/a/logs?lines=2").await.1["lines"],
        json!(["two", "three"])
    );
    let (_, before) = scene.get("/v1/agents/a/logs?previous").await;
    assert_eq!(
        before,
        json!({"agent": "a", "previous": true, "lines": ["before"]})
    );
    let mut stream = scene.stream("/v1/agents/a/logs?follow=1&lines=1", "").await;
    assert_eq!(next(&mut stream, "data: ").await, r#"{"line":"three"}"#);
    std::fs::write(directory.join("current.log"), "one\ntwo\nthree\nfour\n").unwrap();
    assert_eq!(next(&mut stream, "data: ").await, r#"{"line":"four"}"#);
}

#[tokio::test]
async fn shutdown_ends_streams_and_takes_the_socket_along() {
    let scene = Scene::start();
    let mut stream = scene.stream("/v1/events?follow=1", "").await;
    scene.shutdown.send(true).unwrap();
    let mut rest = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut rest))
        .await
        .expect("the stream ends")
        .unwrap();
    timeout(PATIENCE, scene.server)
        .await
        .expect("the server ends")
        .unwrap()
        .unwrap();
    assert!(!scene.directory.path().join("osmoda.sock").exists());
}

#[tokio::test]
async fn without_the_loop_the_caller_is_told_so() {
    let directory = tempfile::tempdir().unwrap();
    let listener = Listener::bind(&directory.path().join("osmoda.sock")).unwrap();
    let (sender, inbox) = mpsc::channel(1);
    drop(inbox);
    let mut scene = Scene::start();
    let shutdown = watch::Sender::new(false);
    let handle = Handle::new(sender);
    let metrics = metrics(
        handle.clone(),
        Arc::clone(&scene.ledger) as Arc<dyn EntrySource>,
    );
    let options = ApiOptions {
        alerts: None,
        listener,
        handle,
        ledger: Arc::clone(&scene.ledger) as Arc<dyn EntrySource>,
        logs: Logs::files(directory.path().to_owned()),
        measures: Arc::clone(&metrics.measures),
        metrics,
        authorizer: Authorizer::new(rustix::process::geteuid().as_raw(), Arc::new(|_| false)),
        shutdown: shutdown.subscribe(),
    };
    let _server = tokio::spawn(serve(options));
    scene.directory = directory;
    let (status, object) = scene.get("/readyz").await;
    assert_eq!((status, &object["code"]), (503, &json!("Unavailable")));
    assert_eq!(scene.send("POST", "/v1/agents/a/restart", "").await.0, 503);
}
