//! `osmoda describe`.

use osmoda_node::api::types::{AgentObject, EntryList};

use crate::{
    args::Describe,
    client::{Client, with_query},
    failure::{Answer, Outcome},
    output, show,
};

/// Entries from which the story is told.
const EVENTS: &str = "200";

/// Shows everything about one agent.
pub async fn describe(client: &Client, args: &Describe) -> Outcome {
    let name = args.agent.as_str();
    let agent: AgentObject = client.get(&format!("/v1/agents/{name}")).await?;
    if let Some(format) = args.output.output {
        output::object(format, &agent)?;
        return Ok(Answer::Yes);
    }
    let path = with_query("/v1/events", &[("agent", name), ("limit", EVENTS)]);
    let entries: EntryList = client.get(&path).await?;
    output::print_folded(&show::describe::describe(
        &agent,
        &entries.items,
        &show::now(),
    ))?;
    Ok(Answer::Yes)
}
