//! Where results go: standard output, as text for people or as objects for programs.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use crate::{args::Machine, failure::Failure, show};

/// Least width at which lines are cut between words; a narrower terminal does it itself.
const FOLDED_WIDTH_MIN: u16 = 40;

/// Writes text to standard output.
///
/// # Errors
/// A [`Failure`]; silent if the reader is gone.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Writes text to standard output; on a terminal, lines that are too long are cut between words.
///
/// # Errors
/// A [`Failure`]; silent if the reader is gone.
pub fn print_folded(text: &str) -> Result<(), Failure> {
    let width = match on_terminal() {
        true => crossterm::terminal::size().map_or(0, |(columns, _)| columns),
        false => 0,
    };
    if width < FOLDED_WIDTH_MIN {
        return print(text);
    }
    let lines = text.lines().flat_map(|line| show::wrap(line, width.into()));
    print(&lines.map(|line| line + "\n").collect::<String>())
}

/// Writes text to standard error. If that is closed there is nobody to tell.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Writes an object for programs.
///
/// # Errors
/// A [`Failure`]; silent if the reader is gone.
pub fn object(format: Machine, value: &impl Serialize) -> Result<(), Failure> {
    print(&render(format, value)?)
}

/// Writes an object that is JSON already, as [`object`] would, without taking it apart.
///
/// # Errors
/// A [`Failure`]: it is no JSON; silent if the reader is gone.
pub fn json(text: &str) -> Result<(), Failure> {
    serde_json::from_str::<serde::de::IgnoredAny>(text)
        .map_err(|error| Failure::because(&error))?;
    print(&indented(text))
}

/// Compact JSON in the form of [`serde_json::to_string_pretty`].
fn indented(compact: &str) -> String {
    let mut text = String::with_capacity(compact.len() * 2);
    let (mut depth, mut in_string, mut escaped) = (0, false, false);
    let mut done = 0;
    let bytes = compact.as_bytes();
    let line = |text: &mut String, depth: usize| {
        text.push('\n');
        text.extend(std::iter::repeat_n("  ", depth));
    };
    for (at, byte) in bytes.iter().enumerate() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        let upto = |text: &mut String, end: usize| text.push_str(&compact[done..end]);
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => {
                upto(&mut text, at + 1);
                done = at + 1;
                depth += 1;
                if !matches!(bytes.get(done), Some(b'}' | b']')) {
                    line(&mut text, depth);
                }
            }
            b'}' | b']' => {
                upto(&mut text, at);
                done = at;
                depth = depth.saturating_sub(1);
                if !matches!(bytes.get(at.wrapping_sub(1)), Some(b'{' | b'[')) {
                    line(&mut text, depth);
                }
            }
            b',' => {
                upto(&mut text, at + 1);
                done = at + 1;
                line(&mut text, depth);
            }
            b':' => {
                upto(&mut text, at + 1);
                done = at + 1;
                text.push(' ');
            }
            _ => {}
        }
    }
    text.push_str(&compact[done..]);
    text.push('\n');
    text
}

/// Writes one of many objects: a line of JSON, or a YAML document.
///
/// # Errors
/// A [`Failure`]; silent if the reader is gone.
pub fn one_of_many(format: Machine, value: &impl Serialize) -> Result<(), Failure> {
    match format {
        Machine::Json => {
            let line = serde_json::to_string(value).map_err(|error| Failure::because(&error))?;
            print(&format!("{line}\n"))
        }
        Machine::Yaml => print(&format!("---\n{}", render(format, value)?)),
    }
}

/// An object as text, ending in a line break.
fn render(format: Machine, value: &impl Serialize) -> Result<String, Failure> {
    let mut text = match format {
        Machine::Json => {
            serde_json::to_string_pretty(value).map_err(|error| Failure::because(&error))?
        }
        Machine::Yaml => {
            serde_saphyr::to_string(value).map_err(|error| Failure::because(&error))?
        }
    };
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

/// Whether standard output is a terminal.
pub fn on_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Whether to colour standard output: as [`colour_errors`].
pub fn colour() -> bool {
    colour_allowed() && on_terminal()
}

/// Whether to colour standard error: on a terminal, unless NO_COLOR (no-color.org) is set.
pub fn colour_errors() -> bool {
    colour_allowed() && io::stderr().is_terminal()
}

fn colour_allowed() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn json_that_is_passed_on_looks_as_if_it_had_been_written_here() {
        let values = [
            json!(null),
            json!([]),
            json!({}),
            json!("a, b: {c} [d]"),
            json!({"a": [], "b": {}, "c": [[], {}], "d": [1, -2.5, true, null]}),
            json!({"quoted \"key\", {": "back\\slash\\", "x": "\\\"", "ü": ["\n", "日本"]}),
        ];
        for value in values {
            let compact = serde_json::to_string(&value).unwrap();
            assert_eq!(indented(&compact), render(Machine::Json, &value).unwrap());
            let read: Value = serde_json::from_str(&indented(&compact)).unwrap();
            assert_eq!(read, value);
        }
    }
}
