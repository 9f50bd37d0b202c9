//! Sizes and times, which are values of flags in several groups.

use std::time::Duration;

use bytesize::ByteSize;

use super::{UsageError, usage};

/// A size in bytes, with or without a unit. `flag` is named in the error.
pub fn size(flag: &str, text: &str) -> Result<u64, UsageError> {
    // As in curl, `k` and `M` alone are powers of 1024. With `kB` and `KiB` the unit is explicit.
    let with_unit = match text.char_indices().last() {
        Some((at, unit @ ('k' | 'K' | 'm' | 'M' | 'g' | 'G' | 't' | 'T'))) => format!("{}{unit}iB", &text[..at]),
        _ => text.to_owned(),
    };
    match with_unit.parse::<ByteSize>() {
        Ok(size) => Ok(size.as_u64()),
        Err(_) => usage(format!("{flag} {text} is no size; write 512, 64k or 10MiB")),
    }
}

/// The longest time, in seconds: a year. Timers do not support arbitrary durations.
pub const MAX_SECONDS: f64 = 365.0 * 86400.0;

/// A time in seconds; more than [`MAX_SECONDS`] is cut to that. `flag` is named in the error.
pub fn seconds(flag: &str, seconds: f64, zero_allowed: bool) -> Result<Duration, UsageError> {
    // Not `min`, which would turn NaN into a time.
    let limited = if seconds > MAX_SECONDS { MAX_SECONDS } else { seconds };
    match Duration::try_from_secs_f64(limited) {
        Ok(duration) if zero_allowed || !duration.is_zero() => Ok(duration),
        Ok(_) => usage(format!("{flag} 0 leaves no time at all; write the seconds to wait, such as 10")),
        Err(_) => usage(format!("{flag} {seconds} is no time; write seconds, such as 10 or 0.5")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::config::tests::assert_refused;

    #[test]
    fn invalid_values_are_refused_with_a_hint() {
        assert_refused(&[
            ("list --max-bytes big", "10MiB"),
            ("list --timeout 0", "seconds"),
            ("list --retry-wait nan", "seconds"),
            ("list --retry-wait=-1", "seconds"),
        ]);
    }

    #[test]
    fn sizes_are_read_as_curl_reads_them() {
        for (text, bytes) in [("512", 512), ("64k", 65536), ("10M", 10_485_760), ("256MiB", 268_435_456), ("1kB", 1000)]
        {
            assert_eq!(size("--x", text).expect(text), bytes);
        }
    }
}
