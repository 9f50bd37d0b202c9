//! A run: everything is opened, the list is gone through once or twice, and the report is written.

mod admission;
pub mod dry_run;
mod ledger;
mod options;
mod output;
mod pass;
pub mod reservoir;
pub mod schedule;
pub mod shutdown;
mod survey;

pub use self::options::{Options, ReportFormat, Reports};

use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use self::output::{adopt, create, manifest, tell};
use self::pass::{Pass, Through};
use self::reservoir::{Reservoir, Sample};
use self::shutdown::Stop;
use self::survey::{FolderView, Survey, Verdict};
use crate::fetch::Work;
use crate::http::Client;
use crate::input::Lists;
use crate::journal::{EarlierFile, Journal, Key, RowIdentity};
use crate::limiter::{self, PerHost};
use crate::naming::Namer;
use crate::progress::Screen;
use crate::record::{Exit, Phase, RunError};
use crate::report::advice::ConcurrencyLimits;
use crate::report::{self, COMPLETED, Forecast, Report, RowCounts, SampledRow, Summary};
use crate::sink::Folder;
use crate::sink::folder::dedup::DedupIndex;
use crate::sink::folder::wal::Wal;
use crate::util::boot_id;

/// Does what the configuration says.
///
/// # Errors
/// When the run could not start or go on.
pub async fn run(options: &Options, screen: &Screen, stop: &Stop) -> Result<Exit, RunError> {
    let lists = Lists::open(&options.sources, &options.input)?;
    let boot = boot_id::id();
    // A part is laid aside under the hash of its URL. When several rows have one URL, its parts must not meet.
    let boot_of_parts = boot.clone().filter(|_| options.row_identity == RowIdentity::Url);
    let files = Arc::new(Folder::open(&options.output, options.fsync, boot_of_parts)?);
    let mut namer = Namer::new(options.template.clone(), options.fetch.fix_extension);
    let contents = DedupIndex::default();
    let mut take_in = |EarlierFile { path, sha256 }: EarlierFile| {
        namer.keep(path);
        if let Some(sha256) = sha256.filter(|_| options.fetch.dedupe) {
            contents.know(sha256, path);
        }
    };
    let mut journal = Journal::open(&files.private("manifest.jsonl"), options.row_identity, &mut take_in)?;
    let wal = Arc::new(take_up(&files, &mut journal, take_in, boot.as_deref(), options.fsync)?);
    let contents = Arc::new(contents);
    files.sync().map_err(|source| RunError::Output { path: options.output.clone(), source })?;
    let create = |path: &Path| create(path, &lists, |path| files.holds(path));
    let mut manifest = manifest(options, create)?;
    let reports = options.reports.files.iter().map(|(format, path)| Ok((*format, path.as_path(), create(path)?)));
    let reports = reports.collect::<Result<Vec<_>, RunError>>()?;
    let Some(lists) = repeatable_if_needed(lists, options, stop).await? else {
        return Ok(stop.asked().unwrap_or(Exit::Aborted));
    };

    let mut drawn = match options.sample {
        Some(sample) => {
            let drawn = draw(options, sample, &lists, &mut journal, &mut namer, stop).await?;
            if !stop.is_running() {
                return Ok(stop.asked().unwrap_or(Exit::Aborted));
            }
            Some(drawn)
        }
        None => None,
    };

    let mut summaries = Vec::new();
    let mut observed = Vec::new();
    let mut failure = None;
    let mut namer = Some(namer);
    for (number, mode) in options.modes.iter().enumerate() {
        let is_last = number + 1 == options.modes.len();
        // The last pass needs no copy, which would be as large as the journal is long.
        let namer = if is_last { namer.take() } else { namer.clone() };
        let pass = Pass {
            mode: *mode,
            options,
            screen,
            stop,
            // Each mode makes its own connections: the second must not live on the first one's.
            client: Client::new(options.http.clone())?,
            files: &files,
            wal: &wal,
            contents: &contents,
            namer: namer.unwrap_or_else(|| unreachable!("there is one last pass")),
        };
        // The manifest holds one record per row: those of the last pass that was begun.
        let mut manifest = manifest.as_mut().filter(|manifest| is_last || manifest.can_start_over());
        if let Some(Err(source)) = manifest.as_mut().map(|manifest| manifest.start_over()) {
            return Err(RunError::Output { path: "the manifest".into(), source });
        }
        let through = match &mut drawn {
            Some(drawn) => Through::Sample(std::mem::take(&mut drawn.works)),
            None => Through::Lists(&lists),
        };
        let passed = pass.go(through, &mut journal, manifest).await?;
        journal.begin_pass();
        summaries.push(passed.summary);
        observed = passed.observed;
        failure = passed.failure;
        if failure.is_some() || !stop.is_running() {
            break;
        }
    }

    let interrupted = stop.asked();
    let ended = match (&failure, interrupted) {
        (Some(error), _) => error.to_string(),
        (None, Some(_)) => "interrupted".to_owned(),
        (None, None) => COMPLETED.to_owned(),
    };
    let failed = summaries.last().is_some_and(|summary| summary.failed > 0)
        || drawn.as_ref().is_some_and(|drawn| drawn.counts.bad() > 0);
    let report = match drawn {
        None => conclude(options, &files.private("runs.jsonl"), ended, summaries),
        Some(drawn) => of_sample(options, ended, summaries, &drawn, &observed),
    };
    tell(options, |out, format| write(out, format, &report, Path::new(""), &options.output))?;
    for (format, path, mut file) in reports {
        let fail = |source| RunError::Output { path: path.to_owned(), source };
        write(&mut BufWriter::new(&mut file), format, &report, path, &options.output).map_err(fail)?;
    }
    match (failure, interrupted) {
        (Some(error), _) => Err(error),
        (None, Some(exit)) => Ok(exit),
        (None, None) => Ok(if failed { Exit::SomeFailed } else { Exit::Clean }),
    }
}

