//! Confidence intervals for shares and means of a list, computed from a random sample of its rows.
//!
//! The confidence level is 95 %. The intervals cover only the random choice of the sample. They do not cover other
//! differences between the sample and the rest of the list, such as the time of day at which it is fetched.

/// The 97.5 % quantile of the standard normal distribution.
const NORMAL_QUANTILE: f64 = 1.959_963_984_540_054;

/// A 95 % confidence interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// Wilson's score interval (1927) for the share of a population, if `share` is the share in `n` independent draws. It stays
/// between 0 and 1, and is useful even if the share in the sample is 0 or 1.
pub fn wilson(share: f64, n: f64) -> Interval {
    let z = NORMAL_QUANTILE;
    let z2 = z * z;
    let middle = (share + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = z / (1.0 + z2 / n) * (share * (1.0 - share) / n + z2 / (4.0 * n * n)).sqrt();
    // For a share of 0 or 1, rounding errors would leave the ends slightly off.
    let low = if share > 0.0 { (middle - half).max(0.0) } else { 0.0 };
    let high = if share < 1.0 { (middle + half).min(1.0) } else { 1.0 };
    Interval { low, high }
}

/// The interval for the share of a kind in a population of `all`, if `found` of `n` draws without replacement are of that
/// kind. The rows that were drawn are certain, so the interval narrows to a point as `n` approaches `all`. It is Wilson's
/// interval for a larger `n`, by the finite population correction of the variance (Cochran, Sampling Techniques, section
/// 2.6).
pub fn share(found: f64, n: f64, all: f64) -> Interval {
    let share = found / n;
    if n >= all {
        return Interval { low: share, high: share };
    }
    let Interval { low, high } = wilson(share, n * (all - 1.0) / (all - n));
    Interval { low: low.max(found / all), high: high.min((found + all - n) / all) }
}

/// With fewer values, their variance is not estimated.
pub const MIN_VALUES: usize = 10;

/// The mean of the values, and the interval for the mean of the population of `all` from which they were drawn without
/// replacement. There is no interval for fewer than [`MIN_VALUES`] values.
///
/// File sizes are skewed: many are small and a few are large, and a sample often has none of the large ones. Then the upper
/// end of the usual interval is too low. So this uses Hall's transformation, which corrects for the skewness of the sample
/// (Hall 1992, "On the removal of skewness by transformation"), with the quantile of Student's t distribution instead of
/// the normal one. No method can account for values that are too rare to be in the sample.
pub fn mean(values: &[f64], all: f64) -> (f64, Option<Interval>) {
    let n = number(values.len());
    let mean = if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / n };
    if n >= all {
        return (mean, Some(Interval { low: mean, high: mean }));
    }
    if values.len() < MIN_VALUES {
        return (mean, None);
    }
    let power = |exponent| values.iter().map(|value| (value - mean).powi(exponent)).sum::<f64>();
    let deviation = (power(2) / (n - 1.0)).sqrt();
    if deviation <= 0.0 {
        return (mean, Some(Interval { low: mean, high: mean }));
    }
    let skew = n / ((n - 1.0) * (n - 2.0)) * power(3) / deviation.powi(3);
    let error = deviation / n.sqrt() * (1.0 - n / all).sqrt();
    let t = student_quantile(n - 1.0);
    (
        mean,
        Some(Interval {
            low: mean - error * skewed_quantile(t, skew, n),
            high: mean - error * skewed_quantile(-t, skew, n),
        }),
    )
}

/// The inverse of Hall's transformation: the quantile of the t statistic of `n` values with this skewness, if `x` is the
/// quantile for values without skewness.
fn skewed_quantile(x: f64, skew: f64, n: f64) -> f64 {
    let root = n.sqrt();
    // The values are nearly symmetric, and dividing by the skewness would be inaccurate.
    if skew.abs() < 1e-6 {
        return x;
    }
    3.0 * root / skew * ((1.0 + skew / root * (x - skew / (6.0 * root))).cbrt() - 1.0)
}

/// The 97.5 % quantile of Student's t distribution, for at least nine degrees of freedom (Abramowitz and Stegun, 26.7.5;
/// the error is below 0.005).
pub fn student_quantile(freedom: f64) -> f64 {
    let z = NORMAL_QUANTILE;
    let (z3, z5) = (z.powi(3), z.powi(5));
    z + (z3 + z) / (4.0 * freedom) + (5.0 * z5 + 16.0 * z3 + 3.0 * z) / (96.0 * freedom * freedom)
}

