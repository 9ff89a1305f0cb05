//! `osmoda restart`, `pause` and `resume`.

use osmoda_node::api::types::{Accepted, AgentObject, PauseRequest};

use super::wait::{Goal, until};
use crate::{
    args::{Output, Pause, Restart, Resume},
    client::Client,
    failure::{Answer, Failure, Outcome},
    output,
};

/// Stops an agent and starts it again; with --wait, returns when it is Ready.
pub async fn restart(client: &Client, args: &Restart) -> Outcome {
    let path = format!("/v1/agents/{}", args.agent);
    let before: AgentObject = client.get(&path).await?;
    let accepted: Accepted = client.post(&format!("{path}/restart"), Vec::new()).await?;
    if !args.waiting.wait {
        return told(
            args.output,
            &accepted,
            &format!("{} is being restarted", args.agent),
        );
    }
    let goal = Goal::Restarted {
        invocation: before.status.invocation,
    };
    let answer = until(client, Some(&args.agent), &goal, args.waiting.timeout).await?;
    if answer == Answer::Yes {
        told(
            args.output,
            &accepted,
            &format!("{} was restarted and is ready", args.agent),
        )?;
    } else if let Some(format) = args.output.output {
        output::object(format, &accepted)?;
    }
    Ok(answer)
}

/// Observe and record, but do not act.
pub async fn pause(client: &Client, args: &Pause) -> Outcome {
    let request = PauseRequest {
        reason: args.reason.clone(),
    };
    let body = serde_json::to_vec(&request).map_err(|error| Failure::because(&error))?;
    let (path, whose) = match &args.agent {
        Some(name) => (format!("/v1/agents/{name}/pause"), name.to_string()),
        None => ("/v1/pause".to_owned(), "every agent".to_owned()),
    };
    let accepted = client.post(&path, body).await?;
    told(
        args.output,
        &accepted,
        &format!("{whose} is paused, until `osmoda resume`"),
    )
}

/// Ends a pause.
pub async fn resume(client: &Client, args: &Resume) -> Outcome {
    let (path, sentence) = match &args.agent {
        Some(name) => (
            format!("/v1/agents/{name}/resume"),
            format!("{name} is resumed"),
        ),
        None => (
            "/v1/resume".to_owned(),
            "the pause of every agent has ended".to_owned(),
        ),
    };
    let accepted = client.post(&path, Vec::new()).await?;
    told(args.output, &accepted, &sentence)
}

pub(super) fn told(output: Output, accepted: &Accepted, sentence: &str) -> Outcome {
    match (output.output, accepted.seq) {
        (Some(format), _) => output::object(format, accepted)?,
        (None, Some(seq)) => output::print(&format!("{sentence} (ledger entry {seq})\n"))?,
        (None, None) => {
            let later = "recording is degraded, the entry follows later";
            output::print(&format!("{sentence} ({later})\n"))?;
        }
    }
    Ok(Answer::Yes)
}
