//! Downloads one URL: a [`Work`] becomes exactly one [`Record`], even after a panic.
//!
//! This module holds the loop over attempts and the path of the received bytes. Each frame of a body is checked against
//! `--max-bytes` and inspected in pieces of `--chunk-size` until the format is known. Then the whole frame is written
//! to the [`Body`](crate::sink::Body) and counted. Writing each piece by itself would copy every byte once more.

mod finish;
mod held_permit;
mod local;
mod partial;
#[cfg(feature = "transform")]
mod pixels;
mod remake;
mod validate;
mod wishes;

use self::held_permit::HeldPermit;
use self::partial::{PartialBody, source};
pub use self::remake::StoredImage;
use self::validate::BodyValidator;
pub use self::validate::{Accept, Bounds, Verify, Wanted};
pub use self::wishes::Exclusion;

use std::num::NonZeroU32;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use futures::FutureExt;
use tokio::sync::{Semaphore, watch};
use url::Url;

use crate::http::{self, Client, Deadline, Response, retry};
#[cfg(feature = "transform")]
use crate::image::transform::{CpuPool, TransformOptions};
use crate::limiter::bandwidth::BandwidthLimit;
use crate::limiter::{Attempt, BackingOff, CircuitOpen, Feedback, HostKey, Limiter, Permit};
use crate::naming::{Namer, PlannedName};
use crate::progress::{Counters, DownloadGuard, HighWaterMark};
use crate::record::{
    ErrorKind, FetchError, Job, MadeWith, Outcome, Phase, Reason, Record, RecordLine, Seen, Skipped, THE_STORE, Timing,
    milliseconds,
};
use crate::sink::{OnConflict, Origin, Receipt, Sink};
use crate::util::human::Rounded;
use crate::util::redact::{escaped, redacted};
use crate::util::store;
use crate::util::store::object_url::{ObjectName, is_object_url};

/// A job that was admitted, with what was decided about it in list order.
#[derive(Debug)]
pub struct Work {
    /// What to fetch.
    pub job: Job,
    /// The name reserved for its image.
    pub name: PlannedName,
    /// What happens when a file has that name.
    pub on_conflict: OnConflict,
    /// The path of the file that an earlier run saved for this job and that the new image replaces.
    pub replaces: Option<String>,
    /// The stored file from which the image is made anew, if it can be (`--remake`).
    pub stored: Option<Box<StoredImage>>,
}

/// The number of images that are made anew from their stored files at the same time. Work on pixels is bounded further.
const MAX_REMAKES: usize = 64;

/// `--chunk-size`: the size of a piece in bytes.
pub const DEFAULT_CHUNK_SIZE: usize = 512;

/// `--max-bytes`: the largest body in bytes; a larger one fails.
pub const DEFAULT_MAX_BYTES: u64 = 256 << 20;

/// The wait before an attempt is made again that failed because the program was stopped or its machine slept.
const WAIT_AFTER_SUSPENSION: Duration = Duration::from_secs(1);

/// What every download is checked against, and how it is retried.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub struct Options {
    /// Which images are wanted.
    pub wanted: Wanted,
    /// The size in bytes of the pieces in which a body is inspected. Not zero.
    pub chunk_size: usize,
    /// The largest body in bytes. A larger one fails.
    pub max_bytes: u64,
    /// Whether `max_bytes` is a wish of the user: then a larger body is refused, and has not failed.
    pub refuses_larger: bool,
    /// Give a file the extension of its format. Always set when images are re-encoded.
    pub fix_extension: bool,
    /// What is done with the pixels, if anything.
    #[cfg(feature = "transform")]
    pub plan: Option<Arc<TransformOptions>>,
    /// The limit on bytes per second of all downloads together.
    pub limit_rate: Option<NonZeroU32>,
    /// How often to try again, and when.
    pub policy: retry::Policy,
    /// End the first attempt of a row when no byte has come for far longer than the host usually takes for an image.
    pub is_impatient: bool,
    /// Read the files of this machine that `file:` URLs name (`--file-urls`).
    pub file_urls: bool,
    /// Read the objects of stores that `s3:`, `gs:` and `az:` URLs name, with the credentials of the environment
    /// (`--store-urls`).
    pub store_urls: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            wanted: Wanted::default(),
            chunk_size: DEFAULT_CHUNK_SIZE,
            max_bytes: DEFAULT_MAX_BYTES,
            refuses_larger: false,
            fix_extension: false,
            #[cfg(feature = "transform")]
            plan: None,
            limit_rate: None,
            policy: retry::Policy::default(),
            is_impatient: true,
            file_urls: false,
            store_urls: false,
        }
    }
}

