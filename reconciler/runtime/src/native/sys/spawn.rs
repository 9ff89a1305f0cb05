//! Makes a child process that runs an agent's program.
//!
//! The child borrows the daemon's memory until its exec (CLONE_VM | CLONE_VFORK), so that the
//! size of the daemon does not matter; the calling thread sleeps for that long, all signals
//! blocked. A child that changes its user gets a copy of the memory instead: nothing with lower
//! rights ever runs inside the daemon's address space. Where there is a cgroup the child is
//! born in it (clone3 with CLONE_INTO_CGROUP, Linux 5.7): moving a process there afterwards
//! waits for every CPU and costs milliseconds.
//!
//! Start with [`spawn`]; what the child does is [`super::child`].

use std::{
    ffi::CString,
    io,
    mem::MaybeUninit,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
    ptr,
    sync::atomic::{AtomicI32, AtomicU32, Ordering},
};

use libc::{c_char, c_int, c_long, c_void};
use rustix::{
    process::{Pid, WaitId, WaitIdOptions, waitid},
    thread::futex,
};

use super::child;

/// Stack of the child: it calls a handful of plain functions with small frames.
const STACK_BYTES: usize = 64 * 1024;

/// Unmapped space below the stack, so that an overflow faults instead of writing elsewhere.
const GUARD_BYTES: usize = 64 * 1024;

/// What the child says about itself, at the low end of its stack's mapping.
const REPORT_BYTES: usize = 64;

/// clone3(2); the libc crate's constant is of a type that cannot hold it.
#[cfg(target_arch = "x86_64")]
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// clone3(2): what the parent handles the child does not; what it ignores stays ignored.
#[cfg(target_arch = "x86_64")]
const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;

/// Highest signal number (SIGRTMAX).
const LAST_SIGNAL: c_int = 64;

/// Everything the child needs, prepared so that it neither allocates nor chooses.
pub(in crate::native) struct ChildPlan<'a> {
    /// The file to execute.
    pub program: CString,
    /// argv.
    pub arguments: CStringArray,
    /// `NAME=value`.
    pub environment: CStringArray,
    /// Absolute path.
    pub working_directory: CString,
    /// Becomes descriptor 0.
    pub input: BorrowedFd<'a>,
    /// Becomes descriptors 1 and 2.
    pub output: BorrowedFd<'a>,
    /// Directory of the cgroup to be born in.
    pub cgroup: Option<BorrowedFd<'a>>,
    /// Whom to become.
    pub identity: Option<Identity>,
    /// Soft and hard RLIMIT_NOFILE to set.
    pub open_files: Option<(u64, u64)>,
    /// Set oom_score_adj to 0.
    pub neutral_oom_score: bool,
    /// The instance note that the child leaves just before it executes the program; a child that
    /// is no instance leaves none.
    pub note: Option<NotePlan<'a>>,
}

/// User and groups of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// Where the note goes and what follows the pid and start time in it.
pub(in crate::native) struct NotePlan<'a> {
    pub directory: BorrowedFd<'a>,
    /// Name it is written under.
    pub temporary: CString,
    /// Name it is renamed to.
    pub name: CString,
    /// Text before the pid, between pid and start time, and after it.
    pub parts: [Vec<u8>; 3],
}

/// A null-terminated array of C strings, as execve(2) wants it.
pub(in crate::native) struct CStringArray {
    pointers: Vec<*const c_char>,
    _strings: Vec<CString>,
}

impl CStringArray {
    pub fn new(strings: Vec<CString>) -> Self {
        let pointers = strings
            .iter()
            .map(|text| text.as_ptr())
            .chain([ptr::null()])
            .collect();
        Self {
            pointers,
            _strings: strings,
        }
    }

    pub(super) fn as_ptr(&self) -> *const *const c_char {
        self.pointers.as_ptr()
    }
}

/// What the child was doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub(in crate::native) enum Stage {
    Clone,
    Session,
    Cgroup,
    Descriptors,
    Limits,
    Note,
    Word,
    Identity,
    WorkingDirectory,
    Execute,
}

impl Stage {
    fn from_number(number: u32) -> Self {
        [
            Self::Clone,
            Self::Session,
            Self::Cgroup,
            Self::Descriptors,
            Self::Limits,
            Self::Note,
            Self::Word,
            Self::Identity,
            Self::WorkingDirectory,
            Self::Execute,
        ]
        .into_iter()
        .find(|stage| *stage as u32 == number)
        .unwrap_or(Self::Clone)
    }
}

