//! The words and numbers that the live view and the log lines share, and the sentence for a log line.

use std::fmt;
use std::time::Duration;

use super::facts::{DownHost, ThrottledHost, Total};
use super::in_flight::SlowDownload;
use super::status::Status;
use crate::record::ErrorKind;
use crate::util::human::{Count, Rounded, Size, counted};
use crate::util::redact::escaped;

/// A duration in at most two units: `12s`, `2m05s`, `3h20m`.
pub fn short(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..100 => format!("{seconds}s"),
        100..6000 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

/// A rate per second, with few digits: others would change too quickly to be read.
pub fn rate(per_second: f64) -> String {
    if per_second < 99.95 { format!("{per_second:.1}/s") } else { format!("{per_second:.0}/s") }
}

/// A rate of bytes per second.
pub fn byte_rate(per_second: f64) -> String {
    format!("{}/s", Size::of(per_second))
}

/// The time that is left.
pub fn time_left(left: Duration) -> String {
    format!("about {:#} left", Rounded(left))
}

/// An estimated count with two significant digits.
pub fn roughly(count: u64) -> Count {
    let unit = 10_u64.pow(count.checked_ilog10().unwrap_or(0).saturating_sub(1));
    Count((count.saturating_add(unit / 2)) / unit * unit)
}

/// The number of failures of one kind.
pub fn failure((kind, count): &(ErrorKind, u64)) -> String {
    format!("{} {kind}", Count(*count))
}

/// A host that has throttled. `host` is its name as it is shown.
pub fn throttled(host: &str, ThrottledHost { times, backoff_left, .. }: &ThrottledHost, is_short: bool) -> String {
    let times = match times {
        1 => "once".to_owned(),
        times => format!("{}{}", Count(*times), if is_short { "x" } else { " times" }),
    };
    match backoff_left {
        // The second that has begun counts: "0s more" would mean that the time is over.
        Some(time) => {
            let time = short(*time + Duration::from_secs(1));
            if is_short { format!("{host} {times}, {time}") } else { format!("{host} {times}, left alone {time} more") }
        }
        None => format!("{host} {times}"),
    }
}

/// What is the matter with a host that does not answer.
pub fn trouble(kind: Option<ErrorKind>) -> String {
    match kind {
        None | Some(ErrorKind::Stalled) => "silent".to_owned(),
        Some(ErrorKind::HttpStatus(status)) => format!("only {status}"),
        Some(_) => "down".to_owned(),
    }
}

/// A host that does not answer. `host` is its name as it is shown.
pub fn down(host: &str, down: &DownHost, is_short: bool) -> String {
    let DownHost { kind, silent_for, rows, given_up_in, .. } = down;
    let (trouble, time, rows) = (trouble(*kind), short(*silent_for), counted(*rows, "row"));
    let end = match given_up_in {
        _ if is_short => given_up_in.map_or_else(String::new, |left| format!(", {} left", short(left))),
        Some(Duration::ZERO) => ", given up".to_owned(),
        Some(left) => format!(", given up in {}", short(*left)),
        None => String::new(),
    };
    if is_short {
        format!("{trouble} {host} {time}, {rows}{end}")
    } else {
        let verb = if down.rows == 1 { "waits" } else { "wait" };
        format!("{trouble}: {host} for {time}, {rows} {verb}{end}")
    }
}

/// How many bytes a download has received.
pub fn position(slow: &SlowDownload) -> String {
    match (slow.bytes, slow.length) {
        (0, _) => "no byte yet".to_owned(),
        (bytes, Some(length)) => format!("{} of {}", Size::from(bytes), Size::from(length)),
        (bytes, None) => Size::from(bytes).to_string(),
    }
}

/// The host and the file name of a download, with `ellipsis` in place of the folders.
pub fn origin(slow: &SlowDownload, ellipsis: &str) -> String {
    let folders = if slow.is_deep { format!("{ellipsis}/") } else { String::new() };
    escaped(&format!("{}/{folders}{}", slow.host, slow.name)).into_owned()
}

/// The sentence for the log, which says the same as the view.
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
        if self.refused > 0 {
            write!(f, ", {} refused", Count(self.refused))?;
        }
        if self.failed > 0 {
            let kinds = self.failures.iter().map(failure).collect::<Vec<_>>();
            write!(f, ", {} failed ({})", Count(self.failed), kinds.join(", "))?;
        }
        let (rate, byte_rate) = (rate(self.rates.saved), byte_rate(self.rates.bytes));
        write!(f, ", {rate}, {byte_rate}, {} in {}", Size::from(self.bytes), short(self.elapsed))?;
        if let Some(time) = self.time_left() {
            write!(f, ", {}", time_left(time))?;
        }
        if let Some(last) = self.last_in_flight() {
            write!(f, ", the last {last} under way")?;
        } else if self.in_flight > 0 {
            write!(f, ", {} under way", Count(self.in_flight))?;
        }
        if let Some(slow) = self.slowest.first() {
            write!(f, ", the slowest for {}: {} ({})", short(slow.time), origin(slow, "..."), position(slow))?;
        }
        if let Some((open, complete)) = self.shards {
            write!(f, ", {} complete and {} open", counted(complete, "shard"), Count(open))?;
        }
        for host in self.down.iter().take(3) {
            write!(f, "; {}", down(&escaped(&host.host), host, false))?;
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
    fn times_and_numbers_have_few_digits() {
        let times = [0, 99, 100, 5_999, 6_000, 360_000].map(|seconds| short(Duration::from_secs(seconds)));
        assert_eq!(times, ["0s", "99s", "1m40s", "99m59s", "1h40m", "100h00m"]);
        assert_eq!([0.04, 99.94, 99.96, 12_345.6].map(rate), ["0.0/s", "99.9/s", "100/s", "12346/s"]);
        let rough = [0, 7, 12, 123, 1_250, 987_654].map(|count| roughly(count).to_string());
        assert_eq!(rough, ["0", "7", "12", "120", "1,300", "990,000"]);
    }

    #[test]
    fn the_log_has_the_status_as_a_sentence() {
        let mut status = Status {
            ended: 4_000,
            failed: 13,
            skipped: 3,
            refused: 2,
            bytes: 123_456_789,
            in_flight: 64,
            total: Total::Known(10_000),
            elapsed: Duration::from_secs(20),
            rates: Rates { saved: 200.0, requested: 200.0, bytes: 6e6 },
            failures: vec![(ErrorKind::HttpStatus(404), 12), (ErrorKind::Dns, 1)],
            ..Status::default()
        };
        assert_eq!(
            status.to_string(),
            "4,000 of 10,000, 3 skipped, 2 refused, 13 failed (12 http_status 404, 1 dns), 200/s, 5.72 MiB/s, 118 MiB in 20s, \
             about 30s left, 64 under way"
        );
        (status.total, status.in_flight, status.skipped, status.refused) = (Total::Unknown, 0, 0, 0);
        status.down.push(DownHost {
            host: "c.example".into(),
            kind: Some(ErrorKind::Connect),
            silent_for: Duration::from_secs(12),
            rows: 1412,
            given_up_in: Some(Duration::from_secs(31)),
        });
        status.throttled.push(ThrottledHost { host: "a.example".into(), times: 1, backoff_left: None });
        status.slowest.push(SlowDownload {
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
             the slowest for 12s: b.example/.../b\\u{7}.png (2.00 KiB of 4.00 KiB); down: c.example for 12s, 1,412 rows \
             wait, given up in 31s; throttled: a.example once"
        );
        status = Status { total: Total::About(123_456), ..Status::default() };
        assert_eq!(status.to_string(), "0 of about 120,000, 0.0/s, 0 B/s, 0 B in 0s");
    }
}
