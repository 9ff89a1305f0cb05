//! The Model Context Protocol over streamable HTTP: initialize, then ping, as a client would.
//!
//! Source: modelcontextprotocol.io/specification, revisions 2025-11-25 and before (lifecycle,
//! transports, ping) and 2026-07-28, which has neither initialize nor ping nor sessions: a server
//! that refuses initialize is asked `server/discover` instead. The server may answer with any
//! revision that this client knows; another one is a failure that says so. An answer is one JSON
//! object or an event stream. A session is ended behind the probe's back, with a bound of its own.

use std::time::Duration;

use http_body_util::Full;
use hyper::{
    HeaderMap, Method, Request,
    body::Bytes,
    header::{ACCEPT, CONNECTION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT},
};
use osmoda_core::probe::Answer;
use serde_json::{Value, json};

use super::{
    AskError,
    location::parse,
    sse::Events,
    wire::{self, Reply, Target, exchange},
};

/// Revisions with a handshake, oldest first; the last one is offered.
const VERSIONS: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];
/// The revision without one.
const STATELESS_VERSION: &str = "2026-07-28";
/// Most bytes of an answer: initialize may bring long instructions.
const MESSAGE_MAX: usize = 256 * 1024;
/// Longest time that the end of a session may take.
const GOODBYE_MAX: Duration = Duration::from_secs(1);

const VERSION_HEADER: &str = "mcp-protocol-version";
const SESSION_HEADER: &str = "mcp-session-id";
const METHOD_HEADER: &str = "mcp-method";

/// Asks once.
pub(super) async fn ask(url: &str) -> Result<Answer, AskError> {
    let Some((target, path)) = parse(url) else {
        return Err(unwell(format!("{url} is no URL of http or https")));
    };
    let mut client = Client {
        target,
        path,
        version: None,
        session: None,
    };
    let answer = client.converse().await;
    client.say_goodbye();
    answer.map(|()| Answer::Success)
}

#[derive(Clone)]
struct Client {
    target: Target,
    path: String,
    version: Option<&'static str>,
    session: Option<HeaderValue>,
}

impl Client {
    async fn converse(&mut self) -> Result<(), AskError> {
        let client = json!({"name": "osmoda-probe", "version": env!("CARGO_PKG_VERSION")});
        let [.., newest] = VERSIONS;
        let hello = json!({"protocolVersion": newest, "capabilities": {}, "clientInfo": client});
        let hello = request("initialize", hello);
        let told = self.post("initialize", &hello).await?;
        self.session = told.reply.headers.get(SESSION_HEADER).cloned();
        let result = match told.result() {
            Err(Refusal::ByProtocol(_)) => return self.discover(client).await,
            Err(Refusal::Other(error)) => return Err(error),
            Ok(result) => result,
        };
        let offered = result["protocolVersion"].as_str().unwrap_or("none");
        let known = VERSIONS.into_iter().find(|version| *version == offered);
        self.version = Some(known.ok_or_else(|| {
            let all = VERSIONS.join(", ");
            unwell(format!("it speaks MCP {offered}; this prober knows {all}"))
        })?);

        let done = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        let told = self.post("notifications/initialized", &done).await?;
        if !told.reply.status.is_success() {
            let status = told.reply.status;
            return Err(unwell(format!("{}: HTTP {status}", told.method)));
        }
        let told = self.post("ping", &request("ping", json!({}))).await?;
        told.result()?;
        Ok(())
    }

