//! Answers: JSON objects, event streams, and errors that always have the same form.

use std::convert::Infallible;

use http_body_util::{Either, Full, channel::Channel};
use hyper::{
    Response, StatusCode,
    body::Bytes,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue},
};
use serde::Serialize;

use super::{limits::MESSAGE_LETTERS_MAX, types::ErrorObject};
use crate::{
    handle::{CommandError, Gone},
    metrics::text::Form,
};

/// Body of an answer: whole, or as it comes.
pub type Body = Either<Full<Bytes>, Channel<Bytes, Infallible>>;
/// An answer.
pub type Answer = Response<Body>;

/// A request that was not fulfilled: what becomes an [`ErrorObject`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// HTTP status.
    pub status: StatusCode,
    /// What the caller reads.
    pub object: ErrorObject,
    /// The methods that are known there, of a 405 (RFC 9110, section 15.5.6).
    pub allow: Option<String>,
}

impl Problem {
    fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        let mut message: String = message.into();
        if let Some((cut, _)) = message.char_indices().nth(MESSAGE_LETTERS_MAX) {
            message.truncate(cut);
            message.push('…');
        }
        let object = ErrorObject {
            code: code.to_owned(),
            message,
            hint: String::new(),
        };
        Self {
            status,
            object,
            allow: None,
        }
    }

    /// 404.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NotFound", message)
    }

    /// 403.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "Forbidden", message)
    }

    /// 400.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "InvalidRequest", message)
    }

    /// 409.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "Conflict", message)
    }

    /// 413.
    pub fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "InvalidRequest", message)
    }

    /// 405, with the methods that are known there.
    pub fn wrong_method(message: impl Into<String>, allow: &str) -> Self {
        Self {
            allow: Some(allow.to_owned()),
            ..Self::new(StatusCode::METHOD_NOT_ALLOWED, "InvalidRequest", message)
        }
    }

    /// 408: the request did not arrive in time.
    pub fn too_slow(message: impl Into<String>) -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "InvalidRequest", message)
    }

    /// 431: the request's head is beyond its bounds.
    pub fn head_too_large(message: impl Into<String>) -> Self {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        Self::new(status, "InvalidRequest", message)
    }

    /// 503: trying again later can help.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "Unavailable", message)
    }

    /// 500.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal", message)
    }

    /// With what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.object.hint = hint.into();
        self
    }

    /// As an answer.
    pub fn answer(&self) -> Answer {
        let mut answer = json(self.status, &self.object);
        let allow = self.allow.as_deref().map(HeaderValue::from_str);
        if let Some(Ok(allow)) = allow {
            answer.headers_mut().insert(ALLOW, allow);
        }
        answer
    }
}

impl From<Gone> for Problem {
    fn from(gone: Gone) -> Self {
        Self::unavailable(gone.to_string()).hint("wait for the daemon to start again")
    }
}

impl From<CommandError> for Problem {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::NoSuchAgent(name) => Self::no_such_agent(name.as_str()),
            CommandError::Impossible(why) => {
                Self::conflict(why).hint("`osmoda generations AGENT` lists what there is")
            }
            CommandError::Gone(gone) => gone.into(),
        }
    }
}

impl Problem {
    /// 404 for an agent.
    pub fn no_such_agent(name: &str) -> Self {
        Self::not_found(format!("there is no agent {name:?}"))
            .hint("`osmoda status` lists the agents that there are")
    }
}

/// An answer with `object` as its body.
pub fn json(status: StatusCode, object: &impl Serialize) -> Answer {
    match serde_json::to_vec(object) {
        Ok(bytes) => whole(status, bytes),
        Err(error) => {
            tracing::error!(%error, "an answer cannot be written as JSON");
            whole(StatusCode::INTERNAL_SERVER_ERROR, Vec::new())
        }
    }
}

/// 200 with `object`.
pub fn found(object: &impl Serialize) -> Answer {
    json(StatusCode::OK, object)
}

/// 200 with a stream of server-sent events (WHATWG HTML, 9.2).
pub fn events(body: Channel<Bytes, Infallible>) -> Answer {
    let mut answer = Response::new(Either::Right(body));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// 200 with metrics.
pub fn metrics(form: Form, text: String) -> Answer {
    let mut answer = Response::new(Either::Left(Full::new(Bytes::from(text))));
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(form.content_type()));
    answer
}

fn whole(status: StatusCode, bytes: Vec<u8>) -> Answer {
    let mut answer = Response::new(Either::Left(Full::new(Bytes::from(bytes))));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}
