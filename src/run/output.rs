//! What a run and a dry run have in common: adopting the files of a killed run, creating the files for records and
//! reports, and logging the outcome of a row.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use super::options::{Options, ReportFormat};
use crate::input::Lists;
use crate::journal::manifest::{Manifest, ManifestTarget};
use crate::journal::{AdoptedFile, Journal};
use crate::record::{ErrorKind, Outcome, Reason, Record, RunError, Skipped};
use crate::util::redact::escaped;

/// Adds the records of files that a killed run published to the journal, and calls `add_file` for each of the files.
///
/// # Errors
/// When the journal cannot be read.
pub fn adopt(
    unrecorded: Vec<Vec<u8>>,
    journal: &mut Journal,
    mut add_file: impl FnMut(AdoptedFile),
) -> Result<(), RunError> {
    for record in unrecorded {
        if let Some(adopted) = journal.adopt(&record)? {
            add_file(adopted);
        }
    }
    Ok(())
}

/// Opens the manifest, if the options ask for one.
///
/// # Errors
/// Those of `create`.
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

/// Creates a file for records or a report. An existing file is overwritten, unless it is one of the lists or, as
/// `is_private` says, a file that fetchimg keeps for itself.
///
/// # Errors
/// When the file must not be overwritten, or cannot be created.
pub fn create(path: &Path, lists: &Lists, is_private: impl Fn(&Path) -> bool) -> Result<File, RunError> {
    let fail = |source| RunError::Output { path: path.to_owned(), source };
    if let Ok(existing) = fs::metadata(path) {
        if lists.includes(&existing) {
            return Err(fail(io::Error::new(io::ErrorKind::InvalidInput, "it is one of the lists")));
        }
        if is_private(path) {
            return Err(fail(io::Error::new(io::ErrorKind::InvalidInput, "fetchimg keeps its own records there")));
        }
    }
    File::create(path).map_err(fail)
}

/// Writes a report to standard output and standard error, if the options ask for it.
///
/// # Errors
/// When it cannot be written. A closed pipe is no error.
pub fn print_report(
    options: &Options,
    write: impl Fn(&mut dyn Write, ReportFormat) -> io::Result<()>,
) -> Result<(), RunError> {
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
            // The reader of a closed pipe does not want the report.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                return Err(RunError::Output { path: name.into(), source: error });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Logs the outcome of a row.
pub fn log(record: &Record) {
    // Most messages are not wanted, so the text is made where one is.
    let url = || escaped(&record.url);
    match &record.outcome {
        Outcome::Saved(saved) if saved.extension_mismatch => {
            let format = saved.format.map_or("something else", |format| format.name());
            tracing::info!(target: "fetchimg", "Downloaded: {} (named {}, but {format})", url(), escaped(&saved.path));
        }
        Outcome::Saved(_) => tracing::info!(target: "fetchimg", "Downloaded: {}", url()),
        Outcome::Skipped(Skipped { reason: Reason::FileExists, path, .. }) => {
            let path = path.as_deref().unwrap_or_default();
            tracing::warn!(target: "fetchimg", "Kept: {}, which is not what an earlier run wrote, instead of {}; --overwrite replaces it", escaped(path), url());
        }
        Outcome::Skipped(skipped) => {
            tracing::debug!(target: "fetchimg", "Skipped: {}: {}", url(), skipped.reason.name());
        }
        // The user has asked for that. What an earlier run has seen of the image needs no line in every run.
        Outcome::Refused(refused) if refused.attempts == 0 => {
            tracing::debug!(target: "fetchimg", "Refused: {}: {}", url(), escaped(&refused.message));
        }
        Outcome::Refused(refused) => {
            tracing::info!(target: "fetchimg", "Refused: {}: {}", url(), escaped(&refused.message));
        }
        // One message has said why the run ends. It is not repeated for each row.
        Outcome::Failed(failed) if failed.error == ErrorKind::Interrupted.name() => {
            tracing::debug!(target: "fetchimg", "Left: {}: {}", url(), escaped(&failed.message));
        }
        Outcome::Failed(failed) => {
            let attempts = match failed.attempts {
                0 | 1 => String::new(),
                attempts => format!(" ({attempts} attempts)"),
            };
            let advice = ErrorKind::by_name(&failed.error, failed.http_status).and_then(ErrorKind::advice);
            let advice = advice.map_or_else(String::new, |advice| format!("; {advice}"));
            // A row that could not be read has no URL. Its message says where it is in the list.
            let url = if record.url.is_empty() { String::new() } else { format!("{}: ", url()) };
            tracing::error!(target: "fetchimg", "Failed: {url}{}{attempts}{advice}", escaped(&failed.message));
        }
    }
}
