//! Opens a ledger or makes a new one, and sees to it that one that is damaged is replaced.
//!
//! What makes a file sound is in `tail`; what becomes of one that is not, in `reset`.

use std::{
    fs::{self, File, Permissions},
    io,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use osmoda_core::digest::Digest;
use rusqlite::{Connection, OpenFlags};

use super::{
    OpenOptions, Position, Store, Synchronous,
    batch::Author,
    doubt::Doubt,
    reset::{self, Reset},
    schema,
    tail::{Found, Trouble, read_tail},
    tree,
};
use crate::{
    entry::{Commit, MAX_ORIGIN, clamp},
    error::{Damage, OpenError, Severity},
    reader,
    tlog::{self, Frontier},
};

/// Longest name of a node in an origin, in bytes.
const NODE_MAX: usize = 63;
/// Permissions of the ledger and of the files beside it.
const MODE: u32 = 0o600;

/// A ledger that was opened, and what had to be done for it.
pub struct Opened<T> {
    /// The ledger: a [`Store`] or a [`crate::writer::Ledger`].
    pub ledger: T,
    /// A damaged file was set aside and a new log begun.
    pub reset: Option<Reset>,
}

impl Store {
    /// Opens the ledger at `path`, or makes a new one where there is nothing.
    ///
    /// # Errors
    /// [`OpenError`]. The file and its write-ahead log are not changed by a failed attempt.
    pub fn open(path: &Path, options: OpenOptions) -> Result<Self, OpenError> {
        let signing = options.signing.clone();
        let (author, synchronous) = author(options);
        let store = match inspect(path)? {
            None => create(path, author, synchronous, None),
            Some(found) => finish(path, author, found, synchronous),
        };
        store.map(|store| store.with_signing(signing))
    }

    /// Like [`Store::open`], but a damaged file is set aside, untouched, and a new log begun
    /// whose first entry, LogReset, names the old file and what was found.
    ///
    /// # Errors
    /// [`OpenError::Unavailable`] or [`OpenError::OldSqlite`].
    pub fn open_or_reset(path: &Path, options: OpenOptions) -> Result<Opened<Self>, OpenError> {
        let signing = options.signing.clone();
        let (author, synchronous) = author(options);
        let sound = |ledger: Self| Opened {
            ledger: ledger.with_signing(signing.clone()),
            reset: None,
        };
        let damage = match inspect(path) {
            Ok(None) => return create(path, author, synchronous, None).map(sound),
            Ok(Some(found)) => return finish(path, author, found, synchronous).map(sound),
            Err(OpenError::Damaged { damage, .. }) => damage,
            Err(error) => return Err(error),
        };
        let reset = Reset::plan(path, damage, clamp(author.clock.wall()));
        tracing::error!(
            ledger = %path.display(), moved_to = %reset.moved_to.display(),
            reason = reset.reason, "ledger is damaged; set aside and begun anew"
        );
        let ledger = create(path, author, synchronous, Some(&reset))?;
        Ok(Opened {
            ledger: ledger.with_signing(signing),
            reset: Some(reset),
        })
    }

    /// A new, empty log in memory: the same store, for simulations and tests.
    ///
    /// # Errors
    /// [`OpenError`], if SQLite fails.
    pub fn in_memory(options: OpenOptions) -> Result<Self, OpenError> {
        check_sqlite()?;
        let path = Path::new(":memory:");
        let signing = options.signing.clone();
        let (mut author, synchronous) = author(options);
        author.origin = new_origin(&mut author);
        let made = || {
            let connection = Connection::open_in_memory()?;
            schema::distrust(&connection)?;
            schema::prepare_writer(&connection, synchronous)?;
            schema::create(&connection, &author.origin)?;
            Ok(connection)
        };
        let connection = made().map_err(|error: rusqlite::Error| unavailable(path, error))?;
        let position = beginning(&author.origin);
        let store = Self {
            connection,
            path: None,
            author,
            position,
            wal_pages: 0,
            signer: None,
            key_problem: None,
            doubt: Doubt::default(),
        };
        Ok(store.with_signing(signing))
    }
}

fn author(options: OpenOptions) -> (Author, Synchronous) {
    let author = Author {
        origin: String::new(),
        node: plain_name(&options.node),
        clock: options.clock,
        ids: options.ids,
        scrubber: options.scrubber,
    };
    (author, options.synchronous)
}

fn check_sqlite() -> Result<(), OpenError> {
    match rusqlite::version_number() >= schema::SQLITE_OLDEST {
        true => Ok(()),
        false => Err(OpenError::OldSqlite(rusqlite::version().to_owned())),
    }
}

fn unavailable(
    path: &Path,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> OpenError {
    OpenError::Unavailable {
        path: path.to_owned(),
        source: source.into(),
    }
}

fn damaged(path: &Path, reason: impl Into<String>) -> OpenError {
    OpenError::Damaged {
        path: path.to_owned(),
        damage: Damage::new(reason),
    }
}

/// A name that can be part of an origin: no space, no plus, no slash.
fn plain_name(node: &str) -> String {
    let plain = |c: char| match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '_' | '-' => c,
        _ => '-',
    };
    let name: String = node.chars().map(plain).take(NODE_MAX).collect();
    match name.is_empty() {
        true => "node".into(),
        false => name,
    }
}

/// `NODE/osmoda/LOGID` with 64 bits that no other log has.
fn new_origin(author: &mut Author) -> String {
    let unique = author.ids.uuid_v7(clamp(author.clock.wall()));
    let digest = Digest::of(unique.as_bytes()).to_string();
    format!("{}/osmoda/{}", author.node, &digest[..16])
}

/// Whether a text is the origin of a log of this project.
pub(crate) fn is_origin(text: &str) -> bool {
    let mut parts = text.split('/');
    let (node, middle, id) = (parts.next(), parts.next(), parts.next());
    let hex = |id: &str| id.len() == 16 && id.bytes().all(|b| b"0123456789abcdef".contains(&b));
    text.len() <= MAX_ORIGIN
        && parts.next().is_none()
        && node.is_some_and(|node| plain_name(node) == node)
        && middle == Some("osmoda")
        && id.is_some_and(hex)
}

fn beginning(origin: &str) -> Position {
    Position {
        frontier: Frontier::default(),
        chain: tlog::chain_start(origin),
        last_ts: None,
    }
}

/// Whether there is nothing at `path`, so that a new log may begin there.
fn is_absent(path: &Path) -> Result<bool, OpenError> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // SQLite would replay a left-over write-ahead log into the new database.
            match reset::beside(path, "-wal").exists() {
                true => Err(damaged(path, "only its write-ahead log is left")),
                false => Ok(true),
            }
        }
        Err(error) => Err(unavailable(path, error)),
    }
}

