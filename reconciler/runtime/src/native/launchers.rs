//! The threads that starts block on.
//!
//! A child keeps its parent's thread from its birth to its exec, and before that come files of
//! all kinds, some of which may be on a disk that does not answer. So starts have threads of
//! their own: at most [`LAUNCHERS_MAX`], made when there is work for one more, and all but one
//! ended when there has been none for [`KEPT_FOR`]. The one that stays makes the next start cheap.
//! When it has been quiet for [`QUIET`] after many starts, memory that they took is given back.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use super::apart::Sleeper;

/// Most threads, and so most starts that are in their blocking part at once.
pub(super) const LAUNCHERS_MAX: usize = 8;

/// How long a thread beyond the first waits for more work.
const KEPT_FOR: Duration = Duration::from_secs(10);

/// How long nothing must have come before memory is given back.
const QUIET: Duration = Duration::from_secs(1);

/// Jobs that leave behind enough for that; so do the first ones, whatever their number, which
/// come with the start of the daemon. After fewer, memory is kept for the next.
const MANY: usize = 64;

/// Stack of a launcher, in bytes: plain functions, and the name service switch of the C library.
const STACK_BYTES: usize = 512 * 1024;

type Locked<'q> = MutexGuard<'q, Queue>;

type Job = Box<dyn FnOnce() + Send>;

/// A few threads and the jobs that wait for one, served in the order of their coming.
pub(super) struct Launchers {
    shared: Arc<Shared>,
}

struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    give_back: fn(),
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
    /// Those who wait.
    sleepers: Vec<Sleeper>,
    /// Jobs before memory is given back again, and those since it was.
    enough: usize,
    done: usize,
    closed: bool,
}

impl Queue {
    fn is_untidy(&self) -> bool {
        self.done >= self.enough
    }
}

impl Launchers {
    /// No threads yet; `give_back` is called on one of them when it is quiet after many jobs.
    pub fn new(give_back: fn()) -> Self {
        let queue = Queue {
            enough: 1,
            ..Queue::default()
        };
        Self {
            shared: Arc::new(Shared {
                queue: Mutex::new(queue),
                wake: Condvar::new(),
                give_back,
            }),
        }
    }

    /// Whether jobs wait for a thread.
    pub fn are_wanted(&self) -> bool {
        !self.shared.lock().jobs.is_empty()
    }

    /// Has a thread do `job` as soon as one is free. If there can be no thread at all, the job is
    /// dropped undone.
    pub fn submit(&self, job: impl FnOnce() + Send + 'static) {
        let mut queue = self.shared.lock();
        queue.jobs.push_back(Box::new(job));
        let one_more = queue.jobs.len() > queue.idle && queue.threads < LAUNCHERS_MAX;
        if !one_more {
            // In a calm it is known who will wake.
            if let [sleeper] = &mut queue.sleepers[..] {
                sleeper.keep_off();
            }
            drop(queue);
            self.shared.wake.notify_one();
            return;
        }
        queue.threads += 1;
        drop(queue);
        let shared = Arc::clone(&self.shared);
        let made = thread::Builder::new()
            .name("launcher".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || Launcher(shared).work());
        if let Err(error) = made {
            tracing::warn!(%error, "cannot make one more thread for starts");
            let mut queue = self.shared.lock();
            queue.threads -= 1;
            if queue.threads == 0 {
                queue.jobs.clear();
            }
        }
    }
}

impl Drop for Launchers {
    /// Jobs that wait are still done; then the threads end.
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.wake.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // No code panics while it holds this lock: jobs are done without it.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A thread at work; counted out when it ends, also by a panic.
struct Launcher(Arc<Shared>);

impl Launcher {
    fn work(&self) {
        while let Some(job) = self.next() {
            job();
        }
    }

    /// `None`: this thread has served.
    fn next(&self) -> Option<Job> {
        let mut queue = self.0.lock();
        if queue.jobs.is_empty() && !queue.closed {
            queue.sleepers.extend(Sleeper::here());
        }
        let (mut queue, job) = self.wait(queue);
        let is_here = |sleeper: &mut Sleeper| sleeper.is_here();
        let sleeper = queue.sleepers.extract_if(.., is_here).next();
        drop(queue);
        if let Some(sleeper) = sleeper {
            sleeper.come_back();
        }
        job
    }

