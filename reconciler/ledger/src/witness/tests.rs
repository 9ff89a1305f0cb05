//! A log that grows, its forks, and a witness that watches it.

use std::{sync::Barrier, thread};

use osmoda_core::digest::Digest;

use super::*;
use crate::{
    checkpoint::Checkpoint,
    note::Note,
    proof::{NodeSource, consistency},
    tlog,
};

const ORIGIN: &str = "a/osmoda/1";
const NOW: u64 = 1_769_860_800;

/// A log in memory; `salt` tells histories apart.
struct Log {
    leaves: Vec<Digest>,
    signer: NoteSigner,
}

impl NodeSource for &Log {
    type Error = std::convert::Infallible;

    fn node(&mut self, level: u32, index: u64) -> Result<Digest, Self::Error> {
        let (from, count) = ((index << level) as usize, 1usize << level);
        Ok(hash(&self.leaves[from..from + count]))
    }
}

fn hash(leaves: &[Digest]) -> Digest {
    let mut tree = tlog::Frontier::default();
    leaves.iter().for_each(|leaf| tree.push(*leaf));
    tree.root()
}

impl Log {
    /// Entries from `fork` on differ by `salt`.
    fn new(size: u64, fork: u64, salt: u8) -> Self {
        let leaf = |n: u64| match n < fork {
            true => tlog::leaf(&n.to_be_bytes()),
            false => tlog::leaf(&[&n.to_be_bytes()[..], &[salt]].concat()),
        };
        Self {
            leaves: (0..size).map(leaf).collect(),
            signer: NoteSigner::from_seed(ORIGIN, Algorithm::Ed25519, &[1; 32]).unwrap(),
        }
    }

    fn checkpoint(&self, size: u64) -> Note {
        let root = hash(&self.leaves[..size as usize]);
        let text = Checkpoint::new(ORIGIN, size, root).to_string();
        let mut note = Note::new(text).unwrap();
        self.signer.sign(&mut note, 0).unwrap();
        note
    }

    fn request(&self, old: u64, size: u64) -> String {
        let mut source = self;
        let proof = consistency(old, size, &mut source).unwrap();
        let note = self.checkpoint(size);
        Request::new(old, proof, note).unwrap().to_string()
    }
}

fn honest(size: u64) -> Log {
    Log::new(size, 0, 0)
}

fn witness(directory: &tempfile::TempDir) -> Witness {
    let signer = NoteSigner::from_seed("w", Algorithm::CosignatureV1, &[2; 32]).unwrap();
    let memory = Memory::open(&directory.path().join("witness.db")).unwrap();
    Witness::new(signer, [honest(0).signer.verifier()], memory).unwrap()
}

fn place() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn status(answer: Result<Signature, Refusal>) -> u16 {
    answer.map_or_else(|refusal| refusal.status(), |_| 200)
}

#[test]
fn a_log_that_grows_is_cosigned_and_the_cosignature_verifies() {
    let place = place();
    let witness = witness(&place);
    let log = honest(20);
    for (old, size) in [(0, 3), (3, 3), (3, 8), (8, 20)] {
        let cosignature = witness.add_checkpoint(log.request(old, size).as_bytes(), NOW);
        let mut note = log.checkpoint(size);
        note.add(cosignature.unwrap()).unwrap();
        let keys = [witness.verifier()];
        let verified = note.verify(&keys).unwrap();
        assert_eq!(verified[0].timestamp, Some(NOW), "{old} to {size}");
    }
}

#[test]
fn the_published_request_is_read_and_written_alike() {
    // The example of C2SP tlog-witness.md.
    let text = "old 20852014\n\
        PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n\
        jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=\n\
        5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=\n\
        /6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=\n\
        \n\
        example.com/behind-the-sofa\n\
        20852163\n\
        CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\
        \n\
        \u{2014} example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n\
        \u{2014} example.com/behind-the-sofa opLqBQsREYCgu6xQkYQwJr9fo45a62DN9EdmHXnZdXNqlcVGlCum2Wks+49/V6267UEjw6QUXTS5Rovnzv++qbSzm9Q=\n";
    let request = Request::parse(text.as_bytes()).unwrap();
    assert_eq!((request.old, request.proof.len()), (20_852_014, 4));
    assert_eq!(request.checkpoint.size, 20_852_163);
    assert_eq!(request.to_string(), text);
}

