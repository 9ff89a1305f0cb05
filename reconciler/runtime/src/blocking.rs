//! Work that blocks, also on a host that has room for no more threads.
//!
//! A scheduler makes a thread for such work when all it has are busy. Where the host refuses one,
//! the work waits for a thread that comes free, and without any the scheduler panics. So each
//! scheduler keeps one thread in hand ([`keep_one`]) that sleeps until somebody has waited too
//! long, serves whoever waits, and is kept again. While nobody waits nothing ticks for it, except
//! once in a long [`TURN`]: a library that has a name looked up does not say that it waits.

use std::{
    sync::{LazyLock, mpsc},
    time::Duration,
};

use tokio::{
    sync::watch,
    task::{self, JoinHandle},
    time::sleep,
};

/// How long work waits for a thread before the one in hand is given to it. Making a thread takes
/// some 0.1 ms, on a busy host a few; to give it too early costs nothing but a switch.
const PATIENCE: Duration = Duration::from_millis(100);

/// How long work waits at most that does not say so.
const TURN: Duration = Duration::from_secs(60);

/// How many pieces of work wait for a thread, in all schedulers: they lack what the process lacks.
static WAITING: LazyLock<watch::Sender<usize>> = LazyLock::new(watch::Sender::default);

/// Has `work` done on a thread that may block, as [`tokio::task::spawn_blocking`] does. As long as
/// it waits for one it is counted, so that the thread in hand can be given to it.
///
/// # Panics
/// Outside of a scheduler.
pub fn spawn_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    let waits = Waits::begin();
    #[expect(
        clippy::disallowed_methods,
        reason = "this is what is used in its place"
    )]
    task::spawn_blocking(move || {
        drop(waits);
        work()
    })
}

/// Keeps a thread of this scheduler in hand, until the scheduler ends.
pub async fn keep_one() {
    keep_one_for(TURN).await;
}

async fn keep_one_for(turn: Duration) {
    let mut waiting = WAITING.subscribe();
    loop {
        // Ends what the thread sleeps for when it is dropped.
        let (kept, given) = mpsc::channel::<()>();
        #[expect(clippy::disallowed_methods, reason = "it is not to be given to itself")]
        let mut thread = task::spawn_blocking(move || given.recv_timeout(turn));
        tokio::select! {
            () = until_one_waits_long(&mut waiting) => {
                drop(kept);
                if thread.await.is_err() {
                    return;
                }
            }
            // Its turn is over: what was queued meanwhile goes first.
            ended = &mut thread => if ended.is_err() {
                return;
            }
        }
    }
}

/// Resolves when work has waited for [`PATIENCE`], or nearly: what waits at its end need not be
/// what waited at its beginning.
async fn until_one_waits_long(waiting: &mut watch::Receiver<usize>) {
    loop {
        if waiting.wait_for(|pieces| *pieces > 0).await.is_err() {
            return; // never: the sender is static
        }
        sleep(PATIENCE).await;
        if *waiting.borrow() > 0 {
            return;
        }
    }
}

/// A piece of work that waits for its thread; it is in `WAITING` until it is dropped.
struct Waits;

impl Waits {
    fn begin() -> Self {
        WAITING.send_if_modified(|pieces| {
            *pieces += 1;
            *pieces == 1
        });
        Self
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        WAITING.send_if_modified(|pieces| {
            *pieces -= 1;
            false
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::runtime::{Builder, Runtime};

    use super::*;

    /// A scheduler with one thread for what blocks, which is to its work as a host that has no more.
    fn scheduler() -> Runtime {
        let mut builder = Builder::new_current_thread();
        builder
            .enable_time()
            .max_blocking_threads(1)
            .build()
            .unwrap()
    }

    #[test]
    fn the_thread_in_hand_is_given_to_who_can_have_none_again_and_again() {
        let scheduler = scheduler();
        scheduler.block_on(async {
            tokio::spawn(keep_one_for(Duration::MAX));
            tokio::task::yield_now().await; // from here on it has the thread
            for round in 0..3 {
                let (first, second) = (spawn_blocking(move || round), spawn_blocking(|| 9));
                assert_eq!((first.await.unwrap(), second.await.unwrap()), (round, 9));
            }
        });
        scheduler.shutdown_background();
    }

    #[test]
    fn a_library_that_does_not_say_that_it_waits_is_served_after_a_turn() {
        let scheduler = scheduler();
        scheduler.block_on(async {
            tokio::spawn(keep_one_for(PATIENCE));
            tokio::task::yield_now().await;
            #[expect(clippy::disallowed_methods, reason = "as a library does")]
            task::spawn_blocking(|| ()).await.unwrap();
        });
        scheduler.shutdown_background();
    }

    #[test]
    fn work_that_is_given_up_with_its_scheduler_waits_no_longer() {
        let scheduler = scheduler();
        let (hold, held) = mpsc::channel::<()>();
        let token = Arc::new(());
        scheduler.block_on(async {
            drop(spawn_blocking(move || held.recv()));
            let never = Arc::clone(&token);
            drop(spawn_blocking(move || drop(never)));
        });
        scheduler.shutdown_background();
        drop(hold);
        while Arc::strong_count(&token) > 1 {
            std::thread::yield_now();
        }
    }
}
