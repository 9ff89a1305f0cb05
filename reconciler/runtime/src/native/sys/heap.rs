//! Memory of the process as a whole: one heap for all threads, and what is given back when
//! nothing happens.

use std::{fs, ptr};

use libc::c_void;

/// Has all threads allocate from one heap. The C library gives each of the first threads its own
/// (eight a processor), of which each keeps what it once had: with threads that come and go, as
/// many agents as one heap holds in 20 MiB take 33. To be called before there is a second thread.
pub fn share_one_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets one number of the allocator, before any other thread can allocate. A libc that
    // does not know it says so and goes on as before.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Gives the kernel back what a rush of work has left: free pages of the heap, and pages of the
/// program and its libraries that were only read once, such as for a start. What is needed again
/// of those is mapped again from the page cache when it is touched.
pub(in crate::native) fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes the allocator's own locks, and no memory that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
    let Ok(smaps) = fs::read_to_string("/proc/self/smaps") else {
        return; // no /proc: nothing is lost but a little memory
    };
    for range in unchanged(&smaps) {
        // SAFETY: a mapping of a file, read-only and without a page of its own: every byte of it
        // is what the file holds, and is read from there again. The executable and its libraries
        // stay mapped while the process lives.
        unsafe {
            libc::madvise(
                ptr::with_exposed_provenance_mut::<c_void>(range.start),
                range.len(),
                libc::MADV_DONTNEED,
            )
        };
    }
}

/// Mappings of files, read-only, of which no page has been changed (proc_pid_smaps(5)): not those
/// that the loader has relocated, and none in which a debugger has left its marks.
fn unchanged(smaps: &str) -> Vec<std::ops::Range<usize>> {
    let mut found = Vec::new();
    let mut candidate = None;
    for line in smaps.lines() {
        let mut words = line.split_ascii_whitespace();
        match (words.next(), words.next(), words.nth(3)) {
            (Some(range), Some("r-xp" | "r--p"), Some(path)) if path.starts_with('/') => {
                candidate = addresses(range);
            }
            (Some(range), Some(_), _) if addresses(range).is_some() => candidate = None,
            (Some("Anonymous:"), Some("0"), _) => found.extend(candidate.take()),
            _ => {}
        }
    }
    found
}

/// `START-END` in hexadecimal digits.
fn addresses(text: &str) -> Option<std::ops::Range<usize>> {
    let (start, end) = text.split_once('-')?;
    let number = |text| usize::from_str_radix(text, 16).ok();
    Some(number(start)?..number(end)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unchanged_read_only_files_are_given_back() {
        let smaps = "\
1000-3000 r--p 00000000 fe:00 7 /bin/osmoda
Rss:                   8 kB
Anonymous:             0 kB
3000-5000 r-xp 00002000 fe:00 7 /bin/osmoda
Anonymous:             0 kB
5000-6000 r--p 00004000 fe:00 7 /bin/osmoda
Anonymous:             4 kB
6000-7000 rw-p 00005000 fe:00 7 /bin/osmoda
Anonymous:             0 kB
7000-8000 rw-p 00000000 00:00 0 [heap]
Anonymous:             0 kB
8000-9000 r--p 00000000 00:00 0
Anonymous:             0 kB
9000-a000 r-xp 00000000 00:00 0 [vdso]
Anonymous:             0 kB
b000-c000 r-xp 00000000 fe:00 8 /lib/libc.so.6
Anonymous:             0 kB
";
        assert_eq!(
            unchanged(smaps),
            [0x1000..0x3000, 0x3000..0x5000, 0xb000..0xc000]
        );
    }

    #[test]
    fn the_process_goes_on_after_it_gave_back_what_it_could() {
        let before: Vec<u64> = (0..100_000).collect();
        give_back();
        assert_eq!(before.iter().sum::<u64>(), 4_999_950_000);
        let smaps = fs::read_to_string("/proc/self/smaps").unwrap();
        assert!(!unchanged(&smaps).is_empty(), "nothing could be given back");
    }
}
