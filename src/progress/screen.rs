//! Who draws, and when.
//!
//! While a pass is watched, one thread alone writes to the terminal: the view ten times a second, and the log lines that
//! have come meanwhile above it. So no line is ever torn, and whoever logs waits for nobody, however slow the terminal
//! is, until very much has gathered.

use std::io::{self, IsTerminal, Write};
use std::num::NonZeroUsize;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use console::Term;
use tracing_subscriber::fmt::MakeWriter;

use super::counters::Counters;
use super::status::{Facts, Observer};
use super::terminal::{Paint, frame, is_live};
use super::view::{self, ViewSize};

/// What is shown while the run goes on (`--progress`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// A live view.
    Bar,
    /// A log line now and then.
    Log,
    /// Nothing.
    Nothing,
}

impl Show {
    /// What suits standard error (`--progress auto`).
    #[must_use]
    pub fn what_fits() -> Self {
        if is_live() { Self::Bar } else { Self::Log }
    }
}

/// Between two looks that are drawn ...
const TICK: Duration = Duration::from_millis(100);
/// ... and between two log lines that tell how far the run has got.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// Log lines that come sooner after each other are written together, so that a thousand of them do not draw the view a
/// thousand times.
const GATHER: Duration = Duration::from_millis(20);

/// Whoever logs waits from so many bytes on that the terminal has not taken.
const ROOM: usize = 256 * 1024;

/// A program that is told to leave at once waits no longer than this for its terminal.
const PARTING: Duration = Duration::from_millis(200);

/// Standard error, with a view at its bottom or not. Clones share it.
#[derive(Clone, Debug)]
pub struct Screen(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    show: Show,
    paint: Paint,
    state: Mutex<State>,
    /// Somebody has something for the thread that draws.
    called: Condvar,
    /// It has taken it.
    taken: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// There is a thread that draws. Nobody else writes while there is.
    is_drawing: bool,
    /// It is to end.
    stop: bool,
    /// Log lines that it has not written.
    pending: Vec<u8>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it is time for a look, or until there is something to write and it is time for that. What is to be
    /// written, and whether it is the last.
    fn next(&self, look: Instant, write: Instant) -> (Vec<u8>, bool) {
        let mut state = self.state();
        loop {
            let until = if state.pending.is_empty() { look } else { look.min(write) };
            let left = until.saturating_duration_since(Instant::now());
            if state.stop || left.is_zero() {
                let pending = std::mem::take(&mut state.pending);
                self.taken.notify_all();
                return (pending, state.stop);
            }
            state = self.called.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Standard error is this thread's. When it ends, by a panic as well, whoever logs writes there again.
struct Drawing<'a>(&'a Shared);

impl Drop for Drawing<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        put(&std::mem::take(&mut state.pending));
        state.is_drawing = false;
        self.0.taken.notify_all();
    }
}

/// Writes to standard error. Whoever has closed it does not want to know.
fn put(bytes: &[u8]) {
    if !bytes.is_empty() {
        let _ = io::stderr().lock().write_all(bytes);
    }
}

impl Screen {
    /// A screen that shows nothing until [`Screen::watch`]. A view is for terminals; elsewhere there is nothing instead.
    #[must_use]
    pub fn new(show: Show, paint: Paint) -> Self {
        let show = if show == Show::Bar && !io::stderr().is_terminal() { Show::Nothing } else { show };
        let (state, called, taken) = Default::default();
        Self(Arc::new(Shared { show, paint, state, called, taken }))
    }

    /// Counters that know what this screen shows: about so many downloads at once, if anything.
    #[must_use]
    pub fn counters(&self, at_once: NonZeroUsize) -> Counters {
        if self.0.show == Show::Nothing { Counters::default() } else { Counters::watched(at_once) }
    }

