//! When an attempt must be over, and how long it may be silent.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::task::yield_now;
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::pool::Connections;
use super::suspension::Suspensions;
use crate::record::{ErrorKind, FetchError};

/// Called with the length of the silence so far; returns whether that is too long.
pub type GiveUpCheck<'a> = &'a (dyn Fn(Duration) -> bool + Sync);

/// Completes when one more request may be sent to this URL, and says on which connection.
pub type BeforeRequest<'a> = &'a (dyn Fn(&Url) -> BoxFuture<'a, Result<Connections, FetchError>> + Sync);

/// How often [`GiveUpCheck`] is called.
const GIVE_UP_CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// When an attempt must be over, how long it may be silent, and when it may send another request on which connection.
#[derive(Clone, Copy)]
pub struct Deadline<'a> {
    pub(super) ends_at: Instant,
    pub(super) timeout: Duration,
    pub(super) stall_timeout: Duration,
    pub(super) should_give_up: Option<GiveUpCheck<'a>>,
    pub(super) before_request: Option<BeforeRequest<'a>>,
    pub(super) connections: Connections,
    pub(super) suspensions: &'a Suspensions,
}

impl Deadline<'_> {
    /// Sends the requests of the attempt on such connections.
    #[must_use]
    pub const fn on(self, connections: Connections) -> Self {
        Self { connections, ..self }
    }

    /// Waits until another request may be sent to this URL. The attempt's time does not run meanwhile.
    ///
    /// # Errors
    /// If no request may be sent there.
    pub async fn before_request(mut self, url: &Url) -> Result<Self, FetchError> {
        if let Some(before_request) = self.before_request {
            let begun = Instant::now();
            self.connections = before_request(url).await?;
            self.ends_at += begun.elapsed();
        }
        Ok(self)
    }

    /// Awaits the future until the attempt is over, however long the silence lasts.
    pub(super) async fn bound<T>(self, future: impl Future<Output = T>) -> Result<T, FetchError> {
        let patient = Deadline { stall_timeout: self.timeout, should_give_up: None, ..self };
        within_deadline(patient, "nothing", future).await
    }

    fn timed_out(self) -> FetchError {
        FetchError::new(ErrorKind::Timeout, format!("not complete after {} s", self.timeout.as_secs_f64()))
    }
}

/// Names the missing part when the head of a response has not arrived completely.
pub(super) const MISSING_HEAD: &str = "no whole head of an answer";

/// Awaits the future until the silence lasts too long or the attempt is over. `missing` names what did not arrive.
///
/// When the program was suspended meanwhile, both begin anew at the moment at which it went on.
pub(super) async fn within_deadline<T>(
    deadline: Deadline<'_>,
    missing: &str,
    future: impl Future<Output = T>,
) -> Result<T, FetchError> {
    let mut future = pin!(future);
    let mut begun = Instant::now();
    let mut ends_at = deadline.ends_at;
    let step = deadline.should_give_up.map_or(deadline.stall_timeout, |_| GIVE_UP_CHECK_INTERVAL);
    let mut silence = Duration::ZERO;
    loop {
        silence = (silence + step).min(deadline.stall_timeout);
        let quiet_until = begun + silence;
        if let Ok(value) = timeout_at(quiet_until.min(ends_at), future.as_mut()).await {
            return Ok(value);
        }
        // The task that reads the connection may have been waiting for its turn.
        yield_now().await;
        if let Some(value) = future.as_mut().now_or_never() {
            return Ok(value);
        }
        if let Some(resumed) = deadline.suspensions.last_resumed().map(Instant::from_std)
            && (resumed > begun || resumed + deadline.timeout > ends_at)
        {
            ends_at = ends_at.max(resumed + deadline.timeout);
            if resumed > begun {
                (begun, silence) = (resumed, Duration::ZERO);
            }
            continue;
        }
        if ends_at <= quiet_until {
            return Err(deadline.timed_out());
        }
        if silence == deadline.stall_timeout
            || deadline.should_give_up.is_some_and(|should_give_up| should_give_up(silence))
        {
            let clause = format!("{missing} came within {} s", silence.as_secs_f64());
            return Err(FetchError::new(ErrorKind::Stalled, clause));
        }
    }
}
