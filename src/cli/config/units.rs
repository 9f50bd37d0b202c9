//! Sizes and times, which flags of several groups take.

use std::time::Duration;

use bytesize::ByteSize;

use super::{UsageError, usage};

pub fn size(flag: &str, text: &str) -> Result<u64, UsageError> {
    // As in curl, k and M alone are powers of 1024; 1kB and 1KiB say which they mean.
    let spelled = match text.char_indices().last() {
        Some((at, unit @ ('k' | 'K' | 'm' | 'M' | 'g' | 'G' | 't' | 'T'))) => format!("{}{unit}iB", &text[..at]),
        _ => text.to_owned(),
    };
    match spelled.parse::<ByteSize>() {
        Ok(size) => Ok(size.as_u64()),
        Err(_) => usage(format!("{flag} {text} is no size; write 512, 64k or 10MiB")),
    }
}

/// A year, in seconds, stands for ever; timers do not count further.
pub const EVER: f64 = 365.0 * 86400.0;

pub fn seconds(flag: &str, seconds: f64, zero: bool) -> Result<Duration, UsageError> {
    let at_most_a_year = if seconds > EVER { EVER } else { seconds };
    match Duration::try_from_secs_f64(at_most_a_year) {
        Ok(duration) if zero || !duration.is_zero() => Ok(duration),
        Ok(_) => usage(format!("{flag} 0 leaves no time at all; write the seconds to wait, such as 10")),
        Err(_) => usage(format!("{flag} {seconds} is no time; write seconds, such as 10 or 0.5")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_curl_reads_them() {
        for (text, bytes) in [("512", 512), ("64k", 65536), ("10M", 10_485_760), ("256MiB", 268_435_456), ("1kB", 1000)]
        {
            assert_eq!(size("--x", text).expect(text), bytes);
        }
    }
}
