//! Samples memory and CPU of an instance whose spec sets a threshold for them.

use osmoda_core::{resources::SAMPLE_EVERY, spec::AgentSpec};

use super::{Watch, board::Wake};

/// Whether anything of it is judged.
pub(super) fn is_needed(spec: &AgentSpec) -> bool {
    spec.resources.memory_high.is_some() || spec.resources.cpu_runaway.is_some()
}

/// Samples until the instance is followed no longer.
pub(super) async fn run(watch: Watch) {
    let (name, invocation) = (watch.agent.name.clone(), watch.instance.invocation);
    let rules = &watch.agent.spec.resources;
    let stop_takes = watch.agent.spec.stop.grace_period.get();
    loop {
        // What cannot be read is no sample.
        if let Ok(usage) = watch.senses.usage(name.clone(), invocation).await {
            let now = watch.clock.mono();
            watch.board.note(&name, invocation, |vitals| {
                vitals.usage.add(rules, usage, now);
                match vitals.usage.judge(rules, stop_takes) {
                    Some(_) => Wake::Loop,
                    None => Wake::Nobody,
                }
            });
        }
        tokio::time::sleep(SAMPLE_EVERY).await;
    }
}
