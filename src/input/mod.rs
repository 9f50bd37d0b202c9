//! Reads the lists of URLs: text, CSV, JSON Lines and Parquet, compressed or not, from files, pipes and arguments, and
//! sends their rows to the run.
//!
//! Lists are read on a thread of their own, because a read from a pipe blocks until its writer writes. Rows reach the
//! run in batches, through a bounded channel. A batch has the lines of one read: a line that a slow producer has
//! written is sent at once, and a fast producer does not cost one channel operation per line.
//!
//! A list is decompressed (`compressed`) and converted to UTF-8 (`encoding`), its format is known by its name or detected
//! by its first bytes (`detect`), and the module of its [`ListFormat`] parses it. Each of them adds its rows to the
//! sender in `rows`.

mod columns;
mod compressed;
mod csv;
mod detect;
mod encoding;
mod end_line;
mod jsonl;
mod lines;
mod mistaken;
#[cfg(feature = "parquet")]
mod parquet;
mod read_progress;
mod rows;
#[cfg(feature = "parquet")]
mod set;
mod text;
mod trim;

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Seek};
use std::num::NonZeroU64;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::Stream;
use tokio::sync::{Semaphore, mpsc};

use crate::record::{Row, RunError};
use crate::util::location::{Location, OpenFile};
use crate::util::store::StoreUrl;

use compressed::Decompressor;
use encoding::Transcoder;
pub use encoding::{TextEncoding, UnknownEncoding};
use end_line::EndLineReader;
use read_progress::CountingReader;
pub use read_progress::ReadProgress;
use rows::{ListContext, ReadError, RowSender};
#[cfg(feature = "parquet")]
pub use set::{RecordFeed, ShardRecords, column_types, complete_shards, journal_of, record_lines};

/// Where rows come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A list file.
    File(PathBuf),
    /// Standard input.
    Stdin,
    /// One URL, given as an argument.
    Url(String),
    /// Objects right below a prefix of an object store: that of a name, or those that a pattern stands for.
    Stored(StoreUrl, String),
    /// The rows of this output that failed and may succeed now (`--retry-failed`).
    #[cfg(feature = "parquet")]
    FailedOf(Location),
}

/// The format of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListFormat {
    /// One URL per line.
    Text,
    /// Comma-separated columns below a header (RFC 4180).
    Csv,
    /// Tab-separated columns below a header.
    Tsv,
    /// One JSON object per line.
    Jsonl,
    /// Apache Parquet.
    Parquet,
}

impl ListFormat {
    /// The format that the extension of a file name stands for, with or without `.gz` or `.zst` after it.
    fn from_path(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.to_ascii_lowercase();
        let uncompressed = [".gz", ".gzip", ".zst", ".zstd"].iter().find_map(|suffix| name.strip_suffix(suffix));
        let (_, extension) = uncompressed.unwrap_or(&name).rsplit_once('.')?;
        Some(match extension {
            "txt" => Self::Text,
            "csv" => Self::Csv,
            "tsv" | "tab" => Self::Tsv,
            "jsonl" | "ndjson" => Self::Jsonl,
            "parquet" | "pq" => Self::Parquet,
            _ => return None,
        })
    }
}

/// `--url-column`.
pub const DEFAULT_URL_COLUMN: &str = "url";

/// How lists are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The format of every list; `None`: by the name or the first bytes of each.
    pub format: Option<ListFormat>,
    /// The column, or the key of objects, with the URL.
    pub url_column: String,
    /// The column, or the key, with the checksum that the image must have.
    pub checksum_column: Option<String>,
    /// The character between the fields of CSV and TSV; `None`: by the header of each list.
    pub delimiter: Option<u8>,
    /// The encoding of text, CSV, TSV and JSON Lines. Parquet says of itself what it holds.
    pub encoding: TextEncoding,
    /// The line with which a list from standard input ends; without it, the list has been cut off. `None`: the end of the
    /// file is its end.
    pub end_line: Option<String>,
    /// The columns that the command line names beside these two: a list must have them.
    pub named_columns: Vec<NamedColumn>,
    /// The column with the caption of each image.
    pub caption_column: Option<String>,
    /// Whether rows may name files of this machine, by `file:` URLs (`--file-urls`). The author of the list chooses them.
    pub file_urls: bool,
    /// Whether rows may name objects of stores, by `s3:`, `gs:` and `az:` URLs (`--store-urls`). They are read with the
    /// credentials of the environment, and the author of the list chooses them.
    pub store_urls: bool,
    /// The rows that are wanted. A list may leave out others; their numbers are not given to other rows.
    pub share: Option<Share>,
}

