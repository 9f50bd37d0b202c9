//! Makes the report of a run, and writes it to where the options say.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::output::{check_path, create, manifest, print_report};
use super::passes::Passes;
use super::sample::Drawn;
use super::status::journal_of;
use super::stream::RecordSender;
use super::{Options, ReportFormat};
use crate::input::{Lists, Source};
use crate::journal::manifest::Manifest;
use crate::limiter::{self, PerHost};
use crate::progress::MetricsFile;
use crate::record::RunError;
use crate::report::advice::ConcurrencyLimits;
use crate::report::{self, COMPLETED, Closing, Forecast, Report, SampleImages};
use crate::sink::folder::FolderView;
use crate::util::redact::escaped;
use crate::util::shell::quoted;

/// The files that a run writes outside its output. They are created before anything is fetched, so that a path that
/// cannot be written ends the run at once.
pub struct Outputs {
    /// Where records go besides the journal.
    pub manifest: Option<Manifest>,
    /// Where they go too, for a program that reads them as they come.
    pub records: Option<RecordSender>,
    /// Where the numbers of the run go meanwhile.
    pub metrics: Option<MetricsFile>,
    reports: Vec<(ReportFormat, PathBuf, File)>,
    /// The journal, to which reports refer.
    journal: PathBuf,
}

impl Outputs {
    /// Creates the files.
    ///
    /// # Errors
    /// When one cannot be created, or is a file that the run reads or keeps for itself.
    pub fn create(options: &Options, lists: &Lists, folder: &FolderView) -> Result<Self, RunError> {
        let create = |path: &Path| create(path, lists, |path| folder.is_private(path));
        let manifest = manifest(options, create)?;
        let reports = options.reports.files.iter().map(|(format, path)| Ok((*format, path.clone(), create(path)?)));
        let reports = reports.collect::<Result<_, RunError>>()?;
        let metrics = options.metrics.as_deref().map(|path| {
            check_path(path, lists, |path| folder.is_private(path))?;
            let fail = |source| RunError::Output { path: path.to_owned(), source };
            MetricsFile::create(path, options.concurrency.get()).map_err(fail)
        });
        let metrics = metrics.transpose()?;
        Ok(Self { manifest, records: None, metrics, reports, journal: journal_of(folder) })
    }

    /// Creates the files of a run whose rows do not come from lists.
    ///
    /// # Errors
    /// When one cannot be created, or is a file that the run keeps for itself.
    pub fn of_stream(options: &Options, folder: &FolderView) -> Result<Self, RunError> {
        Self::create(options, &Lists::default(), folder)
    }

    /// Writes the report to every file and stream that the options name.
    ///
    /// # Errors
    /// When it cannot be written. The files are written even if the streams are broken, as those of a terminal that is
    /// gone.
    pub fn write(self, options: &Options, report: &Report) -> Result<(), RunError> {
        let Self { reports, journal, .. } = self;
        let no_page = [Path::new(""), &options.output, &journal];
        #[cfg(feature = "cli")]
        let columns =
            report::text::terminal_columns(options.reports.to_stderr.is_some()).unwrap_or(report::text::COLUMNS);
        // Only text is broken into lines.
        #[cfg(not(feature = "cli"))]
        let columns = 0;
        let printed = print_report(options, |out, format| write(out, format, report, no_page, Some(columns)));
        for (format, path, file) in reports {
            let paths = [&*path, &options.output, &journal];
            let written = write(&mut BufWriter::new(file), format, report, paths, None);
            written.map_err(|source| RunError::Output { path, source })?;
        }
        printed
    }
}

/// Writes the report in a format. `paths` are those of the report, of the output folder and of the journal. `screen` is
/// the number of columns that there are for it, if it is shown beside what the command says elsewhere.
fn write(
    mut out: &mut dyn Write,
    format: ReportFormat,
    report: &Report,
    paths: [&Path; 3],
    screen: Option<usize>,
) -> io::Result<()> {
    match format {
        #[cfg(feature = "cli")]
        ReportFormat::Text => match screen {
            Some(columns) => report::text::print(&mut out, report, columns)?,
            None => report::text::write(&mut out, report)?,
        },
        ReportFormat::Json => {
            // Only HTML refers to files. Without the feature `cli` there is no HTML, and the paths are unused.
            let _ = (paths, screen);
            report::json::write(&mut out, report)?;
        }
        #[cfg(feature = "cli")]
        ReportFormat::Html => {
            let [page, output, records] = paths;
            report::html::write(&mut out, report, report::html::Paths { page, output, records })?;
        }
        #[cfg(feature = "cli")]
        ReportFormat::Markdown => report::markdown::write(&mut out, report)?,
    }
    out.flush()
}

