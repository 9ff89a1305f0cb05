//! `osmoda generations`: one line an entry of the profile.

use osmoda_node::api::types::{GenerationItem, GenerationList};

use super::{or_dash, table, to_seconds};

const HEADER: [&str; 5] = ["NUMBER", "VERDICT", "CREATED", "", "STORE PATH"];

/// The table of an agent's generations, oldest first.
pub fn generations(list: &GenerationList) -> String {
    if list.items.is_empty() {
        return "no generation has been deployed yet\n".to_owned();
    }
    table(&HEADER, list.items.iter().map(row).collect())
}

fn row(item: &GenerationItem) -> Vec<String> {
    let verdict = match item.reason.as_str() {
        "" => format!("{:?}", item.verdict),
        why => format!("{:?} ({why})", item.verdict),
    };
    let marks = [
        (item.active, "active"),
        (item.desired, "desired"),
        (item.last_known_good, "last known good"),
    ];
    let marks: Vec<_> = marks
        .iter()
        .filter(|(holds, _)| *holds)
        .map(|(_, mark)| *mark)
        .collect();
    vec![
        item.number.to_string(),
        verdict,
        or_dash(item.created_at.as_deref().map(to_seconds)),
        marks.join(", "),
        item.store_path.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use osmoda_core::rollout::Verdict;

    use super::*;

    #[test]
    fn verdicts_and_marks_are_told() {
        let item = |number: u64, verdict, reason: &str| GenerationItem {
            number,
            store_path: format!("/bundle/{number}"),
            created_at: Some("2026-01-31T12:00:00.000000Z".to_owned()),
            verdict,
            reason: reason.to_owned(),
            active: number == 1,
            desired: number == 2,
            last_known_good: number == 1,
        };
        let list = GenerationList {
            items: vec![
                item(1, Verdict::Good, ""),
                item(2, Verdict::Bad, "CrashLoop"),
            ],
        };
        let text = generations(&list);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[1].starts_with("1       Good"), "{text}");
        assert!(lines[1].contains("active, last known good"), "{text}");
        assert!(lines[2].contains("Bad (CrashLoop)"), "{text}");
        assert!(lines[2].contains("desired"), "{text}");
    }
}
