//! One URL from start to end: [`Work`] in, [`Record`] out, whatever happens.
//!
//! The loop over attempts is here, and so is the way of the bytes: each frame of the body is held to the limit on bytes
//! and taken apart into pieces of `--chunk-size`, which are looked at one by one until they have told what they are. Then
//! the frame goes into the part file as it is, and is counted: a write for each piece would copy everything once more.

mod store;
mod validate;

use validate::BodyValidator;
pub use validate::{Accept, Bounds, Verify, Wanted};

use std::num::NonZeroU32;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::FutureExt;
use tokio::sync::watch;
use url::Url;

use crate::http::{self, Client, Deadline, HeaderValue, Response, Resume, retry};
use crate::image::transform::{Plan, Pool};
use crate::limiter::bandwidth::BandwidthLimit;
use crate::limiter::{Attempt, BackingOff, Feedback, GivenUp, HostKey, Limiter, Permit};
use crate::naming::{Namer, Planned};
use crate::progress::{Counters, DownloadGuard, HighWaterMark};
use crate::record::{
    ErrorKind, Failed, FetchError, Job, Outcome, Phase, Reason, Record, Skipped, Timing, milliseconds,
};
use crate::sink::folder::dedup::DedupIndex;
use crate::sink::folder::wal::{Wal, WalEntry};
use crate::sink::{Body, Folder, OnConflict, Origin};
use crate::util::human::{Rounded, Size};
use crate::util::redact::{escaped, redacted};

/// A job with all that was decided about it in list order.
#[derive(Debug)]
pub struct Work {
    /// What to fetch.
    pub job: Job,
    /// The file it becomes.
    pub name: Planned,
    /// Whether it may take the place of a file of that name.
    pub publish: OnConflict,
    /// The file of an earlier run that goes when this one is there, unless it is the same, and its size in bytes.
    pub replaces: Option<(String, u64)>,
}

/// What a download is held to.
#[derive(Clone, Debug)]
pub struct Options {
    /// What is wanted of a body.
    pub wanted: Wanted,
    /// Pieces of so many bytes at most.
    pub chunk_size: usize,
    /// A larger body fails.
    pub max_bytes: u64,
    /// Give a file the extension that its bytes ask for.
    pub fix_extension: bool,
    /// Store the same content once.
    pub dedupe: bool,
    /// What is done with the pixels, if anything.
    pub plan: Option<Arc<Plan>>,
    /// Bytes a second, all downloads together.
    pub limit_rate: Option<NonZeroU32>,
    /// How often to try again.
    pub policy: retry::Policy,
    /// The first attempt of a row ends when nothing has come for far longer than the host usually takes for an image.
    pub is_impatient: bool,
}

/// All that a download needs. One for each pass over the list, shared by its tasks.
#[derive(Debug)]
pub struct Fetcher {
    /// The way out, with its connections.
    pub client: Client,
    /// Seats at hosts.
    pub limiter: Limiter,
    /// Where images go.
    pub files: Arc<Folder>,
    /// Where it is noted that they are about to go there.
    pub wal: Arc<Wal>,
    /// Which contents are there.
    pub contents: Arc<DedupIndex>,
    /// Processors for pixels.
    pub pool: Pool,
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
    pub line: Option<Vec<u8>>,
    /// To be held until the record is in the journal.
    pub entry: Option<WalEntry>,
}

/// How an attempt ended that needs no other.
enum Ended {
    Saved(Box<Fetched>),
    Skipped(Skipped),
}

/// What one download has been through.
#[derive(Default)]
struct AttemptState {
    begun: Option<Instant>,
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

/// A body of which not everything has come.
struct PartialBody<'a> {
    part: Body<'a>,
    look: BodyValidator<'a>,
    validator: Option<HeaderValue>,
    source: u64,
    total: Option<u64>,
}

/// What tells one place from another where bodies come from: scheme, host, port and path. A query often holds a
/// signature that is another one every time.
fn source(url: &Url) -> u64 {
    let words = [url.scheme(), &url[url::Position::BeforeHost..url::Position::AfterPort], url.path()];
    xxhash_rust::xxh3::xxh3_64(words.join(" ").as_bytes())
}

