//! How a worker ended: who it was, how, and its last words. And several of these in one sentence.
//!
//! Pure text. Made by a place as it reaps its process; the supervisor tells it.

use std::fmt;

use crate::base::units::number_of;

/// Bytes of an ending that are not worth shortening.
const LONG: usize = 120;

/// One worker's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExitReport {
    /// Its role in words.
    who: String,
    pid: u32,
    /// How it ended, and its last words.
    ending: String,
}

impl ExitReport {
    /// The end of the process `pid`, in words.
    pub fn new(who: String, pid: u32, ending: String) -> Self {
        ExitReport { who, pid, ending }
    }

    /// The end in words, where `before` was told last: a long text, such as a traceback, is not told twice.
    pub fn told_after(&self, before: Option<&ExitReport>) -> String {
        let ExitReport { who, pid, ending } = self;
        let is_told = before.is_some_and(|before| before.of_anyone() == self.of_anyone());
        if is_told && ending.len() > LONG {
            format!("{who} (pid {pid}) ended with the same words")
        } else {
            self.to_string()
        }
    }

    /// The ending without the worker's own name, by which the same end of several is recognised.
    fn of_anyone(&self) -> String {
        self.ending.replace(&format!("{}: ", self.who), "")
    }
}

impl fmt::Display for ExitReport {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let ExitReport { who, pid, ending } = self;
        write!(f, "{who} (pid {pid}) {ending}")
    }
}

/// All ends in one sentence. Workers that ended alike are told of once, with their number.
pub fn together<'a>(reports: impl IntoIterator<Item = &'a ExitReport>) -> String {
    let mut alike: Vec<(String, Vec<&ExitReport>)> = Vec::new();
    for report in reports {
        let ending = report.of_anyone();
        match alike.iter_mut().find(|(of, _)| *of == ending) {
            Some((_, same)) => same.push(report),
            None => alike.push((ending, vec![report])),
        }
    }
    let told = alike.iter().map(|(ending, same)| match same[..] {
        [one] => one.to_string(),
        _ => format!("{ending} ({})", number_of(same.len() as u64, "process")),
    });
    told.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_ends_are_told_once_with_their_number() {
        let report = |who: &str, pid, ending: &str| ExitReport::new(who.into(), pid, ending.into());
        let actor = |k: u32, ending: &str| report(&format!("actor {k}"), 10 + k, ending);
        let own = |k| actor(k, &format!("exited with status 1: actor {k}: no such file"));
        let mut reports: Vec<_> = (0..4).map(own).collect();
        assert_eq!(together(&reports), "exited with status 1: no such file (4 processes)");
        reports[2] = actor(2, "was killed by SIGKILL");
        reports.insert(0, report("the learner", 9, "was killed by SIGKILL"));
        let told = "the learner (pid 9) was killed by SIGKILL";
        assert_eq!(together(&reports[..1]), told);
        assert_eq!(
            together(&reports[..3]),
            format!("{told}; exited with status 1: no such file (2 processes)")
        );
        let alike =
            "was killed by SIGKILL (2 processes); exited with status 1: no such file (3 processes)";
        assert_eq!(together(&reports), alike);
        assert_eq!(together([]), "");
    }

    #[test]
    fn a_long_end_is_told_once() {
        let traceback = format!("exited with status 1: {}", "line ".repeat(100));
        let [first, second] =
            [8, 9].map(|pid| ExitReport::new("actor 0".into(), pid, traceback.clone()));
        assert!(first.told_after(None).ends_with(&traceback));
        assert_eq!(second.told_after(Some(&first)), "actor 0 (pid 9) ended with the same words");
        let short = |pid| ExitReport::new("actor 0".into(), pid, "was killed by SIGKILL".into());
        assert_eq!(short(9).told_after(Some(&short(8))), "actor 0 (pid 9) was killed by SIGKILL");
    }
}
