//! What a reconcile would do, step by step, if every action succeeded: `osmoda plan`.
//!
//! The same projection is the property test of the plan: what it ends in needs nothing more.

use std::sync::Arc;

use crate::{
    digest::Digest,
    memory::Memory,
    observed::{Exit, ExitStatus, Generation, Instance, InstanceState, Observation},
    outcome::{Done, Outcome, settle},
    plan::{Action, Active, Bundle, Observed, Step, View, plan},
    time::Mono,
};

/// Most steps that one agent can need: activate, stop, start, and the same once more.
const STEPS_MAX: usize = 6;

/// A step and when it would be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Projected {
    /// What, and why.
    pub step: Step,
    /// When; now or later.
    pub at: Mono,
}

/// The state a projection ends in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Projection {
    /// What would be done, in order.
    pub steps: Vec<Projected>,
    /// What would then be observed.
    pub observed: Observed,
    /// What would then be remembered.
    pub memory: Memory,
    /// When.
    pub now: Mono,
}

/// Plans, applies the step as if it had succeeded, and plans again until nothing is to be done.
pub fn project(view: &View<'_>) -> Projection {
    let mut world = Projection {
        steps: Vec::new(),
        observed: view.observed.clone(),
        memory: view.memory.clone(),
        now: view.now,
    };
    while world.steps.len() < STEPS_MAX {
        let here = View {
            observed: &world.observed,
            memory: &world.memory,
            now: world.now,
            bundle: &Bundle::Immediate,
            ..*view
        };
        let next = plan(&here);
        let due = next
            .memory
            .next_start_at
            .filter(|at| next.wake_at == Some(*at));
        world.memory = next.memory;
        let Some(step) = next.step else {
            match due.filter(|at| *at > world.now) {
                Some(at) => world.now = at,
                None => break,
            }
            continue;
        };
        let outcome = world.apply(&step.action);
        let done = Done {
            action: &step.action,
            outcome: &outcome,
            since: world.now,
            fresh: view.fresh,
            now: world.now,
            wall: view.wall,
        };
        world.memory = settle(&world.memory, &done).memory;
        world.steps.push(Projected {
            step,
            at: world.now,
        });
        if outcome == Outcome::Removed {
            break;
        }
    }
    world
}

impl Projection {
    /// Changes what is observed as if the action had succeeded.
    fn apply(&mut self, action: &Action) -> Outcome {
        match action {
            Action::Activate { agent, digest, .. } => self.activate(Arc::clone(agent), *digest),
            Action::Switch { to, .. } => self.switch(to),
            Action::Start {
                invocation,
                generation,
                agent,
            } => {
                let pid = 1; // a number nobody looks at
                self.observed.vitals = None;
                self.observed.instance = Observation::Known(Some(Instance {
                    agent: agent.name.clone(),
                    invocation: *invocation,
                    generation: generation.clone(),
                    started_at: self.now,
                    state: InstanceState::Running { pid },
                    adopted: false,
                }));
                Outcome::Started { pid }
            }
            Action::Stop { .. } => {
                let exit = Exit {
                    status: ExitStatus::Code { code: 0 },
                    at: self.now,
                    oom_killed: false,
                    outside: None,
                };
                if let Observation::Known(Some(instance)) = &mut self.observed.instance {
                    instance.state = InstanceState::Exited(exit.clone());
                }
                Outcome::Stopped {
                    exit,
                    killed: false,
                }
            }
            Action::Remove => {
                self.observed.instance = Observation::Known(None);
                self.observed.active = Observation::Known(None);
                Outcome::Removed
            }
        }
    }

    /// What the generation holds is not read for a projection: its digest is what matters.
    fn switch(&mut self, to: &Generation) -> Outcome {
        let known = self.memory.rollout.of(to).map(|tried| tried.digest);
        let Observation::Known(Some(active)) = &mut self.observed.active else {
            return Outcome::Failed("no generation is active".into());
        };
        active.generation = to.clone();
        active.digest = known.unwrap_or(active.digest);
        Outcome::Switched {
            digest: active.digest,
        }
    }

    fn activate(&mut self, agent: Arc<crate::spec::Agent>, digest: Digest) -> Outcome {
        let generation = match &self.observed.active {
            Observation::Known(Some(active)) if active.digest == digest => {
                active.generation.clone()
            }
            Observation::Known(Some(active)) => Generation {
                number: active.generation.number + 1,
                store_path: digest.to_string().into(),
            },
            _ => Generation {
                number: 1,
                store_path: digest.to_string().into(),
            },
        };
        let active = Active {
            generation: generation.clone(),
            agent,
            digest,
        };
        self.observed.active = Observation::Known(Some(active));
        Outcome::Activated {
            generation,
            pruned: Vec::new(),
        }
    }
}
