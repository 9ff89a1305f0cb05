//! What the live view knows and shows. Pure: news and keys come in, wishes go out.
//!
//! Invariants: the selection is an agent by name, so that it stays with it while the order
//! changes; everything that grows is bounded; nothing acts without [`Dialog::Confirm`].

use std::{cmp::Reverse, collections::BTreeMap, time::Duration};

use osmoda_core::status::Phase;
use osmoda_node::api::types::{AgentList, AgentObject, EntryObject, LedgerHead};

use super::history::History;
use crate::{failure::Failure, show::story::Stories};

/// Longest filter, in characters.
pub const FILTER_MAX: usize = 64;

/// Whether the daemon can be heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    /// Not asked yet.
    New,
    /// It answers.
    Up,
    /// It does not.
    Lost {
        /// What failed.
        why: String,
        /// Since when, on the clock of [`Model::now`].
        since: Duration,
    },
}

/// By what agents are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// Those that do not work first.
    Trouble,
    /// By name.
    Name,
    /// The largest first.
    Memory,
    /// The busiest first.
    Cpu,
    /// Those with the most restarts first.
    Restarts,
}

impl Sort {
    /// The next one.
    pub fn next(self) -> Self {
        match self {
            Self::Trouble => Self::Name,
            Self::Name => Self::Memory,
            Self::Memory => Self::Cpu,
            Self::Cpu => Self::Restarts,
            Self::Restarts => Self::Trouble,
        }
    }

    /// For the title of the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Trouble => "trouble first",
            Self::Name => "by name",
            Self::Memory => "by memory",
            Self::Cpu => "by CPU",
            Self::Restarts => "by restarts",
        }
    }
}

/// A page of text in place of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// What it shows.
    pub of: Ask,
    /// Its lines; absent until they have come.
    pub lines: Option<Vec<String>>,
    /// First line that is shown.
    pub top: usize,
    /// Stays at the end while lines are added.
    pub follows: bool,
}

/// Something to be read about one agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// `osmoda describe`.
    Describe(String),
    /// `osmoda logs`.
    Logs(String),
}

/// Something to be done to one agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Stop and start it.
    Restart(String),
    /// Observe and record only.
    Pause(String),
    /// End a pause.
    Resume(String),
    /// Go back to an earlier generation.
    Rollback(String),
}

/// What lies over the rest of the screen and takes the keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dialog {
    /// The keys, explained.
    Help,
    /// The filter is being typed.
    Filter,
    /// Whether this is meant.
    Confirm(Act),
    /// It was asked for, and the answer has not come.
    Waiting(Act),
    /// What the daemon said.
    Answer {
        /// It did as it was asked.
        done: bool,
        /// In lines.
        text: String,
    },
}

/// What the model wants from the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// The end.
    Quit,
    /// To the background, as the shell's job.
    Suspend,
    /// Everything drawn anew.
    Redraw,
    /// Something to read.
    Ask(Ask),
    /// Something to do.
    Act(Act),
}

/// What the daemon had to say.
#[derive(Debug)]
pub enum News {
    /// A look at everything.
    Looked {
        /// Agents and node.
        list: Box<AgentList>,
        /// The end of the ledger, if it could be told.
        head: Option<LedgerHead>,
        /// Entries since the look before.
        entries: Vec<EntryObject>,
    },
    /// It cannot be reached.
    Lost(Failure),
    /// Lines of a page.
    Read(Ask, Result<Vec<String>, Failure>),
    /// The answer to an act.
    Answered(Result<String, Failure>),
}

/// Everything that the view draws.
#[derive(Debug, Clone)]
pub struct Model {
    /// The daemon.
    pub link: Link,
    /// The newest look.
    pub list: Option<AgentList>,
    /// The end of the ledger.
    pub head: Option<LedgerHead>,
    /// Incidents.
    pub stories: Stories,
    /// Memory in bytes, by agent.
    pub memory: BTreeMap<String, History>,
    /// CPU in percent of one, by agent.
    pub cpu: BTreeMap<String, History>,
    /// The agent that keys are about.
    pub selected: Option<String>,
    /// The order.
    pub sort: Sort,
    /// Only agents with this in their name, phase or labels.
    pub filter: String,
    /// In place of the table.
    pub page: Option<Page>,
    /// Over everything.
    pub dialog: Option<Dialog>,
    /// Time since the view began.
    pub now: Duration,
    /// When `list` was read, on the same clock.
    pub looked_at: Duration,
    /// Wall clock, RFC 3339, for ages.
    pub wall: String,
    /// Rows of a page at the last drawing, for keys that scroll by one.
    pub page_rows: usize,
}

