//! `osmoda status`: what agents are, and how that differs from what they should be.

use std::time::Duration;

use osmoda_core::name::AgentName;
use osmoda_node::api::types::{
    AgentDiff, AgentList, AgentObject, AgentSummary, DiffReport, NextAction, StatusSummary,
};
use tokio::time::sleep;

use crate::{
    args::{Machine, Output, Status},
    client::Client,
    failure::{Answer, Failure, Outcome, UNREACHABLE},
    output, show,
};

/// Time between looks of --watch.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// Shows it once, or until interrupted: then that is the end, and no failure.
pub async fn status(client: &Client, args: &Status) -> Outcome {
    let is_of_all = args.agent.is_none() && !args.diff;
    if is_of_all && !args.watch && args.output.output == Some(Machine::Json) {
        let text = client.get_text("/v1/status").await?;
        output::json(&text)?;
        return Ok(Answer::Yes);
    }
    if !args.watch {
        let view = View::read(client, args).await?;
        view.print(args.output)?;
        return Ok(view.answer());
    }
    let redraw = output::on_terminal() && args.output.output.is_none();
    let interrupted = tokio::signal::ctrl_c();
    tokio::select! {
        outcome = async {
            match redraw {
                true => redrawn(client, args).await,
                false => changes(client, args).await,
            }
        } => outcome,
        heard = interrupted => {
            heard?;
            if redraw {
                output::print("\n")?;
            }
            Ok(Answer::Yes)
        }
    }
}

/// On a terminal: in place of what was shown before. A daemon that goes away is waited for.
async fn redrawn(client: &Client, args: &Status) -> Outcome {
    let mut place = Place::default();
    // At first it must be there: a wrong directory is not worth waiting for.
    let mut text = View::read(client, args).await?.text();
    loop {
        let size = crossterm::terminal::size().unwrap_or((80, 24));
        let foot = format!("{}  Ctrl-C ends it", show::to_seconds(&show::now()));
        output::print(&place.redraw(&text, &foot, size))?;
        sleep(WATCH_EVERY).await;
        text = match View::read(client, args).await {
            Ok(view) => view.text(),
            Err(failure) if failure.code == UNREACHABLE => {
                format!(
                    "{text}\nTHE DAEMON IS AWAY, asking again: {}\n",
                    failure.message
                )
            }
            Err(failure) => return Err(failure),
        };
    }
}

/// Elsewhere: everything again, whenever something has changed.
async fn changes(client: &Client, args: &Status) -> Outcome {
    let mut shown = None;
    loop {
        let view = View::read(client, args).await?;
        if shown.as_ref().is_none_or(|before| view.differs(before)) {
            view.print_one_of_many(args.output)?;
            shown = Some(view);
        }
        sleep(WATCH_EVERY).await;
    }
}

/// The lines of a terminal that were drawn last.
#[derive(Debug, Default)]
struct Place {
    rows: usize,
}

impl Place {
    /// What draws `text` and `foot` over what was drawn before, without a flicker: the cursor
    /// goes up, and each line erases only what is right of it (ECMA-48: CUU, EL, ED). Lines are
    /// cut to the terminal's width, and as many are left out as it has too few rows for.
    fn redraw(&mut self, text: &str, foot: &str, (columns, rows): (u16, u16)) -> String {
        let room = usize::from(rows).saturating_sub(2).max(1);
        let lines: Vec<&str> = text.lines().collect();
        let hidden = lines.len().saturating_sub(room);
        let mut drawn = String::new();
        if self.rows > 0 {
            drawn.push_str(&format!("\r\x1b[{}A", self.rows));
        }
        for line in lines.iter().take(lines.len() - hidden) {
            drawn.push_str(&show::fit(line, usize::from(columns)));
            drawn.push_str("\x1b[K\n");
        }
        let more = match hidden {
            0 => String::new(),
            count => format!("{count} more lines do not fit; "),
        };
        // The cursor stays behind the last line, where the shell's prompt begins a new one.
        let foot = show::fit(&format!("{more}{foot}"), usize::from(columns));
        drawn.push_str(&format!("{foot}\x1b[K\x1b[J"));
        self.rows = lines.len() - hidden;
        drawn
    }
}

/// What was asked for, as it is now.
enum View {
    Table(Box<StatusSummary>),
    All(Box<AgentList>),
    One(Box<AgentObject>),
    Diff(DiffReport),
}

impl View {
    async fn read(client: &Client, args: &Status) -> Result<Self, Failure> {
        match (&args.agent, args.diff) {
            (None, false) if args.output.output.is_none() => {
                Ok(Self::Table(Box::new(client.get("/v1/summary").await?)))
            }
            (None, false) => Ok(Self::All(Box::new(client.get("/v1/status").await?))),
            (Some(name), false) => {
                let agent = client.get(&format!("/v1/agents/{name}")).await?;
                Ok(Self::One(Box::new(agent)))
            }
            (None, true) => Ok(Self::Diff(client.get("/v1/diff").await?)),
            (Some(name), true) => {
                let report: DiffReport = client.get("/v1/diff").await?;
                Ok(Self::Diff(only(report, name)?))
            }
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Table(summary) => show::status::status(summary),
            Self::All(list) => show::status::status(&summary_of(list)),
            Self::One(agent) => show::status::agent(&AgentSummary::from(agent.as_ref().clone())),
            Self::Diff(report) => show::diff::diff(report),
        }
    }

