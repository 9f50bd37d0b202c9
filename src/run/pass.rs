//! One pass over the rows: wires together everything that a row goes through.

use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::stream::BoxStream;
use futures::{StreamExt, future, stream};

use super::changes::Changes;
use super::ledger::{Ledger, with_slots};
use super::shutdown::Stop;
use super::stream::RecordSender;
#[cfg(feature = "parquet")]
use super::units;
use super::{Options, schedule, wishes};
use crate::fetch::{Fetched, Fetcher, Work};
use crate::http::Client;
#[cfg(feature = "transform")]
use crate::image::transform::CpuPool;
use crate::input::{Lists, ReadProgress};
use crate::journal::manifest::Manifest;
use crate::journal::{Journal, Key};
use crate::limiter::bandwidth::BandwidthLimit;
use crate::limiter::{self, HostKey, Limiter, OpenAfter, Overloaded, Permit, UnansweredHost, queue};
use crate::naming::Namer;
use crate::progress::{Counters, Display, DisplayGuard, DownHost, Facts, FactsOf, MetricsFile, ThrottledHost, Total};
use crate::record::{ErrorKind, MadeWith, Mode, Outcome, Phase, Record, Row, RunError};
use crate::report::{MAX_HOSTS_LISTED, OverloadedHost, SampledRow, Summary};
#[cfg(feature = "parquet")]
use crate::sink::Shards;
use crate::sink::Sink;
use crate::util::lock;

/// The number of rows that are held while looking for one whose host has a permit. They take half a kilobyte each.
const MAX_ROWS_AHEAD: usize = 8192;

/// The number of tasks is this many for each permit of the run, and [`MAX_WAITING_TASKS`] more.
const TASKS_PER_PERMIT: NonZeroUsize = NonZeroUsize::MIN.saturating_add(3);

/// The number of additional tasks. Tasks that wait for a retry hold no permit, and a few hosts with many such tasks
/// must not keep the other hosts idle. A task takes one or two kilobytes.
const MAX_WAITING_TASKS: usize = 2048;

/// The time between two writes of the records. Writing each record by itself would cost a system call per image. What a
/// killed run has not written is in the write-ahead log.
const WRITE_INTERVAL: Duration = Duration::from_millis(200);

/// How a run is shown, and how it is ended early.
#[derive(Clone, Copy)]
pub struct Control<'a> {
    /// Shows the progress of the run.
    pub display: &'a Display,
    /// Ends the run early.
    pub stop: &'a Stop,
}

/// A pass that is about to begin.
pub struct Pass<'a> {
    /// One download at a time, or many.
    pub mode: Mode,
    /// The options of the run.
    pub options: &'a Options,
    /// How the pass is shown and ended early.
    pub control: Control<'a>,
    /// The HTTP client, whose connections are used by this pass only.
    pub client: Client,
    /// Where images go.
    pub sink: &'a Arc<Sink>,
    /// Reserves names; those of earlier runs are taken.
    pub namer: Namer,
    /// Where each record goes too, for a program that reads them as they come.
    pub records: Option<RecordSender>,
    /// Where numbers of the run go.
    pub metrics: Option<&'a MetricsFile>,
}

/// The rows of a pass.
pub enum Rows<'a> {
    /// All rows of the lists.
    Lists(&'a Lists),
    /// The rows of a sample. They were admitted when the sample was drawn.
    Sample(Vec<(Key, Box<Work>)>),
    /// Rows from the program that uses this library.
    Stream(BoxStream<'a, Row>),
}

impl Rows<'_> {
    /// The rows of the next pass. Only lists can be read more than once; the others are empty after the first pass.
    pub fn take(&mut self) -> Self {
        match self {
            Self::Lists(lists) => Self::Lists(lists),
            others => std::mem::replace(others, Self::Sample(Vec::new())),
        }
    }
}

/// The result of a pass.
pub struct PassResult {
    /// Its numbers.
    pub summary: Summary,
    /// The error that ended it early, if there was one.
    pub failure: Option<RunError>,
    /// How the download of each row of a sample ended.
    pub observed: Vec<SampledRow>,
    /// The number of rows that it did not finish, if it ended early and the length of the list is known.
    pub rows_left: Option<u64>,
}