/// Everything that a download needs. One for each pass over the list, shared by its tasks.
#[derive(Debug)]
pub struct Fetcher {
    /// The HTTP client, with its connections.
    pub client: Client,
    /// Gives out the permits per host and of the run.
    pub limiter: Limiter,
    /// Where images go.
    pub sink: Arc<Sink>,
    /// The threads that work on pixels.
    #[cfg(feature = "transform")]
    pub pool: CpuPool,
    /// Reserves the names that are known only from an answer.
    pub namer: Arc<Mutex<Namer>>,
    /// The wishes of the run, for its records.
    pub made_with: MadeWith,
    /// Bounds the images that are made anew from their stored files at the same time.
    pub remakes: Semaphore,
    /// The counters of the pass.
    pub counters: Arc<Counters>,
    /// What downloads are checked against.
    pub options: Options,
    /// The limit on bytes per second, if there is one.
    pub bandwidth: Option<BandwidthLimit>,
    /// When the pass began.
    pub started: Instant,
    /// The phase of the run: downloads end early when it asks them to.
    pub phase: watch::Receiver<Phase>,
}

/// The result of a job.
#[derive(Debug)]
pub struct Fetched {
    /// The record of the job.
    pub record: Record,
    /// The record as a line of JSON, if it was serialised for the write-ahead log.
    pub line: Option<RecordLine>,
    /// To be released when the record is in the journal.
    pub receipt: Receipt,
}

/// The end of an attempt after which there is no retry.
enum Ended {
    Saved(Box<Fetched>),
    Skipped(Skipped),
}

/// What the record of an image says about the response that brought it.
struct Answer {
    /// The file name from `Content-Disposition`.
    filename: Option<String>,
    content_type: Option<String>,
    status: u16,
    /// Its secrets are redacted.
    final_url: String,
}

impl From<Response<'_>> for Answer {
    fn from(response: Response<'_>) -> Self {
        Self {
            final_url: redacted(&response.final_url).into_owned(),
            filename: response.filename,
            content_type: response.content_type,
            status: response.status,
        }
    }
}

/// What the attempts at one download have in common.
#[derive(Default)]
struct AttemptState {
    /// When the first attempt began.
    began: Option<Instant>,
    /// When the head of the last response came.
    first_byte: Option<Instant>,
    /// The time spent between attempts.
    waited: Duration,
    /// The time for which the image waited for a processor that makes its pixels anew.
    waited_for_processor: Duration,
    attempts: u32,
    /// The last attempt fell silent, or took too long.
    fell_silent: bool,
    /// The length in bytes of the partial body that the last attempt continued.
    resumed_from: u64,
    /// The bytes of the body that an earlier run received.
    from_earlier_run: u64,
    /// Keeps bytes that a retry receives again from being counted twice.
    high_water: HighWaterMark,
}

impl Options {
    /// Lists have been held to this already; the jobs of a program that uses this library have not.
    fn check_object(&self, url: &Url) -> Result<(), FetchError> {
        let checked = if !store::IS_AVAILABLE {
            Err(store::IS_ABSENT.to_owned())
        } else if !self.store_urls {
            Err(format!("{}: URLs are read only with --store-urls", url.scheme()))
        } else {
            ObjectName::of(url).map(drop)
        };
        checked.map_err(|clause| FetchError::new(ErrorKind::BadUrl, clause))
    }
}

impl Fetcher {
    /// The value of [`Fetcher::remakes`].
    #[must_use]
    pub const fn bound_on_remakes() -> Semaphore {
        Semaphore::const_new(MAX_REMAKES)
    }

