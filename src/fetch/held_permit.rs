//! The permit of an attempt, which redirects exchange for one of another host.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::{Fetcher, interrupted, not_tried};
use crate::http::Connections;
use crate::limiter::{Attempt, Feedback, HostKey, Permit, RunPermit};
use crate::record::FetchError;
use crate::util::lock;

/// The permit that an attempt holds, of the host that it is asking at the moment.
pub struct HeldPermit<'a> {
    fetcher: &'a Fetcher,
    attempt: Attempt,
    /// The last attempt fell silent.
    fell_silent: bool,
    /// Which connection the first request uses.
    pub connections: Connections,
    /// `None` if there was none at the host to which a redirect led, or if the host is needed no more.
    permit: Mutex<Option<Permit>>,
    /// What is left of the permit if the host is needed no more.
    in_run: Mutex<Option<RunPermit>>,
}

impl<'a> HeldPermit<'a> {
    pub const fn new(fetcher: &'a Fetcher, permit: Permit, attempt: Attempt, fell_silent: bool) -> Self {
        let connections = connections(&permit, fell_silent);
        Self { fetcher, attempt, fell_silent, connections, permit: Mutex::new(Some(permit)), in_run: Mutex::new(None) }
    }

    /// The permit that is held in the end.
    pub fn into_permit(self) -> Option<Permit> {
        self.permit.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the limiter that the head of a good answer has come.
    pub fn note_answer(&self) {
        lock(&self.permit).as_ref().inspect(|permit| permit.note_answer());
    }

    /// Gives the permit back to the host, which has answered well, before long work on the answer. The row keeps its
    /// turn in the run until the attempt ends, and is not tried again after that.
    pub fn leave_host(&self) {
        let in_run = lock(&self.permit).take().map(|permit| permit.leave_host(Feedback::Success));
        *lock(&self.in_run) = in_run;
    }

    /// Waits until another request of the attempt may be sent, to the same host or to another one. There the host
    /// gives a permit of its own, and the present one is given back first.
    ///
    /// # Errors
    /// If the circuit of the host is open, or the run is about to finish.
    pub async fn follow(&self, host: HostKey) -> Result<Connections, FetchError> {
        let Some(permit) = lock(&self.permit).take() else { return Err(interrupted()) };
        let permit = if *permit.host() == host {
            permit.next_slot().await;
            permit
        } else {
            let moved = self.fetcher.limiter.exchange(permit, &host, self.attempt);
            let moved = self.fetcher.unless_finishing(moved).await?;
            moved.map_err(|open| not_tried(&host, open, u32::from(self.attempt == Attempt::Retry)))?
        };
        let connections = connections(&permit, self.fell_silent);
        lock(&self.permit).replace(permit);
        Ok(connections)
    }

    /// Whether a silence is far longer than whole requests to the host usually take.
    pub fn exceeds_usual_latency(&self, silence: Duration) -> bool {
        lock(&self.permit).as_mut().is_some_and(|permit| permit.exceeds_usual_latency(silence))
    }
}

/// Which connection a request uses. Silence says something about the host only if a new connection is silent, too.
const fn connections(permit: &Permit, fell_silent: bool) -> Connections {
    if permit.is_probe() {
        Connections::Renewed
    } else if fell_silent {
        Connections::Own
    } else {
        Connections::Pooled
    }
}
