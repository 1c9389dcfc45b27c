//! How much memory a process takes, from `/proc`.
//!
//! Owns the reading of the kernel's figure. Does not know whose process it is. The supervisor asks.

use std::fs;

/// The process's proportional set size, bytes: pages that several processes share count in equal parts
/// for each, so that the sum over a run's processes is what the run takes of the machine. `None` once the
/// process has ended.
pub fn pss_bytes(pid: u32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_grows_by_what_is_touched() {
        let pid = std::process::id();
        let before = pss_bytes(pid).unwrap();
        let touched = vec![1u8; 128 << 20];
        let after = pss_bytes(pid).unwrap();
        assert!(touched.iter().all(|byte| *byte == 1));
        // Other tests of this process free and take memory meanwhile.
        assert!(after > before + (64 << 20), "{before} {after}");
        assert_eq!(pss_bytes(u32::MAX), None);
    }
}
