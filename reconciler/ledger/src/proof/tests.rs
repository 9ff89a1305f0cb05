//! Proofs against the definition, against each other, and against published data:
//! transparency-dev/merkle, testdata/inclusion and testdata/consistency (Apache-2.0), one case
//! a line in tests/vectors.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;

use super::*;
use crate::tlog::{Frontier, leaf, node};

/// All leaves in memory; hashes of subtrees straight from the definition.
struct Leaves(Vec<Digest>);

impl NodeSource for Leaves {
    type Error = std::convert::Infallible;

    fn node(&mut self, level: u32, index: u64) -> Result<Digest, Self::Error> {
        let from = usize::try_from(index << level).unwrap();
        let leaves = &self.0[from..from + (1 << level)];
        Ok(match leaves {
            [one] => *one,
            _ => {
                let left = self.node(level - 1, index * 2)?;
                node(&left, &self.node(level - 1, index * 2 + 1)?)
            }
        })
    }
}

fn leaves(count: u32) -> Leaves {
    Leaves((0..count).map(|n| leaf(&n.to_be_bytes())).collect())
}

fn root_of(leaves: &Leaves, size: u64) -> Digest {
    let mut tree = Frontier::default();
    let head = &leaves.0[..usize::try_from(size).unwrap()];
    head.iter().for_each(|leaf| tree.push(*leaf));
    tree.root()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Inclusion {
    leaf_idx: u64,
    tree_size: u64,
    root: String,
    leaf_hash: String,
    proof: Option<Vec<String>>,
    desc: String,
    want_err: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Consistency {
    size1: u64,
    size2: u64,
    root1: String,
    root2: String,
    proof: Option<Vec<String>>,
    desc: String,
    want_err: bool,
}

/// Some of the data's hashes are not hashes; `None` then, which our types already refuse.
fn digest(text: &str) -> Option<Digest> {
    STANDARD.decode(text).unwrap().try_into().ok().map(Digest)
}

fn digests(proof: &Option<Vec<String>>) -> Option<Vec<Digest>> {
    proof.iter().flatten().map(|hash| digest(hash)).collect()
}

#[test]
fn published_inclusion_proofs_are_judged_as_published() {
    let mut judged = 0;
    for line in include_str!("../../tests/vectors/merkle-inclusion.jsonl").lines() {
        let case: Inclusion = serde_json::from_str(line).unwrap();
        let parts = (
            digest(&case.leaf_hash),
            digests(&case.proof),
            digest(&case.root),
        );
        let (Some(leaf), Some(proof), Some(root)) = parts else {
            assert!(case.want_err, "{}", case.desc);
            continue;
        };
        let found = verify_inclusion(&leaf, case.leaf_idx, case.tree_size, &proof, &root);
        assert_eq!(found.is_err(), case.want_err, "{}: {found:?}", case.desc);
        judged += 1;
    }
    assert!(judged > 60, "{judged}");
}

#[test]
fn published_consistency_proofs_are_judged_as_published() {
    let mut judged = 0;
    for line in include_str!("../../tests/vectors/merkle-consistency.jsonl").lines() {
        let case: Consistency = serde_json::from_str(line).unwrap();
        // "don't care" stands for some root; only whether two are the same matters.
        let root = |text: &str| digest(text).unwrap_or_else(|| Digest::of(text.as_bytes()));
        let Some(proof) = digests(&case.proof) else {
            assert!(case.want_err, "{}", case.desc);
            continue;
        };
        let (old, new) = (root(&case.root1), root(&case.root2));
        let found = verify_consistency(case.size1, case.size2, &proof, &old, &new);
        assert_eq!(found.is_err(), case.want_err, "{}: {found:?}", case.desc);
        judged += 1;
    }
    assert!(judged > 60, "{judged}");
}

#[test]
fn every_leaf_of_every_tree_can_be_proved_and_no_other() {
    let mut source = leaves(70);
    for size in 1..=70 {
        let tree = root_of(&source, size);
        assert_eq!(root(size, &mut source), Ok(tree));
        for index in 0..size {
            let Ok(mut proof) = inclusion(index, size, &mut source);
            let leaf = source.0[usize::try_from(index).unwrap()];
            let check = |leaf: &Digest, index: u64, size: u64, proof: &[Digest]| {
                verify_inclusion(leaf, index, size, proof, &tree)
            };
            assert_eq!(
                check(&leaf, index, size, &proof),
                Ok(()),
                "{index} of {size}"
            );
            assert!(check(&Digest::of(b"x"), index, size, &proof).is_err());
            assert!(check(&leaf, index + 1, size, &proof).is_err());
            assert!(check(&leaf, size, size, &proof).is_err());
            let one_more = [&proof[..], &[tree]].concat();
            assert_eq!(
                check(&leaf, index, size, &one_more),
                Err(ProofError::Length)
            );
            if proof.pop().is_some() {
                assert_eq!(check(&leaf, index, size, &proof), Err(ProofError::Length));
            }
        }
    }
}

#[test]
fn every_tree_is_shown_to_grow_out_of_every_smaller_one_and_out_of_no_other() {
    let mut source = leaves(70);
    for new in 1..=70 {
        let new_root = root_of(&source, new);
        for old in 1..=new {
            let old_root = root_of(&source, old);
            let Ok(proof) = consistency(old, new, &mut source);
            let check = |old, new, proof: &[Digest], old_root, new_root| {
                verify_consistency(old, new, proof, old_root, new_root)
            };
            assert_eq!(
                check(old, new, &proof, &old_root, &new_root),
                Ok(()),
                "{old} {new}"
            );
            let other = Digest::of(b"x");
            assert!(check(old, new, &proof, &other, &new_root).is_err());
            assert!(check(old, new, &proof, &old_root, &other).is_err());
            assert!(check(old + 1, new, &proof, &old_root, &new_root).is_err());
            assert!(check(0, new, &proof, &old_root, &new_root).is_err());
            assert!(check(old, old - 1, &proof, &old_root, &new_root).is_err());
            for (place, hash) in proof.iter().enumerate() {
                let mut bent = proof.clone();
                bent[place] = Digest::of(&hash.0);
                let found = check(old, new, &bent, &old_root, &new_root);
                assert_eq!(found, Err(ProofError::Mismatch));
            }
        }
    }
}

#[test]
fn questions_without_sense_get_empty_proofs() {
    let mut source = leaves(4);
    for proof in [
        inclusion(4, 4, &mut source),
        inclusion(0, 0, &mut source),
        inclusion(0, 1, &mut source),
        consistency(0, 4, &mut source),
        consistency(4, 4, &mut source),
        consistency(4, 3, &mut source),
    ] {
        assert_eq!(proof, Ok(Vec::new()));
    }
}

#[test]
fn a_proof_of_the_largest_tree_stays_within_its_bound() {
    /// Hashes that mean nothing: only their number counts here.
    struct Anything;
    impl NodeSource for Anything {
        type Error = std::convert::Infallible;
        fn node(&mut self, _: u32, _: u64) -> Result<Digest, Self::Error> {
            Ok(Digest([0; 32]))
        }
    }
    let size = crate::checkpoint::SIZE_MAX;
    for at in [0, 1, size / 3, size - 1] {
        assert!(inclusion(at, size, &mut Anything).unwrap().len() <= PROOF_MAX);
        assert!(consistency(at, size, &mut Anything).unwrap().len() <= PROOF_MAX);
    }
}
