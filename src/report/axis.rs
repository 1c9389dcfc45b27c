//! One axis of a plot: its scale, its range and its ticks.
//!
//! Owns where a value lies and how ticks are written. Knows nothing of drawing. Positions are what the
//! scale makes of values, so that the drawing itself is always linear. Every range is finite and not
//! empty, whatever the data.

use serde::Serialize;

use super::points::is_drawable;
use super::units;

/// How values become positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// As they are.
    Linear,
    /// Linear, with 0 always in view.
    FromZero,
    /// The same of whole things: no ticks between them.
    Count,
    /// log10; what is not positive has no place.
    Log,
    /// A share p of 0 to 1 at log10(1/(1-p)): each further nine takes the same width.
    Percentile,
    /// A share of 0 to 1, shown in percent, always whole.
    Share,
}

/// An axis that shows all the values it was fitted to.
#[derive(Clone, Debug)]
pub struct Axis {
    /// Name and unit.
    pub name: String,
    /// How values become positions.
    pub scale: Scale,
    /// Position of the lower end.
    pub lo: f64,
    /// Position of the upper end, above `lo`.
    pub hi: f64,
    /// Positions with their text, ascending.
    pub ticks: Vec<(f64, String)>,
}

impl Axis {
    /// The axis that ends where these values end; those that cannot be drawn are passed over.
    pub fn tight(name: &str, scale: Scale, values: impl IntoIterator<Item = f64>) -> Axis {
        Axis::over(name, scale, range(scale, values))
    }

    /// The same with a margin beyond the values, except at a zero that the scale fixes.
    pub fn roomy(name: &str, scale: Scale, values: impl IntoIterator<Item = f64>) -> Axis {
        Axis::over(name, scale, with_margin(scale, range(scale, values)))
    }

    fn over(name: &str, scale: Scale, (lo, hi): (f64, f64)) -> Axis {
        let ticks = ticks(scale, lo, hi);
        Axis { name: name.to_owned(), scale, lo, hi, ticks }
    }

    /// An axis of `n` things side by side, the k-th from k - ½ to k + ½, numbered from 0.
    pub fn numbered(name: &str, n: usize) -> Axis {
        let stride = n.div_ceil(16).max(1);
        let ticks = (0..n).step_by(stride).map(|k| (k as f64, k.to_string())).collect();
        let hi = n.max(1) as f64 - 0.5;
        Axis { name: name.to_owned(), scale: Scale::Linear, lo: -0.5, hi, ticks }
    }

    /// Position of a value; none if it has no place on this scale.
    pub fn place(&self, value: f64) -> Option<f64> {
        place(self.scale, value)
    }

    /// Text of the tick at exactly this position.
    pub fn tick_text(&self, position: f64) -> String {
        let tick = self.ticks.iter().find(|(at, _)| *at == position);
        tick.map_or_else(String::new, |(_, text)| text.clone())
    }
}

fn place(scale: Scale, value: f64) -> Option<f64> {
    let position = match scale {
        Scale::Linear | Scale::FromZero | Scale::Count | Scale::Share => value,
        Scale::Log => value.log10(),
        Scale::Percentile => -(1.0 - value).log10(),
    };
    is_drawable(position).then_some(position)
}

/// From the lowest position to the highest; never empty.
fn range(scale: Scale, values: impl IntoIterator<Item = f64>) -> (f64, f64) {
    if scale == Scale::Share {
        return (0.0, 1.0);
    }
    let zero = matches!(scale, Scale::FromZero | Scale::Count | Scale::Percentile).then_some(0.0);
    let positions = values.into_iter().filter_map(|value| place(scale, value)).chain(zero);
    let (lo, hi) =
        positions.fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), at| (lo.min(at), hi.max(at)));
    if lo > hi { (0.0, 1.0) } else { room_around_constant(scale, lo, hi) }
}

