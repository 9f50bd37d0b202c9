//! What a list holds to numbered rows, and what is wrong with those that are none.

use std::fmt;
use std::io;
use std::sync::Arc;

use tokio::sync::mpsc;
use url::Url;

use super::{Options, Reading};
use crate::record::{Checksum, ErrorKind, Extra, Failed, FetchError, Job, Outcome, Record, Row, RunError};
use crate::util::budget::MemoryBudget;
use crate::util::redact::{escaped, redacted_text};

/// Why reading stops early.
pub enum Ended {
    /// Nobody wants more rows.
    Unwanted,
    /// There is no going on.
    Failed(RunError),
}

/// What messages about a list need, and what it is read by.
pub struct About<'a> {
    /// The list as the user named it.
    pub name: &'a str,
    /// How it is read.
    pub options: &'a Options,
}

impl About<'_> {
    /// A place without a number: there is one row.
    pub const fn itself(&self) -> Place<'_> {
        Place { about: self, number: None }
    }

    /// A line, from 1.
    pub const fn line(&self, number: u64) -> Place<'_> {
        Place { about: self, number: Some(("line", number)) }
    }

    /// A row, from 1, of a list without lines.
    pub const fn row(&self, number: u64) -> Place<'_> {
        Place { about: self, number: Some(("row", number)) }
    }

    /// It cannot be read on.
    pub fn unreadable(&self, source: io::Error) -> Ended {
        Ended::Failed(RunError::List { name: self.name.to_owned(), source })
    }

    /// It is something else, or its columns are others.
    pub fn not_a_list(&self, what: impl Into<String>) -> Ended {
        Ended::Failed(RunError::NotAList { name: self.name.to_owned(), what: what.into() })
    }
}

/// Where a row is in its list.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// The list.
    pub about: &'a About<'a>,
    number: Option<(&'static str, u64)>,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((what, number)) = self.number {
            write!(f, "{what} {number} of ")?;
        }
        f.write_str(self.about.name)
    }
}

/// A row of a list with columns.
pub struct Found<'a> {
    /// What its column for the URL holds.
    pub url: &'a [u8],
    /// What its column for the checksum holds, empty where there is none; or what is there that is no text.
    pub checksum: Result<&'a [u8], &'static str>,
    /// All other columns.
    pub extra: Extra,
}

/// Takes what lists hold, gives numbered rows.
pub struct Rows {
    sender: mpsc::Sender<Result<Vec<Row>, RunError>>,
    /// What is known about the lists.
    pub reading: Arc<Reading>,
    batch: Vec<Row>,
    /// What the rows weigh that are on their way through the run, those of the batch included.
    weights: Arc<MemoryBudget>,
    /// And those of the batch alone.
    batch_weight: usize,
    /// The others may weigh so much before another batch is handed over.
    pub most: usize,
    next_index: u64,
    /// No other list comes after the one that is read.
    pub is_last_list: bool,
}

/// Rows may take so many bytes of memory together, besides what each takes.
const MOST: usize = 64 << 20;

/// Rows that take less are not counted: there are only so many.
const LIGHT: usize = 4096;

/// A bad line is shown up to so many characters; it may be all of somebody's hard disk.
const SHOWN: usize = 500;

impl Rows {
    /// None yet.
    pub fn new(sender: mpsc::Sender<Result<Vec<Row>, RunError>>, reading: Arc<Reading>) -> Self {
        let (batch, weights) = (Vec::new(), Arc::default());
        Self { sender, reading, batch, weights, batch_weight: 0, most: MOST, next_index: 0, is_last_list: true }
    }

    /// A row that is nothing but a URL.
    pub fn push_url(&mut self, text: &[u8], place: Place) {
        match parse(text) {
            Ok(url) => {
                let job = Job::new(self.next_index, url);
                self.add(Ok(job));
            }
            Err(what) => self.refuse(text, &format!("{place} is no http(s) URL: {what}"), Extra::default()),
        }
    }

