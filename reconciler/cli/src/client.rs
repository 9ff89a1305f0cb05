//! Speaks to the daemon: HTTP/1.1 on its Unix socket.
//!
//! One connection a request: a command asks once or twice. [`Client::stream`] reads
//! server-sent events line by line; a [`Session`] keeps its connection, for who asks for ever.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;
use osmoda_node::api::types::ErrorObject;
use serde::de::DeserializeOwned;
use tokio::{net::UnixStream, time::timeout};

mod session;

pub use self::session::Session;
use crate::failure::{Failure, INTERNAL, REFUSED, UNREACHABLE, USAGE};

/// Longest wait for the head of an answer. The daemon itself gives up after 30 s.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(40);
/// Longest event of a stream, in bytes: an entry has at most 64 KiB.
const EVENT_BYTES_MAX: usize = 1024 * 1024;

/// A way to the daemon.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

/// What the daemon says to a request that it does not fulfil, or a failure before that.
#[derive(Debug)]
pub enum Refusal {
    /// 404: there is no such agent, or no such thing in this version.
    NotFound(ErrorObject),
    /// Everything else.
    Failed(Failure),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotFound(object) => Self::new(USAGE, object.message).hint(object.hint),
            Refusal::Failed(failure) => failure,
        }
    }
}

impl Client {
    /// Will connect to `socket`.
    pub fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// GET.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Refusal> {
        let answer = self.request(Method::GET, path, Vec::new()).await?;
        self.read(answer).await
    }

    /// GET: the JSON itself, to be passed on.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn get_text(&self, path: &str) -> Result<String, Refusal> {
        let answer = self.request(Method::GET, path, Vec::new()).await?;
        let bytes = self.bytes(answer).await?;
        let text = String::from_utf8(bytes.into());
        text.map_err(|error| Refusal::Failed(self.garbled(&error)))
    }

    /// POST with a JSON body.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: Vec<u8>) -> Result<T, Refusal> {
        let answer = self.request(Method::POST, path, body).await?;
        self.read(answer).await
    }

    /// GET of server-sent events; each event's data is given to `each`, until that fails or the
    /// daemon ends.
    ///
    /// # Errors
    /// [`Failure`]: from `each`, or when the stream ends.
    pub async fn stream<T: DeserializeOwned>(
        &self,
        path: &str,
        mut each: impl FnMut(T) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut body = self
            .request(Method::GET, path, Vec::new())
            .await?
            .into_body();
        let mut events = EventLines::default();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| self.lost(&error))?;
            let Ok(bytes) = frame.into_data() else {
                continue;
            };
            for data in events.take(&bytes)? {
                each(self.parse(data.as_bytes())?)?;
            }
        }
        Err(Failure::new(UNREACHABLE, "the daemon has ended the stream")
            .hint("it may be restarting; try again"))
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<Response<Incoming>, Refusal> {
        let connected = UnixStream::connect(&self.socket).await;
        let stream =
            connected.map_err(|error| Refusal::Failed(unreachable(&self.socket, &error)))?;
        let answer = timeout(ANSWER_TIME_MAX, self.exchange(stream, method, path, body)).await;
        let answer = answer.map_err(|_| Refusal::Failed(self.silent()))?;
        let answer = answer.map_err(|error| Refusal::Failed(self.lost(&error)))?;
        self.accepted(answer).await
    }

    /// The answer, unless it is a refusal.
    async fn accepted(&self, answer: Response<Incoming>) -> Result<Response<Incoming>, Refusal> {
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let object = self.read(answer).await?;
        Err(refused(status, object))
    }

    async fn exchange(
        &self,
        stream: UnixStream,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> hyper::Result<Response<Incoming>> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Ends with the answer's body; its error shows there too.
        tokio::spawn(async move { connection.await.ok() });
        sender.send_request(request_of(method, path, body)).await
    }

    async fn read<T: DeserializeOwned>(&self, answer: Response<Incoming>) -> Result<T, Refusal> {
        let bytes = self.bytes(answer).await?;
        self.parse(&bytes).map_err(Refusal::Failed)
    }

    async fn bytes(&self, answer: Response<Incoming>) -> Result<Bytes, Refusal> {
        let body = answer.into_body().collect().await;
        let body = body.map_err(|error| Refusal::Failed(self.lost(&error)))?;
        Ok(body.to_bytes())
    }

    fn parse<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, Failure> {
        serde_json::from_slice(bytes).map_err(|error| self.garbled(&error))
    }

    fn garbled(&self, error: &impl std::fmt::Display) -> Failure {
        let socket = self.socket.display();
        Failure::internal(format!(
            "the answer of {socket} cannot be understood: {error}"
        ))
        .hint("are the daemon and this command of the same version?")
    }

    fn silent(&self) -> Failure {
        let message = format!("the daemon at {} does not answer", self.socket.display());
        Failure::new(UNREACHABLE, message).hint("look at its own output")
    }

    fn lost(&self, error: &hyper::Error) -> Failure {
        let socket = self.socket.display();
        let why = osmoda_node::error::chain(error);
        Failure::new(
            UNREACHABLE,
            format!("the connection to {socket} was lost: {why}"),
        )
        .hint("the daemon may be restarting; try again")
    }
}

