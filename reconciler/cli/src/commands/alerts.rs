//! `osmoda alerts`: who is told, what waits, and a test message.

use osmoda_node::alerts::{AlertList, AlertTest};

use crate::{
    args::{Alerts, Output},
    client::Client,
    failure::{Answer, Outcome},
    output, show,
};

/// Lists, or sends a test.
pub async fn alerts(client: &Client, args: &Alerts) -> Outcome {
    match args {
        Alerts::List { output } => list(client, output).await,
        Alerts::Test { name, output } => test(client, name.as_str(), output).await,
    }
}

async fn list(client: &Client, output: &Output) -> Outcome {
    let list: AlertList = client.get("/v1/alerts").await?;
    match output.output {
        Some(format) => output::object(format, &list)?,
        None => output::print(&show::alerts::list(&list))?,
    }
    Ok(Answer::Yes)
}

async fn test(client: &Client, name: &str, output: &Output) -> Outcome {
    let path = format!("/v1/alerts/{name}/test");
    let tested: AlertTest = client.post(&path, Vec::new()).await?;
    match output.output {
        Some(format) => output::object(format, &tested)?,
        None => output::print(&show::alerts::tested(&tested))?,
    }
    Ok(if tested.delivered {
        Answer::Yes
    } else {
        Answer::No
    })
}
