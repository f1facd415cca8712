//! The process that can die between any two acts.
//!
//! Dying is a future that never resolves, and a notification to whoever runs the work, which then drops it: nothing of the
//! work runs on, no destructor sees an error, just as when a machine goes.

use std::future::pending;
use std::sync::Mutex;

use tokio::sync::watch;

use super::lock;

/// Where around an act the process dies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Moment {
    /// The act does not happen.
    Before,
    /// The act happens, its answer is never seen.
    After,
}

/// The process died.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the process died {moment:?} step {step}: {act}")]
pub struct Crashed {
    /// The step at which it died, counting from 0.
    pub step: usize,
    /// Whether that step happened.
    pub moment: Moment,
    /// What the step was.
    pub act: String,
}

#[derive(Debug, Default)]
struct State {
    steps: usize,
    acts: Vec<String>,
    crash: Option<(usize, Moment)>,
}

/// One process: counts its steps, and dies at the one it is told to.
#[derive(Debug)]
pub(super) struct Process {
    state: Mutex<State>,
    death: watch::Sender<Option<Crashed>>,
}

impl Default for Process {
    fn default() -> Self {
        Self { state: Mutex::default(), death: watch::Sender::new(None) }
    }
}

impl Process {
    pub(super) fn steps(&self) -> usize {
        lock(&self.state).steps
    }

    pub(super) fn acts(&self) -> Vec<String> {
        lock(&self.state).acts.clone()
    }

    pub(super) fn crash_at(&self, step: usize, moment: Moment) {
        lock(&self.state).crash = Some((step, moment));
    }

    /// Dies, unless dead already.
    pub(super) fn die(&self, crashed: Crashed) {
        self.death.send_if_modified(|death| {
            let dies = death.is_none();
            death.get_or_insert(crashed);
            dies
        });
    }

    /// Resolves when the process dies.
    pub(super) async fn death(&self) -> Crashed {
        let mut death = self.death.subscribe();
        loop {
            if let Some(crashed) = death.borrow_and_update().clone() {
                return crashed;
            }
            if death.changed().await.is_err() {
                pending::<()>().await;
            }
        }
    }

    /// Lets other tasks run, as any request would; never returns once the process is dead.
    pub(super) async fn alive(&self) {
        tokio::task::yield_now().await;
        if self.death.borrow().is_some() {
            pending::<()>().await;
        }
    }

    /// Takes a step. Never returns when the process dies at it.
    pub(super) async fn act<T>(&self, what: String, effect: impl FnOnce() -> T) -> T {
        self.alive().await;
        match self.step(what, effect) {
            Some(answer) => answer,
            None => pending().await,
        }
    }

    /// The effect's answer, if the process lives to see it. Under the lock, so that steps have an order and none follows
    /// the last.
    fn step<T>(&self, act: String, effect: impl FnOnce() -> T) -> Option<T> {
        let mut state = lock(&self.state);
        if self.death.borrow().is_some() {
            return None;
        }
        let step = state.steps;
        state.steps += 1;
        let moment = state.crash.and_then(|(at, moment)| (at == step).then_some(moment));
        if moment == Some(Moment::Before) {
            self.die(Crashed { step, moment: Moment::Before, act });
            return None;
        }
        let answer = effect();
        state.acts.push(act.clone());
        if moment == Some(Moment::After) {
            self.die(Crashed { step, moment: Moment::After, act });
            return None;
        }
        Some(answer)
    }
}
