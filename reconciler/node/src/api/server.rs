//! Takes connections and answers requests.
//!
//! Where to start: [`serve`]; what a request leads to is in `answer`. A connection is a task of
//! its own: whatever happens in it, the others and the server go on.

use std::{sync::Arc, time::Duration};

use hyper::{
    Request,
    body::Incoming,
    header::{ACCEPT, HeaderMap},
};
use osmoda_runtime::blocking::spawn_blocking;
use tokio::{
    net::{UnixListener, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    ApiError, ApiOptions, EntrySource, Logs,
    actions::{act, read_body},
    authorize::{Authorizer, Refusal},
    caller::Caller,
    connection::{converse, last_answer},
    entries,
    follow::{self, EventStream, ending},
    gauge::Measures,
    limits,
    query::{self, EntryQuery, LogQuery},
    refusals::{Refusals, Write},
    respond::{self, Answer, Problem},
    route::Route,
    types::{AgentItems, AgentList, Alive, EntryList, LogText, Ready},
};
use crate::{
    alerts::Alerts,
    handle::Handle,
    metrics::{Metrics, text::Form},
};

/// What every request may use.
pub(super) struct Shared {
    pub(super) handle: Handle,
    pub(super) authorizer: Authorizer,
    pub(super) ledger: Arc<dyn EntrySource>,
    pub(super) alerts: Option<Alerts>,
    logs: Logs,
    measures: Arc<Measures>,
    metrics: Arc<Metrics>,
    shutdown: watch::Receiver<bool>,
    socket_group: u32,
    refusals: Refusals,
}

/// How many may be connected at once, by what they may do.
struct Places {
    actors: Arc<Semaphore>,
    readers: Arc<Semaphore>,
}

/// Serves until `shutdown` turns true, then gives open answers
/// [`limits::DRAIN_TIME_MAX`] and removes the socket.
///
/// # Errors
/// [`ApiError::Bind`] if the socket cannot be used; nothing a caller does is an error.
pub async fn serve(options: ApiOptions) -> Result<(), ApiError> {
    let ApiOptions {
        listener,
        handle,
        ledger,
        logs,
        measures,
        metrics,
        authorizer,
        alerts,
        mut shutdown,
    } = options;
    let failed = |source| ApiError::Bind {
        path: listener.path().to_owned(),
        source,
    };
    let socket_group = listener.group().map_err(failed)?;
    let incoming = listener
        .inner
        .try_clone()
        .and_then(UnixListener::from_std)
        .map_err(failed)?;
    let shared = Shared {
        handle,
        authorizer,
        ledger,
        alerts,
        logs,
        measures,
        metrics,
        shutdown: shutdown.clone(),
        socket_group,
        refusals: Refusals::default(),
    };
    let shared = Arc::new(shared);
    let places = Places {
        actors: Arc::new(Semaphore::new(limits::ACTOR_CONNECTIONS_MAX)),
        readers: Arc::new(Semaphore::new(limits::READER_CONNECTIONS_MAX)),
    };
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = incoming.accept() => match accepted {
                Ok((stream, _)) => admit(stream, &shared, &places, &mut connections),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be taken");
                    sleep(limits::ACCEPT_PAUSE).await;
                }
            },
            // Ended connections are collected, or the set would grow for ever.
            Some(ended) = connections.join_next() => if let Err(error) = ended {
                tracing::error!(%error, "a connection ended in a panic");
            },
            () = ending(&mut shutdown) => break,
        }
    }
    drop(incoming);
    let drained = async { while connections.join_next().await.is_some() {} };
    if timeout(limits::DRAIN_TIME_MAX, drained).await.is_err() {
        connections.shutdown().await;
    }
    drop(listener);
    Ok(())
}

/// Finds out who calls, and gives the connection a task if there is a place for it.
fn admit(stream: UnixStream, shared: &Arc<Shared>, places: &Places, connections: &mut JoinSet<()>) {
    let Some(caller) = identify(&stream) else {
        return;
    };
    // Who may not act now shares places with those who only read; acting is judged again later.
    let is_actor = shared.authorizer.may_act(&caller).is_ok();
    let places = if is_actor {
        &places.actors
    } else {
        &places.readers
    };
    match Arc::clone(places).try_acquire_owned() {
        Ok(place) => _ = connections.spawn(attend(stream, caller, Arc::clone(shared), place)),
        Err(_) => turn_away(&stream, &caller),
    }
}

fn identify(stream: &UnixStream) -> Option<Caller> {
    match stream.peer_cred() {
        Ok(peer) => {
            let pid = peer
                .pid()
                .and_then(|pid| u32::try_from(pid).ok())
                .unwrap_or(0);
            Some(Caller::of(peer.uid(), peer.gid(), pid))
        }
        Err(error) => {
            tracing::warn!(%error, "the kernel does not say who connected");
            None
        }
    }
}

