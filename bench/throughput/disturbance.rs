//! What the machine did besides the measured work.

use serde::Serialize;

use super::common::load_average;

/// Time of all processors since the machine started, s, from `/proc/stat`.
#[derive(Clone, Copy, Debug)]
pub struct ProcessorTime {
    busy_s: f64,
    stolen_s: f64,
    all_s: f64,
}

/// Kernel ticks a second; fixed for user space on Linux.
pub const TICKS_PER_S: f64 = 100.0;

impl ProcessorTime {
    /// Until now; NaN where it cannot be read.
    pub fn now() -> Self {
        let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        let all_cores = text.lines().next().unwrap_or_default().split_whitespace().skip(1);
        let mut kinds = [f64::NAN; 8];
        for (kind, word) in kinds.iter_mut().zip(all_cores) {
            *kind = word.parse().map_or(f64::NAN, |ticks: f64| ticks / TICKS_PER_S);
        }
        // What follows in the line, guests' time, is part of the first two.
        let [user, nice, system, idle, io_wait, irq, soft_irq, stolen_s] = kinds;
        let busy_s = user + nice + system + irq + soft_irq;
        ProcessorTime { busy_s, stolen_s, all_s: busy_s + idle + io_wait + stolen_s }
    }
}

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
        let now = ProcessorTime::now();
        let percent = |seconds: f64| 100.0 * seconds / (now.all_s - before.all_s);
        Disturbance {
            steal_percent: percent(now.stolen_s - before.stolen_s),
            // Two clocks that tick ten milliseconds apart may disagree.
            others_percent: percent(now.busy_s - before.busy_s - measured_s).max(0.0),
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
