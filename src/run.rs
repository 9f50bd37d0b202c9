//! A run: everything is opened, the list is gone through once or twice, and the report is written.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use crate::boot;
use crate::config::{Config, ReportFormat};
use crate::contents::Contents;
use crate::error::RunError;
use crate::exit::Exit;
use crate::fetch::Phase;
use crate::http::{self, Client};
use crate::input::Lists;
use crate::intents::{Intents, Mark};
use crate::journal::{Earlier, Journal, KnownBy, Stored};
use crate::limits;
use crate::manifest::{Manifest, Target};
use crate::naming::Namer;
use crate::pass::Pass;
use crate::progress::Screen;
use crate::report::{self, COMPLETED, Report};
use crate::sink::Files;
use crate::stop::Stop;

/// Does what the configuration says.
///
/// # Errors
/// When the run could not start or go on.
pub async fn run(config: &Config, screen: &Screen, stop: &Stop) -> Result<Exit, RunError> {
    let lists = Lists::open(&config.sources, &config.input)?;
    let boot = boot::id();
    // A part is laid aside under the hash of its URL. When several rows have one URL, its parts must not meet.
    let boot_of_parts = boot.clone().filter(|_| config.known_by == KnownBy::Url);
    let files = Arc::new(Files::open(&config.output, config.fsync, boot_of_parts)?);
    let mut namer = Namer::new(config.template.clone(), config.fetch.fix_extension);
    let contents = Contents::default();
    let mut take_in = |Earlier { path, sha256 }: Earlier| {
        namer.keep(path);
        if let Some(sha256) = sha256.filter(|_| config.fetch.dedupe) {
            contents.know(sha256, path);
        }
    };
    let mut journal = Journal::open(&files.private("manifest.jsonl"), config.known_by, &mut take_in)?;
    let intents = Arc::new(take_up(&files, &mut journal, take_in, boot.as_deref(), config.fsync)?);
    let contents = Arc::new(contents);
    files.sync().map_err(|source| RunError::Output { path: config.output.clone(), source })?;
    let create = |path: &Path| create(path, &lists, &files);
    let mut manifest = match &config.manifest {
        Some(Target::File(path)) => Some(Manifest::file(create(path)?)),
        Some(Target::Stdout) => Some(Manifest::stdout()),
        None => None,
    };
    let reports = config.seeing.reports.iter().map(|(format, path)| Ok((*format, path.as_path(), create(path)?)));
    let reports = reports.collect::<Result<Vec<_>, RunError>>()?;
    let window = limits::allow(config.concurrency);
    if window < config.concurrency {
        let wanted = config.concurrency;
        tracing::warn!(target: "fetchimg", "Downloading {window} at once, not {wanted}: the limit on open files is low (ulimit -n)");
    }
    let http = http::Options { concurrency: window.get(), ..config.http.clone() };
    let Some(lists) = repeatable_if_needed(lists, config, stop).await? else {
        return Ok(stop.asked().unwrap_or(Exit::Aborted));
    };

    let mut summaries = Vec::new();
    let mut failure = None;
    let mut namer = Some(namer);
    for (number, mode) in config.modes.iter().enumerate() {
        let is_last = number + 1 == config.modes.len();
        // The last pass needs no copy, which would be as large as the journal is long.
        let namer = if is_last { namer.take() } else { namer.clone() };
        let pass = Pass {
            mode: *mode,
            window,
            config,
            screen,
            stop,
            // Each mode makes its own connections: the second must not live on the first one's.
            client: Client::new(http.clone())?,
            files: &files,
            intents: &intents,
            contents: &contents,
            namer: namer.unwrap_or_else(|| unreachable!("there is one last pass")),
        };
        // The manifest holds one record per row: those of the last pass that was begun.
        let mut manifest = manifest.as_mut().filter(|manifest| is_last || manifest.can_start_over());
        if let Some(Err(source)) = manifest.as_mut().map(|manifest| manifest.start_over()) {
            return Err(RunError::Output { path: "the manifest".into(), source });
        }
        let (summary, trouble) = pass.go(&lists, &mut journal, manifest).await?;
        journal.begin_pass();
        summaries.push(summary);
        failure = trouble;
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
    let history = files.private("runs.jsonl");
    let before = match &*summaries {
        [only] => report::history::other_mode(&history, only),
        _ => None,
    };
    for summary in summaries.iter().filter(|_| ended == COMPLETED) {
        if let Err(error) = report::history::remember(&history, summary) {
            let history = history.display();
            tracing::warn!(target: "fetchimg", "Later runs will not be compared with this one: {history}: {error}");
        }
    }
    let failed = summaries.last().is_some_and(|summary| summary.failed > 0);
    let output = config.output.display().to_string();
    tell(config, reports, &Report::new(output, ended, summaries, window.get(), before))?;
    match (failure, interrupted) {
        (Some(error), _) => Err(error),
        (None, Some(exit)) => Ok(exit),
        (None, None) => Ok(if failed { Exit::SomeFailed } else { Exit::Clean }),
    }
}

/// Gives the files that appeared just before a run was killed their records, and begins the notes of this run.
fn take_up(
    files: &Files,
    journal: &mut Journal,
    mut take_in: impl FnMut(Earlier),
    boot: Option<&str>,
    synced: bool,
) -> Result<Intents, RunError> {
    let folder = files.private("intents");
    let fail = |source| RunError::Output { path: folder.clone(), source };
    let intents = Intents::new(folder.clone(), boot, synced);
    for noted in intents.left(boot).map_err(fail)? {
        let is_there = |stored: &Stored| {
            let found = files.look_at(&stored.path);
            found.is_some_and(|found| Mark::of(&found) == noted.mark && found.len() == stored.bytes)
        };
        if let Some(adopted) = journal.adopt(&noted.record, is_there)? {
            take_in(Earlier { path: &adopted.path, sha256: adopted.sha256.as_deref() });
        }
    }
    journal.write()?;
    if synced {
        journal.sync()?;
    }
    intents.clear().map_err(fail)?;
    Ok(intents)
}

/// The lists, kept for a second pass if there will be one. `None`: the run was asked to end meanwhile; a pipe may take
/// its time.
async fn repeatable_if_needed(lists: Lists, config: &Config, stop: &Stop) -> Result<Option<Lists>, RunError> {
    if config.modes.len() < 2 {
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

/// A file for records or a report. It replaces what is there, but never what the run itself reads or keeps.
fn create(path: &Path, lists: &Lists, files: &Files) -> Result<File, RunError> {
    let fail = |source| RunError::Output { path: path.to_owned(), source };
    if let Ok(there) = fs::metadata(path) {
        if lists.are_read_from(&there) {
            return Err(fail(io::Error::new(io::ErrorKind::InvalidInput, "it is one of the lists")));
        }
        if files.holds(path) {
            return Err(fail(io::Error::new(io::ErrorKind::InvalidInput, "fetchimg keeps its own records there")));
        }
    }
    File::create(path).map_err(fail)
}

/// Writes the report wherever it is wanted.
fn tell(config: &Config, files: Vec<(ReportFormat, &Path, File)>, report: &Report) -> Result<(), RunError> {
    let write = |out: &mut dyn Write, format| {
        let mut out = BufWriter::new(out);
        match format {
            ReportFormat::Text => report::text::write(&mut out, report)?,
            ReportFormat::Json => report::json::write(&mut out, report)?,
        }
        out.flush()
    };
    let mut streams = Vec::<(Box<dyn Write>, ReportFormat, &str)>::new();
    if let Some(format) = config.seeing.to_stdout {
        streams.push((Box::new(io::stdout()), format, "standard output"));
    }
    if config.seeing.to_stderr {
        streams.push((Box::new(io::stderr()), ReportFormat::Text, "standard error"));
    }
    for (mut stream, format, name) in streams {
        match write(&mut stream, format) {
            // Whoever has closed the pipe does not want the report.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                return Err(RunError::Output { path: name.into(), source: error });
            }
            _ => {}
        }
    }
    for (format, path, mut file) in files {
        write(&mut file, format).map_err(|source| RunError::Output { path: path.to_owned(), source })?;
    }
    Ok(())
}
