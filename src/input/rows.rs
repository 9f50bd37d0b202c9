//! Turns what a list holds into numbered rows, and sends them to the run in batches. An invalid row becomes a failed
//! record.

use std::fmt;
use std::io;
use std::sync::Arc;

use tokio::sync::mpsc;
use url::Url;

use super::trim::{trim, trim_start};
use super::{Options, ReadProgress};
#[cfg(feature = "parquet")]
use crate::record::url_hash;
use crate::record::{Checksum, ErrorKind, Extra, Failed, FetchError, Job, Outcome, Record, Row, RunError};
use crate::util::budget::MemoryBudget;
use crate::util::data_url;
use crate::util::redact::{escaped, redacted_text};
use crate::util::store;
use crate::util::store::object_url::{self, begins_as_object_url};

/// Why the reading of lists stops before their end.
pub enum ReadError {
    /// The run has ended and takes no more rows.
    ReceiverDropped,
    /// A list cannot be read, or is no list. The lists after it are not read.
    Failed(RunError),
}

/// The list that is read: its name, for messages, and how to read it.
pub struct ListContext<'a> {
    /// The list's name, as the user gave it.
    pub name: &'a str,
    /// How the list is read.
    pub options: &'a Options,
    /// The line with which the list has to end.
    pub end_line: Option<&'a str>,
}

impl ListContext<'_> {
    /// The position of the only row of a list, without a number.
    pub const fn only_row(&self) -> RowPosition<'_> {
        RowPosition { context: self, number: None }
    }

    /// The position of a line, counted from 1.
    pub const fn line(&self, number: u64) -> RowPosition<'_> {
        RowPosition { context: self, number: Some(("line", number)) }
    }

    /// The position of a row, counted from 1, in a format without lines.
    pub const fn row(&self, number: u64) -> RowPosition<'_> {
        RowPosition { context: self, number: Some(("row", number)) }
    }

    /// The list cannot be read, or not to its end.
    pub fn unreadable(&self, source: io::Error) -> ReadError {
        ReadError::Failed(RunError::List { name: self.name.to_owned(), source })
    }

    /// The list lacks a column. `what` is shown to the user after the name of the list: "has no column x".
    pub fn lacks_column(&self, what: impl Into<String>) -> ReadError {
        ReadError::Failed(RunError::NoColumn { name: self.name.to_owned(), what: what.into() })
    }

    /// The list is of another kind. `what` is shown to the user after "NAME is no list of URLs: ".
    pub fn not_a_list(&self, what: impl Into<String>) -> ReadError {
        ReadError::Failed(RunError::NotAList { name: self.name.to_owned(), what: what.into() })
    }
}

/// Where a row is in its list. Displayed as `line 3 of urls.txt`.
#[derive(Clone, Copy)]
pub struct RowPosition<'a> {
    /// The list that holds the row.
    pub context: &'a ListContext<'a>,
    number: Option<(&'static str, u64)>,
}

impl fmt::Display for RowPosition<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((what, number)) = self.number {
            write!(f, "{what} {number} of ")?;
        }
        f.write_str(self.context.name)
    }
}

/// A row of a list with columns, before its URL and its checksum have been parsed.
pub struct RawRow<'a> {
    /// The value of the URL column.
    pub url: &'a [u8],
    /// The value of the checksum column, empty where there is none. `Err`: the value is not text, but what this says.
    pub checksum: Result<&'a [u8], &'static str>,
    /// All other columns.
    pub extra: Extra,
}

