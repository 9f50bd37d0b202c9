//! How a run is brought to its end before it has come there by itself: the first SIGINT or SIGTERM asks, the second
//! insists, and a disk that is full asks as well.

use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::watch;

use crate::record::{Exit, Phase};
use crate::util::lock;

/// How long downloads under way may go on when the run is asked to end.
pub const GRACE: Duration = Duration::from_secs(5);

/// The phase of the run, and who ended it.
#[derive(Debug)]
pub struct Stop {
    phase: watch::Sender<Phase>,
    asked: Mutex<Option<Exit>>,
}

impl Default for Stop {
    fn default() -> Self {
        Self { phase: watch::Sender::new(Phase::Running), asked: Mutex::new(None) }
    }
}

impl Stop {
    /// Hears of every change of phase.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Whether rows are still taken.
    #[must_use]
    pub fn is_running(&self) -> bool {
        *self.phase.borrow() == Phase::Running
    }

    /// How the program is to exit, if a signal has ended it.
    #[must_use]
    pub fn asked(&self) -> Option<Exit> {
        *lock(&self.asked)
    }

    /// Ends the run gently; `exit` is the status that the program has then.
    pub fn ask(&self, exit: Exit) {
        *lock(&self.asked) = Some(exit);
        self.end(Phase::Finishing);
    }

    /// Brings the run nearer to its end; never back.
    pub fn end(&self, to: Phase) {
        self.phase.send_if_modified(|phase| {
            let nearer = *phase < to;
            if nearer {
                *phase = to;
            }
            nearer
        });
    }

    /// Waits until the run is at least so near to its end.
    pub fn reached(&self, phase: Phase) -> impl Future<Output = ()> + use<> {
        let mut heard = self.subscribe();
        async move {
            // An error means that the run is gone, which is as near to its end as can be.
            let _ = heard.wait_for(|now| *now >= phase).await;
        }
    }

    /// Whatever asked the run to end, gives up what is still under way after the grace. Never comes back.
    pub async fn leave_after_grace(&self) -> std::convert::Infallible {
        self.reached(Phase::Finishing).await;
        tokio::time::sleep(GRACE).await;
        self.end(Phase::Cancelling);
        futures::future::pending().await
    }
}
