//! The two types of errors: those that end the run and those that end one row.
//!
//! A [`RunError`] ends the run (exit status 3): the list cannot be read, or the output cannot be written. A [`FetchError`]
//! ends one row: it becomes the record of that row and affects no other. An error of another crate is classified as an
//! [`ErrorKind`] once, where it enters this program. Decisions and counts depend on the kind and never on the text.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::record::Seen;
use crate::util::redact::escaped;

/// Any error, as the source of a [`FetchError`].
pub type BoxError = Box<dyn Error + Send + Sync>;

/// Why a row failed. The names are part of the program's interface (`error` in a record).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ErrorKind {
    /// The line is no URL that is fetched: `http`, `https`, `data`, `file` with `--file-urls`, and those of
    /// object stores with `--store-urls`.
    BadUrl,
    /// The host name has no address, or the look-up failed.
    Dns,
    /// The connection was refused, the host is unreachable, or the connection broke before the first byte of a response.
    Connect,
    /// The TLS handshake failed, for instance on the certificate.
    Tls,
    /// Connecting or the whole attempt took longer than its timeout.
    Timeout,
    /// The connection is open, but no byte arrived within the stall timeout.
    Stalled,
    /// The body ended before its announced length.
    CutShort,
    /// The server answered with a status other than success.
    HttpStatus(u16),
    /// Too many redirects, or a redirect to a URL that fetchimg does not fetch.
    Redirect,
    /// The address is not public (`--public-only`).
    ForbiddenAddress,
    /// The body is not an image.
    NotAnImage,
    /// The image has a format, a size in pixels or an aspect ratio that the options exclude (`--accept` and others).
    NotAccepted,
    /// The body begins like an image, but is damaged (`--verify`).
    CorruptImage,
    /// The image is smaller than `--min-width`, `--min-height` or `--min-bytes`.
    TooSmall,
    /// The body does not have the checksum that the list gives (`--checksum-column`).
    Checksum,
    /// The body is larger than `--max-bytes`.
    TooLarge,
    /// The response is not valid HTTP.
    Protocol,
    /// The image could not be stored.
    Disk,
    /// The run was interrupted while the row was in flight.
    Interrupted,
    /// A defect in fetchimg.
    Internal,
}