/// A regular file of this user, readable by nobody else afterwards.
fn check_file(path: &Path) -> Result<(), OpenError> {
    let meta = fs::symlink_metadata(path).map_err(|error| unavailable(path, error))?;
    if !meta.is_file() {
        return Err(damaged(path, "it is not a regular file"));
    }
    let own = rustix::process::geteuid().as_raw();
    if meta.uid() != own {
        let owner = meta.uid();
        let reason = format!("it belongs to user {owner}, not to {own}");
        return Err(damaged(path, reason));
    }
    if meta.mode() & 0o7777 != MODE {
        fs::set_permissions(path, Permissions::from_mode(MODE))
            .map_err(|error| unavailable(path, error))?;
    }
    Ok(())
}

/// Reads the tail of the file at `path`, changing nothing: it may have to be set aside as it
/// is. `None` if there is no file.
fn inspect(path: &Path) -> Result<Option<Found>, OpenError> {
    check_sqlite()?;
    if is_absent(path)? {
        return Ok(None);
    }
    check_file(path)?;
    let connection = reader::connect(path).map_err(|error| refuse(path, error.into()))?;
    let found = read_tail(&connection).map_err(|trouble| refuse(path, trouble))?;
    Ok(Some(found))
}

fn refuse(path: &Path, trouble: Trouble) -> OpenError {
    match trouble {
        Trouble::Damage(damage) => OpenError::Damaged {
            path: path.to_owned(),
            damage,
        },
        Trouble::Sqlite(error) if Severity::of(&error) == Severity::Damage => {
            damaged(path, error.to_string())
        }
        Trouble::Sqlite(error) => unavailable(path, error),
    }
}

