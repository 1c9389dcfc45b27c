//! Processor time of one process, from `/proc`.

/// Kernel ticks a second; fixed for user space on Linux.
const TICKS_PER_S: f64 = 100.0;

/// Processor time of a process so far, s; `None` once it has ended.
pub fn cpu_s(pid: u32) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // After the command's closing parenthesis: field 3 on; utime and stime are fields 14 and 15.
    let mut fields = stat.rsplit(')').next()?.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS_PER_S)
}
