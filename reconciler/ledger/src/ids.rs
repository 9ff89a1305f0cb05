//! Where the ids of entries and logs come from.

use osmoda_core::time::Wall;
use rustix::rand::{GetRandomFlags, getrandom};
use uuid::Builder;

/// Makes ids. The real one is random; a test's is seeded, so that a run can be repeated.
pub trait IdSource: Send {
    /// A UUID of version 7 (RFC 9562 section 5.7) for something that happens at `wall`.
    fn uuid_v7(&mut self, wall: Wall) -> String;
}

/// Random bits of a UUIDv7, in bytes: 74 bits are used.
const RANDOM: usize = 10;

/// The UUIDv7 made of a time and of random bytes, for implementations of [`IdSource`].
pub fn uuid_v7_from(wall: Wall, random: [u8; RANDOM]) -> String {
    let millis = u64::try_from(wall.0 / 1000).unwrap_or(0);
    let uuid = Builder::from_unix_timestamp_millis(millis, &random).into_uuid();
    uuid.hyphenated().to_string()
}

/// Random bytes that are asked for at once: those of 32 ids, since asking costs as much as the
/// rest of an id.
const POOL: usize = 32 * RANDOM;

/// Ids from the kernel's random numbers, getrandom(2).
#[derive(Debug)]
pub struct RandomIds {
    /// Ids made so far: tells them apart even where the kernel has no random numbers yet.
    made: u64,
    pool: [u8; POOL],
    /// Bytes of the pool that no id has yet.
    left: usize,
}

impl Default for RandomIds {
    fn default() -> Self {
        Self {
            made: 0,
            pool: [0; POOL],
            left: 0,
        }
    }
}

impl RandomIds {
    /// Bytes that were given to nobody; `None` where the kernel has none yet.
    fn random(&mut self) -> Option<[u8; RANDOM]> {
        if self.left == 0 {
            let filled = getrandom(&mut self.pool, GetRandomFlags::NONBLOCK);
            self.left = filled.ok().filter(|length| *length == POOL)?;
        }
        self.left -= RANDOM;
        self.pool[self.left..].first_chunk().copied()
    }
}

impl IdSource for RandomIds {
    fn uuid_v7(&mut self, wall: Wall) -> String {
        let random = self.random().unwrap_or_else(|| {
            let mut counted = [0; RANDOM];
            counted[2..].copy_from_slice(&self.made.to_be_bytes());
            counted
        });
        self.made += 1;
        uuid_v7_from(wall, random)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_carries_version_variant_and_milliseconds() {
        // The time of the example in RFC 9562 appendix A.6.
        let id = uuid_v7_from(Wall(1_645_557_742_000_999), [0xff; RANDOM]);
        assert_eq!(id, "017f22e2-79b0-7fff-bfff-ffffffffffff");
        let before_1970 = uuid_v7_from(Wall(-5_000), [0; RANDOM]);
        assert!(before_1970.starts_with("00000000-0000-7000-8"));
    }

    #[test]
    fn random_ids_differ() {
        let mut ids = RandomIds::default();
        let made: std::collections::BTreeSet<_> = (0..1000).map(|_| ids.uuid_v7(Wall(0))).collect();
        assert_eq!(made.len(), 1000);
    }
}
