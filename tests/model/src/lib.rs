//! The protocols of `src/shm`, word for word, without the rest of the package.
//!
//! One set of scenarios (`tests/*.rs`) runs on three machines: loom tries every interleaving and
//! every value that a relaxed load may see; Miri watches for data races and undefined behaviour; the
//! processor runs them thousands of times. `run.sh` runs them all.

pub mod base;
pub mod rollout;
pub mod shm;
#[path = "../../../src/state/learner.rs"]
pub mod state;

/// Threads and unsynchronised memory of the machine at hand.
#[cfg(loom)]
pub mod machine {
    pub use loom::cell::UnsafeCell;
    pub use loom::sync::Arc;
    pub use loom::thread;

    /// Preemptions in one execution; more than 3 have never found anything that 3 did not, and cost hours.
    const MAX_PREEMPTIONS: usize = 3;

    /// Runs every execution of the scenario.
    pub fn explore(scenario: impl Fn() + Send + Sync + 'static) {
        explore_within(MAX_PREEMPTIONS, scenario);
    }

    /// Runs every execution with so few preemptions: where a reader has many words to read, each of which
    /// may be old or new, there are thousands of executions between two of them.
    pub fn explore_within(max_preemptions: usize, scenario: impl Fn() + Send + Sync + 'static) {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(max_preemptions);
        model.check(scenario);
    }
}

/// Threads and unsynchronised memory of the machine at hand.
#[cfg(not(loom))]
pub mod machine {
    pub use std::sync::Arc;
    pub use std::thread;

    /// As loom's: the closures receive the pointer.
    #[derive(Default)]
    pub struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub fn new(value: T) -> Self {
            UnsafeCell(std::cell::UnsafeCell::new(value))
        }

        pub fn with<R>(&self, look: impl FnOnce(*const T) -> R) -> R {
            look(self.0.get())
        }

        pub fn with_mut<R>(&self, change: impl FnOnce(*mut T) -> R) -> R {
            change(self.0.get())
        }
    }

    /// Runs the scenario many times.
    pub fn explore(scenario: impl Fn() + Send + Sync + 'static) {
        let n_executions = if cfg!(miri) { 5 } else { 3_000 };
        for _ in 0..n_executions {
            scenario();
        }
    }

    /// As `explore`: nobody bounds the processor's preemptions.
    pub fn explore_within(_max_preemptions: usize, scenario: impl Fn() + Send + Sync + 'static) {
        explore(scenario);
    }
}