/// Gives the files that appeared just before a run was killed their records, and begins the notes of this run.
fn take_up(
    files: &Folder,
    journal: &mut Journal,
    take_in: impl FnMut(EarlierFile),
    boot: Option<&str>,
    synced: bool,
) -> Result<Wal, RunError> {
    let folder = files.private("wal");
    let fail = |source| RunError::Output { path: folder.clone(), source };
    let wal = Wal::new(folder.clone(), boot, synced);
    adopt(wal.left(boot).map_err(fail)?, journal, |path| files.look_at(path), take_in)?;
    journal.flush()?;
    if synced {
        journal.sync()?;
    }
    wal.clear().map_err(fail)?;
    Ok(wal)
}

/// What was drawn from the lists.
struct Drawn {
    works: Vec<(Key, Box<Work>)>,
    counts: RowCounts,
    seed: u64,
}

/// Draws a sample of the rows that are to be fetched. All rows are admitted for that, so that each has the name that it
/// would have in a run that fetches them all.
async fn draw(
    options: &Options,
    sample: Sample,
    lists: &Lists,
    journal: &mut Journal,
    namer: &mut Namer,
    stop: &Stop,
) -> Result<Drawn, RunError> {
    tracing::info!(target: "fetchimg", "Reading the list, to draw {} of its rows at random", sample.rows);
    let mut survey = Survey::new(options.existing, FolderView::new(&options.output)?, journal, namer);
    let mut reservoir = Reservoir::new(sample);
    let offer = |_: &mut Survey, verdict: Verdict| {
        if let Verdict::Fetch(key, work) = verdict {
            reservoir.offer((key, work));
        }
        Ok(())
    };
    survey.go(lists, stop, offer).await?;
    Ok(Drawn { works: reservoir.chosen(), counts: survey.counts().clone(), seed: sample.seed })
}

/// The lists, kept for a second pass if there will be one. `None`: the run was asked to end meanwhile; a pipe may take
/// its time.
async fn repeatable_if_needed(lists: Lists, options: &Options, stop: &Stop) -> Result<Option<Lists>, RunError> {
    if options.modes.len() < 2 {
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

/// The report of these passes over the list. What they have measured is remembered in the file `history`, and compared with
/// what other runs have.
fn conclude(options: &Options, history: &Path, ended: String, summaries: Vec<Summary>) -> Report {
    let before = match &*summaries {
        [only] => report::history::other_mode(history, only),
        _ => None,
    };
    for summary in summaries.iter().filter(|_| ended == COMPLETED) {
        if let Err(error) = report::history::remember(history, summary) {
            let history = history.display();
            tracing::warn!(target: "fetchimg", "Later runs will not be compared with this one: {history}: {error}");
        }
    }
    Report::new(options.output.display().to_string(), ended, summaries, allowed(options), before)
}

/// The report of a sample. Only one that was fetched as a whole says something about the list.
fn of_sample(
    options: &Options,
    ended: String,
    summaries: Vec<Summary>,
    drawn: &Drawn,
    observed: &[SampledRow],
) -> Report {
    let summary = summaries.last().filter(|_| ended == COMPLETED);
    let forecast = summary.map(|summary| {
        let wall = Duration::from_secs_f64(summary.wall_seconds);
        Forecast::new(&drawn.counts, observed, wall, summary.most_alive, drawn.seed)
    });
    let output = options.output.display().to_string();
    Report::new(output, ended, summaries, allowed(options), None).of_sample(forecast)
}

/// What advice goes by.
const fn allowed(options: &Options) -> ConcurrencyLimits {
    let per_host = match options.per_host {
        PerHost::Fixed(seats) => Some(seats),
        PerHost::Auto => None,
    };
    ConcurrencyLimits { at_once: options.concurrency.get(), per_host, max_per_host: limiter::MOST }
}

/// Writes the report in a form. `file`: where it will be.
fn write(mut out: &mut dyn Write, format: ReportFormat, report: &Report, file: &Path, output: &Path) -> io::Result<()> {
    match format {
        ReportFormat::Text => report::text::write(&mut out, report)?,
        ReportFormat::Json => report::json::write(&mut out, report)?,
        ReportFormat::Html => report::html::write(&mut out, report, file, output)?,
        ReportFormat::Markdown => report::markdown::write(&mut out, report)?,
    }
    out.flush()
}
