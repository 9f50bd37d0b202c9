//! The usual latency of a host's requests, and the silence that is far longer.
//!
//! As TCP does with round trips, it keeps a smoothed mean and a mean deviation (RFC 6298, section 2). A host that
//! serves its images in tenths of a second and has sent nothing for seconds has lost this one request, and will most
//! likely serve the next; a host that is always slow is not asked again any sooner.

use std::time::Duration;

/// Successful requests that are needed before the mean is used.
const MIN_SAMPLES: u32 = 16;

/// No shorter silence is unusual: a lost packet, or a server's garbage collection, costs a second.
const MIN_UNUSUAL_SILENCE: Duration = Duration::from_secs(2);

/// No shorter silence suggests that a request is lost: connections take that to be opened over a long way.
const MIN_SUSPICIOUS_SILENCE: Duration = Duration::from_millis(250);

/// A silence is unusual from this multiple of the latency of almost every request on.
const OUTLIER_FACTOR: f64 = 4.0;

/// The latency of the successful requests to a host.
#[derive(Clone, Copy, Debug, Default)]
pub struct Latency {
    samples: u32,
    /// Smoothed mean, in seconds.
    mean: f64,
    /// Smoothed mean deviation, in seconds.
    deviation: f64,
}

impl Latency {
    /// Adds the time that a successful request took, body included.
    pub fn observe(&mut self, took: Duration) {
        let took = took.as_secs_f64();
        if self.samples == 0 {
            (self.mean, self.deviation) = (took, took / 2.0);
        } else {
            self.deviation += ((took - self.mean).abs() - self.deviation) / 4.0;
            self.mean += (took - self.mean) / 8.0;
        }
        self.samples = self.samples.saturating_add(1);
    }

    /// The shortest silence that is far longer than whole requests take; `None` while too few have been observed.
    pub fn unusual_silence(&self) -> Option<Duration> {
        self.outlier().map(|outlier| outlier.max(MIN_UNUSUAL_SILENCE))
    }

    /// The shortest silence after which a request is probably lost, though it is too early to give it up.
    pub fn suspicious_silence(&self) -> Option<Duration> {
        self.outlier().map(|outlier| outlier.max(MIN_SUSPICIOUS_SILENCE))
    }

    fn outlier(&self) -> Option<Duration> {
        let almost_every = self.mean + 4.0 * self.deviation;
        let outlier = Duration::try_from_secs_f64(OUTLIER_FACTOR * almost_every).ok()?;
        (self.samples >= MIN_SAMPLES).then_some(outlier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(latencies: impl IntoIterator<Item = u64>) -> Option<Duration> {
        let mut latency = Latency::default();
        latencies.into_iter().for_each(|milliseconds| latency.observe(Duration::from_millis(milliseconds)));
        latency.unusual_silence()
    }

    #[test]
    fn a_quick_host_is_waited_for_briefly_and_a_slow_one_for_long() {
        assert_eq!(after([]), None);
        assert_eq!(after([50; 15]), None, "too few");
        assert_eq!(after([50; 16]), Some(MIN_UNUSUAL_SILENCE));
        assert_eq!(after([3000; 100]).map(|long| long.as_secs()), Some(12));
        // One image in ten is large.
        let mixed = after((0..200).map(|number| if number % 10 == 9 { 4000 } else { 50 }));
        assert!(mixed > Some(Duration::from_secs(8)), "{mixed:?}");
    }
}
