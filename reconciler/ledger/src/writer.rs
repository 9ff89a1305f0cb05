//! The ledger for many: a handle whose commits one thread writes, grouped.
//!
//! The writer takes what is queued the moment it is free and writes it as one transaction with
//! one fsync; it never waits for more. So a single append costs one fsync and two thread
//! switches, and a thousand at once cost one fsync too. The queue is bounded by
//! [`QUEUE_MAX`]; beyond that, [`Ledger::append`] waits for room.
//!
//! Who has a thread that may block commits from there ([`Ledger::append_blocking`]): the store is
//! taken, not the writer asked, which saves both switches. The store is locked for that, and
//! whoever holds it is the only one that writes.
//!
//! A disk that has rested answers late. Who expects a commit soon says so ([`Ledger::rouse`]), and the
//! disk is woken meanwhile.
//!
//! When nothing has come for [`IDLE`], the writer moves the write-ahead log into the database,
//! so that no commit has to pay for it. Between turns it signs what is due
//! ([`crate::sign`]); what operators ask of the ledger itself is in [`crate::operate`].

use std::{
    borrow::{Borrow, Cow},
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use crate::{
    backup,
    entry::{Appended, Commit, Prepared},
    error::{CommitError, OpenError, ReadError},
    reader::Reader,
    scrub::Scrubber,
    sign::{Cadence, Signed, desk::Desk},
    store::{Head, OpenOptions, Opened, Position, Store, rouse::Rouser},
};

/// Most commits that wait to be written, and most of one transaction.
pub const QUEUE_MAX: usize = 1024;
/// How long nothing must have come before housekeeping begins.
pub const IDLE: Duration = Duration::from_millis(200);

type Answer = Result<Vec<Appended>, CommitError>;

/// A handle to the open ledger. Clones share one writer, which ends with the last of them.
#[derive(Clone)]
pub struct Ledger {
    shared: Arc<Shared>,
    /// Closes the queue when the last handle goes.
    _closer: Arc<Closer>,
}

/// What the handles and the writer share.
struct Shared {
    origin: String,
    path: Option<PathBuf>,
    scrubber: Arc<Scrubber>,
    queue: Mutex<Queue>,
    wake: Condvar,
    room: Arc<Semaphore>,
    position: Mutex<Position>,
    size: watch::Sender<u64>,
    /// The store; taken out when the ledger is closed.
    place: Mutex<Option<Place>>,
    /// The last checkpoint that is stored.
    signed: watch::Sender<Option<Arc<Signed>>>,
    /// Entries that an anchor vouches for.
    anchored: AtomicU64,
    /// Wakes the disk; there as soon as the writer has made it.
    rouser: OnceLock<Rouser>,
    /// Becomes true when the writer has closed the file.
    ended: watch::Sender<bool>,
}

#[derive(Default)]
struct Queue {
    requests: VecDeque<Request>,
    tasks: VecDeque<Task>,
    /// Somebody else has written: the writer is to look what follows from it.
    stirred: bool,
    closed: bool,
}

struct Request {
    commit: Box<Prepared<'static>>,
    answer: oneshot::Sender<Answered>,
    _room: OwnedSemaphorePermit,
}

/// What comes back of a request. The commit is freed by whoever has made it: the writer's time is
/// everybody's.
struct Answered {
    answer: Answer,
    _commit: Box<Prepared<'static>>,
}

/// The store and what whoever writes leaves for the writer.
struct Place {
    store: Store,
    /// When it was last written to.
    written: Instant,
}

/// Something that is done with the store itself, between two commits.
type Task = Box<dyn FnOnce(&mut Store) + Send>;

struct Closer(Arc<Shared>);

impl Drop for Closer {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Ledger {
    /// Opens or makes the ledger at `path` and starts its writer.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open(path: &Path, options: OpenOptions) -> Result<Self, OpenError> {
        Self::start(Store::open(path, options)?)
    }

    /// Like [`Ledger::open`], but sets a damaged file aside and begins anew.
    ///
    /// # Errors
    /// As [`Store::open_or_reset`].
    pub fn open_or_reset(path: &Path, options: OpenOptions) -> Result<Opened<Self>, OpenError> {
        let opened = Store::open_or_reset(path, options)?;
        Ok(Opened {
            ledger: Self::start(opened.ledger)?,
            reset: opened.reset,
        })
    }

    /// Starts the writer of a store that is open.
    ///
    /// # Errors
    /// [`OpenError::Unavailable`] if there can be no thread.
    pub fn start(store: Store) -> Result<Self, OpenError> {
        let position = store.position().clone();
        let shared = Arc::new(Shared {
            origin: store.origin().to_owned(),
            path: store.path().map(Path::to_owned),
            scrubber: Arc::clone(store.scrubber()),
            queue: Mutex::default(),
            wake: Condvar::new(),
            room: Arc::new(Semaphore::new(QUEUE_MAX)),
            size: watch::Sender::new(position.frontier.size()),
            position: Mutex::new(position),
            signed: watch::Sender::new(store.last_checkpoint()),
            anchored: AtomicU64::new(store.anchored()),
            rouser: OnceLock::new(),
            ended: watch::Sender::new(false),
            place: Mutex::new(Some(Place {
                store,
                written: Instant::now(),
            })),
        });
        let writer = Arc::clone(&shared);
        thread::Builder::new()
            .name("ledger".into())
            .spawn(move || writer.write())
            .map_err(|error| OpenError::Unavailable {
                path: shared.path.clone().unwrap_or_default(),
                source: error.into(),
            })?;
        let closer = Arc::new(Closer(Arc::clone(&shared)));
        Ok(Self {
            shared,
            _closer: closer,
        })
    }

    /// Records a commit; when this returns, it is durable. Waits for room in the queue. If the
    /// future is dropped after that, the commit may still be recorded.
    ///
    /// # Errors
    /// [`CommitError`]; nothing of the commit was recorded.
    pub async fn append(&self, commit: Commit) -> Answer {
        let room = Arc::clone(&self.shared.room).acquire_owned().await;
        let room = room.map_err(|_| CommitError::Closed)?;
        // Not before there is room: what is learned while it waits is to be found in it.
        let commit = Box::new(Prepared::new(Cow::Owned(commit), &self.shared.scrubber)?);
        let (answer, answered) = oneshot::channel();
        self.shared.push(Request {
            commit,
            answer,
            _room: room,
        })?;
        let answered = answered.await.map_err(|_| CommitError::Closed)?;
        answered.answer
    }

    /// Records a commit on the calling thread, which blocks until it is durable; what other
    /// threads are writing comes before it.
    ///
    /// # Errors
    /// [`CommitError`]; nothing of the commit was recorded.
    pub fn append_blocking(&self, commit: &Commit) -> Answer {
        let shared = &*self.shared;
        let prepared = Prepared::new(Cow::Borrowed(commit), &shared.scrubber)?;
        if lock(&shared.queue).closed {
            return Err(CommitError::Closed);
        }
        let mut place = lock(&shared.place);
        let place = place.as_mut().ok_or(CommitError::Closed)?;
        place.written = Instant::now();
        let was_asleep = place.lets_the_writer_sleep();
        let answer = commit_group(&mut place.store, &[prepared]).pop();
        shared.publish(&place.store);
        if was_asleep || place.wants_the_writer() {
            lock(&shared.queue).stirred = true;
            shared.wake.notify_one();
        }
        answer.unwrap_or(Err(CommitError::Closed))
    }

    /// Tells that a commit is about to come for which somebody waits: wakes the disk, if it can be
    /// woken, and waits for nothing.
    pub fn rouse(&self) {
        if let Some(rouser) = self.shared.rouser.get() {
            rouser.rouse();
        }
    }

    /// The log as of the last commit that was answered, or a later one.
    pub fn head(&self) -> Head {
        let head = lock(&self.shared.position).head(&self.shared.origin);
        let signed = self
            .shared
            .signed
            .borrow()
            .as_ref()
            .map(|signed| signed.at());
        let anchored = self.shared.anchored.load(Ordering::Relaxed);
        Head {
            checkpoint: signed,
            unanchored: head.size.saturating_sub(anchored),
            ..head
        }
    }

    /// The last checkpoint that is stored, and each one from now on.
    pub fn checkpoints(&self) -> watch::Receiver<Option<Arc<Signed>>> {
        self.shared.signed.subscribe()
    }

    /// Takes note that an anchor vouches for the first `size` entries, for [`Ledger::head`].
    pub fn set_anchored(&self, size: u64) {
        self.shared.anchored.fetch_max(size, Ordering::Relaxed);
    }

    /// Does something with the store itself, on the writer's thread, and waits for the result:
    /// call it from where blocking is allowed. `None` if the ledger was closed.
    pub(crate) fn with_store<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Store) -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, answered) = mpsc::sync_channel(1);
        let task = Box::new(move |store: &mut Store| {
            // Who no longer waits does not want to know.
            let _ = answer.send(work(store));
        });
        let mut queue = lock(&self.shared.queue);
        if queue.closed {
            return None;
        }
        queue.tasks.push_back(task);
        drop(queue);
        self.shared.wake.notify_one();
        answered.recv().ok()
    }

    /// Name of the log, `NODE/osmoda/LOGID`.
    pub fn origin(&self) -> &str {
        &self.shared.origin
    }

    /// Tells of every growth of the log: its number of entries.
    pub fn follow(&self) -> watch::Receiver<u64> {
        self.shared.size.subscribe()
    }

    /// A connection of its own that reads while the writer writes.
    ///
    /// # Errors
    /// [`ReadError::NoFile`] in memory, [`ReadError::Sqlite`] if the file cannot be opened.
    pub fn reader(&self) -> Result<Reader, ReadError> {
        Reader::open(self.shared.path.as_deref().ok_or(ReadError::NoFile)?)
    }

    /// Writes a consistent copy of the ledger to `target`, while it goes on; blocks until the
    /// copy is durable. Gives the number of entries in it.
    ///
    /// # Errors
    /// [`ReadError`]; then there is no file at `target`, or the one that was there before.
    pub fn backup(&self, target: &Path) -> Result<u64, ReadError> {
        let path = self.shared.path.as_deref().ok_or(ReadError::NoFile)?;
        backup::backup(path, target)
    }

    /// Takes no more commits, writes those that wait, closes the file, and returns when all
    /// that is done.
    pub async fn shutdown(&self) {
        self.shared.close();
        let mut ended = self.shared.ended.subscribe();
        // An error means that the writer is gone altogether, which is as ended as can be.
        let _ = ended.wait_for(|ended| *ended).await;
    }
}

