//! A run for a program that uses this library: jobs come as a stream, and so do the records.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::{Stream, StreamExt};
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

use super::Options;
use super::pass::{Control, Rows};
use super::passes::Passes;
use super::reporting::{self, Outputs};
use super::shutdown::Stop;
use super::state::State;
use crate::progress::Display;
use crate::record::{Job, Mode, Phase, Record, RunError};
use crate::report::Summary;

/// The number of unread records, in addition to the concurrent downloads, at which no further jobs are taken. A program
/// that reads slowly slows the run down and does not fill the memory.
const MAX_UNREAD: usize = 1024;

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
    /// cannot be created.
    pub fn new(mut options: Options) -> Result<Self, RunError> {
        options.reconcile();
        options.modes.truncate(1);
        if options.modes.is_empty() {
            options.modes.push(Mode::Concurrent);
        }
        let state = State::open(&options)?;
        let outputs = Outputs::of_stream(&options, &state.folder)?;
        Ok(Self { options, state, outputs })
    }

    /// Starts the run. Each job gets exactly one record, in the order in which downloads end. The jobs should be
    /// numbered from 0 ([`Job::index`]), because a name may contain the number.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn records(self, jobs: impl Stream<Item = Job> + Send + 'static) -> Records {
        let Self { options, state, mut outputs } = self;
        let (sender, receiver) = mpsc::unbounded_channel();
        outputs.records = Some(sender);
        let unread = Arc::new(Semaphore::new(options.concurrency.saturating_add(MAX_UNREAD).get()));
        let stop = Arc::new(Stop::default());
        let rows = jobs.then({
            let unread = Arc::clone(&unread);
            move |job| {
                let unread = Arc::clone(&unread);
                async move {
                    // The permit is returned when the record of the job is read.
                    let slot = unread.acquire_owned().await;
                    slot.into_iter().for_each(OwnedSemaphorePermit::forget);
                    Ok(job)
                }
            }
        });
        let run = tokio::spawn({
            let stop = Arc::clone(&stop);
            async move {
                let control = Control { display: &Display::None, stop: &stop };
                let rows = Rows::Stream(rows.boxed());
                let history = state.folder.private("runs.jsonl");
                let mut passes = Passes::go(&options, control, state, &mut outputs, rows).await?;
                let (ended, failure) = (passes.ended(&stop), passes.failure.take());
                let summary = passes.summaries.last().cloned();
                outputs.write(&options, &reporting::of_lists(&options, &history, ended, passes))?;
                match (failure, summary) {
                    (Some(error), _) => Err(error),
                    (None, Some(summary)) => Ok(summary),
                    (None, None) => Err(RunError::System(std::io::Error::other("the run made no pass"))),
                }
            }
        });
        Records { receiver, unread, stop, run }
    }
}

/// The records of a run, in the order in which downloads end.
///
/// Dropping this ends the run: downloads in flight have 5 seconds to finish, and partial bodies are kept for the next
/// run with the same output.
#[derive(Debug)]
pub struct Records {
    receiver: UnboundedReceiver<Record>,
    unread: Arc<Semaphore>,
    stop: Arc<Stop>,
    run: JoinHandle<Result<Summary, RunError>>,
}

impl Records {
    /// Ends the run early: no further job is taken, and downloads in flight have 5 seconds to finish. Their records
    /// still come.
    pub fn stop(&self) {
        self.stop.end(Phase::Finishing);
    }

    /// Waits for the end of the run. Records that have not been read are in the journal.
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
            self.unread.add_permits(1);
        }
        polled
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        self.stop.end(Phase::Finishing);
    }
}
