//! How long good visits to a host usually take, and what is far longer than that.
//!
//! As TCP reckons with round trips: a mean, and how far single visits are from it (RFC 6298, section 2). A host that
//! serves its images in tenths of a second and says nothing for seconds has lost this one visit, and will most likely
//! serve the next; a host that is always slow is not asked again a moment sooner.

use std::time::Duration;

/// Fewer good visits say too little.
const MIN_SAMPLES: u32 = 16;

/// A shorter silence is never too long: a lost packet, or a server that collects its garbage, costs a second.
const MIN_MAX_SILENCE: Duration = Duration::from_secs(2);

/// So many times longer than almost every visit is far too long.
const OUTLIER_FACTOR: f64 = 4.0;

/// What is known of a host.
#[derive(Clone, Copy, Debug, Default)]
pub struct Latency {
    samples: u32,
    /// In seconds.
    mean: f64,
    /// In seconds.
    deviation: f64,
}

impl Latency {
    /// A good visit took so long, body included.
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

    /// A silence that is far longer than whole visits are; `None` while too little is known.
    pub fn max_silence(&self) -> Option<Duration> {
        let almost_every = self.mean + 4.0 * self.deviation;
        let far = Duration::try_from_secs_f64(OUTLIER_FACTOR * almost_every).ok()?;
        (self.samples >= MIN_SAMPLES).then(|| far.max(MIN_MAX_SILENCE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(visits: impl IntoIterator<Item = u64>) -> Option<Duration> {
        let mut latency = Latency::default();
        visits.into_iter().for_each(|milliseconds| latency.observe(Duration::from_millis(milliseconds)));
        latency.max_silence()
    }

    #[test]
    fn a_quick_host_is_waited_for_briefly_and_a_slow_one_for_long() {
        assert_eq!(after([]), None);
        assert_eq!(after([50; 15]), None, "too few");
        assert_eq!(after([50; 16]), Some(MIN_MAX_SILENCE));
        assert_eq!(after([3000; 100]).map(|long| long.as_secs()), Some(12));
        // A large image now and then.
        let mixed = after((0..200).map(|number| if number % 10 == 9 { 4000 } else { 50 }));
        assert!(mixed > Some(Duration::from_secs(8)), "{mixed:?}");
    }
}
