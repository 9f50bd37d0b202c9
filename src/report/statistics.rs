//! What a sample says about all that it was drawn from, and how sure that is.
//!
//! The intervals hold what they are about in 95 of 100 samples. They speak of chance alone: of what else may differ between
//! the sample and the rest, such as the time of day, they know nothing.

/// The quantile of the normal distribution that leaves 2.5 % above itself.
const Z: f64 = 1.959_963_984_540_054;

/// A number, and the interval that holds the true one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// The interval of a share of which `n` independent draws have shown this much (Wilson 1927). It stays between 0 and 1, and
/// says something of a share that was never met.
pub fn wilson(share: f64, n: f64) -> Interval {
    let z2 = Z * Z;
    let middle = (share + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z / (1.0 + z2 / n) * (share * (1.0 - share) / n + z2 / (4.0 * n * n)).sqrt();
    // Where nothing was met, rounding leaves a trace of it.
    let low = if share > 0.0 { (middle - half).max(0.0) } else { 0.0 };
    let high = if share < 1.0 { (middle + half).min(1.0) } else { 1.0 };
    Interval { low, high }
}

/// The interval of the share of `all` that are of a kind, when `found` of the `n` are that were drawn without putting them
/// back. What has been drawn is certain, so the interval closes when nothing is left: as if more had been drawn, by the
/// factor by which the variance is smaller (Cochran, Sampling Techniques, section 2.6).
pub fn share(found: f64, n: f64, all: f64) -> Interval {
    let share = found / n;
    if n >= all {
        return Interval { low: share, high: share };
    }
    let Interval { low, high } = wilson(share, n * (all - 1.0) / (all - n));
    Interval { low: low.max(found / all), high: high.min((found + all - n) / all) }
}

/// Fewer values than this say nothing about how much they vary.
pub const ENOUGH: usize = 10;

/// The mean of values, and the interval of the mean of `all` from which they were drawn without putting them back. No interval
/// of fewer values than [`ENOUGH`].
///
/// Sizes of files are skewed: many are small and a few are large, and a sample often has none of these. The usual interval
/// is too short above then. So it is made by Hall's transformation, which takes the skew of the sample into account (Hall
/// 1992, "On the removal of skewness by transformation"), with Student's t in place of the normal quantile. Of values that
/// are so rare that the sample has none at all, no method knows.
pub fn mean(values: &[f64], all: f64) -> (f64, Option<Interval>) {
    let n = number(values.len());
    let mean = if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / n };
    if n >= all {
        return (mean, Some(Interval { low: mean, high: mean }));
    }
    if values.len() < ENOUGH {
        return (mean, None);
    }
    let power = |exponent| values.iter().map(|value| (value - mean).powi(exponent)).sum::<f64>();
    let deviation = (power(2) / (n - 1.0)).sqrt();
    if deviation <= 0.0 {
        return (mean, Some(Interval { low: mean, high: mean }));
    }
    let skew = n / ((n - 1.0) * (n - 2.0)) * power(3) / deviation.powi(3);
    let error = deviation / n.sqrt() * (1.0 - n / all).sqrt();
    let t = student(n - 1.0);
    (mean, Some(Interval { low: mean - error * unskewed(t, skew, n), high: mean - error * unskewed(-t, skew, n) }))
}

/// The place of Student's statistic of `n` values with this skew, of which the normal one is at `x`.
fn unskewed(x: f64, skew: f64, n: f64) -> f64 {
    let root = n.sqrt();
    // As good as symmetric; and nothing can be divided by it.
    if skew.abs() < 1e-6 {
        return x;
    }
    3.0 * root / skew * ((1.0 + skew / root * (x - skew / (6.0 * root))).cbrt() - 1.0)
}

/// The quantile of Student's t that leaves 2.5 % above itself, for nine degrees of freedom and more (Abramowitz and Stegun,
/// 26.7.5; right to 0.005).
pub fn student(freedom: f64) -> f64 {
    let (z3, z5) = (Z.powi(3), Z.powi(5));
    Z + (z3 + Z) / (4.0 * freedom) + (5.0 * z5 + 16.0 * z3 + 3.0 * Z) / (96.0 * freedom * freedom)
}

