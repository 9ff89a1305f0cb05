//! `osmoda generations` and `osmoda rollback`.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use osmoda_core::name::AgentName;
use osmoda_node::api::types::{
    Accepted, ClosureState, ClosureStatus, GenerationItem, GenerationList, RollbackRequest,
};
use tokio::time::sleep;

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

/// Time between looks at a verification.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Every generation of an agent, and what became of it.
pub async fn generations(client: &Client, args: &Generations) -> Outcome {
    let path = format!("/v1/agents/{}/generations", args.agent);
    let list: GenerationList = match args.verify {
        true => verified(client, &args.agent).await?,
        false => client.get(&path).await?,
    };
    match args.output.output {
        Some(format) => output::object(format, &list)?,
        None => {
            output::print(&show::generations::generations(&list))?;
            if args.verify {
                output::print(&show::generations::closures(&list))?;
            }
        }
    }
    let is_whole = |item: &GenerationItem| {
        let state = item.closure.as_ref().map(|closure| closure.state);
        state == Some(ClosureState::Whole)
    };
    Ok((!args.verify || list.items.iter().all(is_whole)).into())
}

/// Has the daemon hash all that the generations need, and follows it to the end.
async fn verified(client: &Client, agent: &AgentName) -> Result<GenerationList, Failure> {
    let path = format!("/v1/agents/{agent}");
    let _: Accepted = client.post(&format!("{path}/verify"), Vec::new()).await?;
    let bar = progress_bar();
    loop {
        let list: GenerationList = client.get(&format!("{path}/generations")).await?;
        let closures = || list.items.iter().filter_map(|item| item.closure.as_ref());
        bar.set_length(closures().map(|closure| closure.bytes_total).sum());
        bar.set_position(closures().map(|closure| closure.bytes).sum());
        let is_under_way = |closure: &ClosureStatus| closure.state == ClosureState::UnderWay;
        if !closures().any(is_under_way) {
            bar.finish_and_clear();
            return Ok(list);
        }
        sleep(LOOK_EVERY).await;
    }
}

/// On standard error, and only if that is a terminal; what takes no time shows none.
fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
    let form = "{bar:40} {binary_bytes} of {binary_total_bytes} hashed, {eta} left";
    // The form is fixed; were it wrong, the default one would do.
    if let Ok(style) = ProgressStyle::with_template(form) {
        bar.set_style(style);
    }
    bar
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
