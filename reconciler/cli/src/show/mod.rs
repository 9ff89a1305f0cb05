//! Objects of the API as text for people. Pure: every function here gives a string.

pub mod alerts;
pub mod audit;
pub mod describe;
pub mod diff;
pub mod doctor;
pub mod events;
pub mod generations;
pub mod ledger;
pub mod next;
pub mod page;
pub mod plan;
pub mod status;
pub mod story;
pub mod timeline;

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// A table without lines, as wide as it needs to be. The last column is not padded.
pub fn table(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let names = header.iter().map(|name| (*name).to_owned()).collect();
    let clean = |row: Vec<String>| row.iter().map(|cell| one_line(cell)).collect();
    let rows: Vec<Vec<String>> = std::iter::once(names)
        .chain(rows.into_iter().map(clean))
        .collect();
    let mut widths = vec![0; header.len()];
    for row in &rows {
        for (widest, cell) in widths.iter_mut().zip(row) {
            *widest = (*widest).max(cell.width());
        }
    }
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(
                ' ',
                width.saturating_sub(cell.width()) + 2,
            ));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// What agents and users wrote, fit for a line of a terminal: no control characters.
pub fn one_line(text: &str) -> String {
    let shown = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    shown.collect()
}

/// At most `width` columns of a text without control characters; `…` stands for what was cut.
pub fn fit(text: &str, width: usize) -> String {
    let text = one_line(text);
    if text.width() <= width {
        return text;
    }
    let mut room = width.saturating_sub(1);
    let mut fitting = String::new();
    for c in text.chars() {
        let columns = c.width().unwrap_or(0);
        if columns > room {
            break;
        }
        room -= columns;
        fitting.push(c);
    }
    if width > 0 {
        fitting.push('…');
    }
    fitting
}

/// A line in pieces of at most `width` columns; those after the first are indented as it is.
pub fn wrap(line: &str, width: usize) -> Vec<String> {
    let text = one_line(line);
    let indent = text.len() - text.trim_start_matches([' ', '|']).len();
    let indent = if indent < width / 2 { indent } else { 0 };
    let mut pieces = vec![String::new()];
    let mut room = width;
    for word in text.split_inclusive(' ') {
        let too_wide = word.trim_end().width() > room;
        if too_wide && word.trim_end().width() <= width - indent {
            pieces.push(" ".repeat(indent));
            room = width - indent;
        }
        for c in word.chars() {
            let columns = c.width().unwrap_or(0);
            if columns > room {
                if c == ' ' {
                    continue;
                }
                pieces.push(" ".repeat(indent));
                room = width - indent;
            }
            room = room.saturating_sub(columns);
            if let Some(piece) = pieces.last_mut() {
                piece.push(c);
            }
        }
    }
    pieces
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

/// The wall clock (RFC 3339), for [`ago`].
pub fn now() -> String {
    jiff::Timestamp::now().to_string()
}

/// How long before `now` it was: `5m10s ago`, or `just now`. Both are RFC 3339.
pub fn ago(time: &str, now: &str) -> String {
    let read = |text: &str| {
        text.parse::<jiff::Timestamp>()
            .map(|time| time.as_millisecond())
    };
    let (Ok(then), Ok(now)) = (read(time), read(now)) else {
        return to_seconds(time);
    };
    match u64::try_from(now - then).unwrap_or(0) {
        0..1000 => "just now".to_owned(),
        ms => format!("{} ago", age(ms)),
    }
}

/// A size for people, in units of 1024: `220 KiB`, `1.5 GiB`.
pub fn bytes(size: u64) -> String {
    const UNITS: [(u64, &str); 4] = [
        (1 << 40, "TiB"),
        (1 << 30, "GiB"),
        (1 << 20, "MiB"),
        (1 << 10, "KiB"),
    ];
    match UNITS.iter().find(|(scale, _)| size >= *scale) {
        None => format!("{size} B"),
        Some((scale, name)) if size / scale < 10 && *scale > 1 << 20 => {
            format!("{}.{} {name}", size / scale, size % scale * 10 / scale)
        }
        Some((scale, name)) => format!("{} {name}", size / scale),
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
    fn what_was_is_told_from_now() {
        let ago = |time| ago(time, "2026-01-31T12:00:00.5Z");
        assert_eq!(ago("2026-01-31T11:59:00.000000Z"), "1m ago");
        assert_eq!(ago("2026-01-31T12:00:00.4Z"), "just now");
        // A clock that was set back makes nothing lie in the future.
        assert_eq!(ago("2026-01-31T12:10:00Z"), "just now");
        assert_eq!(ago("?"), "?");
    }

    #[test]
    fn sizes_have_a_unit_that_fits() {
        let cases = [
            (7, "7 B"),
            (225_280, "220 KiB"),
            (104_857_600, "100 MiB"),
            (1_610_612_736, "1.5 GiB"),
            (u64::MAX, "16777215 TiB"),
        ];
        for (size, text) in cases {
            assert_eq!(bytes(size), text);
        }
    }

    #[test]
    fn a_cell_cannot_move_the_cursor() {
        let text = table(&["A", "B"], vec![vec!["x".into(), "\u{1b}[2J\nred".into()]]);
        assert_eq!(text, "A  B\nx   [2J red\n");
    }

    #[test]
    fn a_long_line_is_cut_between_words_and_keeps_its_indent() {
        assert_eq!(wrap("  ab cd ef", 6), ["  ab ", "  cd ", "  ef"]);
        assert_eq!(wrap("abcdefgh", 3), ["abc", "def", "gh"]);
        assert_eq!(wrap("日本語", 4), ["日本", "語"]);
        assert_eq!(wrap("", 4), [""]);
    }
}
