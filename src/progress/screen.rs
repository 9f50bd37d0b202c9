//! Writes the live view and the log lines to standard error.
//!
//! While a pass is shown, a single thread writes to the terminal: the view ten times a second, and above it the log lines
//! that have been queued since. So the view never tears a log line. Logging only appends to the queue, and does not wait for
//! the terminal, however slow that is, unless the queue is full.
//!
//! That is why the view is drawn here and not by `MultiProgress` of the crate indicatif (0.18): its `println` and `suspend`
//! draw in the thread that logs, and hold the lock of all bars meanwhile. There, a log line waits for the terminal, and a
//! terminal that does not read would stop every download that logs one.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::num::NonZeroUsize;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use console::Term;
use tracing_subscriber::fmt::MakeWriter;

use super::counters::Counters;
use super::facts::FactsOf;
use super::status::{Observer, Status};
use super::terminal::{TerminalStyle, frame, plain_line, supports_live_view};
use super::view::{self, ViewSize};
use super::words;
use crate::util::lock;
use crate::util::wrap::{with_short_urls, wrapped};

/// How progress is shown while the run goes on (`--progress`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgressMode {
    /// A live view.
    Bar,
    /// A log line every ten seconds.
    Log,
    /// Not at all.
    Off,
}

impl ProgressMode {
    /// A live view if standard error supports one, log lines otherwise (`--progress auto`).
    #[must_use]
    pub fn auto() -> Self {
        if supports_live_view() { Self::Bar } else { Self::Log }
    }
}

/// `--heartbeat`: the silence after which a line says that the run goes on.
pub const DEFAULT_HEARTBEAT: Duration = Duration::from_secs(30);

/// The target of that line in the log. It has a target of its own, because it is logged where other lines are not.
pub const HEARTBEAT_TARGET: &str = "fetchimg::heartbeat";

/// Time between two frames of the live view.
const FRAME_INTERVAL: Duration = Duration::from_millis(100);
/// Time between two log lines with the progress.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The shortest time between two writes. Log lines that come faster are written together, so that a thousand of them do
/// not draw the view a thousand times.
const MIN_WRITE_INTERVAL: Duration = Duration::from_millis(20);

/// If the queue of log lines has more bytes than this, logging waits until the terminal has taken them.
const MAX_QUEUED_BYTES: usize = 256 * 1024;

/// The longest time for which a program that is told to exit at once waits for its terminal.
const MAX_CLOSE_WAIT: Duration = Duration::from_millis(200);

/// Standard error, with or without a live view below the log lines. Clones share it.
#[derive(Clone, Debug)]
pub struct Screen(Arc<SharedScreen>);

#[derive(Debug)]
struct SharedScreen {
    mode: ProgressMode,
    style: TerminalStyle,
    /// Failures are summed up by host and kind at the end of a pass, because the log has no line for each of them.
    groups_failures: bool,
    state: Mutex<ScreenState>,
    /// The silence after which a line says that the run goes on.
    heartbeat: Option<Duration>,
    /// Notified when the drawing thread has something to do.
    wake: Condvar,
    /// Notified when the drawing thread has taken the queue or has ended.
    taken: Condvar,
}

#[derive(Debug, Default)]
struct ScreenState {
    /// A thread draws the view; no other thread writes to standard error.
    is_drawing: bool,
    /// The thread is asked to end.
    stop: bool,
    /// Log lines that the drawing thread has not taken yet.
    queue: Vec<u8>,
    /// When the last log line came.
    last_line: Option<Instant>,
    /// What a heartbeat tells of, during a pass.
    beating: Option<Arc<Mutex<Observer>>>,
    /// The program is about to exit.
    is_closed: bool,
}

