//! `osmoda generations`: one line an entry of the profile.

use indicatif::HumanBytes;
use osmoda_node::api::types::{ClosureState, GenerationItem, GenerationList};

use super::{ago, or_dash, table, to_seconds};

const HEADER: [&str; 5] = ["NUMBER", "VERDICT", "CREATED", "", "STORE PATH"];

/// What hashing the closures has shown: a line each, and what is damaged below it.
pub fn closures(list: &GenerationList) -> String {
    let mut text = String::new();
    for item in &list.items {
        let Some(closure) = &item.closure else {
            continue;
        };
        let found = match closure.state {
            ClosureState::UnderWay => "is being verified",
            ClosureState::Whole => "is whole",
            ClosureState::Damaged => "is damaged",
            ClosureState::Unknown => "could not be verified",
        };
        let (number, paths) = (item.number, closure.paths);
        let size = HumanBytes(closure.bytes);
        text.push_str(&format!(
            "generation {number} {found} ({paths} store paths, {size})\n"
        ));
        for line in &closure.damage {
            text.push_str(&format!("  {line}\n"));
        }
    }
    text
}

/// The table of an agent's generations, oldest first.
pub fn generations(list: &GenerationList) -> String {
    if list.items.is_empty() {
        return "no generation has been deployed yet\n".to_owned();
    }
    table(&HEADER, list.items.iter().map(row).collect())
}

/// Number, and what became of it, of each generation, the newest first.
pub fn history(items: &[GenerationItem], now: &str) -> Vec<(u64, String)> {
    let told = items.iter().rev().map(|item| {
        let since = match &item.created_at {
            Some(at) => format!(", deployed {}, at {}", ago(at, now), to_seconds(at)),
            None => String::new(),
        };
        let marks = match marks(item).as_str() {
            "" => String::new(),
            marks => format!(": {marks}"),
        };
        (item.number, format!("{}{since}{marks}", verdict(item)))
    });
    told.collect()
}

fn verdict(item: &GenerationItem) -> String {
    match item.reason.as_str() {
        "" => format!("{:?}", item.verdict),
        why => format!("{:?} ({why})", item.verdict),
    }
}

fn marks(item: &GenerationItem) -> String {
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
    marks.join(", ")
}

fn row(item: &GenerationItem) -> Vec<String> {
    vec![
        item.number.to_string(),
        verdict(item),
        or_dash(item.created_at.as_deref().map(to_seconds)),
        marks(item),
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
            closure: None,
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
