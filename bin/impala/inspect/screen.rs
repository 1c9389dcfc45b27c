//! A running run as a screen, up to date until it ends or the user leaves.

use std::io;
use std::time::Duration;

use impala::live::{LiveRun, Snapshot};
use impala::report::read::RunData;
use impala::run_dir::RunDir;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::Line;
use ratatui::widgets::{Block, Borders, Row, Sparkline, Table};

use super::figures::{Figures, PROCESS_TITLES, STAGE_TITLES, count, resampled};
use super::plain;
use super::wishes::{Wish, Wishes, is_gone};

/// How often the screen is drawn again, and what its rates are over.
const REFRESH: Duration = Duration::from_millis(500);

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
        Leave::RunEnded => plain::print_ended(run),
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
    loop {
        let figures = Figures::of(live, &before, &now, &RunData::read(run));
        terminal.draw(|frame| draw(frame, &figures))?;
        match wishes.wait(REFRESH)? {
            Wish::Go => {}
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

fn draw(frame: &mut Frame, figures: &Figures) {
    let n_processes = figures.processes.len() as u16;
    let [head, processes, below, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(n_processes + 2),
        Constraint::Min(0),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(Line::from(figures.headline.as_str()).bold(), head);
    draw_processes(frame, processes, figures);
    let [stages, series] =
        Layout::horizontal([Constraint::Length(52), Constraint::Min(20)]).spacing(1).areas(below);
    draw_stages(frame, stages, figures);
    let [score, speed] = Layout::vertical([Constraint::Fill(1), Constraint::Fill(1)]).areas(series);
    draw_series(frame, score, "score, last 100", &figures.scores, Color::Green);
    draw_series(frame, speed, "frames/s", &figures.speeds, Color::Cyan);
    frame.render_widget(Line::from("q leaves; the run goes on").dim(), foot);
}

/// Columns as wide as what is in them, so that narrow terminals hold them all.
fn columns<const N: usize>(titles: &[&str; N], rows: &[[String; N]]) -> [Constraint; N] {
    std::array::from_fn(|column| {
        let cells = rows.iter().map(|row| row[column].as_str()).chain([titles[column]]);
        Constraint::Length(cells.map(|cell| cell.chars().count()).max().unwrap_or(0) as u16)
    })
}

fn draw_processes(frame: &mut Frame, area: Rect, figures: &Figures) {
    let widths = columns(&PROCESS_TITLES, &figures.processes);
    let rows = figures.processes.iter().map(|cells| Row::new(cells.iter().map(String::as_str)));
    let table = Table::new(rows, widths).header(Row::new(PROCESS_TITLES).dim());
    frame.render_widget(table.block(titled("processes and rings")), area);
}

fn draw_stages(frame: &mut Frame, area: Rect, figures: &Figures) {
    let widths = columns(&STAGE_TITLES, &figures.stages);
    let rows = figures.stages.iter().map(|cells| Row::new(cells.iter().map(String::as_str)));
    let table = Table::new(rows, widths).header(Row::new(STAGE_TITLES).dim());
    frame.render_widget(table.block(titled("stages since the start")), area);
}

fn draw_series(frame: &mut Frame, area: Rect, title: &str, values: &[f64], colour: Color) {
    let finite: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    let newest = finite.last().map_or("–".into(), |value| count_or_score(*value));
    let block = titled(format!("{title}: {newest}"));
    let shown = resampled(&finite, usize::from(block.inner(area).width));
    let min = shown.iter().copied().fold(f64::INFINITY, f64::min).min(0.0);
    let max = shown.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    // The widget takes whole numbers: a thousandth of the range is finer than a terminal shows.
    let scale = 1000.0 / (max - min).max(f64::MIN_POSITIVE);
    let heights = shown.iter().map(|value| ((value - min) * scale) as u64);
    let sparkline = Sparkline::default().data(heights).max(1000).style(Style::new().fg(colour));
    frame.render_widget(sparkline.block(block), area);
}

fn count_or_score(value: f64) -> String {
    if value.abs() < 1e4 { format!("{value:.1}") } else { count(value) }
}

fn titled<'a>(title: impl Into<Line<'a>>) -> Block<'a> {
    Block::new().borders(Borders::TOP).border_style(Style::new().dim()).title(title)
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;

    #[test]
    fn the_longest_cells_are_whole_at_80_columns() {
        let row = |name: &str, ring: &str| {
            [name, "4194304", "collecting", "9999 ms", "99.9 M", "100 %", "999", ring]
                .map(String::from)
        };
        let stage = ["actor_read_weights", "99999", "99999", "99999", "9999999"].map(String::from);
        let figures = Figures {
            headline: "CartPole-v1".into(),
            processes: vec![
                row("supervisor", ""),
                row("learner", "99.9 M updates"),
                row("actor 255", "■■■■ 4/4"),
            ],
            stages: vec![stage],
            scores: vec![1.0, 2.0],
            speeds: vec![4e6, 5e6],
        };
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
        terminal.draw(|frame| draw(frame, &figures)).unwrap();
        let drawn = terminal.backend().to_string();
        let cells = figures.processes.iter().flatten().chain(figures.stages.iter().flatten());
        let titles = PROCESS_TITLES.iter().chain(&STAGE_TITLES).copied();
        for text in cells.map(String::as_str).chain(titles) {
            assert!(drawn.contains(text), "no {text:?} in\n{drawn}");
        }
    }
}