    /// Shows a pass until the watch is dropped. `title`: its name, where there is more than one.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn watch<F>(&self, title: &'static str, counters: Arc<Counters>, facts: F) -> io::Result<Watch>
    where
        F: Fn() -> Facts + Send + 'static,
    {
        let mut watch = Watch { screen: self.clone(), thread: None };
        let (shared, mut observer) = (Arc::clone(&self.0), Observer::new(title, counters, facts));
        self.0.state().stop = false;
        let show: Box<dyn FnOnce() + Send> = match self.0.show {
            Show::Nothing => return Ok(watch),
            Show::Bar => {
                // Before there is a thread: whatever is logged from here on waits for it.
                self.0.state().is_drawing = true;
                Box::new(move || draw(&shared, &mut observer))
            }
            Show::Log => Box::new(move || log(&shared, &mut observer)),
        };
        match std::thread::Builder::new().name("progress".into()).spawn(show) {
            Ok(thread) => watch.thread = Some(thread),
            Err(error) => {
                drop(Drawing(&self.0));
                return Err(error);
            }
        }
        Ok(watch)
    }

    /// Takes the view away before the program ends, whatever is still going on. Who does not read gets no say in that.
    pub fn leave(&self) {
        let mut state = self.0.state();
        state.stop = true;
        self.0.called.notify_all();
        drop(self.0.taken.wait_timeout_while(state, PARTING, |state| state.is_drawing));
    }
}

/// Draws until it is told to stop.
fn draw(shared: &Shared, observer: &mut Observer<impl Fn() -> Facts>) {
    let _drawing = Drawing(shared);
    let (mut next_look, mut next_write) = (Instant::now() + TICK, Instant::now());
    let (mut lines, mut size) = (Vec::new(), None);
    loop {
        let (above, is_last) = shared.next(next_look, next_write);
        let is_there = !lines.is_empty();
        let now = Instant::now();
        if is_last {
            put(&frame(&above, &[], is_there, shared.paint.colours));
            return;
        }
        let mut has_changed = !above.is_empty();
        if now >= next_look {
            let (height, width) = Term::stderr().size();
            let drawn = view::lines(&observer.look(), ViewSize { width, height }, shared.paint.unicode);
            // A terminal of another size may have made something else of the same lines.
            has_changed |= drawn != lines || size.replace((width, height)) != Some((width, height));
            lines = drawn;
            next_look = now + TICK;
        }
        if has_changed {
            put(&frame(&above, &lines, is_there, shared.paint.colours));
        }
        next_write = now + GATHER;
    }
}

/// Logs until it is told to stop. Whoever has read one such line is told how it ended, too.
fn log(shared: &Shared, observer: &mut Observer<impl Fn() -> Facts>) {
    let mut has_said = false;
    loop {
        let waited = shared.called.wait_timeout_while(shared.state(), LOG_EVERY, |state| !state.stop);
        let is_last = waited.unwrap_or_else(PoisonError::into_inner).0.stop;
        if is_last && !has_said {
            return;
        }
        let status = if is_last { observer.last_look() } else { observer.look() };
        let title = if status.title.is_empty() { "Progress" } else { status.title };
        tracing::info!(target: "fetchimg", "{title}: {status}");
        if is_last {
            return;
        }
        has_said = true;
    }
}

/// Shows a pass until it is dropped.
#[derive(Debug)]
pub struct Watch {
    screen: Screen,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.screen.0.state().stop = true;
        self.screen.0.called.notify_all();
        if let Some(thread) = self.thread.take() {
            // It has nothing to say; if it panicked, it has said so.
            let _ = thread.join();
        }
    }
}

/// Writes log lines to standard error, above the view.
#[derive(Debug)]
pub struct AboveView<'a>(&'a Shared);

impl Write for AboveView<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let state = self.0.state();
        let is_full = |state: &mut State| state.is_drawing && state.pending.len() > ROOM;
        let mut state = self.0.taken.wait_while(state, is_full).unwrap_or_else(PoisonError::into_inner);
        if state.is_drawing {
            // Whoever draws knows of the lines that are there already.
            if state.pending.is_empty() {
                self.0.called.notify_all();
            }
            state.pending.extend_from_slice(line);
        } else {
            drop(state);
            put(line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Screen {
    type Writer = AboveView<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        AboveView(&self.0)
    }
}
