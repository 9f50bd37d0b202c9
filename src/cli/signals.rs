//! SIGINT and SIGTERM: the first asks the run to end, the second leaves at once.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::record::Exit;
use crate::run::shutdown::{GRACE_PERIOD, Stop};

/// SIGINT and SIGTERM. From the moment this exists they no longer end the process by themselves.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Begins to catch the signals. To be called within the runtime.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn catch() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Ends the run gently at the first signal; comes back at the second, with the exit for it.
    pub async fn end_run(mut self, stop: &Stop) -> Exit {
        let first = self.next().await;
        stop.ask(first);
        // Whoever reads the log may have stopped reading; that must not keep the second signal from being heard.
        drop(tokio::task::spawn_blocking(|| {
            let grace = GRACE_PERIOD.as_secs();
            tracing::warn!(target: "fetchimg", "Stopping: downloads under way have {grace} s to finish; once more to leave now");
        }));
        self.next().await;
        first
    }

    async fn next(&mut self) -> Exit {
        tokio::select! {
            _ = self.interrupt.recv() => Exit::Interrupted,
            _ = self.terminate.recv() => Exit::Terminated,
        }
    }
}