/// A count as a floating-point number.
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
    fn wilsons_interval_equals_published_values() {
        // Values from R's prop.test(x, n, correct = FALSE) and binom.confint(x, n, methods = "wilson").
        assert_is(wilson(3.0 / 50.0, 50.0), 0.0206, 0.1622);
        assert_is(wilson(0.0, 10.0), 0.0, 0.2775);
        assert_is(wilson(1.0, 10.0), 0.7225, 1.0);
        assert_is(wilson(0.5, 100.0), 0.4038, 0.5962);
        assert_is(wilson(1.0 / 29.0, 29.0), 0.0061, 0.1718);
    }

    #[test]
    fn a_share_is_certain_if_all_rows_were_drawn() {
        assert_is(share(3.0, 50.0, 50.0), 0.06, 0.06);
        assert_is(share(3.0, 50.0, 1e12), 0.0206, 0.1622);
        let half = share(3.0, 50.0, 100.0);
        assert!(half.low > 0.0299 && half.high < 0.126, "{half:?}");
        // A single remaining row is unlikely to be the only one that fails.
        assert_is(share(0.0, 99.0, 100.0), 0.0, 0.0004);
        assert_is(share(99.0, 99.0, 100.0), 0.9996, 1.0);
        // The bounds are never beyond what the remaining rows allow.
        assert_is(share(0.0, 1.0, 2.0), 0.0, 0.5);
    }

    #[test]
    fn students_quantiles_equal_published_values() {
        for (freedom, quantile) in [(9.0, 2.262), (20.0, 2.086), (199.0, 1.972), (1e9, 1.960)] {
            assert!((student_quantile(freedom) - quantile).abs() < 0.005, "{freedom}: {}", student_quantile(freedom));
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
        assert_is(mean(&values, 11.0).1.expect("all were drawn"), 6.0, 6.0);
        let half = mean(&values, 22.0).1.expect("enough values");
        assert!((half.high - 6.0 - 2.228 * 0.5_f64.sqrt()).abs() < 0.01, "{half:?}");
        assert_eq!(mean(&values[..9], 1e12), (5.0, None));
        assert_is(mean(&[7.0; 10], 1e12).1.expect("enough values"), 7.0, 7.0);
    }

    #[test]
    fn the_interval_of_skewed_values_is_longer_above_the_mean() {
        let mut values = vec![1.0; 40];
        values.extend([30.0, 100.0]);
        let (middle, interval) = mean(&values, 1e12);
        let Interval { low, high } = interval.expect("enough values");
        assert!(low > 0.0 && low < middle && high - middle > 2.0 * (middle - low), "{low} {middle} {high}");
    }

    /// A value of a log-normal distribution, which is skewed like file sizes.
    fn size(random: &mut fastrand::Rng) -> f64 {
        let normal = (0..12).map(|_| random.f64()).sum::<f64>() - 6.0;
        (9.0 + 1.5 * normal).exp()
    }

    #[test]
    fn the_intervals_contain_the_true_value_as_often_as_they_should() {
        let mut random = fastrand::Rng::with_seed(7);
        let sizes = (0..20_000).map(|_| size(&mut random)).collect::<Vec<_>>();
        let all = number(sizes.len());
        let true_mean = sizes.iter().sum::<f64>() / all;
        let mut rows = (0..sizes.len()).collect::<Vec<_>>();
        let (mut shares_covered, mut means_covered) = (0, 0);
        for _ in 0..1000 {
            let drawn = draw(&mut rows, 200, &mut random);
            // Of 20,000 rows, the first 1,000 fail, which is 5 %.
            let failed = number(drawn.iter().filter(|row| **row < 1000).count());
            let Interval { low, high } = share(failed, 200.0, all);
            shares_covered += u32::from((low..=high).contains(&0.05));
            let values = drawn.iter().map(|row| sizes[*row]).collect::<Vec<_>>();
            let Interval { low, high } = mean(&values, all).1.expect("enough values");
            means_covered += u32::from((low..=high).contains(&true_mean));
        }
        assert!((930..=975).contains(&shares_covered), "{shares_covered} of 1000");
        assert!((900..=975).contains(&means_covered), "{means_covered} of 1000");
    }

    /// Draws `count` of the rows at random, by moving them to the front.
    fn draw<'a>(rows: &'a mut [usize], count: usize, random: &mut fastrand::Rng) -> &'a [usize] {
        for place in 0..count {
            rows.swap(place, random.usize(place..rows.len()));
        }
        &rows[..count]
    }
}
