//! `osmoda describe`.

use osmoda_node::api::types::{AgentObject, EntryList, GenerationList};

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
    // Generations that cannot be read are a condition of the agent, and told there.
    let path = format!("/v1/agents/{name}/generations");
    let deployed = client.get::<GenerationList>(&path).await;
    let deployed = deployed.map_or_else(|_| Vec::new(), |list| list.items);
    output::print_folded(&show::describe::describe(
        &agent,
        &entries.items,
        &deployed,
        &show::now(),
    ))?;
    Ok(Answer::Yes)
}
