//! How long a message is tried, and how long is waited between two tries.

use std::time::Duration;

use crate::time::Wall;

/// Wait after a first failure; each further one doubles it.
pub const FIRST: Duration = Duration::from_secs(1);
/// Longest wait between two tries, and longest that a provider may ask for.
pub const LONGEST: Duration = Duration::from_secs(15 * 60);
/// Share of a wait that is drawn at random, so that many nodes do not come back at once.
pub const JITTER: f64 = 0.2;
/// A message older than this is given up; the ledger still has what it was about.
pub const GIVE_UP: Duration = Duration::from_secs(7 * 24 * 3600);
/// Tries of a message that the provider refuses as such, before it is given up.
pub const REFUSALS_MAX: u32 = 3;

/// The wait after `failures` failures in a row (at least 1). `draw` is from 0 to 1, at random;
/// `asked` is what the provider asked for (Retry-After), which is waited at least, up to
/// [`LONGEST`].
pub fn wait(failures: u32, draw: f64, asked: Option<Duration>) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let own = FIRST.saturating_mul(1 << doublings).min(LONGEST);
    let own = own.mul_f64(1.0 - JITTER * draw.clamp(0.0, 1.0));
    own.max(asked.unwrap_or_default().min(LONGEST))
}

/// Whether a message that was queued at `queued` is given up at `now`. A clock that was set
/// back makes nothing older.
pub fn is_over(queued: Wall, now: Wall) -> bool {
    let age = now.0.saturating_sub(queued.0);
    u64::try_from(age).is_ok_and(|age| Duration::from_micros(age) > GIVE_UP)
}