/// One write that does not wait: a fresh socket's buffer takes this little.
fn turn_away(stream: &UnixStream, caller: &Caller) {
    tracing::warn!(
        uid = caller.uid,
        pid = caller.pid,
        "too many connections at once"
    );
    let busy = Problem::unavailable("too many connections at once")
        .hint("close some, or try again in a moment");
    // A caller that has hung up needs no answer.
    let _ = stream.try_write(&last_answer(&busy));
}

/// Answers the requests of one connection.
async fn attend(
    stream: UnixStream,
    caller: Caller,
    shared: Arc<Shared>,
    _place: OwnedSemaphorePermit,
) {
    let mut shutdown = shared.shutdown.clone();
    let respond = |request| {
        let (shared, caller) = (Arc::clone(&shared), caller.clone());
        async move { respond_to(&shared, &caller, request).await }
    };
    converse(stream, respond, ending(&mut shutdown)).await;
}

impl Shared {
    /// The answer to a caller who may not act; the attempt goes on record by `write`.
    pub(super) fn refuse(
        &self,
        caller: &Caller,
        verb: &'static str,
        refusal: Refusal,
        write: Write,
    ) -> Problem {
        if self.refusals.note(caller.uid, verb, write) {
            let (uid, pid) = (caller.uid, caller.pid);
            tracing::warn!(uid, pid, verb, reason = %refusal, "command refused");
        }
        Problem::forbidden(refusal.to_string()).hint(
            "ask root, or be named under operators of the Node in the specs; the attempt is on record",
        )
    }
}

async fn respond_to(shared: &Arc<Shared>, caller: &Caller, request: Request<Incoming>) -> Answer {
    let answered = timeout(limits::REQUEST_TIME_MAX, answer(shared, caller, request)).await;
    let late = Duration::as_secs(&limits::REQUEST_TIME_MAX);
    match answered {
        Ok(Ok(answer)) => answer,
        Ok(Err(problem)) => problem.answer(),
        Err(_) => Problem::unavailable(format!("there was no answer within {late} s"))
            .hint("the daemon may be busy; try again")
            .answer(),
    }
}

/// From a request to its answer: branches only.
async fn answer(
    shared: &Arc<Shared>,
    caller: &Caller,
    request: Request<Incoming>,
) -> Result<Answer, Problem> {
    if !shared.authorizer.may_read(caller, shared.socket_group) {
        return Err(Problem::forbidden(
            "you are not a member of the socket's group",
        ));
    }
    let route = Route::of(request.method(), request.uri().path())?;
    let (head, body) = request.into_parts();
    let query = head.uri.query().unwrap_or_default();
    if !route.takes_query() {
        query::none(query)?;
    }
    match route {
        Route::Events => events(shared, query, &head.headers).await,
        Route::Logs(agent) => logs(shared, agent, query).await,
        Route::LedgerEntries => ledger_entries(shared, query).await,
        Route::Act(verb, agent) => act(shared, caller, verb, agent, body).await,
        Route::Status => Ok(respond::found(&status(shared).await?)),
        Route::Summary => Ok(respond::found(&shared.handle.summary().await?)),
        Route::Agents => Ok(respond::found(&AgentItems {
            items: status(shared).await?.items,
        })),
        Route::Generations(name) => match shared.handle.generations(name.clone()).await? {
            Some(Ok(generations)) => Ok(respond::found(&generations)),
            Some(Err(why)) => Err(Problem::unavailable(format!(
                "the profile of {name} cannot be read: {why}"
            ))),
            None => Err(Problem::no_such_agent(name.as_str())),
        },
        Route::SystemGenerations => match shared.handle.system_generations().await? {
            Some(Ok(generations)) => Ok(respond::found(&generations)),
            Some(Err(why)) => Err(Problem::unavailable(format!(
                "the system's generations cannot be read: {why}"
            ))),
            None => Err(Problem::invalid(
                "there are no generations of the system: this is not NixOS",
            )
            .hint("`osmoda generations AGENT` shows those of an agent")),
        },
        Route::Agent(name) => match shared.handle.agent(name.clone()).await? {
            Some(mut agent) => {
                shared.measures.fill(std::slice::from_mut(&mut agent)).await;
                Ok(respond::found(&agent))
            }
            None => Err(Problem::no_such_agent(name.as_str())),
        },
        Route::Diff => {
            let limits = shared.measures.limits().await;
            Ok(respond::found(&shared.handle.diff(limits).await?))
        }
        Route::Plan => Ok(respond::found(&shared.handle.plan(None).await?)),
        Route::PlanOf => {
            let body = read_body(body).await?;
            let specs = blocking(move || super::plan::read(&body)).await??;
            Ok(respond::found(&shared.handle.plan(Some(specs)).await?))
        }
        Route::LedgerHead => {
            let ledger = Arc::clone(&shared.ledger);
            Ok(respond::found(&blocking(move || ledger.head()).await?))
        }
        Route::LedgerCheckpoint => {
            let ledger = Arc::clone(&shared.ledger);
            let found = blocking(move || super::ledger::checkpoint(&*ledger)).await??;
            Ok(respond::found(&found))
        }
        Route::LedgerKey => {
            let ledger = Arc::clone(&shared.ledger);
            let found = blocking(move || super::ledger::key(&*ledger)).await??;
            Ok(respond::found(&found))
        }
        Route::LedgerProof => {
            let (ledger, query) = (Arc::clone(&shared.ledger), query.to_owned());
            let found = blocking(move || super::ledger::proof(&*ledger, &query)).await??;
            Ok(respond::found(&found))
        }
        Route::LedgerAct(verb) => super::ledger::act(shared, caller, verb, body).await,
        Route::Alerts => super::alerts::list(shared),
        Route::AlertTest(name) => super::alerts::test(shared, caller, &name, body).await,
        Route::Ready => ready(shared).await,
        Route::Metrics => {
            let accept = head
                .headers
                .get(ACCEPT)
                .and_then(|value| value.to_str().ok());
            let form = Form::wanted(accept);
            Ok(respond::metrics(form, shared.metrics.read(form).await))
        }
        Route::OpenApi => Ok(respond::found(&super::openapi::document())),
        Route::Health => Ok(respond::found(&Alive { alive: true })),
    }
}