impl Pass<'_> {
    /// Fetches the rows.
    ///
    /// # Errors
    /// When the pass cannot begin.
    pub async fn go(
        mut self,
        rows: Rows<'_>,
        journal: &mut Journal,
        manifest: Option<&mut Manifest>,
        changes: &mut Changes,
    ) -> Result<PassResult, RunError> {
        let (mode, options, stop) = (self.mode, self.options, self.control.stop);
        let is_sample = matches!(rows, Rows::Sample(_));
        let (listed, total, drawn) = open(rows)?;
        let limiter = Limiter::new(limits(options));
        let counters = Arc::new(self.control.display.counters(options.concurrency));
        let shown = self.show(&counters, Arc::clone(&total), &limiter)?;
        let (records, started) = (self.records.take(), Instant::now());
        let fetcher = Arc::new(self.fetcher(&limiter, &counters, started));
        let parts = (&*fetcher, &mut *changes);
        let ledger = Ledger::new(mode, options.existing, journal, manifest, parts).forwarding(records);
        #[cfg(feature = "parquet")]
        let (ledger, listed) = (ledger.with_samples(units::rules(options)), units::gate(listed, &fetcher.sink));
        let ledger = Mutex::new(ledger);

        let listed = with_slots(listed).take_until(stop.reached(Phase::Finishing));
        let jobs = listed.filter_map(|(row, slot)| {
            let mut ledger = lock(&ledger);
            let admitted = match row {
                Ok(row) => ledger.admit(row, slot),
                Err(error) => {
                    ledger.fail(error);
                    None
                }
            };
            stop_if_failed(&ledger, stop);
            future::ready(admitted)
        });
        let drawn = stream::iter(drawn).take_until(stop.reached(Phase::Finishing));
        let jobs = jobs.chain(drawn.map(|(key, work)| (key, *work)));
        let work = |((key, work), permit): ((Key, Work), Option<Permit>)| {
            let fetcher = Arc::clone(&fetcher);
            // Boxed, because a task is moved several times before it runs.
            Box::pin(async move { (key, fetcher.fetch(&work, permit).await) })
        };
        let mut observed = Vec::new();
        let done = |ended: &mut Vec<(Key, Box<Fetched>)>| {
            if is_sample {
                observed.extend(ended.iter().map(|(_, fetched)| observe(&fetched.record, started.elapsed())));
            }
            let mut ledger = lock(&ledger);
            ended.drain(..).for_each(|(key, fetched)| ledger.fetched(key, fetched));
            stop_if_failed(&ledger, stop);
        };
        let passing = async {
            match mode {
                Mode::Sequential => schedule::sequential(jobs.map(|job| (job, None)), work, done).await,
                Mode::Concurrent => {
                    let host = |(_, work): &(Key, Work)| match work.stored {
                        Some(_) => HostKey::none(),
                        None => HostKey::of(&work.job.url),
                    };
                    let ending = stop.reached(Phase::Finishing);
                    let jobs = queue::with_permits(jobs, host, limiter, MAX_ROWS_AHEAD, ending);
                    let tasks = options.concurrency.saturating_mul(TASKS_PER_PERMIT).saturating_add(MAX_WAITING_TASKS);
                    schedule::concurrent(jobs, tasks, work, done).await;
                }
            }
        };
        tokio::select! {
            () = passing => {}
            never = stop.cancel_after_grace_period() => match never {},
            never = keep_writing(&ledger, stop) => match never {},
        }

        #[cfg(feature = "parquet")]
        units::seal(&fetcher.sink, &ledger, stop).await;
        let wall = started.elapsed();
        hide(shown);
        let (tally, failure) = ledger.into_inner().unwrap_or_else(PoisonError::into_inner).finish();
        let summary = Summary {
            overloaded_hosts: overloaded_hosts(&fetcher.limiter),
            enlarges: enlarges(options),
            lookup_seconds: fetcher.client.lookup_time().as_secs_f64(),
            #[cfg(feature = "parquet")]
            shards: fetcher.sink.shards().and_then(Shards::completed),
            #[cfg(feature = "parquet")]
            shard_totals: fetcher.sink.shards().and_then(Shards::totals),
            changed: changes.changed(),
            ..tally.summary(wall, counters.peak_in_flight())
        };
        let rows_left = if stop.is_running() { None } else { rows_left(total(), &summary) };
        Ok(PassResult { summary, failure, observed, rows_left })
    }

    /// Shows the pass until the guard is dropped.
    fn show(&self, counters: &Arc<Counters>, total: TotalOf, limiter: &Limiter) -> Result<DisplayGuard, RunError> {
        let title = if self.options.modes.len() > 1 { self.mode.name() } else { "" };
        let limiter = limiter.clone();
        let sink = Arc::clone(self.sink);
        let facts: FactsOf = Arc::new(move || {
            let down = down(&limiter);
            let is_down = |host: &ThrottledHost| down.iter().any(|down| down.host == host.host);
            let throttled = throttled(&limiter).into_iter().filter(|host| !is_down(host)).collect();
            Facts { total: total(), throttled, down, shards: shards(&sink) }
        });
        if let Some(metrics) = self.metrics {
            metrics.watch(Arc::clone(counters), Arc::clone(&facts));
        }
        self.control.display.watch(title, Arc::clone(counters), facts).map_err(RunError::System)
    }

    /// Makes what all downloads of the pass share.
    fn fetcher(self, limiter: &Limiter, counters: &Arc<Counters>, started: Instant) -> Fetcher {
        let Self { options, control, client, sink, namer, .. } = self;
        Fetcher {
            client,
            limiter: limiter.clone(),
            sink: Arc::clone(sink),
            #[cfg(feature = "transform")]
            pool: CpuPool::of_this_machine(),
            namer: Arc::new(Mutex::new(namer)),
            made_with: MadeWith::of(&wishes::of(options)),
            remakes: Fetcher::bound_on_remakes(),
            counters: Arc::clone(counters),
            options: options.fetch.clone(),
            bandwidth: options.fetch.limit_rate.map(BandwidthLimit::new),
            started,
            phase: control.stop.subscribe(),
        }
    }
}

