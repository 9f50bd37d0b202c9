//! Permits for requests, and the back-off between two attempts.
//!
//! Both end when they are dropped: a download that is cancelled or panics keeps no permit from others.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until};

use super::aimd::MAX_QUICK_LATENCY;
use super::feedback::Feedback;
use super::host::HostState;
use super::{HostKey, LimiterState};
use crate::util::lock;

/// Permission for one attempt, counted at its host and in the run. Dropping it gives it back.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "they are independent of each other")]
pub struct Permit {
    pub(super) shared: Arc<LimiterState>,
    pub(super) key: HostKey,
    pub(super) began: Instant,
    /// Requests that the host worked on when the permit was issued, this one included.
    pub(super) in_flight: usize,
    pub(super) is_probe: bool,
    /// It is probably lost, and does not count as one that the host works on.
    pub(super) is_lost: bool,
    /// The host was in slow start when the permit was issued.
    pub(super) is_slow_start: bool,
    pub(super) feedback: Feedback,
    pub(super) in_run: Option<OwnedSemaphorePermit>,
    /// Whether the host still counts the permit. Not if the task that waited for it was gone when it was sent.
    pub(super) is_counted: bool,
}

impl Permit {
    /// Whether a silence is far longer than whole requests to this host usually take. Before it is, the request may
    /// already be taken for lost, and another one be sent in its place.
    pub fn exceeds_usual_latency(&mut self, silence: Duration) -> bool {
        let mut hosts = lock(&self.shared.hosts);
        let Some(host) = hosts.get_mut(&self.key) else { return false };
        if !self.is_lost && host.has_lost(self.began, silence) {
            self.is_lost = true;
            host.lost += 1;
            host.offer(&self.key, &self.shared);
            self.shared.changed.notify_one();
        }
        host.latency.unusual_silence().is_some_and(|unusual_silence| silence >= unusual_silence)
    }

    /// Whether the request finds out if the host is back.
    #[must_use]
    pub const fn is_probe(&self) -> bool {
        self.is_probe
    }

    /// Takes a slot by `--rate` for the first request, if there is one now. The request begins with that.
    pub(super) fn take_slot(&mut self) -> bool {
        self.began = Instant::now();
        let mut hosts = lock(&self.shared.hosts);
        let Some(host) = hosts.get_mut(&self.key) else { return true };
        let is_due = host.due().is_ok();
        if is_due {
            host.take_slot();
        }
        is_due
    }

    /// The host that gave it.
    #[must_use]
    pub const fn host(&self) -> &HostKey {
        &self.key
    }

    /// Waits for a slot by `--rate` for one more request of this attempt to its host.
    pub async fn next_slot(&self) {
        let slot = lock(&self.shared.hosts).get_mut(&self.key).map(HostState::take_slot);
        if let Some(slot) = slot.filter(|slot| *slot > Instant::now()) {
            sleep_until(slot).await;
        }
    }

    /// Reports that the head of a good answer has come. A host in slow start may get more requests at once.
    pub fn note_answer(&self) {
        if !self.is_slow_start || self.began.elapsed() > MAX_QUICK_LATENCY {
            return;
        }
        let mut hosts = lock(&self.shared.hosts);
        let Some(host) = hosts.get_mut(&self.key) else { return };
        host.note_quick_answer();
        host.offer(&self.key, &self.shared);
        drop(hosts);
        self.shared.changed.notify_one();
    }

    /// Reports how the attempt ended, and gives the permit back.
    pub fn release(mut self, feedback: Feedback) {
        self.feedback = feedback;
    }

    /// Like [`Permit::release`], for a row that has its answer and still works on it: it keeps its turn in the run, so
    /// that rows are not begun faster than they are finished.
    #[must_use]
    pub fn leave_host(mut self, feedback: Feedback) -> RunPermit {
        self.feedback = feedback;
        RunPermit { shared: Arc::clone(&self.shared), in_run: self.in_run.take() }
    }

    /// Like [`Permit::release`], for a row of this host that will retry.
    #[must_use]
    pub fn back_off(self, feedback: Feedback) -> BackingOff {
        let host = self.key.clone();
        self.back_off_at(&host, feedback)
    }

    /// Like [`Permit::release`], for a row of the given host that will retry. The permit may be of the host to which a
    /// redirect led.
    #[must_use]
    pub fn back_off_at(mut self, host: &HostKey, feedback: Feedback) -> BackingOff {
        self.feedback = feedback;
        self.shared.host(&mut lock(&self.shared.hosts), host).backing_off += 1;
        self.shared.backing_off.fetch_add(1, Ordering::Relaxed);
        BackingOff { shared: Arc::clone(&self.shared), key: host.clone() }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.is_counted {
            return;
        }
        // Before waiting tasks are notified, which need it.
        drop(self.in_run.take());
        let shared = Arc::clone(&self.shared);
        let mut hosts = lock(&shared.hosts);
        let Some(host) = hosts.get_mut(&self.key) else { return };
        host.take_back(self);
        host.apply(&shared, self);
        host.offer(&self.key, &shared);
        drop(hosts);
        shared.changed.notify_one();
    }
}

/// The turn in the run of a row that needs its host no more. Dropping it gives it back.
#[derive(Debug)]
pub struct RunPermit {
    shared: Arc<LimiterState>,
    in_run: Option<OwnedSemaphorePermit>,
}

impl Drop for RunPermit {
    fn drop(&mut self) {
        drop(self.in_run.take());
        self.shared.changed.notify_one();
    }
}

/// A row that waits for a retry. It holds no permit, but a host with many of them gets no new rows. Dropping it ends
/// the wait.
#[derive(Debug)]
pub struct BackingOff {
    shared: Arc<LimiterState>,
    key: HostKey,
}

impl Drop for BackingOff {
    fn drop(&mut self) {
        let mut hosts = lock(&self.shared.hosts);
        if let Some(host) = hosts.get_mut(&self.key) {
            host.backing_off -= 1;
            self.shared.backing_off.fetch_sub(1, Ordering::Relaxed);
            host.notify_new_row(&self.key, &self.shared);
        }
        drop(hosts);
        self.shared.changed.notify_one();
    }
}
