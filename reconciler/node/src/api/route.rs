//! From method and path to what is asked for. Pure; start at [`Route::of`].

use hyper::Method;
use osmoda_core::name::AgentName;

use super::respond::Problem;

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Route {
    Health,
    Ready,
    Status,
    Agents,
    Agent(AgentName),
    Generations(AgentName),
    Act(Verb, Option<AgentName>),
    Diff,
    Plan,
    PlanOf,
    Events,
    Logs(AgentName),
    LedgerHead,
    LedgerEntries,
    LedgerCheckpoint,
    LedgerKey,
    LedgerProof,
    LedgerAct(LedgerVerb),
}

/// What an operator can ask to be done to the ledger itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum LedgerVerb {
    Checkpoint,
    Rotate,
    Prune,
    Redact,
}

impl LedgerVerb {
    /// As it is called on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Checkpoint => "ledger checkpoint",
            Self::Rotate => "ledger key --rotate",
            Self::Prune => "ledger prune",
            Self::Redact => "ledger redact",
        }
    }
}

/// What an operator can ask to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Verb {
    Restart,
    Pause,
    Resume,
    Rollback,
    Verify,
}

/// First segments, or whole paths, that the contract knows and this version does not have yet.
const LATER: [&str; 7] = [
    "metrics",
    "openapi.json",
    "v1/alerts",
    "v1/generations",
    "v1/rollback",
    "v1/system",
    "v1/ledger/anchors",
];

impl Route {
    /// Reads a request line.
    ///
    /// # Errors
    /// 404 for an unknown path, 405 for a known one with another method, 400 for a name that no
    /// agent can have.
    pub fn of(method: &Method, path: &str) -> Result<Self, Problem> {
        let trimmed = path.strip_prefix('/').unwrap_or(path);
        let segments: Vec<&str> = trimmed.split('/').collect();
        let get = |route| require(method, &Method::GET, path, route);
        match segments.as_slice() {
            ["healthz"] => get(Self::Health),
            ["readyz"] => get(Self::Ready),
            ["v1", "status"] => get(Self::Status),
            ["v1", "agents"] => get(Self::Agents),
            ["v1", "diff"] => get(Self::Diff),
            ["v1", "plan"] if method == Method::POST => Ok(Self::PlanOf),
            ["v1", "plan"] => get(Self::Plan),
            ["v1", "events"] => get(Self::Events),
            ["v1", "ledger", "head"] => get(Self::LedgerHead),
            ["v1", "ledger", "entries"] => get(Self::LedgerEntries),
            ["v1", "ledger", "checkpoint"] if method == Method::POST => {
                Ok(Self::LedgerAct(LedgerVerb::Checkpoint))
            }
            ["v1", "ledger", "checkpoint"] => get(Self::LedgerCheckpoint),
            ["v1", "ledger", "key"] => get(Self::LedgerKey),
            ["v1", "ledger", "proof"] => get(Self::LedgerProof),
            ["v1", "ledger", "key", "rotate"] => change(method, path, LedgerVerb::Rotate),
            ["v1", "ledger", "prune"] => change(method, path, LedgerVerb::Prune),
            ["v1", "ledger", "redact"] => change(method, path, LedgerVerb::Redact),
            ["v1", verb @ ("pause" | "resume")] => act(method, path, verb, None),
            ["v1", "agents", name] => get(Self::Agent(parse_name(name)?)),
            ["v1", "agents", name, "logs"] => get(Self::Logs(parse_name(name)?)),
            [
                "v1",
                "agents",
                name,
                verb @ ("restart" | "pause" | "resume" | "rollback" | "verify"),
            ] => act(method, path, verb, Some(parse_name(name)?)),
            ["v1", "agents", name, "generations"] => get(Self::Generations(parse_name(name)?)),
            _ if LATER.iter().any(|known| begins_with(trimmed, known)) => Err(later(path)),
            _ => Err(
                Problem::not_found(format!("there is no {path:?} in this API"))
                    .hint("the API is described in docs/api.md"),
            ),
        }
    }

    /// Whether a query string means something to it.
    pub fn takes_query(&self) -> bool {
        matches!(
            self,
            Self::Events | Self::Logs(_) | Self::LedgerEntries | Self::LedgerProof
        )
    }
}

fn require(method: &Method, wanted: &Method, path: &str, route: Route) -> Result<Route, Problem> {
    if method == wanted {
        return Ok(route);
    }
    Err(
        Problem::wrong_method(format!("{path} does not know {method}"))
            .hint(format!("use {wanted} {path}")),
    )
}

fn act(
    method: &Method,
    path: &str,
    verb: &str,
    agent: Option<AgentName>,
) -> Result<Route, Problem> {
    let verb = match verb {
        "restart" => Verb::Restart,
        "pause" => Verb::Pause,
        "rollback" => Verb::Rollback,
        "verify" => Verb::Verify,
        _ => Verb::Resume,
    };
    require(method, &Method::POST, path, Route::Act(verb, agent))
}

fn change(method: &Method, path: &str, verb: LedgerVerb) -> Result<Route, Problem> {
    require(method, &Method::POST, path, Route::LedgerAct(verb))
}

