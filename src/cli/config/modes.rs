//! Flags of the group "Modes".

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use super::units::{MAX_SECONDS, size};
use super::{UsageError, usage};
use crate::cli::args::Args;
use crate::limiter::PerHost;
use crate::record::Mode;
use crate::run::reservoir::{MAX_SAMPLE_ROWS, Sample};

/// `--sequential` and `--compare`: the modes of the passes, in their order.
pub fn modes(args: &Args) -> Vec<Mode> {
    if args.compare {
        vec![Mode::Sequential, Mode::Concurrent]
    } else if args.sequential {
        vec![Mode::Sequential]
    } else {
        vec![Mode::Concurrent]
    }
}

/// `--concurrency`.
pub fn concurrency(downloads: usize) -> Result<NonZeroUsize, UsageError> {
    match NonZeroUsize::new(downloads) {
        Some(downloads) => Ok(downloads),
        None => usage("-j 0 would download nothing; the smallest is -j 1 (or --sequential)"),
    }
}

/// `--sample` and `--sample-seed`.
pub fn sample(rows: usize, seed: Option<u64>) -> Result<Sample, UsageError> {
    // A random seed has few digits, so that it is easy to type again.
    let seed = seed.unwrap_or_else(|| fastrand::u64(1..1_000_000));
    match NonZeroUsize::new(rows) {
        Some(rows) if rows.get() <= MAX_SAMPLE_ROWS => Ok(Sample { rows, seed }),
        Some(_) => usage(format!(
            "--sample {rows}: {MAX_SAMPLE_ROWS} rows tell as much as can be told of any list; leave it out to fetch them all"
        )),
        None => usage("--sample 0 would tell nothing; write the rows to fetch, such as 200"),
    }
}

/// `--per-host`.
pub fn per_host(text: &str) -> Result<PerHost, UsageError> {
    match text.parse() {
        _ if text == "auto" => Ok(PerHost::Auto),
        Ok(0) => usage("--per-host 0 would download nothing; the smallest is 1"),
        Ok(limit) => Ok(PerHost::Fixed(limit)),
        Err(_) => usage(format!("--per-host {text} is neither a number nor auto")),
    }
}

/// `--rate`: turns requests per second into the time between two requests.
pub fn request_interval(rate: f64) -> Result<Duration, UsageError> {
    match Duration::try_from_secs_f64((1.0 / rate).min(MAX_SECONDS)) {
        Ok(interval) if rate > 0.0 && !interval.is_zero() => Ok(interval),
        _ => usage(format!("--rate {rate} is no number of requests a second; write 5, or 0.5 for one in two seconds")),
    }
}

/// `--limit-rate`: bytes per second.
pub fn limit_rate(text: &str) -> Result<NonZeroU32, UsageError> {
    let bytes = size("--limit-rate", text)?;
    // Larger rates become 4 GiB/s, which is as good as no limit.
    NonZeroU32::new(u32::try_from(bytes).unwrap_or(u32::MAX)).ok_or_else(|| {
        UsageError("--limit-rate 0 would download nothing; write the bytes a second, such as 500k".into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::config::tests::{assert_refused, config};

    #[test]
    fn invalid_values_are_refused_with_a_hint() {
        assert_refused(&[
            ("list -j 0", "-j 1"),
            ("list --sample 0", "such as 200"),
            ("list --sample 100001", "100000 rows"),
            ("list --per-host 0", "smallest is 1"),
            ("list --per-host many", "auto"),
            ("list --rate 0", "write 5"),
            ("list --rate=-1", "write 5"),
            ("list --rate nan", "write 5"),
            ("list --limit-rate 0", "500k"),
            ("list --limit-rate fast", "10MiB"),
        ]);
    }

    #[test]
    fn a_rate_becomes_the_time_between_two_requests_of_at_most_a_year() {
        for (rate, interval) in [
            ("5", Duration::from_millis(200)),
            ("0.5", Duration::from_secs(2)),
            ("1e-11", Duration::from_secs(365 * 86_400)),
            ("1e-300", Duration::from_secs(365 * 86_400)),
        ] {
            assert_eq!(
                config(&format!("list --rate {rate}")).expect(rate).run.request_interval,
                Some(interval),
                "{rate}"
            );
        }
    }
}
