//! One worker's place: the process in it, the deaths there, and when the next process is due.
//!
//! Owns one [`Worker`] at a time. Decides nothing but by the restart policy and forks nothing: the
//! supervisor does, and asks here what is the case.

use std::io;

use super::exit_report::ExitReport;
use super::restart::{Decision, History, RestartPolicy};
use crate::os::process::{Death, Ended, Worker};

/// Who works in a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The learner.
    Learner,
    /// The actor with this number.
    Actor(usize),
}

impl Role {
    /// Its name in the run's files.
    pub fn tag(self) -> String {
        match self {
            Role::Learner => "learner".into(),
            Role::Actor(actor) => format!("actor{actor}"),
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Role::Learner => write!(f, "the learner"),
            Role::Actor(actor) => write!(f, "actor {actor}"),
        }
    }
}

/// A worker's place.
pub struct Place {
    role: Role,
    worker: Option<Worker>,
    /// Whether it was told to end at once, which can take a moment.
    is_killed: bool,
    history: History,
    /// When the present process was forked, ns.
    started_ns: u64,
    /// When the next one shall be, ns.
    due_ns: Option<u64>,
    /// How much had been done here before the present process: rollouts, or updates.
    n_done_before: u64,
    /// How the last one ended.
    exit_report: Option<ExitReport>,
}

impl Place {
    /// A place whose first process is due at once.
    pub fn new(role: Role) -> Self {
        let history = History::default();
        Place {
            role,
            worker: None,
            is_killed: false,
            history,
            started_ns: 0,
            due_ns: Some(0),
            n_done_before: 0,
            exit_report: None,
        }
    }

    /// Who works here.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The process, while there is one that was not reaped.
    pub fn worker(&self) -> Option<&Worker> {
        self.worker.as_ref()
    }

    /// When the present process was forked, ns.
    pub fn started_ns(&self) -> u64 {
        self.started_ns
    }

    /// How the last process ended: who, how, and its last words.
    pub fn exit_report(&self) -> Option<&ExitReport> {
        self.exit_report.as_ref()
    }

    /// Replacements so far: how many processes had this place before the present one.
    pub fn n_restarts(&self) -> u64 {
        self.history.n_restarts()
    }

    /// Whether a process is at work here or will be.
    pub fn is_in_use(&self) -> bool {
        self.worker.is_some() || self.due_ns.is_some()
    }

    /// Whether it is time to fork.
    pub fn is_due(&self, now_ns: u64) -> bool {
        self.due_ns.is_some_and(|due_ns| due_ns <= now_ns)
    }

    /// Puts a process to work here, where `n_done` rollouts or updates have been made before.
    pub fn occupy(&mut self, worker: Worker, now_ns: u64, n_done: u64) {
        self.worker = Some(worker);
        self.is_killed = false;
        self.started_ns = now_ns;
        self.n_done_before = n_done;
        self.due_ns = None;
    }

    /// Ends the process here at once; whether it was this call that did.
    ///
    /// # Errors
    /// If the system refuses, which it does only for what is no child.
    pub fn kill(&mut self) -> io::Result<bool> {
        match &self.worker {
            Some(worker) if !self.is_killed => worker.kill()?,
            _ => return Ok(false),
        }
        self.is_killed = true;
        Ok(true)
    }

    /// Forks nothing here any more.
    pub fn close(&mut self) {
        self.due_ns = None;
    }

    /// What the process here has remarked since the last call.
    pub fn hear(&mut self) -> Vec<String> {
        self.worker.as_mut().map(Worker::hear).unwrap_or_default()
    }

    /// Reaps the process that has ended; `None` if there is none.
    ///
    /// # Errors
    /// If the system refuses, which it does only for what is no child.
    pub fn reap(&mut self) -> io::Result<Option<Death>> {
        let Some(worker) = self.worker.take() else { return Ok(None) };
        let pid = worker.pid();
        let Ended { death, last_words } = worker.reap()?;
        let words = if last_words.is_empty() { String::new() } else { format!(": {last_words}") };
        self.exit_report =
            Some(ExitReport::new(self.role.to_string(), pid, format!("{death}{words}")));
        Ok(Some(death))
    }

    /// Decides about a death, or a fork that failed, at `now_ns`, when `n_done` rollouts or updates have been made.
    pub fn decide_restart(&mut self, policy: &RestartPolicy, now_ns: u64, n_done: u64) -> Decision {
        let decision = self.history.decide(policy, now_ns, n_done == self.n_done_before);
        self.due_ns = match decision {
            Decision::RestartAfter(pause_ns) => Some(now_ns + pause_ns),
            Decision::GiveUp(_) => None,
        };
        decision
    }

    /// As after a reset of everything: the next process is due at once, and it is nobody's fault here.
    ///
    /// # Panics
    /// If the last one was not reaped: two would have the same roles (M4).
    pub fn begin_anew(&mut self) {
        assert!(self.worker.is_none(), "{} is still at work", self.role);
        self.due_ns = Some(0);
    }
}