#[test]
fn each_fault_has_the_status_that_the_protocol_gives_it() {
    let place = place();
    let witness = witness(&place);
    let log = honest(20);
    witness
        .add_checkpoint(log.request(0, 8).as_bytes(), NOW)
        .unwrap();
    let good = log.request(8, 20);
    let unsigned = good.replace(ORIGIN, "a/osmoda/2");
    let mut stranger = honest(20);
    stranger.signer = NoteSigner::from_seed(ORIGIN, Algorithm::Ed25519, &[9; 32]).unwrap();
    let mut wrong = log.checkpoint(20);
    let line = wrong.signatures()[0].clone();
    wrong.keep(|_| false);
    wrong
        .add(Signature {
            bytes: vec![7; 64],
            ..line
        })
        .unwrap();
    let wrong = Request::new(8, Vec::new(), wrong).unwrap().to_string();
    let fork = Log::new(20, 5, 1);
    let hashes = "PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n".repeat(PROOF_LINES_MAX + 1);
    let cases = [
        (400, "nothing", String::new()),
        (400, "no empty line", "old 8\n".to_owned()),
        (
            400,
            "a size with a zero",
            good.replacen("old 8", "old 08", 1),
        ),
        (
            400,
            "a proof line that is none",
            good.replacen("old 8\n", "old 8\nAAAA\n", 1),
        ),
        (
            400,
            "too long a proof",
            good.replacen("old 8\n", &format!("old 8\n{hashes}"), 1),
        ),
        (400, "no note", "old 8\n\nhello\n".to_owned()),
        (
            400,
            "too long",
            format!("{good}{}", " ".repeat(REQUEST_MAX)),
        ),
        (
            400,
            "shrinking",
            log.request(8, 8).replacen("old 8", "old 9", 1),
        ),
        (404, "a log that is not watched", unsigned),
        (403, "a key that is not known", stranger.request(8, 20)),
        (403, "a wrong signature", wrong),
        (409, "from the beginning", log.request(0, 20)),
        (409, "from another size", log.request(7, 20)),
        (
            422,
            "no proof",
            Request::new(8, Vec::new(), log.checkpoint(20))
                .unwrap()
                .to_string(),
        ),
        (422, "a fork", fork.request(8, 20)),
        (422, "another root at the same size", fork.request(8, 8)),
        (
            422,
            "a proof too many",
            log.request(8, 8)
                .replacen("\n", &format!("\n{}\n", good.lines().nth(1).unwrap()), 1),
        ),
    ];
    for (expected, what, body) in cases {
        let answer = witness.add_checkpoint(body.as_bytes(), NOW);
        assert_eq!(status(answer.clone()), expected, "{what}: {answer:?}");
    }
    assert_eq!(
        witness.add_checkpoint(log.request(7, 20).as_bytes(), NOW),
        Err(Refusal::Conflict(8))
    );
    assert_eq!(
        status(witness.add_checkpoint(good.as_bytes(), NOW)),
        200,
        "still at 8"
    );
}

#[test]
fn an_empty_log_may_be_cosigned_with_the_empty_root_only() {
    let place = place();
    let witness = witness(&place);
    let log = honest(4);
    assert_eq!(
        status(witness.add_checkpoint(log.request(0, 0).as_bytes(), NOW)),
        200
    );
    let text = Checkpoint::new(ORIGIN, 0, Digest::of(b"x")).to_string();
    let mut odd = Note::new(text).unwrap();
    log.signer.sign(&mut odd, 0).unwrap();
    let odd = Request::new(0, Vec::new(), odd).unwrap().to_string();
    assert_eq!(status(witness.add_checkpoint(odd.as_bytes(), NOW)), 422);
    let superfluous = log.request(0, 4).replacen(
        "old 0\n",
        "old 0\nPlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n",
        1,
    );
    assert_eq!(
        status(witness.add_checkpoint(superfluous.as_bytes(), NOW)),
        422
    );
    assert_eq!(
        status(witness.add_checkpoint(log.request(0, 4).as_bytes(), NOW)),
        200
    );
}

