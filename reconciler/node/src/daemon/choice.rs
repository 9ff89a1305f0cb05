//! Which runtime a daemon gets on this host.

use osmoda_runtime::systemd::OpenError;

use crate::error::chain;

/// Which runtime was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RuntimeChoice {
    /// The best that the host has.
    #[default]
    Auto,
    /// Children of the daemon.
    Native,
    /// Transient units of systemd.
    Systemd,
}

/// Which runtime it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuntimeKind {
    /// Children of the daemon.
    Native,
    /// Transient units of systemd.
    Systemd,
}

/// The runtime that `wanted` comes to, where `systemd` says whether that one can be had
/// ([`osmoda_runtime::systemd::check`]); beside `Native` from `Auto`, why it is not the other.
///
/// # Errors
/// A sentence for people: what was demanded cannot be had.
pub fn choose(
    wanted: RuntimeChoice,
    systemd: Result<(), OpenError>,
) -> Result<(RuntimeKind, Option<String>), String> {
    match (wanted, systemd) {
        (RuntimeChoice::Native, _) => Ok((RuntimeKind::Native, None)),
        (RuntimeChoice::Auto | RuntimeChoice::Systemd, Ok(())) => Ok((RuntimeKind::Systemd, None)),
        (RuntimeChoice::Auto, Err(why)) => Ok((RuntimeKind::Native, Some(chain(&why)))),
        (RuntimeChoice::Systemd, Err(why)) => Err(chain(&why)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unfit() -> [OpenError; 3] {
        let what = || "as a test".to_owned();
        [
            OpenError::NotRoot,
            OpenError::NotBooted { what: what() },
            OpenError::CgroupV1 { what: what() },
        ]
    }

    #[test]
    fn auto_takes_systemd_where_it_can_be_had_and_else_says_why_not() {
        let auto = |systemd| choose(RuntimeChoice::Auto, systemd).unwrap();
        assert_eq!(auto(Ok(())), (RuntimeKind::Systemd, None));
        for error in unfit() {
            let told = chain(&error);
            assert_eq!(auto(Err(error)), (RuntimeKind::Native, Some(told)));
        }
    }

    #[test]
    fn systemd_is_refused_with_the_reason_and_what_to_do() {
        for error in unfit() {
            let sentence = choose(RuntimeChoice::Systemd, Err(error)).unwrap_err();
            assert!(sentence.contains("--runtime native"), "{sentence}");
        }
        assert!(choose(RuntimeChoice::Systemd, Ok(())).is_ok());
    }

    #[test]
    fn native_goes_everywhere() {
        for systemd in unfit().map(Err).into_iter().chain([Ok(())]) {
            let chosen = choose(RuntimeChoice::Native, systemd);
            assert_eq!(chosen, Ok((RuntimeKind::Native, None)));
        }
    }
}
