//! Bytes to rows.
//!
//! Lists are read on a thread of their own, because reading a pipe blocks for as long as its writer likes. Rows reach
//! the run through a bounded channel in batches: as many lines as one read brought, so a line that a slow producer has
//! written is on its way at once, and a fast one does not pay for the channel line by line.
//!
//! On its way to rows a list is unpacked (`compressed`), its name or its beginning tells what it is (`head`), and the one
//! file here that is called after its [`Format`] takes it apart. All of them give their rows to `rows`.

mod columns;
mod compressed;
mod csv;
mod head;
mod jsonl;
mod lines;
mod parquet;
mod reading;
mod rows;
mod text;

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Seek};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::Stream;
use tokio::sync::{Semaphore, mpsc};

use crate::record::{Row, RunError};

use compressed::Unpacked;
use reading::Counted;
pub use reading::Reading;
use rows::{About, Ended, Rows};

/// Where rows come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A list file.
    File(PathBuf),
    /// Standard input.
    Stdin,
    /// One URL, given as an argument.
    Url(String),
}

/// The forms of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One URL per line.
    Text,
    /// Comma-separated columns under a row with their names (RFC 4180).
    Csv,
    /// The same, separated by tabs.
    Tsv,
    /// One JSON object per line.
    Jsonl,
    /// Apache Parquet.
    Parquet,
}

impl Format {
    /// The one that a file's name tells, with `.gz` or `.zst` behind it or not.
    fn by_name(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.to_ascii_lowercase();
        let unpacked = [".gz", ".gzip", ".zst", ".zstd"].iter().find_map(|suffix| name.strip_suffix(suffix));
        let (_, extension) = unpacked.unwrap_or(&name).rsplit_once('.')?;
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
    /// What every list is; `None`: what its name or its beginning tells.
    pub format: Option<Format>,
    /// The column, or key, with the URL.
    pub url_column: String,
    /// The column, or key, with what the image has to hash to.
    pub checksum_column: Option<String>,
    /// The columns that names hold.
    pub named_columns: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            format: None,
            url_column: DEFAULT_URL_COLUMN.to_owned(),
            checksum_column: None,
            named_columns: Vec::new(),
        }
    }
}

/// Sources that have been opened: what can be wrong before the first row has been found to be right.
#[derive(Debug, Default)]
pub struct Lists {
    lists: Vec<List>,
    options: Options,
}

#[derive(Debug)]
struct List {
    name: Arc<str>,
    /// What its name tells.
    format: Option<Format>,
    bytes: Bytes,
}

/// What tells a file from all others, whatever it is called: its device and the number of its inode.
type Identity = (u64, u64);

#[derive(Debug)]
enum Bytes {
    /// Opened when its turn comes: a data set may have more files than a program may have open.
    Path(PathBuf, Identity),
    /// A pipe by name, or what has been kept of one.
    File(File),
    Stdin,
    Given(String),
}

/// How many batches of rows may wait for the run. With some hundred rows each, a fast list is always ahead.
const BATCHES_AHEAD: usize = 4;

impl Lists {
    /// Opens every source.
    pub fn open(sources: &[Source], options: &Options) -> Result<Self, RunError> {
        let open = |source: &Source| {
            let (name, format, bytes) = match source {
                Source::Stdin => ("standard input".into(), None, Bytes::Stdin),
                Source::Url(url) => ("the command line".into(), None, Bytes::Given(url.clone())),
                Source::File(path) => {
                    let name = path.display().to_string();
                    let fail = |source| RunError::List { name: name.clone(), source };
                    let file = File::open(path).map_err(fail)?;
                    let about = file.metadata().map_err(fail)?;
                    // A folder can be opened on Unix, and says so only when it is read.
                    if about.is_dir() {
                        return Err(fail(io::ErrorKind::IsADirectory.into()));
                    }
                    let is_file = identity(&about);
                    let bytes = is_file.map_or(Bytes::File(file), |identity| Bytes::Path(path.clone(), identity));
                    (name, Format::by_name(path), bytes)
                }
            };
            Ok(List { name: name.into(), format, bytes })
        };
        let lists = sources.iter().map(open).collect::<Result<_, _>>()?;
        Ok(Self { lists, options: options.clone() })
    }

