//! The mathematics of the log: leaves, the chain over them, and the RFC 6962 tree.
//!
//! Pure: bytes in, digests out. A [`Frontier`] is all that must be remembered of a tree to
//! append to it: the roots of its perfect subtrees, largest first, one for each 1 bit of its
//! size. Sources: RFC 6962 section 2.1 for the tree; the chain is this project's own.

use osmoda_core::digest::Digest;
use sha2::{Digest as _, Sha256};

/// What every chain value is computed under, so that it can be mistaken for nothing else.
const CHAIN_LABEL: &[u8] = b"osmoda/chain/v1\n";

/// Hash of an entry: SHA-256(0x00 ‖ entry).
pub fn leaf(entry: &[u8]) -> Digest {
    let mut hash = Sha256::new();
    hash.update([0]);
    hash.update(entry);
    Digest(hash.finalize().into())
}

/// Bytes of a block of SHA-256 (FIPS 180-4).
const BLOCK: usize = 64;

/// [`leaf`], block by block, beside somebody who walks over the entry.
pub(crate) struct GrowingLeaf<'a> {
    entry: &'a [u8],
    hash: Sha256,
    /// Bytes of the entry that are hashed.
    done: usize,
}

impl<'a> GrowingLeaf<'a> {
    pub fn new(entry: &'a [u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update([0]);
        Self {
            entry,
            hash,
            done: 0,
        }
    }

    /// Hashes the whole blocks before the byte `at`.
    pub fn follow(&mut self, at: usize) {
        // The 0x00 before the entry is the first byte of the first block.
        let until = (at.min(self.entry.len()) + 1) / BLOCK * BLOCK;
        if let Some(until) = until.checked_sub(1)
            && let Some(part) = self.entry.get(self.done..until)
        {
            self.hash.update(part);
            self.done = until;
        }
    }

    /// The hash of the whole entry, wherever the walk ended.
    pub fn finish(mut self) -> Digest {
        self.hash.update(&self.entry[self.done..]);
        Digest(self.hash.finalize().into())
    }
}

/// Hash of an inner node: SHA-256(0x01 ‖ left ‖ right).
pub fn node(left: &Digest, right: &Digest) -> Digest {
    let mut bytes = [1; 65];
    bytes[1..33].copy_from_slice(&left.0);
    bytes[33..].copy_from_slice(&right.0);
    Digest::of(&bytes)
}

/// Where the chain of the log named `origin` begins.
pub fn chain_start(origin: &str) -> Digest {
    let mut hash = Sha256::new();
    hash.update(CHAIN_LABEL);
    hash.update(origin.as_bytes());
    Digest(hash.finalize().into())
}

/// The chain value after an entry: over the value before it and the entry's leaf.
pub fn chain_next(before: &Digest, leaf: &Digest) -> Digest {
    const LABEL: usize = CHAIN_LABEL.len();
    let mut bytes = [0; LABEL + 64];
    bytes[..LABEL].copy_from_slice(CHAIN_LABEL);
    bytes[LABEL..LABEL + 32].copy_from_slice(&before.0);
    bytes[LABEL + 32..].copy_from_slice(&leaf.0);
    Digest::of(&bytes)
}

/// A tree that can grow: its size and the roots of its perfect subtrees.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frontier {
    size: u64,
    peaks: Vec<Digest>,
}

impl Frontier {
    /// Number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf: one hash on average, log2(size) at most.
    pub fn push(&mut self, leaf: Digest) {
        self.push_each(leaf, |_, _| ());
    }

