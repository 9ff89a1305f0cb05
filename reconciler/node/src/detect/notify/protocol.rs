//! The text of a notification: assignments as sd_notify(3) describes them, one a line.
//!
//! Where that page leaves something open, this is what systemd's service manager does: of READY,
//! STOPPING and RELOADING the last one counts, of everything else the first; what is unknown or
//! has no sensible value is passed over; one trailing NUL is allowed, any other refuses the whole
//! message; BARRIER=1 has to be alone.
//!
//! [`parse`] is pure and total: whatever the bytes, it gives a [`Message`] or a [`Malformed`].

use std::time::Duration;

use osmoda_core::heartbeat::Notice;

/// Most bytes of a notification, as systemd (NOTIFY_BUFFER_MAX).
pub const MESSAGE_MAX: usize = 4096;

/// Highest error number that Linux gives (include/linux/err.h).
const ERRNO_MAX: i32 = 4095;

/// What a notification says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// The sender waits until everything before this was taken in; a descriptor tells it so by
    /// being closed (sd_notify_barrier(3)).
    Barrier,
    /// Assignments.
    Says {
        /// In the order in which they are to be folded in.
        notices: Vec<Notice>,
        /// `MAINPID=`: the process that is the agent from now on.
        main_pid: Option<u32>,
        /// `MONOTONIC_USEC=`: when a reload began, in microseconds of CLOCK_MONOTONIC.
        monotonic_us: Option<u64>,
    },
}

/// The whole notification is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// More than [`MESSAGE_MAX`] bytes.
    #[error("a notification has at most {MESSAGE_MAX} bytes")]
    TooLong,
    /// A NUL that is not its last byte.
    #[error("a notification holds no NUL")]
    Nul,
    /// BARRIER=1 with other assignments.
    #[error("BARRIER=1 has to be alone in its notification")]
    BarrierNotAlone,
}

/// Reads a notification.
///
/// # Errors
/// [`Malformed`].
pub fn parse(bytes: &[u8]) -> Result<Message, Malformed> {
    if bytes.len() > MESSAGE_MAX {
        return Err(Malformed::TooLong);
    }
    let bytes = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    if bytes.contains(&0) {
        return Err(Malformed::Nul);
    }
    // A message need not be UTF-8 as a whole for the rest of it to be understood.
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    if lines.contains(&"BARRIER=1") {
        return match lines.len() {
            1 => Ok(Message::Barrier),
            _ => Err(Malformed::BarrierNotAlone),
        };
    }
    let first = |name: &str| {
        let mut values = lines.iter();
        values.find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
    };
    let state = |line: &&str| match *line {
        "READY=1" => Some(Notice::Ready),
        "STOPPING=1" => Some(Notice::Stopping),
        "RELOADING=1" => Some(Notice::Reloading(None)),
        _ => None,
    };
    let notices = [
        first("STATUS").map(|text| Notice::Status(printable(text))),
        first("ERRNO").and_then(errno).map(Notice::Errno),
        lines.iter().rev().find_map(state),
        first("WATCHDOG_USEC")
            .and_then(timeout)
            .map(Notice::Timeout),
        first("WATCHDOG").and_then(watchdog),
        first("EXTEND_TIMEOUT_USEC")
            .and_then(microseconds)
            .map(Notice::Extend),
    ];
    Ok(Message::Says {
        notices: notices.into_iter().flatten().collect(),
        main_pid: first("MAINPID").and_then(number).filter(|pid| *pid > 0),
        monotonic_us: first("MONOTONIC_USEC").and_then(number),
    })
}

/// For a terminal: control characters could move its cursor.
fn printable(text: &str) -> String {
    let visible = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().map(visible).collect()
}

/// Digits only: no sign, no space.
fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

fn microseconds(text: &str) -> Option<Duration> {
    number(text).map(Duration::from_micros)
}

