//! Which bytes do not stand for themselves in a string, 64 at a time, as the bits of a number.
//!
//! To find where a string ends is most of what the checker does. Looking at each byte would be a
//! branch for each byte; here the processor compares sixteen at once, and the end of any string
//! in the block is the next bit that is set.

use wide::u8x16;

/// Bytes of a block.
pub(super) const BLOCK: usize = 64;

/// Bit n is set if byte n is a quote, a backslash or a control character.
#[inline]
pub(super) fn special(block: &[u8; BLOCK]) -> u64 {
    let (sixteens, _) = block.as_chunks();
    let sixteens = sixteens.iter().rev();
    sixteens.fold(0, |bits, sixteen| bits << 16 | u64::from(among(*sixteen)))
}

#[inline]
fn among(sixteen: [u8; 16]) -> u32 {
    let bytes = u8x16::new(sixteen);
    let is = |byte| bytes.simd_eq(u8x16::splat(byte));
    let last_control = u8x16::splat(0x1f);
    let is_control = bytes.min(last_control).simd_eq(bytes);
    (is(b'"') | is(b'\\') | is_control).to_bitmask()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_has_its_bit_wherever_it_stands() {
        for byte in 0..=u8::MAX {
            let is_special = byte < 0x20 || byte == b'"' || byte == b'\\';
            for (others, bits) in [(b'x', 0), (b'"', u64::MAX)] {
                for place in 0..BLOCK {
                    let mut block = [others; BLOCK];
                    block[place] = byte;
                    let expected = bits & !(1 << place) | u64::from(is_special) << place;
                    assert_eq!(special(&block), expected, "{byte} at {place}");
                }
            }
        }
    }
}
