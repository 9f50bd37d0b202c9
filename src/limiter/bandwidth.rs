//! Bytes a second, all downloads together (`--limit-rate`).

use std::num::NonZeroU32;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

/// Lets bytes pass at a rate. Whoever has read some waits here before reading more, and the connection's own flow
/// control tells the sender.
#[derive(Debug)]
pub struct BandwidthLimit {
    limiter: DefaultDirectRateLimiter,
    at_once: NonZeroU32,
}

impl BandwidthLimit {
    /// A bandwidth for so many bytes a second.
    #[must_use]
    pub fn new(bytes_per_second: NonZeroU32) -> Self {
        // A tenth of a second may pass at once: small enough to be smooth, large enough not to wake for every piece.
        let at_once = NonZeroU32::new(bytes_per_second.get() / 10).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(bytes_per_second).allow_burst(at_once);
        Self { limiter: RateLimiter::direct(quota), at_once }
    }

    /// Comes back when so many bytes may have passed.
    pub async fn pass(&self, bytes: usize) {
        let mut left = u32::try_from(bytes).unwrap_or(u32::MAX);
        while let Some(some) = NonZeroU32::new(left.min(self.at_once.get())) {
            // Never more than fit at once, which is the only error there is.
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
