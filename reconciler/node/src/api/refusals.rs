//! Refused attempts on record, without letting who is refused fill the ledger.
//!
//! The first attempt of a user at a command is an entry at once; what follows within
//! [`WINDOW`] is counted, and becomes one entry at its end, and so on while it goes on. So a
//! user costs at most one entry a command and minute. What has been counted when the daemon ends
//! is in its log only.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::sleep;

/// Time in which attempts are put together.
pub const WINDOW: Duration = Duration::from_secs(60);
/// Most users and commands that are counted apart; the others share a window.
pub const WINDOWS_MAX: usize = 256;

/// Who, and at which command; `None`: all the others.
type Key = Option<(u32, &'static str)>;

/// Writes an entry that stands for so many attempts.
pub type Write = Box<dyn FnOnce(u64) + Send>;

/// Attempts that wait for their entry.
#[derive(Default)]
pub struct Refusals(Arc<Mutex<BTreeMap<Key, Window>>>);

#[derive(Default)]
struct Window {
    attempts: u64,
    /// How the last attempt would be written.
    write: Option<Write>,
}

impl Refusals {
    /// Takes in an attempt. Gives whether it begins a window, so that the log is to tell of it.
    ///
    /// Call it within the scheduler.
    pub fn note(&self, uid: u32, verb: &'static str, write: Write) -> bool {
        let mut windows = locked(&self.0);
        let mut key = Some((uid, verb));
        if windows.len() >= WINDOWS_MAX && !windows.contains_key(&key) {
            key = None;
        }
        if let Some(window) = windows.get_mut(&key) {
            window.attempts += 1;
            window.write = Some(write);
            return false;
        }
        windows.insert(key, Window::default());
        drop(windows);
        write(1);
        tokio::spawn(sum_up(Arc::clone(&self.0), key));
        true
    }
}

/// Writes what a window has gathered, until one passes in which there was nothing.
async fn sum_up(windows: Arc<Mutex<BTreeMap<Key, Window>>>, key: Key) {
    loop {
        sleep(WINDOW).await;
        let gathered = {
            let mut windows = locked(&windows);
            match windows.get_mut(&key).map(std::mem::take) {
                Some(Window {
                    attempts,
                    write: Some(write),
                }) => (attempts, write),
                _ => {
                    windows.remove(&key);
                    return;
                }
            }
        };
        let (attempts, write) = gathered;
        write(attempts);
    }
}

fn locked(windows: &Mutex<BTreeMap<Key, Window>>) -> MutexGuard<'_, BTreeMap<Key, Window>> {
    windows.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was written: user and number of attempts.
    type Written = Arc<Mutex<Vec<(u32, u64)>>>;

    fn attempt(refusals: &Refusals, written: &Written, uid: u32, verb: &'static str) {
        let written = Arc::clone(written);
        let write = move |attempts| written.lock().unwrap().push((uid, attempts));
        refusals.note(uid, verb, Box::new(write));
    }

    fn take(written: &Written) -> Vec<(u32, u64)> {
        std::mem::take(&mut *written.lock().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_one_entry_at_once_and_one_a_minute() {
        let (refusals, written) = (Refusals::default(), Written::default());
        for _ in 0..1000 {
            attempt(&refusals, &written, 7, "restart");
        }
        assert_eq!(take(&written), [(7, 1)]);
        sleep(WINDOW + Duration::from_secs(1)).await;
        assert_eq!(take(&written), [(7, 999)]);
        attempt(&refusals, &written, 7, "restart");
        assert_eq!(take(&written), [], "the window goes on");
        sleep(WINDOW).await;
        assert_eq!(take(&written), [(7, 1)]);
        sleep(2 * WINDOW).await;
        attempt(&refusals, &written, 7, "restart");
        assert_eq!(take(&written), [(7, 1)], "a quiet minute ends it");
    }

    #[tokio::test(start_paused = true)]
    async fn users_and_commands_are_told_apart_up_to_a_bound() {
        let (refusals, written) = (Refusals::default(), Written::default());
        attempt(&refusals, &written, 7, "restart");
        attempt(&refusals, &written, 7, "pause");
        attempt(&refusals, &written, 8, "pause");
        assert_eq!(take(&written), [(7, 1), (7, 1), (8, 1)]);
        for uid in 0..2000 {
            attempt(&refusals, &written, 1000 + uid, "pause");
        }
        assert_eq!(take(&written).len(), WINDOWS_MAX - 3 + 1);
        assert_eq!(locked(&refusals.0).len(), WINDOWS_MAX + 1);
    }
}
