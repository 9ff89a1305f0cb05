//! `osmoda events`.

use osmoda_node::api::types::{EntryList, EntryObject};

use super::follow::since;
use crate::{
    args::Events,
    client::{Client, with_query},
    failure::{Answer, Failure, Outcome},
    output, show,
};

/// Shows what happened, and with --follow what happens.
pub async fn events(client: &Client, args: &Events) -> Outcome {
    let limit = args.limit.to_string();
    let since = args.since.as_deref().map(since).transpose()?;
    let mut query = vec![("limit", limit.as_str())];
    if let Some(agent) = &args.agent {
        query.push(("agent", agent.as_str()));
    }
    if let Some(since) = &since {
        query.push(("since", since));
    }
    if args.follow {
        query.push(("follow", "1"));
        let path = with_query("/v1/events", &query);
        client
            .stream(&path, |entry: EntryObject| print(args, &entry))
            .await?;
        return Ok(Answer::Yes);
    }
    let list: EntryList = client.get(&with_query("/v1/events", &query)).await?;
    match args.output.output {
        Some(format) => output::object(format, &list)?,
        None => {
            let mut told = list.items;
            told.retain(|entry| args.all || !show::events::is_detail(entry));
            output::print_folded(&show::events::list(&told, &show::now()))?;
        }
    }
    Ok(Answer::Yes)
}

fn print(args: &Events, entry: &EntryObject) -> Result<(), Failure> {
    match args.output.output {
        Some(format) => output::one_of_many(format, entry),
        None if !args.all && show::events::is_detail(entry) => Ok(()),
        None => {
            let sentence = show::one_line(&show::events::sentence(entry));
            output::print(&format!("{sentence}\n"))
        }
    }
}
