//! Verifies a ledger's database: stretches of rows by several threads, joined in order.
//!
//! Every thread has a connection of its own, all of them on the same state of the file. What a
//! thread finds about its stretch is small; the joining side holds few of them, so memory is
//! bounded whatever the size of the log.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use osmoda_core::digest::Digest;
use rusqlite::{Connection, params};

use super::{
    Bad, Found, Report, VerifyError, VerifyOptions,
    checkpoints::{Judge, Stored},
    report,
};
use crate::{
    anchor,
    audit::{Audit, Row, RowFault},
    error::{ReadError, Severity},
    query,
    reader::Reader,
    store::{SignedAt, is_origin, read_log, schema, tree},
    tlog::{self, Frontier},
};

/// Rows of a stretch: a perfect subtree of this size is what is joined.
const STRETCH: u64 = 1 << STRETCH_LEVEL;
const STRETCH_LEVEL: u32 = 12;
/// Most stretches that are ahead of the joining side.
const AHEAD: u64 = 32;
/// Most threads.
const THREADS_MAX: usize = 8;
/// Tries to open all connections on the same state of a file that is being written.
const SNAPSHOT_TRIES: u32 = 20;

/// What a thread found out about its stretch.
struct Stretch {
    audit: Audit,
    /// Sizes and the stretch's root there, for checkpoints within it.
    marks: Vec<(u64, Digest)>,
    stored: Vec<Stored>,
    end: Result<(), Stop>,
}

/// Why a stretch ended early.
enum Stop {
    Bad(Bad),
    Read(ReadError),
}

impl From<rusqlite::Error> for Stop {
    fn from(error: rusqlite::Error) -> Self {
        Self::Read(error.into())
    }
}

/// What the file says of itself.
struct Claim {
    origin: String,
    tree: Frontier,
    /// Seq after the last row.
    rows: u64,
    keeps_tree: bool,
}

pub(super) fn verify_database(
    path: &Path,
    options: &VerifyOptions,
    progress: impl FnMut(u64, u64),
) -> Result<Report, VerifyError> {
    let mut found = Found::default();
    match examine(path, options, progress, &mut found) {
        Ok(()) => {}
        Err(Stop::Bad(bad)) => found.bad = Some(bad),
        // Damage is a report; that the file cannot be read here and now is an error.
        Err(Stop::Read(ReadError::Sqlite(source))) if Severity::of(&source) == Severity::Damage => {
            found.bad = Some(match &found.audit {
                Some(audit) => Bad::entry(audit.next(), source),
                None => Bad::file(source.to_string()),
            });
        }
        Err(Stop::Read(source)) => {
            let path = path.to_owned();
            return Err(VerifyError::Sqlite { path, source });
        }
    }
    Ok(report(found))
}

fn examine(
    path: &Path,
    options: &VerifyOptions,
    progress: impl FnMut(u64, u64),
    found: &mut Found,
) -> Result<(), Stop> {
    let threads = options.threads.map(usize::from);
    let threads = threads.or_else(|| thread::available_parallelism().ok().map(usize::from));
    let connections = open(path, threads.unwrap_or(1).clamp(1, THREADS_MAX))?;
    let first = &connections[0];
    let claim = read_claim(first)?;
    found.origin = Some(claim.origin.clone());
    found.audit = Some(Audit::new(&claim.origin));
    let judge = Judge::new(&claim.origin, &options.keys, &options.checkpoints);
    let mut judge = judge.map_err(|reason| Stop::Bad(Bad::file(reason)))?;
    let joined = follow(connections, &claim, &mut judge, found, progress);
    found.checkpoint = judge.last().cloned();
    found.checkpoints = judge.count();
    found.key = judge.key();
    let connection = joined?;
    let audit = found.audit.as_ref();
    let size = audit.map_or(0, Audit::next);
    let anchors =
        anchor::read_all(&query::state(&connection, anchor::STATE_PREFIX).map_err(Stop::Read)?);
    found.anchored = anchor::anchored_size(&anchors, size).max(options.anchored(size));
    let bad = |reason| Stop::Bad(Bad::file(reason));
    if let Some(audit) = audit {
        check_end(audit, &claim.tree).map_err(Stop::Bad)?;
    }
    check_rest(&connection, &claim)?;
    judge.finish(size, &options.checkpoints).map_err(bad)
}

/// As many connections as threads, all of which see the same state of the file.
fn open(path: &Path, threads: usize) -> Result<Vec<Connection>, Stop> {
    for _ in 0..SNAPSHOT_TRIES {
        let mut connections = Vec::new();
        let mut states = Vec::new();
        for _ in 0..threads {
            let connection = Reader::open(path).map_err(Stop::Read)?.into_connection();
            connection.execute_batch("BEGIN")?;
            states.push(state_of(&connection));
            connections.push(connection);
        }
        if states.iter().all(|state| *state == states[0]) {
            return Ok(connections);
        }
    }
    let connection = Reader::open(path).map_err(Stop::Read)?.into_connection();
    connection.execute_batch("BEGIN")?;
    Ok(vec![connection])
}

