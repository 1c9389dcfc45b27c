//! What all processors did with their time, from `/proc/stat`.

/// Kernel ticks a second; fixed for user space on Linux.
const TICKS_PER_S: f64 = 100.0;

/// Seconds since the machine started, of all processors: user, nice, system, idle, waiting for disks,
/// interrupts, soft interrupts, stolen by the hypervisor. NaN where it cannot be read.
pub type ProcessorTime = [f64; 8];

/// Until now.
pub fn processor_time() -> ProcessorTime {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    // What follows in the line, guests' time, is part of the first two.
    let all_cores = text.lines().next().unwrap_or_default().split_whitespace().skip(1);
    let mut kinds = [f64::NAN; 8];
    for (kind, word) in kinds.iter_mut().zip(all_cores) {
        *kind = word.parse().map_or(f64::NAN, |ticks: f64| ticks / TICKS_PER_S);
    }
    kinds
}

/// Time since then that the hypervisor gave to other machines, % of all.
pub fn stolen_percent(since: ProcessorTime) -> f64 {
    let now = processor_time();
    let passed: f64 = now.iter().zip(since).map(|(now, since)| now - since).sum();
    100.0 * (now[7] - since[7]) / passed
}
