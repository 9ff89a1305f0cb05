//! `osmoda plan`: the steps of a reconcile that is not done.

use osmoda_node::api::types::PlanReport;

use super::{age, table};

/// The steps in their order, or the sentence that there are none.
pub fn plan(report: &PlanReport) -> String {
    if report.steps.is_empty() {
        return "nothing to do now\n".to_owned();
    }
    let rows = report.steps.iter().map(|step| {
        let when = if step.in_ms == 0 {
            "now".to_owned()
        } else {
            format!("in {}", age(step.in_ms))
        };
        let change = format!("{} -> {}", step.from, step.to);
        vec![
            step.agent.clone(),
            step.action.clone(),
            when,
            change,
            step.reason.clone(),
        ]
    });
    table(&["AGENT", "STEP", "WHEN", "CHANGE", "WHY"], rows.collect())
}

#[cfg(test)]
mod tests {
    use osmoda_node::api::types::PlanStep;

    use super::*;

    #[test]
    fn steps_are_shown_in_their_order() {
        let step = |action: &str, from: &str, to: &str, in_ms| PlanStep {
            agent: "a".to_owned(),
            action: action.to_owned(),
            reason: "SpecChanged".to_owned(),
            from: from.to_owned(),
            to: to.to_owned(),
            in_ms,
        };
        let steps = vec![
            step("Activate", "generation 1", "a new generation", 0),
            step("Start", "stopped", "running", 1500),
        ];
        let expected = "\
AGENT  STEP      WHEN   CHANGE                            WHY
a      Activate  now    generation 1 -> a new generation  SpecChanged
a      Start     in 1s  stopped -> running                SpecChanged
";
        assert_eq!(plan(&PlanReport { steps }), expected);
        let nothing = plan(&PlanReport { steps: Vec::new() });
        assert_eq!(nothing, "nothing to do now\n");
    }
}
