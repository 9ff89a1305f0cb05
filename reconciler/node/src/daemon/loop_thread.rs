//! The thread of the loop, with a scheduler of its own.
//!
//! From the end of an agent to the order to start it again nothing leaves this thread: the
//! kernel's news of the end, the decision, and its record, for whose fsync the thread blocks.
//! Each switch between threads would cost as much as the decision itself, and whoever else has
//! work to do (the API, the reading of specs) has other threads and does not wait for the disk.

use std::{io, thread, time::Duration};

use osmoda_runtime::blocking;
use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
};

/// Most threads that block for the loop: the stops, profiles and looks that may be at it at once.
/// A thousand agents would else have five hundred threads made for their first activation, each
/// with a stack and a share of the heap.
const BLOCKING_MAX: usize = 64;

/// How long such a thread waits for more work.
const BLOCKING_KEPT_FOR: Duration = Duration::from_secs(1);

/// A scheduler and the thread that drives it. Dropping it ends both, with all that still runs
/// there.
pub(super) struct LoopThread {
    scheduler: Handle,
    _alive: oneshot::Sender<()>,
}

impl LoopThread {
    /// Starts the thread.
    ///
    /// # Errors
    /// There can be no thread, or no event queue.
    pub fn start() -> io::Result<Self> {
        let scheduler = Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(BLOCKING_MAX)
            .thread_keep_alive(BLOCKING_KEPT_FOR)
            .build()?;
        let handle = scheduler.handle().clone();
        handle.spawn(blocking::keep_one());
        let (alive, over) = oneshot::channel::<()>();
        thread::Builder::new()
            .name("loop".to_owned())
            .spawn(move || {
                // The sender never sends; that it is gone is the news.
                let _ = scheduler.block_on(over);
                // Whatever still blocks (a profile on a dead disk) ends with the process.
                scheduler.shutdown_background();
            })?;
        Ok(Self {
            scheduler: handle,
            _alive: alive,
        })
    }

    /// Where to spawn what belongs to the loop.
    pub fn scheduler(&self) -> &Handle {
        &self.scheduler
    }
}
