//! What several runs measured of one figure: their median, and from the lowest to the highest.
//!
//! Pure numbers and their text. Called by the parts of the report of many runs.

/// Median, lowest and highest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// Mean of the two in the middle where there is an even number.
    pub median: f64,
    /// Lowest.
    pub lo: f64,
    /// Highest.
    pub hi: f64,
}

impl Spread {
    /// None without values.
    pub fn of(mut values: Vec<f64>) -> Option<Spread> {
        values.sort_by(f64::total_cmp);
        let (lo, hi) = (*values.first()?, *values.last()?);
        let upper = values[values.len() / 2];
        let lower = values[(values.len() - 1) / 2];
        Some(Spread { median: (lower + upper) / 2.0, lo, hi })
    }

    /// From the lowest to the highest; none where they are one.
    pub fn range(&self, write: fn(f64) -> String) -> Option<String> {
        (self.lo < self.hi).then(|| format!("{} to {}", write(self.lo), write(self.hi)))
    }

    /// The median, and the range in brackets.
    pub fn text(&self, write: fn(f64) -> String) -> String {
        let median = write(self.median);
        self.range(write).map_or(median.clone(), |range| format!("{median} ({range})"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_lies_in_the_middle() {
        assert_eq!(Spread::of(vec![]), None);
        assert_eq!(Spread::of(vec![3.0]), Some(Spread { median: 3.0, lo: 3.0, hi: 3.0 }));
        assert_eq!(
            Spread::of(vec![9.0, 1.0, 2.0, 4.0]),
            Some(Spread { median: 3.0, lo: 1.0, hi: 9.0 })
        );
    }

    #[test]
    fn a_range_of_one_value_is_not_written() {
        let write = |value: f64| value.to_string();
        assert_eq!(Spread { median: 2.0, lo: 1.0, hi: 4.0 }.text(write), "2 (1 to 4)");
        assert_eq!(Spread { median: 2.0, lo: 2.0, hi: 2.0 }.text(write), "2");
    }
}
