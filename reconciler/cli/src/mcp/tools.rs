//! The tools: what each is called and takes, and the request that it makes.

use std::pin::Pin;

use osmoda_core::name::AgentName;
use osmoda_node::api::types::{DiffReport, PauseRequest, RollbackRequest};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    client::{Client, with_query},
    commands::{only, since},
    failure::Failure,
};

/// Most entries of one answer: a model reads all of it.
const EVENTS_MAX: u32 = 200;
/// Entries of an answer where no limit is given.
const EVENTS_DEFAULT: u32 = 20;

/// One tool.
pub struct Tool {
    pub name: &'static str,
    pub only_reads: bool,
    title: &'static str,
    help: &'static str,
    takes: fn() -> Value,
    call: Call,
}

type Call = for<'a> fn(&'a Client, &'a Value) -> Pin<Box<dyn Future<Output = Found> + 'a>>;
type Found = Result<Value, Failure>;

impl Tool {
    /// Every tool, those that only read first.
    pub fn all() -> &'static [Self] {
        &TOOLS
    }

    /// As a client is told of it.
    pub fn described(&self) -> Value {
        json!({
            "name": self.name,
            "title": self.title,
            "description": self.help,
            "inputSchema": (self.takes)(),
            "annotations": {
                "title": self.title,
                "readOnlyHint": self.only_reads,
                "destructiveHint": matches!(self.name, "restart" | "rollback"),
                "idempotentHint": self.name != "restart",
                "openWorldHint": false,
            },
        })
    }

    /// Calls it.
    ///
    /// # Errors
    /// [`Failure`]: the arguments make no sense, the daemon is away, or it refuses.
    pub async fn call(&self, client: &Client, arguments: &Value) -> Found {
        (self.call)(client, arguments).await
    }
}

static TOOLS: [Tool; 9] = [
    Tool {
        name: "status",
        only_reads: true,
        title: "Status of agents",
        help: "The node and all agents, or one agent: phase, readiness, restarts, generation, \
            use of memory and CPU, and what happens next.",
        takes: maybe_agent,
        call: |client, arguments| Box::pin(status(client, arguments)),
    },
    Tool {
        name: "diff",
        only_reads: true,
        title: "Desired against observed",
        help: "What is not as declared, field by field, of all agents or of one.",
        takes: maybe_agent,
        call: |client, arguments| Box::pin(diff(client, arguments)),
    },
    Tool {
        name: "describe",
        only_reads: true,
        title: "Everything about one agent",
        help: "Spec, status, conditions, resources, generations and the last events of an agent.",
        takes: one_agent,
        call: |client, arguments| Box::pin(describe(client, arguments)),
    },
    Tool {
        name: "events",
        only_reads: true,
        title: "What happened",
        help: "Entries of the audit ledger, the newest or from a place on: failures, their \
            causes, what was done and by whom, and whether it helped.",
        takes: || {
            object(
                json!({
                    "agent": agent("Only this agent's."),
                    "since": {"type": "string", "description":
                        "From here on: 10m (ago), a time such as 2026-01-31T12:00:00Z, or an entry's number."},
                    "limit": {"type": "integer", "minimum": 1, "maximum": EVENTS_MAX,
                        "default": EVENTS_DEFAULT, "description": "Most entries."},
                }),
                &[],
            )
        },
        call: |client, arguments| Box::pin(events(client, arguments)),
    },
    Tool {
        name: "plan",
        only_reads: true,
        title: "What would be done now",
        help: "The steps that a reconcile would take now; nothing is done.",
        takes: || object(json!({}), &[]),
        call: |client, arguments| Box::pin(plan(client, arguments)),
    },
    Tool {
        name: "restart",
        only_reads: false,
        title: "Restart an agent",
        help: "Stops an agent and starts it again. On record with who asked for it.",
        takes: one_agent,
        call: |client, arguments| Box::pin(restart(client, arguments)),
    },
    Tool {
        name: "pause",
        only_reads: false,
        title: "Pause an agent, or all",
        help: "Has osmoda observe and record, but not act, until resumed: of one agent, or of \
            all, also future ones.",
        takes: || {
            object(
                json!({
                    "agent": agent("Which one; all, if absent."),
                    "reason": {"type": "string", "maxLength": 1024,
                        "description": "Why, for those who come after."},
                }),
                &["reason"],
            )
        },
        call: |client, arguments| Box::pin(pause(client, arguments)),
    },
    Tool {
        name: "resume",
        only_reads: false,
        title: "End a pause",
        help: "Ends the pause of an agent, or the pause of all.",
        takes: maybe_agent,
        call: |client, arguments| Box::pin(resume(client, arguments)),
    },
    Tool {
        name: "rollback",
        only_reads: false,
        title: "Go back to an earlier generation",
        help: "Makes an earlier generation of an agent active, and stays there until the spec \
            changes.",
        takes: || {
            object(
                json!({
                    "agent": agent("Which one."),
                    "to": {"type": "integer", "minimum": 1, "description":
                        "Number of the generation; the newest Good one other than the active, if absent."},
                }),
                &["agent"],
            )
        },
        call: |client, arguments| Box::pin(rollback(client, arguments)),
    },
];

