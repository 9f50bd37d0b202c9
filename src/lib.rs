//! fetchimg turns a list of image URLs into verified images on disk.
//!
//! Every row of the input becomes exactly one [`Job`](job::Job), every `Job` becomes exactly one
//! [`Record`](job::Record), and everything a user sees (files, journal, progress, report, exit status) is made from
//! records.
//!
//! The rooms, in the order a URL meets them:

pub mod cli;
pub mod config;
pub mod input;
pub mod rows;
// A row asks these three in turn:
pub mod journal;
pub mod lookahead;
pub mod naming;
pub mod schedule;
// Its download goes through these:
pub mod fetch;
pub mod http;
pub mod image;
pub mod limiter;
pub mod sink;
// And what came of it is told here:
pub mod exit;
pub mod logging;
pub mod progress;
pub mod report;
// The vocabulary, and what the system allows:
pub mod error;
pub mod format;
pub mod job;
pub mod limits;
pub mod shown;

use std::cell::RefCell;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::{StreamExt, future};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::cli::Args;
use crate::config::{Config, ReportFormat, Target};
use crate::error::RunError;
pub use crate::exit::Exit;
use crate::fetch::{Fetcher, Phase};
use crate::http::Client;
use crate::input::Lists;
use crate::journal::{Journal, Key};
use crate::limiter::{HostKey, Limiter, Seat};
use crate::naming::Namer;
use crate::progress::{Counters, Screen};
use crate::report::{COMPLETED, HOSTS_NAMED, Mode, OverloadedHost, Report, Summary};
use crate::rows::{Manifest, Rows};
use crate::sink::Files;

/// How long downloads under way may go on when the run is asked to end.
const GRACE: Duration = Duration::from_secs(5);

/// So many rows of the list are held at most, in the search for one whose host has a seat. Half a kilobyte each.
const AHEAD: usize = 8192;

/// Tasks for each seat, and some more: those that wait to try again have none, and a few hosts with many of them must
/// not keep the seats of the others empty.
const TASKS_PER_SEAT: NonZeroUsize = NonZeroUsize::MIN.saturating_add(3);
const TASKS_AT_REST: usize = 256;

/// A record that waits to be written waits no longer than this.
const WRITE_EVERY: Duration = Duration::from_millis(200);

/// The whole program: a command line, the program's name first, to an exit status.
#[must_use]
pub fn program(line: Vec<OsString>) -> Exit {
    let args = match Args::parse_line(line) {
        Ok(args) => args,
        Err(error) => {
            error.print();
            return if error.is_mistake() { Exit::Usage } else { Exit::Clean };
        }
    };
    let config = match Config::try_from(args) {
        Ok(config) => config,
        Err(error) => return complain(&error, Exit::Usage),
    };
    let screen = Screen::new(config.seeing.show);
    logging::start(config.seeing.verbosity, config.seeing.show, config.seeing.log_format, screen.clone());
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&RunError::System(error), Exit::Aborted),
    };
    let ended = runtime.block_on(run(&config, &screen));
    // A lookup of the system's resolver may still hold a thread; nobody waits for its answer any more.
    runtime.shutdown_background();
    ended.unwrap_or_else(|error| complain(&error, Exit::Aborted))
}

/// The last word. It may quote what was typed or read.
fn complain(error: &dyn std::fmt::Display, exit: Exit) -> Exit {
    let text = format!("fetchimg: {error}");
    for line in text.lines() {
        // Whoever has closed standard error does not want to know.
        let _ = writeln!(io::stderr(), "{}", shown::harmless(line));
    }
    exit
}

