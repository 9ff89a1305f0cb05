//! Every operation of the API, in one table: [`super::route`] finds requests in it, and
//! [`super::openapi`] describes it. So what is served is documented, and the other way round.

use hyper::Method;
use osmoda_core::name::AgentName;

use super::route::{LedgerVerb, Route, Verb};

/// One operation.
#[derive(Debug)]
pub struct Operation {
    /// GET or POST.
    pub method: Method,
    /// The path; `{name}` is the name of an agent, or of a receiver of alerts.
    pub path: &'static str,
    /// What it is when it is asked for.
    pub target: Target,
    /// Name of it, in camelCase.
    pub id: &'static str,
    /// One line for people.
    pub summary: &'static str,
    /// The query that it takes.
    pub query: &'static [Parameter],
    /// The body that it takes: a schema's name; empty: none.
    pub body: &'static str,
    /// What it answers with.
    pub gives: Gives,
}

/// From a request to its route.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    /// Of the node.
    Node(fn() -> Route),
    /// Of one agent, or one receiver of alerts.
    Agent(fn(AgentName) -> Route),
}

/// What an answer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gives {
    /// An object: its schema's name.
    Json(&'static str),
    /// An object; with `follow`, server-sent events of another.
    JsonOrEvents(&'static str, &'static str),
    /// Metrics as text.
    Metrics,
    /// The document itself.
    Document,
}

/// A parameter of a query.
#[derive(Debug, Clone, Copy)]
pub struct Parameter {
    /// Its key.
    pub name: &'static str,
    /// What it takes.
    pub takes: Takes,
    /// The request makes no sense without it.
    pub required: bool,
    /// One line for people.
    pub help: &'static str,
}

/// What a parameter takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// An agent's name.
    Agent,
    /// 1 or 0.
    Flag,
    /// A number from 0 to this.
    UpTo(usize),
    /// An entry's number.
    Seq,
    /// An entry's number, or a time (RFC 3339).
    SeqOrTime,
}

impl Operation {
    /// Whether it changes something, so that only those who may act are let.
    pub fn acts(&self) -> bool {
        self.method == Method::POST && !matches!(self.target(), Route::PlanOf)
    }

    /// Whether it concerns one agent or receiver.
    pub fn is_of_agent(&self) -> bool {
        matches!(self.target, Target::Agent(_))
    }

    /// The route of any request for it.
    fn target(&self) -> Route {
        match self.target {
            Target::Node(route) => route(),
            Target::Agent(_) => Route::Act(Verb::Restart, None),
        }
    }
}

/// The table.
pub fn all() -> &'static [Operation] {
    OPERATIONS
}

const fn get(
    path: &'static str,
    target: Target,
    id: &'static str,
    summary: &'static str,
    query: &'static [Parameter],
    gives: Gives,
) -> Operation {
    Operation {
        method: Method::GET,
        path,
        target,
        id,
        summary,
        query,
        body: "",
        gives,
    }
}

const fn post(
    path: &'static str,
    target: Target,
    id: &'static str,
    summary: &'static str,
    body: &'static str,
    gives: &'static str,
) -> Operation {
    Operation {
        method: Method::POST,
        path,
        target,
        id,
        summary,
        query: &[],
        body,
        gives: Gives::Json(gives),
    }
}

const fn optional(name: &'static str, takes: Takes, help: &'static str) -> Parameter {
    Parameter {
        name,
        takes,
        required: false,
        help,
    }
}

use super::limits::{ENTRIES_MAX, LOG_LINES_MAX};
use Gives::{Json, JsonOrEvents};
use Target::{Agent, Node};

const FOLLOW: Parameter = optional(
    "follow",
    Takes::Flag,
    "Keep the connection, and send what comes as server-sent events.",
);