    /// Fetches one image. The first attempt uses `permit` if there is one. A panic inside becomes a failed record.
    pub async fn fetch(&self, work: &Work, permit: Option<Permit>) -> Box<Fetched> {
        let mut state = AttemptState::default();
        let fetched = AssertUnwindSafe(self.attempts_unless_cancelled(work, permit, &mut state)).catch_unwind().await;
        let result = fetched.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
            Err(FetchError::new(ErrorKind::Internal, format!("panicked: {text}")))
        });
        let outcome = match result {
            Ok(Ended::Saved(fetched)) => return fetched,
            Ok(Ended::Skipped(skipped)) => Outcome::Skipped(skipped),
            Err(error) => Outcome::of_error(&error, state.attempts, self.timing(&state)),
        };
        Box::new(Fetched { record: Record::of(&work.job, outcome), line: None, receipt: Receipt::None })
    }

    /// Makes attempts, until one of them decides or the run cancels its downloads.
    async fn attempts_unless_cancelled(
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

    /// Makes attempts until one succeeds, fails for good, or no retry is left.
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
        if let Some(stored) = &work.stored
            && let Some(ended) = Box::pin(self.remake(work, stored, state)).await?
        {
            return Ok(ended);
        }
        if local::is_local(&work.job.url) {
            // Boxed, because every download would be moved with room for it.
            return Box::pin(self.local(work, state)).await;
        }
        if is_object_url(&work.job.url) {
            self.options.check_object(&work.job.url)?;
        }
        let mut waits = self.options.policy.waits();
        let mut partial = PartialBody::of_earlier_run(&self.sink, &work.job, &self.options);
        if let Some(partial) = &partial {
            state.from_earlier_run = partial.body.length();
            state.high_water.reach(state.from_earlier_run);
        }
        let mut last_error: Option<FetchError> = None;
        // Between two attempts: the row is counted as backing off at its host, since this time.
        let mut backing_off: Option<(BackingOff, Instant)> = None;
        loop {
            let attempt = if state.attempts == 0 { Attempt::First } else { Attempt::Retry };
            let permit = if let Some(permit) = permit.take() {
                permit
            } else {
                let host = HostKey::of(&work.job.url);
                self.unless_finishing(self.limiter.acquire(&host, attempt)).await?.map_err(|circuit_open| {
                    let error = not_tried(&host, circuit_open, state.attempts);
                    match last_error.take() {
                        Some(last_error) => error.caused_by(last_error),
                        None => error,
                    }
                })?
            };
            if let Some((_backing_off, since)) = backing_off.take() {
                state.waited += since.elapsed();
            }
            let first_byte_before = state.first_byte;
            let began = Instant::now();
            // Boxed, because most tasks of a long list wait here for a permit and should be small while they do.
            let held = HeldPermit::new(self, permit, attempt, state.fell_silent);
            let result = Box::pin(self.attempt(work, &held, state, &mut partial)).await;
            let permit = held.into_permit();
            let Err(error) = result else {
                if let Some(permit) = permit {
                    permit.release(Feedback::Success);
                }
                return result;
            };
            // A redirect led to a host that gives no permit to anybody, or the work on pixels failed after the host had
            // done its part.
            let Some(permit) = permit else { return Err(error) };
            // A row does not wait longer than the maximum, so it fails; its host is not contacted for that time even
            // so.
            state.fell_silent = matches!(error.kind(), ErrorKind::Stalled | ErrorKind::Timeout);
            let exceeds_max = error.retry_after().is_some_and(|asked| asked > retry::MAX_RETRY_AFTER);
            let retry_after = error.retry_after().map(|asked| asked.min(retry::MAX_RETRY_AFTER));
            let feedback = feedback(&error, retry_after, state.attempts, state.first_byte != first_byte_before);
            let is_disturbed = is_unreachable(error.kind()) && self.client.was_suspended(began);
            let feedback = if is_disturbed { Feedback::Unclear } else { feedback };
            let wait = match error.retryable() && !exceeds_max {
                // It is no retry: the program was suspended, and the network may not be there yet.
                true if is_disturbed => Some(WAIT_AFTER_SUSPENSION),
                true => waits.next(),
                false => None,
            };
            let Some(wait) = wait else {
                permit.release(feedback);
                return Err(error);
            };
            let back_off = permit.back_off_at(&HostKey::of(&work.job.url), feedback);
            backing_off = Some((back_off, Instant::now()));
            let wait = wait.max(retry_after.unwrap_or_default());
            tracing::debug!(
                target: "fetchimg",
                event = "retry",
                url = &*escaped(&redacted(&work.job.url)),
                host = HostKey::of(&work.job.url).name(),
                error = error.kind().name(),
                http_status = error.kind().http_status(),
                attempts = state.attempts,
                "Trying again in {:.1} s: {}: {error}",
                wait.as_secs_f64(),
                escaped(&redacted(&work.job.url)),
            );
            if self.unless_finishing(tokio::time::sleep(wait)).await.is_err() {
                return Err(interrupted().caused_by(error));
            }
            last_error = Some(error);
        }
    }

    /// Waits for a future, or fails as interrupted when the run is about to finish: then nothing new is begun.
    async fn unless_finishing<T>(&self, waiting: impl Future<Output = T>) -> Result<T, FetchError> {
        let mut phase = self.phase.clone();
        tokio::select! {
            biased;
            Ok(_) = phase.wait_for(|phase| *phase >= Phase::Finishing) => Err(interrupted()),
            ended = waiting => Ok(ended),
        }
    }

    /// Makes one attempt. `partial` is the part of the body that earlier attempts have received; a failed attempt
    /// leaves there what the next one can continue.
    async fn attempt<'a>(
        &'a self,
        work: &'a Work,
        permit: &HeldPermit<'_>,
        state: &mut AttemptState,
        partial: &mut Option<PartialBody<'a>>,
    ) -> Result<Ended, FetchError> {
        state.began.get_or_insert_with(Instant::now);
        state.attempts += 1;
        let download = self.counters.begin(&work.job.url, state.attempts);
        // In the first attempt of a row only: a URL that is always slow must get its time in a retry.
        let may_give_up = self.options.is_impatient && state.attempts == 1 && self.options.policy.retries > 0;
        let gives_up = |silence| permit.exceeds_usual_latency(silence);
        let before_request = |url: &Url| permit.follow(HostKey::of(url)).boxed();
        let deadline = self.client.deadline(may_give_up.then_some(&gives_up), Some(&before_request));
        let deadline = deadline.on(permit.connections);
        let mut response = self.request(work, partial, deadline).await?;
        state.first_byte = Some(Instant::now());
        let mut received = if let Some(mut continued) = partial.take_if(|_| response.status == 206) {
            state.resumed_from = continued.body.length();
            continued.total = response.range.map(|range| range.end);
            continued
        } else {
            // A refused response does not discard the partial body: the next attempt requests its rest again.
            if let Some(error) = refusal(&response, &self.options) {
                response.drain().await;
                return Err(error);
            }
            if let Some(former) = partial.take() {
                former.discard();
            }
            state.resumed_from = 0;
            state.from_earlier_run = 0;
            let (validator, total) = (response.validator.clone(), response.length);
            let source = source(&response.final_url);
            let origin = validator.as_ref().map(|validator| {
                let validator = validator.as_bytes().into();
                Origin { url: &work.job.url, source, validator, total }
            });
            let body = self.sink.body(response.length, origin);
            let validation = BodyValidator::new(&self.options.wanted, work.job.checksum.as_deref());
            PartialBody { body, validation, validator, source, total }
        };
        permit.note_answer();
        let status = response.status;
        if let Err(error) = self.receive(&mut received, state, &mut response, &download).await {
            let error = unless_accepted(error, status);
            let broke_off = matches!(error.kind(), ErrorKind::CutShort | ErrorKind::Stalled | ErrorKind::Timeout);
            let can_resume = broke_off && received.validator.is_some() && received.body.length() > 0;
            // A body that cannot be written to its file is fetched from its beginning.
            if can_resume && received.body.spill().is_ok() {
                *partial = Some(received);
            } else {
                received.discard();
            }
            return Err(error);
        }
        // The host does not wait for the CPU pool. A 202 may be tried again, for which the permit is needed.
        if self.works_on_pixels() && status != 202 {
            permit.leave_host();
        }
        self.finish(work, state, received, response.into()).await.map_err(|error| unless_accepted(error, status))
    }

    /// Requests the body, or only the rest of it if there is a partial one. A partial body that the answer does not
    /// continue is discarded, and the whole is requested at once.
    async fn request<'b>(
        &self,
        work: &'b Work,
        partial: &mut Option<PartialBody<'_>>,
        deadline: Deadline<'b>,
    ) -> Result<Response<'b>, FetchError> {
        let resume = partial.as_ref().and_then(PartialBody::resume);
        let response = self.client.get(&work.job.url, resume.as_ref(), deadline).await?;
        let cannot_continue = |partial: &mut PartialBody| match response.status {
            206 => !partial.is_continued_by(&response),
            // 416 Range Not Satisfiable: the body is shorter than the partial one now.
            416 => true,
            _ => false,
        };
        let Some(former) = partial.take_if(cannot_continue) else { return Ok(response) };
        // The body has changed, or the server handles ranges wrongly.
        former.discard();
        let deadline = response.deadline();
        response.drain().await;
        // Boxed, because every download would be moved with room for it.
        Box::pin(self.client.get(&work.job.url, None, deadline.before_request(&work.job.url).await?)).await
    }

    /// Receives the body of a successful response, frame by frame.
    async fn receive(
        &self,
        received: &mut PartialBody<'_>,
        state: &mut AttemptState,
        response: &mut Response<'_>,
        download: &DownloadGuard<'_>,
    ) -> Result<(), FetchError> {
        loop {
            let frame = match response.next().await {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                // The server says the end of the body by closing the connection, and keeps it open.
                Err(error)
                    if error.kind() == ErrorKind::Stalled
                        && response.ends_with_connection
                        && received.validation.has_ended() =>
                {
                    break;
                }
                Err(error) => return Err(error),
            };
            let length = received.body.length() + frame.len() as u64;
            if length > self.options.max_bytes {
                let bytes = Some(received.total.unwrap_or(length));
                return Err(self.options.too_large(Seen { bytes, ..received.validation.seen() }));
            }
            let fed = received.validation.feed(&frame, self.options.chunk_size);
            fed.map_err(|error| error.of_length(received.total))?;
            received.body.write(&frame).map_err(|error| self.disk("cannot write", error))?;
            if let Some(bandwidth) = &self.bandwidth {
                bandwidth.pass(frame.len()).await;
            }
            let new = state.high_water.reach(received.body.length());
            self.counters.bytes.fetch_add(new, std::sync::atomic::Ordering::Relaxed);
            download.reach(received.body.length(), received.total);
        }
        match received.total {
            // A 206 response can be complete in itself and still end before the range that was announced.
            Some(total) if total != received.body.length() => {
                Err(FetchError::new(ErrorKind::CutShort, "the body is incomplete"))
            }
            _ => Ok(()),
        }
    }

    /// The failure of an operation on the disk, which ends the run if nothing can be stored any more.
    fn disk(&self, what: &str, error: std::io::Error) -> FetchError {
        FetchError::disk(what, error, self.sink.outlives_errors())
    }

    fn timing(&self, state: &AttemptState) -> Option<Timing> {
        let began = state.began?;
        Some(Timing {
            start_ms: milliseconds(began.saturating_duration_since(self.started)),
            ttfb_ms: state.first_byte.map(|first| milliseconds(first.saturating_duration_since(began))),
            waited_ms: (!state.waited.is_zero()).then(|| milliseconds(state.waited)),
            processor_wait_ms: Some(milliseconds(state.waited_for_processor)).filter(|waited| *waited >= 1.0),
            total_ms: milliseconds(began.elapsed()),
        })
    }
}