/// Numbers the rows of all lists and sends them to the run in batches, within a limit of memory.
pub struct RowSender {
    sender: mpsc::Sender<Result<Vec<Row>, RunError>>,
    /// How far the lists have been read.
    pub progress: Arc<ReadProgress>,
    batch: Vec<Row>,
    /// The memory of the large rows that the run still holds, and of those in `batch`. Each row holds its share until
    /// it is dropped.
    budget: Arc<MemoryBudget>,
    /// The memory of the large rows in `batch`, in bytes.
    batch_bytes: usize,
    /// Whether the run takes no more rows.
    receiver_is_dropped: bool,
    /// A batch is sent when the rows before it hold no more memory than this, in bytes.
    pub max_bytes_in_flight: usize,
    next_index: u64,
    /// Whether the list that is read is the last one.
    pub is_last_list: bool,
    /// Whether the lists are read for the first time. What is odd in them is said then, and not once more for each pass.
    pub is_first_reading: bool,
}

/// The memory that large rows may hold together, in bytes, besides the struct of each row.
const MAX_BYTES_IN_FLIGHT: usize = 64 << 20;

/// Rows with less memory than this, in bytes, are not counted: the run holds a limited number of rows.
const MIN_COUNTED_BYTES: usize = 4096;

/// The number of rows that are sent at once.
const MAX_BATCH_ROWS: usize = 1024;

/// The number of characters of an invalid line that its record shows. The line may be arbitrary binary data.
const MAX_SHOWN_CHARS: usize = 500;

impl RowSender {
    /// A sender that has sent no row yet.
    pub fn new(sender: mpsc::Sender<Result<Vec<Row>, RunError>>, progress: Arc<ReadProgress>) -> Self {
        let (batch, budget) = (Vec::new(), Arc::default());
        Self {
            sender,
            progress,
            batch,
            budget,
            batch_bytes: 0,
            receiver_is_dropped: false,
            max_bytes_in_flight: MAX_BYTES_IN_FLIGHT,
            next_index: 0,
            is_last_list: true,
            is_first_reading: true,
        }
    }

    /// Sets the number of the next row, where rows keep the numbers that they have elsewhere.
    #[cfg(feature = "parquet")]
    pub const fn set_next_index(&mut self, index: u64) {
        self.next_index = index;
    }

    /// The number of the next row.
    #[cfg(feature = "parquet")]
    pub const fn next_index(&self) -> u64 {
        self.next_index
    }

    /// Adds a row that consists of a URL.
    pub fn push_url(&mut self, text: &[u8], position: RowPosition) {
        let text = trim(text);
        match parse(text, position.context.options) {
            Ok(url) => {
                let job = Job::new(self.next_index, url);
                self.add(Ok(job));
            }
            Err(what) => self.push_invalid(text, &format!("{position} is no http(s) URL: {what}"), Extra::default()),
        }
    }

    /// Adds a row of several columns.
    pub fn push(&mut self, row: RawRow, position: RowPosition) {
        let RawRow { url: text, checksum, extra } = row;
        let (text, column) = (trim(text), &position.context.options.url_column);
        if text.is_empty() {
            return self.push_invalid(text, &format!("{position} has no URL: its {column} is empty"), extra);
        }
        let url = match parse(text, position.context.options) {
            Ok(url) => url,
            Err(what) => {
                return self.push_invalid(text, &format!("{position}: its {column} is no http(s) URL: {what}"), extra);
            }
        };
        let job = Job { extra, ..Job::new(self.next_index, url) };
        let checksum = match checksum.map(trim) {
            Ok(b"") => return self.add(Ok(job)),
            Ok(text) => String::from_utf8_lossy(text).parse::<Checksum>(),
            Err(what) => Err(format!("is {what}")),
        };
        self.add(match checksum {
            Ok(checksum) => Ok(Job { checksum: Some(Box::new(checksum)), ..job }),
            Err(what) => {
                let error = FetchError::new(ErrorKind::Checksum, format!("{position}: the checksum {what}"));
                Err(Box::new(Record::of(&job, Outcome::Failed(Failed::new(&error, 0, None)))))
            }
        });
    }

