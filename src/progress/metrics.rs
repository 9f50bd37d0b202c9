//! Numbers of a run in a file, in the text format of Prometheus (`--metrics`).
//!
//! The file is replaced as a whole, at the beginning, every ten seconds and at the end, so that a reader finds either the
//! old numbers or the new ones. That is what the collector for text files of the node exporter expects.

use std::fmt::{self, Write as _};
use std::fs::Permissions;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Counters;
use super::facts::{Facts, FactsOf, Total};
use crate::record::ErrorKind;
use crate::util::lock;

/// The time between two versions of the file.
const WRITE_INTERVAL: Duration = Duration::from_secs(10);

/// The file with the numbers of a run. Clones share it.
#[derive(Clone, Debug)]
pub struct MetricsFile(Arc<SharedFile>);

#[derive(Debug)]
struct SharedFile {
    path: PathBuf,
    /// The name of the file without its extension, escaped: the label by which a reader of several files tells their
    /// numbers apart.
    run: String,
    /// The number of downloads that may be in flight.
    permits: u64,
    begin: SystemTime,
    state: Mutex<State>,
    /// Notified when the run has ended.
    ended: Condvar,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct State {
    /// The counters of each pass. Numbers that only grow must not begin anew with the next pass.
    passes: Vec<Arc<Counters>>,
    /// Reads the facts of the current pass.
    facts: Option<FactsOf>,
    /// The exit status, when the run has ended.
    exit: Option<u8>,
    /// A write has failed, and that has been said.
    is_told: bool,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("passes", &self.passes.len()).field("exit", &self.exit).finish_non_exhaustive()
    }
}

impl MetricsFile {
    /// Writes the file of a run that begins, with `permits` downloads in flight at most, and keeps it up to date until
    /// [`MetricsFile::finish`].
    ///
    /// # Errors
    /// When it cannot be written, or is no regular file, which could not be replaced as a whole.
    pub fn create(path: &Path, permits: usize) -> io::Result<Self> {
        // A symbolic link stays one.
        let path = match path.canonicalize() {
            Ok(path) if path.is_file() => path,
            Ok(_) => return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file")),
            Err(_) => path.to_owned(),
        };
        let run = path.file_stem().unwrap_or_default().to_string_lossy();
        let run = run.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
        let file = Self(Arc::new(SharedFile {
            path,
            run,
            permits: permits as u64,
            begin: SystemTime::now(),
            state: Mutex::default(),
            ended: Condvar::new(),
            thread: Mutex::default(),
        }));
        file.0.replace(&file.0.text(&lock(&file.0.state)))?;
        let shared = Arc::clone(&file.0);
        let thread = std::thread::Builder::new().name("metrics".into()).spawn(move || shared.keep_writing())?;
        *lock(&file.0.thread) = Some(thread);
        Ok(file)
    }

    /// Counts a pass with these counters too, and takes the facts from it.
    pub fn watch(&self, counters: Arc<Counters>, facts: FactsOf) {
        let mut state = lock(&self.0.state);
        state.passes.push(counters);
        state.facts = Some(facts);
    }

    /// Writes the last numbers, with the exit status of the run.
    pub fn finish(self, exit: u8) {
        lock(&self.0.state).exit = Some(exit);
        self.0.ended.notify_all();
        if let Some(thread) = lock(&self.0.thread).take() {
            // A panic of the thread has been reported by the panic handler.
            let _ = thread.join();
        }
    }
}

impl SharedFile {
    /// Writes the file at intervals, and a last time when the run has ended.
    fn keep_writing(&self) {
        let mut state = lock(&self.state);
        while state.exit.is_none() {
            let going_on = |state: &mut State| state.exit.is_none();
            let waited = self.ended.wait_timeout_while(state, WRITE_INTERVAL, going_on);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            if let Err(error) = self.replace(&self.text(&state))
                && !std::mem::replace(&mut state.is_told, true)
            {
                let path = self.path.display();
                tracing::warn!(target: "fetchimg", "The metrics cannot be written, and the run goes on: {path}: {error}");
            }
        }
        // What they read belongs to the run.
        state.facts = None;
    }

