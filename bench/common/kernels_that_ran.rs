//! The kernels of several runs, in words.

/// Each name once: "avx512 and bf16".
pub fn kernels_that_ran<'a>(of_runs: impl IntoIterator<Item = &'a str>) -> String {
    let mut names: Vec<&str> = of_runs.into_iter().collect();
    names.sort_unstable();
    names.dedup();
    names.join(" and ")
}