/// The report of these passes over the list. The numbers are compared with those of earlier runs into the same folder,
/// and added to them.
pub fn of_lists(options: &Options, folder: &FolderView, ended: String, passes: Passes) -> Report {
    let (history, rows_left) = (&folder.runs(), passes.rows_left);
    let closing = closing(options, folder, &passes);
    let tolerance = passes.tolerance(options);
    let summaries = passes.summaries;
    let other_mode = match &*summaries {
        [only] => report::history::other_mode(history, only),
        _ => None,
    };
    for summary in summaries.iter().filter(|_| ended == COMPLETED) {
        if let Err(error) = report::history::remember(history, summary) {
            let history = history.display();
            tracing::warn!(target: "fetchimg", "Later runs will not be compared with this one: {history}: {error}");
        }
    }
    Report::new(options.output.display().to_string(), ended, summaries, concurrency_limits(options), other_mode)
        .closing(closing, rows_left)
        .tolerating(tolerance)
}

/// What the end of the report says.
fn closing(options: &Options, folder: &FolderView, passes: &Passes) -> Closing {
    let (command, existing) = (options.reports.command.clone(), options.existing);
    // The records of shards are in their tables.
    #[cfg(feature = "parquet")]
    let has_journal = options.set.is_none();
    #[cfg(not(feature = "parquet"))]
    let has_journal = true;
    Closing {
        ending: passes.ending,
        command,
        records: if has_journal { folder.journal().display().to_string() } else { String::new() },
        listing: listing(options),
        retry: retry(options),
        existing,
        // Without shards there is a journal.
        sample: options.sample.map(|_| if has_journal { SampleImages::Kept } else { SampleImages::Dropped }),
        is_single_url: matches!(&*options.sources, [Source::Url(_)]),
        #[cfg(feature = "parquet")]
        is_retry: matches!(&*options.sources, [Source::FailedOf(_)]),
        #[cfg(not(feature = "parquet"))]
        is_retry: false,
    }
}

/// The command that lists the rows that failed.
fn listing(options: &Options) -> String {
    let path = |path: &Path| quoted(&escaped(&path.to_string_lossy())).into_owned();
    let state = options.state.as_deref().map_or_else(String::new, |state| format!(" --state {}", path(state)));
    format!("fetchimg --status --failed -o {}{state}", path(&options.output))
}

/// The command that tries rows again that failed, if images go into shards.
#[cfg(feature = "parquet")]
fn retry(options: &Options) -> Option<String> {
    let output = options.set.as_ref()?.shards.destination.location()?;
    Some(format!("fetchimg --retry-failed -o {}", quoted(&escaped(&output.to_string()))))
}

#[cfg(not(feature = "parquet"))]
const fn retry(_: &Options) -> Option<String> {
    None
}

/// The report of a sample. There is a forecast for the whole list only if the sample was fetched completely.
pub fn of_sample(options: &Options, folder: &FolderView, ended: String, passes: Passes, drawn: &Drawn) -> Report {
    let (closing, rows_left) = (closing(options, folder, &passes), passes.rows_left);
    let summary = passes.summaries.last().filter(|_| ended == COMPLETED);
    let forecast = summary.map(|summary| {
        let wall = Duration::from_secs_f64(summary.wall_seconds);
        Forecast::new(&drawn.counts, &passes.observed, wall, summary.most_alive, drawn.seed)
    });
    let output = options.output.display().to_string();
    Report::new(output, ended, passes.summaries, concurrency_limits(options), None)
        .of_sample(forecast)
        .closing(closing, rows_left)
}

/// The limits that the advice of the report is based on.
const fn concurrency_limits(options: &Options) -> ConcurrencyLimits {
    let per_host = match options.per_host {
        PerHost::Fixed(permits) => Some(permits),
        PerHost::Auto => None,
    };
    ConcurrencyLimits { at_once: options.concurrency.get(), per_host, max_per_host: limiter::MAX_PER_HOST }
}
