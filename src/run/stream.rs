//! A run for a program that uses this library: jobs come as a stream, and so do the records.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures::{Stream, StreamExt, stream};
use tokio::sync::Notify;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::JoinHandle;

use super::Options;
use super::metadata;
use super::output::check_distinct;
use super::pass::{Control, Rows};
use super::passes::Passes;
use super::reporting::{self, Outputs};
use super::shutdown::Stop;
use super::state::State;
use crate::input::Lists;
use crate::progress::Display;
use crate::record::{Exit, Job, Mode, Phase, Record, RunError};
use crate::report::Summary;

/// Records that may wait to be read before no further job is taken. So a program that reads slowly slows the run down and
/// does not fill the memory: beyond these there are the records of jobs that were taken before.
const MAX_UNREAD: usize = 1024;

/// The records that have been sent and not read.
#[derive(Debug, Default)]
struct Backlog {
    unread: AtomicUsize,
    shrunk: Notify,
}

impl Backlog {
    /// Waits until a further job may be taken.
    async fn below_limit(&self) {
        loop {
            let shrunk = self.shrunk.notified();
            if self.unread.load(Ordering::Acquire) < MAX_UNREAD {
                return;
            }
            shrunk.await;
        }
    }
}

/// Where the run sends its records.
#[derive(Clone, Debug)]
pub struct RecordSender {
    sender: UnboundedSender<Record>,
    backlog: Arc<Backlog>,
}

impl RecordSender {
    /// Sends a record. If the program has stopped reading, it is dropped; the journal has all records.
    pub fn send(&self, record: Record) {
        self.backlog.unread.fetch_add(1, Ordering::AcqRel);
        let _ = self.sender.send(record);
    }
}

/// The jobs, taken while the backlog is below its limit. A job that has been taken is never lost.
fn gated(jobs: impl Stream<Item = Job> + Send, backlog: Arc<Backlog>) -> impl Stream<Item = Job> + Send {
    stream::unfold((Box::pin(jobs), backlog), |(mut jobs, backlog)| async move {
        backlog.below_limit().await;
        let job = jobs.next().await?;
        Some((job, (jobs, backlog)))
    })
}

/// A run that is about to begin: its output is open, and locked against other runs.
pub struct Run {
    options: Options,
    state: State,
    outputs: Outputs,
}

impl Run {
    /// Opens the output. Sources, the sample and all modes except the first are ignored here, because jobs come through
    /// [`Run::records`] and only once.
    ///
    /// # Errors
    /// When the output cannot be opened or read, another run holds it, or the file of the manifest or of a report
    /// cannot be created, or is to be two of them.
    pub fn new(mut options: Options) -> Result<Self, RunError> {
        options.reconcile();
        options.rename = false;
        options.modes.truncate(1);
        if options.modes.is_empty() {
            options.modes.push(Mode::Concurrent);
        }
        check_distinct(&options)?;
        let mut state = State::open(&options)?;
        let outputs = Outputs::of_stream(&options, &state.folder)?;
        metadata::prepare(&options, &Lists::default(), &mut state)?;
        Ok(Self { options, state, outputs })
    }

