//! What a run and a dry run have in common: adopting the files of a killed run, creating the files for records and
//! reports, and logging the outcome of a row.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::options::{Options, ReportFormat};
use crate::input::Lists;
use crate::journal::manifest::{Manifest, ManifestTarget};
use crate::journal::{AdoptedFile, Journal};
use crate::progress::attempts;
use crate::record::{ErrorKind, Failed, Outcome, Reason, Record, RunError, Saved, Skipped};
use crate::util::redact::{escaped, shortened_data};
use crate::util::{private_file, real_path};

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

/// Checks that the folders exist of the files that a run writes beside the images, before anything is made. A folder that
/// the run makes itself is as good.
///
/// # Errors
/// When there is no such folder.
pub fn check_folders(options: &Options) -> Result<(), RunError> {
    let made = [Some(&*options.output), options.state.as_deref()];
    let made = made.into_iter().flatten().filter_map(|folder| std::path::absolute(folder).ok()).collect::<Vec<_>>();
    for (_, path) in files(options) {
        let folder = parent(path);
        let will_be_made =
            || std::path::absolute(folder).is_ok_and(|folder| made.iter().any(|made| made.starts_with(&folder)));
        // What is among fetchimg's own files is refused later.
        let is_own = folder.components().any(|part| private_file::is_own_name(part.as_os_str()));
        if !folder.is_dir() && !is_own && !will_be_made() {
            return Err(no_folder(path, folder));
        }
    }
    Ok(())
}

/// The folders that a run is about to make: the output folder, the state folder, and those above them.
#[derive(Debug)]
pub struct NewFolders(Vec<PathBuf>);

impl NewFolders {
    /// Looks which of them are not there yet.
    #[must_use]
    pub fn of(options: &Options) -> Self {
        let roots = [Some(&*options.output), options.state.as_deref()];
        let above = roots.into_iter().flatten().flat_map(Path::ancestors);
        let is_new = |folder: &&Path| fs::symlink_metadata(folder).is_err();
        Self(above.filter(is_new).map(Path::to_owned).collect())
    }

    /// Removes them, as far as nothing is in them.
    pub fn remove_empty(&self) {
        for folder in &self.0 {
            let _ = fs::remove_dir(folder);
        }
    }
}

/// The folder of a file.
pub fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// The error of a file whose folder is not there.
pub fn no_folder(path: &Path, folder: &Path) -> RunError {
    let sentence = format!("there is no folder {}", escaped(&folder.to_string_lossy()));
    RunError::Output { path: path.to_owned(), source: io::Error::new(io::ErrorKind::NotFound, sentence) }
}

/// Creates a file for records or a report. An existing file is overwritten, unless it is one of the lists or, as
/// `is_private` says, a file that fetchimg keeps for itself.
///
/// # Errors
/// When the file must not be overwritten, or cannot be created.
pub fn create(path: &Path, lists: &Lists, is_private: impl Fn(&Path) -> bool) -> Result<File, RunError> {
    check_path(path, lists, is_private)?;
    File::create(path).map_err(|source| RunError::Output { path: path.to_owned(), source })
}

/// Whether a file for records, a report or numbers may be written there: it must not be one of the lists or a file that
/// fetchimg keeps for itself.
///
/// # Errors
/// When it may not.
pub fn check_path(path: &Path, lists: &Lists, is_private: impl Fn(&Path) -> bool) -> Result<(), RunError> {
    let refuse = |what: &str| {
        let source = io::Error::new(io::ErrorKind::InvalidInput, what);
        Err(RunError::Output { path: path.to_owned(), source })
    };
    if fs::metadata(path).is_ok_and(|existing| lists.includes(&existing)) {
        return refuse("it is one of the lists");
    }
    if is_private(path) {
        return refuse("fetchimg keeps its own records there");
    }
    Ok(())
}

