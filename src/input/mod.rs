//! Bytes to rows.
//!
//! Lists are read on a thread of their own, because reading a pipe blocks for as long as its writer likes. Rows reach
//! the run through a bounded channel in batches: as many lines as one read brought, so a line that a slow producer has
//! written is on its way at once, and a fast one does not pay for the channel line by line.

mod text;

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::Stream;
use tokio::sync::{Semaphore, mpsc};
use url::Url;

use crate::error::{FetchError, Kind, RunError};
use crate::job::{Extra, Failed, Job, Outcome, Record, Row};
use crate::shown::{harmless, masked_text};

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

/// Sources that have been opened: what can be wrong before the first row has been found to be right.
#[derive(Debug)]
pub struct Lists(Vec<List>);

#[derive(Debug)]
struct List {
    name: Arc<str>,
    bytes: Bytes,
}

#[derive(Debug)]
enum Bytes {
    File(File),
    Stdin,
    Given(String),
}

/// How many batches of rows may wait for the run. With some hundred rows each, a fast list is always ahead.
const BATCHES_AHEAD: usize = 4;

/// Rows that have been read, and what else is known about the lists.
#[derive(Debug, Default)]
pub struct Reading {
    /// Rows read so far.
    pub rows: AtomicU64,
    /// All there are, once the lists have ended; `u64::MAX` until then.
    total: AtomicU64,
}

impl Reading {
    /// The number of rows, when the lists have been read to their end.
    #[must_use]
    pub fn total(&self) -> Option<u64> {
        Some(self.total.load(Ordering::Acquire)).filter(|total| *total != u64::MAX)
    }
}

impl Lists {
    /// Opens every source.
    pub fn open(sources: &[Source]) -> Result<Self, RunError> {
        let open = |source: &Source| {
            let (name, bytes) = match source {
                Source::Stdin => ("standard input".into(), Bytes::Stdin),
                Source::Url(url) => ("the command line".into(), Bytes::Given(url.clone())),
                Source::File(path) => {
                    let name = path.display().to_string();
                    let fail = |source| RunError::List { name: name.clone(), source };
                    let file = File::open(path).map_err(fail)?;
                    // A folder can be opened on Unix, and says so only when it is read.
                    if file.metadata().map_err(fail)?.is_dir() {
                        return Err(fail(io::ErrorKind::IsADirectory.into()));
                    }
                    (name, Bytes::File(file))
                }
            };
            Ok(List { name: name.into(), bytes })
        };
        sources.iter().map(open).collect::<Result<_, _>>().map(Self)
    }

    /// The same lists, ready to be read more than once: what comes from a pipe is read to its end and kept in a
    /// temporary file.
    pub fn repeatable(self) -> Result<Self, RunError> {
        let keep = |list: List| {
            let fail = |source| RunError::List { name: list.name.to_string(), source };
            let mut from: Box<dyn Read> = match list.bytes {
                Bytes::Given(_) => return Ok(list),
                Bytes::File(ref file) if file.metadata().map_err(fail)?.is_file() => return Ok(list),
                Bytes::File(ref file) => Box::new(file),
                Bytes::Stdin => Box::new(io::stdin().lock()),
            };
            let mut kept = tempfile::tempfile().map_err(fail)?;
            io::copy(&mut from, &mut kept).map_err(fail)?;
            kept.rewind().map_err(fail)?;
            drop(from);
            Ok(List { bytes: Bytes::File(kept), name: list.name })
        };
        self.0.into_iter().map(keep).collect::<Result<_, _>>().map(Self)
    }

    /// The files among the lists.
    pub fn files(&self) -> impl Iterator<Item = &File> {
        self.0.iter().filter_map(|list| match &list.bytes {
            Bytes::File(file) => Some(file),
            Bytes::Stdin | Bytes::Given(_) => None,
        })
    }

