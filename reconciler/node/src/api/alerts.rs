//! The outbox of alerts, and test messages.
//!
//! What waits is for everybody who may look: titles and output are scrubbed, and no URL or key is
//! in it. A test message is for those who may act, and on record either way.

use osmoda_core::{
    event::{Actor, Event, OperatorCommand},
    name::AgentName,
};
use osmoda_ledger::{Commit, Draft};

use super::{
    actions::read_body,
    caller::Caller,
    respond::{self, Answer, Problem},
    server::Shared,
};
use crate::{alerts::Alerts, error::chain};

/// What a test is called in the ledger.
const VERB: &str = "alerts test";

fn alerts(shared: &Shared) -> Result<&Alerts, Problem> {
    let alerts = shared.alerts.as_ref();
    alerts.ok_or_else(|| Problem::not_found("this node tells nobody"))
}

/// Who is told, and what waits.
pub(super) fn list(shared: &Shared) -> Result<Answer, Problem> {
    Ok(respond::found(&alerts(shared)?.outbox().list()))
}

/// Sends a test message, or refuses to.
pub(super) async fn test<B>(
    shared: &Shared,
    caller: &Caller,
    name: &AgentName,
    body: B,
) -> Result<Answer, Problem>
where
    B: hyper::body::Body<Data = hyper::body::Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let alerts = alerts(shared)?;
    let ledger = shared.ledger.ledger().cloned();
    if let Err(refusal) = shared.authorizer.may_act(caller) {
        let (actor, name) = (caller.actor(), name.clone());
        let write = move |attempts| {
            let Some(ledger) = ledger else { return };
            let commit = command(actor, &name, Some(attempts));
            // The refusal stands whether or not it can be recorded.
            drop(tokio::spawn(
                async move { ledger.append(commit).await.ok() },
            ));
        };
        return Err(shared.refuse(caller, VERB, refusal, Box::new(write)));
    }
    let takes_nothing = read_body(body).await?.is_empty();
    if !takes_nothing {
        return Err(Problem::invalid("a test takes no body").hint("leave it empty"));
    }
    if let Some(ledger) = ledger {
        let recorded = ledger.append(command(caller.actor(), name, None)).await;
        recorded.map_err(|error| {
            Problem::unavailable(format!("the test is not on record: {}", chain(&error)))
                .hint("try again when the ledger can be written")
        })?;
    }
    let tested = alerts.test(name.as_str()).await;
    let tested = tested.ok_or_else(|| {
        Problem::not_found(format!("no receiver of alerts is called {name}"))
            .hint("`osmoda alerts list` shows those of the Node's spec")
    })?;
    Ok(respond::found(&tested))
}

/// The entry of a test: one that was accepted, or stands for so many attempts that were refused.
fn command(actor: Actor, name: &AgentName, refused: Option<u64>) -> Commit {
    let event = Event::OperatorCommand(OperatorCommand {
        verb: VERB.to_owned(),
        reason: format!("receiver {name}"),
        accepted: refused.is_none(),
        attempts: refused.filter(|attempts| *attempts > 1),
    });
    // A struct of texts always becomes an object.
    let body = serde_json::to_value(&event).ok();
    let body = body
        .and_then(|body| body.as_object().cloned())
        .unwrap_or_default();
    Commit {
        entries: vec![Draft {
            kind: event.kind(),
            agent: None,
            incident: None,
            causes: Vec::new(),
            actor,
            body,
        }],
        state: Vec::new(),
    }
}
