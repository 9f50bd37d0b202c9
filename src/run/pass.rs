//! One way through the list: wires the rooms that a row passes.

use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::{StreamExt, future, stream};

use super::ledger::{Ledger, with_slots};
use super::options::Options;
use super::schedule;
use super::shutdown::Stop;
use crate::fetch::{Fetched, Fetcher, Work};
use crate::http::Client;
use crate::image::transform::Pool;
use crate::input::{Lists, Reading};
use crate::journal::manifest::Manifest;
use crate::journal::{Journal, Key};
use crate::limiter::bandwidth::BandwidthLimit;
use crate::limiter::{self, HostKey, Limiter, Overloaded, Patience, Permit, queue};
use crate::naming::Namer;
use crate::progress::{Facts, Screen, ThrottledHost, Total};
use crate::record::{Mode, Outcome, Phase, Record, RunError};
use crate::report::{MAX_HOSTS_LISTED, OverloadedHost, SampledRow, Summary};
use crate::sink::Folder;
use crate::sink::folder::dedup::DedupIndex;
use crate::sink::folder::wal::Wal;

/// So many rows of the list are held at most, in the search for one whose host has a permit. Half a kilobyte each.
const AHEAD: usize = 8192;

/// Tasks for each permit, and some more: those that wait to try again have none, and a few hosts with many of them must
/// not keep the permits of the others empty. A kilobyte or two each.
const TASKS_PER_SEAT: NonZeroUsize = NonZeroUsize::MIN.saturating_add(3);
const TASKS_AT_REST: usize = 2048;

/// A record that waits to be written waits no longer than this. Written one by one, records would cost a call of the
/// system for each image; what a killed run has not written down, its notes have.
const WRITE_EVERY: Duration = Duration::from_millis(200);

/// A pass that is about to begin.
pub struct Pass<'a> {
    /// How the list is gone through.
    pub mode: Mode,
    /// What the program does.
    pub options: &'a Options,
    /// Where it is shown.
    pub screen: &'a Screen,
    /// When it ends early.
    pub stop: &'a Stop,
    /// HTTP, with connections of this pass alone.
    pub client: Client,
    /// Where images go.
    pub files: &'a Arc<Folder>,
    /// Where it is noted that they are about to go there.
    pub wal: &'a Arc<Wal>,
    /// Which contents are there.
    pub contents: &'a Arc<DedupIndex>,
    /// Names as they are taken before the pass.
    pub namer: Namer,
}

/// Which rows a pass goes through.
pub enum Through<'a> {
    /// Those of the lists.
    Lists(&'a Lists),
    /// Those that were drawn from them, and have been admitted then.
    Sample(Vec<(Key, Box<Work>)>),
}

/// What came of a pass.
pub struct Passed {
    /// Its numbers.
    pub summary: Summary,
    /// Why it could not go on, if it could not.
    pub failure: Option<RunError>,
    /// What came of each row of a sample.
    pub observed: Vec<SampledRow>,
}