/// A column that the command line names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedColumn {
    /// What it is called.
    pub name: String,
    /// What it is for.
    pub used_for: ColumnUse,
}

/// What a column is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnUse {
    /// Names of files (`--name`).
    Name,
    /// Keys of samples (`--key`).
    Key,
    /// Captions (`--caption-column`).
    Caption,
}

impl ColumnUse {
    /// The flag that names such columns.
    #[must_use]
    pub const fn flag(self) -> &'static str {
        match self {
            Self::Name => "--name",
            Self::Key => "--key",
            Self::Caption => "--caption-column",
        }
    }
}

impl Options {
    /// The first column that is part of what images are called and has this property.
    fn naming_column(&self, has_property: impl Fn(&str) -> bool) -> Option<&NamedColumn> {
        let mut columns = self.named_columns.iter().filter(|column| column.used_for != ColumnUse::Caption);
        columns.find(|column| has_property(&column.name))
    }
}

/// A share of the rows: every `count`th part of `part_rows` rows, from part `number` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Rows of a part.
    pub part_rows: NonZeroU64,
    /// The number of this share, from 0.
    pub number: u64,
    /// The number of shares.
    pub count: NonZeroU64,
}

impl Share {
    /// Whether one of `count` rows from number `first` on is in this share.
    #[cfg(feature = "parquet")]
    fn includes_any(self, first: u64, count: u64) -> bool {
        let Some(last) = count.checked_sub(1) else { return false };
        let (first, last) = (first / self.part_rows, (first + last) / self.part_rows);
        // Among as many parts as there are shares, each share has one.
        last - first >= self.count.get() - 1 || (first..=last).any(|part| part % self.count == self.number)
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            format: None,
            url_column: DEFAULT_URL_COLUMN.to_owned(),
            checksum_column: None,
            delimiter: None,
            encoding: TextEncoding::default(),
            end_line: None,
            named_columns: Vec::new(),
            caption_column: None,
            file_urls: false,
            store_urls: false,
            share: None,
        }
    }
}

/// Sources that have been opened, so missing files are found before anything is read.
#[derive(Debug, Default)]
pub struct Lists {
    all: Vec<List>,
    options: Options,
    /// Whether the rows have been read before.
    have_been_read: AtomicBool,
}

#[derive(Debug)]
struct List {
    name: Arc<str>,
    /// The format by its name.
    format: Option<ListFormat>,
    /// The line with which it has to end.
    end_line: Option<Arc<str>>,
    content: ListContent,
}

/// What identifies a file under all its names: its device and its inode number.
type FileId = (u64, u64);

/// Where the content of a list comes from.
#[derive(Debug)]
enum ListContent {
    /// A regular file, which is opened again when it is read: there may be more lists than a process may have open
    /// files.
    Path(PathBuf, FileId),
    /// A named pipe or the like, or a temporary file with what came from one.
    File(File),
    Stdin,
    Inline(String),
    /// An object of a store.
    Stored(Location, String),
    #[cfg(feature = "parquet")]
    FailedOf(Location),
    #[cfg(feature = "parquet")]
    Records(RecordFeed),
}

/// The number of batches that may wait for the run. A batch of a fast list has some hundred rows, so the run does not
/// wait for it.
const MAX_QUEUED_BATCHES: usize = 4;

