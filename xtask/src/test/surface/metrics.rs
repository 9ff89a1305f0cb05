//! Part `metrics`: promtool, from Debian's package prometheus, on the alert rules, on their tests,
//! and on what a daemon with agents really answers.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, bail, ensure};

use super::Ground;
use crate::{
    node, project,
    test::{Context, Verdict},
};

/// Series that have to be there once an agent has failed and been restarted.
const EXPECTED: [&str; 4] = [
    "osmoda_agent_restarts_total{agent=\"failing\",reason=\"Exited\"}",
    "osmoda_agent_up{agent=\"steady\"} 1",
    "osmoda_agent_memory_bytes{agent=\"steady\"}",
    "osmoda_reconcile_seconds_count",
];

/// # Errors
/// promtool finds a fault, or something is missing from the metrics.
pub fn metrics(context: &Context, osmoda: &Path) -> anyhow::Result<Verdict> {
    let promtool = match promtool() {
        Ok(found) => found,
        Err(reason) => return Ok(Verdict::Skipped(format!("{reason:#}"))),
    };
    let documents = project::root().join("docs");
    let mut said = String::new();
    for (verb, file) in [
        ("check", "prometheus-rules.yaml"),
        ("test", "prometheus-rules.test.yaml"),
    ] {
        let mut command = Command::new(&promtool);
        said += &project::output(command.args([verb, "rules"]).arg(documents.join(file)))?;
    }
    let ground = Ground::start(osmoda, "metrics")?;
    let text = node::until("a restart in the metrics", || {
        let text = ground.get("/metrics", "accept: text/plain\r\n")?;
        Ok(EXPECTED
            .iter()
            .all(|series| text.contains(series))
            .then_some(text))
    })?;
    said += &check(&promtool, &text)?;
    ground.ends_well()?;
    project::write_file(&context.log, said + &text)?;
    let series = text.lines().filter(|line| !line.starts_with('#')).count();
    Ok(Verdict::Passed(format!(
        "rules, their tests, and {series} series"
    )))
}

fn check(promtool: &Path, text: &str) -> anyhow::Result<String> {
    let file = project::target().join("test/surface/metrics.txt");
    project::write_file(&file, text)?;
    let input = fs::File::open(&file).with_context(|| format!("opening {}", file.display()))?;
    let mut command = Command::new(promtool);
    let output = command
        .args(["check", "metrics"])
        .stdin(Stdio::from(input))
        .output()
        .context("running promtool check metrics")?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "promtool check metrics: {said}");
    Ok(said)
}

/// promtool where it is installed, else out of Debian's package: installing that would start a
/// server.
fn promtool() -> anyhow::Result<PathBuf> {
    if let Some(found) = project::find_program("promtool") {
        return Ok(found);
    }
    let place = project::target().join("test/surface/prometheus");
    let found = place.join("usr/bin/promtool");
    if found.is_file() {
        return Ok(found);
    }
    fs::create_dir_all(&place).with_context(|| format!("creating {}", place.display()))?;
    let mut download = Command::new("apt-get");
    download
        .current_dir(&place)
        .args(["-qq", "download", "prometheus"]);
    project::output(&mut download).context("promtool is missing, and so is its package")?;
    let package = fs::read_dir(&place)
        .with_context(|| format!("looking into {}", place.display()))?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .context("apt-get has downloaded nothing")?;
    project::output(Command::new("dpkg-deb").arg("-x").args([&package, &place]))?;
    if !found.is_file() {
        bail!("{} holds no promtool", package.display());
    }
    Ok(found)
}
