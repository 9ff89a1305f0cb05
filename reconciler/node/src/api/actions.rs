//! Restart, pause, resume, rollback, verify: who asks is judged first, and put on record either way.

use http_body_util::{BodyExt, Limited};
use osmoda_core::name::AgentName;
use tokio::time::timeout;

use super::{
    caller::Caller,
    limits::{BODY_BYTES_MAX, BODY_TIME_MAX, REASON_LETTERS_MAX},
    respond::{self, Answer, Problem},
    route::Verb,
    server::Shared,
    types::{PauseRequest, RollbackRequest},
};
use crate::handle::Command;

/// Carries out a command, or refuses it.
pub(super) async fn act<B>(
    shared: &Shared,
    caller: &Caller,
    verb: Verb,
    agent: Option<AgentName>,
    body: B,
) -> Result<Answer, Problem>
where
    B: hyper::body::Body<Data = hyper::body::Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if let Err(refusal) = shared.authorizer.may_act(caller) {
        let refused = command(verb, agent, Request::default())?;
        let (handle, actor) = (shared.handle.clone(), caller.actor());
        let verb = refused.verb();
        let write = move |attempts| handle.refused(refused, actor, attempts);
        return Err(shared.refuse(caller, verb, refusal, Box::new(write)));
    }
    let bytes = read_body(body).await?;
    let wanted = command(verb, agent, request(verb, &bytes)?)?;
    let accepted = shared.handle.command(wanted, caller.actor()).await?;
    Ok(respond::found(&accepted))
}

fn command(verb: Verb, agent: Option<AgentName>, request: Request) -> Result<Command, Problem> {
    match (verb, agent) {
        (Verb::Restart, Some(agent)) => Ok(Command::Restart { agent }),
        (Verb::Restart, None) => Err(Problem::not_found("all agents cannot be restarted at once")
            .hint("name the agent: POST /v1/agents/NAME/restart")),
        (Verb::Pause, agent) => Ok(Command::Pause {
            agent,
            reason: request.reason,
        }),
        (Verb::Rollback, Some(agent)) => Ok(Command::Rollback {
            agent,
            to: request.to,
        }),
        (Verb::Rollback, None) => Err(Problem::not_found(
            "all agents cannot be rolled back at once",
        )
        .hint("name the agent: POST /v1/agents/NAME/rollback")),
        (Verb::RollbackSystem, _) => Ok(Command::RollbackSystem { to: request.to }),
        (Verb::VerifySystem, _) => Ok(Command::VerifySystem),
        (Verb::Verify, Some(agent)) => Ok(Command::Verify { agent }),
        (Verb::Verify, None) => Err(Problem::not_found("all agents cannot be verified at once")
            .hint("name the agent: POST /v1/agents/NAME/verify")),
        (Verb::Resume, agent) => Ok(Command::Resume { agent }),
    }
}

/// What a body may say.
#[derive(Default)]
struct Request {
    reason: String,
    to: Option<u64>,
}

/// A pause has a reason and a rollback a number; the other bodies are empty, or an empty object.
fn request(verb: Verb, bytes: &[u8]) -> Result<Request, Problem> {
    if bytes.is_empty() {
        return Ok(Request::default());
    }
    if matches!(verb, Verb::Rollback | Verb::RollbackSystem) {
        let RollbackRequest { to } = parse(bytes, "a rollback takes {\"to\": 3}")?;
        return Ok(Request {
            to,
            ..Request::default()
        });
    }
    let PauseRequest { reason } = parse(bytes, "a pause takes {\"reason\": \"why\"}")?;
    if verb != Verb::Pause && !reason.is_empty() {
        return Err(Problem::invalid("only a pause takes a reason"));
    }
    check_reason(&reason)?;
    Ok(Request {
        reason,
        ..Request::default()
    })
}

/// Whether a reason is short enough.
pub(super) fn check_reason(reason: &str) -> Result<(), Problem> {
    let length = reason.chars().count();
    if length <= REASON_LETTERS_MAX {
        return Ok(());
    }
    Err(Problem::invalid(format!(
        "the reason has {length} letters; at most {REASON_LETTERS_MAX} are allowed"
    )))
}

fn parse<T: serde::de::DeserializeOwned>(bytes: &[u8], takes: &str) -> Result<T, Problem> {
    object(bytes).map_err(|problem| problem.hint(format!("leave it empty; {takes}")))
}

/// A body that is a JSON object. (serde would take a list for its fields in their order.)
pub(super) fn object<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(Problem::invalid("the body is not a JSON object"));
    }
    serde_json::from_slice(bytes)
        .map_err(|error| Problem::invalid(format!("the body cannot be read: {error}")))
}

/// The whole body, within its bound.
pub(super) async fn read_body<B>(body: B) -> Result<hyper::body::Bytes, Problem>
where
    B: hyper::body::Body<Data = hyper::body::Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let too_large = || Problem::too_large(format!("the body has more than {BODY_BYTES_MAX} bytes"));
    // What Content-Length says is not worth waiting for, if it is too much.
    if body.size_hint().lower() > BODY_BYTES_MAX as u64 {
        return Err(too_large());
    }
    let read = Limited::new(body, BODY_BYTES_MAX).collect();
    let Ok(read) = timeout(BODY_TIME_MAX, read).await else {
        let seconds = BODY_TIME_MAX.as_secs();
        return Err(
            Problem::too_slow(format!("the body did not arrive within {seconds} s"))
                .hint("send all of what Content-Length says"),
        );
    };
    match read {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(too_large()),
        Err(error) => Err(Problem::invalid(format!(
            "the body did not arrive: {error}"
        ))),
    }
}
