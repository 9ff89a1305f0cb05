//! Colours, where they are wanted; bold, dim and reversed text where they are not.
//!
//! Colour never says anything alone: a word or a sign stands beside it. Only the terminal's own
//! sixteen colours are used, so that the reader's palette holds.

use ratatui::style::{Color, Modifier, Style};

/// How things look.
#[derive(Debug, Clone, Copy)]
pub struct Theme {
    coloured: bool,
}

impl Theme {
    /// With or without colours (NO_COLOR, no-color.org).
    pub fn new(coloured: bool) -> Self {
        Self { coloured }
    }

    fn colour(self, colour: Color) -> Style {
        match self.coloured {
            true => Style::new().fg(colour),
            false => Style::new(),
        }
    }

    /// As it should be.
    pub fn good(self) -> Style {
        self.colour(Color::Green)
    }

    /// Worth a look.
    pub fn warn(self) -> Style {
        self.colour(Color::Yellow).add_modifier(Modifier::BOLD)
    }

    /// Not as it should be.
    pub fn bad(self) -> Style {
        self.colour(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// Neither.
    pub fn plain(self) -> Style {
        Style::new()
    }

    /// Of less weight.
    pub fn soft(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// Measurements.
    pub fn measure(self) -> Style {
        self.colour(Color::Cyan)
    }

    /// The title of a part.
    pub fn heading(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// The name of the program, and of a dialog.
    pub fn title(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED | Modifier::BOLD)
    }

    /// A key.
    pub fn key(self) -> Style {
        self.colour(Color::Cyan).add_modifier(Modifier::BOLD)
    }

    /// The row that keys are about.
    pub fn selected(self) -> Style {
        // Reversed colours would be blocks of them.
        Style::new()
            .fg(Color::Reset)
            .add_modifier(Modifier::REVERSED)
            .remove_modifier(Modifier::DIM)
    }
}
