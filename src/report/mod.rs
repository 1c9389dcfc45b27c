//! The finished report: plots and one self-contained page, from the files of runs alone.
//!
//! [`render`] reads a run folder (`read`), draws its plots (`plots` of `series`, `stages` and `processes`,
//! as `chart`s of `axis` and `points` in the colours of `palette`), judges whether it learned
//! ([`learning`]) and what limited it ([`bottleneck`] with [`advice`], by its `shares` of time and cores and
//! how long its `loops` ran) and fills the page (`html`, with what was learned, the `task`, or `tasks`), as HTML and as
//! Markdown. It may be called while a run runs, and after it was killed. [`compare`] reads many (`compared`), groups them
//! (`groups` with `spread`), draws what they are compared by (`measures`) and fills a page of its own
//! (`comparison`).

pub mod advice;
mod axis;
pub mod bottleneck;
mod chart;
mod compared;
mod comparison;
mod facts;
mod groups;
mod html;
pub mod learning;
mod loops;
mod measures;
mod pace;
mod palette;
mod plots;
#[cfg(feature = "png")]
mod png;
mod points;
mod processes;
mod quantiles;
mod ranks;
pub mod read;
mod readout;
mod resolved;
mod series;
mod shares;
mod spread;
mod stage_table;
mod stages;
mod task;
mod tasks;
mod tiles;
mod waits;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::base::units;
use crate::run::dir::RunDir;
use chart::Chart;
use groups::Groups;
use html::Pages;
use read::RunData;
use series::{Plot, Section};

pub use groups::APART;

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
    /// A drawing cannot be turned into a PNG.
    #[cfg(feature = "png")]
    #[error(
        "cannot make a PNG of the plot {plot}: {reason}; this is a defect, please report it with the run folder"
    )]
    Picture {
        /// Name of the plot.
        plot: String,
        /// What the renderer says.
        reason: String,
    },
    /// The page cannot be filled.
    #[error("cannot fill the page: {0}; this is a defect, please report it with the run folder")]
    Page(#[from] askama::Error),
}

/// Which pictures are left beside the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pictures {
    /// SVG alone: quick, for the end of a training run.
    Svg,
    /// SVG and PNG (feature `png`).
    #[cfg(feature = "png")]
    SvgAndPng,
}

impl Pictures {
    /// All that this build can make.
    pub fn all() -> Pictures {
        #[cfg(feature = "png")]
        return Pictures::SvgAndPng;
        #[cfg(not(feature = "png"))]
        Pictures::Svg
    }
}

/// How far a report is with one of the things that take it time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// What goes on: reading, drawing.
    pub task: &'static str,
    /// What is counted.
    pub unit: &'static str,
    /// How many are done.
    pub done: u64,
    /// Of how many.
    pub total: u64,
}

/// Who is told of each [`Step`].
pub type Watch<'a> = &'a mut dyn FnMut(Step);

/// A plot that is drawn.
struct Figure {
    title: String,
    caption: String,
    views: Vec<View>,
}

/// One drawing of a plot.
struct View {
    /// What it is drawn over: `frames`, `seconds` or, where that is no part of a run, `fixed`.
    over: &'static str,
    /// Name of its files, without their ending.
    file: String,
    svg: String,
    /// The numbers in it, as JSON.
    readout: String,
}

/// A section with its plots drawn.
struct DrawnSection {
    title: &'static str,
    intro: &'static str,
    figures: Vec<Figure>,
}

/// Writes `plots/*`, `report.md` and `report.html` into the run folder; returns the path of the page.
///
/// Files of the run that are missing or broken are left out and named on the page.
///
/// # Errors
/// [`ReportError::Write`] where the folder cannot be written.
pub fn render(run: &RunDir, pictures: Pictures, watch: Watch) -> Result<PathBuf, ReportError> {
    let data = RunData::read(run);
    let sections = draw(plots::sections(&data), watch)?;
    write_report(run.path(), &html::pages(&data, &sections)?, &sections, pictures, watch)
}