    /// The same lists, ready to be read more than once: what comes from a pipe is read to its end and kept in a
    /// temporary file.
    pub fn repeatable(self) -> Result<Self, RunError> {
        let keep = |list: List| {
            let fail = |source| RunError::List { name: list.name.to_string(), source };
            let mut from: Box<dyn Read> = match list.bytes {
                Bytes::Given(_) | Bytes::Path(..) => return Ok(list),
                Bytes::File(ref file) if file.metadata().map_err(fail)?.is_file() => return Ok(list),
                Bytes::File(ref file) => Box::new(file),
                Bytes::Stdin => Box::new(io::stdin().lock()),
            };
            let kept = kept(&mut from).map_err(fail)?;
            drop(from);
            Ok(List { bytes: Bytes::File(kept), ..list })
        };
        let lists = self.lists.into_iter().map(keep).collect::<Result<_, _>>()?;
        Ok(Self { lists, ..self })
    }

    /// Whether the file that these are the data of is one of the lists.
    #[must_use]
    pub fn are_read_from(&self, file: &Metadata) -> bool {
        let mut read = self.lists.iter().filter_map(|list| match &list.bytes {
            Bytes::Path(_, identity) => Some(*identity),
            Bytes::File(file) => identity(&file.metadata().ok()?),
            Bytes::Stdin => identity(&File::from(io::stdin().as_fd().try_clone_to_owned().ok()?).metadata().ok()?),
            Bytes::Given(_) => None,
        });
        identity(file).is_some_and(|file| read.any(|read| read == file))
    }

    /// The rows of all lists, one list after the other, read on a thread of their own and from the beginning where that
    /// is possible. An error of a list is the last thing that comes.
    ///
    /// # Errors
    /// When the system gives no thread or no more open files.
    pub fn rows(&self) -> Result<(impl Stream<Item = Result<Row, RunError>> + use<>, Arc<Reading>), RunError> {
        let (sender, receiver) = mpsc::channel::<Result<Vec<Row>, RunError>>(BATCHES_AHEAD);
        let sizes = self.lists.iter().map(List::size).collect::<Vec<_>>();
        let all_bytes = sizes.iter().copied().sum();
        let reading = Arc::new(Reading::new(all_bytes));
        let shared = Arc::clone(&reading);
        let lists = self.lists.iter().map(List::reopen).collect::<Result<Vec<_>, _>>()?;
        let options = self.options.clone();
        let read = move || {
            let mut rows = Rows::new(sender, shared);
            let count = lists.len();
            let mut bytes = 0;
            for (number, list) in (1..).zip(lists) {
                rows.is_last_list = number == count;
                bytes += sizes[number - 1].unwrap_or(0);
                match list.read(&options, &mut rows) {
                    // Whatever of it was read, and in which order.
                    Ok(()) => rows.reading.reach(bytes),
                    Err(Ended::Unwanted) => return,
                    Err(Ended::Failed(error)) => return rows.fail(error),
                }
            }
            rows.end();
        };
        // Not the runtime's pool for blocking calls: the runtime would wait at its end for a read that never ends.
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
        Ok((rows, reading))
    }
}

/// `None`: it is a pipe or the like.
fn identity(file: &Metadata) -> Option<Identity> {
    file.is_file().then(|| (file.dev(), file.ino()))
}

