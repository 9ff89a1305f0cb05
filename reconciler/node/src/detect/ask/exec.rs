//! A command that exits 0, run by the runtime as the agent runs.

use std::sync::Arc;

use osmoda_core::probe::Answer;
use osmoda_runtime::{ProbeEnd, ProbeRequest, Runtime};

use super::not_asked;
use crate::detect::Question;

pub(super) async fn ask<R: Runtime>(
    runtime: &R,
    question: &Question,
    command: &[String],
) -> Answer {
    let request = ProbeRequest {
        agent: Arc::clone(&question.agent),
        invocation: question.invocation,
        command: command.to_vec(),
        timeout: question.timeout,
    };
    match runtime.probe(request).await {
        Ok(end) => judge(question, &end),
        Err(error) => not_asked(&error),
    }
}

fn judge(question: &Question, end: &ProbeEnd) -> Answer {
    let how = match end.status {
        Some(status) if status.is_success() => return Answer::Success,
        Some(status) => status.to_string(),
        None => format!("it did not end within {:?}", question.timeout),
    };
    let said = String::from_utf8_lossy(&end.output);
    Answer::Failure(match said.trim() {
        "" => how,
        said => format!("{how}: {said}"),
    })
}
