//! What a run did where its settings left that open: `auto`, or 0 threads.
//!
//! Owns which settings can be open. The tables of settings and the groups of runs that are compared ask.

use crate::telemetry::Summary;

/// Settings that can be open, by their dotted names, and what ran. An older summary does not tell of all.
pub fn resolved(summary: &Summary) -> impl Iterator<Item = (&'static str, String)> {
    let clip = summary.clip.map_or("none".to_owned(), |epsilon| epsilon.to_string());
    let ran = [
        ("learner", summary.learner.clone()),
        ("learner_threads", summary.learner_threads.to_string()),
        ("batch_threads", noted(summary.batch_threads)),
        ("kernels", summary.kernels.clone()),
        ("loss.clip", clip),
    ];
    ran.into_iter().filter(|(_, ran)| !ran.is_empty())
}

/// A number of threads; nothing where none was noted.
fn noted(n_threads: usize) -> String {
    if n_threads > 0 { n_threads.to_string() } else { String::new() }
}
