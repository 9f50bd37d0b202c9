//! What is known of one host: its permits, who has them, and who waits for them.
//!
//! Whoever waits is sent a permit, and not merely woken to ask for one: somebody who has just come would often be
//! quicker. When there is something else to wait for than a permit, or nothing any more, the sender is dropped instead,
//! and they ask again.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::aimd::Level;
use super::circuit_breaker::{Failing, GivenUp, Standing};
use super::feedback::Feedback;
use super::latency::Usual;
use super::permit::Permit;
use super::rate::Pace;
use super::{Attempt, HostKey, PerHost, Shared, lock};

/// One host.
#[derive(Debug)]
pub(super) struct Host {
    /// Seats there are.
    pub(super) level: Level,
    /// How long visits take.
    pub(super) usual: Usual,
    /// Seats taken.
    pub(super) taken: usize,
    /// Those of them that were taken to see whether the host is back.
    probing: usize,
    /// Downloads that have left their permit to try again later, and have none yet.
    pub(super) resting: usize,
    /// Nobody enters before.
    pub(super) not_before: Option<Instant>,
    /// Seats were last taken away; visits that began before say nothing new about the host.
    pub(super) halved: Option<Instant>,
    /// When the latest of the visits began that went well.
    pub(super) served: Option<Instant>,
    /// When something was last heard from it but that it is overloaded.
    pub(super) heard: Option<Instant>,
    /// What has come to nothing since.
    pub(super) failing: Option<Failing>,
    /// How often the host asked for less, or broke.
    pub(super) overloads: u64,
    /// How often it said so with 429 or 503.
    pub(super) throttled: u64,
    /// What `--rate` leaves to it.
    pace: Option<Pace>,
    /// Who waits, first come first served.
    pub(super) queue: VecDeque<(Attempt, oneshot::Sender<Permit>)>,
    /// Somebody has been refused a permit, and wants to know when there is one.
    pub(super) wanted: bool,
    /// They have been told, and will come.
    pub(super) promised: bool,
}

/// Whether there is a permit.
pub(super) enum Room {
    Free,
    Full,
    NotBefore(Instant),
    GivenUp(GivenUp),
}

impl Host {
    pub(super) fn new(shared: &Shared) -> Self {
        let level = match shared.options.per_host {
            PerHost::Auto => Level::new(),
            PerHost::Fixed(permits) => Level::fixed(permits),
        };
        Self {
            level,
            usual: Usual::default(),
            taken: 0,
            probing: 0,
            resting: 0,
            not_before: None,
            halved: None,
            served: None,
            heard: None,
            failing: None,
            overloads: 0,
            throttled: 0,
            pace: shared.options.pace.map(Pace::new),
            queue: VecDeque::new(),
            wanted: false,
            promised: false,
        }
    }

    /// Whether a request may be made now by `--rate`, or when.
    pub(super) fn due(&self) -> Result<(), Instant> {
        self.pace.map_or(Ok(()), |pace| pace.due(Instant::now()))
    }

    /// Takes the next slot by `--rate`, and says when it comes.
    pub(super) fn take_slot(&mut self) -> Instant {
        let now = Instant::now();
        self.pace.as_mut().map_or(now, |pace| pace.take(now))
    }

    fn standing(&self, now: Instant, shared: &Shared) -> Standing {
        self.failing.map_or(Standing::Up, |failing| failing.standing(now, &shared.options.patience))
    }

    pub(super) fn is_down(&self, now: Instant, shared: &Shared) -> bool {
        self.standing(now, shared) != Standing::Up
    }

    pub(super) fn room(&self, turn: Attempt, shared: &Shared) -> Room {
        let now = Instant::now();
        let paused = self.not_before.filter(|until| *until > now);
        let is_full = self.taken >= self.level.permits();
        match self.standing(now, shared) {
            Standing::GivenUp(given_up, next) => {
                let may_try = turn == Attempt::First && now >= next && paused.is_none();
                if may_try && !is_full && self.probing == 0 { Room::Free } else { Room::GivenUp(given_up) }
            }
            standing => match (standing, paused) {
                (_, Some(until)) => Room::NotBefore(until),
                _ if is_full => Room::Full,
                (Standing::Down(_), _) if self.probing > 0 => Room::Full,
                (Standing::Down(next), _) if turn == Attempt::First && now < next => Room::NotBefore(next),
                _ => Room::Free,
            },
        }
    }

