//! Texts in the Nix language.

/// A string literal whose value is exactly `text`.
///
/// Escapes: <https://nix.dev/manual/nix/latest/language/string-literals>. Nix turns a bare
/// carriage return into a newline, so that is escaped too.
pub(crate) fn string(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' | '$' => quoted.extend(['\\', c]),
            '\r' => quoted.push_str("\\r"),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_cannot_break_out_of_its_string() {
        assert_eq!(string("/a\"b\\c${d}\n\r"), "\"/a\\\"b\\\\c\\${d}\n\\r\"");
    }
}
