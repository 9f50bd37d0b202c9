//! Images that need no request: what `data:` URLs hold, and files of this machine (`--file-urls`).
//!
//! They are read like a body that comes from a server, and everything after it is the same. What goes wrong with a file
//! has the status with which a server would say it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;
use rustix::fs::OFlags;
use url::Url;

use super::partial::PartialBody;
use super::validate::BodyValidator;
use super::{Answer, AttemptState, Ended, Fetcher, Work, interrupted};
use crate::progress::DownloadGuard;
use crate::record::{ErrorKind, FetchError, Seen};
use crate::util::data_url;
use crate::util::redact::{redacted, shortened_data};

/// The number of bytes that are read at once.
const BLOCK_BYTES: usize = 64 * 1024;

/// The status of an image that was read without a request: that of the answer which browsers make of it.
const STATUS: u16 = 200;

/// Whether the image of this URL is read without a request.
pub(super) fn is_local(url: &Url) -> bool {
    matches!(url.scheme(), "data" | "file")
}

/// Where the bytes of an image come from.
struct LocalBody {
    content: Box<dyn Read + Send>,
    /// The number of bytes. That of a file may change while it is read.
    length: u64,
    media_type: Option<String>,
}

impl Fetcher {
    /// Reads, checks and stores the image of a `data:` or `file:` URL.
    ///
    /// # Errors
    /// As for an image that is fetched. The file is [`ErrorKind::HttpStatus`] 404 if there is no such regular file, and
    /// 403 if it may not be read.
    pub(super) async fn local(&self, work: &Work, state: &mut AttemptState) -> Result<Ended, FetchError> {
        // Each of them holds a body, and reads and writes without waiting for a network.
        let turn = self.remakes.acquire();
        let Ok(_turn) = self.unless_finishing(turn).await? else { return Err(interrupted()) };
        let url = &work.job.url;
        state.began = Some(Instant::now());
        state.attempts = 1;
        let download = self.counters.begin(url, 1);
        let mut from = self.open(url)?;
        state.first_byte = Some(Instant::now());
        let seen = Seen { bytes: Some(from.length), ..Seen::default() };
        if from.length > self.options.max_bytes {
            return Err(self.options.too_large(seen));
        }
        self.options.wanted.bounds.check_length(from.length).map_err(|error| error.by_wish(seen))?;
        let validation = BodyValidator::new(&self.options.wanted, work.job.checksum.as_deref());
        let body = self.sink.body(Some(from.length), None);
        let mut received = PartialBody { body, validation, validator: None, source: 0, total: None };
        if let Err(error) = self.read_body(&mut from, &mut received, state, &download).await {
            received.discard();
            return Err(error);
        }
        let final_url = shortened_data(&redacted(url)).into_owned();
        let answer = Answer { filename: None, content_type: from.media_type, status: STATUS, final_url };
        self.finish(work, state, received, answer).await
    }

    fn open(&self, url: &Url) -> Result<LocalBody, FetchError> {
        if data_url::is_data_url(url) {
            let data = data_url::decode(url).map_err(|clause| FetchError::new(ErrorKind::BadUrl, clause))?;
            let length = data.bytes.len() as u64;
            return Ok(LocalBody {
                content: Box::new(io::Cursor::new(data.bytes)),
                length,
                media_type: Some(data.media_type),
            });
        }
        // Lists have been held to this already; the jobs of a program that uses this library have not.
        if !self.options.file_urls {
            return Err(FetchError::new(ErrorKind::BadUrl, "file: URLs are read only with --file-urls"));
        }
        let (file, length) = open_file(url)?;
        Ok(LocalBody { content: Box::new(file), length, media_type: None })
    }

    /// Reads to the end like a body that is received.
    async fn read_body(
        &self,
        from: &mut LocalBody,
        received: &mut PartialBody<'_>,
        state: &mut AttemptState,
        download: &DownloadGuard<'_>,
    ) -> Result<(), FetchError> {
        let mut block = vec![0; BLOCK_BYTES];
        loop {
            let length = match from.content.read(&mut block) {
                Ok(0) => return Ok(()),
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    let clause = "the file cannot be read to its end";
                    return Err(FetchError::new(ErrorKind::CutShort, clause).caused_by(error));
                }
            };
            let total = received.body.length() + length as u64;
            if total > self.options.max_bytes {
                // The file has grown.
                return Err(self.options.too_large(Seen { bytes: Some(total), ..received.validation.seen() }));
            }
            let piece = Bytes::copy_from_slice(&block[..length]);
            let fed = received.validation.feed(&piece, self.options.chunk_size);
            fed.map_err(|error| error.of_length(Some(from.length)))?;
            received.body.write(&piece).map_err(|error| self.disk("cannot write", error))?;
            let new = state.high_water.reach(received.body.length());
            self.counters.bytes.fetch_add(new, Ordering::Relaxed);
            download.reach(received.body.length(), Some(from.length));
            // Nothing else here gives other rows a turn, and the end of the run a chance.
            tokio::task::yield_now().await;
        }
    }
}

/// Opens a regular file. Returns its length in bytes, too.
fn open_file(url: &Url) -> Result<(File, u64), FetchError> {
    let Ok(path) = url.to_file_path() else {
        return Err(FetchError::new(ErrorKind::BadUrl, "the file: URL names no file of this machine"));
    };
    // Opening a named pipe would wait for its writer.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let opened = opened.and_then(|file| Ok((file.metadata()?, file)));
    let (metadata, file) = opened.map_err(|error| {
        let (status, clause) = match error.kind() {
            io::ErrorKind::NotFound
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::InvalidFilename
            | io::ErrorKind::InvalidInput => (404, "there is no such file"),
            io::ErrorKind::PermissionDenied => (403, "the file may not be read"),
            _ => (500, "the file cannot be opened"),
        };
        FetchError::new(ErrorKind::HttpStatus(status), clause).caused_by(error)
    })?;
    if !metadata.is_file() {
        return Err(FetchError::new(ErrorKind::HttpStatus(404), "it is no regular file"));
    }
    Ok((file, metadata.len()))
}