    /// Adds a row without a valid URL, as a failed record. `text`: what stands where the URL should be.
    pub fn push_invalid(&mut self, text: &[u8], message: &str, extra: Extra) {
        let text = String::from_utf8_lossy(&text[..text.len().min(4 * MAX_SHOWN_CHARS)]);
        let url = escaped(&redacted_text(&text).chars().take(MAX_SHOWN_CHARS).collect::<String>()).into_owned();
        let outcome = Outcome::Failed(Failed::new(&FetchError::new(ErrorKind::BadUrl, message), 0, None));
        self.add(Err(Box::new(Record { index: self.next_index, url, url_hash: None, outcome, extra })));
    }

    fn add(&mut self, mut row: Row) {
        // A data: URL may take more than all columns.
        let url = row.as_ref().map_or_else(|record| record.url.len(), |job| job.url.as_str().len());
        let extra = row.as_mut().map_or_else(|record| &mut record.extra, |job| &mut job.extra);
        let size = url + extra.size();
        if size >= MIN_COUNTED_BYTES {
            extra.charge_to(&self.budget, size);
            self.batch_bytes += size;
        }
        self.next_index += 1;
        self.batch.push(row);
        // What is read at once may be thousands of short lines, each of which is a failed record with a message.
        if self.batch.len() >= MAX_BATCH_ROWS {
            // The parser, which needs not know of it, is told when it sends the rest.
            self.receiver_is_dropped |= self.send_batch().is_err();
        }
    }

    /// The number of rows that have not been sent yet, and the memory of the large ones among them, in bytes.
    pub const fn unsent(&self) -> (usize, usize) {
        (self.batch.len(), self.batch_bytes)
    }

    /// Announces the number of rows in a list that has been opened and not yet read. The total is known if this is the
    /// last list.
    pub fn announce_rows(&self, count: u64) {
        if self.is_last_list {
            self.progress.set_total(self.next_index + count);
        }
    }

    /// Sends the rows that have been added. Blocks while the rows sent before them hold too much memory.
    pub fn send(&mut self) -> Result<(), ReadError> {
        match self.batch.is_empty() {
            _ if self.receiver_is_dropped => Err(ReadError::ReceiverDropped),
            true => Ok(()),
            false => self.send_batch(),
        }
    }

    fn send_batch(&mut self) -> Result<(), ReadError> {
        self.progress.set_rows(self.next_index);
        // The run holds thousands of rows before it fetches them. It can fetch those sent before without this batch, so
        // waiting for them cannot deadlock.
        self.budget.wait_until_at_most(self.max_bytes_in_flight.saturating_add(std::mem::take(&mut self.batch_bytes)));
        self.sender.blocking_send(Ok(std::mem::take(&mut self.batch))).map_err(|_| ReadError::ReceiverDropped)
    }

    /// Sends the rows that have been added, then the error.
    pub fn fail(mut self, error: RunError) {
        let _ = self.send().map(|()| self.sender.blocking_send(Err(error)));
    }

    /// Sets the total number of rows, when all lists have been read.
    pub fn finish(self) {
        self.progress.set_total(self.next_index);
    }
}

/// Whether the text is meant as a URL that a row may have, valid or not.
pub fn begins_as_url(text: &[u8]) -> bool {
    let text = trim_start(text);
    if begins_as_object_url(text) {
        return true;
    }
    ["http://", "https://", "data:", "file://"]
        .iter()
        .any(|scheme| text.get(..scheme.len()).is_some_and(|head| head.eq_ignore_ascii_case(scheme.as_bytes())))
}

/// The flag that the row with this URL needs, if it is not given.
#[cfg(feature = "parquet")]
pub fn missing_flag(text: &str, options: &Options) -> Option<&'static str> {
    let is_file = text.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("file:"));
    match () {
        () if begins_as_object_url(text.as_bytes()) && !options.store_urls => Some("--store-urls"),
        () if is_file && !options.file_urls => Some("--file-urls"),
        () => None,
    }
}

/// Whether the URL that a record has identifies the one that has this hash, although the record has a hash: it is that of an
/// object, whose text is not that of its URL, and hides nothing.
#[cfg(feature = "parquet")]
pub fn is_whole(text: &str, hash: &str) -> bool {
    object_url::parse(text).is_some_and(|url| url.is_ok_and(|url| url_hash(&url) == hash))
}

