//! The cases that every runtime passes: native with and without cgroups, systemd, and the fake.
//!
//! A case is an async function over a [`Bench`]; [`any`] and [`probes`] hold those that the fake
//! passes too, [`real`] and [`real_probes`] those that need a process. `runtime_conformance!` makes one test of each:
//!
//! ```ignore
//! osmoda_testkit::runtime_conformance!(any, real; [tokio::test]; my_subject());
//! ```
//!
//! Cases wait for conditions, each with a bound, and never for a time.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a suite of tests: a broken expectation is a failed case"
)]

pub mod any;
pub mod probes;
pub mod real;
pub mod real_probes;

use std::{
    fmt::Debug,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use osmoda_core::{
    name::AgentName,
    observed::{Exit, Generation, Instance, InstanceState, InvocationId, Observation},
    spec::{AgentSpec, Stop},
    units::Period,
};
use osmoda_runtime::{Runtime, RuntimeEvent, StartError, StartRequest, StopError, Stopped};
use tokio::{sync::mpsc, time::timeout};

/// Longest wait for anything; reached only by a broken runtime.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Pause between two looks at a condition that nothing announces.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// A runtime under test.
pub trait Subject: Send {
    /// Its type.
    type Runtime: Runtime;

    /// The present daemon's runtime.
    fn runtime(&self) -> &Self::Runtime;

    /// The program that acts as told (`osmoda-test-agent`), by its path.
    fn program(&self) -> String;

    /// A spec as this runtime is to be tried with.
    fn adapt(&self, spec: AgentSpec) -> AgentSpec {
        spec
    }

    /// The daemon dies without a word and another begins.
    fn restart_daemon(&mut self);

    /// Whether a process can be found after it has cleared its environment and left its session.
    fn sees_everything(&self) -> bool;
}

/// A subject with the little that every case needs.
pub struct Bench<S: Subject> {
    /// What is tested.
    pub subject: S,
    case: u32,
    starts: u8,
}

impl<S: Subject> Bench<S> {
    /// For one case.
    pub fn new(subject: S) -> Self {
        static CASES: AtomicU32 = AtomicU32::new(0);
        Self {
            subject,
            case: CASES.fetch_add(1, Ordering::Relaxed),
            starts: 0,
        }
    }

    /// The runtime.
    pub fn runtime(&self) -> &S::Runtime {
        self.subject.runtime()
    }

    /// A spec whose command are these actions of the test agent.
    pub fn spec(&self, actions: &[&str]) -> AgentSpec {
        let program = [self.subject.program()];
        let actions = actions.iter().map(|action| (*action).to_owned());
        let spec = AgentSpec::new(program.into_iter().chain(actions).collect());
        self.subject.adapt(spec)
    }

    /// Identity of the case's start number `start`, from 1. No two cases that run at the same
    /// time on a machine share one: a runtime without cgroups knows its processes by it.
    pub fn invocation(&self, start: u8) -> InvocationId {
        let mut bytes = [start; 16];
        bytes[..4].copy_from_slice(&std::process::id().to_be_bytes());
        bytes[4..8].copy_from_slice(&self.case.to_be_bytes());
        InvocationId(bytes)
    }

    /// A request for [`agent`] with an identity of its own.
    pub fn request(&mut self, spec: AgentSpec) -> StartRequest {
        self.starts += 1;
        StartRequest {
            agent: agent(),
            invocation: self.invocation(self.starts),
            generation: generation(),
            spec: Arc::new(spec),
        }
    }

    /// Starts [`agent`] with a spec.
    pub async fn try_start(&mut self, spec: AgentSpec) -> Result<Instance, StartError> {
        let request = self.request(spec);
        within(self.runtime().start(request)).await
    }

    /// Starts [`agent`] with these actions.
    pub async fn start(&mut self, actions: &[&str]) -> Instance {
        let spec = self.spec(actions);
        self.try_start(spec).await.expect("the agent starts")
    }

    /// Stops an instance; SIGTERM and this grace period.
    pub async fn stop(&self, instance: &Instance, grace: Period) -> Result<Stopped, StopError> {
        let stop = Stop {
            grace_period: grace,
            ..Stop::default()
        };
        within(
            self.runtime()
                .stop(&instance.agent, instance.invocation, &stop),
        )
        .await
    }

    /// What the runtime knows of [`agent`].
    pub fn inspect(&self) -> Option<Instance> {
        match self.runtime().inspect(&agent()) {
            Observation::Known(instance) => instance,
            Observation::Unknown(reason) => panic!("unknown: {reason}"),
        }
    }

    /// Waits until [`agent`] has ended.
    pub async fn exit(&self) -> Exit {
        eventually("the agent has ended", || match self.inspect()?.state {
            InstanceState::Exited(exit) => Some(exit),
            InstanceState::Running { .. } => None,
        })
        .await
    }

    /// Waits until the agent has written at least `count` lines, and gives them all.
    pub async fn output(&self, count: usize) -> Vec<String> {
        eventually("the agent has written enough", || {
            let lines = self.runtime().last_output(&agent(), 1000, 1 << 20);
            (lines.len() >= count).then_some(lines)
        })
        .await
    }

    /// Waits until the agent has written a line that begins with `start`, and gives all lines.
    pub async fn output_with(&self, start: &str) -> Vec<String> {
        eventually("the agent has written that line", || {
            let lines = self.runtime().last_output(&agent(), 1000, 1 << 20);
            let written = lines.iter().any(|line| line.starts_with(start));
            written.then_some(lines)
        })
        .await
    }

    /// Stops what still runs.
    pub async fn finish(self) {
        if let Some(instance) = self.inspect() {
            self.stop(&instance, Period::millis(0))
                .await
                .expect("the last instance ends");
        }
        self.runtime().forget(&agent());
        assert_eq!(self.inspect(), None);
    }
}

/// The agent of every case.
pub fn agent() -> AgentName {
    AgentName::new("subject").expect("a valid name")
}

/// The generation of every case.
pub fn generation() -> Generation {
    Generation {
        number: 7,
        store_path: "/nix/store/00000000000000000000000000000000-subject"
            .to_owned()
            .into(),
    }
}

/// The pid of a running instance.
pub fn pid(instance: &Instance) -> u32 {
    match instance.state {
        InstanceState::Running { pid } => pid,
        InstanceState::Exited(_) => panic!("not running: {instance:?}"),
    }
}

/// Waits for an event about [`agent`].
pub async fn event(events: &mut mpsc::UnboundedReceiver<RuntimeEvent>) {
    let event = within(events.recv()).await;
    assert_eq!(event, Some(RuntimeEvent::Changed(agent())));
}

/// The result, which has to come within [`PATIENCE`].
pub async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("an answer in time")
}