impl Model {
    /// Knows nothing yet.
    pub fn new() -> Self {
        Self {
            link: Link::New,
            list: None,
            head: None,
            stories: Stories::default(),
            memory: BTreeMap::new(),
            cpu: BTreeMap::new(),
            selected: None,
            sort: Sort::Trouble,
            filter: String::new(),
            page: None,
            dialog: None,
            now: Duration::ZERO,
            looked_at: Duration::ZERO,
            wall: String::new(),
            page_rows: 1,
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Duration, wall: String) {
        (self.now, self.wall) = (now, wall);
    }

    /// The daemon has said something.
    pub fn take(&mut self, news: News) {
        match news {
            News::Looked {
                list,
                head,
                entries,
            } => self.looked(*list, head, &entries),
            News::Lost(failure) => self.lost(&failure),
            News::Read(ask, read) => self.read(&ask, read),
            News::Answered(answer) => {
                let done = answer.is_ok();
                let text = answer.unwrap_or_else(|failure| said(&failure));
                self.dialog = Some(Dialog::Answer { done, text });
            }
        }
    }

    fn looked(&mut self, list: AgentList, head: Option<LedgerHead>, entries: &[EntryObject]) {
        // Another daemon, or the same one with another ledger: what was known is of the past.
        let another = self
            .list
            .as_ref()
            .is_some_and(|known| known.node.ledger.origin != list.node.ledger.origin);
        if another {
            self.stories = Stories::default();
        }
        entries.iter().for_each(|entry| self.stories.take(entry));
        for agent in &list.items {
            let name = &agent.metadata.name;
            let resources = agent.status.resources.as_ref();
            let memory = resources.and_then(|resources| resources.memory_bytes);
            let cpu = resources.and_then(|resources| resources.cpu_percent);
            self.memory.entry(name.clone()).or_default().push(memory);
            let cpu = cpu.map(u64::from);
            self.cpu.entry(name.clone()).or_default().push(cpu);
        }
        let is_there = |name: &String| list.items.iter().any(|a| a.metadata.name == *name);
        self.memory.retain(|name, _| is_there(name));
        self.cpu.retain(|name, _| is_there(name));
        (self.link, self.looked_at, self.head) = (Link::Up, self.now, head);
        self.list = Some(list);
        self.keep_selection();
    }

    fn lost(&mut self, failure: &Failure) {
        let since = match &self.link {
            Link::Lost { since, .. } => *since,
            Link::New | Link::Up => self.now,
        };
        self.link = Link::Lost {
            why: failure.message.clone(),
            since,
        };
        if matches!(self.dialog, Some(Dialog::Waiting(_))) {
            let text = said(failure);
            self.dialog = Some(Dialog::Answer { done: false, text });
        }
    }

    fn read(&mut self, ask: &Ask, read: Result<Vec<String>, Failure>) {
        let rows = self.page_rows;
        let Some(page) = self.page.as_mut().filter(|page| page.of == *ask) else {
            return; // it was closed meanwhile
        };
        let lines = read.unwrap_or_else(|failure| said(&failure).lines().map(Into::into).collect());
        if page.follows {
            page.top = lines.len().saturating_sub(rows);
        }
        page.lines = Some(lines);
    }

    /// Agents that pass the filter, in their order.
    pub fn shown(&self) -> Vec<&AgentObject> {
        let all = self.list.iter().flat_map(|list| &list.items);
        let mut shown: Vec<_> = all.filter(|agent| self.passes(agent)).collect();
        let used = |agent: &AgentObject| {
            let used = agent.status.resources.as_ref();
            let memory = used.and_then(|used| used.memory_bytes);
            (memory, used.and_then(|used| used.cpu_percent))
        };
        match self.sort {
            Sort::Name => {}
            Sort::Trouble => shown.sort_by_key(|agent| trouble(agent)),
            Sort::Restarts => shown.sort_by_key(|agent| Reverse(agent.status.restarts)),
            Sort::Memory => shown.sort_by_key(|agent| Reverse(used(agent).0)),
            Sort::Cpu => shown.sort_by_key(|agent| Reverse(used(agent).1)),
        }
        shown
    }

    fn passes(&self, agent: &AgentObject) -> bool {
        let wanted = self.filter.to_lowercase();
        let metadata = &agent.metadata;
        let labels = metadata.labels.iter().map(|(k, v)| format!("{k}={v}"));
        let mut words = labels.chain([metadata.name.clone(), agent.status.phase.to_string()]);
        words.any(|word| word.to_lowercase().contains(&wanted))
    }

    /// The agent that keys are about.
    pub fn chosen(&self) -> Option<&AgentObject> {
        let name = self.selected.as_ref()?;
        let shown = self.shown();
        shown.into_iter().find(|a| a.metadata.name == *name)
    }

    /// Its row among those that are shown.
    pub fn row(&self) -> usize {
        let is = |agent: &&AgentObject| Some(&agent.metadata.name) == self.selected.as_ref();
        self.shown().iter().position(is).unwrap_or(0)
    }

    /// Selects the agent so many rows further down.
    pub fn step(&mut self, rows: isize) {
        let last = self.shown().len().saturating_sub(1);
        let row = self.row().saturating_add_signed(rows).min(last);
        let name = self.shown().get(row).map(|a| a.metadata.name.clone());
        self.selected = name;
    }

    /// Selects some agent, if the one that was selected is not shown any more.
    pub fn keep_selection(&mut self) {
        if self.chosen().is_none() {
            self.step(0);
        }
    }

    /// Milliseconds that have passed since the look.
    pub fn since_look_ms(&self) -> u64 {
        let since = self.now.saturating_sub(self.looked_at).as_millis();
        u64::try_from(since).unwrap_or(u64::MAX)
    }
}

/// How much an agent needs a look: less comes first.
fn trouble(agent: &AgentObject) -> u8 {
    let status = &agent.status;
    match status.phase {
        Phase::Failed => 0,
        Phase::Backoff => 1,
        Phase::Unknown => 2,
        Phase::Held | Phase::Stopping => 3,
        Phase::Pending | Phase::Starting => 4,
        Phase::Running if !status.ready => 4,
        _ if status.incident.is_some() => 5,
        Phase::Paused => 6,
        Phase::Running => 7,
        Phase::Succeeded => 8,
    }
}

fn said(failure: &Failure) -> String {
    match failure.hint.is_empty() {
        true => failure.message.clone(),
        false => format!("{}\n{}", failure.message, failure.hint),
    }
}
