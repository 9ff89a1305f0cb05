//! What the example agents are asked: each at the place where its users would ask it.

use std::fs;

use anyhow::{Context, ensure};
use serde_json::Value;

use super::{
    http,
    scene::{Scene, until},
};
use crate::{process, project};

/// Names of the agents of specs/.
pub const NAMES: [&str; 3] = ["researcher", "summarizer", "toolbox"];

/// A word that stands in the specs beside the programs, and in no program.
pub const WORD_OF_SPECS: &str = "dependsOn";

/// A word that stands in the researcher's program.
pub const WORD_OF_PROGRAM: &str = "MATCHES_MAX";

/// Whether the researcher says that it is well. Nobody there, or no answer, means no.
pub fn researcher_is_healthy(scene: &Scene) -> bool {
    let answer = http::ask(scene.ground.researcher_port, "/healthz", None);
    answer.is_ok_and(|answer| answer.status == 200)
}

/// How many lines the researcher finds; None as long as it cannot say.
///
/// # Errors
/// It says something else than it should.
pub fn matches(scene: &Scene, word: &str) -> anyhow::Result<Option<usize>> {
    let path = format!("/search?q={word}");
    let answer = match http::ask(scene.ground.researcher_port, &path, None) {
        Ok(answer) if answer.status == 200 => answer,
        _ => return Ok(None),
    };
    let value: Value = serde_json::from_str(&answer.body).context("reading a search's result")?;
    let found = value["matches"].as_array();
    Ok(Some(found.context("a result without matches")?.len()))
}

/// Whether the toolbox answers a ping of the Model Context Protocol.
pub fn toolbox_answers(scene: &Scene) -> bool {
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let answer = http::ask(scene.ground.toolbox_port, "/mcp", Some(ping));
    let Ok(answer) = answer else {
        return false;
    };
    let value: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    answer.status == 200 && value["result"].is_object()
}

/// Gives the summarizer a job, which it cannot do without the researcher, and waits for the
/// result; shows both.
///
/// # Errors
/// No result comes, or it is not about the job.
pub fn summarizer_works(scene: &Scene, job: &str) -> anyhow::Result<()> {
    let spool = &scene.ground.spool;
    let word = WORD_OF_PROGRAM;
    scene.story.command(&format!(
        "echo {word} > spool/{job}.txt && mv spool/{job}.txt spool/jobs/"
    ));
    // Under its final name only once it is whole: the summarizer may look at any time.
    let draft = spool.join(format!("{job}.txt"));
    project::write_file(&draft, format!("{word}\n"))?;
    let jobs = spool.join("jobs");
    fs::create_dir_all(&jobs).with_context(|| format!("creating {}", jobs.display()))?;
    fs::rename(&draft, jobs.join(format!("{job}.txt"))).context("handing over the job")?;

    let result = spool.join("results").join(format!("{job}.json"));
    let text = until("the summarizer's result", || {
        Ok(fs::read_to_string(&result).ok())
    })?;
    let value: Value = serde_json::from_str(&text).context("reading the summarizer's result")?;
    let found = value["summary"][word]["matches"].as_u64();
    ensure!(found > Some(0), "the result is not about the job: {text}");
    scene.story.verified(&format!(
        "summarizer did the job with the researcher's help: spool/results/{job}.json"
    ));
    Ok(())
}

/// How many processes run an agent's program.
pub fn copies_running(name: &str) -> usize {
    let program = format!("programs/{name}.py");
    let runs_it = |pid: &u32| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&words).contains(&program)
    };
    let all = process::descendants(std::process::id());
    all.iter().filter(|pid| runs_it(pid)).count()
}
