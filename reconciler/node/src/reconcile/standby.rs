//! A thread that stands by for the one look at a disk that a restart waits for.
//!
//! To make a thread takes longer than such a look, and is done on the loop's own time. What comes
//! while it is busy goes to threads made for that: a disk that does not answer holds up nobody
//! else.

use std::{
    sync::mpsc::{SyncSender, TrySendError, sync_channel},
    thread,
};

use osmoda_runtime::blocking::spawn_blocking;

type Work = Box<dyn FnOnce() + Send>;

/// Somebody to give blocking work to.
#[derive(Debug, Default)]
pub(super) struct Standby {
    /// The way to the thread, once there is one. Nothing waits in it: it takes work only while the
    /// thread waits for some.
    thread: Option<SyncSender<Work>>,
}

impl Standby {
    /// Has `work` done, now, on a thread that may block.
    pub fn run(&mut self, work: impl FnOnce() + Send + 'static) {
        let work: Work = Box::new(work);
        let Some(thread) = &self.thread else {
            self.thread = begin();
            drop(spawn_blocking(work));
            return;
        };
        match thread.try_send(work) {
            Ok(()) => {}
            Err(TrySendError::Full(work)) => drop(spawn_blocking(work)),
            Err(TrySendError::Disconnected(work)) => {
                self.thread = None; // a panic has ended it
                drop(spawn_blocking(work));
            }
        }
    }
}

/// `None`: there can be no thread at the moment.
fn begin() -> Option<SyncSender<Work>> {
    let (sender, works) = sync_channel::<Work>(0);
    let made = thread::Builder::new()
        .name("standby".to_owned())
        .spawn(move || works.into_iter().for_each(|work| work()));
    made.is_ok().then_some(sender)
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// Has a look done, and gives the name of the thread that did it.
    fn done_by(standby: &mut Standby) -> Option<String> {
        let (told, name) = mpsc::channel();
        standby.run(move || {
            told.send(thread::current().name().map(str::to_owned))
                .unwrap()
        });
        name.recv_timeout(PATIENCE).unwrap()
    }

    /// As [`done_by`], until it is the thread that stands by: it may still be on its way.
    fn until_it_stands_by(standby: &mut Standby) {
        let start = std::time::Instant::now();
        while done_by(standby).as_deref() != Some("standby") {
            assert!(start.elapsed() < PATIENCE, "nobody stands by");
        }
    }

    #[tokio::test]
    async fn what_comes_while_it_is_busy_does_not_wait_for_it() {
        let mut standby = Standby::default();
        let (holds, held) = mpsc::channel();
        // Who is held is told apart by its name; others end at once.
        let gate = loop {
            let (go, gate) = mpsc::channel::<()>();
            let holds = holds.clone();
            standby.run(move || {
                let is_it = thread::current().name() == Some("standby");
                holds.send(is_it).unwrap();
                if is_it {
                    let _ = gate.recv();
                }
            });
            if held.recv_timeout(PATIENCE).unwrap() {
                break go;
            }
        };
        assert_ne!(done_by(&mut standby).as_deref(), Some("standby"));
        drop(gate);
        until_it_stands_by(&mut standby);
    }

    #[tokio::test]
    async fn a_panic_ends_nothing_but_itself() {
        let mut standby = Standby::default();
        until_it_stands_by(&mut standby);
        standby.run(|| std::panic::resume_unwind(Box::new("on purpose")));
        until_it_stands_by(&mut standby);
    }
}
