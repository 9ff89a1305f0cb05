//! The name that was probably meant.
//!
//! Optimal string alignment distance: insertions, deletions, substitutions and swaps of two
//! neighbours count 1 each. Case is ignored, so that `workingdirectory` finds
//! `workingDirectory` at distance 0.

/// Longest text that is compared, in characters; a longer one is nobody's typing mistake.
const MAX_COMPARED: usize = 64;

/// Shortest text that counts as part of a name, in bytes.
const MIN_PART: usize = 4;

/// The candidate nearest to `text`, if it is near enough to be worth a suggestion: at most one
/// mistake in three characters, or one of the two contains the other (`TERM`, `periodSeconds`).
/// Of several equally near ones, the first.
pub fn nearest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted: Vec<char> = lower(text)?;
    let allowed = wanted.len().div_ceil(3).max(1);
    let candidates: Vec<&str> = candidates.into_iter().collect();
    candidates
        .iter()
        .filter_map(|candidate| Some((distance(&wanted, &lower(candidate)?), *candidate)))
        .filter(|(mistakes, candidate)| *mistakes <= allowed && *mistakes < candidate.len())
        .min_by_key(|(mistakes, _)| *mistakes)
        .map(|(_, candidate)| candidate)
        .or_else(|| containing(text, &candidates))
}

/// The longest candidate that contains the text, or is contained in it.
fn containing<'a>(text: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let text = text.to_lowercase();
    let is_part = |part: &str, whole: &str| part.len() >= MIN_PART && whole.contains(part);
    let found = candidates.iter().copied().filter(|candidate| {
        let candidate = candidate.to_lowercase();
        is_part(&candidate, &text) || is_part(&text, &candidate)
    });
    found.min_by_key(|candidate| std::cmp::Reverse(candidate.len()))
}

fn lower(text: &str) -> Option<Vec<char>> {
    let chars: Vec<char> = text
        .chars()
        .take(MAX_COMPARED + 1)
        .flat_map(char::to_lowercase)
        .collect();
    (chars.len() <= MAX_COMPARED).then_some(chars)
}

fn distance(a: &[char], b: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = Vec::with_capacity(b.len() + 1);
        row.push(i);
        for j in 1..=b.len() {
            let substitution = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = substitution.min(last[j] + 1).min(row[j - 1] + 1);
            let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if swapped {
                best = best.min(before_last[j - 2] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: [&str; 5] = ["command", "environment", "credentials", "user", "stop"];

    #[test]
    fn a_slip_finds_the_name_that_was_meant() {
        for (typed, meant) in [
            ("comand", "command"),
            ("commnad", "command"),
            ("enviroment", "environment"),
            ("Command", "command"),
            ("usre", "user"),
            ("sotp", "stop"),
        ] {
            assert_eq!(nearest(typed, FIELDS), Some(meant), "{typed}");
        }
    }

    #[test]
    fn a_name_of_another_system_finds_the_one_it_contains() {
        let fields = ["period", "gracePeriod", "SIGTERM"];
        assert_eq!(nearest("periodSeconds", fields), Some("period"));
        let kubernetes = "terminationGracePeriodSeconds";
        assert_eq!(nearest(kubernetes, fields), Some("gracePeriod"));
        assert_eq!(nearest("TERM", fields), Some("SIGTERM"));
    }

    #[test]
    fn something_else_altogether_finds_nothing() {
        for typed in ["", "x", "replicas", &"command".repeat(100)] {
            assert_eq!(nearest(typed, FIELDS), None, "{typed}");
        }
    }

    #[test]
    fn a_swap_of_neighbours_is_one_mistake() {
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        assert_eq!(distance(&chars("ab"), &chars("ba")), 1);
        assert_eq!(distance(&chars("abc"), &chars("")), 3);
        assert_eq!(distance(&chars("kitten"), &chars("sitting")), 3);
    }
}
