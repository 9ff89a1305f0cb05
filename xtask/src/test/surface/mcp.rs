//! Part `mcp`: the reference client of the Model Context Protocol, from PyPI, with `osmoda mcp`.

use std::{path::Path, process::Command};

use anyhow::Context as _;

use super::{Ground, python};
use crate::{
    project,
    test::{Context, Verdict, parts},
};

/// The version that this was tried with.
const CLIENT: &str = "mcp==2.3.0";

/// # Errors
/// The client does not see what it should.
pub fn mcp(context: &Context, osmoda: &Path) -> anyhow::Result<Verdict> {
    let python = match python(&[CLIENT]) {
        Ok(found) => found,
        Err(reason) => return Ok(Verdict::Skipped(format!("{reason:#}"))),
    };
    let ground = Ground::start(osmoda, "mcp")?;
    let mut command = Command::new(python);
    command
        .arg(project::root().join("xtask/src/test/surface/client.py"))
        .arg(osmoda)
        .env("OSMODA_STATE_DIR", ground.directory.join("state"))
        .env("OSMODA_RUNTIME_DIR", ground.directory.join("run"));
    parts::run(context, &mut command)
        .with_context(|| format!("the daemon said:\n{}", ground.node.log()))?;
    let seen = parts::last_line_with(context, "seen: ").unwrap_or_default();
    ground.ends_well()?;
    Ok(Verdict::Passed(seen))
}
