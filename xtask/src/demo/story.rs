//! How the story is told: headings, commands as one would type them, what they print, and what
//! was verified. Colour on a terminal only; NO_COLOR (no-color.org) is honoured.

use std::{
    cell::Cell,
    io::{self, IsTerminal},
};

/// Longest line of a command's output that is shown, in characters.
const LINE_MAX: usize = 116;

/// Words of the line that sums the story up.
pub const TALLY: &str = "facts verified";

/// Styles (ECMA-48, SGR).
const BOLD: &str = "1";
const DIM: &str = "2";
const RED: &str = "31";
const GREEN: &str = "32";
const CYAN: &str = "36";

/// Tells the story, and counts.
#[derive(Debug, Default)]
pub struct Story {
    colour: bool,
    chapters: Cell<u32>,
    checks: Cell<u32>,
}

impl Story {
    /// Tells it on standard output.
    pub fn on_stdout() -> Self {
        let allowed = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            colour: allowed && io::stdout().is_terminal(),
            ..Self::default()
        }
    }

    /// Begins a chapter.
    pub fn chapter(&self, title: &str) {
        self.chapters.set(self.chapters.get() + 1);
        let heading = format!("{}. {title}", self.chapters.get());
        println!("\n{}", self.style(BOLD, &heading));
    }

    /// A sentence.
    pub fn says(&self, text: &str) {
        println!("   {text}");
    }

    /// A command as one would type it.
    pub fn command(&self, text: &str) {
        println!("   {} {}", self.style(CYAN, "$"), self.style(BOLD, text));
    }

    /// What a command printed: at most `lines_max` lines of it.
    pub fn output(&self, text: &str, lines_max: usize) {
        for line in trim(text, lines_max) {
            println!("     {}", self.style(DIM, &line));
        }
    }

    /// Something that was verified just now.
    pub fn verified(&self, text: &str) {
        self.checks.set(self.checks.get() + 1);
        println!("   {} {text}", self.style(GREEN, "✓"));
    }

    /// Something that failed.
    pub fn failed(&self, text: &str) {
        println!("   {} {text}", self.style(RED, "✗"));
    }

    /// How much was told so far.
    pub fn tally(&self) -> String {
        format!(
            "{} chapters, {} {TALLY}",
            self.chapters.get(),
            self.checks.get()
        )
    }

    fn style(&self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// The first lines, none of them too long, and how many more there were. Empty lines are left
/// out, and a single line more is shown rather than counted.
fn trim(text: &str, lines_max: usize) -> Vec<String> {
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let hidden = lines.len().saturating_sub(lines_max);
    let kept = if hidden > 1 { lines_max } else { lines.len() };
    let mut shown: Vec<String> = lines.iter().take(kept).copied().map(cut).collect();
    if hidden > 1 {
        shown.push(format!("... and {hidden} lines more"));
    }
    shown
}

fn cut(line: &str) -> String {
    match line.char_indices().nth(LINE_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_output_is_cut_and_says_by_how_much() {
        let long = "é".repeat(LINE_MAX + 5);
        let shown = trim(&format!("{long}\n\nshort\nthird\nfourth\n"), 2);
        assert_eq!(shown.len(), 3);
        assert_eq!(shown[0], format!("{}…", "é".repeat(LINE_MAX)));
        assert_eq!(shown[1], "short");
        assert_eq!(shown[2], "... and 2 lines more");
        assert_eq!(trim("one\n", 2), ["one"]);
        assert_eq!(trim("one\ntwo\nthree", 2), ["one", "two", "three"]);
    }

    #[test]
    fn without_colour_nothing_is_added() {
        let plain = Story::default();
        assert_eq!(plain.style(GREEN, "text"), "text");
        let coloured = Story {
            colour: true,
            ..Story::default()
        };
        assert_eq!(coloured.style(GREEN, "text"), "\x1b[32mtext\x1b[0m");
    }
}