impl Lists {
    /// Opens every source.
    ///
    /// # Errors
    /// When a file cannot be opened, or is a folder.
    pub fn open(sources: &[Source], options: &Options) -> Result<Self, RunError> {
        let open = |source: &Source| {
            let (name, format, content) = match source {
                Source::Stored(prefix, pattern) => return stored(prefix, pattern),
                Source::Stdin => ("standard input".into(), None, ListContent::Stdin),
                Source::Url(url) => ("the command line".into(), None, ListContent::Inline(url.clone())),
                #[cfg(feature = "parquet")]
                Source::FailedOf(output) => (output.to_string(), None, ListContent::FailedOf(output.clone())),
                Source::File(path) => {
                    let name = path.display().to_string();
                    let fail = |source| RunError::List { name: name.clone(), source };
                    let file =
                        File::open(path).map_err(|error| mistaken::explained(&name, error).unwrap_or_else(fail))?;
                    let metadata = file.metadata().map_err(fail)?;
                    // On Unix a folder can be opened; only reading it fails.
                    if metadata.is_dir() {
                        return Err(fail(io::ErrorKind::IsADirectory.into()));
                    }
                    let id = file_id(&metadata);
                    let content = id.map_or(ListContent::File(file), |id| ListContent::Path(path.clone(), id));
                    (name, ListFormat::from_path(path), content)
                }
            };
            let end_line = options.end_line.as_deref().filter(|_| matches!(content, ListContent::Stdin)).map(Arc::from);
            Ok(vec![List { name: name.into(), format, end_line, content }])
        };
        let lists = sources.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let all = lists.into_iter().flatten().collect();
        Ok(Self { all, options: options.clone(), have_been_read: AtomicBool::new(false) })
    }

    /// The same lists, with these records in place of the rows of an output that failed: a folder of files has them in its
    /// journal.
    #[cfg(feature = "parquet")]
    #[must_use]
    pub fn with_failed(mut self, records: &RecordFeed) -> Self {
        for list in &mut self.all {
            if matches!(list.content, ListContent::FailedOf(_)) {
                list.content = ListContent::Records(records.clone());
            }
        }
        self
    }

    /// The same lists, such that they can be read more than once: what comes from a pipe is copied to a temporary file,
    /// which blocks until its end.
    ///
    /// # Errors
    /// When a pipe cannot be read, or the temporary file cannot be written.
    pub fn repeatable(self) -> Result<Self, RunError> {
        let keep = |list: List| {
            let fail = |source| RunError::List { name: list.name.to_string(), source };
            let mut from: Box<dyn Read> = match list.content {
                ListContent::Inline(_) | ListContent::Path(..) | ListContent::Stored(..) => return Ok(list),
                #[cfg(feature = "parquet")]
                ListContent::FailedOf(_) | ListContent::Records(_) => return Ok(list),
                ListContent::File(ref file) if file.metadata().map_err(fail)?.is_file() => return Ok(list),
                ListContent::File(ref file) => Box::new(file),
                ListContent::Stdin => Box::new(io::stdin().lock()),
            };
            let spooled = spool(&mut from).map_err(fail)?;
            drop(from);
            Ok(List { content: ListContent::File(spooled), ..list })
        };
        let all = self.all.into_iter().map(keep).collect::<Result<_, _>>()?;
        Ok(Self { all, ..self })
    }

    /// Whether the file with this metadata is one of the lists. The run must not overwrite it then.
    #[must_use]
    pub fn includes(&self, file: &Metadata) -> bool {
        let mut ids = self.all.iter().filter_map(|list| match &list.content {
            ListContent::Path(_, id) => Some(*id),
            ListContent::File(file) => file_id(&file.metadata().ok()?),
            ListContent::Stdin => file_id(&File::from(io::stdin().as_fd().try_clone_to_owned().ok()?).metadata().ok()?),
            ListContent::Inline(_) | ListContent::Stored(..) => None,
            #[cfg(feature = "parquet")]
            ListContent::FailedOf(_) | ListContent::Records(_) => None,
        });
        file_id(file).is_some_and(|file| ids.any(|id| id == file))
    }

