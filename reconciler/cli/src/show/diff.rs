//! `osmoda status --diff`: desired against observed.

use osmoda_node::api::types::DiffReport;

use super::table;

/// The fields that differ, or the sentence that none does; then what is to be said of the system.
pub fn diff(report: &DiffReport) -> String {
    let mut text = agents(report);
    for sentence in report.system.values() {
        text.push_str(&format!("system: {sentence}\n"));
    }
    text
}

fn agents(report: &DiffReport) -> String {
    if report.in_sync {
        return match report.agents.len() {
            0 => "in sync: there are no agents\n".to_owned(),
            1 => format!("in sync: {} is as desired\n", report.agents[0].name),
            count => format!("in sync: all {count} agents are as desired\n"),
        };
    }
    let rows = report.agents.iter().flat_map(|agent| {
        agent.differences.iter().map(|difference| {
            vec![
                agent.name.clone(),
                difference.path.clone(),
                difference.desired.clone(),
                difference.observed.clone(),
                difference.reason.clone(),
            ]
        })
    });
    table(
        &["AGENT", "FIELD", "DESIRED", "OBSERVED", "WHY"],
        rows.collect(),
    )
}

#[cfg(test)]
mod tests {
    use osmoda_core::diff::Difference;
    use osmoda_node::api::types::AgentDiff;

    use super::*;

    fn report(agents: &[(&str, usize)]) -> DiffReport {
        let difference = Difference {
            path: "instance.running".to_owned(),
            desired: "true".to_owned(),
            observed: "false".to_owned(),
            reason: "exit code 1".to_owned(),
        };
        let agents: Vec<_> = agents
            .iter()
            .map(|(name, count)| AgentDiff {
                name: (*name).to_owned(),
                differences: vec![difference.clone(); *count],
            })
            .collect();
        let in_sync = agents.iter().all(|agent| agent.differences.is_empty());
        DiffReport {
            in_sync,
            agents,
            system: Default::default(),
        }
    }

    #[test]
    fn a_difference_is_a_line_with_its_reason() {
        let expected = "\
AGENT  FIELD             DESIRED  OBSERVED  WHY
b      instance.running  true     false     exit code 1
";
        assert_eq!(diff(&report(&[("a", 0), ("b", 1)])), expected);
    }

    #[test]
    fn no_difference_is_a_sentence() {
        assert_eq!(diff(&report(&[])), "in sync: there are no agents\n");
        assert_eq!(diff(&report(&[("a", 0)])), "in sync: a is as desired\n");
        assert_eq!(
            diff(&report(&[("a", 0), ("b", 0)])),
            "in sync: all 2 agents are as desired\n"
        );
    }
}