impl SharedScreen {
    fn state(&self) -> MutexGuard<'_, ScreenState> {
        lock(&self.state)
    }

    /// Waits until the next frame is due, or until log lines are queued and the next write is due. Returns the queued lines,
    /// and whether the thread is to end.
    fn next(&self, frame: Instant, write: Instant) -> (Vec<u8>, bool) {
        let mut state = self.state();
        loop {
            let until = if state.queue.is_empty() { frame } else { frame.min(write) };
            let left = until.saturating_duration_since(Instant::now());
            if state.stop || left.is_zero() {
                let queue = std::mem::take(&mut state.queue);
                self.taken.notify_all();
                return (queue, state.stop);
            }
            state = self.wake.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Held by the thread that draws. When it is dropped, also by a panic, log lines go directly to standard error again.
struct DrawingGuard<'a>(&'a SharedScreen);

impl Drop for DrawingGuard<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        write_stderr(&std::mem::take(&mut state.queue));
        state.is_drawing = false;
        self.0.taken.notify_all();
    }
}

/// Writes to standard error. Errors are ignored: there is no other place to report them.
fn write_stderr(bytes: &[u8]) {
    if !bytes.is_empty() {
        let _ = io::stderr().lock().write_all(bytes);
    }
}

impl Screen {
    /// A screen that shows no progress until [`Screen::watch`]. If standard error is not a terminal, a live view is replaced
    /// by no progress at all.
    #[must_use]
    pub fn new(mode: ProgressMode, style: TerminalStyle) -> Self {
        let mode = if mode == ProgressMode::Bar && !io::stderr().is_terminal() { ProgressMode::Off } else { mode };
        let (state, wake, taken) = Default::default();
        let (groups_failures, heartbeat) = (false, None);
        Self(Arc::new(SharedScreen { mode, style, groups_failures, state, heartbeat, wake, taken }))
    }

    /// A screen that tells of failures by host and kind, in plain lines at the end of a pass. To be called before the screen
    /// is cloned.
    #[must_use]
    pub fn grouping_failures(mut self, groups_failures: bool) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.0) {
            shared.groups_failures = groups_failures;
        }
        self
    }

    /// A screen that says that the run goes on whenever there was no log line for this time, if standard error is no
    /// terminal. To be called before the screen is cloned.
    #[must_use]
    pub fn beating(mut self, heartbeat: Option<Duration>) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.0) {
            shared.heartbeat = heartbeat.filter(|_| !io::stderr().is_terminal());
        }
        self
    }

    /// Begins to do so, until [`Screen::close`]. The time before and after the downloads counts, too.
    ///
    /// # Errors
    /// When the system cannot start a thread.
    pub fn beat(&self) -> io::Result<()> {
        if let Some(silence) = self.0.heartbeat {
            let shared = Arc::clone(&self.0);
            std::thread::Builder::new().name("heartbeat".into()).spawn(move || beat(&shared, silence))?;
        }
        Ok(())
    }

    /// Counters with what this screen shows; about `at_once` downloads are in flight at the same time.
    #[must_use]
    pub fn counters(&self, at_once: NonZeroUsize) -> Counters {
        match self.0.mode {
            ProgressMode::Off if self.0.groups_failures => Counters::grouping(),
            ProgressMode::Off => Counters::default(),
            ProgressMode::Bar | ProgressMode::Log => Counters::watched(at_once),
        }
    }

    /// Shows the progress of a pass until the guard is dropped. `title` is the name of the pass, or empty if there is only
    /// one.
    ///
    /// # Errors
    /// When the system cannot start a thread.
    pub fn watch(&self, title: &'static str, counters: Arc<Counters>, facts: FactsOf) -> io::Result<WatchGuard> {
        let mut watch = WatchGuard { screen: self.clone(), thread: None, at_end: None };
        if self.0.heartbeat.is_some() {
            let observer = Observer::new(title, Arc::clone(&counters), Arc::clone(&facts));
            self.0.state().beating = Some(Arc::new(Mutex::new(observer)));
        }
        let (shared, mut observer) = (Arc::clone(&self.0), Observer::new(title, counters, facts));
        self.0.state().stop = false;
        let run: Box<dyn FnOnce() + Send> = match self.0.mode {
            ProgressMode::Off => {
                if shared.groups_failures {
                    watch.at_end = Some(Box::new(move || write_stderr(&last_lines(&shared, &observer))));
                }
                return Ok(watch);
            }
            ProgressMode::Bar => {
                // Set before the thread starts, so that lines logged from here on are queued for it.
                self.0.state().is_drawing = true;
                Box::new(move || draw(&shared, &mut observer))
            }
            ProgressMode::Log => Box::new(move || log(&shared, &mut observer)),
        };
        match std::thread::Builder::new().name("progress".into()).spawn(run) {
            Ok(thread) => watch.thread = Some(thread),
            Err(error) => {
                drop(DrawingGuard(&self.0));
                return Err(error);
            }
        }
        Ok(watch)
    }

    /// Removes the view before the program exits, even if downloads go on. Waits at most 200 milliseconds for a terminal
    /// that does not read.
    pub fn close(&self) {
        let mut state = self.0.state();
        (state.stop, state.is_closed) = (true, true);
        self.0.wake.notify_all();
        drop(self.0.taken.wait_timeout_while(state, MAX_CLOSE_WAIT, |state| state.is_drawing));
    }
}

