//! Keeps a thread that is given work off the processor of the one who gives it and goes on working.
//!
//! The loop has a start prepared and decides meanwhile, side by side. A scheduler that wakes a
//! thread on its waker's processor, to pack virtual ones, makes one after the other of it: the
//! launcher waits until the loop waits for the disk, and then the loop for the launcher. Where
//! that was so, a restart took an eighth longer. So the giver takes its own processor from the
//! sleeping thread, and that one puts it back when it is awake, before it has children: they inherit
//! it (sched_setaffinity(2)).

use rustix::{
    process::Pid,
    thread::{CpuSet, gettid, sched_getaffinity, sched_getcpu, sched_setaffinity},
};

/// A thread that waits for work, or is about to.
#[derive(Debug)]
pub(super) struct Sleeper {
    thread: Pid,
    /// Where it may run.
    before: CpuSet,
    /// What it has to ask for to be allowed that again.
    back: CpuSet,
    /// Where it may run since somebody has given it work.
    rest: Option<CpuSet>,
}

impl Sleeper {
    /// The calling thread. `None`: it may run on one processor only.
    pub fn here() -> Option<Self> {
        let before = sched_getaffinity(None).ok()?;
        (before.count() > 1).then_some(())?;
        Some(Self {
            thread: gettid(),
            before,
            back: as_asked_for(before)?,
            rest: None,
        })
    }

    /// Whether it is the calling thread.
    pub fn is_here(&self) -> bool {
        self.thread == gettid()
    }

    /// Keeps it off the caller's processor, unless somebody else has told it where to run.
    pub fn keep_off(&mut self) {
        let here = sched_getcpu();
        let thread = Some(self.thread);
        let mut rest = self.before;
        if here >= CpuSet::MAX_CPU || !rest.is_set(here) {
            return;
        }
        rest.unset(here);
        if sched_getaffinity(thread).is_ok_and(|now| now == self.before)
            && sched_setaffinity(thread, &rest).is_ok()
        {
            self.rest = Some(rest);
        }
    }

    /// Lets the calling thread, which it is, run where it did before, unless somebody else has
    /// told it where to run.
    pub fn come_back(self) {
        if let Some(rest) = self.rest
            && sched_getaffinity(None).is_ok_and(|now| now == rest)
        {
            // This can fail only if all that were allowed are gone.
            let _ = sched_setaffinity(None, &self.back);
        }
    }
}

/// What the calling thread has to ask for to be allowed `allowed` and no less later on:
/// everything, where nobody has asked for less. The kernel gives what the cpuset allows of it,
/// which may become more.
fn as_asked_for(allowed: CpuSet) -> Option<CpuSet> {
    let mut everything = CpuSet::new();
    (0..CpuSet::MAX_CPU).for_each(|processor| everything.set(processor));
    sched_setaffinity(None, &everything).ok()?;
    if sched_getaffinity(None).ok()? == allowed {
        return Some(everything);
    }
    sched_setaffinity(None, &allowed).ok()?;
    Some(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed() -> CpuSet {
        sched_getaffinity(None).unwrap()
    }

    fn only(processor: usize) -> CpuSet {
        let mut set = CpuSet::new();
        set.set(processor);
        set
    }

    #[test]
    #[expect(clippy::print_stderr, reason = "a test that skips says so")]
    fn a_thread_is_kept_off_and_comes_back() {
        let before = allowed();
        let Some(mut sleeper) = Sleeper::here() else {
            assert_eq!(before.count(), 1);
            eprintln!("skipped: there is one processor only");
            return;
        };
        assert_eq!(allowed(), before);
        assert!(sleeper.is_here());

        sleeper.keep_off();
        let rest = allowed();
        assert_eq!(rest.count(), before.count() - 1);
        assert!((0..CpuSet::MAX_CPU).all(|it| before.is_set(it) || !rest.is_set(it)));
        sleeper.come_back();
        assert_eq!(allowed(), before);
    }

    #[test]
    #[expect(clippy::print_stderr, reason = "a test that skips says so")]
    fn what_somebody_else_says_counts() {
        let before = allowed();
        let told = only(sched_getcpu());
        let Some(mut sleeper) = Sleeper::here() else {
            eprintln!("skipped: there is one processor only");
            return;
        };
        sched_setaffinity(None, &told).unwrap();
        sleeper.keep_off();
        assert_eq!(allowed(), told, "told before it was given work");
        assert!(Sleeper::here().is_none());

        sched_setaffinity(None, &before).unwrap();
        sleeper.keep_off();
        sched_setaffinity(None, &told).unwrap();
        sleeper.come_back();
        assert_eq!(allowed(), told, "told after it was given work");
        assert_eq!(as_asked_for(told).unwrap(), told);
        sched_setaffinity(None, &before).unwrap();
    }
}