/// Ends the display of a pass. The last records are written after that, so a reader of the manifest who is slow keeps no
/// view on the screen.
fn hide(_shown: DisplayGuard) {}

/// Tells how many rows there are, as far as that is known.
type TotalOf = Arc<dyn Fn() -> Total + Send + Sync>;

/// A row that was admitted.
type AdmittedRow = (Key, Box<Work>);

/// Rows as they are read, or the error that ends them.
pub(super) type Listed<'a> = BoxStream<'a, Result<Row, RunError>>;

/// Opens the rows. Returns those that have to be admitted, their number, and those that are admitted already.
fn open(rows: Rows<'_>) -> Result<(Listed<'_>, TotalOf, Vec<AdmittedRow>), RunError> {
    Ok(match rows {
        Rows::Lists(lists) => {
            let (listed, reading) = lists.rows()?;
            (listed.boxed(), Arc::new(move || total(&reading)), Vec::new())
        }
        Rows::Sample(drawn) => {
            let count = drawn.len() as u64;
            (stream::empty().boxed(), Arc::new(move || Total::Known(count)), drawn)
        }
        Rows::Stream(rows) => (rows.map(Ok).boxed(), Arc::new(|| Total::Unknown), Vec::new()),
    })
}

/// Whether images that are smaller than `--resize` asks for are enlarged.
fn enlarges(options: &Options) -> bool {
    #[cfg(feature = "transform")]
    let enlarges = options.fetch.plan.as_ref().and_then(|plan| plan.resize).is_some_and(|resize| resize.enlarge);
    #[cfg(not(feature = "transform"))]
    let enlarges = {
        let _ = options;
        false
    };
    enlarges
}

/// Ends the run if it cannot go on: then no further rows are taken.
fn stop_if_failed(ledger: &Ledger, stop: &Stop) {
    if ledger.failure().is_some() {
        stop.end(Phase::Finishing);
    }
}

