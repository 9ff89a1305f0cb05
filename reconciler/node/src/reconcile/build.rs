//! Bundles made in the background: what a new spec needs of the Nix store is fetched while its
//! agent, and every other, lives on.
//!
//! Invariant: the outcome of every build that was begun is on record, or the daemon ended before
//! and the next one says so. Where to start: [`Reconciler::begin_build`].

use std::{sync::Arc, time::Duration};

use osmoda_core::{
    digest::Digest,
    event::{ActionFailed, ActionKind, ActionSucceeded, Event},
    name::AgentName,
    plan::{Bundle, Record},
    time::Mono,
};
use osmoda_ledger::{Cause, EntryRef};
use osmoda_nix::profiles::Profiles;
use osmoda_runtime::Runtime;
use tokio::task::JoinError;

use super::{Reconciler, agent::Build, journal::Journal};
use crate::error::chain;

/// Most bundles made at the same time; each may wait for the network for
/// [`osmoda_nix::store::REALISE_TIMEOUT`]. Others wait in the order of their asking.
pub const BUILDS_AT_ONCE: usize = 16;

/// A build that came to its end.
#[derive(Debug)]
pub struct Built {
    agent: AgentName,
    digest: Digest,
    result: Result<String, String>,
}

impl<R: Runtime, P: Profiles, J: Journal> Reconciler<R, P, J> {
    /// Makes the bundle of an agent's desired manifest; its intent is on record.
    pub(super) fn begin_build(&mut self, name: &AgentName, intent: Option<EntryRef>) {
        let since = self.clock.mono();
        let Some(state) = self.agents.get_mut(name) else {
            return;
        };
        let Some(desired) = state.desire.present() else {
            return;
        };
        let (digest, declared) = (desired.digest, Arc::clone(&desired.agent));
        let recipe = state.recipe.clone();
        let before = state.bundle.replace((digest, Bundle::UnderWay { since }));
        let next = Build {
            digest,
            intent,
            since,
            failures: match before {
                Some((of, Bundle::Failed { failures, .. })) if of == digest => failures,
                _ => 0,
            },
        };
        if let Some(before) = state.build.replace(Box::new(next)) {
            // It goes on, for what it fetches may be of use, but nobody waits for it.
            let event = failed("a newer spec took its place".to_owned(), None);
            self.note_build(name, before.intent, event);
        }
        tracing::info!(agent = %name, "making the bundle of the new spec");
        let (profiles, offload) = (Arc::clone(&self.profiles), self.offload);
        let permits = Arc::clone(&self.build_permits);
        let agent = name.clone();
        self.builds.spawn(async move {
            let permit = permits.acquire_owned().await;
            let of = agent.clone();
            let prepare = move || profiles.prepare(&of, &declared.manifest, recipe.as_deref());
            let prepared = offload.run(prepare).await;
            drop(permit);
            Built {
                agent,
                digest,
                result: prepared.and_then(|prepared| prepared.map_err(|error| chain(&error))),
            }
        });
    }

    /// Takes in the outcome of a build.
    pub(super) fn accept_built(&mut self, ended: Result<Built, JoinError>) {
        let built = match ended {
            Ok(built) => built,
            Err(error) => {
                // What may panic runs on a thread of its own and is an outcome.
                tracing::error!(reason = %error, "a build came to no end");
                return;
            }
        };
        let now = self.clock.mono();
        let Some(state) = self.agents.get_mut(&built.agent) else {
            return;
        };
        let Some(build) = state.build.take_if(|build| build.digest == built.digest) else {
            return; // a newer spec took its place
        };
        let (bundle, event) = match built.result {
            Ok(path) => (Bundle::Ready { at: now }, succeeded(path, build.since, now)),
            Err(why) => {
                tracing::warn!(agent = %built.agent, reason = %why, "the new generation cannot be made; the old one stays");
                let bundle = Bundle::Failed {
                    message: why.clone(),
                    failures: build.failures.saturating_add(1),
                    at: now,
                };
                let retry_in = bundle.due().map(|due| due.since(now));
                (bundle, failed(why, retry_in))
            }
        };
        state.bundle = Some((built.digest, bundle));
        self.note_build(&built.agent, build.intent, event);
        self.mark(built.agent);
    }

    fn note_build(&mut self, name: &AgentName, intent: Option<EntryRef>, event: Event) {
        let record = Record {
            event,
            incident: None,
        };
        self.turn.records(name, intent.map(Cause::Known), &[record]);
    }
}

fn succeeded(path: String, since: Mono, now: Mono) -> Event {
    let took = now.since(since).as_micros();
    Event::ActionSucceeded(ActionSucceeded {
        action: ActionKind::Build,
        invocation: None,
        pid: None,
        exit: None,
        killed: false,
        took_us: u64::try_from(took).unwrap_or(u64::MAX),
        note: path,
    })
}

fn failed(message: String, retry_in: Option<Duration>) -> Event {
    Event::ActionFailed(ActionFailed {
        action: ActionKind::Build,
        invocation: None,
        message,
        retry_after_ms: retry_in.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
    })
}
