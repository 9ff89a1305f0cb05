//! A real ledger, an outbox over it, and receivers: by a carrier that is played here, in simulated
//! time. (Over HTTPS they are tested end to end, on the built binary.)

mod delivery;
mod outages;
mod queueing;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, atomic::AtomicU64},
    time::Duration,
};

use osmoda_core::{
    event::{Actor, EventKind},
    name::AgentName,
    spec::{Alert, AlertProvider, Severity},
    time::{Clock, Mono, Wall},
};
use osmoda_ledger::{Commit, Draft, IncidentRef, Ledger, OpenOptions, Scrubber, StateChange};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Alerts, Carrier, Labels, Outbox, format::Outgoing, lock, send::Carried};
use crate::web::Answer;

/// Longest wait for something that should come, in the clock of the test.
const BOUND: Duration = Duration::from_secs(30);

/// 2026-01-01T12:00:00Z: after the digest's hour.
const BEGIN: i64 = 1_767_268_800_000_000;

/// A clock that follows tokio's, which a test can pause.
struct Paused {
    began: tokio::time::Instant,
    ahead: AtomicU64,
}

impl Paused {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            began: tokio::time::Instant::now(),
            ahead: AtomicU64::new(0),
        })
    }
}

impl Clock for Paused {
    fn mono(&self) -> Mono {
        let ahead = self.ahead.load(std::sync::atomic::Ordering::Relaxed);
        Mono(ahead).after(self.began.elapsed())
    }

    fn wall(&self) -> Wall {
        Wall(BEGIN + i64::try_from(self.mono().0).unwrap())
    }

    fn boot_id(&self) -> &str {
        "00000000-0000-4000-8000-000000000001"
    }
}

/// What a played provider does with a request.
type Play = Box<dyn Fn(&Outgoing, usize) -> Result<Answer, String> + Send + Sync>;

/// A provider that is played: what it was sent, and what it answers.
struct Stage {
    sent: Mutex<Vec<Outgoing>>,
    play: Mutex<Play>,
}

impl Stage {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            sent: Mutex::default(),
            play: Mutex::new(Box::new(|_, _| Ok(answer(200)))),
        })
    }

    /// From now on it answers like this; the number is that of the request, from 0.
    fn plays(
        &self,
        play: impl Fn(&Outgoing, usize) -> Result<Answer, String> + Send + Sync + 'static,
    ) {
        *lock(&self.play) = Box::new(play);
    }

    fn sent(&self) -> Vec<Outgoing> {
        lock(&self.sent).clone()
    }
}

impl Carrier for Stage {
    fn post(&self, request: Outgoing) -> Carried<'_> {
        let number = {
            let mut sent = lock(&self.sent);
            sent.push(request.clone());
            sent.len() - 1
        };
        let answer = lock(&self.play)(&request, number);
        Box::pin(async move { answer })
    }
}

fn answer(status: u16) -> Answer {
    Answer {
        status,
        media_type: String::new(),
        retry_after: None,
        body: Vec::new(),
    }
}

/// A ledger in a directory of its own, and everything over it.
struct Scene {
    place: TempDir,
    clock: Arc<Paused>,
    stage: Arc<Stage>,
    scrubber: Arc<Scrubber>,
    alerts: Alerts,
    ledger: Ledger,
}

fn open(place: &Path, clock: &Arc<Paused>, scrubber: &Arc<Scrubber>) -> (Ledger, Arc<Outbox>) {
    let clock: Arc<dyn Clock> = Arc::clone(clock) as _;
    let mut options = OpenOptions::new("alpha", Arc::clone(&clock));
    options.scrubber = Arc::clone(scrubber);
    let ledger = Ledger::open(&place.join("ledger.db"), options).unwrap();
    let outbox = Outbox::open(ledger.clone(), clock, Arc::clone(scrubber), "alpha".into());
    (ledger, Arc::new(outbox.unwrap()))
}

impl Scene {
    /// With these receivers, which are served.
    fn new(receivers: &[Alert]) -> Self {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(
            place.path().join("url"),
            "https://example.test/hook/sesame-url\n",
        )
        .unwrap();
        std::fs::write(place.path().join("key"), "sesame-key-0123456789\n").unwrap();
        let clock = Paused::new();
        let scrubber = Arc::new(Scrubber::new());
        let (ledger, outbox) = open(place.path(), &clock, &scrubber);
        let stage = Stage::new();
        let alerts = Alerts::new(outbox, Arc::clone(&stage) as _);
        let scene = Self {
            place,
            clock,
            stage,
            scrubber,
            alerts,
            ledger,
        };
        scene.declare(receivers);
        scene
    }