/// The program was not executed; the child is gone.
#[derive(Debug)]
pub(in crate::native) struct SpawnError {
    pub stage: Stage,
    /// `None`: the child was killed before it got to the exec.
    pub error: Option<io::Error>,
}

/// What the child leaves for its parent, in memory that both share.
pub(super) struct Report {
    /// The [`Stage`] it has begun.
    pub stage: AtomicU32,
    /// errno of the stage that failed; 0 if none has.
    pub errno: AtomicI32,
    /// Whether the child may go on: one of [`Word`].
    pub word: AtomicU32,
}

/// What is said to a child before it becomes an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Word {
    /// Go on. What a fresh mapping says.
    Go,
    /// Wait for one of the others.
    Wait,
    /// End, as if you had never been.
    Leave,
}

/// The argument of the child's first function.
pub(super) struct Entry<'a> {
    pub plan: &'a ChildPlan<'a>,
    pub report: *const Report,
    /// The signals whose action is not the default one in the child.
    pub signals: &'a [c_int],
    /// The child itself has to enter the cgroup.
    pub enter_cgroup: bool,
    /// The parent is of SCHED_BATCH for the moment, which the child must not stay.
    pub leave_batch: bool,
    /// The daemon.
    pub parent: u32,
}

/// Makes the child and returns once its program runs: its pid and a pidfd of it.
///
/// # Errors
/// The program does not run. The child has been reaped and its note removed.
pub(in crate::native) fn spawn(
    plan: &ChildPlan<'_>,
    memory: &ChildMemory,
) -> Result<(u32, OwnedFd), SpawnError> {
    let failed = |error| SpawnError {
        stage: Stage::Clone,
        error: Some(error),
    };
    memory.clear();
    let signals = SignalsBlocked::new();
    let patience = Patience::begin();
    let made = clone_child(plan, memory, patience.is_taken());
    drop(patience);
    drop(signals);
    let (pid, pidfd) = made.map_err(failed)?;

    let report = memory.report();
    let stage = Stage::from_number(report.stage.load(Ordering::Acquire));
    let errno = report.errno.load(Ordering::Acquire);
    if stage == Stage::Execute && errno == 0 {
        return Ok((pid, pidfd));
    }
    reap(&pidfd);
    if let Some(note) = &plan.note {
        remove_note(note);
    }
    Err(SpawnError {
        stage,
        error: (errno != 0).then(|| io::Error::from_raw_os_error(errno)),
    })
}

fn reap(pidfd: &OwnedFd) {
    let ended = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
    if let Err(error) = ended {
        tracing::warn!(%error, "cannot reap a child that failed to start");
    }
}

fn remove_note(note: &NotePlan<'_>) {
    for name in [&note.temporary, &note.name] {
        match rustix::fs::unlinkat(note.directory, name, rustix::fs::AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(error) => tracing::warn!(%error, ?name, "cannot remove the note of a failed start"),
        }
    }
}

/// Two ways to the same child: born in its cgroup, or walking in on its own.
fn clone_child(
    plan: &ChildPlan<'_>,
    memory: &ChildMemory,
    leave_batch: bool,
) -> io::Result<(u32, OwnedFd)> {
    let share = if plan.identity.is_some() {
        0
    } else {
        libc::CLONE_VM
    };
    let flags = libc::CLONE_VFORK | libc::CLONE_PIDFD | share;
    let mut entry = Entry {
        plan,
        report: memory.report(),
        signals: &memory.ignored,
        enter_cgroup: false,
        leave_batch,
        parent: std::process::id(),
    };
    if let Some(cgroup) = plan.cgroup {
        match clone_into_cgroup(flags, cgroup, &entry, memory) {
            Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => entry.enter_cgroup = true,
            other => return other,
        }
    }
    let every: [c_int; LAST_SIGNAL as usize] = std::array::from_fn(|index| index as c_int + 1);
    entry.signals = &every;
    let mut pidfd: c_int = -1;
    // SAFETY: the stack and `entry` outlive the child's use of them: CLONE_VFORK keeps this
    // thread here until the child has executed a program or exited. The child runs only
    // `child::main`, which never returns. `pidfd` is where CLONE_PIDFD stores the descriptor.
    let pid = unsafe {
        libc::clone(
            child::main,
            memory.stack_top(),
            flags | libc::SIGCHLD,
            (&raw const entry).cast_mut().cast::<c_void>(),
            &raw mut pidfd,
        )
    };
    made(c_long::from(pid), pidfd)
}

