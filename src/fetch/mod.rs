//! One URL from start to end: [`Work`] in, [`Record`] out, whatever happens.
//!
//! The loop over attempts is here, and so is the way of the bytes: each frame of the body is held to the limit on bytes
//! and taken apart into pieces of `--chunk-size`, which are looked at one by one until they have told what they are. Then
//! the frame goes into the body file as it is, and is counted: a write for each piece would copy everything once more.

mod finish;
mod partial;
#[cfg(feature = "transform")]
mod pixels;
mod validate;

use self::partial::{PartialBody, source};
use self::validate::BodyValidator;
pub use self::validate::{Accept, Bounds, Verify, Wanted};

use std::num::NonZeroU32;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::FutureExt;
use tokio::sync::watch;

use crate::http::{self, Client, Deadline, Response, retry};
#[cfg(feature = "transform")]
use crate::image::transform::{CpuPool, TransformOptions};
use crate::limiter::bandwidth::BandwidthLimit;
use crate::limiter::{Attempt, BackingOff, CircuitOpen, Feedback, HostKey, Limiter, Permit};
use crate::naming::{Namer, PlannedName};
use crate::progress::{Counters, DownloadGuard, HighWaterMark};
use crate::record::{
    ErrorKind, Failed, FetchError, Job, Outcome, Phase, Reason, Record, RecordLine, Skipped, Timing, milliseconds,
};
use crate::sink::{OnConflict, Origin, Receipt, Sink};
use crate::util::human::{Rounded, Size};
use crate::util::redact::{escaped, redacted};

/// A job with all that was decided about it in list order.
#[derive(Debug)]
pub struct Work {
    /// What to fetch.
    pub job: Job,
    /// The file it becomes.
    pub name: PlannedName,
    /// Whether it may take the place of a file of that name.
    pub on_conflict: OnConflict,
    /// The file of an earlier run that goes when this one is there, unless it is the same, and its size in bytes.
    pub replaces: Option<(String, u64)>,
}

/// `--chunk-size`: bytes of a piece at most.
pub const DEFAULT_CHUNK_SIZE: usize = 512;

/// `--max-bytes`: a larger body fails.
pub const DEFAULT_MAX_BYTES: u64 = 256 << 20;

/// What every download is checked against.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which images are wanted.
    pub wanted: Wanted,
    /// Bytes of a piece at most. More than none.
    pub chunk_size: usize,
    /// Bytes of a body at most. A larger one fails.
    pub max_bytes: u64,
    /// Give a file the extension of its format. Where images are made anew, it is always given.
    pub fix_extension: bool,
    /// What is done with the pixels, if anything.
    #[cfg(feature = "transform")]
    pub plan: Option<Arc<TransformOptions>>,
    /// Bytes a second at most, all downloads together.
    pub limit_rate: Option<NonZeroU32>,
    /// How often to try again, and when.
    pub policy: retry::Policy,
    /// End the first attempt of a row when nothing has come for far longer than the host usually takes for an image.
    pub is_impatient: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            wanted: Wanted::default(),
            chunk_size: DEFAULT_CHUNK_SIZE,
            max_bytes: DEFAULT_MAX_BYTES,
            fix_extension: false,
            #[cfg(feature = "transform")]
            plan: None,
            limit_rate: None,
            policy: retry::Policy::default(),
            is_impatient: true,
        }
    }
}

/// All that a download needs. One for each pass over the list, shared by its tasks.
#[derive(Debug)]
pub struct Fetcher {
    /// The way out, with its connections.
    pub client: Client,
    /// Seats at hosts.
    pub limiter: Limiter,
    /// Where images go.
    pub sink: Arc<Sink>,
    /// Processors for pixels.
    #[cfg(feature = "transform")]
    pub pool: CpuPool,
    /// Names that only the server can tell are reserved late.
    pub namer: Arc<Mutex<Namer>>,
    /// What has happened so far.
    pub counters: Arc<Counters>,
    /// What downloads are held to.
    pub options: Options,
    /// Keeps to the limit on bytes a second.
    pub bandwidth: Option<BandwidthLimit>,
    /// When the pass began.
    pub started: Instant,
    /// Changes when the run is asked to end.
    pub phase: watch::Receiver<Phase>,
}