/// A constant lies in the middle. Differences near the precision of the numbers are none.
fn room_around_constant(scale: Scale, lo: f64, hi: f64) -> (f64, f64) {
    if hi - lo > 1e-9 * lo.abs().max(hi.abs()).max(1e-9) {
        return (lo, hi);
    }
    match scale {
        Scale::Log => (lo - 0.5, hi + 0.5),
        Scale::FromZero | Scale::Count | Scale::Percentile => (0.0, 1.0),
        _ => (lo - 0.5 * lo.abs().max(1e-3), hi + 0.5 * hi.abs().max(1e-3)),
    }
}

fn with_margin(scale: Scale, (lo, hi): (f64, f64)) -> (f64, f64) {
    let margin = match scale {
        Scale::Share => 0.0,
        _ => 0.05 * (hi - lo),
    };
    let is_fixed = |end: f64| matches!(scale, Scale::FromZero | Scale::Count) && end == 0.0;
    (if is_fixed(lo) { lo } else { lo - margin }, if is_fixed(hi) { hi } else { hi + margin })
}

fn ticks(scale: Scale, lo: f64, hi: f64) -> Vec<(f64, String)> {
    match scale {
        Scale::Linear | Scale::FromZero => linear_ticks(lo, hi, 0.0),
        Scale::Count => linear_ticks(lo, hi, 1.0),
        Scale::Log => log_ticks(lo, hi),
        Scale::Percentile => percentile_ticks(hi),
        Scale::Share => {
            (0..=4).map(|k| f64::from(k) / 4.0).map(|at| (at, units::percent(at))).collect()
        }
    }
}

/// About six ticks at 1, 2 or 5 times a power of ten, and none closer than that.
fn linear_ticks(lo: f64, hi: f64, closest: f64) -> Vec<(f64, String)> {
    let step = round_step((hi - lo) / 6.0).max(closest);
    // Rounding must not lose a tick that lies exactly at an end.
    let slack = 1e-6 * step;
    let first = ((lo - slack) / step).ceil();
    (0..12)
        .map(|k| (first + f64::from(k)) * step)
        .take_while(|&at| at <= hi + slack)
        .map(|at| (at, linear_text(at, step)))
        .collect()
}

fn round_step(raw: f64) -> f64 {
    let power = 10f64.powf(raw.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0].into_iter().find(|f| f * power >= raw * 0.999);
    factor.unwrap_or(10.0) * power
}

/// As many decimals as tell neighbours apart.
fn linear_text(value: f64, step: f64) -> String {
    let decimals_at = |unit: f64| (unit / step).log10().ceil().clamp(0.0, 9.0) as usize;
    if value.abs() < step / 2.0 {
        return "0".to_owned();
    }
    let (unit, suffix) = match value.abs() {
        magnitude if step < 1e-4 || magnitude >= 1e15 => {
            return units::scientific(value, decimals_at(magnitude));
        }
        1e9.. => (1e9, "G"),
        1e6.. => (1e6, "M"),
        1e4.. => (1e3, "k"),
        _ => (1.0, ""),
    };
    let decimals = decimals_at(unit);
    units::trim_zeros(&format!("{:.decimals$}", value / unit)) + suffix
}

/// Powers of ten, at most eight of them, and between those as many as have room: over a few decades their
/// threefold, over less their double and fivefold. Over less than one decade the steps are even, since there a
/// power of ten may lie nowhere.
fn log_ticks(lo: f64, hi: f64) -> Vec<(f64, String)> {
    let factors: &[f64] = match hi - lo {
        ..0.7 => {
            let even = linear_ticks(10f64.powf(lo), 10f64.powf(hi), 0.0);
            return even.into_iter().map(|(value, text)| (value.log10(), text)).collect();
        }
        ..3.0 => &[1.0, 2.0, 5.0],
        ..5.0 => &[1.0, 3.0],
        _ => &[1.0],
    };
    let stride = ((hi - lo) / 8.0).ceil().max(1.0) as usize;
    (lo.floor() as i32..=hi.ceil() as i32)
        .step_by(stride)
        .flat_map(|power| factors.iter().map(move |factor| factor * 10f64.powi(power)))
        .map(|value| (value.log10(), log_text(value)))
        .filter(|(at, _)| (lo..=hi).contains(at))
        .collect()
}

fn log_text(value: f64) -> String {
    if (1e3..1e4).contains(&value) {
        units::three_digits(value / 1e3) + "k"
    } else {
        units::short(value)
    }
}

