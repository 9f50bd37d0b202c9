//! The time between two requests to a host (`--rate`).

use std::time::Duration;

use tokio::time::Instant;

/// Slots for requests, which are never nearer to each other than they should be.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    apart: Duration,
    /// When the slot comes that nobody has taken.
    next: Instant,
}

impl Pace {
    /// The first slot is now.
    pub fn new(apart: Duration) -> Self {
        Self { apart, next: Instant::now() }
    }

    /// Whether there is a slot now, or when the next one comes.
    pub fn due(&self, now: Instant) -> Result<(), Instant> {
        if now < self.next { Err(self.next) } else { Ok(()) }
    }

    /// Takes the slot after all those that have been taken, and says when it comes.
    pub fn take(&mut self, now: Instant) -> Instant {
        let slot = self.next.max(now);
        self.next = slot + self.apart;
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn slots_are_never_nearer_to_each_other_than_they_should_be() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut pace = Pace::new(Duration::from_secs(2));
        assert_eq!(pace.due(start), Ok(()));
        assert_eq!([start, start, at(1)].map(|now| pace.take(now)), [start, at(2), at(4)]);
        assert_eq!(pace.due(at(5)), Err(at(6)));
        assert_eq!(pace.due(at(6)), Ok(()));
        // Slots that nobody takes are not saved up.
        assert_eq!([at(20), at(20)].map(|now| pace.take(now)), [at(20), at(22)]);
    }
}
