//! A run that only says what it would do (`--dry-run`): nothing is fetched, and in the output folder nothing is made or
//! changed.

use std::borrow::Cow;
use std::io::{self, Write};

use serde::Serialize;

use super::options::{Options, ReportFormat};
use super::output::{adopt, create, manifest, say, tell};
use super::shutdown::Stop;
use super::survey::{Survey, Verdict};
use crate::fetch::Work;
use crate::input::Lists;
use crate::journal::manifest::Manifest;
use crate::journal::{EarlierFile, Journal, Key};
use crate::naming::{NamePreview, Namer};
use crate::record::{Exit, Extra, RunError, recorded_url};
use crate::report::{COMPLETED, DryRunPlan, MAX_NAMES_LISTED, PlannedHosts};
use crate::sink::folder::FolderView;
use crate::util::boot_id;
use crate::util::redact::{self, escaped};

/// What the manifest says of a row that would be fetched.
#[derive(Debug, Serialize)]
struct Planned<'a> {
    index: u64,
    url: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url_hash: Option<String>,
    status: &'static str,
    path: String,
    /// What stands in the path as a field, because the answer tells it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    awaits: Vec<&'static str>,
    #[serde(skip_serializing_if = "Extra::is_empty")]
    extra: &'a Extra,
}

/// Says what a run would do.
///
/// # Errors
/// When a run could not start or go on with these lists.
pub async fn run(options: &Options, stop: &Stop) -> Result<Exit, RunError> {
    let lists = Lists::open(&options.sources, &options.input)?;
    let folder = FolderView::open(&options.output)?;
    let mut namer = Namer::new(options.template.clone(), options.fetch.fix_extension);
    let mut keep = |EarlierFile { path, .. }: EarlierFile| namer.mark_taken(path);
    let mut journal = Journal::open_overlay(&folder.private("manifest.jsonl"), options.row_identity, &mut keep)?;
    // A run would take in what a killed run has noted, so it counts.
    adopt(folder.unrecorded(boot_id::id().as_deref())?, &mut journal, keep)?;
    let mut manifest = manifest(options, |path| create(path, &lists, |path| folder.is_private(path)))?;
    for (_, path) in &options.reports.files {
        let path = path.display().to_string();
        tracing::info!(target: "fetchimg", "There is nothing to report yet, so {} is not written", escaped(&path));
    }

    let mut first_names = Vec::new();
    let mut survey = Survey::new(options.existing, folder, &mut journal, &mut namer);
    let judged = |survey: &mut Survey, verdict: Verdict| {
        let (key, line) = match &verdict {
            Verdict::Fetch(key, work) => {
                let NamePreview { path, awaits } = work.name.preview();
                if first_names.len() < MAX_NAMES_LISTED {
                    first_names.push(path.clone());
                }
                (Some(*key), manifest.is_some().then(|| planned(work, path, awaits)))
            }
            Verdict::Settled(key, record) => {
                say(record);
                (*key, manifest.is_some().then(|| redact::json(record, false)))
            }
        };
        // Which file a row that comes again has is kept only where somebody reads it.
        let Some(line) = line.transpose().map_err(|error| RunError::System(error.into()))? else { return Ok(()) };
        foresee(survey, &line, key)?;
        write(&mut manifest, &line)
    };
    let result = survey.go(&lists, stop, judged).await;
    let flushed = manifest.as_mut().map_or(Ok(()), Write::flush);
    let result = result.and_then(|()| flushed.or_else(lost));

    let ended = match (&result, stop.asked()) {
        (Err(error), _) => error.to_string(),
        (Ok(()), Some(_)) => "interrupted".to_owned(),
        (Ok(()), None) => COMPLETED.to_owned(),
    };
    let (count, most_rows) = survey.hosts();
    let hosts = PlannedHosts { count, most_rows };
    let output = options.output.display().to_string();
    let plan = DryRunPlan::new(output, ended, survey.counts().clone(), hosts, first_names);
    tell(
        options,
        |mut out, format| {
            if format == ReportFormat::Json { plan.write_json(&mut out) } else { plan.write_text(&mut out) }
        },
    )?;
    result?;
    Ok(stop.asked().unwrap_or(if plan.bad > 0 { Exit::SomeFailed } else { Exit::Clean }))
}

fn planned(work: &Work, path: String, awaits: Vec<&'static str>) -> serde_json::Result<Vec<u8>> {
    let (url, url_hash) = recorded_url(&work.job.url);
    let (index, extra) = (work.job.index, &work.job.extra);
    redact::json(&Planned { index, url, url_hash, status: "planned", path, awaits, extra }, false)
}

fn foresee(survey: &mut Survey, line: &[u8], key: Option<Key>) -> Result<(), RunError> {
    key.map_or(Ok(()), |key| survey.foresee(line, key))
}

/// Writes a line of the manifest, if there is one that somebody reads.
fn write(manifest: &mut Option<Manifest>, line: &[u8]) -> Result<(), RunError> {
    let Some(out) = manifest else { return Ok(()) };
    out.write_all(line).and_then(|()| out.write_all(b"\n")).or_else(|error| {
        *manifest = None;
        lost(error)
    })
}

/// Whoever has closed the pipe has seen enough; the counts are still wanted.
fn lost(source: io::Error) -> Result<(), RunError> {
    match source.kind() {
        io::ErrorKind::BrokenPipe => Ok(()),
        _ => Err(RunError::Output { path: "the manifest".into(), source }),
    }
}
