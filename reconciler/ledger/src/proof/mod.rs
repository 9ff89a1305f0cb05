//! Proofs about a tree: that it holds a leaf, and that it grew out of a smaller one.
//!
//! Made as RFC 6962 sections 2.1.1 and 2.1.2 define them, checked as RFC 9162 sections 2.1.3.2
//! and 2.1.4.2 prescribe: two ways that have nothing in common, which the tests hold against
//! each other and against published data. Pure; where nodes come from is the caller's
//! [`NodeSource`].

#[cfg(test)]
mod tests;

use osmoda_core::digest::Digest;

use crate::tlog;

/// Most hashes of a proof: two for each level of a tree of 2^63 leaves.
pub const PROOF_MAX: usize = 126;

/// Gives roots of perfect subtrees of a log's tree.
pub trait NodeSource {
    /// Why a node cannot be had.
    type Error;

    /// Root over the 2^`level` leaves from `index` · 2^`level` on. It is asked only for
    /// subtrees that lie wholly within the size for which a proof is made.
    ///
    /// # Errors
    /// Whatever the source has.
    fn node(&mut self, level: u32, index: u64) -> Result<Digest, Self::Error>;
}

/// Why a proof shows nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The place is not within the tree, or the older tree is not the smaller one.
    #[error("the proof is about a place or a size that the tree does not have")]
    OutOfRange,
    /// There are too many hashes, or too few.
    #[error("the proof does not have as many hashes as such a proof has")]
    Length,
    /// The hashes lead to another root.
    #[error("the proof leads to another root")]
    Mismatch,
}

/// The audit path of the leaf `index` in the tree of `size` leaves, from its sibling upwards:
/// PATH(m, D\[n\]). Empty if there is no such leaf.
///
/// # Errors
/// The source's.
pub fn inclusion<S: NodeSource>(
    index: u64,
    size: u64,
    source: &mut S,
) -> Result<Vec<Digest>, S::Error> {
    let (mut begin, mut end) = (0, size);
    let mut siblings = Vec::new();
    while index < size && end - begin > 1 {
        let middle = begin + split(end - begin);
        if index < middle {
            siblings.push((middle, end));
            end = middle;
        } else {
            siblings.push((begin, middle));
            begin = middle;
        }
    }
    let upwards = siblings.into_iter().rev();
    upwards
        .map(|(begin, end)| range(begin, end, source))
        .collect()
}

/// What shows that the tree of `new` leaves grew out of that of `old`: PROOF(m, D\[n\]). Empty
/// if either is empty, both are equal, or `old` is the larger.
///
/// # Errors
/// The source's.
pub fn consistency<S: NodeSource>(
    old: u64,
    new: u64,
    source: &mut S,
) -> Result<Vec<Digest>, S::Error> {
    let (mut begin, mut end) = (0, new);
    let mut parts = Vec::new();
    // Down to the subtree that ends where the old tree ended.
    while old > begin && old < end {
        let middle = begin + split(end - begin);
        if old <= middle {
            parts.push((middle, end));
            end = middle;
        } else {
            parts.push((begin, middle));
            begin = middle;
        }
    }
    // If that is the whole old tree, who checks the proof has its root already.
    if begin > 0 {
        parts.push((begin, end));
    }
    if old == 0 || old >= new {
        parts.clear();
    }
    let upwards = parts.into_iter().rev();
    upwards
        .map(|(begin, end)| range(begin, end, source))
        .collect()
}

/// Root of the tree of `size` leaves.
///
/// # Errors
/// The source's.
pub fn root<S: NodeSource>(size: u64, source: &mut S) -> Result<Digest, S::Error> {
    match size {
        0 => Ok(Digest::of(b"")),
        _ => range(0, size, source),
    }
}

/// Largest power of two below `count`, which is at least 2.
fn split(count: u64) -> u64 {
    1 << (count - 1).ilog2()
}

/// Hash over the leaves from `begin` to `end`, a range that RFC 6962's splits lead to: `begin`
/// is a multiple of every power of two up to its length.
fn range<S: NodeSource>(begin: u64, end: u64, source: &mut S) -> Result<Digest, S::Error> {
    let count = end - begin;
    if count.is_power_of_two() {
        let level = count.ilog2();
        return source.node(level, begin >> level);
    }
    let middle = begin + split(count);
    let left = range(begin, middle, source)?;
    Ok(tlog::node(&left, &range(middle, end, source)?))
}

/// Whether `proof` shows that the tree of `size` leaves with `root` holds `leaf` at `index`.
///
/// # Errors
/// [`ProofError`] if it does not.
pub fn verify_inclusion(
    leaf: &Digest,
    index: u64,
    size: u64,
    proof: &[Digest],
    root: &Digest,
) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::OutOfRange);
    }
    let (mut place, mut last) = (index, size - 1);
    let mut hash = *leaf;
    for sibling in proof {
        if last == 0 {
            return Err(ProofError::Length);
        }
        if place & 1 == 1 || place == last {
            hash = tlog::node(sibling, &hash);
            if place & 1 == 0 {
                // An only child: its parents stand alone too, until one has a left sibling.
                let up = place.trailing_zeros();
                place >>= up;
                last >>= up;
            }
        } else {
            hash = tlog::node(&hash, sibling);
        }
        place >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(ProofError::Length);
    }
    if hash == *root {
        Ok(())
    } else {
        Err(ProofError::Mismatch)
    }
}

/// Whether `proof` shows that the tree of `new` leaves with `new_root` begins with the tree of
/// `old` leaves with `old_root`. Nothing can be shown about an empty tree: whoever begins at
/// nothing needs no proof.
///
/// # Errors
/// [`ProofError`] if it does not.
pub fn verify_consistency(
    old: u64,
    new: u64,
    proof: &[Digest],
    old_root: &Digest,
    new_root: &Digest,
) -> Result<(), ProofError> {
    if old == 0 || old > new {
        return Err(ProofError::OutOfRange);
    }
    if old == new {
        return match (proof.is_empty(), old_root == new_root) {
            (false, _) => Err(ProofError::Length),
            (true, false) => Err(ProofError::Mismatch),
            (true, true) => Ok(()),
        };
    }
    let mut steps = proof.iter();
    // The whole old tree is one subtree of the new one: its root is where the way begins.
    let first = match old.is_power_of_two() {
        true => old_root,
        false => steps.next().ok_or(ProofError::Length)?,
    };
    let up = (old - 1).trailing_ones();
    let (mut place, mut last) = ((old - 1) >> up, (new - 1) >> up);
    let (mut old_hash, mut new_hash) = (*first, *first);
    for step in steps {
        if last == 0 {
            return Err(ProofError::Length);
        }
        if place & 1 == 1 || place == last {
            old_hash = tlog::node(step, &old_hash);
            new_hash = tlog::node(step, &new_hash);
            if place & 1 == 0 {
                let up = place.trailing_zeros();
                place >>= up;
                last >>= up;
            }
        } else {
            new_hash = tlog::node(&new_hash, step);
        }
        place >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(ProofError::Length);
    }
    match old_hash == *old_root && new_hash == *new_root {
        true => Ok(()),
        false => Err(ProofError::Mismatch),
    }
}
