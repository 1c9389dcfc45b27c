//! Whether numbers are numbers.

/// Whether no value is NaN or infinite. A product with zero is zero for numbers and NaN for the others,
/// and a sum of those takes a vector of values at a time.
pub fn all_finite(values: &[f32]) -> bool {
    let (chunks, rest) = values.as_chunks::<16>();
    let mut partial = [0.0_f32; 16];
    for chunk in chunks {
        for (sum, value) in partial.iter_mut().zip(chunk) {
            *sum += value * 0.0;
        }
    }
    partial.iter().sum::<f32>() + rest.iter().map(|value| value * 0.0).sum::<f32>() == 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bad_value_anywhere_is_found() {
        for len in [1, 15, 16, 17, 100] {
            let mut values = vec![f32::MAX; len];
            assert!(all_finite(&values));
            for place in 0..len {
                for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                    values[place] = bad;
                    assert!(!all_finite(&values), "{bad} at {place} of {len}");
                }
                values[place] = -f32::MIN_POSITIVE;
            }
        }
        assert!(all_finite(&[]));
    }
}
