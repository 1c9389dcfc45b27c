//! Several tasks of one run: a curve each, and a table of what each came to.
//!
//! Owns their order, colours and words. Draws nothing and reads no file; plots and page ask for it, and get nothing of
//! a run of one task.

use super::axis::Scale;
use super::chart::{Layer, Mark, Panel};
use super::palette::{Colour, SERIES};
use super::points::curve;
use super::read::RunData;
use super::series::{Over, Plot, Section, over_run};
use super::units::{DASH, grouped, percent, short};
use crate::telemetry::{Summary, TaskRow, TaskSummary};

/// The section with the plots.
pub fn section(run: &RunData) -> Option<Section> {
    (!run.task_rows.is_empty()).then(|| Section {
        title: "How did each task do?",
        intro: "One network learned several tasks. Their scores have no common scale, so each has a panel.",
        plots: [scores(run)].into_iter().chain(deviations(run)).collect(),
    })
}

/// A panel a task: their scores have no common scale.
fn scores(run: &RunData) -> Plot {
    let caption = "Look for lines that rise, each. One that stays low while another rises says that the other has \
                   taken the network over: see loss.popart and loss.task_reward_scales.";
    over_run(&run.rows, ("task_scores", "Score of each task", caption), |over| {
        let tasks = ids(run).into_iter().zip(SERIES.iter().cycle());
        let panel = |(task, colour): (&str, &Colour)| {
            let of = |column: fn(&TaskRow) -> Option<f64>| line(run, over, task, column);
            let layers = vec![
                Layer::new("interval mean", Colour::Muted, of(|row| row.score_mean)),
                Layer::new(task, *colour, of(|row| row.score_last100)),
            ];
            Panel::fit(task, Scale::FromZero, layers)
        };
        tasks.map(panel).collect()
    })
}

/// Where there is PopArt.
fn deviations(run: &RunData) -> Option<Plot> {
    let caption = "In units of it the critic predicts a task's returns, and advantages are divided by it. Look for \
                   lines that level off: the statistics then keep up with the returns.";
    let is_measured = run.task_rows.iter().any(|row| row.value_std.is_some());
    let build = |over| {
        let tasks = ids(run).into_iter().zip(SERIES.iter().cycle());
        let layer = |(task, colour): (&str, &Colour)| {
            Layer::new(task, *colour, line(run, over, task, |row| row.value_std))
        };
        vec![Panel::fit("deviation of the targets", Scale::Log, tasks.map(layer).collect())]
    };
    let words = ("task_deviations", "Deviation of each task's targets", caption);
    is_measured.then(|| over_run(&run.rows, words, build))
}

/// In the order in which they first appear.
fn ids(run: &RunData) -> Vec<&str> {
    let mut ids: Vec<&str> = Vec::new();
    for row in &run.task_rows {
        if !ids.contains(&&*row.task) {
            ids.push(&row.task);
        }
    }
    ids
}

fn line(run: &RunData, over: Over, task: &str, column: fn(&TaskRow) -> Option<f64>) -> Mark {
    let rows = run.task_rows.iter().filter(|row| row.task == task);
    Mark::Line(curve(rows.filter_map(|row| Some((over.of_task(row), column(row)?)))))
}

/// What each task came to.
pub struct TaskTable {
    /// The mean over all of them, in a sentence.
    pub verdict: String,
    /// Names of the columns.
    pub titles: [&'static str; 6],
    /// A row a task.
    pub rows: Vec<[String; 6]>,
}

impl TaskTable {
    /// That of a run of several tasks; `None` of one.
    pub fn of(summary: &Summary) -> Option<TaskTable> {
        (!summary.tasks.is_empty()).then(|| TaskTable {
            verdict: verdict(summary),
            titles: [
                "task",
                "frames",
                "episodes",
                "last 100 episodes",
                "of a run on it alone",
                "greedy score",
            ],
            rows: summary.tasks.iter().map(row).collect(),
        })
    }
}

fn row(task: &TaskSummary) -> [String; 6] {
    let known =
        |value: Option<f64>, write: fn(f64) -> String| value.map_or_else(|| DASH.to_owned(), write);
    let greedy = task.eval.map(|eval| format!("{}{}", short(eval.mean), eval.remark()));
    [
        task.task.clone(),
        grouped(task.frames),
        grouped(task.episodes),
        known(task.score_last100, short),
        known(task.normalized_score, percent),
        greedy.unwrap_or_else(|| DASH.to_owned()),
    ]
}

/// Where 0 is what random actions score, and 100 % what the preset of a task alone scores.
fn verdict(summary: &Summary) -> String {
    match summary.normalized_score {
        Some(mean) => format!(
            "Between random actions (0 %) and a run on each task alone (100 %), the mean of the {} tasks is {}.",
            summary.tasks.len(),
            percent(mean)
        ),
        None => "Scores of these tasks have no common scale: of one of them at least nobody has said what random \
                 actions and a run on it alone score."
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> RunData {
        let row = |frames, task: &str, score| TaskRow {
            time_s: frames as f64 / 100.0,
            frames,
            task: task.into(),
            score_last100: Some(score),
            ..TaskRow::default()
        };
        let task_rows = vec![row(10, "B-v0", 1.0), row(10, "A-v0", 90.0), row(20, "B-v0", 2.0)];
        RunData { task_rows, ..RunData::default() }
    }

    #[test]
    fn each_task_has_a_panel_of_its_own_and_deviations_only_where_there_are_some() {
        let mut run = run();
        let plots = |run: &RunData| section(run).unwrap().plots;
        let found = plots(&run);
        assert_eq!(found.len(), 1);
        let Plot::Run { frames, .. } = &found[0] else { panic!("it is over the run") };
        assert_eq!(frames.panels.len(), 2);
        let Mark::Line(points) = &frames.panels[0].layers[1].mark else { panic!("a line") };
        assert_eq!(points, &[(10.0, 1.0), (20.0, 2.0)]);
        run.task_rows[0].value_std = Some(3.0);
        assert_eq!(plots(&run).len(), 2);
        assert!(section(&RunData::default()).is_none());
    }

    #[test]
    fn a_table_says_the_mean_where_there_is_one() {
        let task = |normalized_score| TaskSummary {
            task: "A-v0".into(),
            normalized_score,
            score_last100: Some(12.0),
            ..TaskSummary::default()
        };
        let of = |tasks, normalized_score| {
            TaskTable::of(&Summary { tasks, normalized_score, ..Summary::default() })
        };
        let table = of(vec![task(Some(0.4)), task(Some(0.6))], Some(0.5)).unwrap();
        assert!(table.verdict.contains("of the 2 tasks is 50"), "{}", table.verdict);
        assert_eq!((table.rows.len(), &*table.rows[0][3]), (2, "12"));
        let table = of(vec![task(None)], None).unwrap();
        assert!(table.verdict.contains("no common scale") && table.rows[0][4] == DASH);
        assert!(of(Vec::new(), None).is_none());
    }
}
