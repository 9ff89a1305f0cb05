//! Samples memory and CPU of an instance whose spec sets a threshold for them.
//!
//! Looking costs: without a memory controller the kernel walks the page tables of every process
//! of the tree, and without a cgroup every process of the host is looked at. So a sampler that
//! gets its answers slowly asks less often, and spends at most one part in ten asking.

use osmoda_core::{resources::SAMPLE_EVERY, spec::AgentSpec};

use super::{Watch, board::Wake};

/// A sampler rests at least this many times as long as its last look took.
const REST: u32 = 9;

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
        let asked_at = watch.clock.mono();
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
        let took = watch.clock.mono().since(asked_at);
        let rest = SAMPLE_EVERY.saturating_sub(took);
        tokio::time::sleep(rest.max(took.saturating_mul(REST))).await;
    }
}