/// All rows of one list at once, for tests: a run takes them as they come, by [`Lists::rows`].
///
/// # Errors
/// As the last item of [`Lists::rows`].
pub fn rows_of(from: impl Read, name: &str, options: &Options) -> Result<Vec<Row>, RunError> {
    let (sender, mut receiver) = mpsc::channel(Semaphore::MAX_PERMITS);
    let mut rows = Rows::new(sender, Arc::default());
    // Nobody takes them meanwhile.
    rows.most = usize::MAX;
    match read(from, None, None, &About { name, options }, &mut rows) {
        Ok(()) | Err(Ended::Unwanted) => {}
        Err(Ended::Failed(error)) => return Err(error),
    }
    let mut read = Vec::new();
    while let Ok(batch) = receiver.try_recv() {
        read.extend(batch?);
    }
    Ok(read)
}

impl List {
    /// Another handle on the list.
    fn reopen(&self) -> Result<Self, RunError> {
        let bytes = match &self.bytes {
            Bytes::Given(text) => Bytes::Given(text.clone()),
            Bytes::Stdin => Bytes::Stdin,
            Bytes::Path(path, identity) => Bytes::Path(path.clone(), *identity),
            Bytes::File(file) => {
                let fail = |source| RunError::List { name: self.name.to_string(), source };
                let mut file = file.try_clone().map_err(fail)?;
                // A pipe has no beginning to go back to, and is read only once.
                let _ = file.rewind();
                Bytes::File(file)
            }
        };
        Ok(Self { name: Arc::clone(&self.name), format: self.format, bytes })
    }

    /// In bytes, if it has an end that is known.
    fn size(&self) -> Option<u64> {
        let file = |file: &File| file.metadata().ok().filter(Metadata::is_file).map(|about| about.len());
        match &self.bytes {
            Bytes::Given(text) => Some(text.len() as u64),
            Bytes::Path(path, _) => fs::metadata(path).ok().map(|about| about.len()),
            Bytes::File(list) => file(list),
            // It may be a file, as in `fetchimg <urls.txt`.
            Bytes::Stdin => file(&io::stdin().as_fd().try_clone_to_owned().ok()?.into()),
        }
    }

    fn read(self, options: &Options, rows: &mut Rows) -> Result<(), Ended> {
        let about = About { name: &self.name, options };
        // What a list holds is somebody else's, and a defect that it brings to light must not look like its end.
        let read = AssertUnwindSafe(|| match &self.bytes {
            Bytes::Given(url) => {
                rows.push_url(url.as_bytes(), about.itself());
                rows.send()
            }
            Bytes::Path(path, _) => {
                let file = File::open(path).map_err(|error| about.unreadable(error))?;
                read(Counted::new(&file, &rows.reading), Some(&file), self.format, &about, rows)
            }
            Bytes::File(file) => read(Counted::new(file, &rows.reading), Some(file), self.format, &about, rows),
            Bytes::Stdin => read(Counted::new(io::stdin().lock(), &rows.reading), None, None, &about, rows),
        });
        catch_unwind(read)
            .unwrap_or_else(|_| Err(about.unreadable(io::Error::other("it is damaged, or fetchimg has a defect"))))
    }
}

/// One read asks for so much.
const BLOCK: usize = 64 * 1024;

/// So much of a row is read, in bytes: far more than anybody writes about a picture. A longer one fails, and costs no more
/// memory.
const LONGEST_ROW: usize = 1 << 20;

