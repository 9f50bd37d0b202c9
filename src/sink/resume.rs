//! Part files: they hold bodies that do not fit into memory, and partial bodies that a later run can resume.
//!
//! The [`Origin`] of the body, if it has one, is in the name of the file. So there is no separate index that could
//! differ from the files when a run is killed.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt as _;
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
    /// A hash of the URL that answered, after redirects. A validator holds only for that URL (RFC 9110, section 8.8.1).
    pub source: u64,
    /// The strong entity tag or date of this version (RFC 9110, section 8.8).
    pub validator: Box<[u8]>,
    /// The length of the whole body in bytes, if that is known.
    pub total: Option<u64>,
}

/// A partial body that an earlier run has left.
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
    /// The current boot, which the names of part files contain (see [`boot_id`](crate::util::boot_id)). `None`: nothing
    /// is kept for a later run.
    boot: Option<String>,
    /// The partial bodies of earlier runs, by the first digits of the URL's hash.
    pub(super) unfinished: HashMap<String, Unfinished>,
    /// The number of part files without an origin that this run has created.
    created: AtomicU64,
}

impl SpillDir {
    /// Finds the partial bodies that earlier runs have left in the folder, and removes those that cannot be resumed.
    /// `boot` is the current boot (see [`boot_id`](crate::util::boot_id)); without it, nothing is resumed or kept.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn open(path: PathBuf, boot: Option<String>) -> io::Result<Self> {
        let unfinished = read_unfinished(&path, boot.as_deref())?;
        Ok(Self { path, boot, unfinished, created: AtomicU64::new(0) })
    }

    /// A folder that is created with the first file in it, and in which nothing is kept for a later run.
    pub(super) fn without_earlier(path: PathBuf) -> Self {
        Self { path, boot: None, unfinished: HashMap::new(), created: AtomicU64::new(0) }
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path in the folder where no file is. Its name has no origin, so a later run does not resume a file there.
    pub(super) fn unused_path(&self) -> io::Result<PathBuf> {
        let path = self.path.join(format!("{:06}.part", self.created.fetch_add(1, Ordering::Relaxed)));
        remove_if_there(&path)?;
        Ok(path)
    }

    /// Creates a part file. With an origin in its name, it can be kept for a later run.
    pub(super) fn create(&self, origin: Option<&Origin>) -> io::Result<SpillFile> {
        let name = origin.zip(self.boot.as_deref()).and_then(|(origin, boot)| name_of(origin, boot));
        let is_kept = name.is_some();
        let path = match name {
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
    /// Shortens a complete body by one byte. It is complete when the run was killed just before publishing it.
    /// Requesting the last byte again lets the server say whether the body is still the same.
    fn drop_last_byte_if_whole(&mut self) -> io::Result<()> {
        if self.total == Some(self.length) {
            self.length -= 1;
            OpenOptions::new().write(true).open(&self.path)?.set_len(self.length)?;
        }
        Ok(())
    }
}

/// The name of a part file: the hash of the URL, the boot in which it is written, the length of the whole body, the
/// source, and the validator. `None` if the name would be longer than the 255 bytes that file systems allow.
fn name_of(origin: &Origin, boot: &str) -> Option<String> {
    let total = origin.total.map_or_else(|| "x".to_owned(), |total| total.to_string());
    let validator = URL_SAFE_NO_PAD.encode(&origin.validator);
    let (hash, source) = (url_hash(origin.url), origin.source);
    let name = format!("{}-{boot}-{total}-{source:016x}-{validator}.part", &hash[..HASH_DIGITS]);
    (name.len() <= 255).then_some(name)
}

/// Parses a name that [`name_of`] made. `None` if the body cannot be resumed: it is too old, was written before the
/// current boot, so that a loss of power may have left holes in it, or has been published. A run that was killed while
/// publishing it may have left it with both names, and the image would change with the part file.
fn parse_name(path: PathBuf, metadata: &fs::Metadata, boot: Option<&str>) -> Option<(String, Unfinished)> {
    let name = path.file_stem()?.to_str()?;
    let mut parts = name.splitn(5, '-');
    let (hash, written_in, total) = (parts.next()?, parts.next()?, parts.next()?);
    let (source, validator) = (u64::from_str_radix(parts.next()?, 16).ok()?, parts.next()?);
    let total = match total {
        "x" => None,
        digits => Some(digits.parse().ok()?),
    };
    let validator = URL_SAFE_NO_PAD.decode(validator).ok()?.into_boxed_slice();
    let age = SystemTime::now().duration_since(metadata.modified().ok()?).unwrap_or_default();
    let can_resume = boot == Some(written_in)
        && hash.len() == HASH_DIGITS
        && age < MAX_AGE
        && metadata.nlink() == 1
        && metadata.len() > 0
        && total.is_none_or(|total| metadata.len() <= total);
    let hash = hash.to_owned();
    can_resume.then_some((hash, Unfinished { length: metadata.len(), path, source, validator, total }))
}

/// The partial bodies of earlier runs, by the first digits of the URL's hash. Part files that cannot be resumed are
/// removed; other files are left alone.
fn read_unfinished(dir: &Path, boot: Option<&str>) -> io::Result<HashMap<String, Unfinished>> {
    let mut unfinished = HashMap::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let metadata = fs::symlink_metadata(&path)?;
        if !metadata.is_file() || path.extension().is_none_or(|extension| extension != "part") {
            continue;
        }
        match parse_name(path.clone(), &metadata, boot) {
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

    /// The number of files in the folder.
    fn count(dir: &SpillDir) -> usize {
        fs::read_dir(dir.path()).expect("a folder").count()
    }

    fn origin<'a>(url: &'a Url, validator: &str, total: u64) -> Origin<'a> {
        Origin { url, source: 7, validator: validator.as_bytes().into(), total: Some(total) }
    }

    #[test]
    fn a_partial_body_is_kept_for_the_next_run_in_the_same_boot() {
        let folder = tempfile::tempdir().expect("a folder");
        let open = |boot: &str| SpillDir::open(folder.path().to_owned(), Some(boot.into())).expect("open");
        let url = Url::parse("http://a.example/1.png").expect("a URL");
        let bytes = (0..=250).cycle().take(3 * MAX_IN_MEMORY).collect::<Vec<u8>>();
        let (first, rest) = bytes.split_at(WRITE_BUFFER + 7);
        for boot in ["0", "1"] {
            let dir = open("0");
            let total = bytes.len() as u64;
            let mut body = dir.body(Some(total), Some(origin(&url, "\"-tag/\"", total)));
            body.write(&Bytes::copy_from_slice(first)).expect("write");
            body.write(&Bytes::copy_from_slice(&rest[..1])).expect("write");
            drop(body);
            drop(dir);

            let dir = open(boot);
            let unfinished = dir.unfinished(&url);
            if boot == "1" {
                assert!(unfinished.is_none(), "power may have been lost in between");
                assert_eq!(count(&dir), 0);
                continue;
            }
            let mut body = unfinished.expect("the partial body of the earlier run");
            let known = body.origin().expect("its origin");
            assert_eq!((&*known.validator, known.source), (&b"\"-tag/\""[..], 7));
            assert_eq!(known.total, Some(bytes.len() as u64));
            assert_eq!(body.length(), first.len() as u64 + 1);
            let mut stored = Vec::new();
            let is_wanted = body.each_block(|block| {
                stored.extend_from_slice(block);
                true
            });
            assert!(is_wanted.expect("read"));
            assert_eq!(stored, bytes[..=first.len()]);
            assert!(!body.each_block(|_| false).expect("read"), "the first block is not wanted");
            body.write(&Bytes::copy_from_slice(&rest[1..])).expect("write");
            body.complete();
            let mut stored = Vec::new();
            body.reader().and_then(|mut reader| reader.read_to_end(&mut stored)).expect("read");
            assert!(stored == bytes);
            drop(body.into_spill_file().expect("a part file"));
            assert_eq!(count(&dir), 0);
        }
    }

    #[test]
    fn a_partial_body_in_memory_is_kept_too_if_it_is_long_enough() {
        fn begin<'a>(dir: &'a SpillDir, url: &'a Url, first: &[u8], total: u64) -> Body<'a> {
            let mut body = dir.body(Some(total), Some(origin(url, "\"a\"", total)));
            first.chunks(20_000).for_each(|piece| body.write(&Bytes::copy_from_slice(piece)).expect("write"));
            assert!(body.file.is_none());
            body
        }

        let folder = tempfile::tempdir().expect("a folder");
        let open = || SpillDir::open(folder.path().to_owned(), Some("0".into())).expect("open");
        let url = Url::parse("http://a.example/1.png").expect("a URL");
        let bytes = (0..=250).cycle().take(MAX_IN_MEMORY).collect::<Vec<u8>>();
        let total = bytes.len() as u64;
        // Two that are long enough, one that is too short, and a complete one that is too short without its last frame.
        for (length, total, kept) in [
            (MAX_IN_MEMORY - 1, total, Some(MAX_IN_MEMORY - 1)),
            (WRITE_BUFFER, total, Some(WRITE_BUFFER)),
            (WRITE_BUFFER - 1, total, None),
            (WRITE_BUFFER + 1, WRITE_BUFFER as u64 + 1, None),
        ] {
            let dir = open();
            drop(begin(&dir, &url, &bytes[..length], total));
            assert_eq!(count(&dir), usize::from(kept.is_some()), "{length}");
            drop(dir);
            let dir = open();
            let found = dir.unfinished(&url).map(|mut body| {
                let mut stored = Vec::new();
                body.reader().and_then(|mut reader| reader.read_to_end(&mut stored)).expect("read");
                body.discard();
                stored
            });
            assert!(found == kept.map(|kept| bytes[..kept].to_vec()), "{length}");
            assert_eq!(count(&dir), 0, "{length}");

            begin(&dir, &url, &bytes[..length], total).discard();
            let mut complete = begin(&dir, &url, &bytes[..length], total);
            complete.complete();
            drop(complete);
            assert_eq!(count(&dir), 0, "{length}");
        }
    }

    #[test]
    fn a_body_that_was_discarded_or_cannot_be_resumed_is_not_kept() {
        fn begin<'a>(dir: &'a SpillDir, origin: Option<Origin<'a>>, drop_it: impl FnOnce(Body<'a>)) {
            let mut body = dir.body(Some(10 * MAX_IN_MEMORY as u64), origin);
            body.write(&vec![1; WRITE_BUFFER].into()).expect("write");
            body.write(&Bytes::from_static(b"2")).expect("write");
            drop_it(body);
        }
        let folder = tempfile::tempdir().expect("a folder");
        let open = || SpillDir::open(folder.path().to_owned(), Some("0".into())).expect("open");
        let url = Url::parse("http://a.example/1.png").expect("a URL");
        let total = 10 * MAX_IN_MEMORY as u64;
        let dir = open();
        begin(&dir, Some(origin(&url, "\"a\"", total)), Body::discard);
        begin(&dir, None, drop);
        begin(&dir, Some(origin(&url, &"long".repeat(100), total)), drop);
        assert_eq!(count(&dir), 0);
        begin(&dir, Some(origin(&url, "\"a\"", total)), drop);
        assert_eq!(count(&dir), 1);
        drop(dir);

        // A week later.
        let path = fs::read_dir(folder.path()).expect("a folder").next().expect("a part");
        let path = path.expect("an entry").path();
        let file = OpenOptions::new().append(true).open(&path).expect("open");
        file.set_modified(SystemTime::now() - MAX_AGE).expect("a time");
        let dir = open();
        assert!(dir.unfinished(&url).is_none());
        assert_eq!(count(&dir), 0);

        // The part is longer than the whole body should be.
        begin(&dir, Some(origin(&url, "\"a\"", WRITE_BUFFER as u64)), drop);
        drop(dir);
        assert!(open().unfinished(&url).is_none());
    }

    #[test]
    fn a_part_file_that_is_an_image_too_is_removed_and_the_image_stays_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let (parts, image) = (folder.path().join("parts"), folder.path().join("1.png"));
        fs::create_dir(&parts).expect("a folder");
        let open = || SpillDir::open(parts.clone(), Some("0".into())).expect("open");
        let url = Url::parse("http://a.example/1.png").expect("a URL");
        let dir = open();
        let part_file = dir.create(Some(&origin(&url, "\"a\"", 1000))).expect("a part file");
        fs::write(&part_file.path, vec![1; 1000]).expect("write");
        fs::hard_link(&part_file.path, &image).expect("a link");
        // As if the run had been killed.
        std::mem::forget(part_file);
        drop(dir);
        let dir = open();
        assert!(dir.unfinished(&url).is_none());
        assert_eq!(count(&dir), 0);
        assert_eq!(fs::read(&image).expect("read"), vec![1; 1000]);
    }

    #[test]
    fn of_a_complete_body_that_was_not_published_only_the_last_byte_is_missing() {
        let folder = tempfile::tempdir().expect("a folder");
        let open = || SpillDir::open(folder.path().to_owned(), Some("0".into())).expect("open");
        let url = Url::parse("http://a.example/1.png").expect("a URL");
        let bytes = (0..=250).cycle().take(WRITE_BUFFER + 1).collect::<Vec<u8>>();
        let dir = open();
        let part_file = dir.create(Some(&origin(&url, "\"a\"", bytes.len() as u64))).expect("a part file");
        fs::write(&part_file.path, &bytes).expect("write");
        // As if the run had been killed.
        std::mem::forget(part_file);
        drop(dir);
        let dir = open();
        let mut body = dir.unfinished(&url).expect("the body");
        assert_eq!(body.length(), WRITE_BUFFER as u64);
        let mut stored = Vec::new();
        body.reader().and_then(|mut reader| reader.read_to_end(&mut stored)).expect("read");
        assert!(stored == bytes[..WRITE_BUFFER]);
    }
}
