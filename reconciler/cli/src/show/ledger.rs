//! `osmoda ledger`: what a ledger amounts to.

use osmoda_ledger::Report;
use osmoda_node::api::types::LedgerHead;

use super::{one_line, or_dash, to_seconds};

/// The end of a ledger.
pub fn head(head: &LedgerHead) -> String {
    let signed = head.checkpoint.as_ref();
    let signed =
        signed.map(|at| format!("{} entries, signed {}", at.size, to_seconds(&at.signed_at)));
    format!(
        "origin      {}\nsize        {}\nroot        {}\nchain       {}\n\
         checkpoint  {}\nunanchored  {}\n",
        head.origin,
        head.size,
        head.root,
        head.chain,
        signed.unwrap_or_else(|| "none yet".to_owned()),
        head.unanchored
    )
}

/// What verification found.
pub fn report(report: &Report) -> String {
    let verdict = match (&report.reason, report.ok) {
        (_, true) => "ok: every entry is what was recorded".to_owned(),
        (Some(reason), false) => format!("FAILED: {}", one_line(reason)),
        (None, false) => "FAILED".to_owned(),
    };
    let mut text = format!("{verdict}\n");
    let mut line = |name: &str, value: String| text.push_str(&format!("  {name:<18} {value}\n"));
    line("origin", or_dash(report.origin.as_ref()));
    line("sound entries", report.size.to_string());
    line("root", or_dash(report.root));
    line("chain", or_dash(report.chain));
    if let Some(seq) = report.first_bad {
        line("first bad entry", seq.to_string());
    }
    if let Some(at) = &report.checkpoint {
        let signed = to_seconds(&at.signed_at);
        let right = report.checkpoints;
        line(
            "checkpoints",
            format!(
                "{right} are right, the last of {} entries, {signed}",
                at.size
            ),
        );
    }
    if let Some(key) = &report.key {
        line("signed by", one_line(key));
    }
    line("not anchored yet", report.unanchored.to_string());
    let mut list = |name: &str, seqs: &[u64]| {
        if !seqs.is_empty() {
            line(name, abridged(seqs));
        }
    };
    list("open intents", &report.open_intents);
    list("clock set back at", &report.clock_regressions);
    if report.without_body > 0 {
        line("bodies dropped", report.without_body.to_string());
    }
    text
}

/// The first few of many.
fn abridged(seqs: &[u64]) -> String {
    const SHOWN: usize = 10;
    let shown: Vec<String> = seqs.iter().take(SHOWN).map(ToString::to_string).collect();
    let rest = seqs.len().saturating_sub(SHOWN);
    let more = if rest == 0 {
        String::new()
    } else {
        format!(" and {rest} more")
    };
    format!("{}{more}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use osmoda_core::digest::Digest;

    use super::*;

    fn sound() -> Report {
        Report {
            ok: true,
            origin: Some("alpha/osmoda/0123".to_owned()),
            size: 12,
            root: Some(Digest([0xab; 32])),
            chain: Some(Digest([0xcd; 32])),
            first_bad: None,
            reason: None,
            checkpoint: None,
            checkpoints: 0,
            key: None,
            unanchored: 12,
            open_intents: Vec::new(),
            clock_regressions: Vec::new(),
            without_body: 0,
        }
    }

    #[test]
    fn a_sound_ledger_is_told_in_its_numbers() {
        let expected = format!(
            "ok: every entry is what was recorded\n  origin             alpha/osmoda/0123\n  \
             sound entries      12\n  root               {}\n  chain              {}\n  \
             not anchored yet   12\n",
            "ab".repeat(32),
            "cd".repeat(32)
        );
        assert_eq!(report(&sound()), expected);
    }

    #[test]
    fn checkpoints_and_the_key_are_told() {
        let signed = Report {
            checkpoint: Some(osmoda_ledger::store::SignedAt {
                size: 11,
                signed_at: "2026-01-31T12:00:00.000001Z".to_owned(),
            }),
            checkpoints: 3,
            key: Some("alpha/osmoda/0123+01234567+AAAA".to_owned()),
            ..sound()
        };
        let text = report(&signed);
        let expected = "  checkpoints        3 are right, the last of 11 entries, 2026-01-31T12:00:00Z\n  \
                        signed by          alpha/osmoda/0123+01234567+AAAA\n";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn a_bad_ledger_says_first_what_is_wrong_and_where() {
        let bad = Report {
            ok: false,
            first_bad: Some(3),
            reason: Some("entry 3: its leaf is not the hash of its body".to_owned()),
            open_intents: (0..12).collect(),
            ..sound()
        };
        let text = report(&bad);
        let first = "FAILED: entry 3: its leaf is not the hash of its body\n";
        assert!(text.starts_with(first), "{text}");
        assert!(text.contains("  first bad entry    3\n"), "{text}");
        let open = "  open intents       0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more\n";
        assert!(text.contains(open), "{text}");
    }
}