    fn print(&self, output: Output) -> Result<(), Failure> {
        match (output.output, self) {
            (None, _) => output::print(&self.text()),
            (Some(format), Self::Table(summary)) => output::object(format, summary),
            (Some(format), Self::All(list)) => output::object(format, list),
            (Some(format), Self::One(agent)) => output::object(format, agent),
            (Some(format), Self::Diff(report)) => output::object(format, report),
        }
    }

    fn print_one_of_many(&self, output: Output) -> Result<(), Failure> {
        match (output.output, self) {
            (None, _) => output::print(&format!("{}\n", self.text())),
            (Some(format), Self::Table(summary)) => output::one_of_many(format, summary),
            (Some(format), Self::All(list)) => output::one_of_many(format, list),
            (Some(format), Self::One(agent)) => output::one_of_many(format, agent),
            (Some(format), Self::Diff(report)) => output::one_of_many(format, report),
        }
    }

    fn answer(&self) -> Answer {
        match self {
            Self::Table(_) | Self::All(_) => Answer::Yes,
            Self::One(agent) => agent.status.ready.into(),
            Self::Diff(report) => report.in_sync.into(),
        }
    }

    /// Whether anything but the passing of time tells them apart.
    fn differs(&self, before: &Self) -> bool {
        match (self, before) {
            (Self::Table(now), Self::Table(before)) => {
                timeless_table(now) != timeless_table(before)
            }
            (Self::All(now), Self::All(before)) => timeless_list(now) != timeless_list(before),
            (Self::One(now), Self::One(before)) => timeless(now) != timeless(before),
            (Self::Diff(now), Self::Diff(before)) => now != before,
            _ => true,
        }
    }
}

/// What a report says of one agent.
///
/// # Errors
/// There is no such agent.
pub fn only(mut report: DiffReport, name: &AgentName) -> Result<DiffReport, Failure> {
    report
        .agents
        .retain(|agent: &AgentDiff| agent.name == name.as_str());
    let Some(agent) = report.agents.first() else {
        return Err(
            Failure::usage(format!("there is no agent {:?}", name.as_str()))
                .hint("`osmoda status` lists the agents that there are"),
        );
    };
    report.in_sync = agent.differences.is_empty();
    Ok(report)
}

fn timeless(agent: &AgentObject) -> AgentObject {
    let mut agent = agent.clone();
    agent.status.uptime_ms = None;
    // Derived from two clocks at each look, so its last digits move.
    agent.status.started_at = None;
    agent.status.resources = None;
    agent.status.next_action = agent.status.next_action.map(timeless_action);
    agent
}

fn timeless_action(next: NextAction) -> NextAction {
    NextAction {
        what: next.what,
        at: String::new(),
        in_ms: 0,
    }
}

fn timeless_table(summary: &StatusSummary) -> StatusSummary {
    let mut summary = summary.clone();
    summary.node.uptime_ms = 0;
    for agent in &mut summary.items {
        agent.uptime_ms = None;
        agent.next_action = agent.next_action.take().map(timeless_action);
    }
    summary
}

fn summary_of(list: &AgentList) -> StatusSummary {
    StatusSummary {
        api_version: list.api_version.clone(),
        kind: "StatusSummary".to_owned(),
        node: list.node.clone(),
        items: list.items.iter().cloned().map(AgentSummary::from).collect(),
    }
}

fn timeless_list(list: &AgentList) -> AgentList {
    let mut list = list.clone();
    list.node.uptime_ms = 0;
    list.items = list.items.iter().map(timeless).collect();
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::describe::tests::sample;

    #[test]
    fn a_screen_is_drawn_over_the_one_before_and_never_past_its_edges() {
        let mut place = Place::default();
        let first = place.redraw("ab\ncd\n", "now", (80, 24));
        assert_eq!(first, "ab\x1b[K\ncd\x1b[K\nnow\x1b[K\x1b[J");
        let second = place.redraw("日本語\nb\nc\nd\n", "now", (5, 4));
        assert_eq!(second, "\r\x1b[2A日本…\x1b[K\nb\x1b[K\n2 mo…\x1b[K\x1b[J");
        assert!(place.redraw("a", "now", (0, 0)).starts_with("\r\x1b[2A"));
    }

    #[test]
    fn the_passing_of_time_alone_is_no_change() {
        let before = View::One(Box::new(sample("a")));
        let mut later = sample("a");
        later.status.uptime_ms = Some(999_999);
        later.status.next_action.as_mut().unwrap().in_ms = 1;
        assert!(!View::One(Box::new(later.clone())).differs(&before));
        later.status.restarts += 1;
        assert!(View::One(Box::new(later)).differs(&before));
    }

    #[test]
    fn a_difference_of_another_agent_does_not_count() {
        let agents = ["a", "b"].map(|name| AgentDiff {
            name: name.to_owned(),
            differences: match name {
                "b" => vec![osmoda_core::diff::Difference {
                    path: "x".into(),
                    desired: "1".into(),
                    observed: "2".into(),
                    reason: String::new(),
                }],
                _ => Vec::new(),
            },
        });
        let report = DiffReport {
            in_sync: false,
            agents: agents.to_vec(),
            system: Default::default(),
        };
        let of = |name| only(report.clone(), &AgentName::new(name).unwrap());
        assert!(of("a").unwrap().in_sync);
        assert!(!of("b").unwrap().in_sync);
        assert_eq!(of("c").unwrap_err().code, 2);
    }
}
