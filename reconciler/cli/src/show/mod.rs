//! Objects of the API as text for people. Pure: every function here gives a string.

pub mod audit;
pub mod describe;
pub mod diff;
pub mod doctor;
pub mod events;
pub mod generations;
pub mod ledger;
pub mod page;
pub mod plan;
pub mod status;
pub mod timeline;

use comfy_table::{Table, presets::NOTHING};

/// A table without lines, as wide as it needs to be. The last column is not padded.
pub fn table(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(header.iter().copied());
    for row in rows {
        table.add_row(row.into_iter().map(|cell| one_line(&cell)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let lines = table.lines().map(|line| format!("{}\n", line.trim_end()));
    lines.collect()
}

/// What agents and users wrote, fit for a line of a terminal: no control characters.
pub fn one_line(text: &str) -> String {
    let shown = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    shown.collect()
}

/// A length of time in its two largest units: `3d4h`, `5m10s`, `42s`.
pub fn age(ms: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];
    let seconds = ms / 1000;
    let Some(largest) = UNITS.iter().position(|(scale, _)| seconds >= *scale) else {
        return format!("{ms}ms");
    };
    let (scale, name) = UNITS[largest];
    let mut text = format!("{}{name}", seconds / scale);
    if let Some((next, name)) = UNITS.get(largest + 1)
        && seconds % scale / next > 0
    {
        text.push_str(&format!("{}{name}", seconds % scale / next));
    }
    text
}

/// An RFC 3339 time in UTC without its fraction: `2026-01-31T12:00:00Z`.
pub fn to_seconds(time: &str) -> String {
    match (time.split_once('.'), time.ends_with('Z')) {
        (Some((seconds, _)), true) => format!("{seconds}Z"),
        _ => time.to_owned(),
    }
}

/// `-` for nothing.
pub fn or_dash(text: Option<impl ToString>) -> String {
    text.map_or_else(|| "-".to_owned(), |text| text.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_two_units_at_most() {
        let cases = [
            (0, "0ms"),
            (999, "999ms"),
            (42_000, "42s"),
            (310_000, "5m10s"),
            (3_600_000, "1h"),
            (273_600_000, "3d4h"),
        ];
        for (ms, text) in cases {
            assert_eq!(age(ms), text);
        }
    }

    #[test]
    fn times_lose_their_fraction_and_nothing_else() {
        assert_eq!(
            to_seconds("2026-01-31T12:00:00.123456Z"),
            "2026-01-31T12:00:00Z"
        );
        assert_eq!(to_seconds("2026-01-31T12:00:00Z"), "2026-01-31T12:00:00Z");
        assert_eq!(to_seconds("soon"), "soon");
    }

    #[test]
    fn a_cell_cannot_move_the_cursor() {
        let text = table(&["A", "B"], vec![vec!["x".into(), "\u{1b}[2J\nred".into()]]);
        assert_eq!(text, "A  B\nx   [2J red\n");
    }
}
