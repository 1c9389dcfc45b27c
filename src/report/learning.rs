//! Whether a run learned, in one paragraph, from its rows.
//!
//! Owns the judgement and its thresholds. Pure: rows of `metrics.csv` and a [`Summary`] in, a [`Learning`]
//! out. Used by the page and by whoever prints how a run ended.

use super::units::{grouped, short};
use crate::telemetry::{MetricsRow, Summary};

/// How learning went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    /// Too little was recorded to say.
    Unknown,
    /// The score reached what counts as solved, and stayed near it.
    Solved,
    /// The score rose.
    Rising,
    /// The score rose, and fell again.
    Lost,
    /// The losses are so large, or grew so much, that their gradient says nothing.
    OutOfScale,
    /// The policy plays one action whatever it sees, and has not solved the task by it.
    Collapsed,
    /// The score is that of the policy before training.
    Random,
}

/// The judgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Learning {
    /// How it went.
    pub course: Course,
    /// The same as a sentence.
    pub verdict: String,
    /// What else was seen, in sentences.
    pub evidence: String,
    /// The setting to look at first, in a sentence; empty where there is nothing to mend.
    pub advice: String,
}

/// Rows below which nothing is said: the first is what the others are compared with.
const FEWEST_ROWS: usize = 4;

/// Of the way from the first score to the threshold: below it a score is as good as the first one.
const NO_PROGRESS: f64 = 0.1;

/// Of the way from the first score to the best one: below it what was learned is lost. The score of a
/// solved task comes and goes by less.
const KEPT: f64 = 0.75;

/// Of the first score: by so much scores of a hundred episodes may differ though the policy has not changed.
const MARKED: f64 = 0.2;

/// Entropy below which the policy is one action, nats: that action has a probability above 0.998.
const NO_ENTROPY: f64 = 0.01;

/// A critic loss a frame of this size means errors of a thousand in what the critic predicts, whose
/// gradient drowns all else. Rewards are meant to be scaled to about 1.
const HUGE_LOSS: f64 = 1e6;

/// A critic loss grows while the returns do: a hundredfold, where they grow tenfold.
const GROWN: f64 = 1_000.0;

/// Updates below which no policy can be expected to have changed much.
const FEW_UPDATES: u64 = 500;

/// Judges a run.
pub fn judge(rows: &[MetricsRow], summary: &Summary) -> Learning {
    match Scores::of(rows, summary) {
        Some(scores) if rows.len() >= FEWEST_ROWS => judged(rows, summary, &scores),
        _ => Learning {
            course: Course::Unknown,
            verdict: "Too little was recorded to say whether it learned: no episode ended, or the run was too \
                      short."
                .into(),
            evidence: String::new(),
            advice: String::new(),
        },
    }
}

impl Learning {
    /// Whether the policy became better.
    pub fn is_success(&self) -> bool {
        matches!(self.course, Course::Solved | Course::Rising)
    }

    /// Whether the run came to nothing, though it went on until its end.
    pub fn is_failure(&self) -> bool {
        use Course::{Collapsed, Lost, OutOfScale, Random};
        matches!(self.course, Collapsed | Lost | OutOfScale | Random)
    }
}

impl std::fmt::Display for Learning {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let parts = [&self.verdict, &self.evidence, &self.advice];
        let parts: Vec<&str> = parts.into_iter().map(String::as_str).collect();
        f.write_str(
            parts
                .into_iter()
                .filter(|part| !part.is_empty())
                .collect::<Vec<_>>()
                .join(" ")
                .as_str(),
        )
    }
}

/// Where the score began, how far it came, where it ended.
struct Scores {
    /// That of the first row in which an episode ended: the policy is as good as random yet.
    first: f64,
    best: f64,
    last: f64,
    threshold: Option<f64>,
}