/// Looks until there is something to see, at most for [`PATIENCE`].
pub async fn eventually<T: Debug>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let watch = async {
        loop {
            if let Some(seen) = look() {
                return seen;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    match timeout(PATIENCE, watch).await {
        Ok(seen) => seen,
        Err(_) => panic!("waited in vain until {what}"),
    }
}

/// One test for each case of the given groups, each on a new subject.
#[macro_export]
macro_rules! runtime_conformance {
    ($($group:ident),+; $attributes:tt; $subject:expr) => {
        $( $crate::conformance_group!($group; $attributes; $subject); )+
    };
}

/// The cases of one group as tests.
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_group {
    (any; $attributes:tt; $subject:expr) => {
        $crate::conformance_cases!(any; $attributes; $subject;
            a_start_gives_a_running_instance,
            an_exit_code_is_reported_and_announced,
            an_ending_signal_is_reported,
            an_ended_agent_can_be_started_again,
            a_stop_lets_an_agent_end_by_itself,
            a_deaf_agent_is_killed_after_its_grace,
            a_second_start_is_refused_and_names_the_first,
            of_starts_at_the_same_time_one_wins,
            a_missing_program_is_named,
            a_missing_credential_is_named,
            a_failed_start_leaves_room_for_the_next,
            a_prepared_start_that_is_dropped_leaves_nothing,
            a_prepared_start_runs_when_told_and_not_before,
            a_new_daemon_adopts_a_running_agent_and_sees_its_end,
            a_new_daemon_starts_no_second_instance,
            only_an_ended_agent_is_forgotten,
            an_ended_instance_stays_visible,
            a_stop_of_an_ended_instance_succeeds,
            a_stop_of_another_instance_is_refused,
            two_stops_at_the_same_time_agree,
            a_stop_can_be_given_up_and_asked_again,
            the_last_output_is_bounded,
            a_stop_under_way_is_extended_and_not_by_an_extension_from_before,
            the_owner_of_a_process_is_known,
            a_process_outside_the_tree_becomes_no_main_process,
            the_time_of_the_last_output_is_known,
            the_use_of_a_running_instance_is_known_and_of_no_other
        );
    };
    (probes; $attributes:tt; $subject:expr) => {
        $crate::conformance_cases!(probes; $attributes; $subject;
            a_probe_tells_how_it_ended_and_what_it_wrote,
            a_probe_that_takes_too_long_is_ended,
            the_output_of_a_probe_is_bounded,
            only_an_instance_that_runs_is_probed,
            a_probe_that_does_not_exist_is_named
        );
    };
    (real_probes; $attributes:tt; $subject:expr) => {
        $crate::conformance_cases!(real_probes; $attributes; $subject;
            what_a_probe_started_ends_at_its_timeout,
            a_probe_ends_with_its_main_process_whoever_holds_its_output,
            a_probe_that_writes_without_end_is_neither_held_up_nor_kept,
            a_probe_that_nobody_waits_for_is_ended,
            a_probe_is_no_part_of_the_instance,
            a_probe_has_the_agents_surroundings
        );
    };
    (real; $attributes:tt; $subject:expr) => {
        $crate::conformance_cases!(real; $attributes; $subject;
            the_tree_dies_with_its_main_process,
            a_held_output_does_not_hide_an_exit,
            an_orphan_in_a_session_of_its_own_dies_too,
            an_orphan_without_environment_dies_where_the_host_can_tell,
            a_stop_ends_the_whole_tree,
            a_new_daemon_kills_what_a_dead_agent_left,
            the_environment_is_what_the_contract_says,
            credentials_reach_the_agent_fresh_at_each_start,
            the_process_begins_clean,
            every_start_may_use_every_processor,
            no_dead_process_is_left_in_the_table,
            a_missing_directory_is_named,
            a_missing_interpreter_is_told_from_a_missing_program,
            a_file_that_is_no_program_is_refused,
            the_directory_of_an_agent_is_its_home,
            another_user_is_taken_on,
            a_stopped_process_can_be_stopped_for_good,
            the_use_is_told_as_it_grows
        );
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! conformance_cases {
    ($group:ident; $attributes:tt; $subject:expr; $($case:ident),+) => {
        $( $crate::conformance_case!($group; $attributes; $subject; $case); )+
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! conformance_case {
    ($group:ident; [$($attribute:meta),+]; $subject:expr; $case:ident) => {
        $( #[$attribute] )+
        async fn $case() {
            let mut bench = $crate::conformance::Bench::new($subject);
            $crate::conformance::$group::$case(&mut bench).await;
            bench.finish().await;
        }
    };
}
