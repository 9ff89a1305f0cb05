//! Decides in one pass whether bytes are a canonical entry, without building anything.
//!
//! Verification reads every entry ever written, so this is the hot path of an audit: it walks
//! the bytes once, in blocks ([`marks`]), allocates nothing for the entries that we write, and
//! hands the members of the outermost object to the caller as slices. It accepts exactly what [`crate::canonical`]
//! writes; RFC 8785 leaves one spelling for each value, so a duplicate key, a space, a `-0`, an
//! escape that is not needed or a key out of order is a different spelling and refused.

mod marks;

use std::cmp::Ordering;

use marks::{BLOCK, special};

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
pub fn check<'a>(bytes: &'a [u8], member: impl FnMut(&'a str, &'a str)) -> Result<(), CheckError> {
    check_along(bytes, member, |_| ())
}

/// As [`check`]; `along` hears, again and again, to which byte the walk has come.
///
/// # Errors
/// [`CheckError`]; `along` has not heard of the end then, and need not otherwise.
pub(crate) fn check_along<'a>(
    bytes: &'a [u8],
    member: impl FnMut(&'a str, &'a str),
    along: impl FnMut(usize),
) -> Result<(), CheckError> {
    let fail = |at, fault| Err(CheckError { at, fault });
    if bytes.len() > MAX_ENTRY {
        return fail(MAX_ENTRY, Fault::LongEntry);
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => return fail(error.valid_up_to(), Fault::Utf8),
    };
    let mut scan = Scan::new(text, along);
    let entry = scan.entry(member);
    entry.map_err(|fault| CheckError { at: scan.at, fault })
}

/// A key as it is spelled, between its quotes.
#[derive(Clone, Copy)]
struct Key {
    from: usize,
    to: usize,
    escaped: bool,
    /// What orders most keys: the first eight bytes, or fewer and then zeros.
    head: u64,
}

/// Walks over the text. A function that fails leaves `at` where the fault is.
///
/// The functions that every value passes through are marked to become part of their callers, and
/// give back no more than fits in two registers: a call for each string was half of the cost.
struct Scan<'a, A> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    is_ascii: bool,
    /// Whether the last string has escapes.
    escaped: bool,
    /// The block that `special` is about.
    block: usize,
    special: u64,
    /// Hears of each block before it is looked at.
    along: A,
}

impl<'a, A: FnMut(usize)> Scan<'a, A> {
    fn new(text: &'a str, along: A) -> Self {
        let mut scan = Self {
            text,
            bytes: text.as_bytes(),
            at: 0,
            is_ascii: text.is_ascii(),
            escaped: false,
            block: 0,
            special: 0,
            along,
        };
        scan.look(0);
        scan
    }

    #[cold]
    fn fail<T>(&mut self, at: usize, fault: Fault) -> Result<T, Fault> {
        self.at = at;
        Err(fault)
    }