/// Writes the records at intervals. Never returns.
async fn keep_writing(ledger: &Mutex<Ledger<'_>>, stop: &Stop) -> Infallible {
    let mut ticks = tokio::time::interval(WRITE_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let mut ledger = lock(ledger);
        ledger.write();
        stop_if_failed(&ledger, stop);
    }
}

/// The number of rows that an interrupted pass has left, if the length of the list is known.
fn rows_left(total: Total, summary: &Summary) -> Option<u64> {
    let Total::Known(total) = total else { return None };
    let interrupted = summary.failed_by_kind.get(ErrorKind::Interrupted.name()).copied().unwrap_or_default();
    Some(total.saturating_sub(summary.rows - interrupted))
}

/// The overloaded hosts that the report lists.
fn overloaded_hosts(limiter: &Limiter) -> Vec<OverloadedHost> {
    let worst = limiter.overloaded().into_iter().take(MAX_HOSTS_LISTED);
    let named = |Overloaded { host, times, throttled }: Overloaded| OverloadedHost {
        host: host.name().to_owned(),
        times,
        throttled,
    };
    worst.map(named).collect()
}

fn observe(record: &Record, ended: Duration) -> SampledRow {
    let bytes = if let Outcome::Saved(saved) = &record.outcome { saved.bytes } else { 0 };
    let failed = matches!(record.outcome, Outcome::Failed(_));
    let refused = matches!(record.outcome, Outcome::Refused(_));
    SampledRow { failed, refused, bytes, ended }
}

/// Shards that are open, and those that are complete, if images go into shards.
fn shards(sink: &Sink) -> Option<(u64, u64)> {
    #[cfg(feature = "parquet")]
    let shards = sink.shards().and_then(|shards| Some((shards.open_count(), shards.completed()?)));
    #[cfg(not(feature = "parquet"))]
    let (shards, _) = (None, sink);
    shards
}

/// How long a host is shown after it asked for fewer requests.
const SHOWN_AFTER_THROTTLING: Duration = Duration::from_secs(30);

/// The number of rows, as far as it is known.
fn total(reading: &ReadProgress) -> Total {
    match (reading.total(), reading.estimate()) {
        (Some(total), _) => Total::Known(total),
        (None, Some(estimate)) => Total::About(estimate),
        (None, None) => Total::Unknown,
    }
}

/// The hosts that get fewer requests now, or did a moment ago.
fn throttled(limiter: &Limiter) -> Vec<ThrottledHost> {
    let throttled = limiter.throttled(SHOWN_AFTER_THROTTLING).into_iter();
    let shown = |(host, times, backoff_left): (HostKey, u64, Option<Duration>)| ThrottledHost {
        host: host.name().to_owned(),
        times,
        backoff_left,
    };
    throttled.map(shown).collect()
}

/// How long a host may be silent before that is shown.
const SHOWN_AFTER_SILENCE: Duration = Duration::from_secs(5);

/// The hosts that do not answer.
fn down(limiter: &Limiter) -> Vec<DownHost> {
    let shown = |host: UnansweredHost| DownHost {
        host: host.host.name().to_owned(),
        kind: host.kind,
        silent_for: host.silent_for,
        rows: host.rows as u64,
        given_up_in: host.given_up_in,
    };
    limiter.unanswered(SHOWN_AFTER_SILENCE).into_iter().map(shown).collect()
}

/// The limits of the run. The circuit of a host opens when it has not answered for as long as one row keeps trying.
fn limits(options: &Options) -> limiter::Options {
    let (policy, http) = (options.fetch.policy, &options.http);
    // An attempt that gets no byte of a response ends after this time.
    let silence = http.stall_timeout.min(http.attempt_timeout);
    let open_after = OpenAfter {
        attempts: policy.retries.saturating_add(1),
        unconnected: policy.max_duration(http.connect_timeout.min(silence)),
        unanswered: policy.max_duration(silence),
    };
    limiter::Options {
        per_host: options.per_host,
        concurrency: options.concurrency,
        request_interval: options.request_interval,
        initial_backoff: policy.first_wait,
        open_after,
        // The run has more tasks than this, so new rows are always taken from the list.
        new_rows_first_below: MAX_WAITING_TASKS,
    }
}
