//! `osmoda ledger timeline`: one story from the ledgers of several nodes, each verified first.

use std::path::Path;

use osmoda_ledger::{
    VerifyOptions,
    timeline::{Filter, Input, build},
    verify,
};
use osmoda_node::error::chain;

use super::{follow, pages};
use crate::{
    args::Timeline,
    failure::{Failure, NO, Outcome},
    output,
    show::timeline as shown,
};

/// Exits 1 if a ledger is not sound, or the ledgers do not fit together.
pub fn timeline(args: &Timeline) -> Outcome {
    let inputs = inputs(args)?;
    let time = |text: &Option<String>| text.as_deref().map(follow::time).transpose();
    let filter = Filter {
        since: time(&args.since)?,
        until: time(&args.until)?,
        agent: args.agent.clone().map(String::from),
        incident: args.incident.clone(),
    };
    let told = build(&inputs, &filter).map_err(|error| Failure::usage(chain(&error)))?;
    match (&args.html, args.output.output) {
        (Some(path), _) => pages::write(path, &shown::html::html(&told))?,
        (None, Some(format)) => output::object(format, &told)?,
        (None, None) => output::print(&shown::text(&told))?,
    }
    Ok(told.ok.into())
}

/// Verifies every file; all that fail are named at once.
fn inputs(args: &Timeline) -> Result<Vec<Input>, Failure> {
    let mut inputs = Vec::new();
    for path in &args.files {
        inputs.push(input(path)?);
    }
    let fault = |input: &Input| {
        let fault = input.fault.as_ref()?;
        Some(format!("{}: {fault}", input.path.display()))
    };
    let faults: Vec<_> = inputs.iter().filter_map(fault).collect();
    if faults.is_empty() || args.unverified {
        return Ok(inputs);
    }
    let message = format!("these ledgers are not sound:\n  {}", faults.join("\n  "));
    Err(Failure::new(NO, message)
        .hint("leave them out, or tell what they say all the same with --unverified"))
}

fn input(path: &Path) -> Result<Input, Failure> {
    let checked = verify(path, &VerifyOptions::default(), |_, _| {});
    let report = checked.map_err(|error| Failure::usage(chain(&error)))?;
    let fault = (!report.ok).then(|| report.reason.unwrap_or_else(|| "not sound".to_owned()));
    Ok(Input {
        path: path.to_owned(),
        // What fails is read as far as it can be, and marked.
        size: if report.ok { report.size } else { u64::MAX },
        fault,
    })
}