/// Reads a list to its end, and hands the rows over as often as there is nothing more to read at once. `file`: what the
/// bytes come from, if that is a file. `format`: what its name tells.
fn read(
    from: impl Read,
    file: Option<&File>,
    format: Option<Format>,
    about: &About,
    rows: &mut Rows,
) -> Result<(), Ended> {
    let fail = |error| about.unreadable(error);
    let mut from = Unpacked::new(from).map_err(fail)?;
    let mut block = vec![0; BLOCK];
    // What came before it was clear what this is: a pipe may bring its first bytes one by one.
    let mut begun = Vec::new();
    let mut length;
    loop {
        length = from.read(&mut block).map_err(fail)?;
        begun.extend_from_slice(&block[..length]);
        if length == 0 || head::is_decisive(&begun) {
            break;
        }
    }
    let told = about.options.format.or(format);
    let format = told.unwrap_or_else(|| head::recognise(&begun, about.options));
    if let Some(what) = head::refusal(&begun, format) {
        return Err(about.not_a_list(what));
    }
    let mut parser = match format {
        Format::Parquet => {
            let whole = file.filter(|file| from.is_plain() && file.metadata().is_ok_and(|about| about.is_file()));
            let file = match whole {
                Some(file) => file.try_clone(),
                None => kept(&mut begun.chain(from)),
            };
            // It is read from its end, and in pieces that do not tell how much is left.
            rows.reading.reach(0);
            return parquet::read(file.map_err(fail)?, about, rows);
        }
        Format::Text => {
            if !begun.is_empty() {
                about.needs_no_columns(told.is_some())?;
            }
            Parser::Text(text::Parser::new(about))
        }
        Format::Csv => Parser::Csv(csv::Parser::new(csv::COMMA, about).into()),
        Format::Tsv => Parser::Csv(csv::Parser::new(csv::TAB, about).into()),
        Format::Jsonl => Parser::Jsonl(jsonl::Parser::new(about)),
    };
    parser.take(begun.strip_prefix(head::BYTE_ORDER_MARK).unwrap_or(&begun), rows)?;
    rows.send()?;
    while length > 0 {
        length = from.read(&mut block).map_err(fail)?;
        parser.take(&block[..length], rows)?;
        rows.send()?;
    }
    parser.end(rows)?;
    rows.send()
}

