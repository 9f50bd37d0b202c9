//! Rows of a folder of files that are tried again (`--retry-failed`): those that failed and may succeed now, and those that
//! repeat the URL of one. They are rows as `--status` shows them, with the numbers and the columns that they have in the
//! newest list.

use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::earlier::EarlierRecord;
use super::status::journal_of;
use super::{Options, wishes};
use crate::input::{Lists, RecordFeed, Source};
use crate::journal::{CurrentRecord, CurrentRecords, newest_saved};
use crate::record::{RunError, Wishes};
use crate::sink::folder::FolderView;
use crate::util::boot_id;
use crate::util::lock;
use crate::util::redact::escaped;
use crate::util::shell::quoted;

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
    let Some(mut records) = CurrentRecords::read(&journal_of(&folder), unrecorded)? else { return Ok(lists) };
    let made_with = records.newest_saved()?.and_then(|line| made_with(line.as_bytes()));
    let records = records.to_try_again();
    if let Some(made_with) = made_with.filter(|_| !records.is_empty()) {
        tell(&made_with, &wishes::of(options));
    }
    let records = Mutex::new(records);
    let read = move |each: &mut dyn FnMut(&str) -> bool| {
        let mut goes_on = true;
        lock(&records).for_each(|CurrentRecord { line, .. }| {
            goes_on = goes_on && each(line);
            Ok(())
        })
    };
    Ok(lists.with_failed(&RecordFeed(Arc::new(read))))
}

/// The flags with which the newest image of a folder was made, as they are typed, so that what is tried again is like the rest.
/// There are none if there is no such image, or if its record does not say it.
#[must_use]
pub fn flags_of_folder(output: &Path) -> Vec<String> {
    let newest = || {
        let folder = FolderView::open(output, None).ok()?;
        newest_saved(&journal_of(&folder)).ok()?
    };
    newest().and_then(|line| made_with(&line)).map_or_else(Vec::new, |wishes| flags(&wishes))
}

/// The wishes that the record of an image states.
fn made_with(line: &[u8]) -> Option<Wishes> {
    let wishes = EarlierRecord::read(line)?.made_with()?;
    wishes.are_stated.then_some(wishes.wishes)
}

/// Wishes as flags, each with its value.
fn flags(wishes: &Wishes) -> Vec<String> {
    let Ok(Value::Object(fields)) = serde_json::to_value(wishes) else { return Vec::new() };
    let flag = |(field, value): (String, Value)| {
        let value = match value {
            Value::Bool(true) => None,
            Value::String(text) => Some(text),
            Value::Array(values) => Some(values.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",")),
            number => Some(number.to_string()),
        };
        let name = field.replace('_', "-");
        value.map_or_else(|| format!("--{name}"), |value| format!("--{name}={value}"))
    };
    fields.into_iter().map(flag).collect()
}

/// Tells with which flags rows are tried again, if they are those of the images that are there, or warns that they are not.
fn tell(before: &Wishes, now: &Wishes) {
    let text = |flags: &[String]| {
        let flags = flags.iter().map(|flag| quoted(flag).into_owned()).collect::<Vec<_>>();
        escaped(&flags.join(" ")).into_owned()
    };
    let (before, now) = (flags(before), flags(now));
    let missing = before.iter().filter(|flag| !now.contains(flag)).cloned().collect::<Vec<_>>();
    let further = now.iter().filter(|flag| !before.contains(flag)).cloned().collect::<Vec<_>>();
    if missing.is_empty() && further.is_empty() {
        tracing::info!(target: "fetchimg", "Trying again with the flags of the newest image: {}", text(&now));
        return;
    }
    let clauses = [("with", &missing), ("without", &further)].into_iter().filter(|(_, flags)| !flags.is_empty());
    let clauses = clauses.map(|(word, flags)| format!("{word} {}", text(flags))).collect::<Vec<_>>().join(" and ");
    tracing::warn!(target: "fetchimg", "The newest image was made {clauses}; what is tried again is not");
}