/// The longest URL, in bytes. The HTTP library accepts no longer ones; servers stop at 8 to 64 KB.
pub const MAX_URL_BYTES: usize = 65_534;

/// Parses an http or https URL with a host, as a browser does (WHATWG URL standard), a data: URL, or a file: URL or the name
/// of an object in a store if the options allow that.
fn parse(text: &[u8], options: &Options) -> Result<Url, String> {
    let encoding = options.encoding;
    if text.len() > MAX_URL_BYTES {
        return Err(format!("it is longer than {MAX_URL_BYTES} bytes"));
    }
    let text = std::str::from_utf8(text).map_err(|_| format!("it is not valid {encoding}"))?;
    // A browser removes tabs and line breaks, which in a list would make one URL of two fields or two lines, and asks for
    // a NUL as %00.
    if let Some(byte) = text.bytes().find(|byte| matches!(byte, b'\0' | b'\t' | b'\n' | b'\r')) {
        return Err(format!(
            "it holds {}",
            match byte {
                b'\0' => "a NUL",
                b'\t' => "a tab",
                _ => "a line break",
            }
        ));
    }
    if begins_as_object_url(text.as_bytes()) && !(options.store_urls && store::IS_AVAILABLE) {
        let (scheme, _) = text.split_once(':').unwrap_or((text, ""));
        return Err(if store::IS_AVAILABLE {
            format!("{scheme}: URLs are read only with --store-urls")
        } else {
            format!("{scheme}: URLs are not read, because {}", store::IS_ABSENT)
        });
    }
    if let Some(url) = object_url::parse(text) {
        return url.and_then(|url| match url.as_str().len() {
            ..=MAX_URL_BYTES => Ok(url),
            _ => Err(format!("it is longer than {MAX_URL_BYTES} bytes")),
        });
    }
    let url = Url::parse(text).map_err(|error| match error {
        url::ParseError::RelativeUrlWithoutBase => "it does not begin with http:// or https://".to_owned(),
        other => other.to_string(),
    })?;
    match url.scheme() {
        _ if url.as_str().len() > MAX_URL_BYTES => Err(format!("it is longer than {MAX_URL_BYTES} bytes")),
        "data" => data_url::decode(&url).map(|_| url),
        "file" if !options.file_urls => Err("file: URLs are read only with --file-urls".to_owned()),
        "file" if url.host().is_some() => Err("the file: URL names another machine".to_owned()),
        "http" | "https" | "file" => Ok(url),
        other => Err(format!("{other}: is not http: or https:")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn large_rows_wait_until_those_before_them_are_dropped() {
        const ROW_BYTES: usize = 1 << 20;
        let (sender, mut receiver) = mpsc::channel(1000);
        let reader = std::thread::spawn(move || {
            let options = Options::default();
            let context = ListContext { name: "list", options: &options, end_line: None };
            let mut rows = RowSender::new(sender, Arc::default());
            for number in 0..2 * MAX_BYTES_IN_FLIGHT / ROW_BYTES {
                let extra = Extra::new(vec![("c".into(), "x".repeat(ROW_BYTES).into())]);
                let url = format!("http://a.example/{number}");
                rows.push(RawRow { url: url.as_bytes(), checksum: Ok(b""), extra }, context.row(1));
                assert!(rows.send().is_ok());
            }
        });
        let mut held = Vec::new();
        while held.len() < MAX_BYTES_IN_FLIGHT / ROW_BYTES {
            held.push(receiver.blocking_recv().expect("a batch"));
        }
        std::thread::sleep(Duration::from_millis(50));
        assert!(receiver.try_recv().is_err(), "no more than the limit allows");
        held.truncate(MAX_BYTES_IN_FLIGHT / ROW_BYTES / 2);
        while receiver.blocking_recv().is_some() {}
        reader.join().expect("all have been handed over");
    }
}
