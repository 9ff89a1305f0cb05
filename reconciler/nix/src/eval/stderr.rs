//! Reads the error out of what `nix` wrote to stderr.
//!
//! No version of Nix promises a format. Two are in use, and both are understood:
//! - up to 2.17 or so the message comes first (`error: MESSAGE`), then its own place, then the
//!   trace from the inside to the outside;
//! - later ones begin with a bare `error:`, print the trace from the outside to the inside, and
//!   end with an indented `error: MESSAGE` and its own place.
//!
//! Places are lines of the form `at FILE:LINE:COLUMN:`. Source excerpts (`   3|   x = 1;`) never
//! look like one.

use std::path::{Path, PathBuf};

use super::{EvalError, MESSAGE_MAX, error::Diagnostic};

/// A place named by Nix. Its column counts bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    file: PathBuf,
    line: u32,
    column: u32,
}

/// The error in `stderr`: its message, and the place nearest to it that lies below one of
/// `roots`, for only that can be edited. `file` is named where no place is known.
pub(super) fn error(stderr: &[u8], file: &Path, roots: &[&Path]) -> EvalError {
    let text = without_escapes(&String::from_utf8_lossy(stderr));
    let lines: Vec<&str> = text.lines().collect();
    let (message, place) = match error_line(&lines) {
        Some(at) => (message(&lines[at..]), nearest(&lines, at, roots)),
        None => (last_words(&lines), None),
    };
    let is_syntax = message.starts_with("syntax error");
    let place = place.unwrap_or(Place {
        file: file.to_path_buf(),
        line: 0,
        column: 0,
    });
    let diagnostic = Diagnostic {
        file: place.file,
        line: place.line,
        column: place.column,
        length: u32::from(place.line > 0),
        hint: hint(&message),
        message,
    };
    if is_syntax {
        EvalError::Syntax(diagnostic)
    } else {
        EvalError::Eval(diagnostic)
    }
}

/// Index of the line that carries the message: the last `error: TEXT`.
fn error_line(lines: &[&str]) -> Option<usize> {
    lines.iter().rposition(|line| {
        line.trim_start()
            .strip_prefix("error:")
            .is_some_and(|rest| !rest.trim().is_empty())
    })
}

/// The message that begins on the first of `lines` and ends before a place, a trace or a gap.
fn message(lines: &[&str]) -> String {
    let first = lines
        .first()
        .map_or("", |line| line.trim_start().trim_start_matches("error:"));
    let rest = lines.iter().skip(1).map(|line| line.trim());
    let rest =
        rest.take_while(|line| !line.is_empty() && place(line).is_none() && !line.starts_with('…'));
    let parts: Vec<&str> = std::iter::once(first.trim()).chain(rest).collect();
    bounded(parts.join("\n"))
}

/// For a process that died without naming an error.
fn last_words(lines: &[&str]) -> String {
    let words = lines.iter().rev().find(|line| !line.trim().is_empty());
    bounded(words.map_or_else(
        || "nix ended without saying why".to_owned(),
        |line| line.trim().to_owned(),
    ))
}

/// The place nearest to the message: after it (its own, then older versions' trace), or else
/// before it (newer versions' trace, whose innermost step comes last).
fn nearest(lines: &[&str], at: usize, roots: &[&Path]) -> Option<Place> {
    let (before, after) = lines.split_at(at);
    after
        .iter()
        .chain(before.iter().rev())
        .filter_map(|line| place(line))
        .find(|place| roots.iter().any(|root| place.file.starts_with(root)))
}

fn place(line: &str) -> Option<Place> {
    // The trace that walk.nix adds begins with an ellipsis.
    let text = line.trim().trim_start_matches("… ");
    let text = text.strip_prefix("at ")?.strip_suffix(':')?;
    let (text, column) = text.rsplit_once(':')?;
    let (file, line) = text.rsplit_once(':')?;
    Some(Place {
        file: PathBuf::from(file),
        line: line.parse().ok()?,
        column: column.parse().ok()?,
    })
}

fn hint(message: &str) -> Option<&'static str> {
    if message.contains("restricted mode") || message.contains("pure evaluation mode") {
        Some("a spec is evaluated in restricted mode: it may read files below the specs only")
    } else if message.contains("import-from-derivation") {
        Some("a spec must be evaluable without building anything")
    } else {
        None
    }
}