/// A count as a number to calculate with.
#[expect(clippy::cast_precision_loss, reason = "no list has 2^53 rows")]
pub const fn number(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_is(interval: Interval, low: f64, high: f64) {
        let is = |left: f64, right: f64| (left - right).abs() < 0.0001;
        assert!(is(interval.low, low) && is(interval.high, high), "{interval:?} is not {low} to {high}");
    }

    #[test]
    fn wilsons_interval_is_the_one_of_the_tables() {
        // As R's prop.test(x, n, correct = FALSE) and binom.confint(x, n, methods = "wilson") have it.
        assert_is(wilson(3.0 / 50.0, 50.0), 0.0206, 0.1622);
        assert_is(wilson(0.0, 10.0), 0.0, 0.2775);
        assert_is(wilson(1.0, 10.0), 0.7225, 1.0);
        assert_is(wilson(0.5, 100.0), 0.4038, 0.5962);
        assert_is(wilson(1.0 / 29.0, 29.0), 0.0061, 0.1718);
    }

    #[test]
    fn a_share_is_certain_when_nothing_is_left() {
        assert_is(share(3.0, 50.0, 50.0), 0.06, 0.06);
        assert_is(share(3.0, 50.0, 1e12), 0.0206, 0.1622);
        let half = share(3.0, 50.0, 100.0);
        assert!(half.low > 0.0299 && half.high < 0.126, "{half:?}");
        // The one row that is left would hardly be the only one that fails.
        assert_is(share(0.0, 99.0, 100.0), 0.0, 0.0004);
        assert_is(share(99.0, 99.0, 100.0), 0.9996, 1.0);
        // What is bounded by what there is.
        assert_is(share(0.0, 1.0, 2.0), 0.0, 0.5);
    }

    #[test]
    fn students_quantiles_are_those_of_the_tables() {
        for (freedom, quantile) in [(9.0, 2.262), (20.0, 2.086), (199.0, 1.972), (1e9, 1.960)] {
            assert!((student(freedom) - quantile).abs() < 0.005, "{freedom}: {}", student(freedom));
        }
    }

    #[test]
    fn a_mean_of_symmetric_values_has_the_usual_interval() {
        let values = (1..=11).map(f64::from).collect::<Vec<_>>();
        let (middle, interval) = mean(&values, 1e12);
        // 6 ± 2.228 × 3.3166 / √11
        assert!((middle - 6.0).abs() < 1e-9);
        let interval = interval.expect("enough values");
        assert!((interval.low - 3.772).abs() < 0.01 && (interval.high - 8.228).abs() < 0.01, "{interval:?}");
        assert_is(mean(&values, 11.0).1.expect("nothing is left"), 6.0, 6.0);
        let half = mean(&values, 22.0).1.expect("enough values");
        assert!((half.high - 6.0 - 2.228 * 0.5_f64.sqrt()).abs() < 0.01, "{half:?}");
        assert_eq!(mean(&values[..9], 1e12), (5.0, None));
        assert_is(mean(&[7.0; 10], 1e12).1.expect("enough values"), 7.0, 7.0);
    }

    #[test]
    fn what_is_skewed_has_more_room_above() {
        let mut values = vec![1.0; 40];
        values.extend([30.0, 100.0]);
        let (middle, interval) = mean(&values, 1e12);
        let Interval { low, high } = interval.expect("enough values");
        assert!(low > 0.0 && low < middle && high - middle > 2.0 * (middle - low), "{low} {middle} {high}");
    }

    /// A value of a skewed distribution, as sizes of files have it: the exponential of a normal one.
    fn size(random: &mut fastrand::Rng) -> f64 {
        let normal = (0..12).map(|_| random.f64()).sum::<f64>() - 6.0;
        (9.0 + 1.5 * normal).exp()
    }

    #[test]
    fn the_intervals_hold_the_truth_as_often_as_they_say() {
        let mut random = fastrand::Rng::with_seed(7);
        let sizes = (0..20_000).map(|_| size(&mut random)).collect::<Vec<_>>();
        let all = number(sizes.len());
        let true_mean = sizes.iter().sum::<f64>() / all;
        let mut rows = (0..sizes.len()).collect::<Vec<_>>();
        let (mut shares_held, mut means_held) = (0, 0);
        for _ in 0..1000 {
            let chosen = random_part(&mut rows, 200, &mut random);
            // Of 20,000 rows the first 1,000 fail, which is 5 %.
            let failed = number(chosen.iter().filter(|row| **row < 1000).count());
            let Interval { low, high } = share(failed, 200.0, all);
            shares_held += u32::from((low..=high).contains(&0.05));
            let values = chosen.iter().map(|row| sizes[*row]).collect::<Vec<_>>();
            let Interval { low, high } = mean(&values, all).1.expect("enough values");
            means_held += u32::from((low..=high).contains(&true_mean));
        }
        assert!((930..=975).contains(&shares_held), "{shares_held} of 1000");
        assert!((900..=975).contains(&means_held), "{means_held} of 1000");
    }

    /// The first so many of the rows, after they have been put there at random.
    fn random_part<'a>(rows: &'a mut [usize], count: usize, random: &mut fastrand::Rng) -> &'a [usize] {
        for place in 0..count {
            rows.swap(place, random.usize(place..rows.len()));
        }
        &rows[..count]
    }
}
