//! Decides in one pass whether bytes are a canonical entry, without building anything.
//!
//! Verification reads every entry ever written, so this is the hot path of an audit: it walks
//! the bytes once, allocates nothing for the entries that we write, and hands the members of
//! the outermost object to the caller as slices. It accepts exactly what [`crate::canonical`]
//! writes; RFC 8785 leaves one spelling for each value, so a duplicate key, a space, a `-0`, an
//! escape that is not needed or a key out of order is a different spelling and refused.

use std::cmp::Ordering;

use crate::canonical::{MAX_DEPTH, MAX_ENTRY, MAX_INTEGER, MAX_STRING};

/// Where and why bytes are not a canonical entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("byte {at}: {fault}")]
pub struct CheckError {
    /// Offset of the offending byte.
    pub at: usize,
    /// The broken rule.
    pub fault: Fault,
}

/// A broken rule of canonical entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum Fault {
    #[error("the entry is longer than {MAX_ENTRY} bytes")]
    LongEntry,
    #[error("not UTF-8")]
    Utf8,
    #[error("not what JSON allows here, or not its canonical spelling")]
    Syntax,
    #[error("a key is not ASCII")]
    Key,
    #[error("a key is repeated or out of order")]
    KeyOrder,
    #[error("a string longer than {MAX_STRING} bytes")]
    LongString,
    #[error("an escape that is not the canonical one")]
    Escape,
    #[error("a number that is not an integer in canonical spelling within ±(2^53−1)")]
    Number,
    #[error("nested deeper than {MAX_DEPTH} levels")]
    Deep,
    #[error("bytes after the end of the entry")]
    Trailing,
}

/// Checks that `bytes` are a canonical entry, an object, and gives each of its members to
/// `member` as (key, value), both as they are spelled, the key without its quotes.
///
/// # Errors
/// [`CheckError`]; members before the fault have been given already.
pub fn check<'a>(
    bytes: &'a [u8],
    mut member: impl FnMut(&'a [u8], &'a [u8]),
) -> Result<(), CheckError> {
    let fail = |at, fault| Err(CheckError { at, fault });
    if bytes.len() > MAX_ENTRY {
        return fail(MAX_ENTRY, Fault::LongEntry);
    }
    if let Err(error) = std::str::from_utf8(bytes) {
        return fail(error.valid_up_to(), Fault::Utf8);
    }
    let mut scan = Scan { bytes, at: 0 };
    scan.expect(b'{')?;
    scan.object(1, &mut member)?;
    match scan.at == bytes.len() {
        true => Ok(()),
        false => scan.fail(Fault::Trailing),
    }
}

/// A string as spelled, between its quotes.
#[derive(Clone, Copy)]
struct Spelled<'a> {
    text: &'a [u8],
    escaped: bool,
}

struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// Bytes that stand for themselves in a string.
const PLAIN: [bool; 256] = {
    let mut plain = [true; 256];
    let mut byte = 0;
    while byte < 0x20 {
        plain[byte] = false;
        byte += 1;
    }
    plain[b'"' as usize] = false;
    plain[b'\\' as usize] = false;
    plain
};

/// The top bit of the lowest byte of `eight` that is a quote, a backslash or a control character
/// is set, and no lower one; higher ones may be, wrongly, since a borrow runs upwards.
fn special_bytes(eight: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    let below = |bytes: u64, bound: u64| bytes.wrapping_sub(ONES * bound) & !bytes;
    let is = |byte: u8| below(eight ^ (ONES * u64::from(byte)), 1);
    (below(eight, 0x20) | is(b'"') | is(b'\\')) & (ONES << 7)
}

impl<'a> Scan<'a> {
    fn fail<T>(&self, fault: Fault) -> Result<T, CheckError> {
        Err(CheckError { at: self.at, fault })
    }

