//! The way to the daemon: one connection, over which looks, pages and acts go one at a time.
//!
//! A look every [`LOOK_EVERY`]. A daemon that is away is said to be so and asked again; entries
//! that were written meanwhile are read from where the last look ended.

use std::time::Duration;

use osmoda_node::api::types::{
    Accepted, AgentList, AgentObject, EntryList, EntryObject, GenerationList, LedgerHead, LogText,
    PauseRequest,
};
use tokio::{
    sync::mpsc::{Receiver, Sender},
    time::{MissedTickBehavior, interval},
};

use super::model::{Act, Ask, News};
use crate::{
    client::{Client, Refusal, Session, with_query},
    failure::{Failure, UNREACHABLE},
    show,
};

/// Time between looks.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Entries that the first look reads back.
const ENTRIES_AT_FIRST: &str = "1000";
/// Most entries that are read at a time, and most times for one look.
const ENTRIES_AT_ONCE: &str = "1000";
const READS_MAX: usize = 8;
/// Lines of a page of output.
const LOG_LINES: &str = "500";
/// Entries of a page that describes.
const DESCRIBED: &str = "200";
/// What a pause from here gives as its reason.
const PAUSE_REASON: &str = "osmoda top";

/// What the view asks of the feed.
#[derive(Debug, Clone)]
pub enum Order {
    /// This page is open now, or none.
    Open(Option<Ask>),
    /// Do this.
    Act(Act),
}

/// Brings news until the view is gone.
pub async fn feed(client: Client, mut orders: Receiver<Order>, news: Sender<News>) {
    let mut feed = Feed {
        session: Session::new(client),
        next: None,
        open: None,
    };
    let mut clock = interval(LOOK_EVERY);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let found = tokio::select! {
            order = orders.recv() => match order {
                None => return,
                Some(Order::Open(ask)) => {
                    feed.open = ask;
                    feed.page().await.into_iter().collect()
                }
                Some(Order::Act(act)) => vec![News::Answered(feed.act(act).await)],
            },
            _ = clock.tick() => feed.everything().await,
        };
        for item in found {
            if news.send(item).await.is_err() {
                return;
            }
        }
    }
}

struct Feed {
    session: Session,
    /// The first entry that has not been read; absent before the first look.
    next: Option<u64>,
    open: Option<Ask>,
}

impl Feed {
    async fn everything(&mut self) -> Vec<News> {
        let looked = self.look().await;
        let is_there = looked.is_ok();
        let looked = looked.unwrap_or_else(|refusal| News::Lost(refusal.into()));
        let page = if is_there { self.page().await } else { None };
        std::iter::once(looked).chain(page).collect()
    }

    async fn look(&mut self) -> Result<News, Refusal> {
        let list: AgentList = self.session.get("/v1/status").await?;
        let mut entries = Vec::new();
        // A ledger that is smaller than what was read is another one.
        let begun = self.next.filter(|next| *next <= list.node.ledger.size);
        self.next = begun;
        for _ in 0..READS_MAX {
            let read = self.entries().await?;
            let done = read.is_empty() || begun.is_none();
            entries.extend(read);
            if done {
                break;
            }
        }
        let head: Option<LedgerHead> = self.session.get("/v1/ledger/head").await.ok();
        Ok(News::Looked {
            list: Box::new(list),
            head,
            entries,
        })
    }

    async fn entries(&mut self) -> Result<Vec<EntryObject>, Refusal> {
        let path = match self.next {
            None => with_query("/v1/events", &[("limit", ENTRIES_AT_FIRST)]),
            Some(next) => {
                let since = next.to_string();
                with_query(
                    "/v1/events",
                    &[("since", &since), ("limit", ENTRIES_AT_ONCE)],
                )
            }
        };
        let list: EntryList = self.session.get(&path).await?;
        let last = list.items.last().map(|entry| entry.seq + 1);
        self.next = last.or(self.next).or(Some(list.size));
        Ok(list.items)
    }

    async fn page(&mut self) -> Option<News> {
        let ask = self.open.clone()?;
        let read = match &ask {
            Ask::Describe(name) => self.describe(name).await,
            Ask::Logs(name) => self.logs(name).await,
        };
        Some(News::Read(ask, read.map_err(Failure::from)))
    }

    async fn describe(&mut self, name: &str) -> Result<Vec<String>, Refusal> {
        let agent: AgentObject = self.session.get(&format!("/v1/agents/{name}")).await?;
        let path = with_query("/v1/events", &[("agent", name), ("limit", DESCRIBED)]);
        let entries: EntryList = self.session.get(&path).await?;
        let path = format!("/v1/agents/{name}/generations");
        let deployed = self.session.get::<GenerationList>(&path).await;
        let deployed = deployed.map_or_else(|_| Vec::new(), |list| list.items);
        let text = show::describe::describe(&agent, &entries.items, &deployed, &show::now());
        Ok(text.lines().map(str::to_owned).collect())
    }

    async fn logs(&mut self, name: &str) -> Result<Vec<String>, Refusal> {
        let path = format!("/v1/agents/{name}/logs");
        let text: LogText = self
            .session
            .get(&with_query(&path, &[("lines", LOG_LINES)]))
            .await?;
        Ok(text.lines.iter().map(|line| show::one_line(line)).collect())
    }

    /// Asks once: a request whose answer was lost may have been acted on.
    async fn act(&mut self, act: Act) -> Result<String, Failure> {
        let (path, body, sentence) = match &act {
            Act::Restart(name) => ("restart", Vec::new(), format!("{name} is being restarted")),
            Act::Resume(name) => ("resume", Vec::new(), format!("{name} is resumed")),
            Act::Rollback(name) => ("rollback", b"{}".to_vec(), format!("{name} goes back")),
            Act::Pause(name) => {
                let request = PauseRequest {
                    reason: PAUSE_REASON.to_owned(),
                };
                let body = serde_json::to_vec(&request).map_err(|e| Failure::because(&e))?;
                (
                    "pause",
                    body,
                    format!("{name} is paused until it is resumed"),
                )
            }
        };
        let path = format!("/v1/agents/{}/{path}", act.agent());
        let accepted = self.session.post::<Accepted>(&path, body).await;
        let accepted = accepted.map_err(|refusal| {
            let failure = Failure::from(refusal);
            match failure.code {
                UNREACHABLE => failure.hint("whether it was done is not known: look at the events"),
                _ => failure,
            }
        })?;
        Ok(match accepted.seq {
            Some(seq) => format!("{sentence}\nledger entry {seq}"),
            None => format!("{sentence}\nrecording is degraded, the entry follows later"),
        })
    }
}

impl Act {
    /// Whom it is about.
    pub fn agent(&self) -> &str {
        match self {
            Self::Restart(name) | Self::Pause(name) | Self::Resume(name) | Self::Rollback(name) => {
                name
            }
        }
    }
}
