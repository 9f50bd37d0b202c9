//! A dry run of a run that makes shards: which shards, and how many rows each.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use futures::StreamExt as _;
use serde::Serialize;

use super::super::dry_run::print_plan;
use super::super::options::{Options, ReportFormat, SetOptions};
use super::super::output::{create, leave_unwritten, manifest, print_report};
use super::super::shutdown::Stop;
use crate::input::Lists;
use crate::journal::RowIdentity;
use crate::limiter::HostKey;
use crate::naming::SamplePlace;
use crate::record::{
    ErrorKind, Exit, Extra, Job, Outcome, Phase, Reason, Row, RunError, recorded_url, without_fragment,
};
use crate::report::{COMPLETED, DryRunPlan, HostRows, MAX_HOSTS_LISTED, MAX_NAMES_LISTED, PlannedHosts, RowCounts};
use crate::sink::folder::FolderView;
use crate::sink::shards::{Destination, Preview, Units};
use crate::util::human::counted;
use crate::util::redact;

/// The line of the manifest for a row that would be fetched.
#[derive(Serialize)]
struct PlannedLine<'a> {
    index: u64,
    url: &'a str,
    status: &'static str,
    shard: &'a str,
    key: &'a str,
    #[serde(skip_serializing_if = "Extra::is_empty")]
    extra: &'a Extra,
}

/// The rows that were read so far.
struct Plan<'a> {
    set: &'a SetOptions,
    preview: Preview<'a>,
    units: Arc<Units>,
    dedupes: bool,
    hasher: RandomState,
    counts: RowCounts,
    hosts: HashMap<HostKey, u64>,
    /// The shard whose rows are being read: its number, its name, whether it is there, and its rows.
    shard: Option<(u64, String, bool, u64)>,
    urls: HashSet<u64>,
    shards: u64,
    first_shards: Vec<String>,
}

/// Prints what a run that makes shards would do. Nothing is fetched, and nothing is created or changed in the output.
///
/// # Errors
/// When the lists cannot be read.
pub async fn dry_run(options: &Options, set: &SetOptions, stop: &Stop) -> Result<Exit, RunError> {
    let lists = Lists::open(&options.sources, &options.input)?;
    // A run that would be refused leaves an earlier manifest as it is.
    let mut shards = set.shards.clone();
    shards.units.retries = super::retries(options, set)?;
    let preview = Preview::open(&shards)?;
    let folder = match &set.shards.destination {
        Destination::Folder(root) => Some(FolderView::open(root, None)?),
        _ => None,
    };
    let is_private = |path: &Path| folder.as_ref().is_some_and(|folder| folder.is_private(path));
    let mut manifest = manifest(options, |path| create(path, &lists, is_private))?;
    leave_unwritten(options, &lists, is_private)?;
    let mut plan = Plan {
        set,
        preview,
        units: Arc::new(shards.units.clone()),
        dedupes: options.row_identity == RowIdentity::Url,
        hasher: RandomState::new(),
        counts: RowCounts::default(),
        hosts: HashMap::new(),
        shard: None,
        urls: HashSet::new(),
        shards: 0,
        first_shards: Vec::new(),
    };
    let (rows, _) = lists.rows()?;
    let mut rows = std::pin::pin!(rows.take_until(stop.reached(Phase::Finishing)));
    let mut failure = None;
    while let Some(row) = rows.next().await {
        let planned = row.and_then(|row| plan.add(row));
        match (planned, &mut manifest) {
            (Ok(Some(line)), Some(out)) => {
                // Who has closed the pipe does not want the rest.
                let _ = out.write_all(&line).and_then(|()| out.write_all(b"\n"));
            }
            (Ok(_), _) => {}
            (Err(error), _) => {
                failure = Some(error);
                break;
            }
        }
    }
    if failure.is_none() && stop.is_running() {
        failure = plan.preview.end().err();
    }
    plan.end_shard();
    if let Some(out) = &mut manifest {
        let _ = out.flush();
    }
    let ended = match (&failure, stop.asked()) {
        (Some(error), _) => error.to_string(),
        (None, Some(_)) => "interrupted".to_owned(),
        (None, None) => COMPLETED.to_owned(),
    };
    let bad = plan.counts.bad();
    let report = plan.report(options.output.display().to_string(), ended);
    print_report(options, |mut out, format| {
        if format == ReportFormat::Json { report.write_json(&mut out) } else { print_plan(options, &report, &mut out) }
    })?;
    match failure {
        Some(error) => Err(error),
        None => Ok(stop.asked().unwrap_or(if bad > 0 { Exit::SomeFailed } else { Exit::Clean })),
    }
}

