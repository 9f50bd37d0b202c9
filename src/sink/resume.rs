//! Part files: bodies that do not fit into memory, and what a run leaves unfinished for a later one to resume.
//!
//! The name of a part file identifies the body ([`Origin`]), where that is known. So there is nothing else to keep
//! consistent with the file when a run is killed.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use url::Url;

use super::body::SpillFile;
use crate::record::url_hash;
use crate::util::private_file::remove_if_there;

/// Age after which an unfinished body is removed.
const MAX_AGE: Duration = Duration::from_secs(7 * 86_400);

/// Hexadecimal digits of the URL's hash in the name of a part file. All 64 would leave too little of the name for the
/// validator.
pub(super) const HASH_DIGITS: usize = 32;

/// What identifies a body, so that a later run can resume it.
#[derive(Clone, Debug)]
pub struct Origin<'a> {
    /// Its URL in the list.
    pub url: &'a Url,
    /// A hash of where the answer came from, after redirects: a validator is valid there alone (RFC 9110, section 8.8.1).
    pub source: u64,
    /// The strong entity tag or date by which the server knows this version (RFC 9110, section 8.8).
    pub validator: Box<[u8]>,
    /// Its length in bytes, if that is known.
    pub total: Option<u64>,
}

/// A body that an earlier run has left unfinished.
#[derive(Debug)]
pub(super) struct Unfinished {
    pub(super) path: PathBuf,
    pub(super) length: u64,
    pub(super) source: u64,
    pub(super) validator: Box<[u8]>,
    pub(super) total: Option<u64>,
}

/// The folder of part files.
#[derive(Debug)]
pub struct SpillDir {
    path: PathBuf,
    /// The boot of the system by which part files of this run are trusted later. `None`: none is kept.
    boot: Option<String>,
    /// What earlier runs have left unfinished, by the start of the URL's hash.
    pub(super) unfinished: HashMap<String, Unfinished>,
    /// Part files that this run has made.
    made: AtomicU64,
}

impl SpillDir {
    /// Reads the names of what earlier runs have left in the folder, and removes what cannot be resumed. `boot`: see
    /// [`boot_id`](crate::util::boot_id); without it, nothing is resumed or kept.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn open(path: PathBuf, boot: Option<String>) -> io::Result<Self> {
        let unfinished = read_unfinished(&path, boot.as_deref())?;
        Ok(Self { path, boot, unfinished, made: AtomicU64::new(0) })
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path in the folder where nothing is, under a name that says nothing.
    pub(super) fn unused_path(&self) -> io::Result<PathBuf> {
        let path = self.path.join(format!("{:06}.part", self.made.fetch_add(1, Ordering::Relaxed)));
        remove_if_there(&path)?;
        Ok(path)
    }

    /// Makes a part file. With an origin its name says what a later run must know to resume it.
    pub(super) fn create(&self, origin: Option<&Origin>) -> io::Result<SpillFile> {
        let telling = origin.zip(self.boot.as_deref()).and_then(|(origin, boot)| telling_name(origin, boot));
        let is_kept = telling.is_some();
        let path = match telling {
            Some(name) => {
                let path = self.path.join(name);
                remove_if_there(&path)?;
                path
            }
            None => self.unused_path()?,
        };
        let file = OpenOptions::new().create_new(true).write(true).open(&path)?;
        Ok(SpillFile::new(file, path, is_kept))
    }
}

impl Unfinished {
    /// A run was killed when the body was complete and about to be published. Its last byte is requested again, which
    /// lets the server say whether the body is still the same.
    fn drop_last_byte_if_whole(&mut self) -> io::Result<()> {
        if self.total == Some(self.length) {
            self.length -= 1;
            OpenOptions::new().write(true).open(&self.path)?.set_len(self.length)?;
        }
        Ok(())
    }
}

/// The name of the part of a body: the hash of its URL, the boot in which it was written, its whole length, its source,
/// and its validator. `None` if that makes too long a name.
fn telling_name(origin: &Origin, boot: &str) -> Option<String> {
    let total = origin.total.map_or_else(|| "x".to_owned(), |total| total.to_string());
    let validator = URL_SAFE_NO_PAD.encode(&origin.validator);
    let (hash, source) = (url_hash(origin.url), origin.source);
    let name = format!("{}-{boot}-{total}-{source:016x}-{validator}.part", &hash[..HASH_DIGITS]);
    (name.len() <= 255).then_some(name)
}