    fn declare(&self, receivers: &[Alert]) {
        let mut receivers = receivers.to_vec();
        for receiver in &mut receivers {
            let path = |name: &str| Some(self.place.path().join(name).display().to_string());
            receiver.url_file = path("url");
            receiver.key_file = path("key");
        }
        self.outbox().set(Some(&receivers), labels());
        self.alerts.begin();
    }

    /// The daemon dies without a word, and another one takes its place.
    async fn dies(mut self) -> Self {
        self.alerts.stop();
        self.ledger.shutdown().await;
        let (ledger, outbox) = open(self.place.path(), &self.clock, &self.scrubber);
        self.alerts = Alerts::new(outbox, Arc::clone(&self.stage) as _);
        self.ledger = ledger;
        self.alerts.begin();
        self
    }

    fn outbox(&self) -> &Arc<Outbox> {
        self.alerts.outbox()
    }

    fn happens(&self, kind: EventKind, agent: &str, incident: &str, body: Value) {
        self.outbox()
            .append(&commit(kind, agent, incident, body))
            .unwrap();
    }

    /// An agent beyond its budget.
    fn breaks(&self, agent: &str, incident: &str) {
        let body =
            json!({"reason": "RestartBudgetSpent", "restarts": 6, "restartAfterMs": 301_596});
        self.happens(EventKind::EscalationExhausted, agent, incident, body);
    }

    fn heals(&self, agent: &str, incident: &str) {
        let body = json!({"reason": "Recovered", "timeToVerifyUs": 2_000_000});
        self.happens(EventKind::HealthVerified, agent, incident, body);
    }

    /// Waits in the clock of the test.
    async fn until<T>(&self, what: &str, look: impl Fn(&Self) -> Option<T>) -> T {
        self.within(BOUND, what, look).await
    }

    async fn within<T>(&self, bound: Duration, what: &str, look: impl Fn(&Self) -> Option<T>) -> T {
        let begin = self.clock.mono();
        loop {
            if let Some(seen) = look(self) {
                return seen;
            }
            let waited = self.clock.mono().since(begin);
            assert!(
                waited < bound,
                "not within {bound:?}: {what}; {:?}",
                self.outbox().list()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn until_nothing_waits(&self) {
        let empty = |scene: &Self| scene.outbox().list().items.is_empty().then_some(());
        self.until("nothing waits", empty).await;
    }

    /// Bodies of what was sent, as JSON.
    fn bodies(&self) -> Vec<Value> {
        let sent = self.stage.sent();
        let parse = |request: &Outgoing| serde_json::from_str(&request.body).unwrap();
        sent.iter().map(parse).collect()
    }

    fn count(&self, kind: EventKind) -> usize {
        let entries = self.ledger.reader().unwrap().entries(0, 100_000).unwrap();
        let word = format!("\"kind\":\"{kind:?}\"");
        let texts = entries.iter().filter_map(|record| record.entry.as_deref());
        texts
            .filter(|bytes| String::from_utf8_lossy(bytes).contains(&word))
            .count()
    }

    fn rows(&self, prefix: &str) -> BTreeMap<String, Vec<u8>> {
        self.ledger.reader().unwrap().state(prefix).unwrap()
    }
}

fn labels() -> Labels {
    let team = |team: &str| BTreeMap::from([("team".to_owned(), team.to_owned())]);
    let agent = |name: &str| AgentName::new(name).unwrap();
    Labels::from([(agent("a"), team("red")), (agent("b"), team("blue"))])
}

fn receiver(name: &str, provider: AlertProvider) -> Alert {
    Alert {
        name: name.into(),
        provider,
        url_file: None,
        key_file: None,
        chat_id: Some("-100123".into()),
        min_severity: Severity::Warning,
        labels: BTreeMap::new(),
        kinds: Vec::new(),
    }
}

fn commit(kind: EventKind, agent: &str, incident: &str, body: Value) -> Commit {
    Commit {
        entries: vec![Draft {
            kind,
            agent: AgentName::new(agent).ok(),
            incident: Some(IncidentRef::Known(incident.into())),
            causes: Vec::new(),
            actor: Actor::Reconciler,
            body: body.as_object().unwrap().clone(),
        }],
        state: vec![StateChange::Put {
            key: "agent/a".into(),
            value: b"{}".to_vec(),
        }],
    }
}