fn bounded(mut text: String) -> String {
    if text.len() > MESSAGE_MAX {
        text.truncate(text.floor_char_boundary(MESSAGE_MAX - '…'.len_utf8()));
        text.push('…');
    }
    text
}

/// Leaves out terminal escape sequences (ECMA-48 CSI: ESC, `[`, parameters, a final letter) and
/// other control characters.
fn without_escapes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            if chars.next_if_eq(&'[').is_some() {
                while chars.next_if(|c| !('@'..='~').contains(c)).is_some() {}
                chars.next();
            }
        } else if c == '\n' || !c.is_control() {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str =
        "\u{1b}[31;1merror:\u{1b}[0m list index \u{1b}[35;1m0\u{1b}[0m is out of bounds

       \u{1b}[34;1mat \u{1b}[35;1m/specs/m.nix:3:10\u{1b}[0m:

            2|   a = 1;
            3|   b = [ (builtins.head [ ]) ];
             |          ^

       … while evaluating the file '/specs/m.nix':
";
    const NEW: &str = "error:
       … while evaluating attribute 'b'
         at /specs/m.nix:3:3:
            2|   a = 1;
            3|   b = [ (builtins.head [ ]) ];
             |   ^

       … while calling the 'head' builtin
         at /specs/m.nix:3:10:
            2|   a = 1;
            3|   b = [ (builtins.head [ ]) ];
             |          ^
            4| }

       error: 'builtins.head' called on an empty list
";
    const NEW_SYNTAX: &str = "error:
       … while calling the 'import' builtin
         at «stdin»:1:1:
            1| import \"/specs/bad.nix\"

       error: syntax error, unexpected '=', expecting ';'
       at /specs/bad.nix:3:5:
            2|   a = 1
            3|   b = 2;
             |     ^
";
    const IN_NIXPKGS: &str = "warning: something
error: attribute 'x' missing

       at /nixpkgs/lib/attrs.nix:7:1:

            7| x

       … while evaluating the attribute 'command'

       at /specs/deep:er.nix:2:3:

            2|   command = lib.f;
";

    fn check(stderr: &str, message: &str, place: &str) {
        let error = error(
            stderr.as_bytes(),
            Path::new("/specs/x.nix"),
            &[Path::new("/specs")],
        );
        let [found] = error.diagnostics() else {
            panic!("{error:?}")
        };
        assert_eq!(found.message, message);
        let shown = format!("{}:{}:{}", found.file.display(), found.line, found.column);
        assert_eq!(shown, place);
    }

    #[test]
    fn the_message_and_its_own_place_are_found_in_the_old_format() {
        check(OLD, "list index 0 is out of bounds", "/specs/m.nix:3:10");
    }

    #[test]
    fn the_innermost_step_of_the_trace_is_found_in_the_new_format() {
        let message = "'builtins.head' called on an empty list";
        check(NEW, message, "/specs/m.nix:3:10");
        let message = "syntax error, unexpected '=', expecting ';'";
        check(NEW_SYNTAX, message, "/specs/bad.nix:3:5");
    }

    #[test]
    fn a_place_outside_the_specs_gives_way_to_the_line_of_the_spec_that_led_there() {
        check(
            IN_NIXPKGS,
            "attribute 'x' missing",
            "/specs/deep:er.nix:2:3",
        );
    }

    #[test]
    fn without_a_place_the_file_is_named() {
        check(
            "error: boom\nand more\n",
            "boom\nand more",
            "/specs/x.nix:0:0",
        );
        check("Killed\n\n", "Killed", "/specs/x.nix:0:0");
        check("", "nix ended without saying why", "/specs/x.nix:0:0");
    }

    #[test]
    fn a_syntax_error_is_told_from_an_evaluation_error() {
        let is_syntax = |text: &str| {
            let error = error(text.as_bytes(), Path::new("/x"), &[Path::new("/")]);
            matches!(error, EvalError::Syntax(_))
        };
        assert!(is_syntax(NEW_SYNTAX));
        assert!(!is_syntax(OLD));
    }

    #[test]
    fn a_long_message_is_bounded() {
        let long = format!("error: {}", "ä".repeat(MESSAGE_MAX));
        let error = error(long.as_bytes(), Path::new("/x"), &[Path::new("/")]);
        assert!(error.diagnostics()[0].message.len() <= MESSAGE_MAX);
    }
}
