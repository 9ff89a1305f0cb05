//! A directory, such as another host's mount, that holds the newest checkpoint of each log.
//!
//! One file a log, `NODE-LOGID.checkpoint`, replaced in one step and durable before it counts.
//! What lies there is compared first: a note of more entries, or one that this log did not grow
//! out of, is never replaced.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use osmoda_ledger::{
    checkpoint::Checkpoint,
    note::{NOTE_MAX, Note},
};
use osmoda_runtime::blocking::spawn_blocking;
use tokio::task::JoinHandle;

use super::log::{AnchorError, Offer};

/// The directory. A mount that hangs holds one thread and no more.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    /// Work that has not come back from the file system yet.
    stuck: Option<JoinHandle<()>>,
}

impl Directory {
    /// An anchor at this path; nothing is touched yet.
    pub fn new(path: &str) -> Self {
        Self {
            path: path.into(),
            stuck: None,
        }
    }

    /// Puts the checkpoint there. Gives the note that the anchor holds.
    pub async fn anchor(&mut self, offer: &Offer) -> Result<String, AnchorError> {
        let file = self.path.join(file_name(&offer.signed.checkpoint.origin));
        let note = offer.signed.note.clone();
        let looked = file.clone();
        if let Some(held) = self.blocking(move || read(&looked)).await? {
            agree(&held, offer).await?;
            if held.size == offer.size() {
                return Ok(note);
            }
        }
        let written = note.clone();
        self.blocking(move || write(&file, &written)).await?;
        Ok(note)
    }

    async fn blocking<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> Result<T, AnchorError> + Send + 'static,
    ) -> Result<T, AnchorError> {
        if self
            .stuck
            .as_ref()
            .is_some_and(|stuck| !stuck.is_finished())
        {
            let reason = format!("{} does not answer", self.path.display());
            return Err(AnchorError::passing(reason));
        }
        let (sender, answer) = tokio::sync::oneshot::channel();
        self.stuck = Some(spawn_blocking(move || {
            // Who no longer waits has given this try up.
            let _ = sender.send(work());
        }));
        let answer = answer.await;
        // The answer comes a moment before its thread is free; the next work must not find it busy.
        if let Some(done) = &mut self.stuck {
            // A panic is told below: it left no answer.
            let _ = done.await;
        }
        self.stuck = None;
        let gone = |_| AnchorError::passing("writing to the directory ended in a panic");
        answer.map_err(gone)?
    }
}

/// `NODE-LOGID.checkpoint`: a node's name has no slash, a log's id is hexadecimal.
fn file_name(origin: &str) -> String {
    let mut parts = origin.split('/');
    let node = parts.next().unwrap_or_default();
    let id = parts.next_back().unwrap_or_default();
    format!("{node}-{id}.checkpoint")
}

fn failed(operation: &str, path: &Path, error: &io::Error) -> AnchorError {
    AnchorError::passing(format!("cannot {operation} {}: {error}", path.display()))
}

/// The checkpoint that lies there; what is no checkpoint is not replaced.
fn read(path: &Path) -> Result<Option<Checkpoint>, AnchorError> {
    let length = match fs::metadata(path) {
        Ok(meta) => meta.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", path, &error)),
    };
    let odd = || {
        let reason = format!("{} is no checkpoint, and is not replaced", path.display());
        AnchorError::passing(reason)
    };
    if length > NOTE_MAX as u64 {
        return Err(odd());
    }
    let bytes = fs::read(path).map_err(|error| failed("read", path, &error))?;
    let note = Note::parse(&bytes).map_err(|_| odd())?;
    note.text().parse().map(Some).map_err(|_| odd())
}

/// Whether this log grew out of the one that the anchor holds.
async fn agree(held: &Checkpoint, offer: &Offer) -> Result<(), AnchorError> {
    let (origin, size) = (&offer.signed.checkpoint.origin, offer.size());
    if held.origin != *origin {
        return Err(AnchorError::fork(format!(
            "the directory holds a checkpoint of {} in this log's place",
            held.origin
        )));
    }
    if held.size > size {
        return Err(AnchorError::fork(format!(
            "the directory holds a checkpoint of {} entries, this log has {size}: it was cut, or \
             is an old copy",
            held.size
        )));
    }
    match offer.root(held.size).await? == held.root {
        true => Ok(()),
        false => Err(AnchorError::fork(format!(
            "the first {} entries are not those of the checkpoint in the directory",
            held.size
        ))),
    }
}

/// Replaces the file in one step, durably.
fn write(path: &Path, note: &str) -> Result<(), AnchorError> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".part");
    let draft = PathBuf::from(draft);
    let directory = path.parent().unwrap_or(path);
    let written = File::create(&draft).and_then(|mut file| {
        file.write_all(note.as_bytes())?;
        file.sync_all()?;
        fs::rename(&draft, path)?;
        File::open(directory)?.sync_all()
    });
    written.map_err(|error| failed("write", path, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Work one after another, as often as it takes to meet a thread that has just answered.
    const ROUNDS: usize = 20_000;

    #[tokio::test(flavor = "multi_thread")]
    async fn work_that_has_answered_is_never_taken_for_stuck() {
        let mut directory = Directory::new("/somewhere");
        for round in 0..ROUNDS {
            let answer = directory.blocking(move || Ok(round)).await;
            assert_eq!(answer, Ok(round));
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn work_that_does_not_come_back_is_told_and_holds_no_second_thread() {
        let mut directory = Directory::new("/somewhere");
        let (release, held) = std::sync::mpsc::channel::<()>();
        let hung = directory.blocking(move || {
            let _ = held.recv();
            Ok(())
        });
        assert!(
            after_one_poll(hung).await.is_none(),
            "nobody let it go, so it has no answer"
        );
        let next = directory.blocking(|| Ok(())).await;
        assert!(next.unwrap_err().reason.contains("does not answer"));
        drop(release);
    }

    /// The answer, if one poll gives it; what it waits for is given up, as by a time-out.
    async fn after_one_poll<T>(work: impl Future<Output = T>) -> Option<T> {
        let mut work = std::pin::pin!(work);
        std::future::poll_fn(|context| {
            std::task::Poll::Ready(match work.as_mut().poll(context) {
                std::task::Poll::Ready(answer) => Some(answer),
                std::task::Poll::Pending => None,
            })
        })
        .await
    }
}
