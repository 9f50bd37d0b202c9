//! Counters, and what is drawn from them.
//!
//! The downloads add to a few atomics; [`Screen`] looks at them ten times a second. Nobody who downloads knows whether
//! anything is drawn.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use console::Term;
use indicatif::{BinaryBytes, HumanCount, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing_subscriber::fmt::MakeWriter;

/// What has happened so far in this pass over the list.
#[derive(Debug, Default)]
pub struct Counters {
    /// Rows that ended as files.
    pub saved: AtomicU64,
    /// Rows that failed.
    pub failed: AtomicU64,
    /// Rows that needed nothing.
    pub skipped: AtomicU64,
    /// Bytes of bodies that have come, no byte counted twice when an attempt covers old ground.
    pub bytes: AtomicU64,
    alive: AtomicU64,
    most_alive: AtomicU64,
}

impl Counters {
    /// A download begins; it ends when the guard is dropped.
    pub fn begin(&self) -> Alive<'_> {
        let now = self.alive.fetch_add(1, Ordering::Relaxed) + 1;
        self.most_alive.fetch_max(now, Ordering::Relaxed);
        Alive(self)
    }

    /// The most downloads that were alive at once.
    #[must_use]
    pub fn most_alive(&self) -> u64 {
        self.most_alive.load(Ordering::Relaxed)
    }
}

/// A download under way.
#[derive(Debug)]
pub struct Alive<'a>(&'a Counters);

impl Drop for Alive<'_> {
    fn drop(&mut self) {
        self.0.alive.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How far one image has got, over all its attempts.
#[derive(Debug, Default)]
pub struct HighWater(u64);

impl HighWater {
    /// Bytes newly reached: none while a retry covers old ground.
    pub fn reach(&mut self, position: u64) -> u64 {
        let new = position.saturating_sub(self.0);
        self.0 += new;
        new
    }
}

/// What is shown while the run goes on (`--progress`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// A live bar.
    Bar,
    /// A log line now and then.
    Log,
    /// Nothing.
    Nothing,
}

/// Between two log lines that tell how far the run has got.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// The terminal: a bar, and log lines that go above it untorn.
#[derive(Clone, Debug)]
pub struct Screen {
    bar: ProgressBar,
    show: Show,
}

impl Screen {
    /// A screen that shows nothing until [`Screen::watch`].
    #[must_use]
    pub fn new(show: Show) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        Self { bar, show }
    }

    /// Shows the counters until the watch is dropped. `total` tells the number of rows once it is known.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn watch(
        &self,
        title: &'static str,
        counters: Arc<Counters>,
        total: impl Fn() -> Option<u64> + Send + 'static,
    ) -> io::Result<Watch> {
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let tick = match self.show {
            Show::Bar => Duration::from_millis(100),
            Show::Log => LOG_EVERY,
            Show::Nothing => return Ok(Watch { stop, thread: None, bar: self.bar.clone() }),
        };
        let bar = self.bar.clone();
        if self.show == Show::Bar {
            bar.reset();
            if let Ok(style) = ProgressStyle::with_template("{msg}") {
                bar.set_style(style);
            }
            bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        let (show, shared, begin) = (self.show, Arc::clone(&stop), Instant::now());
        let draw = move || {
            let (stopped, wake) = &*shared;
            let mut guard = stopped.lock().unwrap_or_else(PoisonError::into_inner);
            loop {
                let wait = wake.wait_timeout_while(guard, tick, |stopped| !*stopped);
                guard = wait.unwrap_or_else(PoisonError::into_inner).0;
                if *guard {
                    return;
                }
                let status = Status::of(&counters, total(), begin.elapsed());
                if show == Show::Bar {
                    status.draw(&bar, title);
                } else {
                    tracing::info!(target: "fetchimg", "{title}: {status}");
                }
            }
        };
        let thread = std::thread::Builder::new().name("progress".into()).spawn(draw)?;
        Ok(Watch { stop, thread: Some(thread), bar: self.bar.clone() })
    }
}

/// Draws until it is dropped.
#[derive(Debug)]
pub struct Watch {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
    bar: ProgressBar,
}

impl Drop for Watch {
    fn drop(&mut self) {
        *self.stop.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.1.notify_all();
        if let Some(thread) = self.thread.take() {
            // It has nothing to say; if it panicked, it has said so.
            let _ = thread.join();
        }
        self.bar.finish_and_clear();
        self.bar.set_draw_target(ProgressDrawTarget::hidden());
    }
}

/// One look at the counters.
struct Status {
    ended: u64,
    failed: u64,
    skipped: u64,
    bytes: u64,
    alive: u64,
    total: Option<u64>,
    elapsed: Duration,
}

