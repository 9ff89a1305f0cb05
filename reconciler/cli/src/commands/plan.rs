//! `osmoda plan`: what a reconcile would do now, or with other specs.

use osmoda_node::{api::types::PlanReport, specs::Loaded};
use serde_json::value::RawValue;

use super::{client, on_runtime, specs};
use crate::{
    args::{Global, Plan, Specs},
    client::Client,
    failure::{Answer, Failure, Outcome},
    output, show,
};

/// Asks the daemon; with SPECS, reads those first.
pub fn plan(global: &Global, args: &Plan) -> Outcome {
    let body = match &args.specs {
        None => None,
        Some(path) => {
            let specs = Specs {
                specs: path.clone(),
                nixpkgs: args.nixpkgs.clone(),
            };
            Some(manifests(&specs::load(&specs)?)?)
        }
    };
    let client = client(global)?;
    on_runtime(async move {
        let report = ask(&client, body).await?;
        match args.output.output {
            Some(format) => output::object(format, &report)?,
            None => output::print(&show::plan::plan(&report))?,
        }
        Ok(Answer::from(report.steps.is_empty()))
    })
}

async fn ask(client: &Client, body: Option<Vec<u8>>) -> Result<PlanReport, Failure> {
    let answer = match body {
        Some(manifests) => client.post("/v1/plan", manifests).await,
        None => client.get("/v1/plan").await,
    };
    Ok(answer?)
}

/// A JSON array of the agents' manifests, each byte for byte as its digest covers it.
fn manifests(loaded: &Loaded) -> Result<Vec<u8>, Failure> {
    let raw = |manifest: &str| RawValue::from_string(manifest.to_owned());
    let manifests: Result<Vec<_>, _> = loaded
        .agents
        .values()
        .map(|entry| raw(&entry.agent.manifest))
        .collect();
    manifests
        .and_then(|list| serde_json::to_vec(&list))
        .map_err(|error| Failure::because(&error))
}
