//! `osmoda logs`.

use osmoda_node::api::types::{LogLine, LogText};

use crate::{
    args::Logs,
    client::{Client, with_query},
    failure::{Answer, Outcome},
    output,
};

/// Shows an agent's output, as it wrote it.
pub async fn logs(client: &Client, args: &Logs) -> Outcome {
    let lines = args.lines.to_string();
    let mut query = vec![("lines", lines.as_str())];
    if args.previous {
        query.push(("previous", "1"));
    }
    if args.follow {
        query.push(("follow", "1"));
    }
    let path = with_query(&format!("/v1/agents/{}/logs", args.agent), &query);
    if args.follow {
        let each = |line: LogLine| match args.output.output {
            Some(format) => output::one_of_many(format, &line),
            None => output::print(&format!("{}\n", line.line)),
        };
        client.stream(&path, each).await?;
        return Ok(Answer::Yes);
    }
    let text: LogText = client.get(&path).await?;
    match args.output.output {
        Some(format) => output::object(format, &text)?,
        None => {
            let lines = text.lines.iter().map(|line| format!("{line}\n"));
            output::print(&lines.collect::<String>())?;
        }
    }
    Ok(Answer::Yes)
}
