//! One run among those that a report compares.
//!
//! Owns how it is looked up: by setting, by moment, by link. Knows nothing of groups.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::points::is_drawable;
use super::read::RunData;
use super::resolved::resolved;
use super::series::{Column, Over};
use crate::config::dotted;
use crate::run::dir::RunDir;

/// A run read back.
pub struct Compared {
    /// What is known of it.
    pub data: RunData,
    /// Every setting by its dotted name.
    pub settings: BTreeMap<String, String>,
    /// From the comparison's page to the run's own.
    pub report: String,
}

impl Compared {
    /// Reads a run for a page that will lie in `folder`.
    pub fn read(run: &RunDir, folder: &Path) -> Compared {
        let data = RunData::read(run);
        let mut settings = dotted(&data.config);
        // Runs that did the same are of one group, however that was asked for.
        for (name, ran) in data.summary.as_ref().into_iter().flat_map(resolved) {
            settings.entry(name.to_owned()).and_modify(|stated| {
                let is_word = stated.starts_with('"') && ran.parse::<f64>().is_err();
                *stated = if is_word { format!("\"{ran}\"") } else { ran };
            });
        }
        let report = relative(&run.report(), folder).to_string_lossy().into_owned();
        Compared { data, settings, report }
    }

    /// Whether its score reached the environment's threshold.
    pub fn is_solved(&self) -> bool {
        self.data.summary.as_ref().is_some_and(|summary| summary.solved)
    }

    /// Where its last row lies.
    pub fn end(&self, over: Over) -> Option<f64> {
        self.data.rows.iter().map(|row| over.of(row)).rfind(|x| is_drawable(*x))
    }

    /// The newest value that had been measured at `x`.
    pub fn at(&self, column: Column, over: Over, x: f64) -> Option<f64> {
        let rows = &self.data.rows;
        let after = rows.partition_point(|row| over.of(row) <= x);
        let before = rows[..after].iter().rev().find_map(column);
        before.filter(|value| is_drawable(*value))
    }
}

/// The way from a folder to a file, if both can be found; else the file as it is.
fn relative(file: &Path, folder: &Path) -> PathBuf {
    let Ok(folder) = folder.canonicalize() else {
        return file.to_owned();
    };
    let shared = file.components().zip(folder.components()).take_while(|(a, b)| a == b).count();
    let up = folder.components().skip(shared).map(|_| Path::new(".."));
    let down = file.components().skip(shared).map(|part| Path::new(part.as_os_str()));
    up.chain(down).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_from_the_page_to_the_runs() {
        let here = std::env::current_dir().unwrap().canonicalize().unwrap();
        let link = |file: &str, folder: &str| relative(&here.join(file), &here.join(folder));
        assert_eq!(link("src/a/report.html", "src"), Path::new("a/report.html"));
        assert_eq!(link("tests/report.html", "src"), Path::new("../tests/report.html"));
    }
}
