//! The life of a child between clone and exec.
//!
//! It may share the daemon's memory, so it allocates nothing, locks nothing, never unwinds and
//! never returns. System calls that the C library would apply to every thread of the process
//! (user and group changes) are made directly. Order matters: the note is put in its place while
//! the child still has the daemon's rights, after the word and after all that could outlive it is
//! set up; from the exec on, whoever finds the instances directory unlocked finds the note too.

use std::{
    ffi::CStr,
    sync::atomic::{AtomicU32, Ordering},
};

use libc::{c_int, c_long, c_void};

use super::spawn::{ChildPlan, Entry, Identity, NotePlan, Stage, Word};

/// Exit code of a child whose program was not executed; nobody but its parent sees it.
const FAILED: c_int = 127;

/// Size of the kernel's signal set in bytes.
pub(super) const KERNEL_SIGSET_BYTES: usize = 8;

/// Longest /proc/self/stat that is read: 52 numbers of at most 20 digits and a name.
const STAT_BYTES: usize = 1536;

/// The errno of a system call, or its result.
type Outcome<T = c_long> = Result<T, c_int>;

/// The child's first and only function.
pub(super) extern "C" fn main(argument: *mut c_void) -> c_int {
    // SAFETY: `argument` is the Entry that the parent keeps alive while it waits in clone.
    let entry = unsafe { &*argument.cast::<Entry<'_>>() };
    // SAFETY: the report lies in the mapping that the parent keeps until the child has left.
    let report = unsafe { &*entry.report };
    let begin = |stage: Stage| report.stage.store(stage as u32, Ordering::Release);

    let Err(errno) = run(entry, begin);
    report.errno.store(errno, Ordering::Release);
    // SAFETY: ends this process at once, without the daemon's exit handlers.
    unsafe { libc::_exit(FAILED) }
}

enum Never {}

fn run(entry: &Entry<'_>, begin: impl Fn(Stage)) -> Outcome<Never> {
    let plan = entry.plan;
    begin(Stage::Session);
    default_signal_handlers(entry.signals);
    if entry.leave_batch {
        usual_scheduler();
    }
    // SAFETY: no memory is involved.
    check(unsafe { libc::syscall(libc::SYS_setsid) })?;
    begin(Stage::Cgroup);
    if let (true, Some(cgroup)) = (entry.enter_cgroup, plan.cgroup) {
        enter_cgroup(std::os::fd::AsRawFd::as_raw_fd(&cgroup))?;
    }
    begin(Stage::Descriptors);
    descriptors(plan)?;
    begin(Stage::Limits);
    limits(plan)?;
    begin(Stage::Note);
    if let Some(note) = &plan.note {
        write_note(note)?;
    }
    begin(Stage::Word);
    // SAFETY: the mapping lives until this child has left it.
    wait_for_word(unsafe { &(*entry.report).word }, entry.parent)?;
    begin(Stage::Note);
    if let Some(note) = &plan.note {
        put_note(note)?;
    }
    begin(Stage::Identity);
    if let Some(identity) = &plan.identity {
        become_user(identity)?;
    }
    begin(Stage::WorkingDirectory);
    // SAFETY: a live C string.
    check(unsafe { libc::syscall(libc::SYS_chdir, plan.working_directory.as_ptr()) })?;
    begin(Stage::Execute);
    unblock_signals();
    // SAFETY: live C strings and null-terminated arrays of them.
    check(unsafe {
        libc::syscall(
            libc::SYS_execve,
            plan.program.as_ptr(),
            plan.arguments.as_ptr(),
            plan.environment.as_ptr(),
        )
    })?;
    Err(libc::ENOEXEC) // execve returns only to say that it failed
}

/// Ignored signals would stay ignored across the exec, and a handler of the daemon must not run
/// once signals are unblocked.
fn default_signal_handlers(signals: &[c_int]) {
    for signal in signals {
        // The kernel's struct sigaction: handler, flags, restorer, mask; zero is SIG_DFL.
        let default = [0_u64; 4];
        // SAFETY: the kernel reads at most 32 bytes; it refuses SIGKILL and SIGSTOP, as it should.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                *signal,
                default.as_ptr(),
                0_usize,
                KERNEL_SIGSET_BYTES,
            )
        };
    }
}

/// The parent took SCHED_BATCH for the moment of this birth; its child is to run as it does else.
fn usual_scheduler() {
    let priority: c_int = 0;
    // SAFETY: the kernel reads struct sched_param, one number. Leaving SCHED_BATCH is always
    // allowed, so it cannot fail with these arguments.
    unsafe {
        libc::syscall(
            libc::SYS_sched_setscheduler,
            0,
            libc::SCHED_OTHER,
            &raw const priority,
        )
    };
}

fn unblock_signals() {
    let none = 0_u64;
    // SAFETY: the kernel reads the eight bytes of `none`. It cannot fail with these arguments.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const none,
            0_usize,
            KERNEL_SIGSET_BYTES,
        )
    };
}