    fn wait<'q>(&'q self, mut queue: Locked<'q>) -> (Locked<'q>, Option<Job>) {
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                queue.done += 1;
                return (queue, Some(job));
            }
            if queue.closed {
                return (queue, None);
            }
            let limit = match (queue.is_untidy(), queue.threads) {
                (true, _) => Some(QUIET),
                (false, 1) => None,
                (false, _) => Some(KEPT_FOR),
            };
            queue.idle += 1;
            let timed_out;
            match limit {
                None => {
                    queue = (self.0.wake.wait(queue)).unwrap_or_else(PoisonError::into_inner);
                    timed_out = false;
                }
                Some(limit) => {
                    let woken = self.0.wake.wait_timeout(queue, limit);
                    let (woken, timeout) = woken.unwrap_or_else(PoisonError::into_inner);
                    queue = woken;
                    timed_out = timeout.timed_out();
                }
            }
            queue.idle -= 1;
            if !timed_out || !queue.jobs.is_empty() {
                continue;
            }
            if limit == Some(KEPT_FOR) && queue.threads > 1 {
                return (queue, None);
            }
            if queue.is_untidy() && queue.idle + 1 == queue.threads {
                (queue.enough, queue.done) = (MANY, 0);
                drop(queue);
                (self.0.give_back)();
                queue = self.0.lock();
            }
        }
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        self.0.lock().threads -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn jobs_run_side_by_side_up_to_the_bound_and_the_rest_follows() {
        let launchers = Launchers::new(|| {});
        let (began, beginnings) = mpsc::channel();
        let (go, gate) = mpsc::channel::<()>();
        let gate = Arc::new(Mutex::new(gate));
        for number in 0..=LAUNCHERS_MAX {
            let (began, gate) = (began.clone(), Arc::clone(&gate));
            launchers.submit(move || {
                began.send(number).unwrap();
                gate.lock().unwrap().recv().unwrap();
            });
        }
        let mut first: Vec<_> = (0..LAUNCHERS_MAX)
            .map(|_| beginnings.recv_timeout(PATIENCE).unwrap())
            .collect();
        first.sort_unstable();
        assert_eq!(first, Vec::from_iter(0..LAUNCHERS_MAX));
        assert!(beginnings.try_recv().is_err(), "one too many at once");
        go.send(()).unwrap();
        assert_eq!(beginnings.recv_timeout(PATIENCE), Ok(LAUNCHERS_MAX));
        (0..LAUNCHERS_MAX).for_each(|_| go.send(()).unwrap());
    }

    #[test]
    fn a_job_that_panics_takes_no_other_with_it() {
        let launchers = Launchers::new(|| {});
        let (done, results) = mpsc::channel();
        launchers.submit(|| std::panic::resume_unwind(Box::new("on purpose")));
        for number in 0..3 {
            let done = done.clone();
            launchers.submit(move || done.send(number).unwrap());
        }
        let all: Vec<_> = (0..3)
            .map(|_| results.recv_timeout(PATIENCE).unwrap())
            .collect();
        assert_eq!(all.iter().sum::<i32>(), 3);
    }

    #[test]
    fn what_waits_when_it_is_dropped_is_still_done() {
        let launchers = Launchers::new(|| {});
        let (done, results) = mpsc::channel();
        for number in 0..20 {
            let done = done.clone();
            launchers.submit(move || done.send(number).unwrap());
        }
        drop((launchers, done));
        assert_eq!(results.iter().count(), 20);
    }

    #[test]
    fn memory_is_given_back_once_it_is_quiet_and_not_again_for_a_few() {
        static TIMES: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let launchers = Launchers::new(|| {
            TIMES.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        });
        let times = || TIMES.load(std::sync::atomic::Ordering::SeqCst);
        let is_untidy = || launchers.shared.lock().is_untidy();
        assert!(!is_untidy(), "before the first job");
        launchers.submit(|| {});
        let start = std::time::Instant::now();
        while times() == 0 {
            assert!(start.elapsed() < PATIENCE, "it was not given back");
            thread::yield_now();
        }
        for _ in 0..MANY {
            assert!(!is_untidy());
            let (done, over) = mpsc::channel();
            launchers.submit(move || done.send(()).unwrap());
            over.recv_timeout(PATIENCE).unwrap();
        }
        assert!(is_untidy(), "many jobs later");
    }
}
