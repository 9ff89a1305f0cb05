//! The log of QEMU's `blklogwrites` driver, and what a disk holds after a cut.
//!
//! Format: Linux' dm-log-writes, version 1 (Documentation/admin-guide/device-mapper/
//! log-writes.rst and drivers/md/dm-log-writes.c). Sector 0 is the superblock: magic, version,
//! number of entries (64 bits each), sector size (32 bits), all little-endian. Then entry after
//! entry: a sector with the number of the first sector, how many, and flags (64 bits each),
//! followed by the data, if it has any.

/// "rhswfsj" and a zero.
const MAGIC: u64 = 0x006a_7366_7773_6872;
/// Unit of the log, in bytes.
pub const SECTOR: usize = 512;
/// What the disk writes whole or not at all, in bytes: a block of its ext4. The superblocks of
/// ext4 and of its journal are one block with one checksum, and no file system starts from half
/// of one; a page of the ledger is several, and may be torn.
pub const BLOCK: usize = 1024;
/// What was written before is on the disk.
const FLUSH: u64 = 1;
/// This one is on the disk.
const FUA: u64 = 2;
/// No data follows, and what is on the disk there does not matter any more.
const DISCARD: u64 = 4;

/// The log, read.
pub struct Log {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

struct Entry {
    flags: u64,
    /// Where its data goes on the disk, in bytes.
    to: usize,
    /// Its data in the log, in bytes.
    from: std::ops::Range<usize>,
}

impl Log {
    /// Reads the entries that are in the log to their end.
    pub fn parse(bytes: Vec<u8>) -> Self {
        assert_eq!(number(&bytes, 0), MAGIC, "no log");
        assert_eq!(number(&bytes, 8), 1, "another version");
        let mut entries = Vec::new();
        let mut at = SECTOR;
        while at + SECTOR <= bytes.len() {
            let [first, count, flags] = [0, 8, 16].map(|field| number(&bytes, at + field));
            let data = match flags & DISCARD {
                0 => sectors(count),
                _ => 0,
            };
            let from = at + SECTOR..at + SECTOR + data;
            if from.end > bytes.len() {
                break;
            }
            at = from.end;
            entries.push(Entry {
                flags,
                to: sectors(first),
                from,
            });
        }
        Self { bytes, entries }
    }

    /// The length of the log after each of its entries, in bytes.
    pub fn ends(&self) -> impl Iterator<Item = u64> {
        self.entries.iter().map(|entry| entry.from.end as u64)
    }

    /// The disk after a cut when the log was `length` bytes long. What was written before the
    /// last flush is there; of every later write, the blocks that `survives` says.
    pub fn cut(&self, base: &[u8], length: u64, mut survives: impl FnMut() -> Survives) -> Vec<u8> {
        let mut disk = base.to_vec();
        let until = self.ends().take_while(|end| *end <= length).count();
        let before = &self.entries[..until];
        let flushed = before.iter().rposition(|entry| entry.flags & FLUSH != 0);
        let flushed = flushed.map_or(0, |last| last + 1);
        for (n, entry) in before.iter().enumerate() {
            let kept = match n < flushed || entry.flags & FUA != 0 {
                true => Survives::Whole,
                false => survives(),
            };
            let data = &self.bytes[entry.from.clone()];
            for (n, sector) in data.chunks_exact(SECTOR).enumerate() {
                let to = entry.to + n * SECTOR;
                if kept.keeps(to / BLOCK) {
                    disk[to..to + SECTOR].copy_from_slice(sector);
                }
            }
        }
        disk
    }
}

/// What becomes of a write that no flush followed.
#[derive(Clone, Copy)]
pub enum Survives {
    Whole,
    Not,
    /// Bit n % 64 is block n of the disk.
    Some(u64),
}

impl Survives {
    fn keeps(self, block: usize) -> bool {
        match self {
            Self::Whole => true,
            Self::Not => false,
            Self::Some(mask) => mask >> (block % 64) & 1 == 1,
        }
    }
}

fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn sectors(count: u64) -> usize {
    usize::try_from(count).unwrap() * SECTOR
}

fn entry(first: u64, count: u64, flags: u64, data: u8) -> Vec<u8> {
    let mut bytes = [first, count, flags].map(u64::to_le_bytes).concat();
    bytes.resize(SECTOR, 0);
    let length = if flags & DISCARD == 0 { count } else { 0 };
    bytes.resize(SECTOR + sectors(length), data);
    bytes
}

/// Two sectors of 1, flushed; then two of 2 and one of 3, not flushed; then half an entry.
fn small_log() -> Log {
    let mut head = [MAGIC, 1, 5].map(u64::to_le_bytes).concat();
    head.resize(SECTOR, 0);
    let torn = &entry(0, 9, 0, 9)[..3 * SECTOR];
    let entries = [
        entry(0, 2, 0, 1),
        entry(0, 0, FLUSH, 0),
        entry(1, 2, 0, 2),
        entry(0, 4, DISCARD, 0),
        entry(3, 1, 0, 3),
    ];
    Log::parse([&head[..], &entries.concat(), torn].concat())
}

fn first_bytes(disk: &[u8]) -> Vec<u8> {
    disk.iter().step_by(SECTOR).copied().collect()
}

#[test]
fn a_cut_keeps_what_was_flushed_and_of_the_rest_what_it_is_told() {
    let (log, base) = (small_log(), vec![0; 4 * SECTOR]);
    let after = |length, survives| first_bytes(&log.cut(&base, length, || survives));
    assert_eq!(after(u64::MAX, Survives::Whole), [1, 2, 2, 3]);
    assert_eq!(after(u64::MAX, Survives::Not), [1, 1, 0, 0]);
    assert_eq!(after(u64::MAX, Survives::Some(0b10)), [1, 1, 2, 3]);
    assert_eq!(after(u64::MAX, Survives::Some(0b01)), [1, 2, 0, 0]);
    let ends: Vec<_> = log.ends().collect();
    assert_eq!(ends, [4, 5, 8, 9, 11].map(|n| n * SECTOR as u64));
    assert_eq!(after(ends[0], Survives::Not), [0, 0, 0, 0], "no flush yet");
    assert_eq!(after(ends[1], Survives::Not), [1, 1, 0, 0]);
    assert_eq!(after(ends[2] - 1, Survives::Whole), [1, 1, 0, 0]);
}