fn percentile_ticks(hi: f64) -> Vec<(f64, String)> {
    let nines = (1..=hi.floor() as usize).map(|n| {
        let text = match n {
            1 => "90 %".to_owned(),
            2 => "99 %".to_owned(),
            _ => format!("99.{} %", "9".repeat(n - 2)),
        };
        (n as f64, text)
    });
    let below = [(0.0, "0 %".to_owned()), (2f64.log10(), "50 %".to_owned())];
    below.into_iter().chain(nines).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, text)| text.as_str()).collect()
    }

    #[test]
    fn ticks_are_round_and_told_apart() {
        let frames = Axis::tight("frames", Scale::FromZero, [0.0, 600_000.0]);
        assert_eq!(texts(&frames), ["0", "100k", "200k", "300k", "400k", "500k", "600k"]);
        let rate = Axis::tight("rate", Scale::FromZero, [2e-3, 1e-4]);
        assert_eq!(texts(&rate), ["0", "0.0005", "0.001", "0.0015", "0.002"]);
        let late = Axis::tight("rate", Scale::FromZero, [2e-4]);
        assert_eq!(texts(&late), ["0", "5e-5", "1e-4", "1.5e-4", "2e-4"]);
        let loss = Axis::tight("loss", Scale::Linear, [-1.0, 1.0]);
        assert_eq!(texts(&loss), ["-1", "-0.5", "0", "0.5", "1"]);
    }

    #[test]
    fn between_whole_things_there_is_no_tick() {
        let restarts = |most| Axis::tight("restarts", Scale::Count, [0.0, most]);
        assert_eq!(texts(&restarts(0.0)), ["0", "1"]);
        assert_eq!(texts(&restarts(3.0)), ["0", "1", "2", "3"]);
        assert_eq!(texts(&restarts(100.0)), ["0", "20", "40", "60", "80", "100"]);
    }

    #[test]
    fn log_and_percentile_ticks() {
        let ratio = Axis::tight("ρ", Scale::Log, [0.01, 100.0, 0.0, -3.0]);
        assert_eq!(texts(&ratio)[..5], ["0.01", "0.03", "0.1", "0.3", "1"]);
        let wide = Axis::tight("ρ", Scale::Log, [1e-3, 1e3]);
        assert_eq!(texts(&wide), ["0.001", "0.01", "0.1", "1", "10", "100", "1k"]);
        let close = Axis::tight("ρ", Scale::Log, [0.71, 1.5]);
        assert_eq!(texts(&close), ["0.8", "1", "1.2", "1.4"], "what lies between powers of ten");
        let narrow = Axis::tight("µs", Scale::Log, [100.0, 1000.0]);
        assert_eq!(texts(&narrow), ["100", "200", "500", "1k"]);
        let percentiles = Axis::tight("p", Scale::Percentile, [0.0, 0.9995]);
        assert_eq!(texts(&percentiles), ["0 %", "50 %", "90 %", "99 %", "99.9 %"]);
    }

    #[test]
    fn every_range_is_finite_and_not_empty() {
        let nasty: [&[f64]; 8] = [
            &[],
            &[f64::NAN, f64::INFINITY],
            &[0.0],
            &[5.0, 5.0],
            &[1e300, -1e300, 1.0],
            &[-1e30, 1e30],
            &[1e-300, 1e-299],
            &[1e9, 1e9 + 1e-7],
        ];
        for values in nasty {
            for scale in
                [Scale::Linear, Scale::FromZero, Scale::Log, Scale::Percentile, Scale::Share]
            {
                let axis = Axis::roomy("x", scale, values.iter().copied());
                assert!(axis.lo.is_finite() && axis.hi.is_finite(), "{scale:?} {values:?}");
                assert!(axis.lo < axis.hi, "{scale:?} {values:?}: {} {}", axis.lo, axis.hi);
                assert!(axis.ticks.len() <= 40, "{scale:?} {values:?}: {:?}", axis.ticks);
                assert!(axis.ticks.iter().all(|(at, _)| at.is_finite()), "{scale:?} {values:?}");
            }
        }
    }
}
