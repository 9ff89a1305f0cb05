//! Instances: each is intended once, stopped at most once at a time, and its end on record once.

use std::collections::{BTreeMap, BTreeSet};

use osmoda_core::name::AgentName;

use super::{Checked, Inner, Monitor, Said};

/// What is intended and has no outcome yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Open {
    Start,
    Stop {
        invocation: String,
    },
    /// To this manifest.
    Activate {
        digest: String,
    },
    /// To this generation, because of this.
    Switch {
        path: String,
        operator: bool,
    },
    Remove,
}

/// What the entries say of an agent's instances.
#[derive(Debug, Default)]
pub(super) struct Lives {
    pub open: Option<Open>,
    /// Instances that were started, and whether their end (or fault) is on record.
    known: BTreeMap<String, Known>,
    /// The newest one, if nothing says that it does not work.
    pub up: bool,
    /// It ended as its policy expects.
    pub finished: bool,
    /// It was taken out of the specs.
    removed: bool,
}

#[derive(Debug, Default, Clone, Copy)]
struct Known {
    started: bool,
    ended: bool,
    /// Its fault was found while nothing was to be done about it.
    spared: bool,
    stopped: bool,
    /// Nobody is asked for its end: a reboot took it, or it was removed from the specs.
    excused: bool,
}

impl Lives {
    /// Whether a start is intended.
    pub fn starts(&self) -> bool {
        matches!(self.open, Some(Open::Start))
    }

    /// Whether a stop of this instance is intended.
    pub fn stops(&self, wanted: &str) -> bool {
        matches!(&self.open, Some(Open::Stop { invocation }) if invocation == wanted)
    }

    /// Whether a change of the profile is intended.
    pub fn changes_profile(&self) -> bool {
        let change = |open: &Open| {
            matches!(
                open,
                Open::Activate { .. } | Open::Switch { .. } | Open::Remove
            )
        };
        self.open.as_ref().is_some_and(change)
    }

    /// A reboot ended everything, and is nobody's failure.
    pub fn rebooted(&mut self) {
        self.open = None;
        self.up = false;
        self.known.values_mut().for_each(|known| known.ended = true);
    }

    /// An agent that is on its way out. It may come back, and end then.
    fn excuse_all(&mut self) {
        (self.known.values_mut()).for_each(|known| known.excused = true);
    }

    fn of(&mut self, invocation: &str) -> &mut Known {
        self.known.entry(invocation.to_owned()).or_default()
    }
}

impl Inner {
    /// What needs no story: an identity is used once.
    pub(super) fn see_instance(&mut self, _: &AgentName, said: &Said<'_>) -> Checked {
        if (said.kind, said.action) != ("ActionIntended", "Start") {
            return Ok(());
        }
        let path = said.path("generation").unwrap_or_default();
        let known = self
            .intents
            .insert(said.invocation().to_owned(), path.to_owned());
        if known.is_some() {
            return Err(format!("instance {} was intended twice", said.invocation()));
        }
        Ok(())
    }

    pub(super) fn see_life(&mut self, agent: &AgentName, said: &Said<'_>) -> Checked {
        let paused = self.is_paused(agent);
        let lives = &mut self.model(agent).lives;
        let invocation = said.invocation();
        match (said.kind, said.action) {
            ("ActionIntended", "Stop") => {
                if lives.stops(invocation) {
                    return Err(format!("{agent} is stopped twice at once"));
                }
                if lives.of(invocation).stopped {
                    return Err(format!(
                        "{agent} is stopped again, though nothing of it is left"
                    ));
                }
                lives.open = Some(Open::Stop {
                    invocation: invocation.to_owned(),
                });
                lives.up = false;
                if said.reason() == "Shutdown" {
                    return self.check_shutdown(agent);
                }
            }
            ("ActionIntended", action) => {
                lives.open = Some(match action {
                    "Start" => Open::Start,
                    "Activate" => Open::Activate {
                        digest: said.text("digest").unwrap_or_default().to_owned(),
                    },
                    _ => Open::Remove,
                });
                if action == "Start" {
                    if lives.removed {
                        return Err(format!("{agent} is started though no spec declares it"));
                    }
                    lives.finished = false;
                    lives.known.retain(|_, known| !known.ended || known.spared);
                }
            }
            ("RollbackIntended", _) => {
                lives.open = Some(Open::Switch {
                    path: said.path("to").unwrap_or_default().to_owned(),
                    operator: said.reason() == "OperatorRequest",
                });
            }
            ("ActionSucceeded", "Start") => {
                lives.open = None;
                lives.of(invocation).started = true;
                lives.up = true;
            }
            ("ActionSucceeded", "Stop") => {
                lives.open = None;
                let known = lives.of(invocation);
                (known.ended, known.stopped) = (true, true);
                lives.up = false;
            }
            ("ActionFailed", "Stop") => {
                lives.open = None;
                lives.up = !lives.of(invocation).ended; // it goes on doing what it did
            }
            ("ActionSucceeded" | "ActionFailed", _)
            | ("RollbackSucceeded" | "RollbackFailed", _) => {
                lives.open = None;
            }
            ("FailureDetected", _) => {
                let known = lives.of(invocation);
                if known.ended && !known.spared {
                    return Err(format!(
                        "the end of {agent} {invocation} was recorded twice"
                    ));
                }
                known.spared = paused && said.body["exit"].is_null() && said.reason() != "Vanished";
                known.ended = true;
                lives.up &= lives.known[invocation].spared;
            }
            ("HealthVerified", _) if said.reason() == "Completed" => {
                lives.of(invocation).ended = true;
                (lives.up, lives.finished) = (false, true);
            }
            ("GenerationActivated", _) => lives.finished = false,
            ("SpecChanged", _) => {
                lives.removed = said.text("change") == Some("Removed");
                if lives.removed {
                    lives.excuse_all();
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Inner {
    /// At the end of all nobody is stopped before those who depend on it.
    fn check_shutdown(&self, agent: &AgentName) -> Checked {
        for (other, ..) in self.world.running() {
            let model = self.models.get(&other);
            let desired = model.and_then(|model| model.desired.as_deref());
            let honest = desired.and_then(|digest| self.specs.get(digest));
            if honest.is_some_and(|honest| honest.spec.depends_on.contains(agent)) {
                return Err(format!(
                    "{agent} is stopped although {other}, which depends on it, still runs"
                ));
            }
        }
        Ok(())
    }
}

impl Monitor {
    /// No exit is forgotten: what was started and no longer runs has its end on record, unless
    /// its agent is on its way out.
    ///
    /// # Errors
    /// What is missing.
    pub fn check_ends(&self) -> Checked {
        let inner = self.inner();
        if inner.forgetful {
            return Ok(());
        }
        let running = inner.world.running().into_iter();
        let running: BTreeSet<_> = running.map(|(_, id, _)| id.to_string()).collect();
        for (agent, model) in &inner.models {
            let lost = model.lives.known.iter().find(|(invocation, known)| {
                known.started && !known.ended && !known.excused && !running.contains(*invocation)
            });
            if let Some((invocation, _)) = lost {
                return Err(format!(
                    "the end of {agent} {invocation} was never recorded"
                ));
            }
        }
        Ok(())
    }
}
