//! The finished report of a run: plots and one self-contained page, from the run's files alone.
//!
//! [`render`] reads a run folder (`read`), draws its plots (`plots`, as `chart`s of `axis` and
//! `points` in the colours of `palette`), judges what limited the run ([`bottleneck`]) and fills the
//! page (`html`). It may be called while a run runs, and after it was killed.

mod axis;
pub mod bottleneck;
mod chart;
mod html;
mod palette;
mod plots;
mod points;
pub(crate) mod read;
mod units;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::run_dir::RunDir;
use chart::Chart;
use plots::Section;
use read::RunData;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A file of the report cannot be written.
    #[error("cannot write {}: {source}; see whether you may write there and the disk has space", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A plot cannot be drawn.
    #[error(
        "cannot draw the plot {plot}: {reason}; this is a defect, please report it with the run folder"
    )]
    Draw {
        /// Name of the plot.
        plot: &'static str,
        /// What the drawing library says.
        reason: String,
    },
    /// The page cannot be filled.
    #[error("cannot fill the page: {0}; this is a defect, please report it with the run folder")]
    Page(#[from] askama::Error),
}

/// A plot that is drawn.
struct Figure {
    title: &'static str,
    caption: String,
    svg: String,
}

/// A section with its plots drawn.
struct DrawnSection {
    title: &'static str,
    intro: &'static str,
    figures: Vec<Figure>,
}

/// Writes `plots/*.svg` and `report.html` into the run folder; returns the path of the page.
///
/// Files of the run that are missing or broken are left out and named on the page.
///
/// # Errors
/// [`ReportError::Write`] where the folder cannot be written.
pub fn render(run: &RunDir) -> Result<PathBuf, ReportError> {
    let data = RunData::read(run);
    let plots = run.plots();
    fs::create_dir_all(&plots)
        .map_err(|source| ReportError::Write { path: plots.clone(), source })?;
    let sections = plots::sections(&data)
        .into_iter()
        .map(|section| draw_section(section, &plots))
        .collect::<Result<Vec<DrawnSection>, ReportError>>()?;
    let page = run.report();
    write(&page, &html::page(&data, &sections)?)?;
    Ok(page)
}

fn draw_section(section: Section, plots: &Path) -> Result<DrawnSection, ReportError> {
    let Section { title, intro, charts } = section;
    let figures =
        charts.into_iter().map(|chart| draw_figure(chart, plots)).collect::<Result<_, _>>()?;
    Ok(DrawnSection { title, intro, figures })
}

fn draw_figure(chart: Chart, plots: &Path) -> Result<Figure, ReportError> {
    let svg = chart::draw(&chart).map_err(|reason| ReportError::Draw { plot: chart.id, reason })?;
    write(&plots.join(chart.id).with_extension("svg"), &svg)?;
    Ok(Figure { title: chart.title, caption: chart.caption, svg })
}

fn write(path: &Path, text: &str) -> Result<(), ReportError> {
    fs::write(path, text).map_err(|source| ReportError::Write { path: path.to_owned(), source })
}
