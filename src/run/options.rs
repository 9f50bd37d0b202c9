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
use crate::record::{Algorithm, Existing, Mode};
use crate::sink::folder;

/// `-j`: downloads at once, over all hosts.
pub const DEFAULT_CONCURRENCY: NonZeroUsize = NonZeroUsize::MIN.saturating_add(255);

/// `--output`.
pub const DEFAULT_OUTPUT: &str = "images";

/// What a run does. The defaults are those of the command.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the URLs come from.
    pub sources: Vec<Source>,
    /// How lists are read.
    pub input: input::Options,
    /// The output folder.
    pub output: PathBuf,
    /// How files are named.
    pub template: Template,
    /// How images are stored there.
    pub folder: folder::Options,
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
    /// The shortest time between two requests to one host (`--rate`).
    pub pace: Option<Duration>,
    /// What downloads are held to.
    pub fetch: fetch::Options,
    /// How HTTP is spoken.
    pub http: http::Options,
    /// Where the report goes.
    pub reports: Reports,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            sources: Vec::new(),
            input: input::Options::default(),
            output: DEFAULT_OUTPUT.into(),
            template: Template::default(),
            folder: folder::Options::default(),
            existing: Existing::default(),
            row_identity: RowIdentity::Url,
            manifest: None,
            modes: vec![Mode::Concurrent],
            sample: None,
            concurrency: DEFAULT_CONCURRENCY,
            per_host: PerHost::default(),
            pace: None,
            fetch: fetch::Options::default(),
            http: http::Options::default(),
            reports: Reports::default(),
        }
    }
}

impl Options {
    /// Makes the parts agree with each other: what one asks for, the others provide.
    pub fn agree(&mut self) {
        self.http.concurrency = self.concurrency.get();
        // Unfinished bodies are known by their URLs.
        self.folder.resume &= self.row_identity == RowIdentity::Url;
        // What else needs a digest gets it, and records have it then too.
        let digests = &mut self.fetch.wanted.digests;
        if (self.folder.dedupe || self.template.wants_sha256()) && !digests.contains(&Algorithm::Sha256) {
            digests.push(Algorithm::Sha256);
        }
        // Where the format is chosen here, the extension has to follow it.
        #[cfg(feature = "transform")]
        if self.fetch.plan.as_ref().is_some_and(|plan| !plan.keeps_images()) {
            self.fetch.fix_extension = true;
        }
        self.input.named_columns = self.template.columns().map(str::to_owned).collect();
    }
}

/// Where the report goes.
#[derive(Clone, Debug, Default)]
pub struct Reports {
    /// The report's files.
    pub files: Vec<(ReportFormat, PathBuf)>,
    /// The report on standard output.
    pub to_stdout: Option<ReportFormat>,
    /// The report on standard error, because standard output carries the manifest.
    pub to_stderr: Option<ReportFormat>,
}

/// The forms of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportFormat {
    /// For people.
    #[cfg(feature = "cli")]
    Text,
    /// For programs.
    Json,
    /// For a browser.
    #[cfg(feature = "cli")]
    Html,
    /// For pull requests and blog posts.
    #[cfg(feature = "cli")]
    Markdown,
}