/// Draws the view until it is asked to stop.
fn draw(shared: &SharedScreen, observer: &mut Observer) {
    let _guard = DrawingGuard(shared);
    let (mut next_frame, mut next_write) = (Instant::now() + FRAME_INTERVAL, Instant::now());
    let (mut lines, mut size) = (Vec::new(), None);
    loop {
        let (above, is_last) = shared.next(next_frame, next_write);
        let above = if shared.groups_failures { fitted(above) } else { above };
        let is_shown = !lines.is_empty();
        let now = Instant::now();
        if is_last {
            let above = [above, last_lines(shared, observer)].concat();
            write_stderr(&frame(&above, &[], is_shown, shared.style.colours));
            return;
        }
        let mut has_changed = !above.is_empty();
        if now >= next_frame {
            let (height, width) = Term::stderr().size();
            let new_lines = view::lines(&observer.status(), ViewSize { width, height }, shared.style.unicode);
            // After a change of its size, the terminal may show the same lines differently.
            has_changed |= new_lines != lines || size.replace((width, height)) != Some((width, height));
            lines = new_lines;
            next_frame = now + FRAME_INTERVAL;
        }
        if has_changed {
            write_stderr(&frame(&above, &lines, is_shown, shared.style.colours));
        }
        next_write = now + MIN_WRITE_INTERVAL;
    }
}

/// The lines that stay when the view is gone: the failures by host and kind, where the log does not have each of them.
fn last_lines(shared: &SharedScreen, observer: &Observer) -> Vec<u8> {
    let lines = if shared.groups_failures { observer.failure_lines() } else { Vec::new() };
    let width = wrapped_width();
    let lines = lines.iter().map(|line| with_short_urls(line, width - LEAD));
    let lines = lines.flat_map(|line| wrapped(&line, width, "", INDENT));
    lines.flat_map(|line| plain_line(&line, shared.style.colours)).collect()
}

/// Log lines for a terminal whose log has few of them: those that tell what goes on, and not what became of each row. What is
/// looked up in the log, or read by programs, is not broken into lines.
fn fitted(lines: Vec<u8>) -> Vec<u8> {
    let text = match String::from_utf8(lines) {
        Ok(text) if text.is_empty() => return Vec::new(),
        Ok(text) => text,
        Err(error) => return error.into_bytes(),
    };
    let width = wrapped_width();
    text.lines().flat_map(|line| wrapped(line, width, "", INDENT)).flat_map(|line| (line + "\n").into_bytes()).collect()
}

/// The columns into which lines are broken.
fn wrapped_width() -> usize {
    usize::from(Term::stderr().size().1).max(MIN_WRAPPED_WIDTH)
}

/// What begins a line, `failed: `, so that a URL has room beside it.
const LEAD: usize = 8;

/// The indent of what follows a line that is too long for the terminal.
const INDENT: usize = 2;

