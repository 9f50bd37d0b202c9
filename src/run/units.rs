//! A run whose images go into shards: what is opened for it, how its rows reach their shards, and how it ends.

mod plan;

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{StreamExt as _, stream};

use super::changes::Changes;
use super::ledger::{Ledger, SampleRules};
use super::options::{Options, SetOptions};
use super::pass::Listed;
use super::shutdown::Stop;
use super::state::State;
use crate::input::{self, Source};
use crate::journal::{Journal, RowIdentity};
use crate::naming::Namer;
use crate::record::{Phase, RunError};
use crate::sink::folder::FolderView;
use crate::sink::shards::{Destination, SET_FILE, Units, refuse_set};
use crate::sink::{Shards, Sink};
use crate::util::lock;

pub use self::plan::dry_run;

/// Opens the output of a run that makes shards. Its records are in the shards, so the journal stays empty.
///
/// # Errors
/// When the output cannot be opened or read, is held by another run, or holds something else.
pub fn open(options: &Options, set: &SetOptions) -> Result<State, RunError> {
    let mut shard_options = set.shards.clone();
    shard_options.column_types = input::column_types(&options.sources)?;
    shard_options.units.retries = retries(options, set)?;
    let shards = Shards::open(shard_options)?;
    let folder = match &set.shards.destination {
        Destination::Folder(root) => FolderView::open(root, None)?,
        _ => FolderView::open(shards.temporary().unwrap_or_else(|| shards.spill_dir().path()), None)?,
    };
    Ok(State {
        sink: Arc::new(Sink::Shards(Box::new(shards))),
        journal: Journal::open_overlay(Path::new(""), RowIdentity::UrlAndNumber { several_passes: false }, |_| ())?,
        namer: Namer::new(options.template.clone(), true),
        folder,
        changes: Changes::new(options),
    })
}

/// Fails if a run that makes files would do so in a folder of shards.
///
/// # Errors
/// When the folder holds shards.
pub fn refuse(options: &Options) -> Result<(), RunError> {
    refuse_set(&options.output)?;
    if let [Source::FailedOf(root)] = &*options.sources
        && root.folder().and_then(input::journal_of).is_none()
        && input::complete_shards(root).is_ok_and(|shards| !shards.is_empty())
    {
        let sentence = "it is missing, so it is not known how the shards were made; run the command that makes the set, \
                        which writes it anew";
        let source = io::Error::new(io::ErrorKind::NotFound, sentence);
        return Err(RunError::Journal { path: root.path(SET_FILE), source });
    }
    Ok(())
}

/// The numbers of the shards that are there with rows that were tried again, if this run tries rows again, too.
fn retries(options: &Options, set: &SetOptions) -> Result<Option<Vec<u64>>, RunError> {
    let ([Source::FailedOf(_)], Some(root)) = (&*options.sources, set.shards.destination.location()) else {
        return Ok(None);
    };
    let fail = |source| RunError::List { name: root.to_string(), source };
    let mut taken = input::complete_shards(&root)
        .map_err(fail)?
        .iter()
        .filter_map(|name| Units::retry_number(name))
        .collect::<Vec<_>>();
    taken.sort_unstable();
    Ok(Some(taken))
}

/// How rows become samples, if they do.
pub fn rules(options: &Options) -> Option<SampleRules> {
    let keys = options.set.as_ref()?.keys.clone();
    Some(SampleRules { keys, dedupes_urls: options.row_identity == RowIdentity::Url })
}

/// Leaves out the rows of other shares of the list, and lets those of a further shard pass when there is room for it.
/// Without shards, all rows pass.
pub fn gate<'a>(listed: Listed<'a>, sink: &Arc<Sink>) -> Listed<'a> {
    if sink.shards().is_none() {
        return listed;
    }
    let rows = stream::unfold((listed, Arc::clone(sink), None), |(mut listed, sink, mut entered)| async move {
        loop {
            let row = listed.next().await?;
            let shards = sink.shards()?;
            let index = match &row {
                Ok(Ok(job)) => job.index,
                Ok(Err(record)) => record.index,
                Err(_) => return Some((row, (listed, sink, entered))),
            };
            let number = shards.options().units.number(index);
            if !shards.options().units.includes(number) {
                continue;
            }
            if entered != Some(number) {
                entered = Some(number);
                if let Err(error) = shards.enter(number).await {
                    return Some((Err(error), (listed, sink, entered)));
                }
            }
            return Some((row, (listed, sink, entered)));
        }
    });
    rows.boxed()
}

/// How long an object store may take for the shards that are complete when a signal ends the run. Schedulers leave a process
/// half a minute between the signal that asks and the one that kills.
const STORE_GRACE_PERIOD: Duration = Duration::from_secs(10);

/// Ends a pass that makes shards: waits until those are in place that are complete.
pub async fn seal(sink: &Sink, ledger: &Mutex<Ledger<'_>>, stop: &Stop) {
    let Some(shards) = sink.shards() else { return };
    let list_has_ended = stop.is_running() && lock(ledger).failure().is_none();
    let mut sealing = std::pin::pin!(shards.seal(list_has_ended));
    let patience = async {
        stop.reached(Phase::Finishing).await;
        // What else ends a run is not in a hurry.
        if stop.asked().is_none() {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(STORE_GRACE_PERIOD).await;
    };
    let sealed = tokio::select! {
        sealed = &mut sealing => sealed,
        () = patience => {
            let left = shards.give_up();
            match (sealing.await, left) {
                (Err(_), Some(scratch)) => {
                    tracing::warn!(
                        target: "fetchimg",
                        "The store has not taken all shards in time; the same command puts there what waits in {}",
                        scratch.display(),
                    );
                    Ok(())
                }
                (sealed, _) => sealed,
            }
        }
    };
    if let Err(error) = sealed {
        lock(ledger).fail(error);
    }
}