/// What the writer does next.
enum Next {
    Write(Vec<Request>),
    Do(Task),
    TidyUp,
    Look,
    End,
}

impl Shared {
    fn push(&self, request: Request) -> Result<(), CommitError> {
        let mut queue = lock(&self.queue);
        if queue.closed {
            return Err(CommitError::Closed);
        }
        queue.requests.push_back(request);
        drop(queue);
        self.wake.notify_one();
        Ok(())
    }

    fn close(&self) {
        lock(&self.queue).closed = true;
        self.room.close();
        self.wake.notify_all();
    }

    /// The writer's life.
    fn write(&self) {
        // Whatever ends this thread, nobody is to wait for it for ever.
        let _ended = OnDrop(self);
        let mut desk = Desk::new(Instant::now());
        self.with_place(|place| place.store.lengthen_wal());
        self.make_rouser();
        loop {
            let looked = self.with_place(|place| {
                let attend = desk.attend(&mut place.store, Instant::now());
                self.publish(&place.store);
                let untidy = place.store.wal_is_long() || place.store.has_pending_checkpoint();
                (untidy.then(|| place.written + IDLE), attend)
            });
            let Some((idle, attend)) = looked else { return };
            match self.next(idle, attend) {
                Next::Write(requests) => {
                    self.with_place(|place| self.write_group(place, requests));
                }
                Next::Do(task) => {
                    self.with_place(|place| task(&mut place.store));
                }
                Next::TidyUp => {
                    self.with_place(|place| place.tidy_up());
                }
                Next::Look => {}
                Next::End => {
                    self.with_place(|place| sign_off(&mut place.store));
                    return;
                }
            }
        }
    }

