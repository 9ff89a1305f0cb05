//! A page of text about one agent, to be scrolled.

use ratatui::{Frame, layout::Rect, text::Line};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::{Theme, put};
use crate::top::model::{Ask, Model};

/// Draws it, and tells the model how many rows it has.
pub fn draw(model: &mut Model, theme: Theme, frame: &mut Frame<'_>, area: Rect) {
    let rows = usize::from(area.height.saturating_sub(1));
    model.page_rows = rows.max(1);
    let Some(page) = &model.page else { return };
    let (name, what) = match &page.of {
        Ask::Describe(name) => (name, "all about it"),
        Ask::Logs(name) => (name, "output, the newest lines"),
    };
    let Some(lines) = &page.lines else {
        put(
            frame,
            area,
            0,
            Line::styled(format!(" {name}: asking…"), theme.heading()),
        );
        return;
    };
    let place = match lines.len() {
        0 => "nothing".to_owned(),
        all => format!("{}-{} of {all}", page.top + 1, (page.top + rows).min(all)),
    };
    let title = format!(" {name}: {what}  ({place})");
    put(frame, area, 0, Line::styled(title, theme.heading()));
    let mut row = 1;
    for line in lines.iter().skip(page.top) {
        for part in wrap(line, usize::from(area.width)) {
            put(frame, area, row, Line::raw(part));
            row += 1;
        }
        if row > area.height {
            break;
        }
    }
}

/// A line in pieces of at most `width` columns; those after the first are indented as it is.
fn wrap(line: &str, width: usize) -> Vec<String> {
    let text = crate::show::one_line(line);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_cut_between_words_and_keeps_its_indent() {
        assert_eq!(wrap("  ab cd ef", 6), ["  ab ", "  cd ", "  ef"]);
        assert_eq!(wrap("abcdefgh", 3), ["abc", "def", "gh"]);
        assert_eq!(wrap("日本語", 4), ["日本", "語"]);
        assert_eq!(wrap("", 4), [""]);
    }
}