impl Status {
    fn of(counters: &Counters, total: Option<u64>, elapsed: Duration) -> Self {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (failed, skipped) = (read(&counters.failed), read(&counters.skipped));
        Self {
            ended: read(&counters.saved) + failed + skipped,
            failed,
            skipped,
            bytes: read(&counters.bytes),
            alive: read(&counters.alive),
            total,
            elapsed,
        }
    }

    fn draw(&self, bar: &ProgressBar, title: &'static str) {
        // One column stays free: terminals differ in what a full line does.
        let width = usize::from(Term::stderr().size().1).saturating_sub(1);
        bar.set_message(self.line(title, width));
    }

    /// One line of at most `width` columns. What matters most comes first; what does not fit is left out as a whole.
    fn line(&self, title: &str, width: usize) -> String {
        let count = match self.total {
            Some(total) => format!("{}/{total}", self.ended),
            None => format!("{} so far", self.ended),
        };
        let mut line = format!("{title} {count}");
        let details = self.details();
        let fits = |line: &str, more: &str| line.len() + 2 + more.len() <= width;
        // The drawn bar only where the two most important details find room beside it.
        if let Some(total) = self.total.filter(|total| *total > 0 && width >= 70) {
            let filled = usize::try_from(self.ended.min(total) * 16 / total).unwrap_or(16);
            line = format!("{title} [{:<16}] {count}", "=".repeat(filled));
        }
        for detail in details {
            if fits(&line, &detail) {
                line.push_str("  ");
                line.push_str(&detail);
            }
        }
        line
    }

    fn details(&self) -> Vec<String> {
        let seconds = self.elapsed.as_secs_f64().max(0.001);
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "shown"
        )]
        let (rate, byte_rate) = (self.ended as f64 / seconds, (self.bytes as f64 / seconds) as u64);
        let mut parts = Vec::with_capacity(8);
        for (count, what) in [(self.failed, "failed"), (self.skipped, "skipped")] {
            if count > 0 {
                parts.push(format!("{} {what}", HumanCount(count)));
            }
        }
        // A handful of images says little about the rest.
        if let Some(left) = self.total.map(|total| total.saturating_sub(self.ended)).filter(|_| self.ended >= 10) {
            #[expect(clippy::cast_precision_loss, reason = "shown")]
            let left = left as f64 / rate.max(0.001);
            if left < 1e8 {
                parts.push(format!("about {:#} left", HumanDuration(Duration::from_secs_f64(left))));
            }
        }
        parts.push(format!("{rate:.1}/s"));
        parts.push(format!("{}/s", BinaryBytes(byte_rate)));
        parts.push(BinaryBytes(self.bytes).to_string());
        parts.push(format!("{} under way", self.alive));
        parts
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.total {
            Some(total) => write!(f, "{} of {}, ", HumanCount(self.ended), HumanCount(total))?,
            None => write!(f, "{} of a list still being read, ", HumanCount(self.ended))?,
        }
        f.write_str(&self.details().join(", "))
    }
}

/// Writes one log line to standard error, above the bar.
#[derive(Debug)]
pub struct AboveBar<'a>(&'a ProgressBar);

impl Write for AboveBar<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // Whoever has closed standard error does not want to know.
        let _ = self.0.suspend(|| io::stderr().lock().write_all(line));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Screen {
    type Writer = AboveBar<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        AboveBar(&self.bar)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_does_not_count_old_ground() {
        let mut water = HighWater::default();
        let reached = [10, 25, 5, 25, 30].map(|position| water.reach(position));
        assert_eq!(reached, [10, 15, 0, 0, 5]);
    }

    #[test]
    fn a_line_fits_its_terminal_and_breaks_no_word() {
        let mut status = Status {
            ended: 4_000,
            failed: 12,
            skipped: 3,
            bytes: 123_456_789,
            alive: 64,
            total: Some(10_000),
            elapsed: Duration::from_secs(20),
        };
        assert_eq!(
            status.line("concurrent", 79),
            "concurrent [======          ] 4000/10000  12 failed  3 skipped  about 30s left"
        );
        assert_eq!(status.line("concurrent", 40), "concurrent 4000/10000  12 failed");
        assert_eq!(status.line("concurrent", 10), "concurrent 4000/10000", "the least there is to say");
        status.total = None;
        assert_eq!(status.line("concurrent", 60), "concurrent 4000 so far  12 failed  3 skipped  200.0/s");
    }

    #[test]
    fn the_most_alive_at_once_is_remembered() {
        let counters = Counters::default();
        let one = counters.begin();
        drop(counters.begin());
        drop(one);
        drop(counters.begin());
        assert_eq!(counters.most_alive(), 2);
    }
}
