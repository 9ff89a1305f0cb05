//! The name that was probably meant.
//!
//! Optimal string alignment distance: insertions, deletions, substitutions and swaps of two
//! neighbours count 1 each. Case is ignored, so that `workingdirectory` finds
//! `workingDirectory` at distance 0.

/// Longest text that is compared, in characters; a longer one is nobody's typing mistake.
const MAX_COMPARED: usize = 64;

/// The candidate nearest to `text`, if it is near enough to be worth a suggestion: at most one
/// mistake in three characters. Of several equally near ones, the first.
pub fn nearest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted: Vec<char> = lower(text)?;
    let allowed = wanted.len().div_ceil(3).max(1);
    candidates
        .into_iter()
        .filter_map(|candidate| Some((distance(&wanted, &lower(candidate)?), candidate)))
        .filter(|(mistakes, candidate)| *mistakes <= allowed && *mistakes < candidate.len())
        .min_by_key(|(mistakes, _)| *mistakes)
        .map(|(_, candidate)| candidate)
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