/// What the loop knows of all, and what they use.
async fn status(shared: &Shared) -> Result<AgentList, Problem> {
    let mut list = shared.handle.status().await?;
    shared.measures.fill_all(&mut list.items).await;
    Ok(list)
}

/// The loop answers, so the node works.
async fn ready(shared: &Shared) -> Result<Answer, Problem> {
    match timeout(limits::READY_TIME_MAX, shared.handle.ping()).await {
        Ok(Ok(_)) => Ok(respond::found(&Ready { ready: true })),
        Ok(Err(gone)) => Err(gone.into()),
        Err(_) => Err(Problem::unavailable("the reconcile loop does not answer")),
    }
}

async fn events(shared: &Shared, query: &str, headers: &HeaderMap) -> Result<Answer, Problem> {
    let query = EntryQuery::parse(query)?;
    let ledger = Arc::clone(&shared.ledger);
    if !query.follow {
        let found = blocking(move || entries::find(&*ledger, &query)).await?;
        return Ok(respond::found(&found.map_err(unreadable)?));
    }
    let last_seen = last_event_id(headers)?;
    let agent = query.agent.clone();
    let from = blocking(move || entries::start_of_stream(&*ledger, &query, last_seen)).await?;
    let from = from.map_err(unreadable)?;
    let (stream, answer) = EventStream::open(shared.shutdown.clone());
    tokio::spawn(follow::entries(
        Arc::clone(&shared.ledger),
        from,
        agent,
        stream,
    ));
    Ok(answer)
}

/// What a reader that lost its connection saw last (WHATWG HTML, section 9.2).
fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get("last-event-id") else {
        return Ok(None);
    };
    let number = value.to_str().ok().and_then(query::entry_number);
    number
        .map(Some)
        .ok_or_else(|| Problem::invalid("Last-Event-ID is not an entry's number"))
}

async fn ledger_entries(shared: &Shared, query: &str) -> Result<Answer, Problem> {
    let (from, limit) = EntryQuery::parse_page(query)?;
    let ledger = Arc::clone(&shared.ledger);
    let read = blocking(move || {
        let items = ledger.entries(from, limit)?;
        Ok(EntryList {
            items,
            size: ledger.head().size,
        })
    });
    Ok(respond::found(&read.await?.map_err(unreadable)?))
}

async fn logs(
    shared: &Arc<Shared>,
    agent: osmoda_core::name::AgentName,
    query: &str,
) -> Result<Answer, Problem> {
    let LogQuery {
        lines,
        previous,
        follow,
    } = LogQuery::parse(query)?;
    if follow {
        known(shared, &agent).await?;
        let (stream, answer) = EventStream::open(shared.shutdown.clone());
        let logs = shared.logs.clone();
        tokio::spawn(async move { logs.follow(&agent, lines, stream).await });
        return Ok(answer);
    }
    let (logs, name) = (shared.logs.clone(), agent.clone());
    let found = blocking(move || logs.last(&name, previous, lines)).await?;
    let lines = match found
        .map_err(|error| Problem::internal(format!("its output cannot be read: {error}")))?
    {
        Some(lines) => lines,
        None => known(shared, &agent).await.map(|()| Vec::new())?,
    };
    Ok(respond::found(&LogText {
        agent: agent.to_string(),
        previous,
        lines,
    }))
}

async fn known(shared: &Shared, agent: &osmoda_core::name::AgentName) -> Result<(), Problem> {
    match shared.handle.agent(agent.clone()).await? {
        Some(_) => Ok(()),
        None => Err(Problem::no_such_agent(agent.as_str())),
    }
}

fn unreadable(why: String) -> Problem {
    Problem::internal(format!("the ledger cannot be read: {why}"))
        .hint("`osmoda ledger verify` says more")
}

/// Runs what may block where it holds nobody up.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    spawn_blocking(work)
        .await
        .map_err(|_| Problem::internal("the request ended in a panic"))
}