    /// Puts another file in place of the one that is there.
    fn replace(&self, text: &str) -> io::Result<()> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // The name does not end in .prom, so no exporter reads the file before it is complete. Exporters are other users.
        let mut file = tempfile::Builder::new()
            .prefix(".metrics-of-fetchimg-")
            .permissions(Permissions::from_mode(0o644))
            .tempfile_in(folder)?;
        file.write_all(text.as_bytes())?;
        file.persist(&self.path)?;
        Ok(())
    }

    fn text(&self, state: &State) -> String {
        let facts = state.facts.as_ref().map(|facts| facts());
        let facts = facts.unwrap_or_default();
        let mut text = Exposition { run: &self.run, text: String::new(), name: "" };
        let sum = |of: fn(&Counters) -> &AtomicU64| -> u64 {
            state.passes.iter().map(|counters| of(counters).load(Ordering::Relaxed)).sum()
        };
        text.family("fetchimg_rows_total", "counter", "Rows that have ended, by outcome.");
        for (outcome, count) in [
            ("saved", sum(|counters| &counters.saved)),
            ("failed", sum(|counters| &counters.failed)),
            ("skipped", sum(|counters| &counters.skipped)),
            ("refused", sum(|counters| &counters.refused)),
        ] {
            text.sample(&[("outcome", outcome)], count);
        }
        text.family("fetchimg_received_bytes_total", "counter", "Bytes of bodies that were received.");
        text.sample(&[], sum(|counters| &counters.bytes));
        text.family("fetchimg_failures_total", "counter", "Rows that failed, by kind of error.");
        for (kind, count) in failures(&state.passes) {
            match kind {
                ErrorKind::HttpStatus(status) => {
                    text.sample(&[("error", kind.name()), ("http_status", &status.to_string())], count);
                }
                _ => text.sample(&[("error", kind.name())], count),
            }
        }
        self.gauges(&mut text, state, &facts);
        text.text
    }

    fn gauges(&self, text: &mut Exposition<'_>, state: &State, facts: &Facts) {
        if let Total::Known(rows) | Total::About(rows) = facts.total {
            let is_known = matches!(facts.total, Total::Known(_));
            text.family("fetchimg_list_rows", "gauge", "Rows of the lists; an estimate until they are read.");
            text.sample(&[("basis", if is_known { "read" } else { "estimated" })], rows);
        }
        text.family("fetchimg_permits", "gauge", "Downloads that may be in flight.");
        text.sample(&[], self.permits);
        text.family("fetchimg_permits_in_use", "gauge", "Downloads that are in flight.");
        text.sample(&[], state.passes.last().map_or(0, |counters| counters.in_flight()));
        text.family("fetchimg_hosts_throttled", "gauge", "Hosts that get fewer requests, because they asked for that.");
        text.sample(&[], facts.throttled.len() as u64);
        text.family("fetchimg_hosts_down", "gauge", "Hosts that do not answer.");
        text.sample(&[], facts.down.len() as u64);
        text.family(
            "fetchimg_hosts_down_rows",
            "gauge",
            "Rows that have been read and wait for hosts that do not answer.",
        );
        text.sample(&[], facts.down.iter().map(|host| host.rows).sum());
        if let Some((open, committed)) = facts.shards {
            text.family("fetchimg_shards_open", "gauge", "Shards that are being made.");
            text.sample(&[], open);
            text.family("fetchimg_shards_committed_total", "counter", "Shards that this run completed.");
            text.sample(&[], committed);
        }
        text.family("fetchimg_start_timestamp_seconds", "gauge", "When the run began, as a Unix time.");
        text.number(&[], seconds(self.begin));
        text.family("fetchimg_update_timestamp_seconds", "gauge", "When these numbers were written, as a Unix time.");
        text.number(&[], seconds(SystemTime::now()));
        text.family("fetchimg_running", "gauge", "1 while the run goes on, 0 when it has ended.");
        text.sample(&[], u64::from(state.exit.is_none()));
        if let Some(exit) = state.exit {
            text.family("fetchimg_exit_status", "gauge", "The exit status of the run.");
            text.sample(&[], exit.into());
        }
        text.family("fetchimg_build_info", "gauge", "The version of fetchimg.");
        text.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    }
}

/// The failures of all passes by kind.
fn failures(passes: &[Arc<Counters>]) -> Vec<(ErrorKind, u64)> {
    let mut sums = std::collections::BTreeMap::new();
    for (kind, count) in passes.iter().flat_map(|counters| counters.failures()) {
        *sums.entry(kind).or_default() += count;
    }
    sums.into_iter().collect()
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds are exact until the year 287000")]
fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as f64 / 1000.0
}

/// Text in the format of Prometheus: families of samples, each behind its description.
struct Exposition<'a> {
    /// A label of all samples.
    run: &'a str,
    text: String,
    /// The family that is being written.
    name: &'static str,
}

impl Exposition<'_> {
    /// Begins a family. Writing to a `String` cannot fail.
    fn family(&mut self, name: &'static str, kind: &str, help: &str) {
        self.name = name;
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// Adds a count to the family. Values of these labels are names of this program, which need no escapes.
    fn sample(&mut self, labels: &[(&str, &str)], value: u64) {
        self.add(labels, value);
    }

    /// Adds a number to the family.
    fn number(&mut self, labels: &[(&str, &str)], value: f64) {
        self.add(labels, value);
    }

    fn add(&mut self, labels: &[(&str, &str)], value: impl fmt::Display) {
        let _ = write!(self.text, "{}{{run=\"{}\"", self.name, self.run);
        for (label, value) in labels {
            let _ = write!(self.text, ",{label}=\"{value}\"");
        }
        let _ = writeln!(self.text, "}} {value}");
    }
}