fn enter_cgroup(directory: c_int) -> Outcome<()> {
    let file = open(directory, c"cgroup.procs", libc::O_WRONLY, 0)?;
    write_all(file, b"0")
}

fn descriptors(plan: &ChildPlan<'_>) -> Outcome<()> {
    use std::os::fd::AsRawFd as _;
    let copies = [
        (plan.input.as_raw_fd(), 0),
        (plan.output.as_raw_fd(), 1),
        (plan.output.as_raw_fd(), 2),
    ];
    for (from, to) in copies {
        // SAFETY: numbers only.
        check(unsafe { libc::syscall(libc::SYS_dup3, from, to, 0) })?;
    }
    // SAFETY: numbers only. Best effort (Linux 5.11): everything the daemon opens is already
    // close-on-exec, this is for what a library may have opened otherwise.
    unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3_u32,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    Ok(())
}

fn limits(plan: &ChildPlan<'_>) -> Outcome<()> {
    // SAFETY: a number only; umask cannot fail.
    unsafe { libc::syscall(libc::SYS_umask, 0o022) };
    if let Some((soft, hard)) = plan.open_files {
        let limit = [soft, hard];
        // SAFETY: the kernel reads struct rlimit64, two 64-bit numbers, and writes nothing.
        check(unsafe {
            libc::syscall(
                libc::SYS_prlimit64,
                0,
                libc::RLIMIT_NOFILE,
                limit.as_ptr(),
                0_usize,
            )
        })?;
    }
    if plan.neutral_oom_score {
        // Best effort: the daemon's own protection is no reason not to start.
        let file = open(
            libc::AT_FDCWD,
            c"/proc/self/oom_score_adj",
            libc::O_WRONLY,
            0,
        );
        let _ = file.and_then(|file| write_all(file, b"0"));
    }
    Ok(())
}

/// Waits until the parent says something else than [`Word::Wait`]. A child whose parent is gone
/// must not become an agent that nobody has a record of: the kernel kills it meanwhile.
fn wait_for_word(word: &AtomicU32, parent: u32) -> Outcome<()> {
    let said = || word.load(Ordering::Acquire);
    if said() == Word::Go as u32 {
        return Ok(());
    }
    die_with_parent(libc::SIGKILL)?;
    // SAFETY: no memory is involved. The parent may have ended before the kernel was asked.
    if unsafe { libc::syscall(libc::SYS_getppid) } != c_long::from(parent) {
        return Err(libc::ECANCELED);
    }
    while said() == Word::Wait as u32 {
        // SAFETY: the kernel compares the word, and sleeps only while it is still the same. Not
        // FUTEX_WAIT_PRIVATE: who wakes this process is another one. An interruption is a look
        // at the word.
        unsafe {
            libc::syscall(
                libc::SYS_futex,
                word.as_ptr(),
                libc::FUTEX_WAIT,
                Word::Wait as u32,
                0_usize,
            )
        };
    }
    die_with_parent(0)?;
    if said() == Word::Go as u32 {
        Ok(())
    } else {
        Err(libc::ECANCELED)
    }
}

/// The signal that the end of the parent's thread sends to this process (PR_SET_PDEATHSIG);
/// 0: none.
fn die_with_parent(signal: c_int) -> Outcome<()> {
    // SAFETY: numbers only.
    check(unsafe { libc::syscall(libc::SYS_prctl, libc::PR_SET_PDEATHSIG, signal, 0, 0, 0) })?;
    Ok(())
}

fn become_user(identity: &Identity) -> Outcome<()> {
    // SAFETY: the kernel reads `groups.len()` 32-bit numbers. These are the raw calls, because
    // the C library's would change every thread of the daemon.
    check(unsafe {
        libc::syscall(
            libc::SYS_setgroups,
            identity.groups.len(),
            identity.groups.as_ptr(),
        )
    })?;
    let (uid, gid) = (identity.uid, identity.gid);
    // SAFETY: numbers only.
    check(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) })?;
    // SAFETY: numbers only.
    check(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) })?;
    Ok(())
}

/// Writes the note under the name that nobody reads, into the file of the former instance's note
/// if there is one: that makes neither a file nor an end of one, each of which costs a file
/// system on a disk more than all the rest of this. And the place is free when this note gets
/// there: a rename over another file has ext4 (auto_da_alloc) write the new one to the disk.
fn write_note(note: &NotePlan<'_>) -> Outcome<()> {
    use std::os::fd::AsRawFd as _;
    let directory = note.directory.as_raw_fd();
    match rename(directory, &note.name, &note.temporary) {
        Err(errno) if errno != libc::ENOENT => return Err(errno),
        _ => {}
    }
    // SAFETY: no memory is involved.
    let pid = check(unsafe { libc::syscall(libc::SYS_getpid) })?;
    let mut stat = [0_u8; STAT_BYTES];
    let start_time = start_time(&mut stat)?;
    let mut digits = [0_u8; 20];
    let pid = decimal(pid.cast_unsigned(), &mut digits);

    // Not O_TRUNC: what was emptied first is also written to the disk at once.
    let flags = libc::O_WRONLY | libc::O_CREAT;
    let file = open(directory, &note.temporary, flags, 0o600)?;
    let [before_pid, before_start, rest] = &note.parts;
    let length = write_parts(file, [before_pid, pid, before_start, start_time, rest])?;
    // SAFETY: numbers only.
    check(unsafe { libc::syscall(libc::SYS_ftruncate, file, length) })?;
    Ok(())
}

