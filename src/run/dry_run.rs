//! A dry run (`--dry-run`): prints what a run would do. Nothing is fetched, and nothing in the output folder is created
//! or changed.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;

use super::changes::Changes;
use super::names::TakenNames;
use super::options::{Options, ReportFormat};
use super::output::{RowLog, adopt, check_folders, create, leave_unwritten, manifest, print_report};
use super::shutdown::Stop;
use super::survey::{RowPlan, Survey};
use super::{others, repeatable_if_needed};
use crate::fetch::Work;
use crate::input::Lists;
#[cfg(feature = "cli")]
use crate::input::Source;
use crate::journal::manifest::Manifest;
use crate::journal::{Journal, JournalOptions};
use crate::naming::{NamePreview, Namer};
use crate::record::{Existing, Exit, Extra, RunError, recorded_url};
use crate::report::{COMPLETED, DryRunPlan, MAX_NAMES_LISTED, PlannedHosts};
use crate::sink::folder::FolderView;
use crate::sink::folder::names::NameCounts;
use crate::util::boot_id;
use crate::util::redact;

/// The line of the manifest for a row that would be fetched.
#[derive(Debug, Serialize)]
struct PlannedLine<'a> {
    index: u64,
    url: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url_hash: Option<String>,
    status: &'static str,
    path: String,
    /// The fields of the template that remain in the path, because only the answer of the server gives their values.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    awaits: Vec<&'static str>,
    #[serde(skip_serializing_if = "Extra::is_empty")]
    extra: &'a Extra,
}

/// Prints what a run with these options would do.
///
/// # Errors
/// When a run could not start or could not go on with these lists.
pub async fn run(options: &Options, stop: &Stop) -> Result<Exit, RunError> {
    #[cfg(feature = "parquet")]
    match &options.set {
        Some(set) => return super::units::dry_run(options, set, stop).await,
        None => super::units::refuse(options)?,
    }
    let lists = Lists::open(&options.sources, &options.input)?;
    check_folders(options)?;
    let folder = FolderView::open(&options.output, options.state.as_deref())?;
    let mut namer = Namer::new(options.template.clone(), options.fetch.fix_extension);
    let mut unrecorded = folder.records_of_older_version()?;
    unrecorded.append(&mut folder.unrecorded(boot_id::id().as_deref())?);
    let gives_anew = options.existing == Existing::Replace || options.rename;
    let counts = (gives_anew || !unrecorded.is_empty()).then(|| NameCounts::new(folder.ignores_case()));
    let (path, mut taken) =
        (folder.journal_to_read(), TakenNames { namer: Some(&mut namer).filter(|_| !gives_anew), counts });
    let opening =
        JournalOptions { remembered: options.remembered(), is_overlay: true, follows: taken.counts.is_some() };
    let mut journal = Journal::open(&path, opening, |naming| taken.follow(naming))?;
    // A run would first adopt the files that a killed run published without a record.
    adopt(unrecorded, &mut journal, |adopted| drop(taken.adopt(adopted)))?;
    let mut changes = Changes::new(options).planning(taken.counts);
    changes.find_shared(&mut journal)?;
    let gives_anew = gives_anew && !journal.is_empty();
    let Some(lists) = repeatable_if_needed(lists, gives_anew, stop).await? else {
        return Ok(stop.asked().unwrap_or(Exit::Aborted));
    };
    if gives_anew {
        others::keep_names(&lists, &mut journal, &mut namer, stop).await?;
    }
    let mut manifest = manifest(options, |path| create(path, &lists, |path| folder.is_private(path)))?;
    leave_unwritten(options, &lists, |path| folder.is_private(path))?;

    let (mut first_names, mut log) = (Vec::new(), RowLog::new(Some(options.output.clone())));
    let mut empty_columns = BTreeMap::<String, u64>::new();
    let mut survey = Survey::new((options.existing, &options.fetch), folder, &mut journal, (&mut namer, &mut changes));
    let take_row = |survey: &mut Survey, plan: RowPlan| {
        let (key, line) = match &plan {
            RowPlan::Fetch(key, work) => {
                let NamePreview { path, awaits } = work.name.preview();
                for column in options.template.empty_columns(&work.job.extra) {
                    *empty_columns.entry(column.to_owned()).or_default() += 1;
                }
                if first_names.len() < MAX_NAMES_LISTED {
                    first_names.push(path.clone());
                }
                (Some(*key), manifest.is_some().then(|| planned_line(work, path, awaits)))
            }
            RowPlan::Settled(key, record) => {
                log.add(record);
                (*key, manifest.is_some().then(|| redact::json(record, false)))
            }
        };
        // Without a manifest, the paths of duplicates are shown nowhere and need not be kept.
        let Some(line) = line.transpose().map_err(|error| RunError::System(error.into()))? else { return Ok(()) };
        key.map_or(Ok(()), |key| survey.append_planned(&line, key))?;
        write_line(&mut manifest, &line)
    };
    let result = survey.go(&lists, stop, take_row).await;
    let flushed = manifest.as_mut().map_or(Ok(()), Write::flush);
    let result = result.and_then(|()| flushed.or_else(unless_closed));

    let ended = match (&result, stop.asked()) {
        (Err(error), _) => error.to_string(),
        (Ok(()), Some(_)) => "interrupted".to_owned(),
        (Ok(()), None) => COMPLETED.to_owned(),
    };
    let (count, most_rows) = survey.hosts();
    let hosts = PlannedHosts { count, most_rows };
    let output = options.output.display().to_string();
    let plan = DryRunPlan::new(output, ended, survey.counts().clone(), hosts, first_names);
    let plan = plan.with_changes(survey.changed()).with_empty_columns(empty_columns);
    // The error is told elsewhere, and there is nothing else to tell.
    let is_no_list = plan.rows == 0 && result.as_ref().is_err_and(RunError::is_of_list);
    print_report(options, |mut out, format| {
        if format == ReportFormat::Json {
            plan.write_json(&mut out)
        } else if is_no_list {
            Ok(())
        } else {
            print_plan(options, &plan, &mut out)
        }
    })?;
    result?;
    Ok(stop.asked().unwrap_or(if plan.bad > 0 { Exit::SomeFailed } else { Exit::Clean }))
}

