//! Flags of the group Modes.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use super::units::{EVER, size};
use super::{UsageError, usage};
use crate::limiter::PerHost;
use crate::run::reservoir::{MOST_ROWS, Sample};

pub fn sample(rows: usize, seed: Option<u64>) -> Result<Sample, UsageError> {
    // One that is made up has few digits, so that it can be typed again.
    let seed = seed.unwrap_or_else(|| fastrand::u64(1..1_000_000));
    match NonZeroUsize::new(rows) {
        Some(rows) if rows.get() <= MOST_ROWS => Ok(Sample { rows, seed }),
        Some(_) => usage(format!(
            "--sample {rows}: {MOST_ROWS} rows tell as much as can be told of any list; leave it out to fetch them all"
        )),
        None => usage("--sample 0 would tell nothing; write the rows to fetch, such as 200"),
    }
}

pub fn per_host(text: &str) -> Result<PerHost, UsageError> {
    match text.parse() {
        _ if text == "auto" => Ok(PerHost::Auto),
        Ok(0) => usage("--per-host 0 would download nothing; the smallest is 1"),
        Ok(seats) => Ok(PerHost::Fixed(seats)),
        Err(_) => usage(format!("--per-host {text} is neither a number nor auto")),
    }
}

/// `--rate`: requests a second to the time between two of them.
pub fn pace(rate: f64) -> Result<Duration, UsageError> {
    match Duration::try_from_secs_f64((1.0 / rate).min(EVER)) {
        Ok(pace) if rate > 0.0 && !pace.is_zero() => Ok(pace),
        _ => usage(format!("--rate {rate} is no number of requests a second; write 5, or 0.5 for one in two seconds")),
    }
}

pub fn limit_rate(text: &str) -> Result<NonZeroU32, UsageError> {
    let bytes = size("--limit-rate", text)?;
    // Four gigabytes a second is no limit to anybody.
    NonZeroU32::new(u32::try_from(bytes).unwrap_or(u32::MAX)).ok_or_else(|| {
        UsageError("--limit-rate 0 would download nothing; write the bytes a second, such as 500k".into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::config::tests::config;

    #[test]
    fn a_rate_is_the_time_between_two_requests_and_that_is_never_longer_than_a_year() {
        for (rate, pace) in [
            ("5", Duration::from_millis(200)),
            ("0.5", Duration::from_secs(2)),
            ("1e-11", Duration::from_secs(365 * 86_400)),
            ("1e-300", Duration::from_secs(365 * 86_400)),
        ] {
            assert_eq!(config(&format!("list --rate {rate}")).expect(rate).run.pace, Some(pace), "{rate}");
        }
    }
}