/// Writes all of `parts` to an empty place of a file; gives how many bytes that were.
fn write_parts(file: c_int, parts: [&[u8]; 5]) -> Outcome<usize> {
    let vector = parts.map(|part| libc::iovec {
        iov_base: part.as_ptr().cast_mut().cast::<c_void>(),
        iov_len: part.len(),
    });
    // SAFETY: the kernel reads as many live slices, each at most as long as it is.
    let written =
        check(unsafe { libc::syscall(libc::SYS_writev, file, vector.as_ptr(), vector.len()) })?;
    let length = parts.iter().map(|part| part.len()).sum();
    // A file takes less than all of it only where there is no room for the rest.
    match usize::try_from(written) {
        Ok(written) if written == length => Ok(length),
        _ => Err(libc::ENOSPC),
    }
}

/// From here on there is an instance.
fn put_note(note: &NotePlan<'_>) -> Outcome<()> {
    use std::os::fd::AsRawFd as _;
    rename(note.directory.as_raw_fd(), &note.temporary, &note.name)
}

fn rename(directory: c_int, from: &CStr, to: &CStr) -> Outcome<()> {
    // SAFETY: live C strings.
    check(unsafe {
        libc::syscall(
            libc::SYS_renameat2,
            directory,
            from.as_ptr(),
            directory,
            to.as_ptr(),
            0,
        )
    })?;
    Ok(())
}

/// Field 22 of /proc/self/stat (proc_pid_stat(5)), as text: when this process was made, in clock
/// ticks since boot. Field 2, the name, may hold anything and ends at the last parenthesis.
fn start_time(buffer: &mut [u8; STAT_BYTES]) -> Outcome<&[u8]> {
    let file = open(libc::AT_FDCWD, c"/proc/self/stat", libc::O_RDONLY, 0)?;
    // SAFETY: the kernel writes at most the buffer's length into it.
    let length =
        check(unsafe { libc::syscall(libc::SYS_read, file, buffer.as_mut_ptr(), buffer.len()) })?;
    let length = usize::try_from(length).unwrap_or(0);
    let text = buffer.get(..length).ok_or(libc::EIO)?;
    let name_end = text
        .iter()
        .rposition(|byte| *byte == b')')
        .ok_or(libc::EIO)?;
    let after_name = text.get(name_end..).ok_or(libc::EIO)?;
    // The parenthesis is field 2's end, so field 22 is the twentieth after it.
    after_name
        .split(|byte| *byte == b' ')
        .nth(20)
        .ok_or(libc::EIO)
}

/// `number` in decimal digits, at the end of `buffer`.
fn decimal(mut number: u64, buffer: &mut [u8; 20]) -> &[u8] {
    let mut start = buffer.len();
    for (position, digit) in buffer.iter_mut().enumerate().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
        start = position;
        if number == 0 {
            break;
        }
    }
    buffer.get(start..).unwrap_or_default()
}

fn open(directory: c_int, path: &CStr, flags: c_int, mode: u32) -> Outcome<c_int> {
    // SAFETY: a live C string and numbers.
    let file = check(unsafe {
        libc::syscall(
            libc::SYS_openat,
            directory,
            path.as_ptr(),
            flags | libc::O_CLOEXEC,
            mode,
        )
    })?;
    c_int::try_from(file).map_err(|_| libc::EBADF)
}

fn write_all(file: c_int, mut bytes: &[u8]) -> Outcome<()> {
    while !bytes.is_empty() {
        // SAFETY: the kernel reads at most the slice's length.
        let written =
            check(unsafe { libc::syscall(libc::SYS_write, file, bytes.as_ptr(), bytes.len()) })?;
        let written = usize::try_from(written).unwrap_or(0);
        bytes = match bytes.get(written..) {
            Some(rest) if written > 0 => rest,
            _ => return Err(libc::EIO),
        };
    }
    Ok(())
}

fn check(result: c_long) -> Outcome {
    if result >= 0 {
        return Ok(result);
    }
    // SAFETY: errno of this thread; a child that shares memory borrows its parent's, which waits.
    Err(unsafe { *libc::__errno_location() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_decimal() {
        for number in [0, 7, 10, 65_535, u64::MAX] {
            assert_eq!(decimal(number, &mut [0; 20]), number.to_string().as_bytes());
        }
    }

    #[test]
    fn the_start_time_is_the_one_that_the_rest_of_the_runtime_reads() {
        let mut buffer = [0; STAT_BYTES];
        let text = start_time(&mut buffer).unwrap().to_vec();
        let stat = crate::native::procfs::stat(std::process::id()).unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            stat.start_time.to_string()
        );
    }
}
