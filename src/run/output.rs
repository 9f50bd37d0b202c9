//! What a run and its rehearsal (`--dry-run`) have in common: files that a killed run left are taken in, records and reports
//! get their files, and what became of a row is logged.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use super::options::{Options, ReportFormat};
use crate::input::Lists;
use crate::journal::manifest::{Manifest, ManifestTarget};
use crate::journal::{EarlierFile, Journal};
use crate::record::{ErrorKind, Outcome, Reason, Record, RunError, Skipped};
use crate::util::redact::escaped;

/// Takes the records of files that a killed run published into the journal, and shows `take_in` each of the files.
///
/// # Errors
/// When the journal cannot be read.
pub fn adopt(
    unrecorded: Vec<Vec<u8>>,
    journal: &mut Journal,
    mut take_in: impl FnMut(EarlierFile),
) -> Result<(), RunError> {
    for record in unrecorded {
        if let Some(adopted) = journal.adopt(&record)? {
            take_in(EarlierFile { path: &adopted.path, sha256: adopted.sha256.as_deref() });
        }
    }
    Ok(())
}

/// Where records go besides the journal.
///
/// # Errors
/// When `create` cannot make the file.
pub fn manifest(
    options: &Options,
    create: impl Fn(&Path) -> Result<File, RunError>,
) -> Result<Option<Manifest>, RunError> {
    Ok(match &options.manifest {
        Some(ManifestTarget::File(path)) => Some(Manifest::file(create(path)?)),
        Some(ManifestTarget::Stdout) => Some(Manifest::stdout()),
        None => None,
    })
}

/// A file for records or a report. `holds` tells what is fetchimg's own. It replaces what is there, but never what the run itself reads or keeps.
///
/// # Errors
/// When it is that, or cannot be made.
pub fn create(path: &Path, lists: &Lists, holds: impl Fn(&Path) -> bool) -> Result<File, RunError> {
    let fail = |source| RunError::Output { path: path.to_owned(), source };
    if let Ok(there) = fs::metadata(path) {
        if lists.includes(&there) {
            return Err(fail(io::Error::new(io::ErrorKind::InvalidInput, "it is one of the lists")));
        }
        if holds(path) {
            return Err(fail(io::Error::new(io::ErrorKind::InvalidInput, "fetchimg keeps its own records there")));
        }
    }
    File::create(path).map_err(fail)
}

/// Says on standard output and standard error what is wanted there.
///
/// # Errors
/// When that cannot be written.
pub fn tell(options: &Options, write: impl Fn(&mut dyn Write, ReportFormat) -> io::Result<()>) -> Result<(), RunError> {
    let mut streams = Vec::<(Box<dyn Write>, ReportFormat, &str)>::new();
    if let Some(format) = options.reports.to_stdout {
        streams.push((Box::new(io::stdout()), format, "standard output"));
    }
    if let Some(format) = options.reports.to_stderr {
        streams.push((Box::new(io::stderr()), format, "standard error"));
    }
    for (stream, format, name) in streams {
        let mut out = BufWriter::new(stream);
        match write(&mut out, format).and_then(|()| out.flush()) {
            // Whoever has closed the pipe does not want the report.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                return Err(RunError::Output { path: name.into(), source: error });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Says in the log what became of a row.
pub fn say(record: &Record) {
    let url = escaped(&record.url);
    match &record.outcome {
        Outcome::Saved(saved) if saved.extension_mismatch => {
            let format = saved.format.map_or("something else", |format| format.name());
            tracing::info!(target: "fetchimg", "Downloaded: {url} (named {}, but {format})", escaped(&saved.path));
        }
        Outcome::Saved(_) => tracing::info!(target: "fetchimg", "Downloaded: {url}"),
        Outcome::Skipped(Skipped { reason: Reason::FileExists, path, .. }) => {
            let path = path.as_deref().unwrap_or_default();
            tracing::warn!(target: "fetchimg", "Kept: {}, which is not what an earlier run wrote, instead of {url}; --overwrite replaces it", escaped(path));
        }
        Outcome::Skipped(skipped) => tracing::debug!(target: "fetchimg", "Skipped: {url}: {}", skipped.reason.name()),
        // One line said why the run ends; not one for each row as well.
        Outcome::Failed(failed) if failed.error == ErrorKind::Interrupted.name() => {
            tracing::debug!(target: "fetchimg", "Left: {url}: {}", escaped(&failed.message));
        }
        Outcome::Failed(failed) => {
            let attempts = match failed.attempts {
                0 | 1 => String::new(),
                attempts => format!(" ({attempts} attempts)"),
            };
            let advice = ErrorKind::by_name(&failed.error, failed.http_status).and_then(ErrorKind::advice);
            let advice = advice.map_or_else(String::new, |advice| format!("; {advice}"));
            // Of a row that could not be read there is no URL to show, and the message says where it is.
            let url = if url.is_empty() { url } else { format!("{url}: ").into() };
            tracing::error!(target: "fetchimg", "Failed: {url}{}{attempts}{advice}", escaped(&failed.message));
        }
    }
}