    /// The byte here; 0, which canonical JSON never holds, at the end.
    #[inline(always)]
    fn peek(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    #[inline(always)]
    fn expect(&mut self, byte: u8) -> Result<(), Fault> {
        if self.peek() != byte {
            return Err(Fault::Syntax);
        }
        self.at += 1;
        Ok(())
    }

    fn literal(&mut self, word: &[u8]) -> Result<(), Fault> {
        if !self.bytes[self.at..].starts_with(word) {
            return Err(Fault::Syntax);
        }
        self.at += word.len();
        Ok(())
    }

    /// The whole text.
    fn entry(&mut self, mut member: impl FnMut(&'a str, &'a str)) -> Result<(), Fault> {
        self.expect(b'{')?;
        if self.peek() == b'}' {
            self.at += 1;
        } else {
            let mut previous = None;
            loop {
                let key = self.key(previous)?;
                previous = Some(key);
                let from = self.at;
                self.value(1)?;
                member(&self.text[key.from..key.to], &self.text[from..self.at]);
                if self.peek() != b',' {
                    break;
                }
                self.at += 1;
            }
            self.expect(b'}')?;
        }
        match self.at == self.bytes.len() {
            true => Ok(()),
            false => Err(Fault::Trailing),
        }
    }

    /// A value in an object or array that is at `depth`.
    #[inline(always)]
    fn value(&mut self, depth: usize) -> Result<(), Fault> {
        if self.peek() == b'"' {
            self.at += 1;
            return self.string().map(drop);
        }
        self.other(depth + 1)
    }

    /// A value that is not a string; `depth` is its own, if it has one.
    fn other(&mut self, depth: usize) -> Result<(), Fault> {
        match self.peek() {
            b'{' => self.object(depth),
            b'[' => self.array(depth),
            b'-' | b'0'..=b'9' => self.integer(),
            b't' => self.literal(b"true"),
            b'f' => self.literal(b"false"),
            b'n' => self.literal(b"null"),
            _ => Err(Fault::Syntax),
        }
    }

    fn object(&mut self, depth: usize) -> Result<(), Fault> {
        self.at += 1;
        if depth > MAX_DEPTH {
            return Err(Fault::Deep);
        }
        if self.peek() == b'}' {
            self.at += 1;
            return Ok(());
        }
        let mut previous = None;
        loop {
            previous = Some(self.key(previous)?);
            self.value(depth)?;
            if self.peek() != b',' {
                return self.expect(b'}');
            }
            self.at += 1;
        }
    }

    fn array(&mut self, depth: usize) -> Result<(), Fault> {
        self.at += 1;
        if depth > MAX_DEPTH {
            return Err(Fault::Deep);
        }
        if self.peek() == b']' {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.value(depth)?;
            if self.peek() != b',' {
                return self.expect(b']');
            }
            self.at += 1;
        }
    }

    /// A key, which must come after the one before it, and its colon.
    #[inline(always)]
    fn key(&mut self, previous: Option<Key>) -> Result<Key, Fault> {
        self.expect(b'"')?;
        let from = self.at;
        let to = self.string()?;
        let key = Key {
            from,
            to,
            escaped: self.escaped,
            head: head(&self.bytes[from..], to - from),
        };
        if !self.is_ascii && !self.bytes[from..to].is_ascii() {
            return self.fail(from - 1, Fault::Key);
        }
        if previous.is_some_and(|previous| self.order(previous, key) != Ordering::Less) {
            return self.fail(from - 1, Fault::KeyOrder);
        }
        self.expect(b':')?;
        Ok(key)
    }

    /// Order of two keys by the characters they stand for.
    #[inline(always)]
    fn order(&self, a: Key, b: Key) -> Ordering {
        if a.head != b.head && !a.escaped && !b.escaped {
            return a.head.cmp(&b.head);
        }
        let text = |key: Key| unescape(&self.bytes[key.from..key.to]);
        text(a).cmp(&text(b))
    }

    /// The rest of a string after its opening quote; gives where it ends.
    #[inline(always)]
    fn string(&mut self) -> Result<usize, Fault> {
        let from = self.at;
        self.escaped = false;
        self.skip_plain();
        let to = match self.peek() {
            b'"' => self.at,
            _ => self.after_escapes()?,
        };
        if to - from > MAX_STRING {
            return self.long_string(from, to);
        }
        self.at = to + 1;
        Ok(to)
    }

    /// Goes on to the end of a string, from a byte of it that is special and no quote.
    #[cold]
    fn after_escapes(&mut self) -> Result<usize, Fault> {
        self.escaped = true;
        loop {
            match self.peek() {
                b'"' => return Ok(self.at),
                b'\\' => self.at += escape(&self.bytes[self.at..]).ok_or(Fault::Escape)?,
                _ => return Err(Fault::Syntax),
            }
            self.skip_plain();
        }
    }

    /// Whether a string is too long if each escape counts as the byte that it stands for.
    #[cold]
    fn long_string(&mut self, from: usize, to: usize) -> Result<usize, Fault> {
        if unescape(&self.bytes[from..to]).len() > MAX_STRING {
            return self.fail(to, Fault::LongString);
        }
        self.at = to + 1;
        Ok(to)
    }

    /// Goes on to the next byte that does not stand for itself, or to the end.
    #[inline(always)]
    fn skip_plain(&mut self) {
        loop {
            if self.at / BLOCK != self.block {
                self.look(self.at / BLOCK);
            }
            let ahead = self.special >> (self.at % BLOCK);
            if ahead != 0 {
                self.at += ahead.trailing_zeros() as usize;
                return;
            }
            self.at = (self.block + 1) * BLOCK;
        }
    }

    /// Finds the special bytes of a block. What is beyond the end counts as special.
    #[inline(never)]
    fn look(&mut self, block: usize) {
        let rest = self.bytes.get(block * BLOCK..).unwrap_or_default();
        self.block = block;
        (self.along)(block * BLOCK);
        self.special = match rest.first_chunk() {
            Some(whole) => special(whole),
            None => self.special_at_end(rest),
        };
    }

    /// As [`special`], of the less than a block with which the text ends.
    fn special_at_end(&self, rest: &[u8]) -> u64 {
        let beyond = u64::MAX << rest.len();
        match self.bytes.last_chunk() {
            // Shorter by itself: together with what is before it, it makes a block.
            Some(last) if !rest.is_empty() => special(last) >> (BLOCK - rest.len()) | beyond,
            _ => {
                let mut filled = [0; BLOCK];
                filled[..rest.len()].copy_from_slice(rest);
                special(&filled)
            }
        }
    }

    fn integer(&mut self) -> Result<(), Fault> {
        const DIGITS: usize = 16; // of 2^53−1
        let negative = self.peek() == b'-';
        let from = self.at + usize::from(negative);
        let rest = &self.bytes[from..];
        let mut digits = rest.first_chunk().map_or(0, |eight| leading_digits(*eight));
        if digits == 8 || rest.len() < 8 {
            let others = rest[digits..].iter().take(DIGITS);
            digits += others.take_while(|byte| byte.is_ascii_digit()).count();
        }
        self.at = from + digits;
        let magnitude = || {
            let digits = rest[..digits].iter();
            digits.fold(0, |n, digit| n * 10 + u64::from(digit - b'0'))
        };
        let leading_zero = rest.first() == Some(&b'0') && (digits > 1 || negative);
        let large = digits > DIGITS || digits == DIGITS && magnitude() > MAX_INTEGER;
        let decimal = matches!(self.peek(), b'.' | b'e' | b'E');
        if digits == 0 || leading_zero || large || decimal {
            return self.fail(from, Fault::Number);
        }
        Ok(())
    }
}

/// How many of these bytes are digits, up to the first that is none.
fn leading_digits(eight: [u8; 8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    // A digit becomes 0 to 9. Adding 0x76 sets the top bit of 10 and more, and of what has it
    // already nothing is asked; a carry runs upwards, to bytes behind the first such one.
    let values = u64::from_le_bytes(eight) ^ (ONES * u64::from(b'0'));
    let others = (values.wrapping_add(ONES * 0x76) | values) & (ONES << 7);
    (others.trailing_zeros() / 8) as usize
}

/// The first eight bytes of a text of `length`, with which `rest` begins, or fewer and then
/// zeros. A text without escapes holds no zero, so that a shorter one comes first.
#[inline(always)]
fn head(rest: &[u8], length: usize) -> u64 {
    let eight = match rest.first_chunk() {
        Some(eight) => u64::from_be_bytes(*eight),
        None => {
            let mut filled = [0; 8];
            filled[..rest.len()].copy_from_slice(rest);
            u64::from_be_bytes(filled)
        }
    };
    match length {
        0..8 => eight & !(u64::MAX >> (8 * length)),
        _ => eight,
    }
}

/// Length of the escape with which `rest` begins, if it is the canonical one.
fn escape(rest: &[u8]) -> Option<usize> {
    match rest.get(1)? {
        b'"' | b'\\' | b'b' | b't' | b'n' | b'f' | b'r' => Some(2),
        b'u' => rest.get(2..6).and_then(control).map(|_| 6),
        _ => None,
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
