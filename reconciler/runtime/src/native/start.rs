//! A start from the first look to its registration, in two parts on a launcher's thread.
//!
//! [`begin`] has everything prepared that does not act; [`Start::launch`] gives the word. Whoever
//! is later of the two, the word or the last preparation, has the second part done, so that no
//! thread waits in between. The agent's gate is held from the first part to the registration.
//!
//! A start that is alone goes a step further before the word: its child is made, and waits, a
//! process without a note or a program, for the word itself. What is left after the intent is on
//! the disk is then a note and an exec. A child that is told to leave, or whose daemon ends,
//! is gone without a trace.

use std::{
    future::Future,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use osmoda_core::{
    name::AgentName,
    observed::{Instance, InstanceState, InvocationId},
};
use tokio::sync::{OwnedMutexGuard, oneshot};

use super::{
    launch::{self, Launched, Ready},
    main_process,
    process::Process,
    shared::Shared,
    sys::spawn::ChildMemory,
    tree::{END_WAIT, Tree},
};
use crate::{PreparedStart, StartError, StartRequest};

type Answer = Result<Instance, StartError>;

/// A start that waits for the word.
pub struct Start {
    shared: Arc<Shared>,
    how: How,
}

enum How {
    /// A launcher is at it, or has been.
    Begun(Arc<Stage>),
    /// The agent has another start or its end under way, which has to be waited for.
    Later(Option<StartRequest>),
}

/// Where the two parts meet.
#[derive(Default)]
struct Stage(Mutex<State>);

#[derive(Default)]
enum State {
    #[default]
    Preparing,
    Ready(Box<Second>),
    /// A launcher is in the second part, with a child that waits for the word.
    Held(Held),
    Told(oneshot::Sender<Answer>),
    /// Done, or nobody wants it any longer.
    Over,
}

/// How to give the word to a child.
struct Held {
    memory: Arc<ChildMemory>,
    agent: AgentName,
    invocation: InvocationId,
}

/// What the second part needs.
struct Second {
    shared: Arc<Shared>,
    ready: Result<Ready, StartError>,
    _gate: OwnedMutexGuard<()>,
}

/// Begins a start: what can be prepared now is.
pub(super) fn begin(shared: &Arc<Shared>, request: StartRequest) -> Start {
    let gate = shared.table.gate(&request.agent).try_lock_owned();
    let latest = shared.table.latest(&request.agent);
    let at_rest = latest
        .as_ref()
        .is_none_or(|latest| latest.process.is_none());
    let how = match gate {
        Ok(gate) if at_rest => {
            let former = latest.map(|latest| latest.tree);
            How::Begun(prepare(shared, request, former, gate))
        }
        _ => How::Later(Some(request)),
    };
    Start {
        shared: Arc::clone(shared),
        how,
    }
}

fn prepare(
    shared: &Arc<Shared>,
    request: StartRequest,
    former: Option<Tree>,
    gate: OwnedMutexGuard<()>,
) -> Arc<Stage> {
    let stage = Arc::new(Stage::default());
    let (shared_too, stage_too) = (Arc::clone(shared), Arc::clone(&stage));
    shared.launchers.submit(move || {
        let second = Second {
            ready: launch::prepare(&shared_too, request, former.as_ref()),
            shared: shared_too,
            _gate: gate,
        };
        let mut state = stage_too.lock();
        match mem::replace(&mut *state, State::Over) {
            State::Told(answer) => {
                drop(state);
                second.run(answer);
            }
            State::Over => {}
            _ => match second.hold() {
                Some(held) => {
                    *state = State::Held(held);
                    drop(state);
                    second.run_held(&stage_too);
                }
                None => *state = State::Ready(Box::new(second)),
            },
        }
    });
    stage
}

impl Stage {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held: the state is only exchanged.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PreparedStart for Start {
    /// Once the word is given the start goes on to its end, even if the future is dropped.
    fn launch(mut self) -> impl Future<Output = Answer> + Send {
        let told = self.tell();
        async move {
            let answered = match told {
                Some(answered) => answered,
                None => {
                    self.wait_for_its_turn().await?;
                    self.tell().ok_or_else(broken_off)?
                }
            };
            answered.await.unwrap_or_else(|_| Err(broken_off()))
        }
    }
}

impl Start {
    /// Gives the word, if the start has begun.
    fn tell(&mut self) -> Option<oneshot::Receiver<Answer>> {
        let How::Begun(stage) = &self.how else {
            return None;
        };
        let (answer, answered) = oneshot::channel();
        let mut state = stage.lock();
        match mem::replace(&mut *state, State::Over) {
            State::Preparing => *state = State::Told(answer),
            State::Ready(second) => {
                drop(state);
                self.shared.launchers.submit(move || second.run(answer));
            }
            State::Held(held) => {
                *state = State::Told(answer);
                drop(state);
                let table = &self.shared.table;
                table.set_starting(&held.agent, held.invocation);
                held.memory.let_go();
                // Where the scheduler has put the child behind its waker, it goes first.
                rustix::thread::sched_yield();
            }
            State::Told(_) | State::Over => {}
        }
        Some(answered)
    }

    /// Begins a start that could not at once.
    async fn wait_for_its_turn(&mut self) -> Result<(), StartError> {
        let How::Later(request) = &mut self.how else {
            return Ok(());
        };
        let request = request.take().ok_or_else(broken_off)?;
        let gate = self.shared.table.gate(&request.agent).lock_owned().await;
        let former = match self.shared.table.latest(&request.agent) {
            Some(latest) => {
                let ended = self.shared.ended_or_refused(&request.agent, latest);
                Some(ended.await?)
            }
            None => None,
        };
        self.how = How::Begun(prepare(&self.shared, request, former, gate));
        Ok(())
    }
}

/// Nobody is left who could start it: the daemon ends, or a thread failed.
fn broken_off() -> StartError {
    let what = "the start was broken off".to_owned();
    let source = std::io::Error::other("the daemon is ending, or failed");
    StartError::System { what, source }
}

impl Drop for Start {
    /// Without the word nothing is left of it. Files are put away by a launcher: whoever drops a
    /// start may not be allowed to block.
    fn drop(&mut self) {
        let How::Begun(stage) = &self.how else { return };
        let mut state = stage.lock();
        match mem::replace(&mut *state, State::Over) {
            // The launcher that is at it must find the word.
            told @ State::Told(_) => *state = told,
            State::Ready(second) => {
                drop(state);
                self.shared.launchers.submit(move || drop(second));
            }
            State::Held(held) => held.memory.dismiss(),
            State::Preparing | State::Over => {}
        }
    }
}

impl Second {
    /// Has its child made before the word, if nothing but the word is missing and no other start
    /// waits for a launcher: a child that waits takes one.
    fn hold(&self) -> Option<Held> {
        let ready = self.ready.as_ref().ok()?;
        if self.shared.launchers.are_wanted() {
            return None;
        }
        Some(Held {
            memory: ready.hold()?,
            agent: ready.agent().clone(),
            invocation: ready.invocation(),
        })
    }

    fn run(self, answer: oneshot::Sender<Answer>) {
        let Self {
            shared,
            ready,
            _gate: gate,
        } = self;
        let launched = ready.and_then(|ready| {
            shared.table.set_starting(ready.agent(), ready.invocation());
            ready.launch(&shared)
        });
        conclude(&shared, launched, gate, answer);
    }

    /// As [`Self::run`], with the word to come to the child.
    fn run_held(self, stage: &Stage) {
        let Self {
            shared,
            ready,
            _gate: gate,
        } = self;
        let launched = ready.and_then(|ready| ready.launch(&shared));
        let mut state = stage.lock();
        match mem::replace(&mut *state, State::Over) {
            State::Told(answer) => {
                drop(state);
                conclude(&shared, launched, gate, answer);
            }
            State::Over => {}
            // It failed before the word: whoever gives it hears why.
            _ => {
                let ready = launched.and_then(|_| Err(broken_off()));
                *state = State::Ready(Box::new(Self {
                    shared,
                    ready,
                    _gate: gate,
                }));
            }
        }
    }
}

fn conclude(
    shared: &Arc<Shared>,
    launched: Result<Launched, StartError>,
    gate: OwnedMutexGuard<()>,
    answer: oneshot::Sender<Answer>,
) {
    let started = launched.and_then(|launched| register(shared, launched));
    // Whoever hears of the start may have something to do to it at once.
    drop(gate);
    // Who no longer waits finds the instance in the table.
    let _ = answer.send(started);
}

fn register(shared: &Arc<Shared>, launched: Launched) -> Answer {
    let Launched {
        request,
        pid,
        pidfd,
        tree,
        started_at,
    } = launched;
    let instance = Instance {
        agent: request.agent,
        invocation: request.invocation,
        generation: request.generation,
        started_at,
        state: InstanceState::Running { pid },
        adopted: false,
    };
    // Its end is waited for where the runtime was opened.
    let _there = shared.scheduler.enter();
    match Process::new(pid, pidfd, tree.clone()) {
        Ok(process) => Ok(main_process::register(shared, instance, process)),
        Err(source) => {
            // An instance that cannot be watched must not live.
            let _ = tree.kill_and_wait(END_WAIT);
            let what = "cannot watch the new process".to_owned();
            Err(StartError::System { what, source })
        }
    }
}
