//! Ends a run early: on the first SIGINT, SIGTERM or SIGHUP gently, on the second at once, and gently too when the disk is
//! full.

use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::watch;

use crate::record::{Exit, Phase};
use crate::util::lock;

/// How long downloads in flight may go on when the run is asked to end.
pub const GRACE_PERIOD: Duration = Duration::from_secs(5);

/// The phase of the run, and the exit status if a signal ended it.
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
    /// A receiver of every change of phase.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Whether rows are still taken.
    #[must_use]
    pub fn is_running(&self) -> bool {
        *self.phase.borrow() == Phase::Running
    }

    /// The exit status of the program, if a signal has ended the run.
    #[must_use]
    pub fn asked(&self) -> Option<Exit> {
        *lock(&self.asked)
    }

    /// Asks the run to finish because of a signal. `exit` is the exit status of the program then.
    pub fn ask(&self, exit: Exit) {
        *lock(&self.asked) = Some(exit);
        self.end(Phase::Finishing);
    }

    /// Advances the run to a phase, unless it is there already or beyond.
    pub fn end(&self, to: Phase) {
        self.phase.send_if_modified(|phase| {
            let advances = *phase < to;
            if advances {
                *phase = to;
            }
            advances
        });
    }

    /// Waits until the run is in that phase or in a later one.
    pub fn reached(&self, phase: Phase) -> impl Future<Output = ()> + use<> {
        let mut receiver = self.subscribe();
        async move {
            // An error means that this `Stop` was dropped, so the run has ended.
            let _ = receiver.wait_for(|now| *now >= phase).await;
        }
    }

    /// When the run has been asked to finish, waits for the grace period and cancels the downloads that are still in
    /// flight. Never returns.
    pub async fn cancel_after_grace_period(&self) -> std::convert::Infallible {
        self.reached(Phase::Finishing).await;
        tokio::time::sleep(GRACE_PERIOD).await;
        self.end(Phase::Cancelling);
        futures::future::pending().await
    }
}