    /// A row of several columns.
    pub fn push(&mut self, found: Found, place: Place) {
        let Found { url: text, checksum, extra } = found;
        let (text, column) = (text.trim_ascii(), &place.about.options.url_column);
        if text.is_empty() {
            return self.refuse(text, &format!("{place} has no URL: its {column} is empty"), extra);
        }
        let url = match parse(text) {
            Ok(url) => url,
            Err(what) => return self.refuse(text, &format!("{place}: its {column} is no http(s) URL: {what}"), extra),
        };
        let job = Job { extra, ..Job::new(self.next_index, url) };
        let checksum = match checksum.map(<[u8]>::trim_ascii) {
            Ok(b"") => return self.add(Ok(job)),
            Ok(text) => String::from_utf8_lossy(text).parse::<Checksum>(),
            Err(what) => Err(format!("is {what}")),
        };
        self.add(match checksum {
            Ok(checksum) => Ok(Job { checksum: Some(Box::new(checksum)), ..job }),
            Err(what) => {
                let error = FetchError::new(ErrorKind::Checksum, format!("{place}: the checksum {what}"));
                Err(Box::new(Record::of(&job, Outcome::Failed(Failed::new(&error, 0, None)))))
            }
        });
    }

    /// A row whose URL cannot be told. `text`: what stands where it should be.
    pub fn refuse(&mut self, text: &[u8], message: &str, extra: Extra) {
        let text = String::from_utf8_lossy(&text[..text.len().min(4 * SHOWN)]);
        let url = escaped(&redacted_text(&text).chars().take(SHOWN).collect::<String>()).into_owned();
        let outcome = Outcome::Failed(Failed::new(&FetchError::new(ErrorKind::BadUrl, message), 0, None));
        self.add(Err(Box::new(Record { index: self.next_index, url, url_hash: None, outcome, extra })));
    }

    fn add(&mut self, mut row: Row) {
        let extra = row.as_mut().map_or_else(|record| &mut record.extra, |job| &mut job.extra);
        let size = extra.size();
        if size >= LIGHT {
            extra.charge_to(&self.weights, size);
            self.batch_weight += size;
        }
        self.next_index += 1;
        self.batch.push(row);
    }

    /// How many have not been handed over, and what they weigh.
    pub const fn waiting(&self) -> (usize, usize) {
        (self.batch.len(), self.batch_weight)
    }

    /// The list that is read has so many rows, of which none has come yet.
    pub fn expect(&self, count: u64) {
        if self.is_last_list {
            self.reading.know(self.next_index + count);
        }
    }

    /// Hands over what has gathered.
    pub fn send(&mut self) -> Result<(), Ended> {
        if self.batch.is_empty() {
            return Ok(());
        }
        self.reading.read(self.next_index);
        // Thousands of rows are held before they are fetched. What was read before these is fetched without them.
        self.weights.wait_until_at_most(self.most.saturating_add(std::mem::take(&mut self.batch_weight)));
        self.sender.blocking_send(Ok(std::mem::take(&mut self.batch))).map_err(|_| Ended::Unwanted)
    }

    /// There is no going on; whatever was read before counts.
    pub fn fail(mut self, error: RunError) {
        let _ = self.send().map(|()| self.sender.blocking_send(Err(error)));
    }

    /// All lists have been read.
    pub fn end(self) {
        self.reading.know(self.next_index);
    }
}

/// What can be sent: the HTTP library keeps URLs of so many bytes, servers stop at 8 to 64 KB.
pub const LONGEST_URL: usize = 65_534;

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
    use std::time::Duration;

    use super::*;

    #[test]
    fn large_rows_wait_until_those_before_them_are_done_with() {
        const LARGE: usize = 1 << 20;
        let (sender, mut receiver) = mpsc::channel(1000);
        let reading = std::thread::spawn(move || {
            let options = Options::default();
            let about = About { name: "list", options: &options };
            let mut rows = Rows::new(sender, Arc::default());
            for number in 0..2 * MOST / LARGE {
                let extra = Extra::new(vec![("c".into(), "x".repeat(LARGE).into())]);
                let url = format!("http://a.example/{number}");
                rows.push(Found { url: url.as_bytes(), checksum: Ok(b""), extra }, about.row(1));
                assert!(rows.send().is_ok());
            }
        });
        let mut held = Vec::new();
        while held.len() < MOST / LARGE {
            held.push(receiver.blocking_recv().expect("a batch"));
        }
        std::thread::sleep(Duration::from_millis(50));
        assert!(receiver.try_recv().is_err(), "no more than there is room for");
        held.truncate(MOST / LARGE / 2);
        while receiver.blocking_recv().is_some() {}
        reading.join().expect("all have been handed over");
    }
}
