//! What the machine did besides the measured work.

use serde::Serialize;

use super::common::load_average;
use super::processor_time::{ProcessorTime, processor_time, stolen_percent};

/// How much the machine did besides the measured work.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Disturbance {
    /// Processor time that the hypervisor gave to other machines, % of all.
    pub steal_percent: f64,
    /// Processor time of processes other than those measured, % of all.
    pub others_percent: f64,
    /// Load average over a minute at the end, of all processes.
    pub load: f64,
}

impl Disturbance {
    /// Since `before`, while the measured processes had `measured_s` of processor time.
    pub fn since(before: ProcessorTime, measured_s: f64) -> Self {
        let now = processor_time();
        let passed = std::array::from_fn::<f64, 8, _>(|kind| now[kind] - before[kind]);
        let [user, nice, system, _, _, interrupts, soft_interrupts, _] = passed;
        let others_s = user + nice + system + interrupts + soft_interrupts - measured_s;
        Disturbance {
            steal_percent: stolen_percent(before),
            // Two clocks that tick ten milliseconds apart may disagree.
            others_percent: (100.0 * others_s / passed.iter().sum::<f64>()).max(0.0),
            load: load_average(),
        }
    }

    /// The largest of each.
    pub fn worst(several: impl IntoIterator<Item = Disturbance>) -> Self {
        let none = [f64::NAN; 3];
        let worst = several.into_iter().fold(none, |[steal, others, load], one| {
            [steal.max(one.steal_percent), others.max(one.others_percent), load.max(one.load)]
        });
        let [steal_percent, others_percent, load] = worst;
        Disturbance { steal_percent, others_percent, load }
    }

    /// One line for a table's foot.
    pub fn line(&self) -> String {
        let Disturbance { steal_percent, others_percent, load } = self;
        format!(
            "meanwhile at most: {steal_percent:.1} % of the processors stolen, {others_percent:.1} % \
             with other processes, load {load:.2}"
        )
    }
}
