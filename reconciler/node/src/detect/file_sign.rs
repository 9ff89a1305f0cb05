//! Looks at the files whose change is an agent's heartbeat.
//!
//! A file may lie on a file system that has stopped answering. Each look has a thread of its own
//! and a bounded time; while it has not come back no other look at the same agent's file is
//! begun, and all looks together hold a bounded number of threads.

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use osmoda_core::{
    name::AgentName,
    observed::InvocationId,
    sign::{Looks, Stamp},
    time::{Clock, Mono},
};
use osmoda_runtime::blocking::spawn_blocking;
use osmoda_runtime::native::stamp;
use tokio::{sync::Semaphore, time::timeout};

/// Longest wait for an answer of the file system.
const LOOK_MAX: Duration = Duration::from_secs(2);

/// Most threads that looks hold: far fewer than the scheduler has for all that blocks.
const LOOKS_AT_ONCE: usize = 64;

/// What is known of one agent's file.
struct Known {
    invocation: InvocationId,
    looks: Looks,
    under_way: bool,
}

/// Looks so far.
pub(super) struct FileSigns {
    clock: Arc<dyn Clock>,
    threads: Arc<Semaphore>,
    known: Arc<Mutex<BTreeMap<AgentName, Known>>>,
}

impl FileSigns {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            threads: Arc::new(Semaphore::new(LOOKS_AT_ONCE)),
            known: Arc::default(),
        }
    }

    /// When the file changed last, as far as the looks at it during this instance tell. The
    /// first one only shows what is there.
    pub async fn last(
        self: Arc<Self>,
        agent: AgentName,
        invocation: InvocationId,
        file: PathBuf,
    ) -> io::Result<Option<Mono>> {
        self.last_by(agent, invocation, move || stamp(&file)).await
    }

    async fn last_by(
        self: Arc<Self>,
        agent: AgentName,
        invocation: InvocationId,
        ask: impl FnOnce() -> io::Result<Option<Stamp>> + Send + 'static,
    ) -> io::Result<Option<Mono>> {
        let busy = |what: &str| io::Error::new(io::ErrorKind::TimedOut, what.to_owned());
        let threads = Arc::clone(&self.threads);
        let permit = threads.try_acquire_owned();
        let permit = permit.map_err(|_| busy("too many looks at files have not come back"))?;
        if !self.begin(&agent, invocation) {
            return Err(busy("the last look at the file has not come back"));
        }
        let look = spawn_blocking(move || {
            let _permit = permit;
            let found = ask();
            self.end(&agent, invocation, found)
        });
        match timeout(LOOK_MAX, look).await {
            Ok(done) => done.map_err(io::Error::other)?,
            Err(_) => Err(busy("the file system does not answer")),
        }
    }

    /// False: a look is under way.
    fn begin(&self, agent: &AgentName, invocation: InvocationId) -> bool {
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = || Known {
            invocation,
            looks: Looks::since(self.clock.mono()),
            under_way: false,
        };
        let known = all.entry(agent.clone()).or_insert_with(fresh);
        if known.under_way {
            return false;
        }
        if known.invocation != invocation {
            *known = fresh();
        }
        known.under_way = true;
        true
    }

    fn end(
        &self,
        agent: &AgentName,
        invocation: InvocationId,
        found: io::Result<Option<Stamp>>,
    ) -> io::Result<Option<Mono>> {
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = all
            .get_mut(agent)
            .filter(|known| known.invocation == invocation)
        else {
            return Err(io::ErrorKind::NotFound.into());
        };
        known.under_way = false;
        Ok(known
            .looks
            .look(found?, self.clock.mono(), self.clock.wall()))
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::mpsc, time::SystemTime};

    use osmoda_runtime::clock::SystemClock;

    use super::*;

    const ID: InvocationId = InvocationId([1; 16]);

    fn agent(name: &str) -> AgentName {
        AgentName::new(name).unwrap()
    }

    fn signs() -> Arc<FileSigns> {
        Arc::new(FileSigns::new(Arc::new(SystemClock::new().unwrap())))
    }

    #[tokio::test]
    async fn a_change_after_the_first_look_is_a_sign_and_a_missing_file_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("beat");
        let signs = signs();
        let last = || Arc::clone(&signs).last(agent("a"), ID, file.clone());
        assert_eq!(last().await.unwrap(), None);
        fs::write(&file, "1").unwrap();
        let first = last().await.unwrap();
        assert!(first.is_some());
        assert_eq!(last().await.unwrap(), first);
        fs::write(&file, "12").unwrap();
        assert!(last().await.unwrap() >= first);
        fs::remove_file(&file).unwrap();
        let kept = last().await.unwrap();
        fs::write(&file, "123").unwrap();
        assert!(last().await.unwrap() >= kept);
    }

    #[tokio::test]
    async fn a_file_from_before_the_instance_is_no_sign_of_it() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("beat");
        fs::write(&file, "old").unwrap();
        let before = SystemTime::now() - Duration::from_secs(60);
        let old = fs::File::options().write(true).open(&file).unwrap();
        old.set_modified(before).unwrap();
        let signs = signs();
        let last = || Arc::clone(&signs).last(agent("a"), ID, file.clone());
        assert_eq!(last().await.unwrap(), None);
        assert_eq!(last().await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_file_system_that_hangs_holds_one_thread_and_nobody_else() {
        let (release, hang) = mpsc::channel::<()>();
        let signs = signs();
        let stuck = Arc::clone(&signs).last_by(agent("a"), ID, move || {
            let _ = hang.recv(); // ends with its sender
            Ok(None)
        });
        let stuck = tokio::spawn(stuck);
        tokio::task::yield_now().await; // it has begun to wait
        tokio::time::pause();
        tokio::time::advance(LOOK_MAX * 2).await;
        let why = stuck.await.unwrap().unwrap_err().to_string();
        assert_eq!(why, "the file system does not answer");
        tokio::time::resume();
        let again = Arc::clone(&signs)
            .last_by(agent("a"), ID, || Ok(None))
            .await;
        let again = again.unwrap_err().to_string();
        assert_eq!(again, "the last look at the file has not come back");
        let other = Arc::clone(&signs)
            .last_by(agent("b"), ID, || Ok(None))
            .await;
        assert_eq!(other.unwrap(), None);
        drop(release);
    }
}
