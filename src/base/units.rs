//! Numbers as a person reads them: few digits, a unit, and a dash for what was not measured.
//!
//! Number and unit are joined by a no-break space, so that no line ends between them.
//! Pure functions from numbers to text. Used by the pages and their plots, by messages and by the terminal.

/// What stands for a value that is absent or not finite.
pub const DASH: &str = "–";

/// Three significant digits with k, M or G: `186k`, `2.74M`, `0.00123`.
pub fn short(value: f64) -> String {
    if !value.is_finite() {
        return DASH.to_owned();
    }
    let magnitude = value.abs();
    match magnitude {
        1e15.. => scientific(value, 2),
        999.5e6.. => three_digits(value / 1e9) + "G",
        999.5e3.. => three_digits(value / 1e6) + "M",
        9_999.5.. => three_digits(value / 1e3) + "k",
        _ if magnitude > 0.0 && magnitude < 1e-3 => scientific(value, 2),
        _ => three_digits(value),
    }
}

/// All digits in groups of three: `186,240`.
pub fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A duration: `83 ms`, `12.3 s`, `2 min 05 s`, `1 h 02 min`.
pub fn seconds(value: f64) -> String {
    if !value.is_finite() {
        return DASH.to_owned();
    }
    let whole = value.round() as u64;
    match value {
        3_599.5.. => format!("{}\u{a0}h\u{a0}{:02}\u{a0}min", whole / 3600, whole % 3600 / 60),
        99.95.. => format!("{}\u{a0}min\u{a0}{:02}\u{a0}s", whole / 60, whole % 60),
        0.9995.. => three_digits(value) + "\u{a0}s",
        _ => three_digits(value * 1e3) + "\u{a0}ms",
    }
}

/// Microseconds without their unit: `0.720`, `152`, `4,100`; one unit and equal digits, so that a
/// column compares.
pub fn micros(value: f64) -> String {
    if !value.is_finite() {
        return DASH.to_owned();
    }
    if value >= 999.5 { grouped(value.round() as u64) } else { padded_digits(value) }
}

/// Bytes in millions: `7.81 MB`.
pub fn megabytes(bytes: u64) -> String {
    three_digits(bytes as f64 / 1e6) + "\u{a0}MB"
}

/// A share of 0 to 1 in percent: `41 %`, `0.3 %`.
pub fn percent(share: f64) -> String {
    if !share.is_finite() {
        return DASH.to_owned();
    }
    let value = share * 100.0;
    match value {
        9.95.. => format!("{value:.0}\u{a0}%"),
        0.05.. => format!("{value:.1}\u{a0}%"),
        _ => "0\u{a0}%".to_owned(),
    }
}

/// `1 update`, `2 updates` on a page.
pub fn counted(n: u64, noun: &str) -> String {
    format!("{}\u{a0}{}", grouped(n), plural(n, noun))
}

/// `1 update`, `2 updates` on a terminal, where a number may be copied.
pub fn number_of(n: u64, noun: &str) -> String {
    format!("{n} {}", plural(n, noun))
}

/// The noun for so many: `core` for one, `cores` for none and for two.
pub fn plural(n: u64, noun: &str) -> String {
    match noun {
        _ if n == 1 => noun.to_owned(),
        _ if noun.ends_with(['s', 'x']) || noun.ends_with("ch") => format!("{noun}es"),
        _ => format!("{noun}s"),
    }
}

/// A score: three significant digits at least, and always a decimal, so that `0.966` is not `1.0`.
pub fn score(value: f64) -> String {
    if !value.is_finite() {
        return DASH.to_owned();
    }
    match value.abs() {
        10.0.. | 0.0 => format!("{value:.1}"),
        1e-3.. => padded_digits(value),
        _ => scientific(value, 2),
    }
}

/// One episode's score: whole where it is whole, else as [`score`] has it.
pub fn one_score(value: f64) -> String {
    if value.fract() == 0.0 { value.to_string() } else { score(value) }
}

/// Three significant digits without an exponent; zeros that say nothing are left away.
pub fn three_digits(value: f64) -> String {
    trim_zeros(&padded_digits(value))
}

/// Three significant digits, zeros kept.
fn padded_digits(value: f64) -> String {
    let magnitude = value.abs();
    let decimals = match magnitude {
        99.95.. => 0,
        9.995.. => 1,
        0.9995.. => 2,
        0.09995.. => 3,
        0.009995.. => 4,
        _ => 5,
    };
    format!("{value:.decimals$}")
}

/// A power of ten and at most so many decimals: `2e-4`, `1.5e-4`.
pub fn scientific(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$e}");
    match text.split_once('e') {
        Some((digits, power)) => format!("{}e{power}", trim_zeros(digits)),
        None => text,
    }
}

/// `0.250` says no more than `0.25`, and `-0` no more than `0`.
pub fn trim_zeros(text: &str) -> String {
    let trimmed =
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text };
    if trimmed == "-0" { "0".to_owned() } else { trimmed.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: String) -> String {
        text.replace('\u{a0}', " ")
    }

    #[test]
    fn the_score_of_an_episode_has_decimals_where_it_has_any() {
        let said = [500.0, -0.5, -431.811_973].map(one_score);
        assert_eq!(said, ["500", "-0.500", "-431.8"]);
    }

    #[test]
    fn numbers_read_well() {
        for (value, text) in [
            (0.0, "0"),
            (1e-5, "1e-5"),
            (0.0012345, "0.00123"),
            (0.25, "0.25"),
            (475.0, "475"),
            (9999.0, "9999"),
            (9999.9, "10k"),
            (186_240.0, "186k"),
            (999_600.0, "1M"),
            (2_741_000.0, "2.74M"),
            (-1_234_567.0, "-1.23M"),
            (f64::NAN, DASH),
            (f64::NEG_INFINITY, DASH),
        ] {
            assert_eq!(short(value), text, "{value}");
        }
    }

    #[test]
    fn durations_choose_their_unit() {
        for (value, text) in [
            (0.0834, "83.4 ms"),
            (0.9999, "1 s"),
            (12.34, "12.3 s"),
            (125.0, "2 min 05 s"),
            (3599.6, "1 h 00 min"),
            (f64::INFINITY, DASH),
        ] {
            assert_eq!(plain(seconds(value)), text, "{value}");
        }
    }

    #[test]
    fn groups_and_shares() {
        assert_eq!(grouped(186_240), "186,240");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_000), "1,000");
        assert_eq!(plain(percent(0.414)), "41 %");
        assert_eq!(plain(percent(0.0031)), "0.3 %");
        assert_eq!(micros(4100.4), "4,100");
        assert_eq!(micros(4.8), "4.80");
    }

    #[test]
    fn one_of_a_thing_is_no_plural() {
        assert_eq!(plain(counted(1, "update")), "1 update");
        assert_eq!(plain(counted(1_200, "update")), "1,200 updates");
        let words = [(0, "core"), (1, "core"), (2, "process"), (1200, "batch")];
        let words = words.map(|(n, noun)| number_of(n, noun));
        assert_eq!(words, ["0 cores", "1 core", "2 processes", "1200 batches"]);
    }

    #[test]
    fn a_score_has_the_digits_that_its_scale_needs() {
        for (value, text) in [
            (500.0, "500.0"),
            (-87.34, "-87.3"),
            (9.75, "9.75"),
            (1.0, "1.00"),
            (0.966, "0.966"),
            (-0.0421, "-0.0421"),
            (0.0, "0.0"),
            (1.5e-5, "1.5e-5"),
            (f64::NAN, DASH),
        ] {
            assert_eq!(score(value), text, "{value}");
        }
    }
}
