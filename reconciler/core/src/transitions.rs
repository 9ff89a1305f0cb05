//! When each condition changed its status last.
//!
//! Noted by the plan that changes it and durable with the rest of the memory, so that a person
//! who looks hours later, or after another daemon took over, reads when it happened and not when
//! somebody asked. Start at [`AgentPlan::date_conditions`].

use crate::{
    memory::Memory,
    plan::{AgentPlan, View},
    status::{Assessment, Condition, Finding, assess},
    time::Wall,
};

impl AgentPlan {
    /// Notes the transitions that this plan makes of `view`, taking its step as begun.
    pub(crate) fn date_conditions(&mut self, view: &View<'_>) {
        let begun = self.step.as_ref().map(|step| step.action.busy());
        let assessment = assess(&View {
            memory: &self.memory,
            busy: begun.or(view.busy),
            ..*view
        });
        self.memory.note_transitions(&assessment, view.wall);
        self.ripens_at = assessment.ripens_at;
    }
}

impl Memory {
    fn note_transitions(&mut self, assessment: &Assessment, wall: Wall) {
        for finding in &assessment.conditions {
            if self.transition_of(finding).is_none() {
                let now = (finding.status, wall);
                self.transitions.insert(finding.r#type, now);
            }
        }
    }

    /// When what `finding` says began to hold; `None`: it has not been noted yet.
    fn transition_of(&self, finding: &Finding) -> Option<Wall> {
        let (status, at) = self.transitions.get(&finding.r#type)?;
        (*status == finding.status).then_some(*at)
    }

    /// The conditions with their times; `wall` for what no plan has noted yet.
    pub fn conditions(&self, assessment: &Assessment, wall: Wall) -> Vec<Condition> {
        let dated = |finding: &Finding| Condition {
            r#type: finding.r#type,
            status: finding.status,
            reason: finding.reason.to_owned(),
            message: finding.message.clone(),
            last_transition_time: self.transition_of(finding).unwrap_or(wall).to_string(),
        };
        assessment.conditions.iter().map(dated).collect()
    }
}