    /// The rows of all lists, one list after the other and each from its beginning where that is possible, read on a
    /// thread of their own; and how far they have been read. If a list cannot be read, the error is the last item.
    ///
    /// # Errors
    /// When the system has no thread or no open file left.
    pub fn rows(&self) -> Result<(impl Stream<Item = Result<Row, RunError>> + use<>, Arc<ReadProgress>), RunError> {
        let (sender, receiver) = mpsc::channel::<Result<Vec<Row>, RunError>>(MAX_QUEUED_BATCHES);
        let sizes = self.all.iter().map(List::size).collect::<Vec<_>>();
        let all_bytes = sizes.iter().copied().sum();
        let progress = Arc::new(ReadProgress::new(all_bytes));
        let shared = Arc::clone(&progress);
        let lists = self.all.iter().map(List::reopen).collect::<Result<Vec<_>, _>>()?;
        let options = self.options.clone();
        let is_first_reading = !self.have_been_read.swap(true, Ordering::Relaxed);
        let read = move || {
            let mut rows = RowSender::new(sender, shared);
            rows.is_first_reading = is_first_reading;
            let count = lists.len();
            let mut bytes = 0;
            for (number, list) in (1..).zip(lists) {
                rows.is_last_list = number == count;
                bytes += sizes[number - 1].unwrap_or(0);
                match list.read(&options, &mut rows) {
                    // A list that has been read counts as a whole: Parquet files are not read from beginning to end.
                    Ok(()) => rows.progress.set_bytes(bytes),
                    Err(ReadError::ReceiverDropped) => return,
                    Err(ReadError::Failed(error)) => return rows.fail(error),
                }
            }
            rows.finish();
        };
        // Not on the blocking pool of the runtime: at its end the runtime would wait for a read that may never return.
        std::thread::Builder::new().name("lists".into()).spawn(read).map_err(RunError::System)?;
        let batches = futures::stream::unfold(receiver, |mut receiver| async move {
            let batch = receiver.recv().await?;
            Some((batch, receiver))
        });
        let rows = futures::StreamExt::flat_map(batches, |batch| {
            futures::stream::iter(match batch {
                Ok(rows) => rows.into_iter().map(Ok).collect::<Vec<_>>(),
                Err(error) => vec![Err(error)],
            })
        });
        Ok((rows, progress))
    }
}

/// The lists in an object store that a name or a pattern stands for.
fn stored(prefix: &StoreUrl, pattern: &str) -> Result<Vec<List>, RunError> {
    let location = Location::Store(prefix.clone());
    let url = |name: &str| location.path(name).display().to_string();
    let fail = |source| RunError::List { name: url(pattern), source };
    let names = prefix.matching(pattern).map_err(fail)?;
    if let [name] = &*names {
        // That of a pattern is known to be there.
        location.open(name).map_err(fail)?;
    }
    let list = |name: String| List {
        name: url(&name).into(),
        format: ListFormat::from_path(Path::new(&name)),
        end_line: None,
        content: ListContent::Stored(location.clone(), name),
    };
    Ok(names.into_iter().map(list).collect())
}

/// The identity of a regular file; `None` for pipes and the like.
fn file_id(file: &Metadata) -> Option<FileId> {
    file.is_file().then(|| (file.dev(), file.ino()))
}

/// All rows of one list at once, for tests, benchmarks and fuzzing; a run uses [`Lists::rows`].
///
/// # Errors
/// As the last item of [`Lists::rows`].
pub fn rows_of(from: impl Read, name: &str, options: &Options) -> Result<Vec<Row>, RunError> {
    let (sender, mut receiver) = mpsc::channel(Semaphore::MAX_PERMITS);
    let mut rows = RowSender::new(sender, Arc::default());
    // No row is taken before all have been read, so the limit would block.
    rows.max_bytes_in_flight = usize::MAX;
    match read(from, None, None, &ListContext { name, options, end_line: None }, &mut rows) {
        Ok(()) | Err(ReadError::ReceiverDropped) => {}
        Err(ReadError::Failed(error)) => return Err(error),
    }
    let mut read = Vec::new();
    while let Ok(batch) = receiver.try_recv() {
        read.extend(batch?);
    }
    Ok(read)
}