/// Opens a file that was found sound for writing.
fn finish(
    path: &Path,
    mut author: Author,
    found: Found,
    synchronous: Synchronous,
) -> Result<Store, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = Connection::open_with_flags(path, flags).and_then(|mut connection| {
        schema::distrust(&connection)?;
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        schema::prepare_writer(&connection, synchronous)?;
        schema::restore_triggers(&connection)?;
        tree::restore(&mut connection)?;
        Ok(connection)
    });
    let connection = opened.map_err(|error| refuse(path, error.into()))?;
    author.origin = found.origin;
    Ok(Store {
        connection,
        path: Some(path.to_owned()),
        author,
        position: found.position,
        wal_pages: 0,
        signer: None,
        key_problem: None,
        doubt: Doubt::default(),
    })
}

/// Makes a new log under another name, moves the damaged one aside if there is one, and puts
/// the new one in its place.
fn create(
    path: &Path,
    mut author: Author,
    synchronous: Synchronous,
    reset: Option<&Reset>,
) -> Result<Store, OpenError> {
    author.origin = new_origin(&mut author);
    let draft = reset::beside(path, ".new");
    let fail = |error: Box<dyn std::error::Error + Send + Sync>| OpenError::Unavailable {
        path: path.to_owned(),
        source: error,
    };
    let io = |error: io::Error| fail(error.into());
    for stale in ["", "-wal", "-shm"] {
        remove_if_there(&reset::beside(&draft, stale)).map_err(io)?;
    }
    let mut make = fs::OpenOptions::new();
    make.write(true).create_new(true).mode(MODE);
    make.open(&draft).map_err(io)?;
    let connection = build(&draft, &author.origin).map_err(|error| fail(error.into()))?;
    let mut store = Store {
        connection,
        path: Some(draft.clone()),
        position: beginning(&author.origin),
        author,
        wal_pages: 0,
        signer: None,
        key_problem: None,
        doubt: Doubt::default(),
    };
    if let Some(reset) = reset {
        let first = Commit {
            entries: vec![reset.draft()],
            state: Vec::new(),
        };
        store.commit(&[first]).map_err(|error| fail(error.into()))?;
    }
    // What closing does not tell: whether all of it has reached the file. Only that is renamed.
    match store.empty_wal() {
        Ok(true) => {}
        Ok(false) => return Err(fail("somebody else has it open while it is made".into())),
        Err(error) => return Err(fail(error.into())),
    }
    let Store {
        connection, author, ..
    } = store;
    connection
        .close()
        .map_err(|(_, error)| fail(error.into()))?;
    if let Some(reset) = reset {
        reset.set_aside(path).map_err(io)?;
    }
    fs::rename(&draft, path).map_err(io)?;
    sync_directory(path).map_err(io)?;
    let vanished = || fail("it vanished while it was made".into());
    let found = inspect(path)?.ok_or_else(vanished)?;
    finish(path, author, found, synchronous)
}

fn build(path: &Path, origin: &str) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    schema::distrust(&connection)?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    schema::prepare_writer(&connection, Synchronous::Full)?;
    let transaction = connection.transaction()?;
    schema::create(&transaction, origin)?;
    transaction.commit()?;
    Ok(connection)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes a rename in the directory of `path` durable.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(directory_of(path))?.sync_all()
}

/// The directory that holds the file at `path`.
pub(super) fn directory_of(path: &Path) -> &Path {
    let parent = path.parent().filter(|parent| *parent != Path::new(""));
    parent.unwrap_or(Path::new("."))
}
