//! From method and path to what is asked for. Pure; start at [`Route::of`].

use hyper::Method;
use osmoda_core::name::AgentName;

use super::{
    operations::{self, Target},
    respond::Problem,
};

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Route {
    Health,
    Ready,
    Metrics,
    OpenApi,
    Status,
    Summary,
    Agents,
    Agent(AgentName),
    Generations(AgentName),
    SystemGenerations,
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
    Alerts,
    AlertTest(AgentName),
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
    RollbackSystem,
    VerifySystem,
}

impl Route {
    /// Reads a request line.
    ///
    /// # Errors
    /// 404 for an unknown path, 405 for a known one with another method, 400 for a name that no
    /// agent can have.
    pub fn of(method: &Method, path: &str) -> Result<Self, Problem> {
        let here: Vec<_> = operations::all()
            .iter()
            .filter_map(|operation| Some((operation, fit(operation.path, path)?)))
            .collect();
        let Some((_, name)) = here.first() else {
            return Err(unknown(path));
        };
        let name = name.map(|name| parse_name(name, path)).transpose()?;
        let asked = here
            .iter()
            .find(|(operation, _)| operation.method == method);
        match (asked.map(|(operation, _)| operation.target), name) {
            (Some(Target::Node(route)), _) => Ok(route()),
            (Some(Target::Agent(route)), Some(name)) => Ok(route(name)),
            (Some(Target::Agent(_)), None) => Err(unknown(path)),
            (None, _) => {
                let allowed: Vec<_> = here
                    .iter()
                    .map(|(operation, _)| &operation.method)
                    .collect();
                Err(wrong_method(method, path, &allowed))
            }
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

/// Whether `path` is one of `template`, and which agent it names.
fn fit<'p>(template: &str, path: &'p str) -> Option<Option<&'p str>> {
    let mut name = None;
    let mut given = path.split('/');
    for wanted in template.split('/') {
        match (wanted, given.next()?) {
            ("{name}", segment) => name = Some(segment),
            (wanted, segment) if wanted == segment => {}
            _ => return None,
        }
    }
    given.next().is_none().then_some(name)
}

fn wrong_method(method: &Method, path: &str, allowed: &[&Method]) -> Problem {
    let allowed: Vec<_> = allowed.iter().map(|method| method.as_str()).collect();
    Problem::wrong_method(
        format!("{path} does not know {method}"),
        &allowed.join(", "),
    )
    .hint(format!("use {} {path}", allowed.join(" or ")))
}

/// Receivers of alerts are called by the same rules as agents.
fn parse_name(text: &str, path: &str) -> Result<AgentName, Problem> {
    let whose = match path.starts_with("/v1/alerts/") {
        true => "a receiver",
        false => "an agent",
    };
    AgentName::new(text)
        .map_err(|why| Problem::invalid(format!("{text:?} is no name of {whose}: it {why}")))
}

fn unknown(path: &str) -> Problem {
    Problem::not_found(format!("there is no {path:?} in this API"))
        .hint("the API is described in docs/api.md and by GET /openapi.json")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

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
            ("GET", "/metrics", Route::Metrics),
            ("GET", "/openapi.json", Route::OpenApi),
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
            ("GET", "/v1/system/generations", Route::SystemGenerations),
            (
                "POST",
                "/v1/system/rollback",
                Route::Act(Verb::RollbackSystem, None),
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
            ("GET", "/v1/alerts", Route::Alerts),
            ("POST", "/v1/alerts/ops/test", Route::AlertTest(name("ops"))),
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
    fn no_two_operations_are_the_same_request_or_have_the_same_name() {
        let requests = |o: &operations::Operation| format!("{} {}", o.method, o.path);
        let distinct: BTreeSet<_> = operations::all().iter().map(requests).collect();
        let ids: BTreeSet<_> = operations::all().iter().map(|o| o.id).collect();
        let all = operations::all().len();
        assert_eq!((distinct.len(), ids.len()), (all, all));
    }

    #[test]
    fn what_takes_a_query_says_which() {
        for operation in operations::all() {
            let path = operation.path.replace("{name}", "a");
            let route = Route::of(&operation.method, &path).unwrap();
            assert_eq!(route.takes_query(), !operation.query.is_empty(), "{path}");
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
                "/v1/system/x",
                StatusCode::NOT_FOUND,
                "there is no \"/v1/system/x\" in this API",
            ),
            (
                "/metricsx",
                StatusCode::NOT_FOUND,
                "there is no \"/metricsx\" in this API",
            ),
            (
                "/v1/ledger/anchors/3",
                StatusCode::NOT_FOUND,
                "there is no \"/v1/ledger/anchors/3\" in this API",
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
        let problem = Route::of(&Method::DELETE, "/v1/plan").unwrap_err();
        assert_eq!(problem.status, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(problem.allow.as_deref(), Some("GET, POST"));
    }
}
