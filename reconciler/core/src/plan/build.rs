//! The bundle of a new spec, made in the background before it can be activated.
//!
//! What a manifest needs of a Nix store may have to be fetched, which can take minutes or fail.
//! Nothing waits for it: the generation that is active is kept alive meanwhile, and no other
//! agent is concerned. Where to start: [`Bundle`].

use std::time::Duration;

use super::{Desired, decide::Drafting};
use crate::{
    event::{ActionIntended, ActionKind, Event},
    time::Mono,
};

/// Pause before a bundle that could not be made is tried again; doubled by each further failure.
pub const BUILD_RETRY_FIRST: Duration = Duration::from_secs(10);
/// Longest such pause.
pub const BUILD_RETRY_MAX: Duration = Duration::from_secs(5 * 60);

/// How far the bundle of the desired manifest has come. What was found out is not kept over a
/// restart of the daemon: to look again costs milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Bundle {
    /// To make it takes no time: activating does it.
    #[default]
    Immediate,
    /// Nobody has seen to it yet.
    Absent,
    /// It is being made.
    UnderWay {
        /// Since when.
        since: Mono,
    },
    /// It is there.
    Ready {
        /// Since when.
        at: Mono,
    },
    /// It could not be made.
    Failed {
        /// Why, for people.
        message: String,
        /// Failures in a row, at least one.
        failures: u32,
        /// When the last one was.
        at: Mono,
    },
}

impl Bundle {
    /// Whether the manifest can be made active without waiting for anything.
    pub fn is_usable(&self) -> bool {
        matches!(self, Self::Immediate | Self::Ready { .. })
    }

    /// When it is to be made; `None`: it is there, or on its way.
    pub fn due(&self) -> Option<Mono> {
        match self {
            Self::Immediate | Self::Ready { .. } | Self::UnderWay { .. } => None,
            Self::Absent => Some(Mono(0)),
            Self::Failed { failures, at, .. } => Some(at.after(pause(*failures))),
        }
    }
}

fn pause(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    BUILD_RETRY_FIRST
        .saturating_mul(1 << doublings)
        .min(BUILD_RETRY_MAX)
}

impl Drafting<'_, '_> {
    /// Has the bundle made, if that is due.
    pub(super) fn build(&mut self, desired: &Desired) {
        match self.view.bundle.due() {
            Some(due) if due <= self.view.now => self.begin_build(desired),
            Some(due) => self.wake(due),
            None => {}
        }
    }

    /// The active generation cannot be read. If its bundle is the one of the desired manifest
    /// and was deleted, making that writes it anew; if not, no harm is done.
    pub(super) fn rebuild(&mut self) {
        let Some(desired) = self.view.desired.filter(|_| self.view.paused().is_none()) else {
            return;
        };
        match self.view.bundle {
            Bundle::Ready { at } if at.after(BUILD_RETRY_FIRST) <= self.view.now => {
                self.begin_build(desired);
            }
            _ => self.build(desired),
        }
    }

    fn begin_build(&mut self, desired: &Desired) {
        self.record(Event::ActionIntended(ActionIntended {
            action: ActionKind::Build,
            reason: "SpecChanged",
            invocation: None,
            generation: None,
            digest: Some(desired.digest),
        }));
        self.build = true;
    }
}
