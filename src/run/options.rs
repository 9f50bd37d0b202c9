//! What a run does: plain data, with defaults and without a trace of how it was typed.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use super::reservoir::Sample;
use crate::fetch;
use crate::http;
use crate::input::{self, Source};
use crate::journal::RowIdentity;
use crate::journal::manifest::ManifestTarget;
use crate::limiter::PerHost;
use crate::naming::Template;
use crate::record::{Existing, Mode};

/// What a run does. Every field has its default but the sources.
#[derive(Debug)]
pub struct Options {
    /// Where the URLs come from.
    pub sources: Vec<Source>,
    /// How lists are read.
    pub input: input::Options,
    /// The output folder.
    pub output: PathBuf,
    /// How files are named.
    pub template: Template,
    /// `--fsync`.
    pub fsync: bool,
    /// What happens to images that are there.
    pub existing: Existing,
    /// Which rows are one (`--keep-duplicates`).
    pub row_identity: RowIdentity,
    /// Where records go besides the journal.
    pub manifest: Option<ManifestTarget>,
    /// The passes over the list.
    pub modes: Vec<Mode>,
    /// Fetch no more than a sample of the list.
    pub sample: Option<Sample>,
    /// Downloads at once.
    pub concurrency: NonZeroUsize,
    /// Downloads at once per host.
    pub per_host: PerHost,
    /// The shortest time between two requests to one host.
    pub pace: Option<Duration>,
    /// What downloads are held to.
    pub fetch: fetch::Options,
    /// How HTTP is spoken.
    pub http: http::Options,
    /// Where the report goes.
    pub reports: Reports,
}

/// Where the report goes.
#[derive(Clone, Debug, Default)]
pub struct Reports {
    /// The report's files.
    pub files: Vec<(ReportFormat, PathBuf)>,
    /// The report on standard output.
    pub to_stdout: Option<ReportFormat>,
    /// The report on standard error, because standard output carries the manifest.
    pub to_stderr: bool,
}

/// The forms of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
    /// For a browser.
    Html,
    /// For pull requests and blog posts.
    Markdown,
}