/// Parses what [`telling_name`] made, if the body can be resumed: it was written since the system was started, because a
/// loss of power leaves holes, and not long ago.
fn parse_name(path: PathBuf, found: &fs::Metadata, boot: Option<&str>) -> Option<(String, Unfinished)> {
    let name = path.file_stem()?.to_str()?;
    let mut words = name.splitn(5, '-');
    let (hash, written_in, total) = (words.next()?, words.next()?, words.next()?);
    let (source, validator) = (u64::from_str_radix(words.next()?, 16).ok()?, words.next()?);
    let total = match total {
        "x" => None,
        digits => Some(digits.parse().ok()?),
    };
    let validator = URL_SAFE_NO_PAD.decode(validator).ok()?.into_boxed_slice();
    let age = SystemTime::now().duration_since(found.modified().ok()?).unwrap_or_default();
    let can_resume = boot == Some(written_in)
        && hash.len() == HASH_DIGITS
        && age < MAX_AGE
        && found.len() > 0
        && total.is_none_or(|total| found.len() <= total);
    let hash = hash.to_owned();
    can_resume.then_some((hash, Unfinished { length: found.len(), path, source, validator, total }))
}

/// The unfinished bodies of earlier runs. Those that cannot be resumed are removed; other files are left alone.
fn read_unfinished(parts: &Path, boot: Option<&str>) -> io::Result<HashMap<String, Unfinished>> {
    let mut unfinished = HashMap::new();
    for entry in fs::read_dir(parts)? {
        let path = entry?.path();
        let found = fs::symlink_metadata(&path)?;
        if !found.is_file() || path.extension().is_none_or(|extension| extension != "part") {
            continue;
        }
        match parse_name(path.clone(), &found, boot) {
            Some((hash, mut body)) if !unfinished.contains_key(&hash) => {
                body.drop_last_byte_if_whole()?;
                unfinished.insert(hash, body);
            }
            _ => fs::remove_file(path)?,
        }
    }
    Ok(unfinished)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use bytes::Bytes;

    use super::super::body::{MAX_IN_MEMORY, WRITE_BUFFER};
    use super::*;
    use crate::sink::Body;

    fn parts(dir: &SpillDir) -> usize {
        fs::read_dir(dir.path()).expect("a folder").count()
    }

    fn origin<'a>(url: &'a Url, validator: &str, total: u64) -> Origin<'a> {
        Origin { url, source: 7, validator: validator.as_bytes().into(), total: Some(total) }
    }

    #[test]
    fn an_unfinished_body_waits_for_the_next_run_of_the_same_boot() {
        let folder = tempfile::tempdir().expect("a folder");
        let open = |boot: &str| SpillDir::open(folder.path().to_owned(), Some(boot.into())).expect("open");
        let url = Url::parse("http://a.example/1.png").expect("a URL");
        let bytes = (0..=250).cycle().take(3 * MAX_IN_MEMORY).collect::<Vec<u8>>();
        let (first, rest) = bytes.split_at(WRITE_BUFFER + 7);
        for boot in ["0", "1"] {
            let dir = open("0");
            let total = bytes.len() as u64;
            let mut part = dir.body(Some(total), Some(origin(&url, "\"-tag/\"", total)));
            part.write(&Bytes::copy_from_slice(first)).expect("write");
            part.write(&Bytes::copy_from_slice(&rest[..1])).expect("write");
            drop(part);
            drop(dir);

            let dir = open(boot);
            let left = dir.unfinished(&url);
            if boot == "1" {
                assert!(left.is_none(), "power may have been lost in between");
                assert_eq!(parts(&dir), 0);
                continue;
            }
            let mut part = left.expect("the part of the run before");
            let known = part.origin().expect("its origin");
            assert_eq!((&*known.validator, known.source), (&b"\"-tag/\""[..], 7));
            assert_eq!(known.total, Some(bytes.len() as u64));
            assert_eq!(part.length(), first.len() as u64 + 1);
            let mut stored = Vec::new();
            let taken = part.each_block(|block| {
                stored.extend_from_slice(block);
                true
            });
            assert!(taken.expect("read"));
            assert_eq!(stored, bytes[..=first.len()]);
            assert!(!part.each_block(|_| false).expect("read"), "it ends when nothing more is wanted");
            part.write(&Bytes::copy_from_slice(&rest[1..])).expect("write");
            part.complete();
            let mut stored = Vec::new();
            part.reader().and_then(|mut reader| reader.read_to_end(&mut stored)).expect("read");
            assert!(stored == bytes);
            drop(part.into_spill_file().expect("a part file"));
            assert_eq!(parts(&dir), 0);
        }
    }

    #[test]
    fn a_body_that_was_all_in_memory_waits_too_if_it_is_worth_it() {
        fn begin<'a>(dir: &'a SpillDir, url: &'a Url, first: &[u8], total: u64) -> Body<'a> {
            let mut part = dir.body(Some(total), Some(origin(url, "\"a\"", total)));
            first.chunks(20_000).for_each(|piece| part.write(&Bytes::copy_from_slice(piece)).expect("write"));
            assert!(part.file.is_none());
            part
        }

        let folder = tempfile::tempdir().expect("a folder");
        let open = || SpillDir::open(folder.path().to_owned(), Some("0".into())).expect("open");
        let url = Url::parse("http://a.example/1.png").expect("a URL");
        let bytes = (0..=250).cycle().take(MAX_IN_MEMORY).collect::<Vec<u8>>();
        let total = bytes.len() as u64;
        // A part, less than is worth it, and what ends with so much that its beginning is less.
        for (length, total, kept) in [
            (MAX_IN_MEMORY - 1, total, Some(MAX_IN_MEMORY - 1)),
            (WRITE_BUFFER, total, Some(WRITE_BUFFER)),
            (WRITE_BUFFER - 1, total, None),
            (WRITE_BUFFER + 1, WRITE_BUFFER as u64 + 1, None),
        ] {
            let dir = open();
            drop(begin(&dir, &url, &bytes[..length], total));
            assert_eq!(parts(&dir), usize::from(kept.is_some()), "{length}");
            drop(dir);
            let dir = open();
            let left = dir.unfinished(&url).map(|mut left| {
                let mut stored = Vec::new();
                left.reader().and_then(|mut whole| whole.read_to_end(&mut stored)).expect("read");
                left.discard();
                stored
            });
            assert!(left == kept.map(|kept| bytes[..kept].to_vec()), "{length}");
            assert_eq!(parts(&dir), 0, "{length}");

            begin(&dir, &url, &bytes[..length], total).discard();
            let mut complete = begin(&dir, &url, &bytes[..length], total);
            complete.complete();
            drop(complete);
            assert_eq!(parts(&dir), 0, "{length}");
        }
    }

    #[test]
    fn what_is_given_up_or_cannot_be_gone_on_with_does_not_wait() {
        fn begin<'a>(dir: &'a SpillDir, origin: Option<Origin<'a>>, drop_it: impl FnOnce(Body<'a>)) {
            let mut part = dir.body(Some(10 * MAX_IN_MEMORY as u64), origin);
            part.write(&vec![1; WRITE_BUFFER].into()).expect("write");
            part.write(&Bytes::from_static(b"2")).expect("write");
            drop_it(part);
        }
        let folder = tempfile::tempdir().expect("a folder");
        let open = || SpillDir::open(folder.path().to_owned(), Some("0".into())).expect("open");
        let url = Url::parse("http://a.example/1.png").expect("a URL");
        let total = 10 * MAX_IN_MEMORY as u64;
        let dir = open();
        begin(&dir, Some(origin(&url, "\"a\"", total)), Body::discard);
        begin(&dir, None, drop);
        begin(&dir, Some(origin(&url, &"long".repeat(100), total)), drop);
        assert_eq!(parts(&dir), 0);
        begin(&dir, Some(origin(&url, "\"a\"", total)), drop);
        assert_eq!(parts(&dir), 1);
        drop(dir);

        // A week later.
        let path = fs::read_dir(folder.path()).expect("a folder").next().expect("a part");
        let path = path.expect("an entry").path();
        let part = OpenOptions::new().append(true).open(&path).expect("open");
        part.set_modified(SystemTime::now() - MAX_AGE).expect("a time");
        let dir = open();
        assert!(dir.unfinished(&url).is_none());
        assert_eq!(parts(&dir), 0);

        // Longer than it should be.
        begin(&dir, Some(origin(&url, "\"a\"", WRITE_BUFFER as u64)), drop);
        drop(dir);
        assert!(open().unfinished(&url).is_none());
    }

    #[test]
    fn a_body_that_was_about_to_get_its_name_is_asked_for_its_last_byte_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let open = || SpillDir::open(folder.path().to_owned(), Some("0".into())).expect("open");
        let url = Url::parse("http://a.example/1.png").expect("a URL");
        let bytes = (0..=250).cycle().take(WRITE_BUFFER + 1).collect::<Vec<u8>>();
        let dir = open();
        let named = dir.create(Some(&origin(&url, "\"a\"", bytes.len() as u64))).expect("a part");
        fs::write(&named.path, &bytes).expect("write");
        // As if it had been killed.
        std::mem::forget(named);
        drop(dir);
        let dir = open();
        let mut left = dir.unfinished(&url).expect("the body");
        assert_eq!(left.length(), WRITE_BUFFER as u64);
        let mut stored = Vec::new();
        left.reader().and_then(|mut whole| whole.read_to_end(&mut stored)).expect("read");
        assert!(stored == bytes[..WRITE_BUFFER]);
    }
}
