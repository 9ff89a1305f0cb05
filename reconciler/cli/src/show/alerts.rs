//! `osmoda alerts`: receivers and what waits, as tables, and what status says of them.

use osmoda_node::alerts::{AlertItem, AlertList, AlertReceiver, AlertTest};

use super::{age, one_line, or_dash, table, to_seconds};

/// Receivers, then what waits.
pub fn list(list: &AlertList) -> String {
    if list.receivers.is_empty() {
        return "no receivers of alerts: the Node's spec names none\n".to_owned();
    }
    let receivers = list.receivers.iter().map(receiver).collect();
    let header = [
        "RECEIVER",
        "PROVIDER",
        "WAITING",
        "OPEN",
        "DELIVERED",
        "STATE",
    ];
    let mut text = table(&header, receivers);
    text.push('\n');
    if list.items.is_empty() {
        text.push_str("nothing waits\n");
        return text;
    }
    let header = [
        "RECEIVER", "CHANGE", "SEVERITY", "QUEUED", "TRIES", "NEXT", "MESSAGE",
    ];
    text.push_str(&table(&header, list.items.iter().map(item).collect()));
    let mut lines: Vec<String> = list.items.iter().filter_map(error).collect();
    lines.dedup();
    text.push_str(&lines.concat());
    text
}

fn receiver(receiver: &AlertReceiver) -> Vec<String> {
    let state = match (&receiver.failing_since, receiver.waiting) {
        (Some(since), _) => format!("failing since {}", to_seconds(since)),
        (None, 0) => "works".to_owned(),
        (None, _) => "sending".to_owned(),
    };
    let provider = receiver.provider.as_deref().unwrap_or("(not declared)");
    vec![
        receiver.name.clone(),
        provider.to_owned(),
        receiver.waiting.to_string(),
        receiver.open.to_string(),
        or_dash(receiver.delivered_at.as_deref().map(to_seconds)),
        state,
    ]
}

fn item(item: &AlertItem) -> Vec<String> {
    let next = match (item.in_flight, item.next_try_in_ms) {
        (true, _) => "now".to_owned(),
        (false, wait) => age(wait),
    };
    vec![
        item.receiver.clone(),
        format!("{:?}", item.change),
        format!("{:?}", item.severity),
        to_seconds(&item.queued_at),
        item.tries.to_string(),
        next,
        one_line(&item.title),
    ]
}

fn error(item: &AlertItem) -> Option<String> {
    let why = item.last_error.as_deref()?;
    Some(format!("{}: {}\n", item.receiver, one_line(why)))
}

/// How a test message fared.
pub fn tested(test: &AlertTest) -> String {
    match &test.reason {
        None => format!(
            "{} ({}) has taken the test message\n",
            test.name, test.provider
        ),
        Some(why) => format!(
            "{} ({}) has not taken the test message: {}\n",
            test.name,
            test.provider,
            one_line(why)
        ),
    }
}

/// A line for each receiver that does not get through; nothing while all is well.
pub fn not_getting_through(receivers: &[AlertReceiver]) -> String {
    let line = |receiver: &AlertReceiver| {
        let since = receiver.failing_since.as_deref()?;
        Some(format!(
            "alerts to {} do not get through since {} ({} waiting): {}\n",
            receiver.name,
            to_seconds(since),
            receiver.waiting,
            one_line(receiver.reason.as_deref().unwrap_or("?"))
        ))
    };
    receivers.iter().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use osmoda_core::{alert::Change, spec::Severity};

    use super::*;

    fn sample() -> AlertList {
        let works = AlertReceiver {
            name: "chat".to_owned(),
            provider: Some("Slack".to_owned()),
            waiting: 0,
            open: 1,
            failing_since: None,
            reason: None,
            next_try_in_ms: None,
            delivered_at: Some("2026-01-31T12:00:00.000000Z".to_owned()),
        };
        let fails = AlertReceiver {
            name: "pager".to_owned(),
            provider: Some("PagerDuty".to_owned()),
            waiting: 1,
            open: 1,
            failing_since: Some("2026-01-31T12:00:00.000000Z".to_owned()),
            reason: Some("no answer".to_owned()),
            next_try_in_ms: Some(4000),
            delivered_at: None,
        };
        let item = AlertItem {
            receiver: "pager".to_owned(),
            id: "msg_1".to_owned(),
            key: "osmoda/alpha/incident/1".to_owned(),
            change: Change::Trigger,
            severity: Severity::Critical,
            kind: "EscalationExhausted".to_owned(),
            agent: Some("a".to_owned()),
            incident: Some("1".to_owned()),
            title: "a: restart budget spent".to_owned(),
            queued_at: "2026-01-31T12:00:00.000000Z".to_owned(),
            in_flight: false,
            tries: 3,
            next_try_in_ms: 4000,
            last_error: Some("no answer".to_owned()),
        };
        AlertList {
            receivers: vec![works, fails],
            items: vec![item],
        }
    }

    #[test]
    fn the_list_says_who_is_told_what_waits_and_why() {
        let expected = "\
RECEIVER  PROVIDER   WAITING  OPEN  DELIVERED             STATE
chat      Slack      0        1     2026-01-31T12:00:00Z  works
pager     PagerDuty  1        1     -                     failing since 2026-01-31T12:00:00Z

RECEIVER  CHANGE   SEVERITY  QUEUED                TRIES  NEXT  MESSAGE
pager     Trigger  Critical  2026-01-31T12:00:00Z  3      4s    a: restart budget spent
pager: no answer
";
        assert_eq!(list(&sample()), expected);
    }

    #[test]
    fn status_names_only_who_does_not_get_through() {
        let expected = "alerts to pager do not get through since 2026-01-31T12:00:00Z (1 waiting): no answer\n";
        assert_eq!(not_getting_through(&sample().receivers), expected);
    }
}
