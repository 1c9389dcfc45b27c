//! Which processes another one has started, from `/proc`.

/// Children of a process's first thread, zombies among them, oldest first; none where it has ended.
pub fn children(parent: u32) -> Vec<u32> {
    let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
    children.unwrap_or_default().split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}
