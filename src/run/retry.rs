//! Rows of a folder of files that are tried again (`--retry-failed`): those that failed and may succeed now, and those that
//! repeat the URL of one. They are rows as `--status` shows them, with the numbers and the columns that they have in the
//! newest list.

use std::sync::{Arc, Mutex};

use super::Options;
use super::status::journal_of;
use crate::input::{Lists, RecordFeed, Source};
use crate::journal::{CurrentRecord, CurrentRecords};
use crate::record::RunError;
use crate::sink::folder::FolderView;
use crate::util::boot_id;
use crate::util::lock;

/// Opens the lists of a run. Where it tries again what failed in a folder of files, these are the records of its journal as
/// they are now. They are read when they are asked for, so that they need no memory.
///
/// # Errors
/// When a list cannot be opened, or the journal cannot be read.
pub fn open_lists(options: &Options) -> Result<Lists, RunError> {
    let lists = Lists::open(&options.sources, &options.input)?;
    if options.set.is_some() || !matches!(&*options.sources, [Source::FailedOf(_)]) {
        return Ok(lists);
    }
    let folder = FolderView::open(&options.output, options.state.as_deref())?;
    let unrecorded = folder.unrecorded(boot_id::id().as_deref())?;
    // Without a journal, what is there is looked at when the rows are read.
    let Some(records) = CurrentRecords::read(&journal_of(&folder), unrecorded)? else { return Ok(lists) };
    let records = Mutex::new(records.to_try_again());
    let read = move |each: &mut dyn FnMut(&str) -> bool| {
        let mut goes_on = true;
        lock(&records).for_each(|CurrentRecord { line, .. }| {
            goes_on = goes_on && each(line);
            Ok(())
        })
    };
    Ok(lists.with_failed(&RecordFeed(Arc::new(read))))
}
