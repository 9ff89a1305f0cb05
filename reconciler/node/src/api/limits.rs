//! Every bound of the API, with its unit.

use std::time::Duration;

/// Most connections at once of callers who may act.
pub const ACTOR_CONNECTIONS_MAX: usize = 64;
/// Most connections at once of callers who may only read; they never crowd out the others.
pub const READER_CONNECTIONS_MAX: usize = 64;
/// Longest request head (request line and headers), in bytes. hyper's least buffer is 8 KiB.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Most headers of a request.
pub const HEADERS_MAX: usize = 64;
/// Longest request body, in bytes. Only a plan's manifests come near it.
pub const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Time a request's head may take, and an idle connection may stay open.
pub const HEAD_TIME_MAX: Duration = Duration::from_secs(10);
/// Time that a request's body may take, from its head on.
pub const BODY_TIME_MAX: Duration = Duration::from_secs(15);
/// Most characters of an error's message: it may repeat what the caller sent.
pub const MESSAGE_LETTERS_MAX: usize = 2048;
/// Time from a request's head to its answer; streams are bounded by [`STALL_MAX`] instead.
pub const REQUEST_TIME_MAX: Duration = Duration::from_secs(30);
/// Time a reader may leave an answer or an event unread before it is dropped.
pub const STALL_MAX: Duration = Duration::from_secs(30);
/// Time the loop may take to show that it works, for /readyz.
pub const READY_TIME_MAX: Duration = Duration::from_secs(2);
/// Time that open answers have after shutdown began.
pub const DRAIN_TIME_MAX: Duration = Duration::from_secs(1);
/// Pause after accept(2) failed, such as for want of file descriptors.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Time between comments on a silent event stream, so that a dead reader is noticed.
pub const KEEPALIVE_EVERY: Duration = Duration::from_secs(15);
/// Chunks of a stream that wait for their reader; the rest waits where it came from.
pub const STREAM_CHUNKS_MAX: usize = 16;
/// Entries read from the ledger at a time; a reader that takes nothing keeps as many in memory.
pub const ENTRY_BATCH: usize = 64;
/// Most entries of one answer.
pub const ENTRIES_MAX: usize = 1000;
/// Entries of an answer where no limit is given.
pub const ENTRIES_DEFAULT: usize = 100;
/// Most lines of output of one answer.
pub const LOG_LINES_MAX: usize = 10_000;
/// Lines of output of an answer where no number is given.
pub const LOG_LINES_DEFAULT: usize = 100;
/// Most bytes of output of one answer; the file is searched back no further.
pub const LOG_BYTES_MAX: usize = 1024 * 1024;
/// Longest line of a stream of output, in bytes; a longer one comes in pieces.
pub const LOG_LINE_BYTES_MAX: usize = 16 * 1024;
/// Bytes read at a time from a log file that is followed.
pub const LOG_READ_BYTES: u64 = 64 * 1024;
/// Time between looks at a log file that is followed.
pub const LOG_POLL: Duration = Duration::from_millis(200);
/// Longest reason of a pause or a redaction, in Unicode scalar values. The schemas name it too.
pub const REASON_LETTERS_MAX: usize = 1024;
/// Most manifests of a plan.
pub const MANIFESTS_MAX: usize = 10_000;
/// Largest number that an entry can have: SQLite's largest integer.
pub const SEQ_MAX: u64 = i64::MAX.unsigned_abs();
