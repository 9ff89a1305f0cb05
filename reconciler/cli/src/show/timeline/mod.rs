//! `osmoda ledger timeline`: what happened on several nodes, as lines of text or as a page.

pub mod html;
mod lanes;

use std::collections::BTreeMap;

use osmoda_ledger::timeline::{Item, LogSummary, Order, Timeline};
use osmoda_node::api::types::EntryObject;

use super::{events, one_line};

/// As lines of text, with a legend.
pub fn text(timeline: &Timeline) -> String {
    let mut text = String::new();
    for (index, log) in timeline.logs.iter().enumerate() {
        text.push_str(&format!("{}  {}\n", letter(index), one_line(&about(log))));
    }
    text.push('\n');
    let width = timeline.items.iter().map(|item| number(item).len()).max();
    let width = width.unwrap_or(0);
    for (item, learned) in timeline.items.iter().zip(learned(timeline)) {
        let log = &timeline.logs[item.log];
        let doubt = if log.verified { "" } else { " [not verified]" };
        let sentence = one_line(&events::sentence(&object(item)));
        let after = learned
            .iter()
            .map(|(log, seq)| format!("{}{seq}", letter(*log)));
        let after = match after.collect::<Vec<_>>() {
            none if none.is_empty() => String::new(),
            some => format!(" [certainly after {}]", some.join(", ")),
        };
        text.push_str(&format!(
            "{} {:<width$}  {sentence}{after}{doubt}\n",
            sign(item.order),
            number(item)
        ));
    }
    if timeline.items.is_empty() {
        text.push_str("no entries\n");
    }
    if timeline.left_out > 0 {
        text.push_str(&format!(
            "… and {} more; narrow it with --since, --until, --agent or --incident\n",
            timeline.left_out
        ));
    }
    text.push_str(&legend(timeline));
    for finding in &timeline.findings {
        text.push_str(&format!(
            "DOES NOT FIT: entry {}{} {}\n",
            letter(finding.log),
            finding.seq,
            one_line(&finding.message)
        ));
    }
    text
}

/// For each item the entries of other logs that it is the first of its own to be known to
/// follow.
fn learned(timeline: &Timeline) -> Vec<Vec<(usize, u64)>> {
    let mut known = vec![BTreeMap::new(); timeline.logs.len()];
    let news = |item: &Item| {
        let before = std::mem::replace(&mut known[item.log], item.known_before.clone());
        let new = item.known_before.iter();
        let new = new.filter(|(log, seq)| before.get(*log) != Some(*seq));
        new.map(|(log, seq)| (*log, *seq)).collect()
    };
    timeline.items.iter().map(news).collect()
}

/// What the signs mean, as far as they are used.
fn legend(timeline: &Timeline) -> String {
    if timeline.logs.len() < 2 {
        return String::new();
    }
    let meanings = [
        (
            Order::Sequence,
            "after the line above for certain: the same ledger",
        ),
        (
            Order::Cause,
            "after the line above for certain: causes lead from it to this",
        ),
        (
            Order::Clock,
            "by the clocks only: it may have been before the line above",
        ),
    ];
    let used = |order| timeline.items.iter().any(|item| item.order == order);
    let lines = meanings.iter().filter(|(order, _)| used(*order));
    let lines: String = lines
        .map(|(order, meaning)| format!("{}  {meaning}\n", sign(*order)))
        .collect();
    match lines.is_empty() {
        true => lines,
        false => format!("\n{lines}"),
    }
}

/// Where a log was read from, and whether it is to be believed.
fn about(log: &LogSummary) -> String {
    let state = match &log.fault {
        None => "verified".to_owned(),
        Some(fault) => format!("NOT VERIFIED: {fault}"),
    };
    format!(
        "{}, {} entries of {}, {state}",
        log.origin,
        log.size,
        log.file.display()
    )
}

/// `A` for the first log, `B` for the second, … `Z`, `AA`, `AB`.
/// The name of a ledger's node, with the ledger's letter where that of another is called the same.
fn told_apart(timeline: &Timeline, log: usize, node: &str) -> String {
    let name = |log: &LogSummary| log.origin.split('/').next().map(str::to_owned);
    let own = name(&timeline.logs[log]);
    let namesakes = timeline.logs.iter().filter(|other| name(other) == own);
    match namesakes.count() {
        1 => node.to_owned(),
        _ => format!("{} {node}", letter(log)),
    }
}

fn letter(log: usize) -> String {
    let last = char::from(b'A' + u8::try_from(log % 26).unwrap_or_default());
    match log / 26 {
        0 => last.to_string(),
        more => format!("{}{last}", letter(more - 1)),
    }
}

/// `A12`: log and seq.
fn number(item: &Item) -> String {
    format!("{}{}", letter(item.log), item.seq)
}