    /// Appends a leaf, and tells `seen` level and root of every perfect subtree that it
    /// completes, from level 1 on.
    pub(crate) fn push_each(&mut self, leaf: Digest, mut seen: impl FnMut(u32, &Digest)) {
        let mut carried = leaf;
        for level in 1..=self.size.trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                carried = node(&left, &carried);
                seen(level, &carried);
            }
        }
        self.peaks.push(carried);
        self.size += 1;
    }

    /// A tree of 2^`level` leaves with this root.
    pub(crate) fn perfect(level: u32, root: Digest) -> Self {
        Self {
            size: 1 << level,
            peaks: vec![root],
        }
    }

    /// Appends the leaves of another tree. Each of its perfect subtrees must fit where it
    /// comes to lie: this size must be a multiple of a power of two no smaller than the other.
    pub(crate) fn append(&mut self, other: &Self) {
        let levels = (0..u64::BITS)
            .rev()
            .filter(|bit| other.size & (1 << bit) != 0);
        for (mut level, peak) in levels.zip(&other.peaks) {
            self.size += 1 << level;
            let mut carried = *peak;
            // Every 1 bit that the addition carried over is a pair that became one.
            while self.size & (1 << level) == 0 {
                let Some(left) = self.peaks.pop() else { break };
                carried = node(&left, &carried);
                level += 1;
            }
            self.peaks.push(carried);
        }
    }

    /// Root of the tree that has the leaves of this one and then those of `right`, under the
    /// condition of [`Frontier::append`].
    pub(crate) fn root_with(&self, right: Digest) -> Digest {
        let peaks = self.peaks.iter().rev();
        peaks.fold(right, |right, left| node(left, &right))
    }

    /// Merkle tree hash of all leaves; of none it is the hash of the empty string.
    pub fn root(&self) -> Digest {
        let mut peaks = self.peaks.iter().rev();
        match peaks.next() {
            None => Digest::of(b""),
            Some(last) => peaks.fold(*last, |right, left| node(left, &right)),
        }
    }

    /// The part of this tree that lies in its largest subtrees, leaving at most `rest` leaves
    /// to be appended again. With `rest` = 0 it is the tree itself.
    pub fn without_last(&self, rest: u64) -> Self {
        let mut head = Self::default();
        let bits = (0..u64::BITS).rev().map(|bit| 1u64 << bit);
        let sizes = bits.filter(|bit| self.size & bit != 0);
        for (peak, size) in self.peaks.iter().zip(sizes) {
            if self.size - head.size <= rest {
                break;
            }
            head.size += size;
            head.peaks.push(*peak);
        }
        head
    }

    /// The peaks, largest first, 32 bytes each, as the store keeps them beside the size.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.peaks.iter().flat_map(|peak| peak.0).collect()
    }

    /// Reads what [`Frontier::to_bytes`] wrote; `None` if the length does not fit the size.
    pub fn from_bytes(size: u64, bytes: &[u8]) -> Option<Self> {
        let (peaks, rest) = bytes.as_chunks::<32>();
        let fits = rest.is_empty() && peaks.len() as u32 == size.count_ones();
        fits.then(|| Self {
            size,
            peaks: peaks.iter().copied().map(Digest).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits = |i| u8::from_str_radix(&text[i..i + 2], 16).unwrap();
        (0..text.len()).step_by(2).map(digits).collect()
    }

    fn eight_leaves() -> Vec<Digest> {
        let entries = "|00|10|2021|3031|40414243|5051525354555657|606162636465666768696a6b6c6d6e6f";
        entries.split('|').map(|text| leaf(&hex(text))).collect()
    }

    /// The definition of RFC 6962 section 2.1, word for word, to compare the frontier with.
    fn tree_hash(leaves: &[Digest]) -> Digest {
        match leaves {
            [] => Digest::of(b""),
            [one] => *one,
            _ => {
                let split = leaves.len().next_power_of_two() / 2;
                let (left, right) = leaves.split_at(split);
                node(&tree_hash(left), &tree_hash(right))
            }
        }
    }

    #[test]
    fn a_leaf_that_grows_becomes_the_leaf() {
        let entry: Vec<u8> = (0..=255).collect();
        for length in 0..entry.len() {
            let entry = &entry[..length];
            for step in [1, 63, 64, 65, 300] {
                let mut growing = GrowingLeaf::new(entry);
                for at in (0..=length + step).step_by(step) {
                    growing.follow(at);
                    growing.follow(at / 2);
                    assert!(growing.done <= at.min(length), "no further than {at}");
                }
                assert_eq!(growing.finish(), leaf(entry), "{length} by {step}");
            }
            assert_eq!(GrowingLeaf::new(entry).finish(), leaf(entry));
        }
    }

    fn grown(leaves: &[Digest]) -> Frontier {
        let mut tree = Frontier::default();
        leaves.iter().for_each(|leaf| tree.push(*leaf));
        tree
    }

    #[test]
    fn leaves_and_nodes_match_the_published_vectors() {
        assert_eq!(
            leaf(b"").to_string(),
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
        );
        assert_eq!(
            leaf(b"L123456").to_string(),
            "395aa064aa4c29f7010acfe3f25db9485bbd4b91897b6ad7ad547639252b4d56"
        );
        // The published node vector has operands of four bytes; ours are digests.
        assert_eq!(
            Digest::of(b"\x01N123N456").to_string(),
            "aa217fe888e47007fa15edab33c2b492a722cb106c64667fc2b044444de66bbb"
        );
        let (left, right) = (leaf(b"a"), leaf(b"b"));
        let joined = [&[1u8][..], &left.0, &right.0].concat();
        assert_eq!(node(&left, &right), Digest::of(&joined));
    }

    #[test]
    fn roots_match_the_published_vectors() {
        let leaves = eight_leaves();
        let root = |n: usize| grown(&leaves[..n]).root().to_string();
        assert_eq!(
            root(0),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert_eq!(
            root(3),
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"
        );
        assert_eq!(
            root(8),
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"
        );
    }

    #[test]
    fn the_frontier_agrees_with_the_definition_at_every_size() {
        let leaves: Vec<_> = (0..300u32).map(|n| leaf(&n.to_be_bytes())).collect();
        for n in 0..leaves.len() {
            let tree = grown(&leaves[..n]);
            assert_eq!(tree.root(), tree_hash(&leaves[..n]), "size {n}");
            let read = Frontier::from_bytes(n as u64, &tree.to_bytes());
            assert_eq!(read.as_ref(), Some(&tree), "size {n}");
        }
    }

    #[test]
    fn trees_of_stretches_join_to_the_tree_of_the_whole() {
        let leaves: Vec<_> = (0..300u32).map(|n| leaf(&n.to_be_bytes())).collect();
        for stretch in [1, 2, 16, 64] {
            for n in 0..leaves.len() {
                let mut tree = Frontier::default();
                for part in leaves[..n].chunks(stretch) {
                    let part = grown(part);
                    let joined = tree.root_with(part.root());
                    tree.append(&part);
                    assert_eq!(tree.root(), joined);
                }
                assert_eq!(tree, grown(&leaves[..n]), "{n} in stretches of {stretch}");
            }
        }
    }

    #[test]
    fn a_tree_is_rebuilt_from_its_large_subtrees_and_its_last_leaves() {
        let leaves: Vec<_> = (0..300u32).map(|n| leaf(&n.to_be_bytes())).collect();
        let whole = grown(&leaves);
        for rest in [0, 1, 40, 44, 45, 300, 1000] {
            let mut tree = whole.without_last(rest);
            assert!(300 - tree.size() <= rest, "rest {rest}");
            let missing = &leaves[usize::try_from(tree.size()).unwrap()..];
            missing.iter().for_each(|leaf| tree.push(*leaf));
            assert_eq!(tree, whole, "rest {rest}");
        }
        assert_eq!(whole.without_last(300).size(), 0);
    }

    #[test]
    fn a_frontier_of_the_wrong_length_is_refused() {
        assert_eq!(Frontier::from_bytes(1, &[]), None);
        assert_eq!(Frontier::from_bytes(2, &[0; 64]), None);
        assert_eq!(Frontier::from_bytes(1, &[0; 33]), None);
    }

    #[test]
    fn the_chain_is_labelled_and_depends_on_origin_order_and_leaf() {
        let start = chain_start("n/osmoda/0");
        assert_eq!(start, Digest::of(b"osmoda/chain/v1\nn/osmoda/0"));
        let (a, b) = (leaf(b"a"), leaf(b"b"));
        let labelled = [CHAIN_LABEL, &start.0, &a.0].concat();
        assert_eq!(chain_next(&start, &a), Digest::of(&labelled));
        let forth = chain_next(&chain_next(&start, &a), &b);
        let back = chain_next(&chain_next(&start, &b), &a);
        assert_ne!(forth, back);
        assert_ne!(start, chain_start("n/osmoda/1"));
    }
}
