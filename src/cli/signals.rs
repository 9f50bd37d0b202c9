//! Handles SIGINT and SIGTERM: the first asks the run to stop, the second ends the program at once.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::record::Exit;
use crate::run::shutdown::{GRACE_PERIOD, Stop};

/// Handlers of SIGINT and SIGTERM. From its creation on, these signals no longer end the process by themselves.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Registers the handlers. Has to be called within a tokio runtime.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn catch() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Asks the run to stop at the first signal. Returns at the second one, with the exit status of the first.
    pub async fn end_run(mut self, stop: &Stop) -> Exit {
        let first = self.next().await;
        stop.ask(first);
        // This write may block when the log is a pipe that is no longer read. The second signal must not wait for it.
        drop(tokio::task::spawn_blocking(|| {
            let grace = GRACE_PERIOD.as_secs();
            tracing::warn!(target: "fetchimg", "Stopping: downloads in flight have {grace} s to finish; once more to leave now");
        }));
        self.next().await;
        first
    }

    /// Waits for a signal, and returns the exit status for it.
    async fn next(&mut self) -> Exit {
        tokio::select! {
            _ = self.interrupt.recv() => Exit::Interrupted,
            _ = self.terminate.recv() => Exit::Terminated,
        }
    }
}
