//! Files made here, in both layouts; that real ones are read is shown by the conformance suite.

#![allow(clippy::unwrap_used, reason = "only tests use it")]

use super::*;

const BUCKETS: u64 = 2;
const TABLE: u64 = 256;
const FIRST_OBJECT: u64 = TABLE + BUCKETS * 16;

/// A journal that grows as journald's do, with arrays of so few places that chains become long.
struct Writer {
    bytes: Vec<u8>,
    compact: bool,
    places: u64,
}

impl Writer {
    fn new(compact: bool) -> Self {
        let mut bytes = vec![0; FIRST_OBJECT as usize];
        bytes[..8].copy_from_slice(SIGNATURE);
        let flags = INCOMPATIBLE_KEYED | (u32::from(compact) * INCOMPATIBLE_COMPACT);
        bytes[12..16].copy_from_slice(&flags.to_le_bytes());
        bytes[24..40].copy_from_slice(b"the file's own i");
        let mut writer = Self {
            bytes,
            compact,
            places: 2,
        };
        writer.set(104, TABLE);
        writer.set(112, BUCKETS * 16);
        writer
    }

    fn set(&mut self, at: u64, number: u64) {
        let at = at as usize;
        self.bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
    }

    fn get(&self, at: u64) -> u64 {
        number(&self.bytes, at as usize)
    }

    fn object(&mut self, kind: u8, flags: u8, body: &[u8]) -> u64 {
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        let at = self.bytes.len() as u64;
        let size = OBJECT_BYTES + body.len() as u64;
        self.bytes.extend([kind, flags, 0, 0, 0, 0, 0, 0]);
        self.bytes.extend(size.to_le_bytes());
        self.bytes.extend(body);
        at
    }

    /// The data object of a value, new or not.
    fn data(&mut self, value: &str, flags: u8) -> u64 {
        let hash = self.opened().hash(value.as_bytes());
        let bucket = TABLE + hash % BUCKETS * 16;
        let mut last = 0;
        let mut at = self.get(bucket);
        while at != 0 {
            if self.get(at + 16) == hash {
                return at;
            }
            last = at;
            at = self.get(at + 24);
        }
        let mut body = vec![0; if self.compact { 56 } else { 48 }];
        body[..8].copy_from_slice(&hash.to_le_bytes());
        body.extend(value.as_bytes());
        let at = self.object(DATA, flags, &body);
        self.set(if last == 0 { bucket } else { last + 24 }, at);
        at
    }

    fn entry(&mut self, realtime: u64, values: &[&str]) {
        let data: Vec<u64> = values.iter().map(|value| self.data(value, 0)).collect();
        self.link(realtime, &data);
    }

    fn link(&mut self, realtime: u64, data: &[u64]) {
        let mut body = vec![0; 48];
        body[8..16].copy_from_slice(&realtime.to_le_bytes());
        body[16..24].copy_from_slice(&(realtime / 2).to_le_bytes());
        for at in data {
            match self.compact {
                true => body.extend((*at as u32).to_le_bytes()),
                false => body.extend([at.to_le_bytes(), [0; 8]].concat()),
            }
        }
        let entry = self.object(ENTRY, 0, &body);
        self.set(192, realtime);
        for at in data {
            self.note(*at, entry);
        }
    }

    /// Adds an entry to those of a data object.
    fn note(&mut self, data: u64, entry: u64) {
        let known = self.get(data + 56);
        self.set(data + 56, known + 1);
        if known == 0 {
            return self.set(data + 40, entry);
        }
        let width = if self.compact { 4 } else { 8 };
        let (mut link, mut place) = (data + 48, known - 1);
        while place >= self.places && self.get(link) != 0 {
            link = self.get(link) + 16;
            place -= self.places;
        }
        if self.get(link) == 0 {
            let body = vec![0; (8 + self.places * width) as usize];
            let array = self.object(ENTRY_ARRAY, 0, &body);
            self.set(link, array);
        }
        let at = (self.get(link) + 24 + place * width) as usize;
        let number = entry.to_le_bytes();
        self.bytes[at..at + width as usize].copy_from_slice(&number[..width as usize]);
    }