impl List {
    /// Another handle of the list.
    fn reopen(&self) -> Result<Self, RunError> {
        let content = match &self.content {
            ListContent::Inline(text) => ListContent::Inline(text.clone()),
            ListContent::Stdin => ListContent::Stdin,
            ListContent::Stored(prefix, name) => ListContent::Stored(prefix.clone(), name.clone()),
            #[cfg(feature = "parquet")]
            ListContent::FailedOf(output) => ListContent::FailedOf(output.clone()),
            #[cfg(feature = "parquet")]
            ListContent::Records(records) => ListContent::Records(records.clone()),
            ListContent::Path(path, id) => ListContent::Path(path.clone(), *id),
            ListContent::File(file) => {
                let fail = |source| RunError::List { name: self.name.to_string(), source };
                let mut file = file.try_clone().map_err(fail)?;
                // Rewinding fails for a pipe, which is read only once.
                let _ = file.rewind();
                ListContent::File(file)
            }
        };
        Ok(Self { name: Arc::clone(&self.name), format: self.format, end_line: self.end_line.clone(), content })
    }

    /// The size in bytes, if it is known.
    fn size(&self) -> Option<u64> {
        let file = |file: &File| file.metadata().ok().filter(Metadata::is_file).map(|metadata| metadata.len());
        match &self.content {
            ListContent::Inline(text) => Some(text.len() as u64),
            ListContent::Stored(..) => None,
            #[cfg(feature = "parquet")]
            ListContent::FailedOf(_) | ListContent::Records(_) => None,
            ListContent::Path(path, _) => fs::metadata(path).ok().map(|metadata| metadata.len()),
            ListContent::File(list) => file(list),
            // Standard input may be a file, as in `fetchimg <urls.txt`.
            ListContent::Stdin => file(&io::stdin().as_fd().try_clone_to_owned().ok()?.into()),
        }
    }

    fn read(self, options: &Options, rows: &mut RowSender) -> Result<(), ReadError> {
        let context = ListContext { name: &self.name, options, end_line: self.end_line.as_deref() };
        // A list is untrusted input. A panic that it causes must be an error, not look like the end of the list.
        let read = AssertUnwindSafe(|| match &self.content {
            ListContent::Inline(url) => {
                rows.push_url(url.as_bytes(), context.only_row());
                rows.send()
            }
            #[cfg(feature = "parquet")]
            ListContent::FailedOf(output) => set::read_failed(output, &context, rows),
            #[cfg(feature = "parquet")]
            ListContent::Records(records) => set::read_records(records, &context, rows),
            ListContent::Path(path, _) => {
                let file = File::open(path).map_err(|error| context.unreadable(error))?;
                read_file(OpenFile::Disk(file), self.format, &context, rows)
            }
            ListContent::File(file) => {
                let file = file.try_clone().map_err(|error| context.unreadable(error))?;
                read_file(OpenFile::Disk(file), self.format, &context, rows)
            }
            ListContent::Stored(prefix, name) => {
                let object = prefix.open(name).map_err(|error| context.unreadable(error))?;
                read_file(object, self.format, &context, rows)
            }
            ListContent::Stdin => {
                read(CountingReader::new(io::stdin().lock(), &rows.progress), None, None, &context, rows)
            }
        });
        catch_unwind(read)
            .unwrap_or_else(|_| Err(context.unreadable(io::Error::other("it is damaged, or fetchimg has a defect"))))
    }
}

/// The number of bytes that one read asks for.
const READ_BLOCK_BYTES: usize = 64 * 1024;

/// The longest row, in bytes, far longer than any description of an image. A longer one fails without using more
/// memory.
const MAX_ROW_BYTES: usize = 1 << 20;

/// Reads a list from a file, or from an object.
fn read_file(
    file: OpenFile,
    format: Option<ListFormat>,
    context: &ListContext,
    rows: &mut RowSender,
) -> Result<(), ReadError> {
    let whole = file.another().map_err(|error| context.unreadable(error))?;
    read(CountingReader::new(file, &rows.progress), Some(&whole), format, context, rows)
}