/// What came of a job.
#[derive(Debug)]
pub struct Fetched {
    /// How it ended.
    pub record: Record,
    /// The same as JSON, where it had to be noted before the file appeared.
    pub line: Option<RecordLine>,
    /// To be released when the record is in the journal.
    pub receipt: Receipt,
}

/// How an attempt ended that needs no other.
enum Ended {
    Saved(Box<Fetched>),
    Skipped(Skipped),
}

/// What one download has been through.
#[derive(Default)]
struct AttemptState {
    began: Option<Instant>,
    first_byte: Option<Instant>,
    /// Between attempts.
    waited: Duration,
    attempts: u32,
    /// Where the last attempt took up the body.
    resumed_from: u64,
    /// Bytes of it that an earlier run had.
    from_before: u64,
    water: HighWaterMark,
}

impl Fetcher {
    /// Fetches one image, the first attempt on the given permit if there is one. Never panics: a defect is a record too.
    pub async fn fetch(&self, work: &Work, permit: Option<Permit>) -> Box<Fetched> {
        let mut state = AttemptState::default();
        let fetched = AssertUnwindSafe(self.until_told_to_leave(work, permit, &mut state)).catch_unwind().await;
        let result = fetched.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
            Err(FetchError::new(ErrorKind::Internal, format!("panicked: {text}")))
        });
        let outcome = match result {
            Ok(Ended::Saved(fetched)) => return fetched,
            Ok(Ended::Skipped(skipped)) => Outcome::Skipped(skipped),
            Err(error) => Outcome::Failed(Failed::new(&error, state.attempts, self.timing(&state))),
        };
        Box::new(Fetched { record: Record::of(&work.job, outcome), line: None, receipt: Receipt::None })
    }

    async fn until_told_to_leave(
        &self,
        work: &Work,
        permit: Option<Permit>,
        state: &mut AttemptState,
    ) -> Result<Ended, FetchError> {
        let mut phase = self.phase.clone();
        tokio::select! {
            biased;
            Ok(_) = phase.wait_for(|phase| *phase >= Phase::Cancelling) => Err(interrupted()),
            ended = self.attempts(work, permit, state) => ended,
        }
    }

    async fn attempts(
        &self,
        work: &Work,
        mut permit: Option<Permit>,
        state: &mut AttemptState,
    ) -> Result<Ended, FetchError> {
        if let Some(path) = work.name.known()
            && work.on_conflict == OnConflict::Keep
            && self.sink.is_taken(path)
        {
            return Ok(Ended::Skipped(file_exists(path.to_owned())));
        }
        let mut waits = self.options.policy.waits();
        let mut begun = PartialBody::of_earlier_run(&self.sink, &work.job, &self.options);
        if let Some(begun) = &begun {
            state.from_before = begun.body.length();
            state.water.reach(state.from_before);
        }
        let mut failure: Option<FetchError> = None;
        // Since when it has left its permit to try again later.
        let mut resting: Option<(BackingOff, Instant)> = None;
        loop {
            let turn = if state.attempts == 0 { Attempt::First } else { Attempt::Retry };
            let permit = if let Some(permit) = permit.take() {
                permit
            } else {
                let host = HostKey::of(&work.job.url);
                self.unless_finishing(self.limiter.acquire(&host, turn)).await?.map_err(|given_up| {
                    let error = not_tried(&host, given_up, state.attempts);
                    match failure.take() {
                        Some(failure) => error.caused_by(failure),
                        None => error,
                    }
                })?
            };
            if let Some((_resting, since)) = resting.take() {
                state.waited += since.elapsed();
            }
            let answered = state.first_byte;
            // In a box of its own: most tasks of a long list wait, and should be small while they do.
            let result = Box::pin(self.attempt(work, &permit, state, &mut begun)).await;
            let Err(error) = result else {
                permit.release(Feedback::Success);
                return result;
            };
            let asks_too_much = error.retry_after().is_some_and(|asked| asked > retry::MAX_RETRY_AFTER);
            // The row does not wait for so long; the host is left alone for a while all the same.
            let asked = error.retry_after().map(|asked| asked.min(retry::MAX_RETRY_AFTER));
            let visit = visit(&error, asked, state, state.first_byte != answered);
            let wait = if error.kind().retryable() && !asks_too_much { waits.next() } else { None };
            let Some(wait) = wait else {
                permit.release(visit);
                return Err(error);
            };
            resting = Some((permit.back_off(visit), Instant::now()));
            let wait = wait.max(asked.unwrap_or_default());
            tracing::debug!(
                target: "fetchimg",
                "Trying again in {:.1} s: {}: {error}",
                wait.as_secs_f64(),
                escaped(&redacted(&work.job.url)),
            );
            if self.unless_finishing(tokio::time::sleep(wait)).await.is_err() {
                return Err(interrupted().caused_by(error));
            }
            failure = Some(error);
        }
    }

    /// Waits, unless the run is ending: then nothing new is begun.
    async fn unless_finishing<T>(&self, waiting: impl Future<Output = T>) -> Result<T, FetchError> {
        let mut phase = self.phase.clone();
        tokio::select! {
            biased;
            Ok(_) = phase.wait_for(|phase| *phase >= Phase::Finishing) => Err(interrupted()),
            ended = waiting => Ok(ended),
        }
    }

    /// One request. `begun`: what an earlier attempt has of the body, and what this one leaves to the next.
    async fn attempt<'a>(
        &'a self,
        work: &'a Work,
        permit: &Permit,
        state: &mut AttemptState,
        begun: &mut Option<PartialBody<'a>>,
    ) -> Result<Ended, FetchError> {
        state.began.get_or_insert_with(Instant::now);
        state.attempts += 1;
        let alive = self.counters.begin(&work.job.url, state.attempts);
        // Once a row only: what is slow by itself must get its time.
        let may_give_up = self.options.is_impatient && state.attempts == 1 && self.options.policy.retries > 0;
        let gives_up = |silence| permit.exceeds_usual_latency(silence);
        let next_slot = || permit.next_slot().boxed();
        let deadline = self.client.deadline(may_give_up.then_some(&gives_up), Some(&next_slot));
        let mut response = self.ask(work, begun, deadline).await?;
        state.first_byte = Some(Instant::now());
        let mut body = if let Some(mut body) = begun.take_if(|_| response.status == 206) {
            state.resumed_from = body.body.length();
            body.total = response.range.map(|range| range.end);
            body
        } else {
            // A failure says nothing about the body; the next attempt asks for its rest again.
            if let Some(error) = refusal(&response, &self.options) {
                let is_elsewhere = http::is_another_host(&work.job.url, &response.final_url);
                response.drain().await;
                return Err(error.from_other_host(is_elsewhere));
            }
            if let Some(former) = begun.take() {
                former.discard();
            }
            state.resumed_from = 0;
            state.from_before = 0;
            let (validator, total) = (response.validator.clone(), response.length);
            let source = source(&response.final_url);
            let known_by = validator.as_ref().map(|validator| validator.as_bytes().into());
            let origin = known_by.map(|validator| Origin { url: &work.job.url, source, validator, total });
            let body = self.sink.body(response.length, origin);
            let checks = BodyValidator::new(&self.options.wanted, work.job.checksum.as_deref());
            PartialBody { body, checks, validator, source, total }
        };
        if let Err(error) = self.receive(&mut body, state, &mut response, &alive).await {
            let error = error.from_other_host(http::is_another_host(&work.job.url, &response.final_url));
            let broke_off = matches!(error.kind(), ErrorKind::CutShort | ErrorKind::Stalled | ErrorKind::Timeout);
            // What cannot be laid aside is fetched from its beginning.
            if broke_off && body.validator.is_some() && body.body.length() > 0 && body.body.spill().is_ok() {
                *begun = Some(body);
            } else {
                body.discard();
            }
            return Err(error);
        }
        self.finish(work, state, body, response).await
    }

    /// The answer for the body, or for its rest where there is a beginning. A beginning that is of no use is given up.
    async fn ask<'b>(
        &self,
        work: &'b Work,
        begun: &mut Option<PartialBody<'_>>,
        deadline: Deadline<'b>,
    ) -> Result<Response<'b>, FetchError> {
        let resume = begun.as_ref().and_then(PartialBody::resume);
        let response = self.client.get(&work.job.url, resume.as_ref(), deadline).await?;
        let is_of_no_use = |begun: &mut PartialBody| match response.status {
            206 => !begun.is_continued_by(&response),
            // The body ends before what is there does.
            416 => true,
            _ => false,
        };
        let Some(former) = begun.take_if(is_of_no_use) else { return Ok(response) };
        // It is another body now, or the server has no command of ranges: from the beginning, at once.
        former.discard();
        let deadline = response.deadline();
        response.drain().await;
        self.client.get(&work.job.url, None, deadline.with_next_slot().await).await
    }

    /// The body of a good answer, piece by piece.
    async fn receive(
        &self,
        body: &mut PartialBody<'_>,
        state: &mut AttemptState,
        response: &mut Response<'_>,
        alive: &DownloadGuard<'_>,
    ) -> Result<(), FetchError> {
        while let Some(frame) = response.next().await? {
            if body.body.length() + frame.len() as u64 > self.options.max_bytes {
                return Err(too_large(self.options.max_bytes));
            }
            body.checks.feed(&frame, self.options.chunk_size)?;
            body.body.write(&frame).map_err(|error| self.disk("cannot write", error))?;
            if let Some(bandwidth) = &self.bandwidth {
                bandwidth.pass(frame.len()).await;
            }
            let new = state.water.reach(body.body.length());
            self.counters.bytes.fetch_add(new, std::sync::atomic::Ordering::Relaxed);
            alive.reach(body.body.length(), body.total);
        }
        match body.total {
            // A body that came whole need not be the body that was missing.
            Some(total) if total != body.body.length() => {
                Err(FetchError::new(ErrorKind::CutShort, "the body is incomplete"))
            }
            _ => Ok(()),
        }
    }

    fn disk(&self, what: &str, error: std::io::Error) -> FetchError {
        FetchError::disk(what, error, self.sink.is_usable())
    }

    fn timing(&self, state: &AttemptState) -> Option<Timing> {
        let begun = state.began?;
        Some(Timing {
            start_ms: milliseconds(begun.saturating_duration_since(self.started)),
            ttfb_ms: state.first_byte.map(|first| milliseconds(first.saturating_duration_since(begun))),
            waited_ms: (!state.waited.is_zero()).then(|| milliseconds(state.waited)),
            total_ms: milliseconds(begun.elapsed()),
        })
    }
}

