//! What is there now (`--status`): the current record of each row, from the journal alone. Nothing is fetched, locked or
//! changed, so it may be asked for while a run goes on.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use super::DEFAULT_OUTPUT;
use super::metadata::{Metadata, Written};
use crate::input::Lists;
use crate::journal::{CurrentRecord, CurrentRecords};
use crate::record::{Exit, RunError};
use crate::report::table::{ColumnFinder, Purpose, Table, TableFormat, TableRow};
use crate::sink::folder::FolderView;
#[cfg(feature = "parquet")]
use crate::sink::shards::SetInfo;
use crate::util::boot_id;
use crate::util::human::{Count, counted};
#[cfg(feature = "parquet")]
use crate::util::location::Location;
use crate::util::raw_json::{RawFields, inner};
use crate::util::redact::{escaped, escaped_json};
#[cfg(feature = "parquet")]
use crate::util::shell::quoted;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct StatusOptions {
    /// The output folder. `None`: the one that the state folder serves, or else the default.
    pub output: Option<PathBuf>,
    /// Where the journal is, if it is not in the output folder (`--state`).
    pub state: Option<PathBuf>,
    /// The statuses of the rows that are shown; all, if there are none.
    pub statuses: Vec<&'static str>,
    /// The format in which they are shown.
    pub format: TableFormat,
    /// Where the metadata of the images is written.
    pub metadata: Option<Metadata>,
    /// Whether a summary is shown, where standard error is a terminal.
    pub summary: bool,
}

/// Shows the current records on standard output.
///
/// # Errors
/// When there is no journal, it cannot be read, or the metadata or standard output cannot be written.
pub fn status(options: &StatusOptions) -> Result<Exit, RunError> {
    let state = options.state.as_deref();
    let output = options.output.clone().or_else(|| FolderView::output_of_state(state?));
    let output = output.unwrap_or_else(|| DEFAULT_OUTPUT.into());
    #[cfg(feature = "parquet")]
    refuse_set(&output)?;
    let folder = FolderView::open(&output, state).map_err(|error| match error {
        // Nothing is written there.
        RunError::Output { path, source } => RunError::Journal { path, source },
        error => error,
    })?;
    let mut records = current_records(&folder)?;
    let written = options.metadata.as_ref().map(|metadata| {
        metadata.check(&Lists::default(), &folder)?;
        metadata.write(&mut records, &folder, false)
    });
    let written = written.transpose()?;
    let mut counts = Counts::default();
    match print(options, &mut records, &mut counts) {
        // The reader of a closed pipe does not want the rest.
        Err(RunError::Output { source, .. }) if source.kind() == io::ErrorKind::BrokenPipe => return Ok(Exit::Clean),
        printed => printed?,
    }
    if options.summary && io::stderr().is_terminal() {
        // There is no other place to report that standard error is closed.
        let _ = counts.write(&mut io::stderr(), (&output, options), written);
    }
    Ok(Exit::Clean)
}

/// Fails if the folder holds shards: there is no journal of them.
#[cfg(feature = "parquet")]
fn refuse_set(root: &Path) -> Result<(), RunError> {
    if !matches!(SetInfo::read(&Location::Folder(root.to_owned())), Ok(Some(_))) {
        return Ok(());
    }
    let folder = quoted(&root.to_string_lossy()).into_owned();
    let sentence = format!(
        "it holds shards, and the record of each row is in the table of its shard, SHARD.parquet; --status is for folders of \
         files, fetchimg --verify-output -o {folder} looks at the shards, and fetchimg --retry-failed -o {folder} fetches \
         again what failed"
    );
    Err(RunError::Journal { path: root.to_owned(), source: io::Error::new(io::ErrorKind::InvalidInput, sentence) })
}

/// The current records of an output folder, those that a killed run has left in the write-ahead log included.
///
/// # Errors
/// When there is no journal, or it cannot be read.
pub fn current_records(folder: &FolderView) -> Result<CurrentRecords, RunError> {
    // A run that goes on may remove the log meanwhile. Then the journal has its records.
    let unrecorded = folder.unrecorded(boot_id::id().as_deref()).unwrap_or_default();
    CurrentRecords::read(&journal_of(folder), unrecorded)?.ok_or_else(|| RunError::NoJournal(folder.root().to_owned()))
}

