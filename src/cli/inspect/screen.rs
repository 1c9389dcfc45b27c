//! A running run as a screen, up to date until it ends or the user leaves.

use std::io;
use std::time::Duration;

use crate::report::read::RunData;
use crate::revisit::live::{LiveRun, Snapshot};
use crate::run::dir::RunDir;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::Line;
use ratatui::widgets::{Block, Borders, Paragraph, Row, Sparkline, Table};

use super::figures::{
    Figures, NONE_YET, PROCESS_TITLES, STAGE_TITLES, Scores, beginning, count, resampled,
};
use super::plain;
use super::wishes::{Wish, Wishes, is_gone};

/// How often the screen is drawn again, and what its rates are over.
const REFRESH: Duration = Duration::from_millis(500);

/// Stands for the columns that a terminal is too narrow for.
const MARK: &str = "…";

/// Lines of a table beside its rows.
const TITLE_LINES: u16 = 2;

/// Columns of the table of stages.
const STAGE_COLUMNS: u16 = 46;

/// Columns that a series needs.
const SERIES_COLUMNS: u16 = 20;

/// Why the screen is left.
enum Leave {
    /// The user wants to.
    Asked,
    /// There is nothing more to see.
    RunEnded,
    /// There is nothing more to show it on.
    TerminalGone,
}

/// Shows the run until it ends, q, Escape or Ctrl-C is pressed, a signal asks for it, or the terminal is gone.
///
/// The terminal is put back on every way out: here, and by the hook that `try_init` sets for a panic.
pub fn watch(run: &RunDir, live: &LiveRun) -> anyhow::Result<()> {
    let mut wishes = Wishes::listen()?;
    let mut terminal = ratatui::try_init()?;
    let left = match show(&mut terminal, run, live, &mut wishes) {
        Err(error) if is_gone(&error) => Ok(Leave::TerminalGone),
        left => left,
    };
    if matches!(left, Ok(Leave::TerminalGone)) {
        // Dropped, it would write to what is gone, and panic for want of a place to say that it cannot.
        std::mem::forget(terminal);
        return Ok(());
    }
    drop(terminal);
    ratatui::try_restore()?;
    match left? {
        Leave::RunEnded => plain::print_end(run),
        Leave::Asked | Leave::TerminalGone => Ok(()),
    }
}

fn show(
    terminal: &mut ratatui::DefaultTerminal,
    run: &RunDir,
    live: &LiveRun,
    wishes: &mut Wishes,
) -> io::Result<Leave> {
    let mut before = live.snapshot();
    let mut now = before.clone();
    let mut first_row = 0;
    loop {
        let figures = Figures::of(live, &before, &now, &RunData::read(run));
        terminal.draw(|frame| first_row = draw(frame, &figures, first_row))?;
        match wishes.wait(REFRESH)? {
            Wish::Go => {}
            Wish::Scroll(n_lines) => first_row = first_row.saturating_add_signed(n_lines as isize),
            Wish::Leave => return Ok(Leave::Asked),
            Wish::Gone => return Ok(Leave::TerminalGone),
        }
        if !live.is_running() {
            return Ok(Leave::RunEnded);
        }
        (before, now) = advanced(before, now, live.snapshot());
    }
}

/// Rates are over a whole interval: a screen that is drawn again early keeps the older beginning.
fn advanced(before: Snapshot, now: Snapshot, next: Snapshot) -> (Snapshot, Snapshot) {
    let is_whole = now.taken_ns - before.taken_ns >= REFRESH.as_nanos() as u64 / 2;
    if is_whole || now == before { (now, next) } else { (before, next) }
}

