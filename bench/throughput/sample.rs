//! Figures: those of one short run, and what several say together.

use serde::Serialize;

use super::disturbance::Disturbance;
use super::figure::figure;
use super::statistics::median;

/// What one short run showed.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Consumed by learning.
    pub m_frames_per_s: f64,
    pub cpu_s_per_m_frames: f64,
    /// Of all processes, the largest of several looks.
    pub pss_mb: f64,
    /// Mean over the slots learned from, updates.
    pub policy_lag: f64,
    pub disturbance: Disturbance,
}

/// Measurements of one quantity.
#[derive(Clone, Debug, Serialize)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
    /// In the order in which they were measured.
    pub values: Vec<f64>,
}

impl Spread {
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let values = Vec::from_iter(values);
        let fold = |better: fn(f64, f64) -> f64| values.iter().copied().fold(f64::NAN, better);
        Spread { median: median(&values), min: fold(f64::min), max: fold(f64::max), values }
    }

    /// `min – max`.
    pub fn range(&self) -> String {
        format!("{} – {}", figure(self.min), figure(self.max))
    }
}
