//! Finds a key in the source text, near where Nix says it is.
//!
//! For `probes.liveness = …` Nix gives the beginning of the whole attribute path as the place of
//! both names, some versions are off by one for `inherit`, and columns count bytes. The text
//! itself settles it.

use std::{fs::File, io::Read as _, path::Path};

use osmoda_core::spec::tree::Span;

/// Most bytes of a source file that are looked at.
const SOURCE_MAX: u64 = 1 << 20;

/// The lines of a spec file.
#[derive(Debug, Default)]
pub(super) struct Source {
    lines: Vec<String>,
}

impl Source {
    /// Reads a file; one that cannot be read has no lines, and places stay as Nix gives them.
    pub fn read(path: &Path) -> Self {
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|f| f.take(SOURCE_MAX).read_to_end(&mut bytes));
        match read {
            Ok(_) => Self::new(&String::from_utf8_lossy(&bytes)),
            Err(error) => {
                tracing::debug!(path = %path.display(), %error, "cannot read a spec's source");
                Self::default()
            }
        }
    }

    /// From the text of a file.
    pub fn new(text: &str) -> Self {
        Self {
            lines: text.lines().map(str::to_owned).collect(),
        }
    }

    /// The place of the file's whole value: its first character, or unknown without a text.
    pub fn start(&self) -> Span {
        let known = u32::from(!self.lines.is_empty());
        Span {
            line: known,
            column: known,
            length: known,
        }
    }

    /// Where `key` stands, given Nix' `line` and `column` (from 1, in bytes).
    pub fn key(&self, line: u32, column: u32, key: &str) -> Span {
        let given = Span {
            line,
            column,
            length: chars(key.chars().count()).max(1),
        };
        let index = (line as usize).checked_sub(1);
        let Some(text) = index.and_then(|index| self.lines.get(index)) else {
            return given;
        };
        let bytes = (column as usize).saturating_sub(1).min(text.len());
        let start = text[..text.floor_char_boundary(bytes)].chars().count();
        let line: Vec<char> = text.chars().collect();
        find(&line, start, key).map_or(
            Span {
                column: chars(start + 1),
                length: given
                    .length
                    .min(chars(line.len().saturating_sub(start)).max(1)),
                ..given
            },
            |(at, length)| Span {
                column: chars(at + 1),
                length: chars(length),
                ..given
            },
        )
    }
}

fn chars(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Looks for `key` among the names of the attribute path that begins at `start`; its index and
/// its length with quotes, in characters.
fn find(line: &[char], start: usize, key: &str) -> Option<(usize, usize)> {
    let mut at = skip_space(line, start);
    loop {
        let (name, end) = name(line, at)?;
        if name == key {
            return Some((at, end - at));
        }
        at = skip_space(line, end);
        if line.get(at) != Some(&'.') {
            return None;
        }
        at = skip_space(line, at + 1);
    }
}

fn skip_space(line: &[char], at: usize) -> usize {
    let rest = line.iter().skip(at);
    at + rest.take_while(|c| c.is_whitespace()).count()
}

/// An identifier or a quoted name (without escapes), and the index after it.
fn name(line: &[char], at: usize) -> Option<(String, usize)> {
    let rest = line.get(at..)?;
    if rest.first() == Some(&'"') {
        let length = rest[1..].iter().position(|c| *c == '"')?;
        return Some((rest[1..=length].iter().collect(), at + length + 2));
    }
    let is_part = |c: &&char| c.is_ascii_alphanumeric() || matches!(c, '_' | '\'' | '-');
    let length = rest.iter().take_while(is_part).count();
    (length > 0).then(|| (rest[..length].iter().collect(), at + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, column: u32, key: &str, expected: &str) {
        let span = Source::new(line).key(1, column, key);
        let found: String = line
            .chars()
            .skip(span.column as usize - 1)
            .take(span.length as usize)
            .collect();
        assert_eq!(found, expected, "{span:?}");
    }

    #[test]
    fn each_name_of_an_attribute_path_has_its_own_place() {
        let line = "  probes.liveness . \"httpGet\".port = 5;";
        check(line, 3, "probes", "probes");
        check(line, 3, "liveness", "liveness");
        check(line, 3, "httpGet", "\"httpGet\"");
        check(line, 3, "port", "port");
    }

    #[test]
    fn columns_become_characters() {
        check("{ ä = 1; /* äö */ port = 5; }", 22, "port", "port");
    }

    #[test]
    fn an_inherited_name_that_is_off_by_one_is_found() {
        check("  inherit secret;", 10, "secret", "secret");
    }

    #[test]
    fn a_computed_name_stays_where_nix_saw_it() {
        check("  ${name} = 1;", 3, "port", "${na");
        check("  ${x}", 3, "a-name-that-is-longer-than-the-line", "${x}");
    }

    #[test]
    fn a_place_beyond_the_text_is_left_alone() {
        let span = Source::new("one line").key(9, 7, "port");
        assert_eq!((span.line, span.column, span.length), (9, 7, 4));
        assert_eq!(Source::default().key(0, 0, "").line, 0);
    }
}