/// Draws all, the processes from the `first_row`-th on; returns from which on they were drawn, as the last ones
/// stay at the bottom.
fn draw(frame: &mut Frame, figures: &Figures, first_row: usize) -> usize {
    let stage_lines = figures.stages.len() as u16 + TITLE_LINES;
    let room = frame.area().height.saturating_sub(2);
    // What does not fit is left out of both tables, half of the room at least being the stages'.
    let process_lines = (figures.processes.len() as u16 + TITLE_LINES)
        .min(room.saturating_sub(stage_lines).max(room / 2));
    let [head, processes, below, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(process_lines),
        Constraint::Min(0),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let headline = figures.headline.within(usize::from(head.width));
    frame.render_widget(Line::from(headline).bold(), head);
    let first_row = first_row.min(n_hidden(figures.processes.len(), processes));
    draw_processes(frame, processes, figures, first_row);
    let [stages, series] = sides(below);
    let n_hidden_stages = draw_stages(frame, stages, figures);
    draw_both_series(frame, series, figures);
    let scrolls =
        if n_hidden(figures.processes.len(), processes) > 0 { "; ↑ ↓ scroll" } else { "" };
    let hidden = if n_hidden_stages > 0 { "; a higher terminal shows all stages" } else { "" };
    let keys = format!("q leaves, the run goes on{scrolls}{hidden}");
    let keys = beginning(&keys, usize::from(foot.width));
    frame.render_widget(Line::from(keys).dim(), foot);
    first_row
}

/// The places of stages and series; that of the series is empty where both have no room side by side.
fn sides(area: Rect) -> [Rect; 2] {
    if area.width < STAGE_COLUMNS + 1 + SERIES_COLUMNS {
        return [area, Rect { width: 0, ..area }];
    }
    let sides = [Constraint::Length(STAGE_COLUMNS), Constraint::Min(SERIES_COLUMNS)];
    Layout::horizontal(sides).spacing(1).areas(area)
}

fn draw_both_series(frame: &mut Frame, area: Rect, figures: &Figures) {
    let [above, below] = Layout::vertical([Constraint::Fill(1), Constraint::Fill(1)]).areas(area);
    let Scores { title, values, write } = &figures.scores;
    draw_series(frame, above, (title, *write), values, Color::Green);
    draw_series(frame, below, ("frames/s", count), &figures.speeds, Color::Cyan);
}

/// Columns as wide as what is in them, so that narrow terminals hold many.
fn columns<const N: usize>(titles: &[&str; N], rows: &[&[String; N]]) -> [usize; N] {
    std::array::from_fn(|column| {
        let cells = rows.iter().map(|row| row[column].as_str()).chain([titles[column]]);
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    })
}

/// How many columns of these widths have room, with one between two of them, and a mark behind them where not all have.
fn n_whole(widths: &[usize], room: usize) -> usize {
    let width_of = |n_columns: usize| {
        let mark = if n_columns < widths.len() { MARK.chars().count() + 1 } else { 0 };
        widths[..n_columns].iter().sum::<usize>() + n_columns.saturating_sub(1) + mark
    };
    (1..=widths.len()).rev().find(|n_columns| width_of(*n_columns) <= room).unwrap_or(1)
}

/// As many processes as fit, from the `first_row`-th on.
fn draw_processes(frame: &mut Frame, area: Rect, figures: &Figures, first_row: usize) {
    let n_processes = figures.processes.len();
    let n_hidden = n_hidden(n_processes, area);
    let n_shown = n_processes - n_hidden;
    let shown: Vec<_> = figures.processes.iter().skip(first_row).take(n_shown).collect();
    let title = match n_hidden {
        0 => "processes and rings".into(),
        _ => {
            let (from, to) = (first_row + 1, first_row + n_shown);
            format!("processes and rings, {from} to {to} of {n_processes}")
        }
    };
    draw_table(frame, area, title, PROCESS_TITLES, &shown);
}

/// The stages that fit, without those that took the least time in all; returns how many do not.
fn draw_stages(frame: &mut Frame, area: Rect, figures: &Figures) -> usize {
    let n_hidden = n_hidden(figures.stages.len(), area);
    let mut totals: Vec<f64> = figures.stages.iter().map(|stage| stage.total_us).collect();
    totals.sort_by(f64::total_cmp);
    let least = totals.get(n_hidden).copied().unwrap_or(f64::INFINITY);
    let shown = figures.stages.iter().filter(|stage| stage.total_us >= least);
    let shown: Vec<_> = shown.map(|stage| &stage.cells).collect();
    let title = match n_hidden {
        0 => "stages since the start".into(),
        _ => format!("stages since the start, {n_hidden} small hidden"),
    };
    draw_table(frame, area, title, STAGE_TITLES, &shown);
    n_hidden
}

fn n_hidden(n_rows: usize, area: Rect) -> usize {
    n_rows.saturating_sub(usize::from(area.height.saturating_sub(TITLE_LINES)))
}

fn draw_table<const N: usize>(
    frame: &mut Frame,
    area: Rect,
    title: String,
    titles: [&str; N],
    rows: &[&[String; N]],
) {
    let widths = columns(&titles, rows);
    // A number that is cut reads as another number: a column is whole, or not there.
    let n_shown = n_whole(&widths, usize::from(area.width));
    let mark = (n_shown < N).then_some(MARK);
    let rows = rows.iter().map(|cells| Row::new(cells[..n_shown].iter().map(String::as_str)));
    let titles = titles[..n_shown].iter().copied().chain(mark);
    let widths = widths[..n_shown].iter().copied().chain(mark.map(|mark| mark.chars().count()));
    let table = Table::new(rows, widths.map(|width| Constraint::Length(width as u16)));
    let title = beginning(&title, usize::from(area.width));
    frame.render_widget(table.header(Row::new(titles).dim()).block(titled(title)), area);
}

/// A series under its title and its newest value, in the words of `write`.
fn draw_series(
    frame: &mut Frame,
    area: Rect,
    (title, write): (&str, fn(f64) -> String),
    values: &[f64],
    colour: Color,
) {
    let finite: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    let Some(newest) = finite.last() else {
        frame.render_widget(Paragraph::new(NONE_YET).dim().block(titled(title)), area);
        return;
    };
    let block = titled(format!("{title}: {}", write(*newest)));
    let shown = resampled(&finite, usize::from(block.inner(area).width));
    let min = shown.iter().copied().fold(f64::INFINITY, f64::min).min(0.0);
    let max = shown.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    // The widget takes whole numbers: a thousandth of the range is finer than a terminal shows.
    let scale = 1000.0 / (max - min).max(f64::MIN_POSITIVE);
    let heights = shown.iter().map(|value| ((value - min) * scale) as u64);
    let sparkline = Sparkline::default().data(heights).max(1000).style(Style::new().fg(colour));
    frame.render_widget(sparkline.block(block), area);
}

fn titled<'a>(title: impl Into<Line<'a>>) -> Block<'a> {
    Block::new().borders(Borders::TOP).border_style(Style::new().dim()).title(title)
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use crate::base::stages::Stage;
    use crate::base::units::score;

    use super::super::figures::{Headline, StageRow};
    use super::*;

    /// Figures of the widest cells: of so many processes and of these stages, each longer than the one before.
    fn widest(n_processes: usize, stages: &[&str]) -> Figures {
        let process = |k| {
            let name = if k == 0 { "supervisor".into() } else { format!("actor {k}") };
            let shares = ["100 %", "100 %"];
            [&name, "4194304", "collecting", "9999 ms", "99.9 M", shares[0], shares[1], "999"]
                .map(String::from)
        };
        let stage = |(k, name): (usize, &&str)| StageRow {
            cells: [name, "99999", "99999", "99999", "9999999"].map(String::from),
            total_us: k as f64,
        };
        Figures {
            headline: Headline {
                env: "SomebodysVeryOwnEnvironmentWithALongName-v0".into(),
                rest: "99.9 G of 99.9 G frames (100 %) after 99999.9 s, score -9999.9".into(),
            },
            processes: (0..n_processes)
                .map(process)
                .map(|[name, pid, phase, beat, frames, waits, without_core, died]| {
                    let ring = "99.9 M updates".into();
                    [name, pid, phase, beat, frames, waits, without_core, died, ring]
                })
                .collect(),
            stages: stages.iter().enumerate().map(stage).collect(),
            scores: Scores { title: "score, last 100", values: vec![], write: score },
            speeds: vec![4e6, 5e6],
        }
    }

    fn drawn(figures: &Figures) -> String {
        drawn_from(figures, 0).0
    }

    /// What is drawn from this row on, and the row from which on it really is.
    fn drawn_from(figures: &Figures, first_row: usize) -> (String, usize) {
        drawn_at(80, figures, first_row)
    }

    /// The same on a terminal of so many columns.
    fn drawn_at(n_columns: u16, figures: &Figures, first_row: usize) -> (String, usize) {
        let mut terminal = Terminal::new(TestBackend::new(n_columns, 24)).unwrap();
        let mut drawn_row = 0;
        terminal.draw(|frame| drawn_row = draw(frame, figures, first_row)).unwrap();
        (terminal.backend().to_string(), drawn_row)
    }

    #[test]
    fn the_longest_cells_are_whole_at_80_columns() {
        let figures = widest(256, &["actor_read_weights"]);
        let drawn = drawn(&figures);
        let cells = figures.processes[0].iter().chain(&figures.stages[0].cells);
        let titles = PROCESS_TITLES.iter().chain(&STAGE_TITLES).copied();
        for text in cells.map(String::as_str).chain(titles).chain([NONE_YET, "frames/s: 5.00 M"]) {
            assert!(drawn.contains(text), "no {text:?} in\n{drawn}");
        }
    }

    #[test]
    fn a_column_that_a_narrow_terminal_has_no_room_for_is_marked_and_not_cut() {
        let figures = widest(6, &["actor_read_weights"]);
        let all = figures.processes.iter().map(|row| &row[..]);
        let words: Vec<&str> = all
            .chain(figures.stages.iter().map(|stage| &stage.cells[..]))
            .flatten()
            .flat_map(|cell| cell.split_whitespace())
            .chain(PROCESS_TITLES.iter().chain(&STAGE_TITLES).flat_map(|title| title.split(' ')))
            .chain(["│", "│", MARK, "\"", "processes", "and", "rings", "since", "the", "start"])
            .collect();
        for n_columns in 24..80 {
            let (drawn, _) = drawn_at(n_columns, &figures, 0);
            let lines: Vec<&str> = drawn.lines().collect();
            let has_rest = lines[0].contains(&figures.headline.rest);
            assert!(has_rest || lines[0].contains(MARK), "{drawn}");
            assert!(n_columns < 40 || drawn.contains("4194304"), "{drawn}");
            for line in lines[2..9].iter().chain(&lines[10..12]) {
                for word in line.split(|c: char| c == '"' || c == '─' || c.is_whitespace()) {
                    let is_whole = word.is_empty() || words.contains(&word);
                    assert!(is_whole || n_columns >= 67, "{word:?} at {n_columns} in\n{drawn}");
                }
            }
        }
    }

    #[test]
    fn of_a_long_name_the_beginning_is_shown_and_the_rest_of_the_line_is_whole() {
        let mut figures = widest(6, &[]);
        let drawn_whole = |figures: &Figures| {
            let Headline { env, rest } = &figures.headline;
            drawn(figures).contains(&format!("{env}: {rest}"))
        };
        let narrow = drawn(&figures);
        let line = format!("SomebodysVeryOw…: {}", figures.headline.rest);
        assert!(narrow.contains(&line), "no {line:?} in\n{narrow}");
        assert!(!drawn_whole(&figures));
        figures.headline.env = "Somebodys-v0".into();
        assert!(drawn_whole(&figures));
    }

    #[test]
    fn what_a_terminal_is_too_low_for_is_said_and_is_the_smallest() {
        let tags = Stage::ALL.map(Stage::tag);
        let few = drawn(&widest(6, &tags));
        let n_hidden = tags.len() - 12;
        let said = format!("{n_hidden} small hidden");
        for text in ["actor 5", &said, "shows all stages"].iter().chain(&tags[n_hidden..]) {
            assert!(few.contains(text), "no {text:?} in\n{few}");
        }
        assert!(!few.contains(tags[1]), "{few}");
        let many = drawn(&widest(40, &tags));
        for text in ["actor 8 ", "1 to 9 of 40", "↑ ↓ scroll", tags[tags.len() - 1]] {
            assert!(many.contains(text), "no {text:?} in\n{many}");
        }
        let all = drawn(&widest(6, &tags[..12]));
        assert!(!all.contains("hidden") && !all.contains("scroll"), "{all}");
    }

    #[test]
    fn what_forty_actors_do_can_be_scrolled_to() {
        let figures = widest(42, &Stage::ALL.map(Stage::tag));
        let (lower, row) = drawn_from(&figures, 20);
        assert!(lower.contains("21 to 29 of 42") && lower.contains("actor 20 "), "{lower}");
        assert!(row == 20 && !lower.contains("supervisor"), "{lower}");
        let (end, row) = drawn_from(&figures, usize::MAX);
        assert!(end.contains("34 to 42 of 42") && end.contains("actor 41 "), "{end}");
        assert_eq!(row, 33, "one step up from the end is one row up");
    }
}