/// What changes whenever an entry is written or a body dropped; begins the read transaction.
/// A file that cannot be read so far says so again when it is looked at.
fn state_of(connection: &Connection) -> Option<(u64, Option<Vec<u8>>)> {
    let select = "SELECT size, (SELECT value FROM state WHERE key = 'ledger/dropping') FROM log";
    let row = connection.query_row(select, [], |row| Ok((row.get(0)?, row.get(1)?)));
    row.ok()
}

fn read_claim(connection: &Connection) -> Result<Claim, Stop> {
    let bad = |reason: String| Stop::Bad(Bad::file(reason));
    schema::check(connection)?.map_err(bad)?;
    let (origin, size, frontier) = read_log(connection)?;
    if !is_origin(&origin) {
        return Err(bad(format!("{origin:?} is not the origin of a ledger")));
    }
    let tree = Frontier::from_bytes(size, &frontier);
    let tree = tree.ok_or_else(|| bad("the stored tree does not fit its size".into()))?;
    let select = "SELECT max(seq) FROM entry";
    let last: Option<i64> = connection.query_row(select, [], |row| row.get(0))?;
    let rows = last.map_or(0, |last| u64::try_from(last).map_or(0, |last| last + 1));
    Ok(Claim {
        origin,
        tree,
        rows,
        keeps_tree: connection.table_exists(None, "subtree")?,
    })
}

/// What the joining side and the threads share.
#[derive(Default)]
struct Work {
    /// The next stretch that nobody has taken.
    next: u64,
    /// Stretches that were joined.
    joined: u64,
    done: BTreeMap<u64, Stretch>,
    stopped: bool,
}

/// Follows all rows and joins what is found; gives a connection back for what is left.
fn follow(
    connections: Vec<Connection>,
    claim: &Claim,
    judge: &mut Judge<'_>,
    found: &mut Found,
    mut progress: impl FnMut(u64, u64),
) -> Result<Connection, Stop> {
    // An empty log has one stretch too, so that rows below 0 are found.
    let stretches = claim.rows.div_ceil(STRETCH).max(1);
    let outside = judge.sizes();
    let work = Mutex::new(Work::default());
    let moved = Condvar::new();
    let labour = |connection: Connection| {
        while let Some(index) = take(&work, &moved, stretches) {
            let stretch = examine_stretch(&connection, claim, index * STRETCH, &outside);
            lock(&work).done.insert(index, stretch);
            moved.notify_all();
        }
        connection
    };
    let labour = &labour;
    thread::scope(|scope| {
        let hands: Vec<_> = connections
            .into_iter()
            .map(|connection| scope.spawn(move || labour(connection)))
            .collect();
        let mut result = Ok(());
        for index in 0..stretches {
            let stretch = await_stretch(&work, &moved, index);
            result = join(stretch, judge, found);
            if result.is_err() {
                break;
            }
            progress(found.audit.as_ref().map_or(0, Audit::next), claim.rows);
        }
        lock(&work).stopped = true;
        moved.notify_all();
        let mut connections = hands.into_iter().filter_map(|hand| hand.join().ok());
        let one = connections.next();
        connections.for_each(drop);
        result?;
        // No thread panics; if one did, nothing of what it found was joined.
        one.ok_or_else(|| Stop::Bad(Bad::file("a thread of the verification ended early")))
    })
}

fn lock(work: &Mutex<Work>) -> MutexGuard<'_, Work> {
    work.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The next stretch to look at; waits while too many wait to be joined.
fn take(work: &Mutex<Work>, moved: &Condvar, stretches: u64) -> Option<u64> {
    let mut work = lock(work);
    loop {
        if work.stopped || work.next == stretches {
            return None;
        }
        if work.next < work.joined + AHEAD {
            work.next += 1;
            return Some(work.next - 1);
        }
        work = moved.wait(work).unwrap_or_else(PoisonError::into_inner);
    }
}

fn await_stretch(work: &Mutex<Work>, moved: &Condvar, index: u64) -> Stretch {
    let mut work = lock(work);
    loop {
        if let Some(stretch) = work.done.remove(&index) {
            work.joined += 1;
            moved.notify_all();
            return stretch;
        }
        work = moved.wait(work).unwrap_or_else(PoisonError::into_inner);
    }
}

/// Looks at the rows from `from` on, at most [`STRETCH`] of them.
fn examine_stretch(connection: &Connection, claim: &Claim, from: u64, outside: &[u64]) -> Stretch {
    let mut stretch = Stretch {
        audit: Audit::stretch(&claim.origin, from, tlog::chain_start(&claim.origin)),
        marks: Vec::new(),
        stored: Vec::new(),
        end: Ok(()),
    };
    stretch.end = follow_stretch(connection, claim, from, outside, &mut stretch);
    stretch
}

