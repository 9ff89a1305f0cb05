//! `osmoda generations` and `osmoda rollback`.

use osmoda_node::api::types::{Accepted, GenerationList, RollbackRequest};

use super::{
    act::told,
    wait::{Goal, until},
};
use crate::{
    args::{Generations, Rollback},
    client::Client,
    failure::{Answer, Failure, Outcome},
    output, show,
};

/// Every generation of an agent, and what became of it.
pub async fn generations(client: &Client, args: &Generations) -> Outcome {
    let path = format!("/v1/agents/{}/generations", args.agent);
    let list: GenerationList = client.get(&path).await?;
    match args.output.output {
        Some(format) => output::object(format, &list)?,
        None => output::print(&show::generations::generations(&list))?,
    }
    Ok(Answer::Yes)
}

/// Goes back to an earlier generation; with --wait, returns when it is active and Ready.
pub async fn rollback(client: &Client, args: &Rollback) -> Outcome {
    let path = format!("/v1/agents/{}", args.agent);
    let request = RollbackRequest { to: args.to };
    let body = serde_json::to_vec(&request).map_err(|error| Failure::because(&error))?;
    let list: GenerationList = client.get(&format!("{path}/generations")).await?;
    let from = list.items.iter().find(|item| item.active);
    let from = from.map(|item| item.number);
    let accepted: Accepted = client.post(&format!("{path}/rollback"), body).await?;
    let name = &args.agent;
    if !args.waiting.wait {
        return told(
            args.output,
            &accepted,
            &format!("{name} is being rolled back"),
        );
    }
    let goal = Goal::RolledBack { from };
    let answer = until(client, Some(name), &goal, args.waiting.timeout).await?;
    if answer == Answer::Yes {
        let sentence = format!("{name} was rolled back and is ready");
        told(args.output, &accepted, &sentence)?;
    } else if let Some(format) = args.output.output {
        output::object(format, &accepted)?;
    }
    Ok(answer)
}