/// Reads a list to its end. Sends the rows after each read, because the next read may block. `file`: the file that the
/// bytes come from, if it is one. `format`: the format by its name.
fn read(
    from: impl Read,
    file: Option<&OpenFile>,
    format: Option<ListFormat>,
    context: &ListContext,
    rows: &mut RowSender,
) -> Result<(), ReadError> {
    let stated = context.options.format.or(format);
    if stated == Some(ListFormat::Parquet) && context.options.encoding != TextEncoding::default() {
        // The text in it is UTF-8, in whatever encoding the lists beside it are.
        let options = Options { encoding: TextEncoding::default(), ..context.options.clone() };
        return read(from, file, format, &ListContext { options: &options, ..*context }, rows);
    }
    let fail = |error| context.unreadable(error);
    let from = Transcoder::new(Decompressor::new(from).map_err(fail)?, context.options.encoding);
    let mut from = EndLineReader::new(from, context.end_line);
    let mut block = vec![0; READ_BLOCK_BYTES];
    // The first bytes, until they decide the format: a pipe may bring them one by one.
    let mut head = Vec::new();
    let mut length;
    loop {
        length = from.read(&mut block).map_err(fail)?;
        head.extend_from_slice(&block[..length]);
        if length == 0 || detect::is_conclusive(&head) {
            break;
        }
    }
    let format = match stated {
        Some(ListFormat::Text) if detect::is_http_data(&head) => ListFormat::Tsv,
        Some(format) => format,
        None => detect::detect_format(&head, context.options),
    };
    if let Some(what) = detect::refusal(&head, format) {
        return Err(context.not_a_list(what));
    }
    let mut parser = match format {
        #[cfg(not(feature = "parquet"))]
        ListFormat::Parquet => {
            let _ = file;
            return Err(
                context.not_a_list("it is a Parquet file, and this fetchimg was built without the feature parquet")
            );
        }
        #[cfg(feature = "parquet")]
        ListFormat::Parquet => {
            let Some(from) = from.into_inner() else {
                return Err(context.not_a_list("it is a Parquet file, whose end is its own; leave out --end-line"));
            };
            let Some(from) = from.untouched() else {
                let encoding = context.options.encoding;
                let what = format!("it is a Parquet file, which is not read in {encoding}; say --input-format parquet");
                return Err(context.not_a_list(what));
            };
            let file = match file.filter(|file| from.is_plain() && file.is_regular()) {
                Some(file) => file.another(),
                None => spool(&mut head.chain(from)).map(OpenFile::Disk),
            };
            // The reader does not go through the file from its beginning to its end, so bytes say nothing about rows.
            rows.progress.set_bytes(0);
            return parquet::read(file.map_err(fail)?, context, rows);
        }
        ListFormat::Text => {
            if !head.is_empty() {
                context.forbid_columns(stated.is_some())?;
            }
            ListParser::Text(text::TextParser::new(context))
        }
        ListFormat::Csv => ListParser::Csv(csv::CsvParser::new(csv::COMMA, context).into()),
        ListFormat::Tsv => ListParser::Csv(csv::CsvParser::new(csv::TAB, context).into()),
        ListFormat::Jsonl => ListParser::Jsonl(jsonl::JsonlParser::new(context)),
    };
    parser.feed(&head, rows)?;
    rows.send()?;
    while length > 0 {
        length = from.read(&mut block).map_err(fail)?;
        parser.feed(&block[..length], rows)?;
        rows.send()?;
    }
    parser.finish(rows)?;
    rows.send()
}