/// Zero and the largest number turn the watchdog off.
fn timeout(text: &str) -> Option<Duration> {
    number(text).map(|time| match time {
        0 | u64::MAX => Duration::MAX,
        time => Duration::from_micros(time),
    })
}

fn errno(text: &str) -> Option<i32> {
    number(text).filter(|errno| (0..=ERRNO_MAX).contains(errno))
}

fn watchdog(value: &str) -> Option<Notice> {
    match value {
        "1" => Some(Notice::Beat),
        "trigger" => Some(Notice::Trigger),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn says(bytes: impl AsRef<[u8]>, expected: &[Notice]) {
        match parse(bytes.as_ref()) {
            Ok(Message::Says {
                notices, main_pid, ..
            }) => {
                assert_eq!((notices.as_slice(), main_pid), (expected, None));
            }
            other => panic!("{other:?}"),
        }
    }

    fn us(time: u64) -> Duration {
        Duration::from_micros(time)
    }

    #[test]
    fn each_assignment_is_understood() {
        says("READY=1", &[Notice::Ready]);
        says("STOPPING=1", &[Notice::Stopping]);
        says("RELOADING=1\nMONOTONIC_USEC=77", &[Notice::Reloading(None)]);
        says("WATCHDOG=1", &[Notice::Beat]);
        says("WATCHDOG=trigger", &[Notice::Trigger]);
        says("WATCHDOG_USEC=20000000", &[Notice::Timeout(us(20_000_000))]);
        says("EXTEND_TIMEOUT_USEC=5", &[Notice::Extend(us(5))]);
        says(
            "STATUS=asks the model",
            &[Notice::Status("asks the model".into())],
        );
        says("STATUS=", &[Notice::Status(String::new())]);
        says("ERRNO=2", &[Notice::Errno(2)]);
    }

    #[test]
    fn a_watchdog_is_turned_off_by_zero_and_by_infinity() {
        says("WATCHDOG_USEC=0", &[Notice::Timeout(Duration::MAX)]);
        says(
            format!("WATCHDOG_USEC={}", u64::MAX),
            &[Notice::Timeout(Duration::MAX)],
        );
    }

    #[test]
    fn of_states_the_last_counts_and_of_everything_else_the_first() {
        says("READY=1\nSTOPPING=1", &[Notice::Stopping]);
        says("STOPPING=1\nRELOADING=1\nREADY=1", &[Notice::Ready]);
        says("STATUS=a\nSTATUS=b", &[Notice::Status("a".into())]);
        says("ERRNO=1\nERRNO=2", &[Notice::Errno(1)]);
        says("WATCHDOG=1\nWATCHDOG=trigger", &[Notice::Beat]);
    }

    #[test]
    fn what_is_unknown_or_makes_no_sense_is_passed_over() {
        for text in [
            "",
            "\n\n",
            "READY",
            "READY=0",
            "READY=1 ",
            " READY=1",
            "ready=1",
            "WATCHDOG=2",
            "WATCHDOG_USEC=+5",
            "WATCHDOG_USEC=-5",
            "WATCHDOG_USEC=5s",
            "WATCHDOG_USEC=",
            "EXTEND_TIMEOUT_USEC=99999999999999999999",
            "ERRNO=-1",
            "ERRNO=4096",
            "MAINPID=0",
            "MAINPID=-3",
            "MAINPID=4294967296",
            "BUSERROR=org.example.Error",
            "EXIT_STATUS=3",
            "FDSTORE=1\nFDNAME=x",
            "NOTIFYACCESS=all",
            "X_VENDOR=1",
        ] {
            says(text, &[]);
        }
    }

    #[test]
    fn the_main_process_is_named_by_its_number() {
        let Ok(Message::Says {
            notices, main_pid, ..
        }) = parse(b"READY=1\nMAINPID=4711\n")
        else {
            panic!("refused");
        };
        assert_eq!((&notices[..], main_pid), (&[Notice::Ready][..], Some(4711)));
    }

    #[test]
    fn when_a_reload_began_is_told_beside_it() {
        let told = |text: &str| match parse(text.as_bytes()) {
            Ok(Message::Says { monotonic_us, .. }) => monotonic_us,
            other => panic!("{other:?}"),
        };
        assert_eq!(told("RELOADING=1\nMONOTONIC_USEC=77"), Some(77));
        assert_eq!(told("RELOADING=1"), None);
        for nonsense in ["", "-1", "1s", "99999999999999999999"] {
            let text = format!("RELOADING=1\nMONOTONIC_USEC={nonsense}");
            assert_eq!(told(&text), None, "{text}");
        }
    }

    #[test]
    fn a_barrier_is_alone() {
        assert_eq!(parse(b"BARRIER=1"), Ok(Message::Barrier));
        assert_eq!(parse(b"BARRIER=1\n"), Ok(Message::Barrier));
        assert_eq!(
            parse(b"BARRIER=1\nREADY=1"),
            Err(Malformed::BarrierNotAlone)
        );
        assert_eq!(
            parse(b"READY=1\nBARRIER=1"),
            Err(Malformed::BarrierNotAlone)
        );
        says("BARRIER=0", &[]);
    }

    #[test]
    fn one_nul_at_the_end_is_allowed_and_any_other_refuses_everything() {
        says(b"READY=1\0", &[Notice::Ready]);
        assert_eq!(parse(b"READY=1\0\0"), Err(Malformed::Nul));
        assert_eq!(parse(b"READY=1\0STATUS=x"), Err(Malformed::Nul));
    }

    #[test]
    fn a_status_may_be_no_utf_8_and_cannot_move_a_cursor() {
        says(
            b"STATUS=caf\xe9\nREADY=1",
            &[Notice::Status("caf\u{fffd}".into()), Notice::Ready],
        );
        says(
            "STATUS=\u{1b}[2Jgone",
            &[Notice::Status("\u{fffd}[2Jgone".into())],
        );
    }

    #[test]
    fn the_longest_message_is_taken_and_one_byte_more_is_not() {
        let text = format!("STATUS={}", "x".repeat(MESSAGE_MAX - 7));
        assert!(parse(text.as_bytes()).is_ok());
        assert_eq!(
            parse(format!("{text}x").as_bytes()),
            Err(Malformed::TooLong)
        );
    }

    fn line() -> impl Strategy<Value = Vec<u8>> {
        let name = prop::sample::select(vec![
            "READY",
            "STOPPING",
            "RELOADING",
            "STATUS",
            "ERRNO",
            "WATCHDOG",
            "WATCHDOG_USEC",
            "EXTEND_TIMEOUT_USEC",
            "MAINPID",
            "MONOTONIC_USEC",
            "BARRIER",
            "FDSTORE",
            "",
        ]);
        let value = prop_oneof![
            Just(b"1".to_vec()),
            any::<i128>().prop_map(|number| number.to_string().into_bytes()),
            prop::collection::vec(any::<u8>(), 0..20),
        ];
        (name, value).prop_map(|(name, value)| [name.as_bytes(), b"=", &value].concat())
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..5000)) {
            let refused = parse(&bytes).is_err();
            prop_assert!(!refused || bytes.len() > MESSAGE_MAX || bytes.contains(&0)
                || bytes.windows(9).any(|part| part == b"BARRIER=1"));
        }

        #[test]
        fn no_lines_make_more_than_one_notice_of_a_kind(lines in prop::collection::vec(line(), 0..40)) {
            if let Ok(Message::Says { notices, main_pid, .. }) = parse(&lines.join(&b'\n')) {
                prop_assert!(notices.len() <= 6);
                prop_assert_ne!(main_pid, Some(0));
                let kinds: std::collections::HashSet<_> =
                    notices.iter().map(std::mem::discriminant).collect();
                prop_assert_eq!(kinds.len(), notices.len());
            }
        }
    }
}
