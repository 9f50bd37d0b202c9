//! A run: opens the output, fetches the images of a list in one pass or more, and writes the report.
//!
//! [`run()`] only wires the parts together. Each row goes through `pass`: `admission` decides about it, `schedule` runs
//! its download, and the `ledger` takes its record.

mod admission;
mod asides;
mod changes;
pub mod dry_run;
mod earlier;
mod ledger;
pub mod metadata;
mod names;
mod options;
mod others;
mod output;
mod pass;
mod passes;
mod rename;
mod reporting;
pub mod reservoir;
mod sample;
pub mod schedule;
pub mod shutdown;
mod state;
pub mod status;
mod stream;
mod survey;
#[cfg(feature = "parquet")]
mod units;
#[cfg(feature = "parquet")]
pub mod verify;
mod wishes;

use std::sync::Arc;

#[cfg(feature = "parquet")]
pub use self::options::SetOptions;
pub use self::options::{DEFAULT_CONCURRENCY, DEFAULT_OUTPUT, Options, ReportFormat, Reports};
use self::output::NewFolders;
pub use self::output::{ROW_FAILED, check_distinct};
use self::pass::{Control, Rows};
use self::passes::Passes;
use self::reporting::Outputs;
use self::shutdown::Stop;
use self::state::State;
pub use self::stream::{Records, Run};
use crate::input::Lists;
use crate::progress::Display;
use crate::record::{Existing, Exit, Phase, RunError};

/// Carries out the run that the options describe.
///
/// # Errors
/// When the run cannot start or cannot go on.
pub async fn run(options: &Options, display: &Display, stop: &Stop) -> Result<Exit, RunError> {
    let lists = Lists::open(&options.sources, &options.input)?;
    output::check_folders(options)?;
    let new_folders = NewFolders::of(options);
    let state = State::open(options)?;
    // The output stays locked until the report is written.
    let (sink, folder) = (Arc::clone(&state.sink), state.folder.clone());
    let ended = match Outputs::create(options, &lists, &state.folder) {
        Ok(outputs) => {
            let metrics = outputs.metrics.clone();
            let ended = Box::pin(go(options, Control { display, stop }, lists, state, outputs)).await;
            if let Some(metrics) = metrics {
                metrics.finish(ended.as_ref().copied().unwrap_or(Exit::Aborted).status());
            }
            ended
        }
        Err(error) => {
            drop(state);
            Err(error)
        }
    };
    if ended.is_err() {
        // Such as a list without the column that was named, or a report in a place where it cannot be: where nothing was,
        // nothing is left.
        folder.remove_unused();
        drop(sink);
        new_folders.remove_empty();
    }
    ended
}

/// Fetches the rows, and writes what there is to be written at the end.
async fn go(
    options: &Options,
    control: Control<'_>,
    lists: Lists,
    mut state: State,
    mut outputs: Outputs,
) -> Result<Exit, RunError> {
    let (stop, folder) = (control.stop, state.folder.clone());
    metadata::prepare(options, &lists, &mut state)?;
    let gives_names_anew = options.existing == Existing::Replace && !state.journal.is_empty();
    let renames = options.rename && !state.journal.is_empty();
    let is_read_again = gives_names_anew || renames || options.modes.len() > 1;
    let Some(lists) = repeatable_if_needed(lists, is_read_again, stop).await? else {
        return Ok(stop.asked().unwrap_or(Exit::Aborted));
    };
    if gives_names_anew {
        others::keep_names(&lists, &mut state.journal, &mut state.namer, stop).await?;
    }
    if renames {
        rename::rename(options, &lists, &mut state, stop).await?;
    }
    let mut drawn = None;
    if let Some(sample) = options.sample {
        drawn = Some(sample::draw(options, sample, &lists, &mut state, stop).await?);
        if !stop.is_running() {
            return Ok(stop.asked().unwrap_or(Exit::Aborted));
        }
    }
    let rows = drawn.as_mut().map_or(Rows::Lists(&lists), |drawn| Rows::Sample(std::mem::take(&mut drawn.works)));
    let mut passes = Passes::go(options, control, state, &mut outputs, rows).await?;
    let (ended, failure, exit) = (passes.ended(), passes.failure.take(), passes.exit);
    // A reader of a stream that has seen enough is content: what was still in flight did not fail.
    let is_closed = matches!(failure, Some(RunError::Closed));
    let has_failed_rows = if is_closed { passes.have_rows_failed_before_the_end() } else { passes.have_failed_rows() };
    let has_failed_rows = has_failed_rows || drawn.as_ref().is_some_and(|drawn| drawn.counts.bad() > 0);
    let has_failed_rows = has_failed_rows && !passes.tolerance(options).is_some_and(|tolerance| tolerance.is_ok);
    let report = match &drawn {
        None => reporting::of_lists(options, &folder, ended, passes),
        Some(drawn) => reporting::of_sample(options, &folder, ended, passes, drawn),
    };
    let written = outputs.write(options, &report);
    let described = metadata::write(options, &folder);
    if exit != Some(Exit::HungUp) {
        written?;
    }
    let failure = failure.filter(|failure| !matches!(failure, RunError::Closed));
    if let Some(error) = failure {
        return Err(error);
    }
    if exit != Some(Exit::HungUp) {
        described?;
    }
    Ok(exit.unwrap_or(if has_failed_rows { Exit::SomeFailed } else { Exit::Clean }))
}

/// Copies lists that can be read only once, such as a pipe, if they are read more than once. Returns `None` if the run
/// was asked to end before all was read.
async fn repeatable_if_needed(lists: Lists, is_needed: bool, stop: &Stop) -> Result<Option<Lists>, RunError> {
    if !is_needed {
        return Ok(Some(lists));
    }
    tokio::select! {
        kept = tokio::task::spawn_blocking(|| lists.repeatable()) => match kept {
            Ok(kept) => kept.map(Some),
            Err(panicked) => Err(RunError::System(panicked.into())),
        },
        () = stop.reached(Phase::Finishing) => Ok(None),
    }
}
