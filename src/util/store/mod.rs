//! Object stores: S3 and what speaks its protocol, Google Cloud Storage, and Azure Blob Storage.
//!
//! | file | what it does |
//! |---|---|
//! | `client` | the requests, their repetition, and uploads in parts |
//! | `environment` | endpoints, regions and credentials, from variables and profiles |
//! | `failure` | what an error of a store means, in one sentence |
//! | `object_url` | the URL of an object as the row of a list has it |
//! | `reader` | an object as a file, of which only what is read is fetched |
//! | `request` | what is asked for an object, for a client that is not the one here |
//!
//! All calls but those of `request` block, and the requests run on threads of their own: sets are committed on threads for
//! blocking work, lists are read on a thread of their own, and a check of a set has no runtime at all.

#[cfg(feature = "object-store")]
mod client;
#[cfg(not(feature = "object-store"))]
#[path = "absent.rs"]
mod client;
#[cfg(feature = "object-store")]
mod environment;
#[cfg(feature = "object-store")]
mod failure;
pub mod object_url;
mod reader;
#[cfg(feature = "object-store")]
mod request;
#[cfg(not(feature = "object-store"))]
#[path = "absent_request.rs"]
mod request;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

pub use self::client::Store;
pub use self::reader::ObjectReader;
pub use self::request::{ObjectRequest, Requests};

/// Whether this build has clients for stores.
pub const IS_AVAILABLE: bool = cfg!(feature = "object-store");

/// What is said where it has none.
pub const IS_ABSENT: &str = "this fetchimg was built without the feature object-store";

/// The file with the certificates that the endpoint of S3 is trusted by, if the environment names one.
#[must_use]
pub fn ca_bundle() -> Option<PathBuf> {
    std::env::var_os("AWS_CA_BUNDLE").filter(|file| !file.is_empty()).map(PathBuf::from)
}

/// Why there is no request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestError {
    /// What is missing.
    pub sentence: String,
    /// Whether another attempt may succeed.
    pub may_pass: bool,
}

/// What an answer means that is not the object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// A clause.
    pub clause: String,
    /// Whether it is the credentials or the region of the environment that are wrong, whatever the status is.
    pub is_of_settings: bool,
}

/// Which protocol a store speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// That of S3.
    S3,
    /// That of Google Cloud Storage.
    Gs,
    /// That of Azure Blob Storage.
    Az,
}

impl Scheme {
    const ALL: [(&str, Self); 4] = [("s3", Self::S3), ("s3a", Self::S3), ("gs", Self::Gs), ("az", Self::Az)];

    const fn name(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Gs => "gs",
            Self::Az => "az",
        }
    }
}

/// What became of an object that was to be created where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Creation {
    /// It was created.
    New,
    /// There is one. It may be that of an earlier attempt of this call, whose answer was lost.
    Exists,
    /// The store cannot do this.
    Unsupported,
}

/// The URL of a bucket, or of a prefix or an object in it. Its clones share one connection to the store, which is made when
/// it is needed.
#[derive(Clone)]
pub struct StoreUrl {
    scheme: Scheme,
    bucket: Arc<str>,
    /// Without slashes at its ends.
    path: Arc<str>,
    store: Arc<OnceLock<Store>>,
}

impl PartialEq for StoreUrl {
    fn eq(&self, other: &Self) -> bool {
        (self.scheme, &self.bucket, &self.path) == (other.scheme, &other.bucket, &other.path)
    }
}

impl Eq for StoreUrl {}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreUrl({self})")
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.name(), self.bucket)?;
        if self.path.is_empty() { Ok(()) } else { write!(f, "/{}", self.path) }
    }
}

impl StoreUrl {
    /// Parses a URL. `None`: it is none of an object store.
    ///
    /// # Errors
    /// A sentence that says why it names no place.
    #[must_use]
    pub fn parse(text: &str) -> Option<Result<Self, String>> {
        let (scheme, rest) = text.split_once("://")?;
        let (_, scheme) = Scheme::ALL.into_iter().find(|(name, _)| scheme.eq_ignore_ascii_case(name))?;
        let (bucket, path) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.contains(['@', ':']) {
            return Some(Err(
                "credentials and endpoints are not part of the URL; they are taken from variables such as \
                 AWS_ACCESS_KEY_ID and AWS_ENDPOINT_URL"
                    .to_owned(),
            ));
        }
        let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
        if bucket.is_empty() || !bucket.chars().all(is_plain) {
            return Some(Err(format!("it names no bucket; it is {}://BUCKET/PREFIX", scheme.name())));
        }
        let path = path.trim_matches('/');
        let is_odd = |part: &str| part.is_empty() || part == "." || part == "..";
        if path.chars().any(char::is_control) || (!path.is_empty() && path.split('/').any(is_odd)) {
            return Some(Err("its path has an empty part, a dot as a part, or a control character".to_owned()));
        }
        Some(Ok(Self { scheme, bucket: bucket.into(), path: path.into(), store: Arc::default() }))
    }