    /// `None`: the store is closed.
    fn with_place<T>(&self, work: impl FnOnce(&mut Place) -> T) -> Option<T> {
        lock(&self.place).as_mut().map(work)
    }

    /// Without one, commits come as they come.
    fn make_rouser(&self) {
        let Some(path) = &self.path else { return };
        match Rouser::beside(path) {
            Ok(rouser) => drop(self.rouser.set(rouser)),
            Err(error) => tracing::debug!(%error, "the ledger's disk cannot be woken early"),
        }
    }

    /// Waits for requests: until `idle` for tidying up, until `attend` for looking at the desk,
    /// or until somebody has written who is not this thread.
    fn next(&self, idle: Option<Instant>, attend: Option<Instant>) -> Next {
        let mut queue = lock(&self.queue);
        loop {
            if let Some(task) = queue.tasks.pop_front() {
                return Next::Do(task);
            }
            if !queue.requests.is_empty() {
                return Next::Write(queue.requests.drain(..).collect());
            }
            if queue.closed {
                return Next::End;
            }
            if std::mem::take(&mut queue.stirred) {
                return Next::Look;
            }
            let Some(until) = idle.into_iter().chain(attend).min() else {
                let woken = self.wake.wait(queue);
                queue = woken.unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return if idle == Some(until) {
                    Next::TidyUp
                } else {
                    Next::Look
                };
            }
            let woken = self.wake.wait_timeout(queue, left);
            queue = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Tells readers of the handle how the store stands.
    fn publish(&self, store: &Store) {
        let size = store.position().frontier.size();
        if *self.size.borrow() != size {
            *lock(&self.position) = store.position().clone();
            self.size.send_replace(size);
        }
        let signed = store.last_checkpoint();
        self.signed.send_if_modified(|known| {
            let same = known.as_ref().map(Arc::as_ptr) == signed.as_ref().map(Arc::as_ptr);
            *known = signed;
            !same
        });
    }

    fn write_group(&self, place: &mut Place, requests: Vec<Request>) {
        let (commits, waiting): (Vec<_>, Vec<_>) = requests
            .into_iter()
            .map(|request| (request.commit, (request.answer, request._room)))
            .unzip();
        let answers = commit_group(&mut place.store, &commits);
        place.written = Instant::now();
        self.publish(&place.store);
        for (((waiting, _room), _commit), answer) in waiting.into_iter().zip(commits).zip(answers) {
            // Who no longer waits does not want to know.
            let _ = waiting.send(Answered { answer, _commit });
        }
    }
}

/// Writes all in one transaction; if one of them is invalid, each on its own, so that the
/// others do not suffer for it.
fn commit_group<'c>(store: &mut Store, commits: &[impl Borrow<Prepared<'c>>]) -> Vec<Answer> {
    match store.commit_prepared(commits) {
        Ok(appended) => appended.into_iter().map(Ok).collect(),
        Err(CommitError::Invalid(_)) if commits.len() > 1 => {
            let one = |commit| commit_group(store, std::slice::from_ref(commit));
            commits.iter().flat_map(one).collect()
        }
        Err(error) => {
            tracing::warn!(%error, commits = commits.len(), "ledger did not record");
            commits.iter().map(|_| Err(error.clone())).collect()
        }
    }
}