fn interrupted() -> FetchError {
    FetchError::new(ErrorKind::Interrupted, "the run ended before this row did")
}

/// A row of a host that has been given up.
fn not_tried(host: &HostKey, CircuitOpen { kind, down_for: time }: CircuitOpen, attempts: u32) -> FetchError {
    let (host, time) = (escaped(host.name()), time.as_secs());
    let again = if attempts == 0 { "" } else { " again" };
    FetchError::new(
        kind,
        match kind {
            ErrorKind::Dns => format!("{host} could not be resolved for {time} s; not tried{again}"),
            ErrorKind::HttpStatus(status) => {
                format!("{host} has answered nothing but {status} for {time} s; not tried{again}")
            }
            _ => format!("{host} has not answered for {time} s; not tried{again}"),
        },
    )
}

/// What a failed attempt says about the host.
fn visit(error: &FetchError, asked: Option<Duration>, state: &AttemptState, was_answered: bool) -> Feedback {
    match error.kind() {
        // The host answered, with a redirect; what another one does is not its fault.
        _ if error.is_from_other_host() => Feedback::Success,
        kind @ ErrorKind::HttpStatus(429) => Feedback::Throttled(kind, asked),
        // A 503 alone may be one broken page; with a time to stay away it speaks for the host.
        kind @ ErrorKind::HttpStatus(503) if asked.is_some() => Feedback::Throttled(kind, asked),
        // That one page says it again is no news.
        ErrorKind::HttpStatus(503) if state.attempts > 1 => Feedback::Unclear,
        kind @ ErrorKind::HttpStatus(503) => Feedback::Busy(kind),
        ErrorKind::CutShort => Feedback::Broken,
        ErrorKind::Timeout | ErrorKind::Stalled if was_answered => Feedback::Silent,
        kind @ (ErrorKind::Connect | ErrorKind::Timeout | ErrorKind::Stalled | ErrorKind::Dns) => {
            Feedback::Unanswered(kind)
        }
        // Any other answer was an answer.
        ErrorKind::HttpStatus(_)
        | ErrorKind::NotAnImage
        | ErrorKind::NotAccepted
        | ErrorKind::CorruptImage
        | ErrorKind::TooSmall
        | ErrorKind::Checksum
        | ErrorKind::TooLarge => Feedback::Success,
        _ => Feedback::Unclear,
    }
}