fn follow_stretch(
    connection: &Connection,
    claim: &Claim,
    from: u64,
    outside: &[u64],
    stretch: &mut Stretch,
) -> Result<(), Stop> {
    let until = from + STRETCH;
    if from > 0 {
        let before = query::chain_before(connection, from)?;
        // Where there is none, rows are missing; the stretch before this one says so.
        let Some(before) = before else { return Ok(()) };
        stretch.audit = Audit::stretch(&claim.origin, from, before);
    }
    stretch.stored = stored_checkpoints(connection, from, until)?;
    let mut sizes: Vec<u64> = stretch.stored.iter().map(|stored| stored.at.size).collect();
    sizes.extend(outside.iter().filter(|size| (from..=until).contains(size)));
    sizes.sort_unstable();
    let mut sizes = sizes.into_iter().peekable();
    let (audit, marks) = (&mut stretch.audit, &mut stretch.marks);
    let followed = query::for_each_row_within(connection, from, until, |row: &Row<'_>| {
        while sizes.next_if_eq(&audit.next()).is_some() {
            marks.push((audit.next(), audit.frontier().root()));
        }
        audit.row(row)
    });
    while sizes.next_if_eq(&audit.next()).is_some() {
        marks.push((audit.next(), audit.frontier().root()));
    }
    followed?.map_err(|fault: RowFault| Stop::Bad(Bad::entry(audit.next(), fault)))?;
    if audit.next() < until
        && let Some(found) = query::first_seq(connection, audit.next())?
    {
        let expected = audit.next();
        let gap = RowFault::Gap { expected, found };
        return Err(Stop::Bad(Bad::entry(expected, gap)));
    }
    if claim.keeps_tree {
        let kept = tree::kept_within(connection, from, until)?;
        if kept != audit.frontier().without_last((1 << tree::STEP) - 1) {
            let reason = format!("the stored nodes of the tree from entry {from} on are wrong");
            return Err(Stop::Bad(Bad::file(reason)));
        }
    }
    Ok(())
}

fn stored_checkpoints(
    connection: &Connection,
    after: u64,
    until: u64,
) -> Result<Vec<Stored>, Stop> {
    let mut select = connection.prepare_cached(
        "SELECT size, signed_at, note FROM checkpoint WHERE size > ?1 AND size <= ?2 ORDER BY size",
    )?;
    let rows = select.query_map(params![after, until], |row| {
        Ok(Stored {
            at: SignedAt {
                size: row.get(0)?,
                signed_at: row.get(1)?,
            },
            note: row.get(2)?,
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Takes over what was found about the next stretch.
fn join(stretch: Stretch, judge: &mut Judge<'_>, found: &mut Found) -> Result<(), Stop> {
    let Some(audit) = &mut found.audit else {
        return Ok(());
    };
    judge.hear(stretch.audit.keys());
    let mut stored = stretch.stored.into_iter().peekable();
    let mut bad = None;
    for (size, root) in stretch.marks {
        let root = match size == audit.next() {
            true => audit.frontier().root(),
            false => audit.frontier().root_with(root),
        };
        let mut judged = Ok(());
        while judged.is_ok()
            && let Some(stored) = stored.next_if(|stored| stored.at.size == size)
        {
            judged = judge.stored(stored, &root);
        }
        if let Err(reason) = judged.and_then(|()| judge.reached(size, &root)) {
            bad = Some(Bad::file(reason));
            break;
        }
    }
    audit.absorb(stretch.audit);
    match bad {
        Some(bad) => Err(Stop::Bad(bad)),
        None => stretch.end,
    }
}

/// What only the end of a log shows: bodies that nothing explains, and whether the size and
/// tree that the file claims are those of its entries.
fn check_end(audit: &Audit, claimed: &Frontier) -> Result<(), Bad> {
    if let Some(seq) = audit.first_unexplained() {
        return Err(Bad::entry(seq, RowFault::Missing));
    }
    let (has, says) = (audit.next(), claimed.size());
    if has < says {
        let reason = format!("it is missing; the file says that it has {says} entries");
        return Err(Bad::entry(has, reason));
    }
    if has > says {
        return Err(Bad::entry(says, "it is after the end that the file states"));
    }
    match audit.frontier() == claimed {
        true => Ok(()),
        false => Err(Bad::file("the stored tree is not that of the entries")),
    }
}

/// Checkpoints beyond the end, and nodes of the tree that do not belong to it.
fn check_rest(connection: &Connection, claim: &Claim) -> Result<(), Stop> {
    let size = claim.tree.size();
    let beyond = "SELECT size FROM checkpoint WHERE size < 1 OR size > ?1 ORDER BY size LIMIT 1";
    let mut select = connection.prepare(beyond)?;
    let mut rows = select.query([size])?;
    if let Some(row) = rows.next()? {
        let signed: i64 = row.get(0)?;
        let reason = format!(
            "it has {size} entries, and holds a checkpoint of {signed}: its end was cut off"
        );
        return Err(Stop::Bad(Bad::file(reason)));
    }
    match !claim.keeps_tree || tree::upper_levels_fit(connection, size)? {
        true => Ok(()),
        false => Err(Stop::Bad(Bad::file(
            "the stored upper nodes of the tree are wrong",
        ))),
    }
}