    /// Starts the run. Each job gets exactly one record, in the order in which downloads end; only [`Records::stop`] leaves
    /// jobs without one. The jobs should be numbered from 0 ([`Job::index`]), because a name may contain the number.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn records(self, jobs: impl Stream<Item = Job> + Send + 'static) -> Records {
        let Self { options, state, mut outputs } = self;
        let (sender, receiver) = mpsc::unbounded_channel();
        let (backlog, stop) = (Arc::<Backlog>::default(), Arc::<Stop>::default());
        outputs.records = Some(RecordSender { sender, backlog: Arc::clone(&backlog) });
        let rows = gated(jobs, Arc::clone(&backlog)).map(Ok);
        let run = tokio::spawn({
            let stop = Arc::clone(&stop);
            async move {
                let control = Control { display: &Display::None, stop: &stop };
                let rows = Rows::Stream(rows.boxed());
                let (folder, metrics) = (state.folder.clone(), outputs.metrics.clone());
                // The output stays locked until the report is written.
                let _sink = Arc::clone(&state.sink);
                let ended = async {
                    let mut passes = Passes::go(&options, control, state, &mut outputs, rows).await?;
                    let (ended, failure) = (passes.ended(), passes.failure.take());
                    let summary = passes.summaries.last().cloned();
                    outputs.write(&options, &reporting::of_lists(&options, &folder, ended, passes))?;
                    metadata::write(&options, &folder)?;
                    match (failure, summary) {
                        (Some(error), _) => Err(error),
                        (None, Some(summary)) => Ok(summary),
                        (None, None) => Err(RunError::System(std::io::Error::other("the run made no pass"))),
                    }
                }
                .await;
                if let Some(metrics) = metrics {
                    let exit = match &ended {
                        Ok(summary) if summary.failed > 0 => Exit::SomeFailed,
                        Ok(_) => Exit::Clean,
                        Err(_) => Exit::Aborted,
                    };
                    metrics.finish(exit.status());
                }
                ended
            }
        });
        Records { receiver, backlog, stop, run }
    }
}

/// The records of a run, in the order in which downloads end.
///
/// Dropping it ends the run: downloads in flight have 5 seconds to finish, and unfinished bodies are kept for the next run
/// into the same output, which is locked until then. To wait for that, call [`Records::stop`] and [`Records::finish`].
#[derive(Debug)]
pub struct Records {
    receiver: UnboundedReceiver<Record>,
    backlog: Arc<Backlog>,
    stop: Arc<Stop>,
    run: JoinHandle<Result<Summary, RunError>>,
}

impl Records {
    /// Ends the run early: no further job is begun, and downloads in flight have 5 seconds to finish. The records of all
    /// jobs that were begun still come; the others get none.
    pub fn stop(&self) {
        self.stop.end(Phase::Finishing);
    }

    /// Reads the records that are left and waits for the end of the run, which is the end of its jobs. Where these never
    /// end, [`Records::stop`] has to be called first.
    ///
    /// # Errors
    /// When the run could not go on, for example because the disk is full. Images saved before are there and recorded.
    pub async fn finish(mut self) -> Result<Summary, RunError> {
        while self.next().await.is_some() {}
        match (&mut self.run).await {
            Ok(ended) => ended,
            Err(panicked) => Err(RunError::System(panicked.into())),
        }
    }
}

impl Stream for Records {
    type Item = Record;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Record>> {
        let polled = self.receiver.poll_recv(context);
        if let Poll::Ready(Some(_)) = polled {
            self.backlog.unread.fetch_sub(1, Ordering::AcqRel);
            self.backlog.shrunk.notify_waiters();
        }
        polled
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        self.stop.end(Phase::Finishing);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::FutureExt;
    use url::Url;

    use super::*;

    #[test]
    fn jobs_are_taken_while_their_records_are_read() {
        let backlog = Arc::<Backlog>::default();
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let records = RecordSender { sender, backlog: Arc::clone(&backlog) };
        let url = Url::parse("http://a.example/a.png").expect("a URL");
        let job = move |index| Job::new(index, url.clone());
        let record = Record::of(
            &job(0),
            crate::record::Outcome::Skipped(crate::record::Skipped::new(crate::record::Reason::DuplicateUrl, None)),
        );
        let mut jobs = pin!(gated(stream::iter((0..).map(job)), Arc::clone(&backlog)));
        for _ in 0..MAX_UNREAD {
            assert!(jobs.next().now_or_never().flatten().is_some());
            records.send(record.clone());
        }
        assert!(jobs.next().now_or_never().is_none(), "no record has been read");
        assert!(receiver.try_recv().is_ok());
        backlog.unread.fetch_sub(1, Ordering::AcqRel);
        backlog.shrunk.notify_waiters();
        let next = jobs.next().now_or_never().flatten().expect("a record has been read");
        assert_eq!(next.index, MAX_UNREAD as u64, "none is lost by the wait");
    }
}