impl ErrorKind {
    /// The name in records and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BadUrl => "bad_url",
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Stalled => "stalled",
            Self::CutShort => "cut_short",
            Self::HttpStatus(_) => "http_status",
            Self::Redirect => "redirect",
            Self::ForbiddenAddress => "forbidden_address",
            Self::NotAnImage => "not_an_image",
            Self::NotAccepted => "not_accepted",
            Self::CorruptImage => "corrupt_image",
            Self::TooSmall => "too_small",
            Self::Checksum => "checksum",
            Self::TooLarge => "too_large",
            Self::Protocol => "protocol",
            Self::Disk => "disk",
            Self::Interrupted => "interrupted",
            Self::Internal => "internal",
        }
    }

    /// The status of the response, if the error is about it.
    #[must_use]
    pub const fn http_status(self) -> Option<u16> {
        match self {
            Self::HttpStatus(code) => Some(code),
            _ => None,
        }
    }

    /// The kind with this name in a record; `http_status` is needed for the kind of that name.
    #[must_use]
    pub fn by_name(name: &str, http_status: Option<u16>) -> Option<Self> {
        if name == "http_status" {
            return http_status.map(Self::HttpStatus);
        }
        Self::WITHOUT_STATUS.iter().copied().find(|kind| kind.name() == name)
    }

    /// Every kind but [`ErrorKind::HttpStatus`].
    pub const WITHOUT_STATUS: [Self; 19] = [
        Self::BadUrl,
        Self::Dns,
        Self::Connect,
        Self::Tls,
        Self::Timeout,
        Self::Stalled,
        Self::CutShort,
        Self::Redirect,
        Self::ForbiddenAddress,
        Self::NotAnImage,
        Self::NotAccepted,
        Self::CorruptImage,
        Self::TooSmall,
        Self::Checksum,
        Self::TooLarge,
        Self::Protocol,
        Self::Disk,
        Self::Interrupted,
        Self::Internal,
    ];

    /// Whether another attempt may succeed.
    #[must_use]
    pub const fn retryable(self) -> bool {
        match self {
            Self::Dns | Self::Connect | Self::Timeout | Self::Stalled | Self::CutShort => true,
            // 202 Accepted (the image is being made), 408 Request Timeout, 425 Too Early, 429 Too Many Requests and the
            // server errors that may be temporary, with those that Cloudflare sends when it cannot reach the server
            // behind it. 501 and 505 are not: a server does not gain a missing feature within a run.
            Self::HttpStatus(code) => {
                matches!(code, 202 | 408 | 425 | 429 | 500 | 502 | 503 | 504 | 520..=524 | 527 | 530)
            }
            Self::BadUrl
            | Self::Tls
            | Self::Redirect
            | Self::ForbiddenAddress
            | Self::NotAnImage
            | Self::NotAccepted
            | Self::CorruptImage
            | Self::TooSmall
            | Self::Checksum
            | Self::TooLarge
            | Self::Protocol
            | Self::Disk
            | Self::Interrupted
            | Self::Internal => false,
        }
    }

    /// What the user can do about a failure of this kind with this message, if there is something.
    #[must_use]
    pub fn advice_on(self, message: &str) -> Option<&'static str> {
        if self == Self::TooLarge && message.contains(TOO_LARGE_TO_DECODE) {
            return Some(
                "without --resize, --encode, --phash and --verify decode it is saved as it came; --max-pixels refuses such images",
            );
        }
        // Such a message says by itself what can be done.
        if message.contains(THE_STORE) { None } else { self.advice() }
    }

    /// The same for many rows, of which this is the message of one.
    #[must_use]
    pub fn advice_on_many(self, message: &str) -> Option<&'static str> {
        if matches!(self, Self::HttpStatus(401 | 403)) && message.contains(THE_STORE) {
            return Some(
                "stores are asked with the credentials of the environment, such as AWS_PROFILE and \
                 GOOGLE_APPLICATION_CREDENTIALS; the messages say what is wrong with them",
            );
        }
        self.advice_on(message)
    }

    /// What the user can do about it, if there is something.
    #[must_use]
    pub const fn advice(self) -> Option<&'static str> {
        Some(match self {
            Self::Dns => "check the host name and the network, or give an address with --resolve",
            Self::Tls => "--cacert FILE trusts another authority, -k goes without a check",
            Self::Timeout => "--connect-timeout and --timeout allow more time",
            Self::Stalled => "--stall-timeout waits longer",
            Self::HttpStatus(401) => "give credentials with -u, --netrc or -H",
            Self::HttpStatus(407) => "the proxy wants credentials: --proxy http://USER:PASSWORD@HOST:PORT",
            Self::HttpStatus(403) => {
                "if the messages do not say why, the site may want a referer (-e), a cookie (-b) or credentials (-u)"
            }
            Self::HttpStatus(429) => "the server wants less at once: lower --per-host",
            Self::NotAnImage => "--accept any saves whatever comes",
            Self::NotAccepted => "--accept names the formats that are wanted",
            Self::CorruptImage => "--verify none saves it as it came",
            Self::TooLarge => "--max-bytes allows larger files",
            Self::Internal => "this is a defect in fetchimg, please report it",
            _ => return None,
        })
    }
}

/// In the message of an image that is [`ErrorKind::TooLarge`] because of its pixels, which take too much memory, and not
/// because of the bytes of its file.
pub const TOO_LARGE_TO_DECODE: &str = "the image is too large to be decoded";

/// In the message of a row whose object was not had from its store, before the reason.
pub const THE_STORE: &str = "the store: ";

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HttpStatus(code) => write!(f, "http_status {code}"),
            other => f.write_str(other.name()),
        }
    }
}

/// Why one row has no image: a kind for decisions, a short clause, and the source error for the reader of the log.
#[derive(Debug)]
pub struct FetchError {
    kind: ErrorKind,
    message: String,
    source: Option<BoxError>,
    retry_after: Option<Duration>,
    may_pass: bool,
    ends_run: bool,
    /// What was seen of the image, if the options exclude it.
    refused: Option<Box<Seen>>,
}

