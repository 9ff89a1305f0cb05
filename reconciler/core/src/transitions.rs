//! When each condition changed its status last.
//!
//! Noted by the plan that changes it and durable with the rest of the memory, so that a person
//! who looks hours later, or after another daemon took over, reads when it happened and not when
//! somebody asked. Start at [`AgentPlan::date_conditions`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    memory::Memory,
    plan::{AgentPlan, View},
    status::{Assessment, Condition, ConditionStatus, ConditionType, Finding, assess},
    time::Wall,
};

/// The status of each condition, and since when it has it. It lies in the memory itself, where
/// every plan reads all of it; what is stored is a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "Map", into = "Map")]
pub struct Transitions([Option<(ConditionStatus, Wall)>; ConditionType::ALL.len()]);

type Map = BTreeMap<ConditionType, (ConditionStatus, Wall)>;

impl Transitions {
    /// What was noted last of a condition.
    pub fn get(&self, of: ConditionType) -> Option<(ConditionStatus, Wall)> {
        self.0[of as usize]
    }

    fn set(&mut self, of: ConditionType, status: ConditionStatus, at: Wall) {
        self.0[of as usize] = Some((status, at));
    }
}

impl From<Map> for Transitions {
    fn from(map: Map) -> Self {
        Self(ConditionType::ALL.map(|of| map.get(&of).copied()))
    }
}

impl From<Transitions> for Map {
    fn from(noted: Transitions) -> Self {
        let noted = ConditionType::ALL.map(|of| Some((of, noted.get(of)?)));
        noted.into_iter().flatten().collect()
    }
}

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
                self.transitions.set(finding.r#type, finding.status, wall);
            }
        }
    }

    /// When what `finding` says began to hold; `None`: it has not been noted yet.
    fn transition_of(&self, finding: &Finding) -> Option<Wall> {
        let (status, at) = self.transitions.get(finding.r#type)?;
        (status == finding.status).then_some(at)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_condition_has_its_own_place() {
        for (place, of) in ConditionType::ALL.into_iter().enumerate() {
            assert_eq!(of as usize, place, "{of:?}");
        }
    }

    #[test]
    fn a_map_is_stored_and_read_again() {
        let mut noted = Transitions::default();
        noted.set(ConditionType::Ready, ConditionStatus::True, Wall(5));
        noted.set(ConditionType::SpecValid, ConditionStatus::False, Wall(7));
        let stored = serde_json::to_string(&noted).unwrap();
        assert_eq!(stored, r#"{"Ready":["True",5],"SpecValid":["False",7]}"#);
        assert_eq!(serde_json::from_str::<Transitions>(&stored).unwrap(), noted);
    }
}