/// Writes a report that compares runs into `folder`; returns the path of its page.
///
/// Runs are grouped by the settings in which they differ, the seed apart.
///
/// # Errors
/// [`ReportError::Write`] where the folder cannot be written.
pub fn compare(
    runs: &[RunDir],
    folder: &Path,
    pictures: Pictures,
    watch: Watch,
) -> Result<PathBuf, ReportError> {
    let groups = Groups::read(runs, folder, watch);
    let sections = draw(measures::sections(&groups), watch)?;
    write_report(folder, &comparison::pages(&groups, &sections)?, &sections, pictures, watch)
}

fn draw(sections: Vec<Section>, watch: Watch) -> Result<Vec<DrawnSection>, ReportError> {
    let total = sections.iter().map(|section| section.plots.len() as u64).sum();
    let mut done = 0;
    let mut draw_one = |plot| {
        let figure = draw_plot(plot)?;
        done += 1;
        watch(Step { task: "drawing", unit: "plots", done, total });
        Ok::<Figure, ReportError>(figure)
    };
    let drawn = sections.into_iter().map(|Section { title, intro, plots }| {
        let figures = plots.into_iter().map(&mut draw_one).collect::<Result<_, _>>()?;
        Ok(DrawnSection { title, intro, figures })
    });
    drawn.collect()
}

fn draw_plot(plot: Plot) -> Result<Figure, ReportError> {
    match plot {
        Plot::Fixed(chart) => {
            let views = vec![draw_view(&chart, "fixed", chart.id.to_owned())?];
            Ok(Figure { title: chart.title, caption: chart.caption, views })
        }
        Plot::Run { frames, seconds } => {
            let views = vec![
                draw_view(&frames, "frames", format!("{}_frames", frames.id))?,
                draw_view(&seconds, "seconds", format!("{}_seconds", seconds.id))?,
            ];
            Ok(Figure { title: frames.title, caption: frames.caption, views })
        }
    }
}

fn draw_view(chart: &Chart, over: &'static str, file: String) -> Result<View, ReportError> {
    let drawing =
        chart::draw(chart).map_err(|reason| ReportError::Draw { plot: chart.id, reason })?;
    let readout = readout::json(chart, &drawing);
    Ok(View { over, file, svg: drawing.svg, readout })
}

/// The pictures first: the page appears when all that it names is there.
fn write_report(
    folder: &Path,
    pages: &Pages,
    sections: &[DrawnSection],
    pictures: Pictures,
    #[cfg_attr(not(feature = "png"), expect(unused_variables))] watch: Watch,
) -> Result<PathBuf, ReportError> {
    let plots = folder.join("plots");
    fs::create_dir_all(&plots)
        .map_err(|source| ReportError::Write { path: plots.clone(), source })?;
    let views = || sections.iter().flat_map(|section| &section.figures).flat_map(|f| &f.views);
    for View { file, svg, .. } in views() {
        write(&plots.join(format!("{file}.svg")), svg.as_bytes())?;
    }
    match pictures {
        Pictures::Svg => {}
        #[cfg(feature = "png")]
        Pictures::SvgAndPng => write_pngs(&plots, &views().collect::<Vec<_>>(), watch)?,
    }
    write(&folder.join("report.md"), pages.markdown.as_bytes())?;
    let page = folder.join("report.html");
    write(&page, pages.html.as_bytes())?;
    Ok(page)
}

#[cfg(feature = "png")]
fn write_pngs(plots: &Path, views: &[&View], watch: Watch) -> Result<(), ReportError> {
    let rasterizer = png::Rasterizer::new();
    for (View { file, svg, .. }, done) in views.iter().zip(1..) {
        let png = rasterizer.png(svg);
        let png = png.map_err(|reason| ReportError::Picture { plot: file.clone(), reason })?;
        write(&plots.join(format!("{file}.png")), &png)?;
        watch(Step { task: "drawing", unit: "PNG pictures", done, total: views.len() as u64 });
    }
    Ok(())
}

fn write(path: &Path, content: &[u8]) -> Result<(), ReportError> {
    fs::write(path, content).map_err(|source| {
        // Half a page looks like a whole one until somebody scrolls down.
        let _ = fs::remove_file(path);
        ReportError::Write { path: path.to_owned(), source }
    })
}
