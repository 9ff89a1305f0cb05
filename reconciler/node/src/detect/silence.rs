//! Watches an instance whose heartbeat is its output or a file: looks at the beginning, to know
//! what was there before, and then at each deadline.

use osmoda_core::{
    heartbeat::Silence,
    spec::{AgentSpec, HeartbeatSource},
};

use super::{Watch, board::Wake};

/// Whether the heartbeat has to be looked for; a notification comes by itself.
pub(super) fn is_watched(spec: &AgentSpec) -> bool {
    let source = spec.heartbeat.as_ref().map(|heartbeat| &heartbeat.source);
    matches!(
        source,
        Some(HeartbeatSource::Output | HeartbeatSource::File(_))
    )
}

/// Looks until the instance is followed no longer.
pub(super) async fn run(watch: Watch) {
    let Some(rules) = watch.agent.spec.heartbeat.clone() else {
        return;
    };
    let (name, invocation) = (watch.agent.name.clone(), watch.instance.invocation);
    let mut look_at = watch.clock.mono();
    loop {
        tokio::time::sleep(look_at.since(watch.clock.mono())).await;
        let asked_at = watch.clock.mono();
        let sign = watch
            .senses
            .last_sign(name.clone(), invocation, rules.source.clone())
            .await;
        // What cannot be read is no evidence of silence: look again.
        let sign = match sign {
            Ok(sign) => sign,
            Err(error) => {
                tracing::warn!(agent = %name, %error, "cannot look for a heartbeat");
                look_at = asked_at.after(rules.timeout.get());
                continue;
            }
        };
        watch.board.note(&name, invocation, |vitals| {
            if let Some(at) = sign {
                vitals.heartbeat.beat(at);
            }
            vitals.heartbeat.heard_until = Some(asked_at);
            let gate = vitals.startup.as_ref().map(|probe| probe.since);
            let armed = gate.unwrap_or(watch.followed_since);
            let armed = vitals.excused_at.map_or(armed, |at| at.max(armed));
            match vitals.heartbeat.judge(&rules, armed, asked_at) {
                Silence::Within { deadline } => {
                    look_at = deadline;
                    Wake::Nobody
                }
                Silence::Overdue { .. } => {
                    look_at = asked_at.after(rules.timeout.get());
                    Wake::Loop
                }
            }
        });
    }
}