/// The parsers of the formats that are read from beginning to end.
enum ListParser<'a> {
    Text(text::TextParser<'a>),
    Csv(Box<csv::CsvParser<'a>>),
    Jsonl(jsonl::JsonlParser<'a>),
}

impl ListParser<'_> {
    fn feed(&mut self, bytes: &[u8], rows: &mut RowSender) -> Result<(), ReadError> {
        match self {
            Self::Text(parser) => parser.feed(bytes, rows),
            Self::Csv(parser) => return parser.feed(bytes, rows),
            Self::Jsonl(parser) => parser.feed(bytes, rows),
        }
        Ok(())
    }

    fn finish(self, rows: &mut RowSender) -> Result<(), ReadError> {
        match self {
            Self::Text(parser) => parser.finish(rows),
            Self::Csv(parser) => return parser.finish(rows),
            Self::Jsonl(parser) => parser.finish(rows),
        }
        Ok(())
    }
}

/// Copies all that can be read to a temporary file, and returns it, rewound to its beginning.
fn spool(from: &mut impl Read) -> io::Result<File> {
    let mut file = tempfile::tempfile()?;
    io::copy(from, &mut file)?;
    file.rewind()?;
    Ok(file)
}

/// What the tests of the formats share.
#[cfg(test)]
mod testing {
    use super::*;
    use crate::record::Outcome;

    /// A reader that returns its bytes one by one.
    pub struct ByteByByte<'a>(pub &'a [u8]);

    impl Read for ByteByByte<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let length = into.len().min(1);
            self.0.read(&mut into[..length])
        }
    }

    pub fn options(format: ListFormat) -> Options {
        Options { format: Some(format), checksum_column: Some("md5".to_owned()), ..Options::default() }
    }

    /// Reads a list named `list`, in one piece and byte by byte, and compares the two. Returns a text for each row: its
    /// URL, its checksum and its other columns, or the error of the row; or the error of the list.
    pub fn rows_as_text(bytes: &[u8], options: &Options) -> Vec<String> {
        let whole = rows_of(bytes, "list", options).map_or_else(|error| vec![error.to_string()], texts);
        let pieces = rows_of(ByteByByte(bytes), "list", options).map_or_else(|error| vec![error.to_string()], texts);
        assert_eq!(whole, pieces);
        whole
    }

    fn texts(rows: Vec<Row>) -> Vec<String> {
        let row_as_text = |(index, row): (u64, Row)| match row {
            Ok(job) => {
                assert_eq!(job.index, index);
                let checksum = job.checksum.map_or_else(String::new, |sum| format!(" {}", sum.algorithm.name()));
                format!("{}{checksum} {}", job.url, serde_json::to_string(&job.extra).expect("JSON"))
            }
            Err(record) => {
                assert_eq!(record.index, index);
                let Outcome::Failed(failed) = record.outcome else { panic!("{:?}", record.outcome) };
                let extra = serde_json::to_string(&record.extra).expect("JSON");
                format!("{} [{}] {} {extra}", failed.error, record.url, failed.message)
            }
        };
        (0..).zip(rows).map(row_as_text).collect()
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::testing::{options, rows_as_text};
    use super::*;
    use crate::record::Outcome;

    fn list(content: ListContent) -> Lists {
        let list = List { name: "list".into(), format: None, end_line: None, content };
        Lists { all: vec![list], ..Lists::default() }
    }

    fn file(bytes: &[u8]) -> ListContent {
        ListContent::File(spool(&mut { bytes }).expect("a file"))
    }

    async fn read(bytes: &[u8]) -> Result<Vec<Row>, RunError> {
        let (rows, _) = list(file(bytes)).rows().expect("rows");
        rows.collect::<Vec<_>>().await.into_iter().collect()
    }

    async fn urls(text: &[u8]) -> Vec<String> {
        let rows = read(text).await.expect("rows");
        rows.into_iter().map(|row| row.map_or_else(|bad| format!("bad {}", bad.url), |job| job.url.into())).collect()
    }

    #[tokio::test]
    async fn a_text_list_is_read_as_the_contract_says() {
        let text = "\u{feff}https://a.example/1.png\r\n\n  # a comment\n#another\n\thttps://a.example/2,3 4\"ü.png  \n \nhttp://b.example";
        assert_eq!(
            urls(text.as_bytes()).await,
            ["https://a.example/1.png", "https://a.example/2,3%204%22%C3%BC.png", "http://b.example/"]
        );
        assert!(urls(b"").await.is_empty());
        assert!(urls(b"\n\r\n# nothing\n").await.is_empty());
    }

    #[tokio::test]
    async fn an_invalid_line_is_one_failed_record_in_its_place() {
        let rows =
            read(b"http://a.example/1\nnot a url\nftp://a.example/x\nhttp://\n\xff\xfe\nhttp://a.example/2\n").await;
        let rows = rows.expect("rows");
        let text = |row: &Row| match row {
            Ok(job) => format!("{} ok", job.index),
            Err(record) => match &record.outcome {
                Outcome::Failed(failed) => format!("{} {} {}", record.index, failed.error, failed.message),
                other => format!("{other:?}"),
            },
        };
        let texts = rows.iter().map(text).collect::<Vec<_>>();
        assert_eq!(texts[0], "0 ok");
        assert!(texts[1].starts_with("1 bad_url line 2 of list is no http(s) URL: it does not begin"), "{}", texts[1]);
        assert!(texts[2].contains("ftp: is not http"), "{}", texts[2]);
        assert!(texts[3].contains("empty host"), "{}", texts[3]);
        assert!(texts[4].contains("not valid UTF-8"), "{}", texts[4]);
        assert_eq!(texts[5], "5 ok");
    }

    #[tokio::test]
    async fn an_endless_line_takes_no_memory_and_loses_no_other() {
        let mut text = b"http://a.example/1\n".to_vec();
        text.resize(text.len() + 3_000_000, b'x');
        text.extend_from_slice(b"\nhttp://a.example/2");
        let urls = urls(&text).await;
        assert_eq!(urls.len(), 3);
        assert_eq!(urls[1].len(), "bad ".len() + 500);
        assert_eq!(urls[2], "http://a.example/2");
    }

    #[test]
    fn how_a_list_is_cut_into_reads_makes_no_difference() {
        let lists: [&[u8]; 8] = [
            b"\xEF\xBB\xBFhttp://a.example/1\r\nhttp://a.example/\xC3\xBC\n",
            b"\xEF\xBB\xBF\xEF\xBB\xBFurl,caption\nhttp://a.example/1,x",
            b"\x1f\x8b\x08\0\0",
            b"\x50\x2A\x4D",
            b"\xff\xfeh\0",
            b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
            b"\xff\n",
            b"",
        ];
        let asked = [None, Some(ListFormat::Csv), Some(ListFormat::Jsonl), Some(ListFormat::Parquet)];
        for options in asked.map(|format| Options { format, ..Options::default() }) {
            for list in lists {
                rows_as_text(list, &options);
            }
        }
    }

    #[tokio::test]
    async fn a_pipe_is_spooled_to_be_read_again() {
        let spooled = list(file(b"http://a.example/1\nhttp://a.example/2\n")).repeatable().expect("a file");
        for _ in 0..2 {
            let (rows, progress) = spooled.rows().expect("rows");
            assert_eq!(rows.collect::<Vec<_>>().await.len(), 2);
            assert_eq!(progress.total(), Some(2));
        }
    }

    #[test]
    fn a_name_tells_the_format() {
        let table = [
            ("list.txt", Some(ListFormat::Text)),
            ("folder.csv/list", None),
            ("list.CSV", Some(ListFormat::Csv)),
            ("list.csv.gz", Some(ListFormat::Csv)),
            ("list.v1.tsv.zst", Some(ListFormat::Tsv)),
            ("list.tab", Some(ListFormat::Tsv)),
            ("list.ndjson.gzip", Some(ListFormat::Jsonl)),
            ("a/list.jsonl", Some(ListFormat::Jsonl)),
            ("list.parquet", Some(ListFormat::Parquet)),
            ("part-0.pq.zstd", Some(ListFormat::Parquet)),
            ("list.gz", None),
            ("list.csv.bz2", None),
            ("csv", None),
        ];
        for (name, format) in table {
            assert_eq!(ListFormat::from_path(Path::new(name)), format, "{name}");
        }
    }

    #[test]
    fn columns_that_are_asked_for_are_not_ignored() {
        let text = b"http://a.example/1.png\n";
        assert!(
            rows_as_text(text, &options(ListFormat::Text))[0].contains("list has no column md5: it was taken for text")
        );
        let by_content = Options { format: None, ..options(ListFormat::Text) };
        assert!(rows_as_text(text, &by_content)[0].contains("say what it is with --input-format"));
        let misspelt = Options { url_column: "link".to_owned(), ..Options::default() };
        assert!(rows_as_text(b"lnk,caption\nhttp://a.example/1.png,x\n", &misspelt)[0].contains("has no column link"));
        assert_eq!(rows_as_text(b"", &by_content), [""; 0]);
        for format in [None, Some(ListFormat::Text)] {
            let named_columns = vec![NamedColumn { name: "class".to_owned(), used_for: ColumnUse::Name }];
            let named = Options { format, named_columns, ..Options::default() };
            assert!(rows_as_text(text, &named)[0].contains("list has no column class, which --name asks for"));
        }
        let explicit = Options { format: Some(ListFormat::Text), ..misspelt };
        assert_eq!(rows_as_text(text, &explicit), ["http://a.example/1.png {}"]);
    }
}
