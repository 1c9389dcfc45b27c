//! The interval that the benchmarks' tables give with the median of a ratio.

#[path = "../bench/common/interval.rs"]
mod interval;

use interval::median_interval;

#[test]
fn it_is_that_of_the_sign_test() {
    let numbers = |n: u32| Vec::from_iter((1..=n).map(f64::from));
    assert_eq!(median_interval(&numbers(1)), [1.0, 1.0]);
    assert_eq!(median_interval(&numbers(5)), [1.0, 5.0]);
    // Tables of the binomial distribution: of 8, at most 1 below or above 7.0 %; of 20, at most 5 4.1 %.
    assert_eq!(median_interval(&numbers(8)), [2.0, 7.0]);
    assert_eq!(median_interval(&numbers(20)), [6.0, 15.0]);
    assert!(median_interval(&[]).iter().all(|bound| bound.is_nan()));
}