fn request_of(method: Method, path: &str, body: Vec<u8>) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(Bytes::from(body)));
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().unwrap_or_default();
    let host = hyper::header::HeaderValue::from_static("osmoda");
    request.headers_mut().insert(hyper::header::HOST, host);
    request
}

fn unreachable(socket: &Path, error: &io::Error) -> Failure {
    let path = socket.display();
    if error.kind() == io::ErrorKind::PermissionDenied {
        return Failure::new(REFUSED, format!("you may not connect to {path}: {error}"))
            .hint("ask root, or become a member of the socket's group");
    }
    Failure::new(UNREACHABLE, format!("cannot connect to {path}: {error}"))
        .hint("is the node daemon running? start it with: osmoda run SPECS")
}

fn refused(status: StatusCode, object: ErrorObject) -> Refusal {
    let code = match status {
        StatusCode::NOT_FOUND => return Refusal::NotFound(object),
        StatusCode::FORBIDDEN => REFUSED,
        StatusCode::SERVICE_UNAVAILABLE => UNREACHABLE,
        status if status.is_client_error() => USAGE,
        _ => INTERNAL,
    };
    Refusal::Failed(Failure::new(code, object.message).hint(object.hint))
}

/// Path and query, with the values encoded.
pub fn with_query(path: &str, pairs: &[(&str, &str)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    let query = query.extend_pairs(pairs).finish();
    if query.is_empty() {
        path.to_owned()
    } else {
        format!("{path}?{query}")
    }
}

/// Cuts a stream of bytes into the data of events; ids and comments are passed over.
#[derive(Debug, Default)]
struct EventLines {
    partial: Vec<u8>,
}

impl EventLines {
    fn take(&mut self, bytes: &[u8]) -> Result<Vec<String>, Failure> {
        self.partial.extend_from_slice(bytes);
        let mut found = Vec::new();
        while let Some(end) = self.partial.iter().position(|byte| *byte == b'\n') {
            let rest = self.partial.split_off(end + 1);
            let line = std::mem::replace(&mut self.partial, rest);
            if let Some(data) = line.strip_prefix(b"data: ") {
                found.push(String::from_utf8_lossy(data.trim_ascii_end()).into_owned());
            }
        }
        if self.partial.len() > EVENT_BYTES_MAX {
            return Err(Failure::internal("the daemon sends an event without end"));
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_put_together_from_any_pieces() {
        let text = b"id: 1\ndata: {\"a\":1}\n\n: still here\n\ndata: {\"b\":2}\n\n";
        for size in 1..text.len() {
            let mut events = EventLines::default();
            let found: Vec<String> = text
                .chunks(size)
                .flat_map(|piece| events.take(piece).unwrap())
                .collect();
            assert_eq!(found, [r#"{"a":1}"#, r#"{"b":2}"#], "in pieces of {size}");
        }
    }

    #[test]
    fn an_event_without_end_is_given_up() {
        let mut events = EventLines::default();
        let piece = vec![b'x'; EVENT_BYTES_MAX];
        assert!(events.take(&piece).is_ok());
        assert!(events.take(b"xx").is_err());
    }

    #[test]
    fn values_of_a_query_are_encoded() {
        let path = with_query(
            "/v1/events",
            &[("since", "2026-01-31T12:00:00+02:00"), ("n", "1")],
        );
        assert_eq!(
            path,
            "/v1/events?since=2026-01-31T12%3A00%3A00%2B02%3A00&n=1"
        );
        assert_eq!(with_query("/v1/status", &[]), "/v1/status");
    }

    #[test]
    fn a_daemon_that_does_not_run_is_said_to_be_so() {
        let failure = unreachable(Path::new("/x.sock"), &io::ErrorKind::NotFound.into());
        assert_eq!(failure.code, UNREACHABLE);
        assert_eq!(
            failure.hint,
            "is the node daemon running? start it with: osmoda run SPECS"
        );
        let failure = unreachable(
            Path::new("/x.sock"),
            &io::ErrorKind::PermissionDenied.into(),
        );
        assert_eq!(failure.code, REFUSED);
    }
}