impl Scores {
    fn of(rows: &[MetricsRow], summary: &Summary) -> Option<Scores> {
        let recent = || rows.iter().filter_map(|row| row.score_last100).filter(|s| s.is_finite());
        let first = rows.iter().find_map(|row| row.score_mean).filter(|score| score.is_finite())?;
        let last = summary.score_last100.or_else(|| recent().next_back())?;
        let best = recent().fold(last, f64::max);
        Some(Scores { first, best, last, threshold: summary.score_threshold })
    }

    /// How much of the way from the first score to the threshold this score is; without one, to the best.
    fn progress(&self, score: f64) -> f64 {
        let goal = self.threshold.filter(|goal| *goal > self.first).unwrap_or(self.best);
        let way = goal - self.first;
        if way > 0.0 { (score - self.first) / way } else { 0.0 }
    }

    /// Whether a score differs from the first one by more than such scores do among themselves.
    fn is_marked(&self, score: f64) -> bool {
        (score - self.first).abs() >= MARKED * self.first.abs()
    }

    /// Whether the last score is that of a policy which does as well as at the beginning.
    fn is_as_at_first(&self) -> bool {
        let is_doubled = self.first > 0.0 && self.last >= 2.0 * self.first;
        let is_near = self.progress(self.last) < NO_PROGRESS;
        let is_noise = self.threshold.is_none() && !self.is_marked(self.last);
        !is_doubled && (is_near || is_noise)
    }

    /// How much of what was gained is still there.
    fn kept(&self) -> f64 {
        let gained = self.best - self.first;
        if gained > 0.0 { (self.last - self.first) / gained } else { 1.0 }
    }
}

fn judged(rows: &[MetricsRow], summary: &Summary, scores: &Scores) -> Learning {
    let course = course(rows, summary, scores);
    let healthy = matches!(course, Course::Solved | Course::Rising);
    let signs = [
        (course != Course::Collapsed && !healthy).then(|| collapse(rows, summary)).flatten(),
        (course != Course::OutOfScale && !healthy).then(|| growth(rows)).flatten(),
        (course != Course::Solved).then(|| blindness(rows)).flatten(),
    ];
    Learning {
        course,
        verdict: verdict(course, rows, summary, scores),
        evidence: signs.into_iter().flatten().collect::<Vec<_>>().join(" "),
        advice: advice(course, rows, summary, scores),
    }
}

fn course(rows: &[MetricsRow], summary: &Summary, scores: &Scores) -> Course {
    let has_risen = scores.progress(scores.best) >= 0.5 && scores.is_marked(scores.best);
    let has_come_far = summary.solved || has_risen;
    let is_lost = has_come_far && scores.kept() < KEPT;
    if !is_lost && summary.solved {
        Course::Solved
    } else if growth(rows).is_some() {
        Course::OutOfScale
    } else if is_lost {
        Course::Lost
    } else if collapse(rows, summary).is_some() {
        Course::Collapsed
    } else if scores.is_as_at_first() {
        Course::Random
    } else {
        Course::Rising
    }
}

fn verdict(course: Course, rows: &[MetricsRow], summary: &Summary, scores: &Scores) -> String {
    let [first, best, last] = [scores.first, scores.best, scores.last].map(short);
    let goal =
        scores.threshold.map_or_else(String::new, |t| format!("; {} counts as solved", short(t)));
    let sign = |sign: Option<String>| sign.unwrap_or_default();
    match course {
        Course::Unknown => String::new(),
        Course::Solved => {
            format!("It learned: the score rose from {first} to {last}{goal}.")
        }
        Course::Rising if scores.threshold.is_none() => {
            format!("It learned: the score rose from {first} to {last}.")
        }
        Course::Rising => {
            format!(
                "It learned, and has not solved the task: the score rose from {first} to {last}{goal}."
            )
        }
        Course::Lost => {
            let what = if summary.solved { "solved the task" } else { "learned" };
            format!(
                "It {what} and lost it again: the score rose from {first} to {best} and fell to {last}."
            )
        }
        Course::OutOfScale => format!("It did not learn. {}", sign(growth(rows))),
        Course::Collapsed => {
            format!(
                "It did not learn: the score is {last}{goal}. {}",
                sign(collapse(rows, summary))
            )
        }
        Course::Random => format!(
            "It did not learn: the score of {last} is that of a random policy, which had {first}{goal}."
        ),
    }
}