    /// The rows of all lists, one list after the other, read on a thread of their own and from the beginning where that
    /// is possible. An error of a list is the last thing that comes.
    ///
    /// # Errors
    /// When the system gives no thread or no more open files.
    pub fn rows(&self) -> Result<(impl Stream<Item = Result<Row, RunError>> + use<>, Arc<Reading>), RunError> {
        let (sender, receiver) = mpsc::channel::<Result<Vec<Row>, RunError>>(BATCHES_AHEAD);
        let reading = Arc::new(Reading { rows: AtomicU64::new(0), total: AtomicU64::new(u64::MAX) });
        let shared = Arc::clone(&reading);
        let lists = self.0.iter().map(List::reopen).collect::<Result<Vec<_>, _>>()?;
        let read = move || {
            let mut rows = Rows { sender, reading: shared, batch: Vec::new(), next_index: 0 };
            for list in lists {
                match list.read(&mut rows) {
                    Ok(()) => {}
                    Err(Ended::Unwanted) => return,
                    Err(Ended::Failed(error)) => {
                        // Whatever was read before the error counts.
                        let _ = rows.send().map(|()| rows.sender.blocking_send(Err(error)));
                        return;
                    }
                }
            }
            rows.reading.total.store(rows.next_index, Ordering::Release);
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

/// All rows of one text list at once, for tests: a run takes them as they come, by [`Lists::rows`].
///
/// # Errors
/// As the last item of [`Lists::rows`].
pub fn rows_of(from: impl Read, name: &str) -> Result<Vec<Row>, RunError> {
    let (sender, mut receiver) = mpsc::channel(Semaphore::MAX_PERMITS);
    let mut rows = Rows { sender, reading: Arc::default(), batch: Vec::new(), next_index: 0 };
    match text::read(from, name, &mut rows) {
        Ok(()) | Err(Ended::Unwanted) => {}
        Err(Ended::Failed(error)) => return Err(error),
    }
    let mut read = Vec::new();
    while let Ok(batch) = receiver.try_recv() {
        read.extend(batch?);
    }
    Ok(read)
}

/// Why reading stops early.
enum Ended {
    /// Nobody wants more rows.
    Unwanted,
    Failed(RunError),
}

impl List {
    /// Another handle on the list.
    fn reopen(&self) -> Result<Self, RunError> {
        let bytes = match &self.bytes {
            Bytes::Given(text) => Bytes::Given(text.clone()),
            Bytes::Stdin => Bytes::Stdin,
            Bytes::File(file) => {
                let fail = |source| RunError::List { name: self.name.to_string(), source };
                let mut file = file.try_clone().map_err(fail)?;
                // A pipe has no beginning to go back to, and is read only once.
                let _ = file.rewind();
                Bytes::File(file)
            }
        };
        Ok(Self { name: Arc::clone(&self.name), bytes })
    }

    fn read(self, rows: &mut Rows) -> Result<(), Ended> {
        match self.bytes {
            Bytes::Given(url) => {
                rows.push(url.as_bytes(), &self.name, None);
                rows.send()
            }
            Bytes::File(file) => text::read(file, &self.name, rows),
            Bytes::Stdin => text::read(io::stdin().lock(), &self.name, rows),
        }
    }
}

/// Takes texts, gives numbered rows.
struct Rows {
    sender: mpsc::Sender<Result<Vec<Row>, RunError>>,
    reading: Arc<Reading>,
    batch: Vec<Row>,
    next_index: u64,
}

/// A bad line is shown up to so many characters; it may be all of somebody's hard disk.
const SHOWN: usize = 500;

impl Rows {
    /// One row. `line`: its number in the list, from 1.
    fn push(&mut self, text: &[u8], list: &str, line: Option<u64>) {
        let index = self.next_index;
        self.next_index += 1;
        self.batch.push(parse(text).map(|url| Job::new(index, url)).map_err(|what| {
            let place = line.map_or_else(String::new, |line| format!("line {line} of "));
            let error = FetchError::new(Kind::BadUrl, format!("{place}{list} is no http(s) URL: {what}"));
            let text = String::from_utf8_lossy(&text[..text.len().min(4 * SHOWN)]);
            let url = harmless(&masked_text(&text).chars().take(SHOWN).collect::<String>()).into_owned();
            let outcome = Outcome::Failed(Failed::new(&error, 0, None));
            Box::new(Record { index, url, url_hash: None, outcome, extra: Extra::default() })
        }));
    }

    /// Hands over what has gathered.
    fn send(&mut self) -> Result<(), Ended> {
        if self.batch.is_empty() {
            return Ok(());
        }
        self.reading.rows.store(self.next_index, Ordering::Relaxed);
        self.sender.blocking_send(Ok(std::mem::take(&mut self.batch))).map_err(|_| Ended::Unwanted)
    }
}

/// What can be sent: the HTTP library keeps URLs of so many bytes, servers stop at 8 to 64 KB.
const LONGEST_URL: usize = 65_534;

/// An http(s) URL with a host, read as a browser reads it (WHATWG URL standard).
fn parse(text: &[u8]) -> Result<Url, String> {
    if text.len() > LONGEST_URL {
        return Err(format!("it is longer than {LONGEST_URL} bytes"));
    }
    let text = std::str::from_utf8(text).map_err(|_| "it is not valid UTF-8".to_owned())?;
    let url = Url::parse(text).map_err(|error| match error {
        url::ParseError::RelativeUrlWithoutBase => "it does not begin with http:// or https://".to_owned(),
        other => other.to_string(),
    })?;
    match url.scheme() {
        _ if url.as_str().len() > LONGEST_URL => Err(format!("it is longer than {LONGEST_URL} bytes")),
        "http" | "https" => Ok(url),
        other => Err(format!("{other}: is not http: or https:")),
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;

    async fn read(bytes: &[u8]) -> Result<Vec<Row>, RunError> {
        let mut file = tempfile::tempfile().expect("a file");
        io::Write::write_all(&mut file, bytes).expect("write");
        file.rewind().expect("rewind");
        let list = List { name: "list".into(), bytes: Bytes::File(file) };
        let (rows, _) = Lists(vec![list]).rows().expect("rows");
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
        assert_eq!(urls[1].len(), "bad ".len() + SHOWN);
        assert_eq!(urls[2], "http://a.example/2");
    }

    #[test]
    fn how_a_list_is_cut_into_reads_makes_no_difference() {
        struct ByteByByte<'a>(&'a [u8]);
        impl Read for ByteByByte<'_> {
            fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
                self.0.read(&mut into[..1])
            }
        }
        let lists: [&[u8]; 6] = [
            b"\xEF\xBB\xBFhttp://a.example/1\r\nhttp://a.example/\xC3\xBC\n",
            b"\x1f\x8b\x08\0\0",
            b"\xff\xfeh\0",
            b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
            b"\xff\n",
            b"",
        ];
        for list in lists {
            let whole = format!("{:?}", rows_of(list, "list"));
            assert_eq!(format!("{:?}", rows_of(ByteByByte(list), "list")), whole);
        }
    }

    #[tokio::test]
    async fn what_is_no_text_is_refused_with_a_hint() {
        let what = |bytes: &'static [u8]| async move {
            match read(bytes).await {
                Err(RunError::NotAList { what, .. }) => what,
                other => panic!("{other:?}"),
            }
        };
        assert!(what(b"\x1f\x8b\x08\0\0\0\0\0").await.contains("gzip"));
        assert!(what(b"\xff\xfeh\0t\0t\0p\0").await.contains("UTF-16"));
        assert!(what(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR").await.contains("binary"));
    }
}