    /// A permit, whether there is one or not.
    pub(super) fn permit(&mut self, key: &HostKey, shared: &Arc<Shared>) -> Permit {
        let since = Instant::now();
        let is_probe = self.is_down(since, shared);
        self.taken += 1;
        self.probing += usize::from(is_probe);
        Permit {
            shared: Arc::clone(shared),
            key: key.clone(),
            since,
            among: self.taken,
            is_probe,
            visit: Feedback::Unclear,
            in_run: None,
            counted: true,
        }
    }

    pub(super) fn take_back(&mut self, permit: &Permit) {
        self.taken -= 1;
        self.probing -= usize::from(permit.is_probe);
    }

    /// Gives the free permits to those who wait, unless they are kept for new rows.
    pub(super) fn serve(&mut self, key: &HostKey, shared: &Arc<Shared>, is_kept: bool) {
        while let Some((turn, _)) = self.queue.front() {
            let room = self.room(*turn, shared);
            if matches!(room, Room::Full) || (is_kept && matches!(room, Room::Free)) {
                return;
            }
            let Some((_, next)) = self.queue.pop_front() else { return };
            if !matches!(room, Room::Free) || self.due().is_err() {
                // Whoever waits for a permit waits for a time instead, or no longer, as a dropped sender tells.
                continue;
            }
            if let Err(mut permit) = next.send(self.permit(key, shared)) {
                // Whoever waited is gone. The permit must not take the lock again on its way out.
                self.take_back(&permit);
                permit.counted = false;
            }
        }
    }

    /// Puts the host among the freed if somebody was refused a permit and would hear something else now.
    pub(super) fn tell_if_wanted(&mut self, key: &HostKey, shared: &Shared) {
        if self.wanted && !matches!(self.room(Attempt::First, shared), Room::Full) {
            (self.wanted, self.promised) = (false, true);
            lock(&shared.freed).push(key.clone());
        }
    }

    /// Whether a host that is met again may begin as new.
    pub(super) fn is_forgettable(&self, now: Instant, shared: &Shared) -> bool {
        let is_idle = self.taken == 0 && self.resting == 0 && self.queue.is_empty() && !self.wanted;
        is_idle && self.overloads == 0 && !self.is_down(now, shared) && self.due().is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::testing::{REFUSED, SECOND, key, limiter, options};
    use super::super::{Entry, Limiter, Options, circuit_breaker};
    use super::*;
    use crate::record::ErrorKind;

    #[tokio::test(start_paused = true)]
    async fn who_leaves_the_queue_takes_no_slot_along() {
        let pace = Duration::from_millis(100);
        let limiter = Limiter::new(Options { pace: Some(pace), ..options(PerHost::Fixed(2)) });
        let there = key("a");
        let permit = limiter.again(&there).await;
        let mut gone = Box::pin(limiter.again(&there));
        assert!(futures::poll!(&mut gone).is_pending());
        drop(gone);
        tokio::time::sleep(pace).await;
        drop(permit);
        assert!(matches!(limiter.try_enter(&there, false), Entry::Permit(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_wait_hear_at_once_that_a_host_is_given_up() {
        let limiter = limiter(PerHost::Fixed(1));
        let there = key("a");
        for _ in 1..circuit_breaker::REFUSALS {
            limiter.again(&there).await.leave(REFUSED);
        }
        let permit = limiter.again(&there).await;
        let mut queued = Box::pin(limiter.enter(&there, Attempt::Retry));
        assert!(futures::poll!(&mut queued).is_pending());
        assert!(matches!(limiter.try_enter(&there, false), Entry::HostFull));
        tokio::time::advance(40 * SECOND).await;
        permit.leave(REFUSED);
        assert_eq!(queued.await.err().map(|given_up| given_up.kind), Some(ErrorKind::Connect));
        assert_eq!(limiter.freed().await, [there]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_the_queue_takes_no_seat_along() {
        let limiter = limiter(PerHost::Fixed(1));
        let there = key("a");
        let permit = limiter.again(&there).await;
        let mut gone = Box::pin(limiter.again(&there));
        let mut stays = Box::pin(limiter.again(&there));
        assert!(futures::poll!(&mut gone).is_pending());
        assert!(futures::poll!(&mut stays).is_pending());
        drop(gone);
        drop(permit);
        drop(stays.await);
        assert!(limiter.is_at_rest("a"));
    }
}