impl FetchError {
    /// An error of this kind, with a message of one clause.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let may_pass = kind.retryable();
        Self {
            kind,
            message: message.into(),
            source: None,
            retry_after: None,
            may_pass,
            ends_run: false,
            refused: None,
        }
    }

    /// Notes that this is no failure: the options exclude the image, of which this was seen.
    #[must_use]
    pub fn by_wish(mut self, seen: Seen) -> Self {
        self.refused = Some(Box::new(seen));
        self
    }

    /// Adds the length in bytes that was announced for an image that the options exclude by its size in pixels. That of one
    /// whose format decided is left out: only an image that was read to its end has a length and no size in pixels.
    #[must_use]
    pub fn of_length(mut self, announced: Option<u64>) -> Self {
        if let Some(seen) = self.refused.as_deref_mut().filter(|seen| seen.measures.width.is_some()) {
            seen.bytes = seen.bytes.or(announced);
        }
        self
    }

    /// What was seen of the image, if this is no failure, but the options exclude it.
    #[must_use]
    pub fn refused(&self) -> Option<Seen> {
        self.refused.as_deref().copied()
    }

    /// Sets the source error.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Puts a context before the message, with a colon between them.
    #[must_use]
    pub fn with_context(mut self, context: &str) -> Self {
        self.message = format!("{context}: {}", self.message);
        self
    }

    /// Sets the wait that the server asked for in `Retry-After` (RFC 9110, section 10.2.3).
    #[must_use]
    pub fn with_retry_after(mut self, retry_after: Option<Duration>) -> Self {
        self.retry_after = retry_after;
        self
    }

    /// Notes that another attempt may succeed, though the kind alone does not say so: the server asks to come back.
    #[must_use]
    pub fn that_may_pass(mut self, may_pass: bool) -> Self {
        self.may_pass |= may_pass;
        self
    }

    /// Whether another attempt may succeed.
    #[must_use]
    pub const fn retryable(&self) -> bool {
        self.may_pass
    }

    /// A storage error. One that every later row would meet as well also ends the run: a full disk, or an output folder
    /// that is no longer `usable`.
    pub fn disk(what: impl Into<String>, source: io::Error, usable: bool) -> Self {
        let is_full = matches!(
            source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::ReadOnlyFilesystem
        );
        let ends_run = is_full || !usable;
        Self { ends_run, ..Self::new(ErrorKind::Disk, what).caused_by(source) }
    }

    /// The kind of the error.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The wait that the server asked for in `Retry-After`, if it did.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Whether every later row would fail with the same error (a full disk, a folder that was removed).
    #[must_use]
    pub const fn ends_run(&self) -> bool {
        self.ends_run
    }
}

impl fmt::Display for FetchError {
    /// The message and, after colons, each source error whose text is not already part of the text before it. Texts may come
    /// from outside, so their control characters are escaped here.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escaped(&self.message))?;
        let mut shown = self.message.clone();
        let mut cause = self.source();
        while let Some(error) = cause {
            let text = error.to_string();
            if !shown.contains(&text) {
                write!(f, ": {}", escaped(&text))?;
                shown = text;
            }
            cause = error.source();
        }
        Ok(())
    }
}

impl Error for FetchError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|source| &**source as _)
    }
}