    /// The byte here; 0, which canonical JSON never holds, at the end.
    fn peek(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    fn expect(&mut self, byte: u8) -> Result<(), CheckError> {
        if self.peek() != byte {
            return self.fail(Fault::Syntax);
        }
        self.at += 1;
        Ok(())
    }

    fn literal(&mut self, word: &[u8]) -> Result<(), CheckError> {
        if !self.bytes[self.at..].starts_with(word) {
            return self.fail(Fault::Syntax);
        }
        self.at += word.len();
        Ok(())
    }

    fn value(&mut self, depth: usize) -> Result<(), CheckError> {
        match self.peek() {
            b'"' => {
                self.at += 1;
                self.string().map(|_| ())
            }
            b'{' => {
                self.at += 1;
                self.object(depth, &mut |_, _| ())
            }
            b'[' => {
                self.at += 1;
                self.array(depth)
            }
            b'-' | b'0'..=b'9' => self.integer(),
            b't' => self.literal(b"true"),
            b'f' => self.literal(b"false"),
            b'n' => self.literal(b"null"),
            _ => self.fail(Fault::Syntax),
        }
    }

    /// The rest of an object after its `{`.
    fn object(
        &mut self,
        depth: usize,
        member: &mut dyn FnMut(&'a [u8], &'a [u8]),
    ) -> Result<(), CheckError> {
        if depth > MAX_DEPTH {
            return self.fail(Fault::Deep);
        }
        if self.peek() == b'}' {
            self.at += 1;
            return Ok(());
        }
        let mut previous: Option<Spelled<'a>> = None;
        loop {
            let key_at = self.at;
            self.expect(b'"')?;
            let key = self.string()?;
            let fail = |fault| Err(CheckError { at: key_at, fault });
            if !key.text.is_ascii() {
                return fail(Fault::Key);
            }
            if previous.is_some_and(|previous| order(previous, key) != Ordering::Less) {
                return fail(Fault::KeyOrder);
            }
            previous = Some(key);
            self.expect(b':')?;
            let from = self.at;
            self.value(depth + 1)?;
            member(key.text, &self.bytes[from..self.at]);
            if self.peek() != b',' {
                return self.expect(b'}');
            }
            self.at += 1;
        }
    }

    /// The rest of an array after its `[`.
    fn array(&mut self, depth: usize) -> Result<(), CheckError> {
        if depth > MAX_DEPTH {
            return self.fail(Fault::Deep);
        }
        if self.peek() == b']' {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.value(depth + 1)?;
            if self.peek() != b',' {
                return self.expect(b']');
            }
            self.at += 1;
        }
    }

    /// The rest of a string after its opening quote.
    fn string(&mut self) -> Result<Spelled<'a>, CheckError> {
        let from = self.at;
        let mut saved = 0; // bytes by which escapes are longer than what they stand for
        loop {
            self.skip_plain();
            match self.peek() {
                b'"' => break,
                b'\\' => saved += self.escape()?,
                _ => return self.fail(Fault::Syntax),
            }
        }
        let text = &self.bytes[from..self.at];
        if text.len() - saved > MAX_STRING {
            return self.fail(Fault::LongString);
        }
        self.at += 1;
        Ok(Spelled {
            text,
            escaped: saved != 0,
        })
    }

    /// Goes on to the next byte that does not stand for itself, eight bytes at a time.
    fn skip_plain(&mut self) {
        while let Some(eight) = self.bytes[self.at..].first_chunk() {
            let special = special_bytes(u64::from_le_bytes(*eight));
            self.at += (special.trailing_zeros() / 8) as usize;
            if special != 0 {
                return;
            }
        }
        while let Some(&byte) = self.bytes.get(self.at)
            && PLAIN[usize::from(byte)]
        {
            self.at += 1;
        }
    }

    /// One escape; gives its length less the one byte it stands for.
    fn escape(&mut self) -> Result<usize, CheckError> {
        let rest = &self.bytes[self.at + 1..];
        let length = match rest.first() {
            Some(b'"' | b'\\' | b'b' | b't' | b'n' | b'f' | b'r') => 2,
            Some(b'u') if rest.get(1..5).and_then(control).is_some() => 6,
            _ => return self.fail(Fault::Escape),
        };
        self.at += length;
        Ok(length - 1)
    }

    fn integer(&mut self) -> Result<(), CheckError> {
        const DIGITS: usize = 16; // of 2^53−1
        let negative = self.peek() == b'-';
        self.at += usize::from(negative);
        let from = self.at;
        let mut magnitude = 0u64;
        while self.peek().is_ascii_digit() && self.at - from <= DIGITS {
            magnitude = magnitude * 10 + u64::from(self.peek() - b'0');
            self.at += 1;
        }
        let digits = self.at - from;
        let leading_zero = self.bytes.get(from) == Some(&b'0') && (digits > 1 || negative);
        let decimal = matches!(self.peek(), b'.' | b'e' | b'E');
        if digits == 0 || leading_zero || decimal || magnitude > MAX_INTEGER {
            self.at = from;
            return self.fail(Fault::Number);
        }
        Ok(())
    }
}

/// The control character that `digits` of a \u escape stand for, if it has no shorter escape.
fn control(digits: &[u8]) -> Option<u8> {
    let [b'0', b'0', high @ (b'0' | b'1'), low] = digits else {
        return None;
    };
    let low = match low {
        b'0'..=b'9' => low - b'0',
        b'a'..=b'f' => low - b'a' + 10,
        _ => return None,
    };
    let code = (high - b'0') << 4 | low;
    (!matches!(code, 0x08 | 0x09 | 0x0a | 0x0c | 0x0d)).then_some(code)
}

/// Order of two keys by the characters they stand for.
fn order(a: Spelled<'_>, b: Spelled<'_>) -> Ordering {
    if !a.escaped && !b.escaped {
        // Most keys differ in their first byte.
        let first = a.text.first().cmp(&b.text.first());
        return first.then_with(|| a.text.cmp(b.text));
    }
    unescape(a.text).cmp(&unescape(b.text))
}

/// The bytes a checked string stands for.
fn unescape(spelled: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(spelled.len());
    let mut rest = spelled;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        if *byte != b'\\' {
            out.push(*byte);
            continue;
        }
        let (&kind, tail) = rest.split_first().unwrap_or((&b'\\', &[]));
        rest = tail;
        out.push(match kind {
            b'b' => 0x08,
            b't' => b'\t',
            b'n' => b'\n',
            b'f' => 0x0c,
            b'r' => b'\r',
            b'u' => {
                let (digits, tail) = rest.split_at(rest.len().min(4));
                rest = tail;
                control(digits).unwrap_or(0)
            }
            other => other,
        });
    }
    out
}

#[cfg(test)]
mod tests;
