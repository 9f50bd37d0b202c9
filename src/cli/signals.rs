//! Handles SIGINT, SIGTERM and SIGHUP: the first asks the run to stop, the second ends the program at once.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::record::Exit;
use crate::run::shutdown::{GRACE_PERIOD, Stop};

/// The longest time for which the program waits until its last line is written.
const MAX_LAST_WORD_WAIT: Duration = Duration::from_millis(200);

/// Handlers of SIGINT, SIGTERM and SIGHUP. From its creation on, these signals no longer end the process by themselves.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// `None` if SIGHUP was ignored when the program began, as `nohup` does, or if that is not known. A handler would
    /// let it through.
    hangup: Option<Signal>,
}

impl Signals {
    /// Registers the handlers. Has to be called within a tokio runtime.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn catch() -> std::io::Result<Self> {
        let hangup = (is_hangup_ignored() == Some(false)).then(|| signal(SignalKind::hangup())).transpose()?;
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())?, hangup })
    }

    /// Asks the run to stop at the first signal. Returns at the second one, with the exit status of the first.
    pub async fn end_run(mut self, stop: &Stop) -> Exit {
        let first = self.next().await;
        stop.ask(first);
        // This write may block when the log is a pipe that is no longer read. The second signal must not wait for it.
        drop(tokio::task::spawn_blocking(|| {
            let grace = GRACE_PERIOD.as_secs();
            tracing::warn!(target: "fetchimg", event = "stopping", "Stopping: downloads in flight have {grace} s to finish; once more to leave now");
        }));
        // When a terminal is closed, both the shell and the system may send SIGHUP, and service managers send it behind
        // SIGTERM. So it is never the second signal.
        while self.next().await == Exit::HungUp {}
        let said = tokio::task::spawn_blocking(|| {
            tracing::warn!(target: "fetchimg", event = "leaving", "Leaving now: downloads in flight are cut off, and there is no report; the same command goes on");
        });
        // Nor must the end of the program.
        let _ = tokio::time::timeout(MAX_LAST_WORD_WAIT, said).await;
        first
    }

    /// Waits for a signal, and returns the exit status for it.
    async fn next(&mut self) -> Exit {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => Exit::Interrupted,
            _ = self.terminate.recv() => Exit::Terminated,
            _ = hangup => Exit::HungUp,
        }
    }
}

/// Whether the process ignores SIGHUP. `None` where the system does not tell it in a file; there, SIGHUP keeps its
/// action.
fn is_hangup_ignored() -> Option<bool> {
    ignores_hangup(&std::fs::read_to_string("/proc/self/status").ok()?)
}

/// The same from the text of `/proc/self/status` (`proc_pid_status(5)`): `SigIgn` is a mask in hexadecimal, in which the
/// lowest bit is that of signal 1, SIGHUP.
fn ignores_hangup(status: &str) -> Option<bool> {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(mask.trim(), 16).ok().map(|mask| mask & 1 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ignored_hangup_is_found_in_the_status_of_the_process() {
        for (status, expected) in [
            ("Name:\tx\nSigBlk:\t0000000000000001\nSigIgn:\t0000000000001000\n", Some(false)),
            ("SigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\nSigCgt:\t0\n", Some(true)),
            ("SigIgn:\tnothing\n", None),
            ("Name:\tx\n", None),
        ] {
            assert_eq!(ignores_hangup(status), expected, "{status}");
        }
    }
}