/// Why the run could not start or could not go on (exit status 3).
#[derive(Debug)]
pub enum RunError {
    /// A list cannot be opened or read to its end.
    List {
        /// The list as the user named it.
        name: String,
        /// What is wrong with it.
        source: io::Error,
    },
    /// A list can be read, but is not a list of URLs.
    NotAList {
        /// The list as the user named it.
        name: String,
        /// What it is instead, and what to do.
        what: String,
    },
    /// A list has no column of a name that the command line asks for.
    NoColumn {
        /// The list as the user named it.
        name: String,
        /// Which column it lacks, and which it has, as the end of a sentence about the list.
        what: String,
    },
    /// The output folder, the journal, the manifest or a report cannot be created or written.
    Output {
        /// The file or folder.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// There is no journal of this output folder, so nothing is known of its images (`--status`).
    NoJournal(PathBuf),
    /// The journal cannot be read.
    Journal {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// Another run is working in the same output folder.
    Busy(PathBuf),
    /// An image could not be stored, for a reason that applies to every later image too.
    Disk {
        /// The output folder.
        folder: PathBuf,
        /// The error of the first image that could not be stored.
        message: String,
    },
    /// The reader of standard output has gone away, and wants no more images.
    Closed,
    /// The HTTP client cannot be built from the options (certificates, proxy).
    Client(String),
    /// The system refuses what the program needs (threads, signals).
    System(io::Error),
}

impl RunError {
    /// Whether a list is at fault: the same command meets the error again.
    #[must_use]
    pub const fn is_of_list(&self) -> bool {
        matches!(self, Self::List { .. } | Self::NotAList { .. } | Self::NoColumn { .. })
    }
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::List { name, source } => write!(f, "cannot read the list {}: {source}", escaped(name)),
            Self::NotAList { name, what } => write!(f, "{} is no list of URLs: {what}", escaped(name)),
            Self::NoColumn { name, what } => write!(f, "{} {what}", escaped(name)),
            Self::Output { path, source } => {
                write!(f, "cannot write {}: {source}", escaped(&path.display().to_string()))
            }
            Self::NoJournal(path) => write!(
                f,
                "there is no journal of {}: no run has written there, or another folder is meant; name it with -o",
                escaped(&path.display().to_string())
            ),
            Self::Journal { path, source } => {
                write!(f, "cannot read {}: {source}", escaped(&path.display().to_string()))
            }
            Self::Busy(path) => write!(
                f,
                "another fetchimg is working in {}; wait for it or choose another folder with -o",
                escaped(&path.display().to_string())
            ),
            Self::Disk { folder, message } => write!(
                f,
                "stopped, because images cannot be stored in {}: {message}; when that is mended, the same command goes on",
                escaped(&folder.display().to_string())
            ),
            Self::Closed => f.write_str("the reader of standard output has gone away"),
            Self::Client(message) => write!(f, "cannot set up HTTP: {message}"),
            Self::System(source) => write!(f, "the system refused: {source}"),
        }
    }
}

impl Error for RunError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_shows_each_source_once_and_escaped() {
        let inner = io::Error::other("refused\u{1b}[31m");
        let error = FetchError::new(ErrorKind::Connect, "no connection").caused_by(inner);
        assert_eq!(error.to_string(), "no connection: refused\\u{1b}[31m");
        let repeated =
            FetchError::new(ErrorKind::Connect, "no connection: refused").caused_by(io::Error::other("refused"));
        assert_eq!(repeated.to_string(), "no connection: refused");
    }

    #[test]
    fn only_errors_that_may_be_temporary_are_retried() {
        let codes = (100..600).filter(|code| ErrorKind::HttpStatus(*code).retryable()).collect::<Vec<_>>();
        assert_eq!(codes, [202, 408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 527, 530]);
        assert!(ErrorKind::Dns.retryable() && ErrorKind::CutShort.retryable() && ErrorKind::Stalled.retryable());
        assert!(!ErrorKind::Tls.retryable() && !ErrorKind::NotAnImage.retryable() && !ErrorKind::BadUrl.retryable());
        let forbidden = || FetchError::new(ErrorKind::HttpStatus(403), "403 Forbidden");
        assert!(!forbidden().retryable() && forbidden().that_may_pass(true).retryable());
        assert!(FetchError::new(ErrorKind::Dns, "").that_may_pass(false).retryable());
    }

    #[test]
    fn a_full_disk_ends_the_run_and_a_long_name_does_not() {
        assert!(FetchError::disk("x", io::ErrorKind::StorageFull.into(), true).ends_run());
        assert!(FetchError::disk("x", io::ErrorKind::NotFound.into(), false).ends_run());
        assert!(!FetchError::disk("x", io::ErrorKind::InvalidFilename.into(), true).ends_run());
    }
}
