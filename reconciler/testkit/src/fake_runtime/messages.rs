//! What agents of the fake world tell their runtime: who they are, that they need longer, which
//! process is the main one.

use std::{io, time::Duration};

use osmoda_core::{
    heartbeat::EXTENSION_MAX,
    name::AgentName,
    observed::{InstanceState, InvocationId},
    time::Mono,
};
use osmoda_runtime::MainPidError;
use tokio::{sync::watch, time::Instant};

use super::World;

/// How long a stop waits: until now, and at most.
pub(super) type Patience = watch::Sender<Option<(Instant, Instant)>>;

impl World {
    pub(super) fn owner(&self, pid: u32) -> Option<(AgentName, InvocationId)> {
        let mut all = self.all_latest().into_iter();
        let (_, instance) =
            all.find(|(_, instance)| instance.state == InstanceState::Running { pid })?;
        Some((instance.agent, instance.invocation))
    }

    /// There are no other processes: only the one that is it already can be named.
    pub(super) fn set_main_pid(
        &self,
        agent: &AgentName,
        invocation: InvocationId,
        pid: u32,
    ) -> Result<(), MainPidError> {
        let agent = agent.clone();
        match self.known(&agent, invocation).map(|known| known.state) {
            Some(InstanceState::Running { pid: main }) if main == pid => Ok(()),
            Some(InstanceState::Running { .. }) => Err(MainPidError::NotOfItsTree { agent, pid }),
            Some(InstanceState::Exited(_)) | None => {
                Err(MainPidError::NoSuchInstance { agent, invocation })
            }
        }
    }

    pub(super) fn extend_stop(&self, agent: &AgentName, invocation: InvocationId, by: Duration) {
        let asked = Instant::now() + by.min(EXTENSION_MAX);
        let Some(patience) = self.patience(agent, invocation) else {
            return;
        };
        patience.send_if_modified(|stop| match stop {
            Some((until, at_most)) if asked.min(*at_most) > *until => {
                *until = asked.min(*at_most);
                true
            }
            _ => false,
        });
    }

    /// Waits for an instance to end by itself. False: the stop's patience was at its end.
    pub(super) async fn ended_in_grace(
        &self,
        agent: &AgentName,
        invocation: InvocationId,
        grace: Duration,
    ) -> bool {
        let ended = self.ended(agent, invocation);
        let Some(patience) = self.patience(agent, invocation) else {
            return false;
        };
        let began = Instant::now();
        let mut stopping = patience.subscribe();
        patience.send_replace(Some((began + grace, began + grace.max(EXTENSION_MAX))));
        tokio::pin!(ended);
        loop {
            let until = stopping
                .borrow_and_update()
                .map_or(began, |(until, _)| until);
            tokio::select! {
                biased;
                _ = &mut ended => return true,
                Ok(()) = stopping.changed() => {}
                () = tokio::time::sleep_until(until) => return false,
            }
        }
    }

    /// A script prints when it begins, and not again.
    pub(super) fn last_output_at(
        &self,
        agent: &AgentName,
        invocation: InvocationId,
    ) -> io::Result<Option<Mono>> {
        let known = self.known(agent, invocation);
        let started_at = known.ok_or(io::ErrorKind::NotFound)?.started_at;
        let silent = self.last_output(agent, 1, usize::MAX).is_empty();
        Ok((!silent).then_some(started_at))
    }
}
