//! A page of text about one agent, to be scrolled.

use ratatui::{Frame, layout::Rect, text::Line};

use super::{Theme, put};
use crate::{
    show::wrap,
    top::model::{Ask, Model},
};

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