/// What takes apart the formats that are read from their beginning to their end.
enum Parser<'a> {
    Text(text::Parser<'a>),
    Csv(Box<csv::Parser<'a>>),
    Jsonl(jsonl::Parser<'a>),
}

impl Parser<'_> {
    fn take(&mut self, bytes: &[u8], rows: &mut Rows) -> Result<(), Ended> {
        match self {
            Self::Text(parser) => parser.take(bytes, rows),
            Self::Csv(parser) => return parser.take(bytes, rows),
            Self::Jsonl(parser) => parser.take(bytes, rows),
        }
        Ok(())
    }

    fn end(self, rows: &mut Rows) -> Result<(), Ended> {
        match self {
            Self::Text(parser) => parser.end(rows),
            Self::Csv(parser) => return parser.end(rows),
            Self::Jsonl(parser) => parser.end(rows),
        }
        Ok(())
    }
}

/// A temporary file, from its beginning, with all that there is to read.
fn kept(from: &mut impl Read) -> io::Result<File> {
    let mut kept = tempfile::tempfile()?;
    io::copy(from, &mut kept)?;
    kept.rewind()?;
    Ok(kept)
}

/// What tests of the formats share.
#[cfg(test)]
mod testing {
    use super::*;
    use crate::record::Outcome;

    /// Brings its bytes one by one.
    pub struct ByteByByte<'a>(pub &'a [u8]);

    impl Read for ByteByByte<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let length = into.len().min(1);
            self.0.read(&mut into[..length])
        }
    }

    pub fn options(format: Format) -> Options {
        Options { format: Some(format), checksum_column: Some("md5".to_owned()), ..Options::default() }
    }

    /// What a list named `list` comes to, in one piece and byte by byte: each row as its URL, its checksum and its other
    /// columns, or as what is wrong with it, or why it is no list.
    pub fn told(bytes: &[u8], options: &Options) -> Vec<String> {
        let whole = rows_of(bytes, "list", options).map_or_else(|error| vec![error.to_string()], tell);
        let pieces = rows_of(ByteByByte(bytes), "list", options).map_or_else(|error| vec![error.to_string()], tell);
        assert_eq!(whole, pieces);
        whole
    }

    fn tell(rows: Vec<Row>) -> Vec<String> {
        let tell = |(index, row): (u64, Row)| match row {
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
        (0..).zip(rows).map(tell).collect()
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::testing::{options, told};
    use super::*;
    use crate::record::Outcome;

    fn list(bytes: Bytes) -> Lists {
        let list = List { name: "list".into(), format: None, bytes };
        Lists { lists: vec![list], options: Options::default() }
    }

    fn file(bytes: &[u8]) -> Bytes {
        Bytes::File(kept(&mut { bytes }).expect("a file"))
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
    async fn a_bad_line_is_one_failed_record_in_its_place() {
        let rows =
            read(b"http://a.example/1\nnot a url\nftp://a.example/x\nhttp://\n\xff\xfe\nhttp://a.example/2\n").await;
        let rows = rows.expect("rows");
        let said = |row: &Row| match row {
            Ok(job) => format!("{} ok", job.index),
            Err(record) => match &record.outcome {
                Outcome::Failed(failed) => format!("{} {} {}", record.index, failed.error, failed.message),
                other => format!("{other:?}"),
            },
        };
        let said = rows.iter().map(said).collect::<Vec<_>>();
        assert_eq!(said[0], "0 ok");
        assert!(said[1].starts_with("1 bad_url line 2 of list is no http(s) URL: it does not begin"), "{}", said[1]);
        assert!(said[2].contains("ftp: is not http"), "{}", said[2]);
        assert!(said[3].contains("empty host"), "{}", said[3]);
        assert!(said[4].contains("not valid UTF-8"), "{}", said[4]);
        assert_eq!(said[5], "5 ok");
    }

    #[tokio::test]
    async fn an_endless_line_costs_no_memory_and_loses_no_other() {
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
        let asked = [None, Some(Format::Csv), Some(Format::Jsonl), Some(Format::Parquet)];
        for options in asked.map(|format| Options { format, ..Options::default() }) {
            for list in lists {
                told(list, &options);
            }
        }
    }

    #[tokio::test]
    async fn a_pipe_is_kept_to_be_read_again() {
        let kept = list(file(b"http://a.example/1\nhttp://a.example/2\n")).repeatable().expect("a file");
        for _ in 0..2 {
            let (rows, reading) = kept.rows().expect("rows");
            assert_eq!(rows.collect::<Vec<_>>().await.len(), 2);
            assert_eq!(reading.total(), Some(2));
        }
    }

    #[test]
    fn a_name_tells_the_format() {
        let table = [
            ("list.txt", Some(Format::Text)),
            ("folder.csv/list", None),
            ("list.CSV", Some(Format::Csv)),
            ("list.csv.gz", Some(Format::Csv)),
            ("list.v1.tsv.zst", Some(Format::Tsv)),
            ("list.tab", Some(Format::Tsv)),
            ("list.ndjson.gzip", Some(Format::Jsonl)),
            ("a/list.jsonl", Some(Format::Jsonl)),
            ("list.parquet", Some(Format::Parquet)),
            ("part-0.pq.zstd", Some(Format::Parquet)),
            ("list.gz", None),
            ("list.csv.bz2", None),
            ("csv", None),
        ];
        for (name, format) in table {
            assert_eq!(Format::by_name(Path::new(name)), format, "{name}");
        }
    }

    #[test]
    fn columns_that_are_asked_for_are_not_ignored() {
        let text = b"http://a.example/1.png\n";
        assert!(told(text, &options(Format::Text))[0].contains("which has no column md5"));
        let by_content = Options { format: None, ..options(Format::Text) };
        assert!(told(text, &by_content)[0].contains("say what it is with --input-format"));
        let misspelt = Options { url_column: "link".to_owned(), ..Options::default() };
        assert!(told(b"lnk,caption\nhttp://a.example/1.png,x\n", &misspelt)[0].contains("has no column link"));
        assert_eq!(told(b"", &by_content), [""; 0]);
        let told_so = Options { format: Some(Format::Text), ..misspelt };
        assert_eq!(told(text, &told_so), ["http://a.example/1.png {}"]);
    }
}
