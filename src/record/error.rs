//! The two kinds of failure.
//!
//! [`RunError`] ends the run (exit status 3): there is no list to read or no place to write. [`FetchError`] ends one
//! row: it becomes that row's record and nothing else is disturbed. Errors of other libraries are sorted into a
//! [`ErrorKind`] once, at the wall where they enter; the program acts on kinds and counts kinds, never on words.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::util::redact::escaped;

/// Any error, kept as the cause of one of ours.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// Why a row failed. The names are part of the contract (`error` in a record).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ErrorKind {
    /// The line is no http(s) URL.
    BadUrl,
    /// The host name has no address, or the lookup failed.
    Dns,
    /// No connection: refused, unreachable, or broken before the first byte of an answer.
    Connect,
    /// The TLS handshake failed, for instance on the certificate.
    Tls,
    /// A deadline for connecting or for the whole attempt passed.
    Timeout,
    /// The connection is open but nothing came for too long.
    Stalled,
    /// The body ended before its announced end.
    CutShort,
    /// The server answered with a status that is no success.
    HttpStatus(u16),
    /// Too many redirects, or one that leads nowhere fetchimg goes.
    Redirect,
    /// The address is not a public one (`--public-only`).
    ForbiddenAddress,
    /// The body is something else than an image.
    NotAnImage,
    /// The image is none that was asked for: its format (`--accept`), its size in pixels or its proportions.
    NotAccepted,
    /// The bytes begin as an image and are none to the end (`--verify`).
    CorruptImage,
    /// The image is smaller than `--min-width`, `--min-height` or `--min-bytes`.
    TooSmall,
    /// The body does not hash to what the list says (`--checksum-column`).
    Checksum,
    /// The body is larger than `--max-bytes`.
    TooLarge,
    /// What came is no valid HTTP.
    Protocol,
    /// The image could not be stored.
    Disk,
    /// The run was interrupted while this row was under way.
    Interrupted,
    /// A defect in fetchimg.
    Internal,
}

impl ErrorKind {
    /// The name in records and reports, as the contract lists it.
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

    /// The kind by its name in a record, with the status that goes with it.
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

    /// Whether another attempt may end differently. The list is the contract's.
    #[must_use]
    pub const fn retryable(self) -> bool {
        match self {
            Self::Dns | Self::Connect | Self::Timeout | Self::Stalled | Self::CutShort => true,
            // 408 Request Timeout, 425 Too Early, 429 Too Many Requests and the server errors that pass.
            // 501 and 505 do not: the server will never learn what it lacks.
            Self::HttpStatus(code) => matches!(code, 408 | 425 | 429 | 500 | 502 | 503 | 504),
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

    /// What the user can do about it, where there is something.
    #[must_use]
    pub const fn advice(self) -> Option<&'static str> {
        Some(match self {
            Self::Dns => "check the host name and the network, or give an address with --resolve",
            Self::Tls => "--cacert FILE trusts another authority, -k goes without a check",
            Self::Timeout => "--connect-timeout and --timeout allow more time",
            Self::Stalled => "--stall-timeout waits longer",
            Self::HttpStatus(401) => "give credentials with -u, --netrc or -H",
            Self::HttpStatus(407) => "the proxy wants credentials: --proxy http://USER:PASSWORD@HOST:PORT",
            Self::HttpStatus(403) => "the site may want a referer (-e), a cookie (-b) or credentials (-u)",
            Self::HttpStatus(429) => "the server wants less at once: lower --per-host",
            Self::NotAnImage => "--accept any saves whatever comes",
            Self::NotAccepted => "--accept names the formats that are wanted",
            Self::CorruptImage => "--verify none saves it as it came",
            Self::TooLarge => "--max-bytes allows more",
            Self::Internal => "this is a defect in fetchimg, please report it",
            _ => return None,
        })
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HttpStatus(code) => write!(f, "http_status {code}"),
            other => f.write_str(other.name()),
        }
    }
}

/// Why one row has no image: a kind to act on, a short clause, and the cause for the person who must understand.
#[derive(Debug)]
pub struct FetchError {
    kind: ErrorKind,
    message: String,
    source: Option<BoxError>,
    retry_after: Option<Duration>,
    elsewhere: bool,
    ends_run: bool,
}

