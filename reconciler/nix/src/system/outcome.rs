//! How a switch ended: the exit codes of NixOS' switch-to-configuration.
//!
//! Source: nixpkgs, pkgs/by-name/sw/switch-to-configuration-ng; docs/generations.md has the table.

use std::fmt;

/// Before the names of units, in the output of a switch that ends with code 4.
const FAILED_UNITS: &str = "the following units failed:";
/// The code that a shell gives for a program that signal 1 ended, less 1 (sh(1)).
const SIGNAL_BASE: i32 = 128;

/// How a switch ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SwitchExit {
    /// 0: the system is switched.
    Done,
    /// 1: wrong usage, a pre-switch check said no, or the boot loader could not be installed.
    /// What runs was not changed.
    Refused,
    /// 2: activation failed in part. What runs is the new system, in an unknown state.
    ActivationFailed,
    /// 4: the system is switched, and these units failed; whose they are is for others to judge.
    UnitsFailed(Vec<String>),
    /// 11: another switch held the lock, each time. Nothing was changed but the profile.
    LockHeld,
    /// 100: it takes effect at the next boot.
    RebootNeeded,
    /// A code that has no meaning here.
    Other(i32),
    /// A signal ended it.
    Killed(i32),
}

/// A switch that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwitchOutcome {
    /// How.
    pub exit: SwitchExit,
    /// The last of what it wrote: at most [`super::OUTPUT_LINES_MAX`] lines and
    /// [`super::OUTPUT_BYTES_MAX`] bytes.
    pub output: Vec<String>,
}

impl SwitchExit {
    /// Of the code that a shell gives for it, and what it wrote.
    pub fn new(code: i32, output: &[String]) -> Self {
        match code {
            0 => Self::Done,
            1 => Self::Refused,
            2 => Self::ActivationFailed,
            4 => Self::UnitsFailed(failed_units(output)),
            11 => Self::LockHeld,
            100 => Self::RebootNeeded,
            code if code > SIGNAL_BASE => Self::Killed(code - SIGNAL_BASE),
            code => Self::Other(code),
        }
    }

    /// Whether the system was switched, units that failed notwithstanding.
    pub fn is_switched(&self) -> bool {
        matches!(self, Self::Done | Self::UnitsFailed(_))
    }

    /// The code it was made of, as a ledger entry notes it.
    pub fn code(&self) -> i32 {
        match *self {
            Self::Done => 0,
            Self::Refused => 1,
            Self::ActivationFailed => 2,
            Self::UnitsFailed(_) => 4,
            Self::LockHeld => 11,
            Self::RebootNeeded => 100,
            Self::Other(code) => code,
            Self::Killed(signal) => SIGNAL_BASE + signal,
        }
    }
}

impl fmt::Display for SwitchExit {
    /// For people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("switched"),
            Self::Refused => f.write_str("refused: a check before the switch, or the boot loader"),
            Self::ActivationFailed => f.write_str("activation failed in part"),
            Self::UnitsFailed(units) if units.is_empty() => {
                f.write_str("switched, but some units failed")
            }
            Self::UnitsFailed(units) => {
                write!(f, "switched, but these units failed: {}", units.join(", "))
            }
            Self::LockHeld => f.write_str("another switch was under way"),
            Self::RebootNeeded => f.write_str("takes effect at the next boot"),
            Self::Other(code) => write!(f, "exit code {code}"),
            Self::Killed(signal) => write!(f, "killed by {}", osmoda_core::spec::Signal(*signal)),
        }
    }
}

/// The units that a switch says have failed, in its order.
fn failed_units(output: &[String]) -> Vec<String> {
    let lists = output
        .iter()
        .filter_map(|line| line.split_once(FAILED_UNITS));
    let mut units = Vec::new();
    for name in lists.flat_map(|(_, list)| list.split(',')) {
        let name = name.trim().to_owned();
        if !name.is_empty() && !units.contains(&name) {
            units.push(name);
        }
    }
    units
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_its_meaning() {
        let exit = |code| SwitchExit::new(code, &[]);
        assert_eq!(exit(0), SwitchExit::Done);
        assert_eq!(exit(1), SwitchExit::Refused);
        assert_eq!(exit(2), SwitchExit::ActivationFailed);
        assert_eq!(exit(4), SwitchExit::UnitsFailed(Vec::new()));
        assert_eq!(exit(11), SwitchExit::LockHeld);
        assert_eq!(exit(100), SwitchExit::RebootNeeded);
        assert_eq!(exit(3), SwitchExit::Other(3));
        assert_eq!(exit(137), SwitchExit::Killed(9));
        for code in [0, 1, 2, 3, 4, 11, 100, 128, 137, 255] {
            assert_eq!(exit(code).code(), code);
        }
    }

    #[test]
    fn only_a_switch_that_was_completed_counts_as_one() {
        let switched = [0, 1, 2, 3, 4, 11, 100, 137].map(|c| SwitchExit::new(c, &[]).is_switched());
        let expected = [true, false, false, false, true, false, false, false];
        assert_eq!(switched, expected);
    }

    #[test]
    fn failed_units_are_named() {
        let output = [
            "starting the following units: a.service",
            "warning: the following units failed: osmoda-a.service, nginx.service",
            "\u{d7} nginx.service",
            "warning: the following units failed: nginx.service",
        ]
        .map(str::to_owned);
        let exit = SwitchExit::new(4, &output);
        let units = ["osmoda-a.service", "nginx.service"].map(str::to_owned);
        assert_eq!(exit, SwitchExit::UnitsFailed(units.to_vec()));
        assert_eq!(
            exit.to_string(),
            "switched, but these units failed: osmoda-a.service, nginx.service"
        );
    }
}
