//! Limits the bytes per second of all downloads together (`--limit-rate`).

use std::num::NonZeroU32;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

/// Lets bytes pass at a fixed rate. A download that has read some bytes waits here before it reads more, and TCP's flow
/// control slows the sender down.
#[derive(Debug)]
pub struct BandwidthLimit {
    limiter: DefaultDirectRateLimiter,
    at_once: NonZeroU32,
}

impl BandwidthLimit {
    /// A limit in bytes per second.
    #[must_use]
    pub fn new(bytes_per_second: NonZeroU32) -> Self {
        // A tenth of a second's bytes may pass at once: few enough to be smooth, enough not to wake a task for every
        // piece.
        let at_once = NonZeroU32::new(bytes_per_second.get() / 10).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(bytes_per_second).allow_burst(at_once);
        Self { limiter: RateLimiter::direct(quota), at_once }
    }

    /// Returns when `bytes` bytes may have passed.
    pub async fn pass(&self, bytes: usize) {
        let mut left = u32::try_from(bytes).unwrap_or(u32::MAX);
        while let Some(some) = NonZeroU32::new(left.min(self.at_once.get())) {
            // The only error is more bytes than may ever pass at once, which `min` rules out.
            let _ = self.limiter.until_n_ready(some).await;
            left -= some.get();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[tokio::test]
    async fn bytes_pass_at_the_rate_and_not_faster() {
        let bandwidth = BandwidthLimit::new(NonZeroU32::new(100_000).expect("not zero"));
        let begin = Instant::now();
        for _ in 0..4 {
            bandwidth.pass(10_000).await;
        }
        let took = begin.elapsed();
        assert!(took >= Duration::from_millis(290) && took < Duration::from_secs(2), "{took:?}");
    }
}