/// Checks that no two of the files that a run writes beside the images are the same, of which the later would replace the
/// earlier. Pipes and devices may be named twice.
///
/// # Errors
/// When two of them are the same.
pub fn check_distinct(options: &Options) -> Result<(), RunError> {
    let mut seen = Vec::<(PathBuf, Option<(u64, u64)>, &str)>::new();
    for (flag, path) in files(options) {
        let existing = fs::metadata(path).ok();
        let is_stream = path.starts_with("/dev") || path.starts_with("/proc");
        if is_stream || existing.as_ref().is_some_and(|existing| !existing.is_file()) {
            continue;
        }
        // One file may have several names (hard links).
        let identity = existing.map(|existing| (existing.dev(), existing.ino()));
        let real = real_path(path).unwrap_or_else(|_| path.to_owned());
        let is_same = |(other, its_identity, _): &&(PathBuf, Option<(u64, u64)>, &str)| {
            *other == real || (identity.is_some() && *its_identity == identity)
        };
        if let Some((.., other)) = seen.iter().find(is_same) {
            let sentence = format!("{other} and {flag} would both go there; give each a file of its own");
            let source = io::Error::new(io::ErrorKind::InvalidInput, sentence);
            return Err(RunError::Output { path: path.to_owned(), source });
        }
        seen.push((real, identity, flag));
    }
    Ok(())
}

const MANIFEST: &str = "--manifest";
const METADATA: &str = "--metadata";

/// The files that a run writes beside the images, each with its flag.
fn files(options: &Options) -> impl Iterator<Item = (&'static str, &Path)> {
    let manifest = match &options.manifest {
        Some(ManifestTarget::File(path)) => Some(path),
        Some(ManifestTarget::Stdout) | None => None,
    };
    let metadata = options.metadata.as_ref().map(|metadata| (METADATA, &*metadata.path));
    let manifest = manifest.map(|path| (MANIFEST, &**path));
    let reports = options.reports.files.iter().map(|(_, path)| ("--report", &**path));
    let metrics = options.metrics.as_deref().map(|path| ("--metrics", path));
    manifest.into_iter().chain(reports).chain(metadata).chain(metrics)
}