fn file_exists(path: String) -> Skipped {
    Skipped { reason: Reason::FileExists, path: Some(path), bytes: None }
}

fn too_large(limit: u64) -> FetchError {
    FetchError::new(ErrorKind::TooLarge, format!("larger than {} (--max-bytes)", Size::from(limit)))
}

/// Why an answer has no body worth reading.
fn refusal(response: &Response, options: &Options) -> Option<FetchError> {
    let max_bytes = options.max_bytes;
    match response.status {
        206 => Some(FetchError::new(ErrorKind::Protocol, "206 Partial Content, though the whole was asked for")),
        200..=299 if response.length.is_some_and(|length| length > max_bytes) => Some(too_large(max_bytes)),
        200..=299 => options.wanted.bounds.allow_length(response.length?).err(),
        status => {
            let mut clause = response.status_line();
            if let Some(asked) = response.retry_after.filter(|asked| *asked > retry::MAX_RETRY_AFTER) {
                clause = format!("{clause}, and asks to come back after {}", spoken(asked));
            }
            Some(FetchError::new(ErrorKind::HttpStatus(status), clause).with_retry_after(response.retry_after))
        }
    }
}

fn spoken(duration: Duration) -> Rounded {
    Rounded(duration)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::num::NonZeroUsize;

    use url::Url;

    use super::*;
    use crate::limiter::{self, OpenAfter, PerHost};
    use crate::sink::{Folder, folder};

    /// A server for one request.
    fn serve_once() -> u16 {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a visitor");
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n\x89PNG\r\n\x1a\n");
        });
        port
    }

    fn fetcher(folder: &std::path::Path, chunk_size: usize) -> Fetcher {
        let second = Duration::from_secs(1);
        let http = http::Options {
            proxy: Some(String::new()),
            http1_only: true,
            max_redirects: 0,
            connect_timeout: second,
            stall_timeout: second,
            attempt_timeout: second,
            ..http::Options::default()
        };
        Fetcher {
            client: Client::new(http).expect("a client"),
            limiter: Limiter::new(limiter::Options {
                per_host: PerHost::Auto,
                concurrency: NonZeroUsize::MIN,
                request_interval: None,
                initial_backoff: second,
                open_after: OpenAfter { attempts: 1, unconnected: second, unanswered: second },
                new_rows_first_below: 0,
            }),
            bandwidth: None,
            sink: Arc::new(Sink::Folder(Folder::open(folder, folder::Options::default()).expect("a folder"))),
            #[cfg(feature = "transform")]
            pool: CpuPool::of_this_machine(),
            namer: Arc::new(Mutex::new(Namer::new("{basename}".parse().expect("a template"), false))),
            counters: Arc::default(),
            options: Options {
                // The server below has no more of an image than its signature.
                wanted: Wanted { verify: Verify::Nothing, ..Wanted::default() },
                chunk_size,
                max_bytes: 100,
                policy: retry::Policy { retries: 0, first_wait: second },
                is_impatient: false,
                ..Options::default()
            },
            started: Instant::now(),
            phase: watch::Sender::new(Phase::Running).subscribe(),
        }
    }

    async fn fetch_once(chunk_size: usize) -> Outcome {
        let folder = tempfile::tempdir().expect("a folder");
        let fetcher = fetcher(folder.path(), chunk_size);
        let url = Url::parse(&format!("http://127.0.0.1:{}/a.png", serve_once())).expect("a URL");
        let job = Job::new(0, url);
        let name = fetcher.namer.lock().expect("not poisoned").reserve(&job);
        fetcher.fetch(&Work { job, name, on_conflict: OnConflict::Keep, replaces: None }, None).await.record.outcome
    }

    #[tokio::test]
    async fn a_panic_is_a_failed_record_and_not_the_end() {
        // Pieces of no size are refused on the command line, and make the loop over pieces panic.
        let Outcome::Failed(failed) = fetch_once(0).await else { panic!("it cannot have been saved") };
        assert_eq!((&*failed.error, failed.attempts), ("internal", 1), "{failed:?}");
        assert!(failed.message.contains("chunk size must be non-zero"), "{failed:?}");
        assert!(matches!(fetch_once(512).await, Outcome::Saved(_)), "with pieces of some size it is");
    }
}
