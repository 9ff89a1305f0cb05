//! `osmoda generations` and `osmoda rollback`.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use osmoda_core::{name::AgentName, rollout::Verdict};
use osmoda_node::api::types::{
    Accepted, AgentList, ClosureState, ClosureStatus, GenerationItem, GenerationList,
    RollbackRequest,
};
use tokio::time::{Instant, sleep};

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

/// Every generation of an agent or of the system, and what became of it.
pub async fn generations(client: &Client, args: &Generations) -> Outcome {
    let whose = match &args.agent {
        None => "/v1/system".to_owned(),
        Some(agent) => format!("/v1/agents/{agent}"),
    };
    let list: GenerationList = match args.verify {
        true => verified(client, &whose).await?,
        false => client.get(&format!("{whose}/generations")).await?,
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
async fn verified(client: &Client, whose: &str) -> Result<GenerationList, Failure> {
    let _: Accepted = client.post(&format!("{whose}/verify"), Vec::new()).await?;
    let bar = progress_bar();
    loop {
        let list: GenerationList = client.get(&format!("{whose}/generations")).await?;
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
    match &args.agent {
        Some(agent) => rollback_agent(client, agent, args).await,
        None => rollback_system(client, args).await,
    }
}

fn request(args: &Rollback) -> Result<Vec<u8>, Failure> {
    let request = RollbackRequest { to: args.to };
    serde_json::to_vec(&request).map_err(|error| Failure::because(&error))
}

async fn rollback_agent(client: &Client, name: &AgentName, args: &Rollback) -> Outcome {
    let path = format!("/v1/agents/{name}");
    let body = request(args)?;
    let list: GenerationList = client.get(&format!("{path}/generations")).await?;
    let from = list.items.iter().find(|item| item.active);
    let from = from.map(|item| item.number);
    let accepted: Accepted = client.post(&format!("{path}/rollback"), body).await?;
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

/// The daemon itself may be restarted by the switch: a question that fails is asked again.
async fn rollback_system(client: &Client, args: &Rollback) -> Outcome {
    let before: AgentList = client.get("/v1/status").await?;
    let from = before.node.system.and_then(|system| system.current);
    let accepted: Accepted = client.post("/v1/system/rollback", request(args)?).await?;
    if !args.waiting.wait {
        return told(args.output, &accepted, "the system is being rolled back");
    }
    let deadline = Instant::now() + args.waiting.timeout.get();
    loop {
        let seen = client.get::<AgentList>("/v1/status").await.ok();
        if let Some(system) = seen.and_then(|list| list.node.system)
            && system.switching_to.is_none()
        {
            if system.current == from {
                output::note("osmoda: the system was not rolled back\n  look at: osmoda events");
                return Ok(Answer::No);
            }
            match system.verdict {
                Some(Verdict::Good) => {
                    return told(
                        args.output,
                        &accepted,
                        "the system was rolled back and is good",
                    );
                }
                Some(Verdict::Bad) => {
                    output::note(
                        "osmoda: what the system was rolled back to is Bad\n  look at: osmoda events",
                    );
                    return Ok(Answer::No);
                }
                Some(Verdict::Unproven) | None => {}
            }
        }
        if Instant::now() >= deadline {
            let timeout = args.waiting.timeout;
            output::note(&format!(
                "osmoda: time is up after {timeout}\n  look at: osmoda status"
            ));
            return Ok(Answer::No);
        }
        sleep(LOOK_EVERY).await;
    }
}