/// Prints the plan, within the columns of the terminal if it is shown on one.
pub(super) fn print_plan(options: &Options, plan: &DryRunPlan, mut out: &mut dyn Write) -> io::Result<()> {
    #[cfg(feature = "cli")]
    {
        use crate::report::text;

        if plan.rows == 0 && plan.ended == COMPLETED && matches!(*options.sources, [Source::FailedOf(_)]) {
            return writeln!(out, "{}", text::NOTHING_TO_RETRY);
        }
        if let Some(columns) = text::terminal_columns(options.reports.to_stderr.is_some()) {
            let mut lines = Vec::new();
            plan.write_text(&mut lines)?;
            return text::print_fitted(&mut out, &String::from_utf8_lossy(&lines), columns);
        }
    }
    #[cfg(not(feature = "cli"))]
    let _ = options;
    plan.write_text(&mut out)
}

fn planned_line(work: &Work, path: String, awaits: Vec<&'static str>) -> serde_json::Result<Vec<u8>> {
    let (url, url_hash) = recorded_url(&work.job.url);
    let (index, extra) = (work.job.index, &work.job.extra);
    redact::json(&PlannedLine { index, url, url_hash, status: "planned", path, awaits, extra }, false)
}

/// Writes a line of the manifest, if there is one and its reader has not closed it.
fn write_line(manifest: &mut Option<Manifest>, line: &[u8]) -> Result<(), RunError> {
    let Some(out) = manifest else { return Ok(()) };
    out.write_all(line).and_then(|()| out.write_all(b"\n")).or_else(|error| {
        *manifest = None;
        unless_closed(error)
    })
}

/// The error of the manifest, unless its reader has closed the pipe: the counts are still wanted then.
fn unless_closed(source: io::Error) -> Result<(), RunError> {
    match source.kind() {
        io::ErrorKind::BrokenPipe => Ok(()),
        _ => Err(RunError::Output { path: "the manifest".into(), source }),
    }
}
