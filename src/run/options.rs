//! The options of a run: plain data with defaults, independent of the command line.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use super::metadata::Metadata;
use super::reservoir::Sample;
use crate::fetch;
use crate::http;
use crate::input::{self, Source};
use crate::journal::manifest::ManifestTarget;
use crate::journal::{Remembered, RowIdentity};
use crate::limiter::PerHost;
#[cfg(feature = "parquet")]
use crate::naming::KeyTemplate;
use crate::naming::Template;
use crate::record::{Algorithm, Existing, Mode};
use crate::sink::folder;
#[cfg(feature = "parquet")]
use crate::sink::shards;

/// `-j`: the number of concurrent downloads, over all hosts.
pub const DEFAULT_CONCURRENCY: NonZeroUsize = NonZeroUsize::MIN.saturating_add(255);

/// `--output`: the output folder.
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
    /// The folder for the journal and unfinished bodies; `None`: they are hidden in the output folder (`--state`).
    pub state: Option<PathBuf>,
    /// How files are named.
    pub template: Template,
    /// How images are stored there.
    pub folder: folder::Options,
    /// What happens to images that earlier runs saved.
    pub existing: Existing,
    /// Make images anew that were made with other wishes than those of this run (`--remake`). Only with
    /// [`Existing::Keep`].
    pub remake: bool,
    /// Give the files of earlier runs the names that the lists give now (`--rename`). Only with [`Existing::Keep`], and
    /// not where jobs come as a stream, because they are read once.
    pub rename: bool,
    /// Which rows count as the same (`--keep-duplicates`).
    pub row_identity: RowIdentity,
    /// Skip rows that failed in an earlier run with an error that every request meets (`--skip-permanent`).
    pub skip_permanent: bool,
    /// Where records go besides the journal.
    pub manifest: Option<ManifestTarget>,
    /// Where the metadata of the images goes.
    pub metadata: Option<Metadata>,
    /// The mode of each pass over the list.
    pub modes: Vec<Mode>,
    /// Fetch only a sample of the list.
    pub sample: Option<Sample>,
    /// The number of concurrent downloads.
    pub concurrency: NonZeroUsize,
    /// The number of concurrent downloads per host.
    pub per_host: PerHost,
    /// The shortest time between two requests to one host (`--rate`).
    pub request_interval: Option<Duration>,
    /// What downloads are checked against.
    pub fetch: fetch::Options,
    /// The options of the HTTP client.
    pub http: http::Options,
    /// Where the report goes.
    pub reports: Reports,
    /// The file with numbers of the run for Prometheus (`--metrics`).
    pub metrics: Option<PathBuf>,
    /// The run counts as a success while a smaller share of its rows than this failed, from 0 to 1
    /// (`--ok-if-failed-below`).
    pub ok_if_failed_below: Option<f64>,
    /// How a set of shards is made, if images do not become files.
    #[cfg(feature = "parquet")]
    pub set: Option<SetOptions>,
}

/// How a set of shards is made.
#[cfg(feature = "parquet")]
#[derive(Clone, Debug)]
pub struct SetOptions {
    /// What it consists of, and where it goes.
    pub shards: shards::Options,
    /// What samples are called.
    pub keys: KeyTemplate,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            sources: Vec::new(),
            input: input::Options::default(),
            output: DEFAULT_OUTPUT.into(),
            state: None,
            template: Template::default(),
            folder: folder::Options::default(),
            existing: Existing::default(),
            remake: false,
            rename: false,
            row_identity: RowIdentity::Url,
            skip_permanent: false,
            manifest: None,
            metadata: None,
            modes: vec![Mode::Concurrent],
            sample: None,
            concurrency: DEFAULT_CONCURRENCY,
            per_host: PerHost::default(),
            request_interval: None,
            fetch: fetch::Options::default(),
            http: http::Options::default(),
            reports: Reports::default(),
            metrics: None,
            ok_if_failed_below: None,
            #[cfg(feature = "parquet")]
            set: None,
        }
    }
}

impl Options {
    /// Which rows of earlier runs the journal remembers.
    pub(super) const fn remembered(&self) -> Remembered {
        Remembered { identity: self.row_identity, failures: self.skip_permanent }
    }

    /// Adjusts the options of the parts to each other: what one of them needs, the others provide.
    pub fn reconcile(&mut self) {
        self.http.concurrency = self.concurrency.get();
        // Unfinished bodies are identified by their URLs, which several rows may share otherwise.
        self.folder.resume &= self.row_identity == RowIdentity::Url;
        // `--dedupe` and some templates need the SHA-256. Records contain it then, too.
        let digests = &mut self.fetch.wanted.digests;
        if (self.folder.dedupe || self.template.wants_sha256()) && !digests.contains(&Algorithm::Sha256) {
            digests.push(Algorithm::Sha256);
        }
        #[cfg(feature = "parquet")]
        if let Some(set) = &mut self.set {
            if !digests.contains(&shards::DIGEST) {
                digests.push(shards::DIGEST);
            }
            let beside = digests.iter().filter(|digest| **digest != shards::DIGEST).map(|digest| digest.name());
            set.shards.digests = beside.collect();
            #[cfg(feature = "transform")]
            if self.fetch.plan.as_ref().is_some_and(|plan| plan.hash) {
                set.shards.digests.push("phash");
            }
            if matches!(&*self.sources, [Source::FailedOf(_)]) {
                set.keys = std::mem::take(&mut set.keys).for_retries();
            }
            if self.sample.is_some() {
                set.shards.destination = shards::Destination::Nowhere;
            }
        }
        // An image that is re-encoded needs the extension of its new format.
        #[cfg(feature = "transform")]
        if self.fetch.plan.as_ref().is_some_and(|plan| !plan.keeps_images()) {
            self.fetch.fix_extension = true;
        }
        let named = |used_for| move |name: &str| input::NamedColumn { name: name.to_owned(), used_for };
        self.input.named_columns = self.template.columns().map(named(input::ColumnUse::Name)).collect();
        #[cfg(feature = "parquet")]
        if let Some(set) = &self.set {
            let caption = set.shards.caption_column.as_deref();
            let units = &set.shards.units;
            self.input.share = units.slice.map(|slice| input::Share {
                part_rows: units.size,
                number: slice.number,
                count: slice.count,
            });
            self.input.caption_column = set.shards.caption_column.clone();
            let of_keys = set.keys.columns().map(named(input::ColumnUse::Key));
            let named_columns = of_keys.chain(caption.map(named(input::ColumnUse::Caption))).collect();
            self.input.named_columns = named_columns;
        }
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
    /// The command that makes this run again, for the end of the report.
    pub command: Option<String>,
}

/// The formats of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportFormat {
    /// Plain text, for a terminal.
    #[cfg(feature = "cli")]
    Text,
    /// JSON, for programs.
    Json,
    /// A page with charts, for a browser.
    #[cfg(feature = "cli")]
    Html,
    /// Markdown, for pull requests and blog posts.
    #[cfg(feature = "cli")]
    Markdown,
}