fn interrupted() -> FetchError {
    FetchError::new(ErrorKind::Interrupted, "the run ended before this row did")
}

/// The error of a row that is not tried, or not tried again, because the circuit of its host is open.
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
    .that_may_pass(true)
}

/// What a failed attempt says about the host that it was about, the last one to which redirects led. `attempts` is the
/// number of this attempt; `was_answered` says whether a response had begun.
fn feedback(error: &FetchError, retry_after: Option<Duration>, attempts: u32, was_answered: bool) -> Feedback {
    match error.kind() {
        kind @ ErrorKind::HttpStatus(429) => Feedback::Throttled(kind, retry_after),
        // A 503 by itself may be about one broken page; with `Retry-After` it is about the host, and so is a 403, which
        // some servers send in place of a 429.
        kind @ ErrorKind::HttpStatus(403 | 503) if retry_after.is_some() => Feedback::Throttled(kind, retry_after),
        // A second 503 for the same URL says nothing new about the host.
        ErrorKind::HttpStatus(503) if attempts > 1 => Feedback::Unclear,
        kind @ ErrorKind::HttpStatus(503) => Feedback::Busy(kind),
        ErrorKind::CutShort => Feedback::Broken,
        ErrorKind::Timeout | ErrorKind::Stalled if was_answered => Feedback::Silent,
        kind @ (ErrorKind::Connect | ErrorKind::Timeout | ErrorKind::Stalled | ErrorKind::Dns) => {
            Feedback::Unanswered(kind)
        }
        // The host answered as it should.
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

/// Whether the network may be to blame: no answer came, or no whole one.
const fn is_unreachable(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Dns | ErrorKind::Connect | ErrorKind::Timeout | ErrorKind::Stalled | ErrorKind::CutShort)
}

fn file_exists(path: String) -> Skipped {
    Skipped::new(Reason::FileExists, Some(path))
}

/// Why the body of a response is not read, if it is not.
fn refusal(response: &Response, options: &Options) -> Option<FetchError> {
    let seen = Seen { bytes: response.length, ..Seen::default() };
    match response.status {
        206 => Some(FetchError::new(ErrorKind::Protocol, "206 Partial Content, though the whole was asked for")),
        202 if response.retry_after.is_some()
            || response.length == Some(0)
            || options.wanted.accept == Accept::Anything =>
        {
            Some(refused(response))
        }
        200..=299 if response.length.is_some_and(|length| length > options.max_bytes) => Some(options.too_large(seen)),
        status @ 200..=299 => {
            let too_small = options.wanted.bounds.check_length(response.length?).err();
            too_small.map(|error| unless_accepted(error.by_wish(seen), status))
        }
        _ => Some(refused(response)),
    }
}

/// The error of a status that is no success, which the server may ask to come back after.
fn refused(response: &Response) -> FetchError {
    let mut clause = response.status_line();
    let mut status = response.status;
    if let Some(refusal) = &response.refusal {
        clause = format!("{clause} from {THE_STORE}{}", refusal.clause);
        // With other settings it may be given, which no other status says in the same way for all stores.
        status = if refusal.is_of_settings { 403 } else { status };
    }
    if let Some(fault) = http::fault_of(&response.final_url, response.status, SystemTime::now()) {
        clause = format!("{clause}: {fault}");
    }
    if let Some(asked) = response.retry_after.filter(|asked| *asked > retry::MAX_RETRY_AFTER) {
        clause = format!("{clause}, and asks to come back after {}", spoken(asked));
    }
    FetchError::new(ErrorKind::HttpStatus(status), clause)
        .with_retry_after(response.retry_after)
        .that_may_pass(response.retry_after.is_some())
}

/// The error of a body. That of a 202 is not the image, which is still being made (RFC 9110, section 15.3.3), unless it
/// is a wanted one all the same: the server asks to come back later, so what its body is instead does not matter.
fn unless_accepted(error: FetchError, status: u16) -> FetchError {
    match error.kind() {
        ErrorKind::NotAnImage
        | ErrorKind::NotAccepted
        | ErrorKind::CorruptImage
        | ErrorKind::TooSmall
        | ErrorKind::Checksum
            if status == 202 =>
        {
            FetchError::new(ErrorKind::HttpStatus(status), format!("202 Accepted: {error}"))
        }
        _ => error,
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
    use crate::http;
    use crate::limiter::{self, OpenAfter, PerHost};
    use crate::sink::{Folder, folder};

    /// Starts a server that answers one request, and returns its port.
    fn serve_once() -> u16 {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
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
            sink: Arc::new(Sink::Folder(Folder::open(folder, None, folder::Options::default()).expect("a folder"))),
            #[cfg(feature = "transform")]
            pool: CpuPool::of_this_machine(),
            namer: Arc::new(Mutex::new(Namer::new("{basename}".parse().expect("a template"), false))),
            made_with: MadeWith::default(),
            remakes: Fetcher::bound_on_remakes(),
            counters: Arc::default(),
            options: Options {
                // The server sends only the signature of a PNG file.
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
        fetcher
            .fetch(&Work { job, name, on_conflict: OnConflict::Keep, replaces: None, stored: None }, None)
            .await
            .record
            .outcome
    }

    #[tokio::test]
    async fn a_panic_is_a_failed_record_and_not_the_end() {
        // The command line refuses a chunk size of zero, which makes the loop over pieces panic.
        let Outcome::Failed(failed) = fetch_once(0).await else { panic!("it cannot have been saved") };
        assert_eq!((&*failed.error, failed.attempts), ("internal", 1), "{failed:?}");
        assert!(failed.message.contains("chunk size must be non-zero"), "{failed:?}");
        assert!(matches!(fetch_once(512).await, Outcome::Saved(_)), "with another chunk size it is saved");
    }
}