/// The learning rate has come down to a twentieth, which is as low as makes a difference.
fn has_small_steps(rows: &[MetricsRow]) -> bool {
    let rate = |row: Option<&MetricsRow>| row.map_or(0.0, |row| row.learning_rate);
    rate(rows.last()) < 0.05 * rate(rows.first())
}

fn advice(course: Course, rows: &[MetricsRow], summary: &Summary, scores: &Scores) -> String {
    let is_flat = rows.iter().all(|row| row.score_min == row.score_max);
    let look = match course {
        Course::Unknown | Course::Solved => return String::new(),
        Course::Rising if scores.kept() > 0.95 || has_small_steps(rows) => {
            "`frames`: it may only need more of them"
        }
        Course::Rising => {
            "`optimizer.learning_rate.end_fraction`: smaller steps at the end keep what is learned"
        }
        Course::Lost => {
            "`optimizer.learning_rate.end_fraction`: smaller steps at the end keep what is learned. The best weights are \
             in `checkpoints/best.safetensors`"
        }
        Course::OutOfScale => {
            "`loss.reward_scale`: rewards times this should be about 1; then `optimizer.learning_rate.start`"
        }
        Course::Collapsed => "`loss.entropy_cost.start`: more of it keeps the policy exploring",
        Course::Random if summary.updates < FEW_UPDATES => {
            "`frames`: so few updates cannot have changed the policy much"
        }
        Course::Random if is_flat => {
            "`loss.entropy_cost.start`: no episode was better than another, so that exploring has met no \
             reward yet"
        }
        Course::Random => {
            "`optimizer.learning_rate.start`, and whether rewards tell good from bad actions"
        }
    };
    format!("Look first at {look}.")
}

/// The entropy is gone, and since when. That of a density passes 0 on its way, and says nothing.
fn collapse(rows: &[MetricsRow], summary: &Summary) -> Option<String> {
    if summary.real_actions {
        return None;
    }
    let n_gone = rows
        .iter()
        .rev()
        .take_while(|row| row.entropy.is_some_and(|nats| nats < NO_ENTROPY))
        .count();
    let first = rows.get(rows.len() - n_gone)?;
    Some(format!(
        "The entropy is 0 from frame {} on: the policy plays one action, whatever it sees, and explores no \
         more.",
        grouped(first.frames)
    ))
}

/// The losses are out of scale.
fn growth(rows: &[MetricsRow]) -> Option<String> {
    let quarter = rows.len().div_ceil(4);
    // A loss that is not there was no number.
    let loss = |row: &MetricsRow| row.critic_loss.unwrap_or(f64::NAN);
    let critic = |rows: &[MetricsRow]| median(rows.iter().map(loss));
    let (early, late) = (critic(&rows[..quarter]), critic(&rows[rows.len() - quarter..]));
    if late.is_nan() || late >= HUGE_LOSS {
        let loss = if late.is_finite() { short(late) } else { "no finite number".into() };
        Some(format!("The losses are out of scale: the critic's is {loss} a frame."))
    } else if late >= GROWN * early.max(f64::MIN_POSITIVE) && late >= 1.0 {
        let [early, late] = [early, late].map(short);
        Some(format!("The losses grow: the critic's rose from {early} to {late} a frame."))
    } else {
        None
    }
}

/// The critic knows less than a constant would.
fn blindness(rows: &[MetricsRow]) -> Option<String> {
    let late = &rows[rows.len() / 2..];
    let explained = median(late.iter().filter_map(|row| row.explained_variance));
    (explained < 0.0).then(|| {
        format!(
            "The explained variance is {}, below 0: the critic predicts returns worse than their mean would; see \
             `loss.baseline_cost` and `loss.reward_scale`.",
            short(explained)
        )
    })
}