impl Pass<'_> {
    /// Goes through the rows.
    ///
    /// # Errors
    /// When it could not begin.
    pub async fn go(
        self,
        through: Through<'_>,
        journal: &mut Journal,
        manifest: Option<&mut Manifest>,
    ) -> Result<Passed, RunError> {
        let Self { mode, options, screen, stop, client, files, wal, contents, namer } = self;
        let window = options.concurrency;
        let counters = Arc::new(screen.counters(window));
        let is_sample = matches!(through, Through::Sample(_));
        let (listed, reading, drawn) = match through {
            Through::Lists(lists) => {
                let (listed, reading) = lists.rows()?;
                (Some(listed), Ok(reading), Vec::new())
            }
            Through::Sample(drawn) => (None, Err(drawn.len()), drawn),
        };
        let limiter = Limiter::new(limits(options));
        let title = if options.modes.len() > 1 { mode.name() } else { "" };
        let facts = {
            let limiter = limiter.clone();
            move || Facts {
                total: reading.as_deref().map_or_else(|count| Total::Known(*count as u64), total),
                throttled: throttled(&limiter),
            }
        };
        let watch = screen.watch(title, Arc::clone(&counters), facts).map_err(RunError::System)?;
        let started = Instant::now();
        let namer = Arc::new(Mutex::new(namer));
        let fetcher = Arc::new(Fetcher {
            client,
            limiter: limiter.clone(),
            files: Arc::clone(files),
            wal: Arc::clone(wal),
            contents: Arc::clone(contents),
            pool: Pool::of_this_machine(),
            namer: Arc::clone(&namer),
            counters: Arc::clone(&counters),
            options: options.fetch.clone(),
            bandwidth: options.fetch.limit_rate.map(BandwidthLimit::new),
            started,
            phase: stop.subscribe(),
        });
        let rows =
            Ledger::new(mode, options.existing, journal, manifest, Arc::clone(files), namer, Arc::clone(&counters));
        let rows = Mutex::new(rows);

        let listed = with_slots(stream::iter(listed).flatten()).take_until(stop.reached(Phase::Finishing));
        let jobs = listed.filter_map(|(row, slot)| {
            let mut rows = lock(&rows);
            let admitted = match row {
                Ok(row) => rows.admit(row, slot),
                Err(error) => {
                    rows.fail(error);
                    None
                }
            };
            stop_if_failed(&rows, stop);
            future::ready(admitted)
        });
        let drawn = stream::iter(drawn).take_until(stop.reached(Phase::Finishing));
        let jobs = jobs.chain(drawn.map(|(key, work)| (key, *work)));
        let work = |((key, work), permit): ((Key, Work), Option<Permit>)| {
            let fetcher = Arc::clone(&fetcher);
            // In a box: until it runs, a task is moved from hand to hand.
            Box::pin(async move { (key, fetcher.fetch(&work, permit).await) })
        };
        let mut observed = Vec::new();
        let done = |ended: &mut Vec<(Key, Box<Fetched>)>| {
            if is_sample {
                observed.extend(ended.iter().map(|(_, fetched)| observe(&fetched.record, started.elapsed())));
            }
            let mut rows = lock(&rows);
            ended.drain(..).for_each(|(key, fetched)| rows.fetched(key, fetched));
            stop_if_failed(&rows, stop);
        };
        let passing = async {
            match mode {
                Mode::Sequential => schedule::sequential(jobs.map(|job| (job, None)), work, done).await,
                Mode::Concurrent => {
                    let host = |(_, work): &(Key, Work)| HostKey::of(&work.job.url);
                    let jobs = queue::with_permits(jobs, host, limiter, AHEAD, stop.reached(Phase::Finishing));
                    let tasks = window.saturating_mul(TASKS_PER_SEAT).saturating_add(TASKS_AT_REST);
                    schedule::concurrent(jobs, tasks, work, done).await;
                }
            }
        };
        tokio::select! {
            () = passing => {}
            never = stop.leave_after_grace() => match never {},
            never = keep_writing(&rows, stop) => match never {},
        }

        let wall = started.elapsed();
        drop(watch);
        let (tally, failure) = rows.into_inner().unwrap_or_else(PoisonError::into_inner).finish();
        let summary = Summary {
            overloaded_hosts: overloaded_hosts(&fetcher.limiter),
            lookup_seconds: fetcher.client.lookup_time().as_secs_f64(),
            ..tally.summary(wall, counters.peak_in_flight())
        };
        Ok(Passed { summary, failure, observed })
    }
}

/// A run that cannot go on takes no further rows.
fn stop_if_failed(rows: &Ledger, stop: &Stop) {
    if rows.failure().is_some() {
        stop.end(Phase::Finishing);
    }
}

/// Writes records down now and then, until it is dropped.
async fn keep_writing(rows: &Mutex<Ledger<'_>>, stop: &Stop) -> Infallible {
    let mut ticks = tokio::time::interval(WRITE_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let mut rows = lock(rows);
        rows.write();
        stop_if_failed(&rows, stop);
    }
}

/// The hosts that the report names.
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
    let (failed, bytes) = match &record.outcome {
        Outcome::Saved(saved) => (false, saved.bytes),
        Outcome::Failed(_) => (true, 0),
        Outcome::Skipped(_) => (false, 0),
    };
    SampledRow { failed, bytes, ended }
}

/// The rows have one owner at a time, and never for longer than a step takes.
fn lock<'a, 'b>(rows: &'a Mutex<Ledger<'b>>) -> MutexGuard<'a, Ledger<'b>> {
    rows.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A host that has asked for less is shown for so long.
const LATELY: Duration = Duration::from_secs(30);

/// How many rows there are, as far as that is known.
fn total(reading: &Reading) -> Total {
    match (reading.total(), reading.estimate()) {
        (Some(total), _) => Total::Known(total),
        (None, Some(estimate)) => Total::About(estimate),
        (None, None) => Total::Unknown,
    }
}

/// The hosts that are spared now.
fn throttled(limiter: &Limiter) -> Vec<ThrottledHost> {
    let throttled = limiter.throttled(LATELY).into_iter();
    let shown = |(host, times, backoff_left): (HostKey, u64, Option<Duration>)| ThrottledHost {
        host: host.name().to_owned(),
        times,
        backoff_left,
    };
    throttled.map(shown).collect()
}

/// What the limiter goes by: a host may serve nobody for as long as one row would keep trying.
fn limits(options: &Options) -> limiter::Options {
    let (policy, http) = (options.fetch.policy, &options.http);
    // An attempt without a single byte of an answer ends then, whatever it waits for.
    let silence = http.stall_timeout.min(http.attempt_timeout);
    let patience = Patience {
        tries: policy.retries.saturating_add(1),
        connecting: policy.longest(http.connect_timeout.min(silence)),
        answering: policy.longest(silence),
    };
    limiter::Options {
        per_host: options.per_host,
        in_run: options.concurrency,
        pace: options.pace,
        pause: policy.first_wait,
        patience,
        // There are more tasks than that, so the list is always looked at for the new ones to come.
        at_rest: TASKS_AT_REST,
    }
}