fn sign(order: Order) -> char {
    match order {
        Order::First | Order::Sequence => '|',
        Order::Cause => '>',
        Order::Clock => '~',
    }
}

fn object(item: &Item) -> EntryObject {
    EntryObject {
        seq: item.seq,
        leaf: item.leaf.to_string(),
        entry: item.entry.clone(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use osmoda_core::digest::Digest;
    use osmoda_ledger::timeline::Finding;
    use serde_json::{Value, json};

    use super::*;

    fn entry(
        ts: &str,
        agent: Option<&str>,
        kind: &str,
        incident: Option<&str>,
        body: Value,
    ) -> Value {
        json!({"ts": ts, "node": "n", "agent": agent, "kind": kind, "incident": incident,
            "actor": {"type": "Reconciler"}, "body": body})
    }

    /// Two nodes: a writer crashes on the first, and what it caused shows on the second.
    pub(crate) fn sample() -> Timeline {
        let at = |second: u32| format!("2026-01-31T12:00:{second:02}.000000Z");
        let crash = json!({"reason": "Crashed", "message": "it ended: <b>signal 11</b>",
            "restartAfterMs": 0});
        let times = json!({"reason": "Recovered", "timeToDetectUs": 900,
            "timeToRestartUs": 2400, "timeToVerifyUs": 104_000});
        let entries = [
            (
                0,
                0,
                Order::First,
                entry(
                    &at(0),
                    None,
                    "NodeStarted",
                    None,
                    json!({"version": "0.1.0", "runtime": "native", "pid": 7}),
                ),
            ),
            (
                0,
                1,
                Order::Sequence,
                entry(
                    &at(1),
                    Some("writer"),
                    "FailureDetected",
                    Some("i"),
                    crash.clone(),
                ),
            ),
            (
                1,
                0,
                Order::Cause,
                entry(&at(1), Some("reader"), "FailureDetected", Some("j"), crash),
            ),
            (
                0,
                2,
                Order::Clock,
                entry(&at(2), Some("writer"), "HealthVerified", Some("i"), times),
            ),
            (1, 1, Order::Clock, Value::Null),
        ];
        let item = |(log, seq, order, entry): (usize, u64, Order, Value)| Item {
            log,
            seq,
            leaf: Digest::of(b""),
            order,
            known_before: if log == 1 {
                [(0, 1)].into()
            } else {
                BTreeMap::new()
            },
            entry,
        };
        let log = |name: &str, size, fault: Option<&str>| LogSummary {
            origin: format!("{name}/osmoda/1"),
            file: format!("{name}.db").into(),
            size,
            verified: fault.is_none(),
            fault: fault.map(str::to_owned),
        };
        Timeline {
            ok: false,
            logs: vec![
                log("alpha", 3, None),
                log("beta", 2, Some("entry 2: its leaf is wrong")),
            ],
            items: entries.into_iter().map(item).collect(),
            left_out: 0,
            findings: vec![Finding {
                log: 1,
                seq: 0,
                message: "names entry 9 of alpha/osmoda/1, which this copy does not reach"
                    .to_owned(),
            }],
        }
    }

    #[test]
    fn every_line_says_where_it_is_from_and_how_sure_its_place_is() {
        let expected = "\
A  alpha/osmoda/1, 3 entries of alpha.db, verified
B  beta/osmoda/1, 2 entries of beta.db, NOT VERIFIED: entry 2: its leaf is wrong

| A0  2026-01-31T12:00:00Z n daemon started (osmoda 0.1.0, pid 7, native runtime)
| A1  2026-01-31T12:00:01Z writer failed (Crashed): it ended: <b>signal 11</b>; restart at once
> B0  2026-01-31T12:00:01Z reader failed (Crashed): it ended: <b>signal 11</b>; restart at once [certainly after A1] [not verified]
~ A2  2026-01-31T12:00:02Z writer recovered: found after 0ms, restarted after 2ms, verified after 104ms
~ B1  entry 1: its body was pruned or redacted [not verified]

|  after the line above for certain: the same ledger
>  after the line above for certain: causes lead from it to this
~  by the clocks only: it may have been before the line above
DOES NOT FIT: entry B0 names entry 9 of alpha/osmoda/1, which this copy does not reach
";
        assert_eq!(text(&sample()), expected);
    }

    #[test]
    fn one_ledger_needs_no_legend() {
        let mut one = sample();
        one.items.truncate(2);
        one.logs.truncate(1);
        one.findings.clear();
        assert!(text(&one).ends_with("restart at once\n"));
    }

    #[test]
    fn logs_have_letters_beyond_the_alphabet() {
        assert_eq!(
            [0, 25, 26, 51, 52].map(letter),
            ["A", "Z", "AA", "AZ", "BA"]
        );
    }
}
