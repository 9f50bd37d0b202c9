//! The request rate of one host (`--rate`).

use std::time::Duration;

use tokio::time::Instant;

/// Hands out time slots for requests, with a fixed interval between them.
#[derive(Clone, Copy, Debug)]
pub struct RequestRate {
    interval: Duration,
    /// The first slot that is not taken.
    next_slot: Instant,
}

impl RequestRate {
    /// The first slot is now.
    pub fn new(interval: Duration) -> Self {
        Self { interval, next_slot: Instant::now() }
    }

    /// Whether there is a slot now.
    ///
    /// # Errors
    /// The time of the next slot, if there is none now.
    pub fn due(&self, now: Instant) -> Result<(), Instant> {
        if now < self.next_slot { Err(self.next_slot) } else { Ok(()) }
    }

    /// Takes the next slot, and returns its time.
    pub fn take_slot(&mut self, now: Instant) -> Instant {
        let slot = self.next_slot.max(now);
        self.next_slot = slot + self.interval;
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn slots_keep_their_interval() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut rate = RequestRate::new(Duration::from_secs(2));
        assert_eq!(rate.due(start), Ok(()));
        assert_eq!([start, start, at(1)].map(|now| rate.take_slot(now)), [start, at(2), at(4)]);
        assert_eq!(rate.due(at(5)), Err(at(6)));
        assert_eq!(rate.due(at(6)), Ok(()));
        // Slots that are not taken are not saved up.
        assert_eq!([at(20), at(20)].map(|now| rate.take_slot(now)), [at(20), at(22)]);
    }
}
