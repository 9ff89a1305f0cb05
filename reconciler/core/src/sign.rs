//! When something was written last, told by looks at it and not by a wall clock alone.
//!
//! Output and files carry the wall time of their last change, and a wall clock can be set. What
//! decides is therefore whether the thing has changed between two looks; the time it carries
//! only says when between them, as far as that is plausible.
//!
//! Invariants: without a change there is no new sign; a change is never dated before the look
//! that did not show it yet, nor into the future; an implausible time makes a sign younger,
//! never older, so that a clock that jumps does not make an agent look silent.

use serde::{Deserialize, Serialize};

use crate::time::{Mono, Wall};

/// What a look shows. Two that differ were written between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Which file it is (inode number).
    pub file: u64,
    /// Its length in bytes.
    pub length: u64,
    /// When it was changed last: nanoseconds since 1970, as stat(2) gives them.
    pub changed_ns: i128,
}

/// Most by which the two clocks may have moved against each other between two looks, in
/// microseconds, before a wall time is no longer believed: slewing stays far below.
const DRIFT_MAX_US: u64 = 20_000;

/// How much older than it is a change may be stamped: file systems take the time of the last
/// tick of the clock (CONFIG_HZ, at least 100), in microseconds.
const TICK_US: u64 = 10_000;

/// What earlier looks have shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Looks {
    /// At the last look; `None`: there was nothing.
    seen: Option<Stamp>,
    /// When that was; before the first look, since when signs count.
    at: Mono,
    /// Wall clock minus the other one at the last look, in microseconds; `None`: no look yet.
    offset_us: Option<i64>,
    sign: Option<Mono>,
}

impl Looks {
    /// No look yet; a sign from before `since` would be somebody else's.
    pub fn since(since: Mono) -> Self {
        Self {
            seen: None,
            at: since,
            offset_us: None,
            sign: None,
        }
    }

    /// Takes in a look. Gives the last sign of life that is known now.
    pub fn look(&mut self, found: Option<Stamp>, now: Mono, wall: Wall) -> Option<Mono> {
        let offset_us = wall.0.saturating_sub_unsigned(now.0);
        let jumped = |before: i64| offset_us.abs_diff(before) > DRIFT_MAX_US;
        if let Some(stamp) = found.filter(|_| found != self.seen) {
            let sign = match self.offset_us {
                // The first look shows what is there, and not that it was written since.
                None => self.date(stamp, now, wall),
                Some(before) if jumped(before) => Some(now),
                Some(_) => self.date(stamp, now, wall).or(Some(now)),
            };
            self.sign = self.sign.max(sign);
        }
        self.seen = found;
        self.at = now;
        self.offset_us = Some(offset_us);
        self.sign
    }

    /// The instant of the change that a stamp carries, if it lies between the looks.
    fn date(&self, stamp: Stamp, now: Mono, wall: Wall) -> Option<Mono> {
        let age_us = i128::from(wall.0) - stamp.changed_ns.div_euclid(1000);
        let age_us = u64::try_from(age_us).ok()?;
        let at = Mono(now.0.checked_sub(age_us)?);
        (at.0 + TICK_US >= self.at.0).then(|| at.max(self.at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000;

    /// Both clocks in seconds; the wall clock is ahead by a day.
    fn wall(seconds: u64) -> Wall {
        Wall(i64::try_from((86_400 + seconds) * S).unwrap())
    }

    fn written(seconds: u64, length: u64) -> Option<Stamp> {
        Some(Stamp {
            file: 1,
            length,
            changed_ns: i128::from(wall(seconds).0) * 1000,
        })
    }

    #[test]
    fn a_change_is_dated_by_its_own_time() {
        let mut looks = Looks::since(Mono(10 * S));
        assert_eq!(looks.look(None, Mono(10 * S), wall(10)), None);
        let sign = looks.look(written(12, 5), Mono(15 * S), wall(15));
        assert_eq!(sign, Some(Mono(12 * S)));
        let later = looks.look(written(12, 5), Mono(30 * S), wall(30));
        assert_eq!(later, sign, "nothing was written since");
        let next = looks.look(written(44, 6), Mono(45 * S), wall(45));
        assert_eq!(next, Some(Mono(44 * S)));
    }

    #[test]
    fn what_was_there_before_the_first_look_is_no_sign_unless_it_is_young_enough() {
        let mut looks = Looks::since(Mono(10 * S));
        assert_eq!(looks.look(written(9, 5), Mono(11 * S), wall(11)), None);
        let mut looks = Looks::since(Mono(10 * S));
        let young = looks.look(written(10, 5), Mono(11 * S), wall(11));
        assert_eq!(young, Some(Mono(10 * S)));
    }

    #[test]
    fn a_wall_clock_that_was_set_back_or_forth_hides_no_sign_and_makes_none() {
        for jump in [-3600_i64, -3, 3, 3600] {
            let jumped = |seconds| Wall(wall(seconds).0 + jump * 1_000_000);
            let mut looks = Looks::since(Mono(10 * S));
            looks.look(written(10, 1), Mono(10 * S), wall(10));
            // Unchanged: no sign, whatever the clock says now.
            let silent = looks.look(written(10, 1), Mono(25 * S), jumped(25));
            assert_eq!(silent, Some(Mono(10 * S)));
            // Written before the jump, looked at after it.
            let mut looks = Looks::since(Mono(10 * S));
            looks.look(written(10, 1), Mono(25 * S), wall(25));
            let sign = looks.look(written(30, 2), Mono(40 * S), jumped(40));
            assert_eq!(sign, Some(Mono(40 * S)), "jump by {jump} s");
        }
    }

    #[test]
    fn a_change_right_after_a_look_may_be_stamped_as_if_before_it() {
        let at = |us: u64| {
            (
                Mono(10 * S + us),
                Wall(wall(10).0 + i64::try_from(us).unwrap()),
            )
        };
        let (now, wall_now) = at(2000);
        let mut looks = Looks::since(now);
        let stamped = written(10, 1); // two milliseconds before
        assert_eq!(looks.look(stamped, now, wall_now), Some(now));
    }

    #[test]
    fn another_file_or_a_cut_one_is_a_change() {
        let mut looks = Looks::since(Mono(0));
        looks.look(written(1, 100), Mono(2 * S), wall(2));
        let cut = looks.look(written(5, 3), Mono(6 * S), wall(6));
        assert_eq!(cut, Some(Mono(5 * S)));
        let replaced = written(8, 3).map(|stamp| Stamp { file: 2, ..stamp });
        let sign = looks.look(replaced, Mono(9 * S), wall(9));
        assert_eq!(sign, Some(Mono(8 * S)));
    }

    #[test]
    fn a_file_that_goes_is_no_sign_and_one_that_comes_back_is() {
        let mut looks = Looks::since(Mono(0));
        let sign = looks.look(written(1, 1), Mono(2 * S), wall(2));
        assert_eq!(looks.look(None, Mono(20 * S), wall(20)), sign);
        let back = looks.look(written(30, 1), Mono(31 * S), wall(31));
        assert_eq!(back, Some(Mono(30 * S)));
    }
}
