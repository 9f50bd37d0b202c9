//! A place at a host, and the wait of those who have left theirs to come back.
//!
//! Both end when they are dropped: a download that is given up halfway, or panics, keeps no permit from others.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until};

use super::feedback::Feedback;
use super::host::Host;
use super::{HostKey, Shared, lock};

/// A place at a host and in the run, for one attempt. Dropping it gives it back.
#[derive(Debug)]
pub struct Permit {
    pub(super) shared: Arc<Shared>,
    pub(super) key: HostKey,
    pub(super) since: Instant,
    /// How many permits were taken then, this one included.
    pub(super) among: usize,
    pub(super) is_probe: bool,
    pub(super) visit: Feedback,
    pub(super) in_run: Option<OwnedSemaphorePermit>,
    /// Not when nobody was there to take the permit, and its giver has taken it back.
    pub(super) counted: bool,
}

impl Permit {
    /// Whether a silence is far longer than whole visits to this host usually are.
    #[must_use]
    pub fn is_unusual(&self, silence: Duration) -> bool {
        let hosts = lock(&self.shared.hosts);
        let too_long = hosts.get(&self.key).and_then(|host| host.usual.too_long());
        too_long.is_some_and(|too_long| silence >= too_long)
    }

    /// Takes a slot by `--rate` for the first request, if there is one now. With that the visit begins.
    pub(super) fn take_slot(&mut self) -> bool {
        self.since = Instant::now();
        let mut hosts = lock(&self.shared.hosts);
        let Some(host) = hosts.get_mut(&self.key) else { return true };
        let is_due = host.due().is_ok();
        if is_due {
            host.take_slot();
        }
        is_due
    }

    /// Waits for a slot by `--rate` for one more request of this visit, such as one that a redirect asks for.
    pub async fn next_slot(&self) {
        let slot = lock(&self.shared.hosts).get_mut(&self.key).map(Host::take_slot);
        if let Some(slot) = slot.filter(|slot| *slot > Instant::now()) {
            sleep_until(slot).await;
        }
    }

    /// Says how the visit went, and gives the permit back.
    pub fn leave(mut self, visit: Feedback) {
        self.visit = visit;
    }

    /// The same, with the intention to come back.
    #[must_use]
    pub fn rest(mut self, visit: Feedback) -> BackingOff {
        self.visit = visit;
        let resting = BackingOff { shared: Arc::clone(&self.shared), key: self.key.clone() };
        if let Some(host) = lock(&self.shared.hosts).get_mut(&self.key) {
            host.resting += 1;
            self.shared.resting.fetch_add(1, Ordering::Relaxed);
        }
        resting
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.counted {
            return;
        }
        // Before anybody is told about it.
        drop(self.in_run.take());
        let shared = Arc::clone(&self.shared);
        let mut hosts = lock(&shared.hosts);
        let Some(host) = hosts.get_mut(&self.key) else { return };
        host.take_back(self);
        host.learn(&shared, self);
        let is_kept = (host.wanted || host.promised) && shared.has_new_first();
        host.serve(&self.key, &shared, is_kept);
        host.tell_if_wanted(&self.key, &shared);
        drop(hosts);
        shared.changed.notify_one();
    }
}

/// A download that waits to try again. It holds no permit, but a host with many of them gets no new rows. Dropping it ends
/// the wait.
#[derive(Debug)]
pub struct BackingOff {
    shared: Arc<Shared>,
    key: HostKey,
}

impl Drop for BackingOff {
    fn drop(&mut self) {
        let mut hosts = lock(&self.shared.hosts);
        if let Some(host) = hosts.get_mut(&self.key) {
            host.resting -= 1;
            self.shared.resting.fetch_sub(1, Ordering::Relaxed);
            host.tell_if_wanted(&self.key, &self.shared);
        }
        drop(hosts);
        self.shared.changed.notify_one();
    }
}