/// clone3(2) needs a few instructions of its own, because the C library's syscall() would return
/// into the parent's frame on the child's empty stack.
#[cfg(target_arch = "x86_64")]
fn clone_into_cgroup(
    flags: c_int,
    cgroup: BorrowedFd<'_>,
    entry: &Entry<'_>,
    memory: &ChildMemory,
) -> io::Result<(u32, OwnedFd)> {
    let mut pidfd: c_int = -1;
    // SAFETY: clone_args is plain numbers, for which all zeros is valid.
    let mut args: libc::clone_args = unsafe { MaybeUninit::zeroed().assume_init() };
    args.flags = u64::from(flags.cast_unsigned()) | CLONE_INTO_CGROUP | CLONE_CLEAR_SIGHAND;
    args.pidfd = (&raw mut pidfd) as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    args.stack = memory.stack_bottom() as u64;
    args.stack_size = STACK_BYTES as u64;
    args.cgroup = cgroup.as_raw_fd() as u64;
    let result: c_long;
    // SAFETY: as for libc::clone above. The child starts on its own, aligned stack with only the
    // two registers it needs, calls `child::main` and never comes back; the parent falls through
    // with the registers that a system call clobbers declared as such.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r12",
            "call r13",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 => result,
            in("rdi") &raw const args,
            in("rsi") size_of::<libc::clone_args>(),
            in("r12") entry,
            in("r13") child::main as extern "C" fn(*mut c_void) -> c_int,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    if result < 0 {
        let errno = i32::try_from(-result).unwrap_or(libc::EINVAL);
        return Err(io::Error::from_raw_os_error(errno));
    }
    made(result, pidfd)
}

/// Elsewhere the child enters the cgroup itself, which is slower and otherwise the same.
#[cfg(not(target_arch = "x86_64"))]
fn clone_into_cgroup(
    _flags: c_int,
    _cgroup: BorrowedFd<'_>,
    _entry: &Entry<'_>,
    _memory: &ChildMemory,
) -> io::Result<(u32, OwnedFd)> {
    Err(io::Error::from_raw_os_error(libc::ENOSYS))
}

fn made(pid: c_long, pidfd: c_int) -> io::Result<(u32, OwnedFd)> {
    let pid = u32::try_from(pid).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the kernel has just opened this descriptor for us, and nobody else knows of it.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok((pid, pidfd))
}

/// Guard, report and stack of a child: one mapping, shared even with a child that got a copy of
/// everything else, so that its report always arrives.
///
/// It can be made, and its first pages be had from the kernel, before it is needed.
pub(in crate::native) struct ChildMemory {
    base: *mut c_void,
    /// The signals that this process ignores, as it was when the memory was made.
    ignored: Vec<c_int>,
}

// SAFETY: the mapping belongs to this value alone, whatever thread that is on.
unsafe impl Send for ChildMemory {}

// SAFETY: what is shared of it are atomics; only `spawn` hands its stack to a child, and the
// one start that the memory was made for calls that.
unsafe impl Sync for ChildMemory {}

impl ChildMemory {
    const BYTES: usize = GUARD_BYTES + REPORT_BYTES + STACK_BYTES;