impl Place {
    /// Whether the writer has set no alarm by which it will see the next entries in time.
    fn lets_the_writer_sleep(&self) -> bool {
        (self.store.unsigned()).is_some_and(|(unsigned, _)| unsigned == 0)
    }

    /// Whether something is to be done that no alarm is set for.
    fn wants_the_writer(&self) -> bool {
        let due = |(unsigned, cadence): (u64, Cadence)| unsigned >= cadence.entries;
        self.store.wal_is_long() || self.store.unsigned().is_some_and(due)
    }

    /// What is done when nothing else is.
    fn tidy_up(&mut self) {
        let store = &mut self.store;
        // What fails now is tried again after as long a pause.
        self.written = Instant::now();
        if let Err(error) = store.store_checkpoint() {
            tracing::warn!(%error, "a checkpoint of the ledger waits to be stored");
        }
        if store.wal_is_long()
            && let Err(error) = store.move_wal()
        {
            tracing::warn!(%error, "write-ahead log of the ledger stays long");
        }
    }
}

/// Signs what no checkpoint covers yet, so that a log that was closed in good order is signed
/// to its end.
fn sign_off(store: &mut Store) {
    if store.unsigned().is_some_and(|(entries, _)| entries > 0)
        && let Err(error) = store.checkpoint()
    {
        tracing::warn!(%error, "the last entries of the ledger are not signed");
    }
}

/// Says that the writer has ended, after its store is closed.
struct OnDrop<'a>(&'a Shared);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.close();
        drop(lock(&self.0.place).take());
        let mut queue = lock(&self.0.queue);
        queue.requests.clear();
        queue.tasks.clear();
        drop(queue);
        self.0.ended.send_replace(true);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
