//! Retries: the waits between attempts, and the wait that a server asks for.

use std::time::{Duration, SystemTime};

/// The longest wait between two attempts, unless the server asks for more.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// The longest `Retry-After` that a row waits for. If the server asks for more, the row fails, and the other rows of
/// the host wait for this time.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);

/// How often to retry, and after which waits.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Attempts after the first one.
    pub retries: u32,
    /// The wait before the second attempt; it doubles from there.
    pub first_wait: Duration,
}

impl Policy {
    /// The wait before each further attempt. It doubles, up to 30 s, and is shortened at random by up to a half, so
    /// that tasks that failed together do not retry together.
    pub fn waits(self) -> impl Iterator<Item = Duration> {
        self.waits_without_jitter().map(|whole| whole.mul_f64(0.5 + fastrand::f64() / 2.0))
    }

    fn waits_without_jitter(self) -> impl Iterator<Item = Duration> {
        (0..self.retries).map(move |attempt| self.first_wait.saturating_mul(1 << attempt.min(16)).min(MAX_WAIT))
    }

    /// The longest time that all attempts take with the waits between them, when each takes `attempt`.
    #[must_use]
    pub fn max_duration(self, attempt: Duration) -> Duration {
        // From the seventeenth on all waits are the same, and there may be four billion.
        let different = Self { retries: self.retries.min(17), ..self };
        let waits = different.waits_without_jitter().fold(Duration::ZERO, Duration::saturating_add);
        let last = different.waits_without_jitter().last().unwrap_or_default();
        let waits = waits.saturating_add(last.saturating_mul(self.retries - different.retries));
        attempt.saturating_mul(self.retries.saturating_add(1)).saturating_add(waits)
    }
}

/// The wait that a `Retry-After` field asks for, in seconds or as a date (RFC 9110, section 10.2.3). A date in the past
/// asks for no wait; any other value is ignored.
#[must_use]
pub fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a u64 holds mean a very long time all the same.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::from(u32::MAX))));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// What Cloudflare calls the statuses of its own, which say that it cannot reach the server behind it.
#[must_use]
pub const fn cloudflare_reason(status: u16) -> Option<&'static str> {
    Some(match status {
        520 => "Web Server Returned an Unknown Error",
        521 => "Web Server Is Down",
        522 => "Connection Timed Out",
        523 => "Origin Is Unreachable",
        524 => "A Timeout Occurred",
        527 => "Railgun Error",
        530 => "Origin DNS Error",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_within_their_jitter_and_end() {
        let policy = Policy { retries: 12, first_wait: Duration::from_millis(500) };
        let waits = policy.waits().collect::<Vec<_>>();
        assert_eq!(waits.len(), 12);
        for (attempt, wait) in waits.iter().enumerate() {
            let whole = (0.5 * f64::from(1 << attempt)).min(30.0);
            assert!((whole / 2.0..=whole).contains(&wait.as_secs_f64()), "{attempt}: {wait:?}");
        }
        assert_eq!(Policy { retries: 0, ..policy }.waits().count(), 0);
        let longest = Policy { retries: 3, ..policy }.max_duration(Duration::from_secs(10));
        assert_eq!(longest, Duration::from_millis(40_000 + 500 + 1000 + 2000));
    }

    #[test]
    fn a_server_may_ask_in_seconds_or_by_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777); // Sun, 06 Nov 1994 08:49:37 GMT
        let table = [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("99999999999999999999999", Some(u64::from(u32::MAX))),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
        ];
        for (value, seconds) in table {
            assert_eq!(retry_after(value, now), seconds.map(Duration::from_secs), "{value}");
        }
    }
}