/// The journal of an output folder.
#[must_use]
pub fn journal_of(folder: &FolderView) -> PathBuf {
    folder.journal_to_read()
}

fn print(options: &StatusOptions, records: &mut CurrentRecords, counts: &mut Counts) -> Result<(), RunError> {
    let fail = |source| RunError::Output { path: "standard output".into(), source };
    let is_shown = |record: &CurrentRecord| {
        options.statuses.is_empty() || options.statuses.contains(&field(record.line, "status").unwrap_or_default())
    };
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout());
    if options.format == TableFormat::Jsonl {
        records.for_each(|record| {
            counts.add(record.line);
            if !is_shown(&record) {
                return Ok(());
            }
            let written = out.write_all(escaped_json(record.line).as_bytes()).and_then(|()| out.write_all(b"\n"));
            written.map_err(fail)
        })?;
        return out.flush().map_err(fail);
    }
    let mut finder = ColumnFinder::new(Purpose::Records);
    records.for_each(|record| {
        counts.add(record.line);
        if is_shown(&record) {
            finder.add(record.line);
        }
        Ok(())
    })?;
    let columns = finder.finish();
    let mut table = Table::begin(options.format, &columns, out, io::stdout().is_terminal()).map_err(fail)?;
    records.for_each(|record| {
        if is_shown(&record) {
            table.write(TableRow { record: record.line, known: None, file_name: None }).map_err(fail)?;
        }
        Ok(())
    })?;
    table.finish().map_err(fail)
}

/// A field of a record that is text, as it is written.
pub(super) fn field<'a>(record: &'a str, name: &str) -> Option<&'a str> {
    RawFields::of(record).find(|field| field.name == name).and_then(|field| inner(field.value))
}

/// The rows by status, and by what it is about.
#[derive(Debug, Default)]
struct Counts(BTreeMap<String, BTreeMap<String, u64>>);

impl Counts {
    fn add(&mut self, record: &str) {
        let (mut status, mut detail, mut code) = ("", "", "");
        for field in RawFields::of(record) {
            match field.name {
                "status" => status = inner(field.value).unwrap_or_default(),
                "reason" | "error" => detail = inner(field.value).unwrap_or_default(),
                "http_status" => code = field.value,
                // What is counted comes before these.
                "message" | "bytes" => break,
                _ => {}
            }
        }
        let details = match self.0.get_mut(status) {
            Some(details) => details,
            None => self.0.entry(status.to_owned()).or_default(),
        };
        let detail =
            if detail == "http_status" { Cow::Owned(format!("{detail} {code}")) } else { Cow::Borrowed(detail) };
        match details.get_mut(&*detail) {
            Some(count) => *count += 1,
            None => *details.entry(detail.into_owned()).or_default() += 1,
        }
    }

    /// Writes the counts in a few lines.
    fn write(
        &self,
        out: &mut impl Write,
        (output, options): (&Path, &StatusOptions),
        written: Option<Written>,
    ) -> io::Result<()> {
        let sum = |details: &BTreeMap<String, u64>| details.values().sum::<u64>();
        let rows = self.0.values().map(sum).sum();
        let folder = output.display().to_string();
        writeln!(out, "{} in {}", counted(rows, "row"), escaped(&folder))?;
        for (status, details) in &self.0 {
            let named = details.iter().filter(|(detail, _)| !detail.is_empty());
            let named = named.map(|(detail, count)| format!("{} {}", Count(*count), escaped(detail)));
            let named = named.collect::<Vec<_>>().join(", ");
            let colon = if named.is_empty() { "" } else { ": " };
            writeln!(out, "  {:<10}{}{colon}{named}", escaped(status), Count(sum(details)))?;
        }
        if let (Some(Written { rows, missing }), Some(metadata)) = (written, &options.metadata) {
            let path = metadata.path.display().to_string();
            write!(out, "{} in {}", counted(rows, "image"), escaped(&path))?;
            if missing > 0 {
                let are = if missing == 1 { "was saved and is" } else { "were saved and are" };
                write!(out, "; {} more {are} not there any more", Count(missing))?;
            }
            writeln!(out)?;
        }
        Ok(())
    }
}