    /// What a server is asked that knows no handshake.
    async fn discover(&mut self, client: Value) -> Result<(), AskError> {
        self.version = Some(STATELESS_VERSION);
        let about = json!({
            "io.modelcontextprotocol/protocolVersion": STATELESS_VERSION,
            "io.modelcontextprotocol/clientInfo": client,
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        let discover = request("server/discover", json!({"_meta": about}));
        self.post("server/discover", &discover).await?.result()?;
        Ok(())
    }

    async fn post(&self, method: &'static str, message: &Value) -> Result<Told, AskError> {
        let mut request = self.request(Method::POST, message.to_string())?;
        let headers = request.headers_mut();
        let json = HeaderValue::from_static("application/json");
        headers.insert(CONTENT_TYPE, json);
        if self.version == Some(STATELESS_VERSION) {
            headers.insert(METHOD_HEADER, HeaderValue::from_static(method));
        }
        let (mut events, mut seen, mut streamed) = (Events::default(), 0, None);
        let reply = exchange(&self.target, request, |headers, body| {
            if is_stream(headers) {
                let fresh = events.read(body.get(seen..).unwrap_or_default());
                seen = body.len();
                let mut answers = fresh.iter().filter_map(|event| answer_in(event.as_bytes()));
                streamed = streamed.take().or_else(|| answers.next());
            }
            body.len() > MESSAGE_MAX || streamed.is_some()
        });
        let reply = reply.await?;
        let message = match is_stream(&reply.headers) {
            true => streamed,
            false => answer_in(&reply.body),
        };
        Ok(Told {
            method,
            reply,
            message,
        })
    }

    fn request(&self, method: Method, body: String) -> Result<Request<Full<Bytes>>, AskError> {
        let request = Request::builder().method(method).uri(&self.path);
        let request = request.body(Full::new(Bytes::from(body)));
        let mut request = request.map_err(AskError::Request)?;
        let authority = self.target.authority().parse();
        let authority: HeaderValue = authority.map_err(|error| {
            let error: hyper::header::InvalidHeaderValue = error;
            AskError::Request(error.into())
        })?;
        let headers = request.headers_mut();
        headers.insert(HOST, authority);
        let fixed = [
            (USER_AGENT, wire::USER_AGENT),
            (ACCEPT, "application/json, text/event-stream"),
            (CONNECTION, "close"),
        ];
        for (name, value) in fixed {
            headers.insert(name, HeaderValue::from_static(value));
        }
        if let Some(version) = self.version {
            headers.insert(VERSION_HEADER, HeaderValue::from_static(version));
        }
        if let Some(session) = &self.session {
            headers.insert(SESSION_HEADER, session.clone());
        }
        Ok(request)
    }

    /// Ends the session, so that no server collects those of its probes. Whether it does (a
    /// server may refuse) is nobody's health, so nobody waits for it.
    fn say_goodbye(self) {
        if self.session.is_none() {
            return;
        }
        tokio::spawn(async move {
            let Ok(request) = self.request(Method::DELETE, String::new()) else {
                return;
            };
            let goodbye = exchange(&self.target, request, |_, _| true);
            let _ = tokio::time::timeout(GOODBYE_MAX, goodbye).await;
        });
    }
}

/// Why there is no result.
enum Refusal {
    /// The server speaks JSON-RPC and does not want this method.
    ByProtocol(AskError),
    Other(AskError),
}

impl From<Refusal> for AskError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::ByProtocol(error) | Refusal::Other(error) => error,
        }
    }
}

/// JSON-RPC 2.0; one request at a time, so that one number does.
fn request(method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
}

fn unwell(what: String) -> AskError {
    AskError::Unwell(what)
}

fn is_stream(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    value.is_some_and(|value| value.starts_with(b"text/event-stream"))
}

/// What came back for a message.
struct Told {
    method: &'static str,
    reply: Reply,
    /// The JSON-RPC answer, if there is one.
    message: Option<Value>,
}

impl Told {
    /// The `result` of the answer.
    fn result(self) -> Result<Value, Refusal> {
        let (method, status) = (self.method, self.reply.status);
        let other = |what| Err(Refusal::Other(AskError::Unwell(what)));
        let Some(mut message) = self.message else {
            let too_long = self.reply.body.len() > MESSAGE_MAX;
            return other(match (status.is_success(), too_long) {
                (false, _) => format!("{method}: HTTP {status}"),
                (true, true) => format!("{method}: more than {MESSAGE_MAX} bytes of answer"),
                (true, false) => format!("{method}: the answer is not JSON-RPC"),
            });
        };
        let error = &message["error"];
        if error.is_object() {
            let (code, said) = (&error["code"], error["message"].as_str());
            let what = format!("{method}: error {code}: {}", said.unwrap_or_default());
            return Err(Refusal::ByProtocol(AskError::Unwell(what)));
        }
        if !status.is_success() {
            return other(format!("{method}: HTTP {status}"));
        }
        Ok(message["result"].take())
    }
}

fn answer_in(text: &[u8]) -> Option<Value> {
    answer_among(serde_json::from_slice(text).ok()?)
}

/// The answer to our request: a message, or one of a batch (revision 2025-03-26 has those). An
/// error may come without a number, when the server did not get to read ours.
fn answer_among(message: Value) -> Option<Value> {
    if let Value::Array(batch) = message {
        return batch.into_iter().find_map(answer_among);
    }
    let is_ours = message["id"] == 1;
    let answers = is_ours && !message["result"].is_null();
    let refuses = (is_ours || message["id"].is_null()) && message["error"].is_object();
    (message["jsonrpc"] == "2.0" && (answers || refuses)).then_some(message)
}