static OPERATIONS: &[Operation] = &[
    get(
        "/healthz",
        Node(|| Route::Health),
        "health",
        "The API answers",
        &[],
        Json("Alive"),
    ),
    get(
        "/readyz",
        Node(|| Route::Ready),
        "readiness",
        "The reconcile loop turns; 503 if it does not",
        &[],
        Json("Ready"),
    ),
    get(
        "/metrics",
        Node(|| Route::Metrics),
        "metrics",
        "Metrics for Prometheus: OpenMetrics 1.0",
        &[],
        Gives::Metrics,
    ),
    get(
        "/openapi.json",
        Node(|| Route::OpenApi),
        "openapi",
        "This document",
        &[],
        Gives::Document,
    ),
    get(
        "/v1/status",
        Node(|| Route::Status),
        "status",
        "The node and all its agents",
        &[],
        Json("AgentList"),
    ),
    get(
        "/v1/summary",
        Node(|| Route::Summary),
        "summary",
        "The node, and a line for each agent: what a table of them shows",
        &[],
        Json("StatusSummary"),
    ),
    get(
        "/v1/agents",
        Node(|| Route::Agents),
        "agents",
        "All agents",
        &[],
        Json("AgentItems"),
    ),
    get(
        "/v1/agents/{name}",
        Agent(Route::Agent),
        "agent",
        "One agent",
        &[],
        Json("AgentObject"),
    ),
    get(
        "/v1/agents/{name}/generations",
        Agent(Route::Generations),
        "generations",
        "What was deployed of an agent, and what became of it",
        &[],
        Json("GenerationList"),
    ),
    get(
        "/v1/agents/{name}/logs",
        Agent(Route::Logs),
        "logs",
        "An agent's output, the newest lines of it",
        &[
            optional(
                "lines",
                Takes::UpTo(LOG_LINES_MAX),
                "Most lines; 100 if absent.",
            ),
            optional(
                "previous",
                Takes::Flag,
                "Of the instance before the latest one; not with follow.",
            ),
            FOLLOW,
        ],
        JsonOrEvents("LogText", "LogLine"),
    ),
    post(
        "/v1/agents/{name}/restart",
        Agent(|name| Route::Act(Verb::Restart, Some(name))),
        "restart",
        "Stop an agent and start it again",
        "Nothing",
        "Accepted",
    ),
    post(
        "/v1/agents/{name}/pause",
        Agent(|name| Route::Act(Verb::Pause, Some(name))),
        "pause",
        "Observe and record an agent, but do not act on it",
        "PauseRequest",
        "Accepted",
    ),
    post(
        "/v1/agents/{name}/resume",
        Agent(|name| Route::Act(Verb::Resume, Some(name))),
        "resume",
        "End an agent's pause",
        "Nothing",
        "Accepted",
    ),
    post(
        "/v1/agents/{name}/verify",
        Agent(|name| Route::Act(Verb::Verify, Some(name))),
        "verify",
        "Hash all that an agent's active generation needs, and compare it with what Nix noted",
        "Nothing",
        "Accepted",
    ),
    post(
        "/v1/agents/{name}/rollback",
        Agent(|name| Route::Act(Verb::Rollback, Some(name))),
        "rollback",
        "Go back to an earlier generation, and stay there until the spec changes",
        "RollbackRequest",
        "Accepted",
    ),
    get(
        "/v1/system/generations",
        Node(|| Route::SystemGenerations),
        "systemGenerations",
        "The machine's own generations, and what became of them; 400 where it is not NixOS",
        &[],
        Json("GenerationList"),
    ),
    post(
        "/v1/system/rollback",
        Node(|| Route::Act(Verb::RollbackSystem, None)),
        "rollbackSystem",
        "Go back to an earlier generation of the whole machine",
        "RollbackRequest",
        "Accepted",
    ),
    post(
        "/v1/system/verify",
        Node(|| Route::Act(Verb::VerifySystem, None)),
        "verifySystem",
        "Hash all that the machine's generations need, and compare it with what Nix noted",
        "Nothing",
        "Accepted",
    ),
    post(
        "/v1/pause",
        Node(|| Route::Act(Verb::Pause, None)),
        "pauseAll",
        "Pause all agents, also future ones",
        "PauseRequest",
        "Accepted",
    ),
    post(
        "/v1/resume",
        Node(|| Route::Act(Verb::Resume, None)),
        "resumeAll",
        "End the pause of all agents",
        "Nothing",
        "Accepted",
    ),
    get(
        "/v1/diff",
        Node(|| Route::Diff),
        "diff",
        "Desired against observed",
        &[],
        Json("DiffReport"),
    ),
    get(
        "/v1/plan",
        Node(|| Route::Plan),
        "plan",
        "What a reconcile would do now",
        &[],
        Json("PlanReport"),
    ),
    post(
        "/v1/plan",
        Node(|| Route::PlanOf),
        "planOf",
        "What a reconcile would do if these manifests were desired; nothing is done",
        "Manifests",
        "PlanReport",
    ),
    get(
        "/v1/events",
        Node(|| Route::Events),
        "events",
        "Entries of the ledger, the newest or from a place on",
        &[
            optional("agent", Takes::Agent, "Only this agent's."),
            optional("since", Takes::SeqOrTime, "Only from here on."),
            optional(
                "limit",
                Takes::UpTo(ENTRIES_MAX),
                "Most entries; 100 if absent.",
            ),
            FOLLOW,
        ],
        JsonOrEvents("EntryList", "EntryObject"),
    ),
    get(
        "/v1/ledger/head",
        Node(|| Route::LedgerHead),
        "ledgerHead",
        "Size, root and chain of the ledger now",
        &[],
        Json("LedgerHead"),
    ),
    get(
        "/v1/ledger/entries",
        Node(|| Route::LedgerEntries),
        "ledgerEntries",
        "Entries by number, page by page",
        &[
            optional("from", Takes::Seq, "The first; 0 if absent."),
            optional(
                "limit",
                Takes::UpTo(ENTRIES_MAX),
                "Most entries; 100 if absent.",
            ),
        ],
        Json("EntryList"),
    ),
    get(
        "/v1/ledger/checkpoint",
        Node(|| Route::LedgerCheckpoint),
        "ledgerCheckpoint",
        "The newest signed checkpoint",
        &[],
        Json("LedgerCheckpoint"),
    ),
    post(
        "/v1/ledger/checkpoint",
        Node(|| Route::LedgerAct(LedgerVerb::Checkpoint)),
        "signCheckpoint",
        "Sign a checkpoint now",
        "",
        "LedgerCheckpoint",
    ),
    get(
        "/v1/ledger/key",
        Node(|| Route::LedgerKey),
        "ledgerKey",
        "The public key that signs the ledger",
        &[],
        Json("LedgerKey"),
    ),
    post(
        "/v1/ledger/key/rotate",
        Node(|| Route::LedgerAct(LedgerVerb::Rotate)),
        "rotateKey",
        "Sign with a new key from now on",
        "",
        "LedgerKey",
    ),
    get(
        "/v1/ledger/proof",
        Node(|| Route::LedgerProof),
        "ledgerProof",
        "Proof that the ledger holds an entry",
        &[Parameter {
            name: "seq",
            takes: Takes::Seq,
            required: true,
            help: "Which entry.",
        }],
        Json("LedgerProof"),
    ),
    get(
        "/v1/alerts",
        Node(|| Route::Alerts),
        "alerts",
        "Who is told of what happens, and what waits to be sent",
        &[],
        Json("AlertList"),
    ),
    post(
        "/v1/alerts/{name}/test",
        Agent(Route::AlertTest),
        "testAlert",
        "Send a test message to a receiver of alerts, and tell whether it was taken",
        "",
        "AlertTest",
    ),
    post(
        "/v1/ledger/prune",
        Node(|| Route::LedgerAct(LedgerVerb::Prune)),
        "prune",
        "Drop the bodies of old entries; the ledger stays provable",
        "PruneRequest",
        "LedgerDropped",
    ),
    post(
        "/v1/ledger/redact",
        Node(|| Route::LedgerAct(LedgerVerb::Redact)),
        "redact",
        "Drop the body of one entry; the ledger stays provable",
        "RedactRequest",
        "LedgerDropped",
    ),
];