    fn opened(&self) -> JournalFile {
        self.try_open().unwrap()
    }

    fn try_open(&self) -> io::Result<JournalFile> {
        let file = tempfile::NamedTempFile::new()?;
        fs::write(file.path(), &self.bytes)?;
        JournalFile::open(file.path())
    }
}

fn times(file: &JournalFile, value: &str, count: usize) -> Vec<u64> {
    let entries = file.last_with(value, count).unwrap();
    entries.iter().map(|entry| entry.realtime_us).collect()
}

#[test]
fn the_last_entries_with_a_value_are_found_however_many_there_are() {
    for compact in [false, true] {
        let mut writer = Writer::new(compact);
        for at in 1..=9 {
            writer.entry(
                at * 10,
                &["A=x", if at % 2 == 0 { "B=even" } else { "B=odd" }],
            );
        }
        let file = writer.opened();
        assert_eq!(file.tail_realtime_us, 90);
        for count in 0..=10 {
            let first = 10 - count.min(9);
            let expected: Vec<u64> = (first..10).map(|at| at as u64 * 10).collect();
            assert_eq!(times(&file, "A=x", count), expected, "{compact} {count}");
        }
        assert_eq!(times(&file, "B=even", 9), [20, 40, 60, 80]);
        assert_eq!(times(&file, "B=neither", 9), [0; 0]);
    }
}

#[test]
fn the_values_of_an_entry_are_whole_and_a_compressed_one_is_none() {
    for compact in [false, true] {
        let mut writer = Writer::new(compact);
        let plain = writer.data("A=x", 0);
        let compressed = writer.data("MESSAGE=squeezed", 4);
        writer.link(20, &[plain, compressed]);
        let file = writer.opened();
        let entry = file.last_with("A=x", 1).unwrap()[0];
        assert_eq!((entry.realtime_us, entry.monotonic_us), (20, 10));
        assert_eq!(file.values(&entry).unwrap(), [Some(b"A=x".to_vec()), None]);
    }
}

#[test]
fn a_file_of_another_kind_is_refused_and_a_broken_one_ends_no_walk_in_a_circle() {
    let mut other = Writer::new(false);
    other.bytes[12] = 0;
    let refused = other.try_open().err().unwrap();
    assert_eq!(refused.kind(), io::ErrorKind::Unsupported, "no keyed hash");
    other.bytes.truncate(100);
    let refused = other.try_open().err().unwrap();
    assert_eq!(refused.kind(), io::ErrorKind::UnexpectedEof);

    let mut circle = Writer::new(false);
    let mut values = Vec::new();
    for number in 0..9 {
        values.push(circle.data(&format!("A={number}"), 0));
    }
    for at in values {
        circle.set(at + 24, at);
    }
    let file = circle.opened();
    let outcomes = (0..9).map(|number| file.last_with(&format!("A={number}"), 1));
    let broken = outcomes.filter_map(Result::err);
    assert!(
        broken
            .map(|error| error.kind())
            .all(|kind| kind == io::ErrorKind::InvalidData)
    );
}

/// Whatever a byte of a file says, there is an answer or an error.
#[test]
fn a_file_that_is_broken_anywhere_is_survived() {
    for compact in [false, true] {
        let mut writer = Writer::new(compact);
        for at in 1..=5 {
            writer.entry(at, &["A=x", "MESSAGE=something"]);
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), &writer.bytes).unwrap();
        for (place, byte) in writer.bytes.iter().enumerate() {
            for other in [0, 0x7f, 0xff] {
                file.as_file().write_at(&[other], place as u64).unwrap();
                if let Ok(file) = JournalFile::open(file.path())
                    && let Ok(entries) = file.last_with("A=x", 9)
                {
                    for entry in entries {
                        let _ = file.values(&entry); // or an error
                    }
                }
            }
            file.as_file().write_at(&[*byte], place as u64).unwrap();
        }
    }
}