impl FetchError {
    /// An error of ours, said in one clause.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None, retry_after: None, elsewhere: false, ends_run: false }
    }

    /// The same with the foreign error behind it.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The same, said to have happened in these circumstances.
    #[must_use]
    pub fn within(mut self, circumstances: &str) -> Self {
        self.message = format!("{circumstances}: {}", self.message);
        self
    }

    /// The server asked not to come back before so long (RFC 9110, section 10.2.3).
    #[must_use]
    pub fn retry_after(mut self, wait: Option<Duration>) -> Self {
        self.retry_after = wait;
        self
    }

    /// The same; `elsewhere`: it came from another host than that of the list, to which a redirect has led.
    #[must_use]
    pub fn from_elsewhere(mut self, elsewhere: bool) -> Self {
        self.elsewhere |= elsewhere;
        self
    }

    /// Whether it says nothing about the host of the list.
    #[must_use]
    pub const fn is_from_elsewhere(&self) -> bool {
        self.elsewhere
    }

    /// A storage error. Those that would meet every later row as well also end the run: a full disk, or an output
    /// folder that is no longer `usable`.
    pub fn disk(what: impl Into<String>, source: io::Error, usable: bool) -> Self {
        let is_full = matches!(
            source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::ReadOnlyFilesystem
        );
        let ends_run = is_full || !usable;
        Self { ends_run, ..Self::new(ErrorKind::Disk, what).caused_by(source) }
    }

    /// What to act on and to count.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// How long the server asked us to stay away, if it did.
    #[must_use]
    pub const fn asked_wait(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Whether going on would only repeat this error (a full disk, a folder that is gone).
    #[must_use]
    pub const fn ends_run(&self) -> bool {
        self.ends_run
    }
}

impl fmt::Display for FetchError {
    /// The clause and, after colons, what each cause adds to it. Causes speak of the outside world, so control
    /// characters in them are made escaped here, once.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escaped(&self.message))?;
        let mut said = self.message.clone();
        let mut cause = self.source();
        while let Some(error) = cause {
            let text = error.to_string();
            if !said.contains(&text) {
                write!(f, ": {}", escaped(&text))?;
                said = text;
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
    /// A list is readable, but no list of URLs.
    NotAList {
        /// The list as the user named it.
        name: String,
        /// What it is instead, and what to do.
        what: String,
    },
    /// The output folder, the journal, the manifest or a report cannot be made or written.
    Output {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another run works in the same output folder.
    Busy(PathBuf),
    /// An image could not be stored for a reason that meets every later image too.
    Disk {
        /// The output folder.
        folder: PathBuf,
        /// What happened to the first image that met it.
        message: String,
    },
    /// The HTTP client cannot be built from the options (certificates, proxy).
    Client(String),
    /// The system refuses what the program needs (threads, signals).
    System(io::Error),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::List { name, source } => write!(f, "cannot read the list {}: {source}", escaped(name)),
            Self::NotAList { name, what } => write!(f, "{} is no list of URLs: {what}", escaped(name)),
            Self::Output { path, source } => {
                write!(f, "cannot write {}: {source}", escaped(&path.display().to_string()))
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
    fn an_error_shows_its_causes_once_and_harmless() {
        let inner = io::Error::other("refused\u{1b}[31m");
        let error = FetchError::new(ErrorKind::Connect, "no connection").caused_by(inner);
        assert_eq!(error.to_string(), "no connection: refused\\u{1b}[31m");
        let repeated =
            FetchError::new(ErrorKind::Connect, "no connection: refused").caused_by(io::Error::other("refused"));
        assert_eq!(repeated.to_string(), "no connection: refused");
    }

    #[test]
    fn only_what_may_pass_is_retried() {
        let codes = (100..600).filter(|code| ErrorKind::HttpStatus(*code).retryable()).collect::<Vec<_>>();
        assert_eq!(codes, [408, 425, 429, 500, 502, 503, 504]);
        assert!(ErrorKind::Dns.retryable() && ErrorKind::CutShort.retryable() && ErrorKind::Stalled.retryable());
        assert!(!ErrorKind::Tls.retryable() && !ErrorKind::NotAnImage.retryable() && !ErrorKind::BadUrl.retryable());
    }

    #[test]
    fn a_full_disk_ends_the_run_and_a_long_name_does_not() {
        assert!(FetchError::disk("x", io::ErrorKind::StorageFull.into(), true).ends_run());
        assert!(FetchError::disk("x", io::ErrorKind::NotFound.into(), false).ends_run());
        assert!(!FetchError::disk("x", io::ErrorKind::InvalidFilename.into(), true).ends_run());
    }
}