#[test]
fn what_was_cosigned_is_known_after_a_restart() {
    let place = place();
    let log = honest(20);
    witness(&place)
        .add_checkpoint(log.request(0, 8).as_bytes(), NOW)
        .unwrap();
    let again = witness(&place);
    assert_eq!(
        again.add_checkpoint(log.request(0, 20).as_bytes(), NOW),
        Err(Refusal::Conflict(8))
    );
    let fork = Log::new(20, 5, 1);
    assert_eq!(
        status(again.add_checkpoint(fork.request(8, 20).as_bytes(), NOW)),
        422
    );
    assert_eq!(
        status(again.add_checkpoint(log.request(8, 20).as_bytes(), NOW)),
        200
    );
}

#[test]
fn monitors_get_the_latest_checkpoint_with_both_signatures_and_no_others() {
    let place = place();
    let witness = witness(&place);
    let log = honest(20);
    let hash = Digest::of(ORIGIN.as_bytes()).to_string();
    assert_eq!(witness.latest(&hash).unwrap(), None);
    let mut crowded = log.checkpoint(8);
    crowded
        .add(Signature {
            name: "stranger".to_owned(),
            key_id: 1,
            bytes: vec![1; 64],
        })
        .unwrap();
    let request = Request::new(0, Vec::new(), crowded).unwrap().to_string();
    witness.add_checkpoint(request.as_bytes(), NOW).unwrap();
    let note = Note::parse(witness.latest(&hash).unwrap().unwrap().as_bytes()).unwrap();
    let keys = [log.signer.verifier(), witness.verifier()];
    assert_eq!(note.verify(&keys).unwrap().len(), 2);
    assert_eq!(note.signatures().len(), 2);
    assert_eq!(witness.latest("no such log").unwrap(), None);
}

#[test]
fn a_checkpoint_that_does_not_fit_is_kept_as_evidence() {
    let place = place();
    let witness = witness(&place);
    let (log, fork) = (honest(8), Log::new(8, 5, 1));
    witness
        .add_checkpoint(log.request(0, 8).as_bytes(), NOW)
        .unwrap();
    assert_eq!(
        status(witness.add_checkpoint(fork.request(8, 8).as_bytes(), NOW)),
        422
    );
    let memory = Memory::open(&place.path().join("witness.db")).unwrap();
    assert_eq!(
        memory.evidence(ORIGIN).unwrap(),
        Some(fork.checkpoint(8).to_string())
    );
}

/// Two connections, as two processes would have: the lock of one witness is not what decides.
#[test]
fn of_two_requests_that_build_on_the_same_size_exactly_one_is_cosigned() {
    for _ in 0..20 {
        let place = place();
        let log = honest(40);
        let witnesses = [witness(&place), witness(&place)];
        witnesses[0]
            .add_checkpoint(log.request(0, 8).as_bytes(), NOW)
            .unwrap();
        let start = Barrier::new(2);
        let statuses = thread::scope(|scope| {
            let racing = [(&witnesses[0], 20), (&witnesses[1], 33)].map(|(witness, size)| {
                let body = log.request(8, size);
                let start = &start;
                scope.spawn(move || {
                    start.wait();
                    status(witness.add_checkpoint(body.as_bytes(), NOW))
                })
            });
            racing.map(|thread| thread.join().unwrap())
        });
        let mut sorted = statuses;
        sorted.sort_unstable();
        assert_eq!(sorted, [200, 409]);
        let winner = if statuses[0] == 200 { 20 } else { 33 };
        let memory = Memory::open(&place.path().join("witness.db")).unwrap();
        assert_eq!(memory.latest(ORIGIN).unwrap().unwrap().size, winner);
    }
}

#[test]
fn keys_of_the_wrong_kind_are_refused() {
    let place = place();
    let memory = || Memory::open(&place.path().join("witness.db")).unwrap();
    let log = NoteSigner::from_seed("l", Algorithm::Ed25519, &[1; 32]).unwrap();
    let own = || NoteSigner::from_seed("w", Algorithm::CosignatureV1, &[2; 32]).unwrap();
    let of_log = Witness::new(log, [], memory()).err();
    assert_eq!(of_log, Some(SetupError::NoWitnessKey("l".to_owned())));
    let of_witness = Witness::new(own(), [own().verifier()], memory()).err();
    assert_eq!(of_witness, Some(SetupError::NoLogKey("w".to_owned())));
}

#[test]
fn a_file_that_is_something_else_is_no_memory() {
    let place = place();
    let path = place.path().join("witness.db");
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE t(x)").unwrap();
    assert!(Memory::open(&path).is_err());
}