fn object(properties: Value, required: &[&str]) -> Value {
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

fn agent(help: &str) -> Value {
    json!({"type": "string", "description": help})
}

fn one_agent() -> Value {
    object(json!({"agent": agent("Which one.")}), &["agent"])
}

fn maybe_agent() -> Value {
    object(
        json!({"agent": agent("Only this one; all, if absent.")}),
        &[],
    )
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct One {
    agent: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Maybe {
    agent: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WhichEvents {
    agent: Option<String>,
    since: Option<String>,
    limit: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WhichPause {
    agent: Option<String>,
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WhichRollback {
    agent: String,
    to: Option<u64>,
}

fn read<T: DeserializeOwned>(arguments: &Value) -> Result<T, Failure> {
    let given = match arguments {
        Value::Null => json!({}),
        Value::Object(_) => arguments.clone(),
        // serde would take a list for the fields in their order.
        _ => return Err(Failure::usage("the arguments are not an object")),
    };
    serde_json::from_value(given)
        .map_err(|error| Failure::usage(format!("the arguments make no sense: {error}")))
}

fn named(text: &str) -> Result<AgentName, Failure> {
    AgentName::new(text)
        .map_err(|why| Failure::usage(format!("{text:?} is no name of an agent: it {why}")))
}

async fn status(client: &Client, arguments: &Value) -> Found {
    let Maybe { agent } = read(arguments)?;
    match agent.as_deref().map(named).transpose()? {
        Some(name) => Ok(client.get(&format!("/v1/agents/{name}")).await?),
        None => Ok(client.get("/v1/status").await?),
    }
}

async fn diff(client: &Client, arguments: &Value) -> Found {
    let Maybe { agent } = read(arguments)?;
    let name = agent.as_deref().map(named).transpose()?;
    let mut report: DiffReport = client.get("/v1/diff").await?;
    if let Some(name) = name {
        report = only(report, &name)?;
    }
    serde_json::to_value(report).map_err(|error| Failure::because(&error))
}

async fn describe(client: &Client, arguments: &Value) -> Found {
    let One { agent } = read(arguments)?;
    let name = named(&agent)?;
    let path = format!("/v1/agents/{name}");
    let agent: Value = client.get(&path).await?;
    let generations: Value = client.get(&format!("{path}/generations")).await?;
    let limit = EVENTS_DEFAULT.to_string();
    let query = [("agent", name.as_str()), ("limit", &limit)];
    let events: Value = client.get(&with_query("/v1/events", &query)).await?;
    Ok(json!({
        "agent": agent,
        "generations": generations["items"],
        "events": events["items"],
    }))
}

async fn events(client: &Client, arguments: &Value) -> Found {
    let wanted: WhichEvents = read(arguments)?;
    let name = wanted.agent.as_deref().map(named).transpose()?;
    let since = wanted.since.as_deref().map(since).transpose()?;
    let limit = wanted.limit.unwrap_or(EVENTS_DEFAULT);
    if limit > EVENTS_MAX {
        return Err(Failure::usage(format!("limit is at most {EVENTS_MAX}")));
    }
    let limit = limit.to_string();
    let mut query = vec![("limit", limit.as_str())];
    query.extend(name.as_ref().map(|name| ("agent", name.as_str())));
    query.extend(since.as_deref().map(|since| ("since", since)));
    Ok(client.get(&with_query("/v1/events", &query)).await?)
}

async fn plan(client: &Client, arguments: &Value) -> Found {
    let Nothing {} = read(arguments)?;
    Ok(client.get("/v1/plan").await?)
}

async fn restart(client: &Client, arguments: &Value) -> Found {
    let One { agent } = read(arguments)?;
    let path = format!("/v1/agents/{}/restart", named(&agent)?);
    Ok(client.post(&path, Vec::new()).await?)
}

async fn pause(client: &Client, arguments: &Value) -> Found {
    let WhichPause { agent, reason } = read(arguments)?;
    let body = serde_json::to_vec(&PauseRequest { reason });
    let body = body.map_err(|error| Failure::because(&error))?;
    Ok(client.post(&path_of(agent, "pause")?, body).await?)
}

async fn resume(client: &Client, arguments: &Value) -> Found {
    let Maybe { agent } = read(arguments)?;
    Ok(client.post(&path_of(agent, "resume")?, Vec::new()).await?)
}

async fn rollback(client: &Client, arguments: &Value) -> Found {
    let WhichRollback { agent, to } = read(arguments)?;
    let body = serde_json::to_vec(&RollbackRequest { to });
    let body = body.map_err(|error| Failure::because(&error))?;
    let path = format!("/v1/agents/{}/rollback", named(&agent)?);
    Ok(client.post(&path, body).await?)
}

fn path_of(agent: Option<String>, verb: &str) -> Result<String, Failure> {
    match agent.as_deref().map(named).transpose()? {
        Some(name) => Ok(format!("/v1/agents/{name}/{verb}")),
        None => Ok(format!("/v1/{verb}")),
    }
}
