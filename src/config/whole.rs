//! Whole numbers as people write them: 2000000, 2_000_000, 2e6.
//!
//! Owns what counts as whole, and what is said of the rest. Called for assignments, and by the command line for its
//! flags.

use super::Config;
use super::setting::Allowed;

/// Why a text is no whole number that can be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotWhole {
    /// It is another number, or none.
    #[error("give a whole number, such as 2000000, 2_000_000 or 2e6")]
    Text,
    /// It is below the smallest.
    #[error("too small, at least {0}")]
    TooSmall(u64),
    /// It is above the largest.
    #[error("too large, at most {0}")]
    TooLarge(u64),
}

/// A whole number from the first to the second.
///
/// # Errors
/// What else it is.
pub fn whole_number<N: TryFrom<u64>>(text: &str, [low, high]: [u64; 2]) -> Result<N, NotWhole> {
    let digits = text.trim().replace('_', "");
    // The digits themselves where there are no others: an f64 holds fewer.
    let number = match digits.parse::<i128>() {
        Ok(number) => number,
        Err(_) => {
            let real: f64 = digits.parse().map_err(|_| NotWhole::Text)?;
            if real.fract() != 0.0 {
                return Err(NotWhole::Text);
            }
            real as i128
        }
    };
    match u64::try_from(number) {
        Ok(number) if number > high => Err(NotWhole::TooLarge(high)),
        Ok(number) if number >= low => N::try_from(number).map_err(|_| NotWhole::TooLarge(high)),
        Err(_) if number > 0 => Err(NotWhole::TooLarge(high)),
        _ => Err(NotWhole::TooSmall(low)),
    }
}

/// The same within the limits of a setting.
///
/// # Errors
/// As [`whole_number`].
///
/// # Panics
/// If there is no such setting of whole numbers.
pub fn whole_setting<N: TryFrom<u64>>(name: &str, text: &str) -> Result<N, NotWhole> {
    whole_number(text, limits(name).expect("flags stand for settings that there are"))
}

/// The smallest and the largest that a setting of whole numbers may be; `None` for another setting.
pub(super) fn limits(name: &str) -> Option<[u64; 2]> {
    let config = Config::default();
    let item = config.visited().into_iter().find(|item| item.path == name)?;
    match item.setting.allowed {
        Allowed::Integers(low, high, _) => Some([low, high]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_read_however_they_are_written() {
        let read = |text| whole_number::<u64>(text, [1, i64::MAX as u64]);
        for (text, number) in [
            ("1000000", 1_000_000),
            ("1_000_000", 1_000_000),
            ("1e6", 1_000_000),
            ("2.5e3", 2_500),
            ("9223372036854775807", i64::MAX as u64),
        ] {
            assert_eq!(read(text), Ok(number), "{text}");
        }
        for text in ["", "x", "1.5", "nan", "inf", "1e-3", "--5"] {
            assert_eq!(read(text), Err(NotWhole::Text), "{text}");
        }
        for text in ["0", "-5", "-1e30"] {
            assert_eq!(read(text), Err(NotWhole::TooSmall(1)), "{text}");
        }
        for text in ["9223372036854775808", "1e30", "99999999999999999999999999999999999999999"] {
            assert_eq!(read(text), Err(NotWhole::TooLarge(i64::MAX as u64)), "{text}");
        }
        assert_eq!(whole_number::<u8>("256", [0, 999]), Err(NotWhole::TooLarge(999)));
    }

    #[test]
    fn a_setting_has_limits_of_its_own() {
        assert_eq!(whole_setting("actors.count", "257"), Err::<usize, _>(NotWhole::TooLarge(256)));
        assert_eq!(whole_setting("actors.count", "2.56e2"), Ok(256_usize));
        assert_eq!(limits("loss.discount"), None);
    }
}
