//! A running run as a screen, up to date until it ends or the user leaves.

use std::io;
use std::time::Duration;

use impala::live::{LiveRun, Snapshot};
use impala::report::read::RunData;
use impala::run_dir::RunDir;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::Line;
use ratatui::widgets::{Block, Borders, Row, Sparkline, Table};

use super::figures::{Figures, PROCESS_TITLES, STAGE_TITLES, count, resampled};
use super::plain;

/// How often the screen is drawn again, and what its rates are over.
const REFRESH: Duration = Duration::from_millis(500);

/// Why the screen is left.
enum Leave {
    /// The user wants to.
    Asked,
    /// There is nothing more to see.
    RunEnded,
}

/// Shows the run until it ends, q, Escape or Ctrl-C is pressed, or a signal asks for it.
///
/// The terminal is put back on every way out: here, and by the hook that `try_init` sets for a panic.
/// Signals are read from a descriptor, so that they cannot end the process before that.
pub fn watch(run: &RunDir, live: &LiveRun) -> anyhow::Result<()> {
    let asked_to_end: SigSet =
        [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
    asked_to_end.thread_block()?;
    let signals =
        SignalFd::with_flags(&asked_to_end, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
    let terminal = ratatui::try_init()?;
    let left = show(terminal, run, live, &signals);
    ratatui::try_restore()?;
    match left? {
        Leave::Asked => Ok(()),
        Leave::RunEnded => plain::print_ended(run),
    }
}

fn show(
    mut terminal: ratatui::DefaultTerminal,
    run: &RunDir,
    live: &LiveRun,
    signals: &SignalFd,
) -> anyhow::Result<Leave> {
    let mut before = live.snapshot();
    let mut now = before.clone();
    loop {
        let figures = Figures::of(live, &before, &now, &RunData::read(run));
        terminal.draw(|frame| draw(frame, &figures))?;
        if wait_for_leave(signals)? {
            return Ok(Leave::Asked);
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

/// Waits until it is time to draw again; whether the user wants to leave. A new size ends the wait early.
fn wait_for_leave(signals: &SignalFd) -> io::Result<bool> {
    if event::poll(REFRESH)?
        && let Event::Key(key) = event::read()?
        && leaves(&key)
    {
        return Ok(true);
    }
    Ok(signals.read_signal()?.is_some())
}

fn leaves(key: &KeyEvent) -> bool {
    let is_ctrl_c = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    is_ctrl_c || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc)
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
        Layout::horizontal([Constraint::Length(54), Constraint::Min(20)]).areas(below);
    draw_stages(frame, stages, figures);
    let [score, speed] = Layout::vertical([Constraint::Fill(1), Constraint::Fill(1)]).areas(series);
    draw_series(frame, score, "score, last 100", &figures.scores, Color::Green);
    draw_series(frame, speed, "frames/s", &figures.speeds, Color::Cyan);
    frame.render_widget(Line::from("q leaves; the run goes on").dim(), foot);
}

fn draw_processes(frame: &mut Frame, area: Rect, figures: &Figures) {
    let widths = [10, 8, 10, 9, 9, 7, 10, 12].map(Constraint::Length);
    let rows = figures.processes.iter().map(|cells| Row::new(cells.iter().map(String::as_str)));
    let table = Table::new(rows, widths).header(Row::new(PROCESS_TITLES).dim());
    frame.render_widget(table.block(titled("processes and rings")), area);
}

fn draw_stages(frame: &mut Frame, area: Rect, figures: &Figures) {
    let widths = [20, 7, 7, 7, 9].map(Constraint::Length);
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