impl<'a> PartialBody<'a> {
    /// What an earlier run has left of a body. `None` if there is nothing, or nothing of use.
    fn earlier(files: &'a Folder, job: &'a Job, options: &'a Options) -> Option<Self> {
        let part = files.left(&job.url)?;
        let mut look = BodyValidator::new(&options.wanted, job.checksum.as_deref());
        // What was wanted then may not be wanted now; that is told when the body is asked for again.
        let looked = part.each_block(|block| look.at(block, options.chunk_size).is_ok()).is_ok_and(|wanted| wanted);
        let origin = part.origin().filter(|_| looked && part.length() <= options.max_bytes);
        let known = origin.map(|o| (HeaderValue::from_bytes(&o.validator).ok(), o.source, o.total));
        if let Some((Some(validator), source, total)) = known {
            return Some(Self { part, look, validator: Some(validator), source, total });
        }
        part.discard();
        None
    }

    fn resume(&self) -> Option<Resume> {
        let validator = self.validator.clone()?;
        Some(Resume { from: self.part.length(), validator })
    }

    /// Nothing more is to come of it.
    fn give_up(self) {
        self.part.discard();
    }

    /// Whether the answer carries exactly what is missing, of the very same body (RFC 9110, section 15.3.7).
    fn is_continued_by(&self, response: &Response) -> bool {
        let same_body = response.validator == self.validator && source(&response.final_url) == self.source;
        // Where nobody has said how long the body is, nobody can say that this is all of it.
        response.range.is_some_and(|range| {
            let is_whole = |total: Option<u64>| total.is_none_or(|total| total == range.end);
            let total_is_known = self.total.or(range.total).is_some();
            same_body && range.first == self.part.length() && total_is_known && is_whole(self.total)
        })
    }
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
        Box::new(Fetched { record: Record::of(&work.job, outcome), line: None, entry: None })
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
            && work.publish == OnConflict::Keep
            && self.files.is_taken(path)
        {
            return Ok(Ended::Skipped(file_exists(path.to_owned())));
        }
        let mut waits = self.options.policy.waits();
        let mut begun = PartialBody::earlier(&self.files, &work.job, &self.options);
        if let Some(begun) = &begun {
            state.from_before = begun.part.length();
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
                self.unless_finishing(self.limiter.enter(&host, turn)).await?.map_err(|given_up| {
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
                permit.leave(Feedback::Well);
                return result;
            };
            let asks_too_much = error.retry_after().is_some_and(|asked| asked > retry::LONGEST_ASKED);
            // The row does not wait for so long; the host is left alone for a while all the same.
            let asked = error.retry_after().map(|asked| asked.min(retry::LONGEST_ASKED));
            let visit = visit(&error, asked, state, state.first_byte != answered);
            let wait = if error.kind().retryable() && !asks_too_much { waits.next() } else { None };
            let Some(wait) = wait else {
                permit.leave(visit);
                return Err(error);
            };
            resting = Some((permit.rest(visit), Instant::now()));
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
        state.begun.get_or_insert_with(Instant::now);
        state.attempts += 1;
        let alive = self.counters.begin(&work.job.url, state.attempts);
        // Once a row only: what is slow by itself must get its time.
        let may_give_up = self.options.is_impatient && state.attempts == 1 && self.options.policy.retries > 0;
        let gives_up = |silence| permit.is_unusual(silence);
        let next_slot = || permit.next_slot().boxed();
        let deadline = self.client.deadline(may_give_up.then_some(&gives_up), Some(&next_slot));
        let mut response = self.ask(work, begun, deadline).await?;
        state.first_byte = Some(Instant::now());
        let mut body = if let Some(mut body) = begun.take_if(|_| response.status == 206) {
            state.resumed_from = body.part.length();
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
                former.give_up();
            }
            state.resumed_from = 0;
            state.from_before = 0;
            let (validator, total) = (response.validator.clone(), response.length);
            let source = source(&response.final_url);
            let known_by = validator.as_ref().map(|validator| validator.as_bytes().into());
            let origin = known_by.map(|validator| Origin { url: &work.job.url, source, validator, total });
            let part = self.files.begin(response.length, origin);
            let look = BodyValidator::new(&self.options.wanted, work.job.checksum.as_deref());
            PartialBody { part, look, validator, source, total }
        };
        if let Err(error) = self.receive(&mut body, state, &mut response, &alive).await {
            let error = error.from_other_host(http::is_another_host(&work.job.url, &response.final_url));
            let broke_off = matches!(error.kind(), ErrorKind::CutShort | ErrorKind::Stalled | ErrorKind::Timeout);
            // What cannot be laid aside is fetched from its beginning.
            if broke_off && body.validator.is_some() && body.part.length() > 0 && body.part.rest().is_ok() {
                *begun = Some(body);
            } else {
                body.give_up();
            }
            return Err(error);
        }
        self.store(work, state, body, response).await
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
        former.give_up();
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
            if body.part.length() + frame.len() as u64 > self.options.max_bytes {
                return Err(too_large(self.options.max_bytes));
            }
            body.look.at(&frame, self.options.chunk_size)?;
            body.part.write(&frame).map_err(|error| self.disk("cannot write", error))?;
            if let Some(bandwidth) = &self.bandwidth {
                bandwidth.pass(frame.len()).await;
            }
            let new = state.water.reach(body.part.length());
            self.counters.bytes.fetch_add(new, std::sync::atomic::Ordering::Relaxed);
            alive.reach(body.part.length(), body.total);
        }
        match body.total {
            // A part that came whole need not be the part that was missing.
            Some(total) if total != body.part.length() => {
                Err(FetchError::new(ErrorKind::CutShort, "the body is incomplete"))
            }
            _ => Ok(()),
        }
    }

    fn disk(&self, what: &str, error: std::io::Error) -> FetchError {
        FetchError::disk(what, error, self.files.is_usable())
    }

    fn timing(&self, state: &AttemptState) -> Option<Timing> {
        let begun = state.begun?;
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
fn not_tried(host: &HostKey, GivenUp { kind, time }: GivenUp, attempts: u32) -> FetchError {
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
        _ if error.is_from_other_host() => Feedback::Well,
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
        | ErrorKind::TooLarge => Feedback::Well,
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
            if let Some(asked) = response.retry_after.filter(|asked| *asked > retry::LONGEST_ASKED) {
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

    use super::*;
    use crate::http::Identity;
    use crate::limiter::{self, Patience, PerHost};

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
            identity: Identity::default(),
            proxy: Some(String::new()),
            cacert: None,
            insecure: false,
            pinned: Vec::new(),
            dns_servers: Vec::new(),
            family: None,
            public_only: false,
            http1_only: true,
            max_redirects: 0,
            allow_downgrade: false,
            connect_timeout: second,
            stall_timeout: second,
            attempt_timeout: second,
            concurrency: 1,
        };
        let policy = retry::Policy { retries: 0, first_wait: second };
        Fetcher {
            client: Client::new(http).expect("a client"),
            limiter: Limiter::new(limiter::Options {
                per_host: PerHost::Auto,
                in_run: NonZeroUsize::MIN,
                pace: None,
                pause: second,
                patience: Patience { tries: 1, connecting: second, answering: second },
                at_rest: 0,
            }),
            bandwidth: None,
            files: Arc::new(Folder::open(folder, false, None).expect("a folder")),
            wal: Arc::new(Wal::new(folder.join("wal"), None, false)),
            contents: Arc::default(),
            pool: Pool::of_this_machine(),
            namer: Arc::new(Mutex::new(Namer::new("{basename}".parse().expect("a template"), false))),
            counters: Arc::default(),
            options: Options {
                wanted: Wanted {
                    accept: Accept::Images,
                    bounds: Bounds::default(),
                    // The server below has no more of an image than its signature.
                    verify: Verify::Nothing,
                    exif: false,
                    digests: Vec::new(),
                },
                chunk_size,
                max_bytes: 100,
                fix_extension: false,
                dedupe: false,
                plan: None,
                limit_rate: None,
                policy,
                is_impatient: false,
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
        fetcher.fetch(&Work { job, name, publish: OnConflict::Keep, replaces: None }, None).await.record.outcome
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