/// A run: everything is opened, the list is gone through once or twice, and the report is written.
///
/// # Errors
/// When the run could not start or go on.
pub async fn run(config: &Config, screen: &Screen) -> Result<Exit, RunError> {
    let lists = Lists::open(&config.sources)?;
    let files = Arc::new(Files::open(&config.output, config.fsync)?);
    let mut namer = Namer::new(config.template.clone(), config.fetch.fix_extension);
    let mut journal = Journal::open(&files.private("manifest.jsonl"), |path| namer.keep(path))?;
    let mut manifest = config.manifest.as_ref().map(open_manifest).transpose()?;
    let reports = config.seeing.reports.iter().map(|(format, path)| Ok((*format, path.as_path(), create(path)?)));
    let reports = reports.collect::<Result<Vec<_>, RunError>>()?;
    let window = limits::allow(config.concurrency);
    if window < config.concurrency {
        let (wanted, window) = (config.concurrency, window);
        tracing::warn!(target: "fetchimg", "Downloading {window} at once, not {wanted}: the limit on open files is low (ulimit -n)");
    }
    let http = http::Options { concurrency: window.get(), ..config.http.clone() };
    let (phase, heard) = watch::channel(Phase::Running);
    let mut asked = Signals::new()?;
    let history = files.private("runs.jsonl");

    let passes = async {
        let lists = if config.modes.len() > 1 { lists.repeatable()? } else { lists };
        let mut summaries = Vec::new();
        let mut failure = None;
        for (number, mode) in config.modes.iter().enumerate() {
            let is_last = number + 1 == config.modes.len();
            let pass = OnePass {
                mode: *mode,
                window,
                config,
                screen,
                // Each mode makes its own connections: the second must not live on the first one's.
                client: Client::new(http.clone())?,
                files: &files,
                namer: Arc::new(Mutex::new(namer.clone())),
                phase: &phase,
            };
            // The manifest holds one record per row: those of the last pass.
            let manifest = manifest.as_mut().filter(|_| is_last);
            let (summary, trouble) = pass.go(&lists, &mut journal, manifest).await?;
            journal.begin_pass();
            summaries.push(summary);
            failure = trouble;
            if failure.is_some() || *heard.borrow() != Phase::Running {
                break;
            }
        }
        if config.fsync {
            journal.sync()?;
        }
        Ok((summaries, failure))
    };
    let (summaries, failure) = tokio::select! {
        ended = passes => ended?,
        exit = asked.twice(&phase) => return Ok(exit),
    };

    let interrupted = asked.exit;
    let before = match &*summaries {
        [only] => report::history::other_mode(&history, only),
        _ => None,
    };
    for summary in summaries.iter().filter(|_| interrupted.is_none() && failure.is_none()) {
        report::history::remember(&history, summary)
            .map_err(|source| RunError::Output { path: history.clone(), source })?;
    }
    let ended = match (&failure, interrupted) {
        (Some(error), _) => error.to_string(),
        (None, Some(_)) => "interrupted".to_owned(),
        (None, None) => COMPLETED.to_owned(),
    };
    let failed = summaries.last().is_some_and(|summary| summary.failed > 0);
    let output = config.output.display().to_string();
    tell(config, reports, &Report::new(output, ended, summaries, window.get(), before))?;
    match (failure, interrupted) {
        (Some(error), _) => Err(error),
        (None, Some(exit)) => Ok(exit),
        (None, None) => Ok(if failed { Exit::SomeFailed } else { Exit::Clean }),
    }
}

/// One way through the list, and all that it takes.
struct OnePass<'a> {
    mode: Mode,
    window: NonZeroUsize,
    config: &'a Config,
    screen: &'a Screen,
    client: Client,
    files: &'a Arc<Files>,
    namer: Arc<Mutex<Namer>>,
    phase: &'a watch::Sender<Phase>,
}

impl OnePass<'_> {
    async fn go(
        self,
        lists: &Lists,
        journal: &mut Journal,
        manifest: Option<&mut Manifest>,
    ) -> Result<(Summary, Option<RunError>), RunError> {
        let counters = Arc::new(Counters::default());
        let (listed, reading) = lists.rows()?;
        let total = move || reading.total();
        let watch = self.screen.watch(self.mode.name(), Arc::clone(&counters), total).map_err(RunError::System)?;
        let started = Instant::now();
        let limiter = Limiter::new(self.config.per_host, self.window, self.config.fetch.policy.first_wait);
        let fetcher = Arc::new(Fetcher {
            client: self.client,
            limiter: limiter.clone(),
            files: Arc::clone(self.files),
            namer: Arc::clone(&self.namer),
            counters: Arc::clone(&counters),
            options: self.config.fetch.clone(),
            started,
            phase: self.phase.subscribe(),
        });
        let files = Arc::clone(self.files);
        let rows =
            Rows::new(self.mode, self.config.existing, journal, manifest, files, self.namer, Arc::clone(&counters));
        let rows = RefCell::new(rows);
        let ending = || {
            let mut phase = self.phase.subscribe();
            async move {
                // The sender lives as long as the run.
                let _ = phase.wait_for(|phase| *phase >= Phase::Finishing).await;
            }
        };
        let stop_if_failed = |rows: &Rows| {
            if rows.failure().is_some() {
                end(self.phase, Phase::Finishing);
            }
        };
        let jobs = listed.take_until(ending()).filter_map(|row| {
            let mut rows = rows.borrow_mut();
            let work = match row {
                Ok(row) => rows.admit(row),
                Err(error) => {
                    rows.fail(error);
                    None
                }
            };
            stop_if_failed(&rows);
            future::ready(work)
        });
        let work = |(work, seat): (fetch::Work, Option<Seat>)| {
            let fetcher = Arc::clone(&fetcher);
            async move { (Key::of(&work.job.url), fetcher.fetch(&work, seat).await) }
        };
        let done = |ended: &mut Vec<(Key, job::Record)>| {
            let mut rows = rows.borrow_mut();
            for (key, record) in ended.drain(..) {
                rows.settle(Some(key), &record);
            }
            rows.write();
            stop_if_failed(&rows);
        };
        let leaving = leave_after_grace(self.phase);
        // Rows that need no download are written down now and then, whatever the downloads do.
        let writing = async {
            let mut ticks = tokio::time::interval(WRITE_EVERY);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                rows.borrow_mut().write();
            }
        };
        let passing = async {
            match self.mode {
                Mode::Sequential => schedule::sequential(jobs.map(|job| (job, None)), work, done).await,
                Mode::Concurrent => {
                    let host = |work: &fetch::Work| HostKey::of(&work.job.url);
                    let jobs = lookahead::seated(jobs, host, limiter, AHEAD, ending());
                    schedule::concurrent(
                        jobs,
                        self.window.saturating_mul(TASKS_PER_SEAT).saturating_add(TASKS_AT_REST),
                        work,
                        done,
                    )
                    .await;
                }
            }
        };
        tokio::select! {
            () = passing => {}
            never = leaving => match never {},
            never = writing => never,
        }
        let wall = started.elapsed();
        drop(watch);
        let (pass, failure) = rows.into_inner().finish();
        let overloaded = fetcher.limiter.overloaded().into_iter().take(HOSTS_NAMED);
        let overloaded_hosts = overloaded.map(|(host, times)| OverloadedHost { host: host.name().to_owned(), times });
        let summary = pass.summary(wall, counters.most_alive());
        Ok((Summary { overloaded_hosts: overloaded_hosts.collect(), ..summary }, failure))
    }
}