/// The middle value; NaN where that is none.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, dotted};
    use crate::telemetry::Exit;

    /// The n-th of a hundred rows.
    type Change = fn(f64, &mut MetricsRow);

    /// A run that learns CartPole-v1, and whatever `change` makes of it; `share` of its rows is over.
    fn run(change: Change) -> (Vec<MetricsRow>, Summary) {
        let row = |k: u64| {
            let share = k as f64 / 99.0;
            let score = 22.0 + 478.0 * share;
            let mut row = MetricsRow {
                frames: (k + 1) * 10_000,
                updates: (k + 1) * 15,
                entropy: Some(0.69 - 0.5 * share),
                critic_loss: Some(1.0 + share),
                explained_variance: Some(0.9 * share),
                ..MetricsRow::default()
            };
            set_score(score, &mut row);
            change(share, &mut row);
            row
        };
        let rows: Vec<MetricsRow> = (0..100).map(row).collect();
        let best = rows.iter().filter_map(|row| row.score_last100).fold(f64::MIN, f64::max);
        let last = rows[99].clone();
        let summary = Summary {
            exit: Exit::Finished,
            frames: last.frames,
            updates: last.updates,
            score_last100: last.score_last100,
            score_threshold: Some(475.0),
            solved: best >= 475.0,
            ..Summary::default()
        };
        (rows, summary)
    }

    fn set_score(score: f64, row: &mut MetricsRow) {
        (row.score_min, row.score_max) = (Some(0.5 * score), Some(1.5 * score));
        (row.score_mean, row.score_last100) = (Some(score), Some(score));
    }

    /// What changes in a run, its course, and a phrase of the paragraph.
    #[rustfmt::skip]
    const COURSES: [(&str, Change, Course, &str); 14] = [
        ("solved", |_, _| (), Course::Solved, "It learned: the score rose from 22 to 500; 475 counts as solved."),
        ("solved without entropy", |_, row| row.entropy = Some(0.0), Course::Solved, "It learned"),
        ("rising", |share, row| set_score(22.0 + 150.0 * share, row), Course::Rising, "Look first at `frames`"),
        ("collapsed", |share, row| {
            set_score(22.0, row);
            row.entropy = Some(if share > 0.5 { 1e-5 } else { 0.5 });
        }, Course::Collapsed, "The entropy is 0 from frame 510,000 on"),
        ("collapsed", |_, row| { set_score(9.0, row); row.entropy = Some(0.0); }, Course::Collapsed, "`loss.entropy_cost.start`"),
        ("random", |_, row| set_score(22.0, row), Course::Random, "that of a random policy, which had 22"),
        ("up and down again, never far", |share, row| {
            set_score(if share > 0.3 && share < 0.4 { 70.0 } else { 21.0 + share }, row);
        }, Course::Random, "that of a random policy"),
        ("random and flat", |_, row| {
            set_score(-200.0, row);
            (row.score_min, row.score_max) = (Some(-200.0), Some(-200.0));
        }, Course::Random, "exploring has met no reward yet"),
        ("huge", |_, row| {
            set_score(9.0, row);
            (row.critic_loss, row.entropy) = (Some(1e19), Some(0.0));
        }, Course::OutOfScale, "the critic's is 1e19 a frame. The entropy is 0 from frame 10,000 on"),
        ("growing", |share, row| {
            set_score(22.0, row);
            row.critic_loss = Some(10f64.powf(5.0 * share));
        }, Course::OutOfScale, "The losses grow"),
        ("not finite", |_, row| { set_score(22.0, row); row.critic_loss = None; }, Course::OutOfScale, "no finite number"),
        ("lost", |share, row| set_score(if share < 0.6 { 500.0 * share / 0.6 } else { 30.0 }, row), Course::Lost,
            "It solved the task and lost it again: the score rose from 0 to 497 and fell to 30. Look first at `optimizer.learning_rate.end_fraction`"),
        ("still near the bottom, and better than at first", |share, row| set_score(15.0 + 45.0 * share, row), Course::Rising, "the score rose from 15 to 60"),
        ("blind", |_, row| { set_score(22.0, row); row.explained_variance = Some(-0.4); }, Course::Random, "explained variance is -0.4, below 0"),
    ];

    #[test]
    fn each_course_is_recognised_and_told() {
        for (name, change, course, phrase) in COURSES {
            let (rows, summary) = run(change);
            let learning = judge(&rows, &summary);
            assert_eq!(learning.course, course, "{name}: {learning}");
            assert!(learning.to_string().contains(phrase), "{name}: {phrase:?} not in {learning}");
            assert_eq!(learning.advice.is_empty(), course == Course::Solved, "{name}: {learning}");
        }
    }

    /// What is named to look at is there to be set.
    #[test]
    fn every_setting_that_is_named_exists() {
        let names = dotted(&toml::Table::try_from(Config::default()).unwrap());
        for (_, change, ..) in COURSES {
            let (rows, summary) = run(change);
            let text = judge(&rows, &summary).to_string();
            let code = text.split('`').skip(1).step_by(2);
            for name in code.filter(|code| !code.contains('/')) {
                assert!(names.contains_key(name), "{name} in {text}");
            }
        }
    }

    #[test]
    fn a_density_below_1_nat_is_no_collapse() {
        let (rows, mut summary) = run(|share, row| row.entropy = Some(0.9 - 2.0 * share));
        summary.solved = false;
        assert_eq!(judge(&rows, &summary).course, Course::Collapsed, "of probabilities it is");
        summary.real_actions = true;
        assert_eq!(judge(&rows, &summary).course, Course::Rising);
    }

    /// Pendulum-v1 for a few seconds.
    #[test]
    fn a_score_that_comes_and_goes_by_little_was_never_learned() {
        let score = |share: f64| if share < 0.5 { -1234.0 + 130.0 * share } else { -1200.0 };
        let (rows, mut summary) = run(|share, row| set_score(-1234.0 + 60.0 * share, row));
        summary.score_threshold = None;
        assert_eq!(judge(&rows, &summary).course, Course::Random);
        let mut rows = rows;
        rows.iter_mut().zip(0..).for_each(|(row, k)| set_score(score(k as f64 / 99.0), row));
        summary.score_last100 = Some(-1200.0);
        assert_eq!(judge(&rows, &summary).course, Course::Random);
    }

    #[test]
    fn what_nobody_calls_solved_is_not_unsolved_and_small_steps_need_not_be_smaller() {
        let (mut rows, mut summary) = run(|share, row| {
            set_score(if share < 0.9 { 22.0 + 150.0 * share } else { 140.0 }, row);
            row.learning_rate = 8e-3;
        });
        let advice = |rows: &[MetricsRow], summary: &Summary| judge(rows, summary).to_string();
        assert!(advice(&rows, &summary).contains("not solved the task"));
        assert!(advice(&rows, &summary).contains("end_fraction"));
        summary.score_threshold = None;
        rows[99].learning_rate = 8e-5;
        let told = advice(&rows, &summary);
        assert!(
            told.starts_with("It learned: the score rose from 22 to 140. Look first at `frames`"),
            "{told}"
        );
    }

    #[test]
    fn too_little_is_no_verdict() {
        let (rows, summary) = run(|_, _| ());
        assert_eq!(judge(&rows[..3], &summary).course, Course::Unknown);
        let (rows, summary) = run(|_, row| {
            (row.score_mean, row.score_last100) = (None, None);
        });
        assert_eq!(judge(&rows, &summary).course, Course::Unknown);
        assert!(!judge(&rows, &summary).is_failure());
    }
}