/// On a terminal with fewer columns, lines are not broken for it.
const MIN_WRAPPED_WIDTH: usize = 20;

/// Logs the progress until it is asked to stop. If it has logged a line, it logs a last one at the end of the pass.
fn log(shared: &SharedScreen, observer: &mut Observer) {
    let mut has_logged = false;
    loop {
        let waited = shared.wake.wait_timeout_while(shared.state(), LOG_INTERVAL, |state| !state.stop);
        let is_last = waited.unwrap_or_else(PoisonError::into_inner).0.stop;
        if is_last && !has_logged {
            return;
        }
        let status = if is_last { observer.final_status() } else { observer.status() };
        let title = if status.title.is_empty() { "Progress" } else { status.title };
        tracing::info!(target: "fetchimg", event = "progress", "{title}: {status}");
        if is_last {
            return;
        }
        has_logged = true;
    }
}

/// Says that the run goes on, whenever there was no log line for `silence`, until the screen is closed.
fn beat(shared: &SharedScreen, silence: Duration) {
    let begin = Instant::now();
    let mut state = shared.state();
    while !state.is_closed {
        let left = silence.saturating_sub(state.last_line.unwrap_or(begin).elapsed());
        if !left.is_zero() {
            state = shared.wake.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            continue;
        }
        // RUST_LOG may leave the line out.
        state.last_line = Some(Instant::now());
        let beating = state.beating.clone();
        drop(state);
        if let Some(observer) = beating {
            tell_status(&lock(&observer).status());
        } else {
            let elapsed = begin.elapsed();
            let seconds = elapsed.as_secs_f64();
            tracing::info!(
                target: HEARTBEAT_TARGET,
                event = "heartbeat",
                seconds,
                "Still running: for {}, and downloads have not begun, or have ended",
                words::short(elapsed),
            );
        }
        state = shared.state();
    }
}

/// Says how far a pass is, as a heartbeat.
fn tell_status(status: &Status) {
    tracing::info!(
        target: HEARTBEAT_TARGET,
        event = "heartbeat",
        seconds = status.elapsed.as_secs_f64(),
        rows = status.ended,
        left = status.rest(),
        failed = status.failed,
        skipped = status.skipped,
        refused = status.refused,
        bytes = status.bytes,
        rows_per_second = status.rates.requested,
        bytes_per_second = status.rates.bytes,
        "Still running: {status}",
    );
}

/// Shows the progress of a pass until it is dropped.
pub struct WatchGuard {
    screen: Screen,
    thread: Option<JoinHandle<()>>,
    /// What is to be done at the end where there is no thread.
    at_end: Option<Box<dyn FnOnce() + Send>>,
}

impl fmt::Debug for WatchGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchGuard").field("screen", &self.screen).finish_non_exhaustive()
    }
}

impl Drop for WatchGuard {
    fn drop(&mut self) {
        let mut state = self.screen.0.state();
        state.stop = true;
        let beating = state.beating.take();
        drop(state);
        drop(beating);
        self.screen.0.wake.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been reported by the panic handler.
            let _ = thread.join();
        }
        if let Some(at_end) = self.at_end.take() {
            at_end();
        }
    }
}

/// Writes log lines to standard error, above the view if there is one.
#[derive(Debug)]
pub struct LogWriter<'a>(&'a SharedScreen);

impl Write for LogWriter<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let state = self.0.state();
        let is_full = |state: &mut ScreenState| state.is_drawing && state.queue.len() > MAX_QUEUED_BYTES;
        let mut state = self.0.taken.wait_while(state, is_full).unwrap_or_else(PoisonError::into_inner);
        state.last_line = Some(Instant::now());
        if state.is_drawing {
            // If the queue is not empty, the drawing thread has been notified already.
            if state.queue.is_empty() {
                self.0.wake.notify_all();
            }
            state.queue.extend_from_slice(line);
        } else {
            drop(state);
            write_stderr(line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Screen {
    type Writer = LogWriter<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        LogWriter(&self.0)
    }
}