/// Brings the run nearer to its end; never back.
fn end(phase: &watch::Sender<Phase>, to: Phase) {
    phase.send_if_modified(|phase| {
        let nearer = *phase < to;
        if nearer {
            *phase = to;
        }
        nearer
    });
}

/// Whatever asked the run to end, downloads under way have so long.
async fn leave_after_grace(phase: &watch::Sender<Phase>) -> std::convert::Infallible {
    let mut heard = phase.subscribe();
    let _ = heard.wait_for(|phase| *phase >= Phase::Finishing).await;
    tokio::time::sleep(GRACE).await;
    end(phase, Phase::Leaving);
    future::pending().await
}

/// SIGINT and SIGTERM: the first asks, the second insists.
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    /// How the program exits, once it has been asked to.
    exit: Option<Exit>,
}

impl Signals {
    fn new() -> Result<Self, RunError> {
        let listen = |kind| signal(kind).map_err(RunError::System);
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            exit: None,
        })
    }

    async fn next(&mut self) -> Exit {
        tokio::select! {
            _ = self.interrupt.recv() => Exit::Interrupted,
            _ = self.terminate.recv() => Exit::Terminated,
        }
    }

    /// Ends the run gently at the first signal; comes back at the second.
    async fn twice(&mut self, phase: &watch::Sender<Phase>) -> Exit {
        let first = self.next().await;
        self.exit = Some(first);
        end(phase, Phase::Finishing);
        let grace = GRACE.as_secs();
        tracing::warn!(target: "fetchimg", "Stopping: downloads under way have {grace} s to finish; once more to leave now");
        self.next().await;
        first
    }
}

fn open_manifest(target: &Target) -> Result<Manifest, RunError> {
    Ok(match target {
        Target::Stdout => Box::new(BufWriter::new(io::stdout())),
        Target::File(path) => Box::new(BufWriter::new(create(path)?)),
    })
}

fn create(path: &Path) -> Result<File, RunError> {
    File::create(path).map_err(|source| RunError::Output { path: path.to_owned(), source })
}

/// Writes the report wherever it is wanted.
fn tell(config: &Config, files: Vec<(ReportFormat, &Path, File)>, report: &Report) -> Result<(), RunError> {
    let write = |out: &mut dyn Write, format| {
        let mut out = BufWriter::new(out);
        match format {
            ReportFormat::Text => report::text::write(&mut out, report)?,
            ReportFormat::Json => report::json::write(&mut out, report)?,
        }
        out.flush()
    };
    let mut streams = Vec::<(Box<dyn Write>, ReportFormat, &str)>::new();
    if let Some(format) = config.seeing.to_stdout {
        streams.push((Box::new(io::stdout()), format, "standard output"));
    }
    if config.seeing.to_stderr {
        streams.push((Box::new(io::stderr()), ReportFormat::Text, "standard error"));
    }
    for (mut stream, format, name) in streams {
        match write(&mut stream, format) {
            // Whoever has closed the pipe does not want the report.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                return Err(RunError::Output { path: name.into(), source: error });
            }
            _ => {}
        }
    }
    for (format, path, mut file) in files {
        write(&mut file, format).map_err(|source| RunError::Output { path: path.to_owned(), source })?;
    }
    Ok(())
}
