//! The words and numbers that the view and the log have in common.

use std::fmt;
use std::time::Duration;

use super::in_flight::Slow;
use super::status::{Status, Throttled, Total};
use crate::record::ErrorKind;
use crate::util::human::{Count, Rounded, Size};
use crate::util::redact::escaped;

/// A time that has passed or is to come, in two units at most: `12s`, `2m05s`, `3h20m`.
pub fn short(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..100 => format!("{seconds}s"),
        100..6000 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

/// A rate without digits that change too quickly to be read.
pub fn rate(per_second: f64) -> String {
    if per_second < 99.95 { format!("{per_second:.1}/s") } else { format!("{per_second:.0}/s") }
}

/// Bytes a second.
pub fn byte_rate(per_second: f64) -> String {
    format!("{}/s", Size::of(per_second))
}

/// What there is still to wait for.
pub fn left(left: Duration) -> String {
    format!("about {:#} left", Rounded(left))
}

/// An estimate, without digits that mean nothing.
pub fn roughly(count: u64) -> Count {
    let unit = 10_u64.pow(count.checked_ilog10().unwrap_or(0).saturating_sub(1));
    Count((count.saturating_add(unit / 2)) / unit * unit)
}

/// One kind of failure.
pub fn failure((kind, count): &(ErrorKind, u64)) -> String {
    format!("{} {kind}", Count(*count))
}

/// A host that is to be spared, by the name that is shown of it.
pub fn throttled(host: &str, Throttled { times, left_alone, .. }: &Throttled, is_short: bool) -> String {
    let times = match times {
        1 => "once".to_owned(),
        times => format!("{}{}", Count(*times), if is_short { "x" } else { " times" }),
    };
    match left_alone {
        // The second that has begun counts: "0s more" would say that it is over.
        Some(time) => {
            let time = short(*time + Duration::from_secs(1));
            if is_short { format!("{host} {times}, {time}") } else { format!("{host} {times}, left alone {time} more") }
        }
        None => format!("{host} {times}"),
    }
}

/// How far a download has got.
pub fn position(slow: &Slow) -> String {
    match (slow.bytes, slow.length) {
        (0, _) => "no byte yet".to_owned(),
        (bytes, Some(length)) => format!("{} of {}", Size::from(bytes), Size::from(length)),
        (bytes, None) => Size::from(bytes).to_string(),
    }
}

/// Where a download comes from, without the folders.
pub fn place(slow: &Slow, ellipsis: &str) -> String {
    let folders = if slow.is_deep { format!("{ellipsis}/") } else { String::new() };
    escaped(&format!("{}/{folders}{}", slow.host, slow.name)).into_owned()
}

/// A sentence for the log: whatever the view says.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ended = Count(self.ended);
        match self.total {
            Total::Known(total) => write!(f, "{ended} of {}", Count(total))?,
            Total::About(total) => write!(f, "{ended} of about {}", roughly(total))?,
            Total::Unknown => write!(f, "{ended} of a list still being read")?,
        }
        if self.skipped > 0 {
            write!(f, ", {} skipped", Count(self.skipped))?;
        }
        if self.failed > 0 {
            let kinds = self.failures.iter().map(failure).collect::<Vec<_>>();
            write!(f, ", {} failed ({})", Count(self.failed), kinds.join(", "))?;
        }
        let (rate, byte_rate) = (rate(self.rates.rows), byte_rate(self.rates.bytes));
        write!(f, ", {rate}, {byte_rate}, {} in {}", Size::from(self.bytes), short(self.elapsed))?;
        if let Some(time) = self.left() {
            write!(f, ", {}", left(time))?;
        }
        if let Some(last) = self.last() {
            write!(f, ", the last {last} under way")?;
        } else if self.alive > 0 {
            write!(f, ", {} under way", Count(self.alive))?;
        }
        if let Some(slow) = self.slowest.first() {
            write!(f, ", the slowest for {}: {} ({})", short(slow.time), place(slow, "..."), position(slow))?;
        }
        for (number, host) in self.throttled.iter().take(3).enumerate() {
            let lead = if number == 0 { "throttled:" } else { "and" };
            write!(f, "; {lead} {}", throttled(&escaped(&host.host), host, false))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::rate::Rates;

    #[test]
    fn numbers_are_short() {
        let times = [0, 99, 100, 5_999, 6_000, 360_000].map(|seconds| short(Duration::from_secs(seconds)));
        assert_eq!(times, ["0s", "99s", "1m40s", "99m59s", "1h40m", "100h00m"]);
        assert_eq!([0.04, 99.94, 99.96, 12_345.6].map(rate), ["0.0/s", "99.9/s", "100/s", "12346/s"]);
        let rough = [0, 7, 12, 123, 1_250, 987_654].map(|count| roughly(count).to_string());
        assert_eq!(rough, ["0", "7", "12", "120", "1,300", "990,000"]);
    }

    #[test]
    fn the_log_tells_it_in_a_sentence() {
        let mut status = Status {
            ended: 4_000,
            failed: 13,
            skipped: 3,
            bytes: 123_456_789,
            alive: 64,
            total: Total::Known(10_000),
            elapsed: Duration::from_secs(20),
            rates: Rates { rows: 200.0, bytes: 6e6 },
            failures: vec![(ErrorKind::HttpStatus(404), 12), (ErrorKind::Dns, 1)],
            ..Status::default()
        };
        assert_eq!(
            status.to_string(),
            "4,000 of 10,000, 3 skipped, 13 failed (12 http_status 404, 1 dns), 200/s, 5.72 MiB/s, 118 MiB in 20s, \
             about 30s left, 64 under way"
        );
        (status.total, status.alive, status.skipped) = (Total::Unknown, 0, 0);
        status.throttled.push(Throttled { host: "a.example".into(), times: 1, left_alone: None });
        status.slowest.push(Slow {
            host: "b.example".into(),
            name: "b\u{7}.png".into(),
            is_deep: true,
            attempt: 1,
            time: Duration::from_secs(12),
            bytes: 2048,
            length: Some(4096),
        });
        assert_eq!(
            status.to_string(),
            "4,000 of a list still being read, 13 failed (12 http_status 404, 1 dns), 200/s, 5.72 MiB/s, 118 MiB in 20s, \
             the slowest for 12s: b.example/.../b\\u{7}.png (2.00 KiB of 4.00 KiB); throttled: a.example once"
        );
        status = Status { total: Total::About(123_456), ..Status::default() };
        assert_eq!(status.to_string(), "0 of about 120,000, 0.0/s, 0 B/s, 0 B in 0s");
    }
}