    /// The protocol.
    #[must_use]
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The bucket, or the container of Azure.
    #[must_use]
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// The prefix in the bucket, without slashes at its ends.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The prefix that an object is in, and its name there. `None`: it names no object, but a bucket.
    #[must_use]
    pub fn split_name(&self) -> Option<(Self, &str)> {
        let (prefix, name) = self.path.rsplit_once('/').unwrap_or(("", &self.path));
        (!name.is_empty()).then(|| (Self { path: prefix.into(), store: Arc::default(), ..self.clone() }, name))
    }

    /// The names of the objects right below this prefix that a pattern stands for, in order: `*` for any letters, `?` for one.
    /// A name without these is itself, whether there is such an object or not.
    ///
    /// # Errors
    /// When the objects cannot be listed, or none is called so ([`io::ErrorKind::NotFound`]).
    pub fn matching(&self, pattern: &str) -> io::Result<Vec<String>> {
        if !pattern.contains(['*', '?']) {
            return Ok(vec![pattern.to_owned()]);
        }
        let mut names = self.store()?.names()?;
        names.retain(|name| matches(pattern.as_bytes(), name.as_bytes()));
        names.sort();
        if names.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "no object is called so"));
        }
        Ok(names)
    }

    /// Lets all requests to the store end now, and all later ones fail.
    pub fn give_up(&self) {
        if let Some(store) = self.store.get() {
            store.give_up();
        }
    }

    /// The store. It is asked nothing yet.
    ///
    /// # Errors
    /// When the configuration of the environment is not complete or contradicts itself.
    pub fn store(&self) -> io::Result<&Store> {
        if let Some(store) = self.store.get() {
            return Ok(store);
        }
        let opened = Store::connect(self)?;
        Ok(self.store.get_or_init(|| opened))
    }
}

/// Whether a pattern stands for a name.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    // Where the last star is in the pattern, and how much of the name it stands for at least.
    let (mut at, mut read, mut star) = (0, 0, None);
    while read < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, read));
                at += 1;
            }
            Some(letter) if *letter == b'?' || *letter == name[read] => (at, read) = (at + 1, read + 1),
            _ => match star {
                Some((place, taken)) => {
                    star = Some((place, taken + 1));
                    (at, read) = (place + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|letter| *letter == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_stand_for_names() {
        for (pattern, name, expected) in [
            ("part-*.parquet", "part-00001.parquet", true),
            ("part-*.parquet", "part-.parquet", true),
            ("part-*.parquet", "part-1.parquet.crc", false),
            ("part-?.csv", "part-1.csv", true),
            ("part-?.csv", "part-10.csv", false),
            ("*a*b*", "xaxxbabx", true),
            ("*ab", "aab", true),
            ("*", "", true),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn urls_name_a_bucket_and_a_prefix() {
        let parsed = |text| StoreUrl::parse(text).map(|url| url.map(|url| url.to_string()).map_err(|_| ()));
        for (text, expected) in [
            ("s3://bucket", Some(Ok("s3://bucket"))),
            ("S3://bucket/", Some(Ok("s3://bucket"))),
            ("s3a://bucket/a/b/", Some(Ok("s3://bucket/a/b"))),
            ("gs://b.c/a", Some(Ok("gs://b.c/a"))),
            ("az://container/a", Some(Ok("az://container/a"))),
            ("s3://", Some(Err(()))),
            ("s3:///a", Some(Err(()))),
            ("s3://key:secret@bucket/a", Some(Err(()))),
            ("s3://b/a//b", Some(Err(()))),
            ("s3://b/../b", Some(Err(()))),
            ("http://b/a", None),
            ("s3/a", None),
        ] {
            assert_eq!(parsed(text), expected.map(|url| url.map(str::to_owned)), "{text}");
        }
        let url = |text| StoreUrl::parse(text).expect("a URL").expect("a place");
        let object = url("s3://b/a/c.csv");
        assert_eq!(object.split_name(), Some((url("s3://b/a"), "c.csv")));
        assert_eq!(url("s3://b/c.csv").split_name(), Some((url("s3://b"), "c.csv")));
        assert_eq!(url("s3://b/").split_name(), None);
    }
}