fn parse_name(text: &str) -> Result<AgentName, Problem> {
    AgentName::new(text)
        .map_err(|why| Problem::invalid(format!("{text:?} is no name of an agent: it {why}")))
}

fn later(path: &str) -> Problem {
    Problem::not_found(format!("{path} is not available in this version"))
        .hint("a later version of osmoda has it")
}

fn begins_with(path: &str, known: &str) -> bool {
    path.strip_prefix(known)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use hyper::StatusCode;

    use super::*;

    fn name(text: &str) -> AgentName {
        AgentName::new(text).unwrap()
    }

    #[test]
    fn every_endpoint_of_the_contract_has_its_route() {
        let cases = [
            ("GET", "/healthz", Route::Health),
            ("GET", "/readyz", Route::Ready),
            ("GET", "/v1/status", Route::Status),
            ("GET", "/v1/agents", Route::Agents),
            ("GET", "/v1/agents/a-1", Route::Agent(name("a-1"))),
            ("GET", "/v1/agents/a/logs", Route::Logs(name("a"))),
            (
                "POST",
                "/v1/agents/a/restart",
                Route::Act(Verb::Restart, Some(name("a"))),
            ),
            (
                "GET",
                "/v1/agents/a/generations",
                Route::Generations(name("a")),
            ),
            (
                "POST",
                "/v1/agents/a/rollback",
                Route::Act(Verb::Rollback, Some(name("a"))),
            ),
            (
                "POST",
                "/v1/agents/a/verify",
                Route::Act(Verb::Verify, Some(name("a"))),
            ),
            (
                "POST",
                "/v1/agents/a/pause",
                Route::Act(Verb::Pause, Some(name("a"))),
            ),
            (
                "POST",
                "/v1/agents/a/resume",
                Route::Act(Verb::Resume, Some(name("a"))),
            ),
            ("POST", "/v1/pause", Route::Act(Verb::Pause, None)),
            ("POST", "/v1/resume", Route::Act(Verb::Resume, None)),
            ("GET", "/v1/diff", Route::Diff),
            ("GET", "/v1/plan", Route::Plan),
            ("POST", "/v1/plan", Route::PlanOf),
            ("GET", "/v1/events", Route::Events),
            ("GET", "/v1/ledger/head", Route::LedgerHead),
            ("GET", "/v1/ledger/entries", Route::LedgerEntries),
            ("GET", "/v1/ledger/checkpoint", Route::LedgerCheckpoint),
            ("GET", "/v1/ledger/key", Route::LedgerKey),
            ("GET", "/v1/ledger/proof", Route::LedgerProof),
            (
                "POST",
                "/v1/ledger/checkpoint",
                Route::LedgerAct(LedgerVerb::Checkpoint),
            ),
            (
                "POST",
                "/v1/ledger/key/rotate",
                Route::LedgerAct(LedgerVerb::Rotate),
            ),
            (
                "POST",
                "/v1/ledger/prune",
                Route::LedgerAct(LedgerVerb::Prune),
            ),
            (
                "POST",
                "/v1/ledger/redact",
                Route::LedgerAct(LedgerVerb::Redact),
            ),
        ];
        for (method, path, route) in cases {
            let method: Method = method.parse().unwrap();
            assert_eq!(Route::of(&method, path), Ok(route), "{method} {path}");
        }
    }

    #[test]
    fn what_is_not_there_says_why() {
        let refused = |method: Method, path| {
            let problem = Route::of(&method, path).unwrap_err();
            (problem.status, problem.object.message)
        };
        let cases = [
            ("/", StatusCode::NOT_FOUND, "there is no \"/\" in this API"),
            (
                "/v1/restart",
                StatusCode::NOT_FOUND,
                "there is no \"/v1/restart\" in this API",
            ),
            (
                "/v1/agents/a/eat",
                StatusCode::NOT_FOUND,
                "there is no \"/v1/agents/a/eat\" in this API",
            ),
            (
                "/metrics",
                StatusCode::NOT_FOUND,
                "/metrics is not available in this version",
            ),
            (
                "/metricsx",
                StatusCode::NOT_FOUND,
                "there is no \"/metricsx\" in this API",
            ),
            (
                "/v1/ledger/anchors/3",
                StatusCode::NOT_FOUND,
                "/v1/ledger/anchors/3 is not available in this version",
            ),
            (
                "/v1/agents/..",
                StatusCode::BAD_REQUEST,
                "\"..\" is no name of an agent: it contains '.'; only a-z, 0-9 and '-' are allowed",
            ),
            (
                "/v1/agents/a/restart",
                StatusCode::METHOD_NOT_ALLOWED,
                "/v1/agents/a/restart does not know GET",
            ),
        ];
        for (path, status, message) in cases {
            assert_eq!(
                refused(Method::GET, path),
                (status, message.to_owned()),
                "{path}"
            );
        }
        assert_eq!(
            refused(Method::DELETE, "/v1/plan").0,
            StatusCode::METHOD_NOT_ALLOWED
        );
    }
}