    /// Fresh memory.
    ///
    /// # Errors
    /// There is none.
    pub fn new() -> io::Result<Self> {
        // SAFETY: an anonymous mapping at an address of the kernel's choice touches nothing else.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                Self::BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let memory = Self {
            base,
            ignored: ignored_signals(),
        };
        // SAFETY: the guard is the first part of the mapping made above, and a multiple of the
        // page size (4, 16 or 64 KiB) of every supported machine.
        if unsafe { libc::mprotect(base, GUARD_BYTES, libc::PROT_NONE) } != 0 {
            return Err(io::Error::last_os_error());
        }
        memory.clear();
        // SAFETY: the last word of the stack, which nobody uses yet: the child's first page.
        unsafe { memory.stack_top().cast::<u64>().sub(1).write_volatile(0) };
        Ok(memory)
    }

    /// Has the child wait, everything set up but its note not in its place and its program not
    /// executed, until [`Self::let_go`] or [`Self::dismiss`] is called on another thread: [`spawn`] sleeps
    /// meanwhile. A child that waits ends with the thread it was made by.
    pub fn hold(&self) {
        self.report()
            .word
            .store(Word::Wait as u32, Ordering::Release);
    }

    /// The child executes its program.
    pub fn let_go(&self) {
        self.say(Word::Go);
    }

    /// The child ends; [`spawn`] fails with ECANCELED.
    pub fn dismiss(&self) {
        self.say(Word::Leave);
    }

    /// As fresh memory is, for the next child; nobody knows of it but its owner.
    pub fn renew(&mut self) {
        self.clear();
        let report = self.report();
        report.word.store(Word::Go as u32, Ordering::Release);
    }

    fn say(&self, word: Word) {
        let place = &self.report().word;
        place.store(word as u32, Ordering::Release);
        // Who waits is another process. Nobody may be waiting, which is no error.
        let _ = futex::wake(place, futex::Flags::empty(), 1);
    }

    /// As it was when it was fresh, for another try; the word stays as it is.
    fn clear(&self) {
        self.report()
            .stage
            .store(Stage::Clone as u32, Ordering::Release);
        self.report().errno.store(0, Ordering::Release);
    }

    /// Fresh mappings are zero: stage Clone, no error.
    fn report(&self) -> &Report {
        const { assert!(size_of::<Report>() <= REPORT_BYTES) };
        // SAFETY: the bytes after the guard belong to this mapping, are aligned to a page,
        // zero is a valid Report, and both sides use atomics only.
        unsafe { &*self.base.byte_add(GUARD_BYTES).cast::<Report>() }
    }

    fn stack_bottom(&self) -> *mut c_void {
        self.base.wrapping_byte_add(GUARD_BYTES + REPORT_BYTES)
    }

    fn stack_top(&self) -> *mut c_void {
        self.stack_bottom().wrapping_byte_add(STACK_BYTES)
    }
}

impl Drop for ChildMemory {
    fn drop(&mut self) {
        // SAFETY: this is exactly the mapping made in `new`; the child has left it, because
        // CLONE_VFORK holds the parent until then.
        unsafe { libc::munmap(self.base, Self::BYTES) };
    }
}

/// Asked of the kernel, because the C library hides two signals (32 and 33) that it uses itself,
/// and whoever started the daemon may have had those ignored.
fn ignored_signals() -> Vec<c_int> {
    let is_ignored = |signal: &c_int| {
        // The kernel's struct sigaction: handler, flags, restorer, mask.
        let mut action = [0_u64; 4];
        // SAFETY: the kernel writes at most 32 bytes, and changes nothing without a new action.
        let asked = unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                *signal,
                0_usize,
                action.as_mut_ptr(),
                child::KERNEL_SIGSET_BYTES,
            )
        };
        asked == 0 && action[0] == libc::SIG_IGN as u64
    };
    (1..=LAST_SIGNAL).filter(is_ignored).collect()
}

/// While this lives, the thread is of SCHED_BATCH (sched(7)): the end of its child's birth wakes
/// it, but it does not push the program that has just begun off its processor. A thread that has
/// another policy than the usual one keeps it.
struct Patience {
    taken: bool,
}

impl Patience {
    fn begin() -> Self {
        // SAFETY: 0 is this thread; nothing is written.
        let usual = unsafe { libc::sched_getscheduler(0) } == libc::SCHED_OTHER;
        Self {
            taken: usual && set_scheduler(libc::SCHED_BATCH),
        }
    }

    fn is_taken(&self) -> bool {
        self.taken
    }
}

impl Drop for Patience {
    fn drop(&mut self) {
        if self.taken {
            set_scheduler(libc::SCHED_OTHER); // leaving SCHED_BATCH is always allowed
        }
    }
}

/// Sets the policy of this thread; the nice level stays.
fn set_scheduler(policy: c_int) -> bool {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: 0 is this thread, and the kernel reads the one number of a live structure.
    unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) == 0 }
}

/// While this lives, the thread takes no signals: a handler of the daemon must never run in a
/// child that shares its memory.
struct SignalsBlocked {
    before: libc::sigset_t,
}

impl SignalsBlocked {
    fn new() -> Self {
        let mut all = MaybeUninit::<libc::sigset_t>::zeroed();
        let mut before = MaybeUninit::<libc::sigset_t>::zeroed();
        // SAFETY: both sets are live and large enough; a zeroed set is a valid empty one, and
        // neither call can fail with these arguments.
        unsafe {
            libc::sigfillset(all.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
            Self {
                before: before.assume_init(),
            }
        }
    }
}

impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        // SAFETY: the set was filled by the call in `new`.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, ptr::null_mut())
        };
    }
}

/// A pid as rustix wants it.
pub(crate) fn pid(number: u32) -> Option<Pid> {
    i32::try_from(number).ok().and_then(Pid::from_raw)
}