/// Checks the files that a dry run does not write, as a run would, and says that they are not written.
///
/// # Errors
/// Those of [`check_path`].
pub fn leave_unwritten(options: &Options, lists: &Lists, is_private: impl Fn(&Path) -> bool) -> Result<(), RunError> {
    for (flag, path) in files(options).filter(|(flag, _)| *flag != MANIFEST) {
        check_path(path, lists, &is_private)?;
        let path = path.display().to_string();
        let why = if flag == METADATA { "No image is fetched" } else { "There is nothing to report yet" };
        tracing::info!(target: "fetchimg", "{why}, so {} is not written", escaped(&path));
    }
    Ok(())
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

/// The name by which a log tells the event of a failed row from others.
pub const ROW_FAILED: &str = "row failed";

/// Logs the outcome of each row as an event: its fields are those of the record, and its message puts them into a sentence.
/// What can be done about a kind of failure is said with the first row that it is about.
#[derive(Debug)]
pub struct RowLog {
    /// The output folder; `None` if nothing is kept.
    output: Option<PathBuf>,
    /// The remedies that have been said.
    advised: Vec<&'static str>,
    /// Whether it has been said what `--overwrite` does.
    overwrite_is_told: bool,
}

impl RowLog {
    /// A log that has said nothing yet, of a run into this folder.
    #[must_use]
    pub const fn new(output: Option<PathBuf>) -> Self {
        Self { output, advised: Vec::new(), overwrite_is_told: false }
    }

    /// Logs the outcome of a row.
    pub fn add(&mut self, record: &Record) {
        // Most messages are not wanted, so the text is made where one is.
        let url = || shown_url(record);
        match &record.outcome {
            Outcome::Saved(saved) => self.saved(record, saved),
            Outcome::Skipped(Skipped { reason: Reason::FileExists, path, .. }) => {
                let path = escaped(path.as_deref().unwrap_or_default());
                let is_told = std::mem::replace(&mut self.overwrite_is_told, true);
                let advice = if is_told { "" } else { "; --overwrite replaces it" };
                tracing::warn!(
                    target: "fetchimg",
                    event = "skipped",
                    url = &*url(),
                    host = record.host(),
                    path = &*self.shown(&path),
                    reason = Reason::FileExists.name(),
                    "Kept: {path}, which is not what an earlier run wrote, instead of {}{advice}",
                    url(),
                );
            }
            Outcome::Skipped(skipped) => tracing::debug!(
                target: "fetchimg",
                event = "skipped",
                url = &*url(),
                host = record.host(),
                path = skipped.path.as_deref().map(|path| self.shown(path)).as_deref(),
                reason = skipped.reason.name(),
                "Skipped: {}: {}",
                url(),
                skipped.reason.name(),
            ),
            // One message has said why the run ends. It is not repeated for each row.
            Outcome::Failed(failed) if failed.error == ErrorKind::Interrupted.name() => tracing::debug!(
                target: "fetchimg",
                event = "failed",
                url = &*url(),
                host = record.host(),
                error = &*failed.error,
                attempts = failed.attempts,
                "Left: {}: {}",
                url(),
                escaped(&failed.message),
            ),
            Outcome::Failed(failed) => self.failed(record, failed),
            // The user has asked for that. What an earlier run has seen of the image needs no line in every run.
            Outcome::Refused(refused) if refused.attempts == 0 => tracing::debug!(
                target: "fetchimg",
                event = "refused",
                url = &*url(),
                host = record.host(),
                error = &*refused.error,
                attempts = refused.attempts,
                "Refused: {}: {}",
                url(),
                escaped(&refused.message),
            ),
            Outcome::Refused(refused) => tracing::info!(
                target: "fetchimg",
                event = "refused",
                url = &*url(),
                host = record.host(),
                error = &*refused.error,
                http_status = refused.http_status,
                attempts = refused.attempts,
                total_ms = refused.timing.map(|timing| timing.total_ms),
                "Refused: {}: {}",
                url(),
                escaped(&refused.message),
            ),
        }
    }

    fn saved(&self, record: &Record, saved: &Saved) {
        let url = || shown_url(record);
        let path = self.shown(&saved.path);
        let place = if self.output.is_some() { format!(" -> {path}") } else { String::new() };
        let contradiction = || match saved.format {
            _ if !saved.extension_mismatch => String::new(),
            Some(format) => format!(", which is {}", format.name()),
            None => ", which is something else".to_owned(),
        };
        tracing::info!(
            target: "fetchimg",
            event = "saved",
            url = &*url(),
            host = record.host(),
            path = &*path,
            http_status = saved.http_status,
            attempts = saved.attempts,
            bytes = saved.bytes,
            total_ms = saved.timing.total_ms,
            "{}: {}{}{}",
            // From the stored file, without a request.
            if saved.attempts == 0 { "Made anew" } else { "Downloaded" },
            url(),
            place,
            contradiction(),
        );
    }

    /// The path of a file, with the output folder.
    fn shown(&self, path: &str) -> String {
        let whole = self.output.as_ref().map_or_else(|| path.into(), |output| output.join(path));
        escaped(&whole.to_string_lossy()).into_owned()
    }

    fn failed(&mut self, record: &Record, failed: &Failed) {
        let kind = ErrorKind::by_name(&failed.error, failed.http_status);
        let advice = kind.and_then(|kind| kind.advice_on(&failed.message));
        let advice = advice.filter(|advice| !self.advised.contains(advice));
        self.advised.extend(advice);
        let advice = advice.map_or_else(String::new, |advice| format!("; {advice}"));
        // A row that could not be read has no URL. Its message says where it is in the list.
        let lead = if record.url.is_empty() { String::new() } else { format!("{}: ", shown_url(record)) };
        tracing::error!(
            name: ROW_FAILED,
            target: "fetchimg",
            event = "failed",
            url = (!record.url.is_empty()).then(|| shown_url(record)).as_deref(),
            host = record.host(),
            error = &*failed.error,
            http_status = failed.http_status,
            attempts = failed.attempts,
            total_ms = failed.timing.map(|timing| timing.total_ms),
            "Failed: {lead}{}{}{advice}",
            escaped(&failed.message),
            attempts(failed.attempts),
        );
    }
}

/// The URL of a row for messages.
fn shown_url(record: &Record) -> Cow<'_, str> {
    match shortened_data(&record.url) {
        Cow::Borrowed(url) => escaped(url),
        Cow::Owned(url) => Cow::Owned(escaped(&url).into_owned()),
    }
}