impl Plan<'_> {
    /// Adds a row. Returns its line for the manifest, if it would be fetched.
    fn add(&mut self, row: Row) -> Result<Option<Vec<u8>>, RunError> {
        let units = Arc::clone(&self.units);
        let index = row.as_ref().map_or_else(|record| record.index, |job| job.index);
        let number = units.number(index);
        if !units.includes(number) {
            return Ok(None);
        }
        if self.shard.as_ref().is_none_or(|(current, ..)| *current != number) {
            self.end_shard();
            let name = units.name(number);
            let is_there = self.preview.enter(number, &name)?;
            self.shard = Some((number, name, is_there, 0));
        }
        let earlier = self.preview.add(units.row(index), &row)?;
        self.counts.rows += 1;
        let Some((_, name, is_there, rows)) = &mut self.shard else { return Ok(None) };
        *rows += 1;
        let job = match row {
            _ if *is_there => {
                *self.counts.skipped_by_reason.entry(Reason::ShardExists.name()).or_default() += 1;
                return Ok(None);
            }
            Ok(job) => job,
            Err(record) => {
                if let Outcome::Failed(failed) = &record.outcome {
                    let kind = ErrorKind::by_name(&failed.error, failed.http_status);
                    let kind = kind.map_or_else(|| failed.error.clone(), |kind| kind.to_string());
                    *self.counts.bad_by_kind.entry(kind).or_default() += 1;
                }
                return Ok(None);
            }
        };
        let is_new = !self.dedupes || self.urls.insert(self.hasher.hash_one(without_fragment(&job.url)));
        if let Some(earlier) = earlier {
            if matches!(earlier.outcome, Outcome::Saved(_)) {
                *self.counts.skipped_by_reason.entry(Reason::AlreadySaved.name()).or_default() += 1;
            } else {
                self.counts.add_settled(&earlier.outcome);
            }
            return Ok(None);
        }
        if !is_new {
            *self.counts.skipped_by_reason.entry(Reason::DuplicateUrl.name()).or_default() += 1;
            return Ok(None);
        }
        self.counts.to_fetch += 1;
        *self.hosts.entry(HostKey::of(&job.url)).or_default() += 1;
        let place = SamplePlace { shard: name, row: units.row(index), digits: units.row_digits() };
        let key = self.set.keys.render(&job, place);
        let (url, _) = recorded_url(&job.url);
        let Job { index, extra, .. } = &job;
        let line = PlannedLine { index: *index, url: &url, status: "planned", shard: name, key: &key, extra };
        redact::json(&line, false).map(Some).map_err(|error| RunError::System(error.into()))
    }

    fn end_shard(&mut self) {
        let Some((_, name, is_there, rows)) = self.shard.take() else { return };
        self.urls.clear();
        if !is_there {
            self.shards += 1;
            if self.first_shards.len() < MAX_NAMES_LISTED {
                self.first_shards.push(format!("{name}: {}", counted(rows, "row")));
            }
        }
    }

    fn report(self, output: String, ended: String) -> DryRunPlan {
        let mut hosts = self.hosts.iter().map(|(host, rows)| (*rows, host.name())).collect::<Vec<_>>();
        hosts.sort_unstable_by(|(one, name), (other, next)| other.cmp(one).then_with(|| name.cmp(next)));
        let listed = hosts.iter().take(MAX_HOSTS_LISTED);
        let most_rows = listed.map(|(rows, host)| HostRows { host: (*host).to_owned(), rows: *rows }).collect();
        let hosts = PlannedHosts { count: hosts.len() as u64, most_rows };
        DryRunPlan {
            shards: Some(self.shards),
            ..DryRunPlan::new(output, ended, self.counts, hosts, self.first_shards)
        }
    }
}
