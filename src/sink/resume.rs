//! What a run leaves unfinished, for a later one to go on with.
//!
//! When it is known of which body it is a part ([`Origin`]), the name of the part file says so. Nothing else has to be
//! kept in step with the file, in the middle of whatever ends a run.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use url::Url;

use crate::record::url_hash;

/// An unfinished body that no run has asked for in so long is removed.
const KEPT: Duration = Duration::from_secs(7 * 86_400);

/// So many digits of a URL's hash tell its part from those of others; all 64 would leave too little of a name to the
/// validator.
pub(in crate::sink) const HASH_DIGITS: usize = 32;

/// Of which body a part is, so that a later run can go on with it.
#[derive(Clone, Debug)]
pub struct Origin<'a> {
    /// By what URL the list knows it.
    pub url: &'a Url,
    /// Where the answer came from, after redirects: a validator means something there alone (RFC 9110, section 8.8.1).
    pub source: u64,
    /// What the server calls this version of it.
    pub validator: Box<[u8]>,
    /// Its length in bytes, if that is known.
    pub total: Option<u64>,
}

/// A body that an earlier run has left unfinished.
#[derive(Debug)]
pub(in crate::sink) struct Unfinished {
    pub(in crate::sink) path: PathBuf,
    pub(in crate::sink) length: u64,
    pub(in crate::sink) source: u64,
    pub(in crate::sink) validator: Box<[u8]>,
    pub(in crate::sink) total: Option<u64>,
}

impl Unfinished {
    /// A body that has all its bytes was about to get its name. Its last byte is asked for again: by that the server says
    /// whether it is the same body still.
    fn leave_a_rest(&mut self) -> io::Result<()> {
        if self.total == Some(self.length) {
            self.length -= 1;
            OpenOptions::new().write(true).open(&self.path)?.set_len(self.length)?;
        }
        Ok(())
    }
}

/// The name of the part of a body: the hash of its URL, the boot in which it was written, its whole length, its source,
/// and its validator. `None` if that makes too long a name.
pub(in crate::sink) fn telling_name(origin: &Origin, boot: &str) -> Option<String> {
    let total = origin.total.map_or_else(|| "x".to_owned(), |total| total.to_string());
    let validator = URL_SAFE_NO_PAD.encode(&origin.validator);
    let (hash, source) = (url_hash(origin.url), origin.source);
    let name = format!("{}-{boot}-{total}-{source:016x}-{validator}.part", &hash[..HASH_DIGITS]);
    (name.len() <= 255).then_some(name)
}

/// What [`telling_name`] says, if it is about a body that can be gone on with: written since the system was started, for
/// a loss of power leaves holes, and not long ago.
fn told(path: PathBuf, found: &fs::Metadata, boot: Option<&str>) -> Option<(String, Unfinished)> {
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
    let can_go_on = boot == Some(written_in)
        && hash.len() == HASH_DIGITS
        && age < KEPT
        && found.len() > 0
        && total.is_none_or(|total| found.len() <= total);
    let hash = hash.to_owned();
    can_go_on.then_some((hash, Unfinished { length: found.len(), path, source, validator, total }))
}

/// The unfinished bodies of earlier runs. Those that are no use go; what is anything else is not fetchimg's.
pub(in crate::sink) fn look_through(parts: &Path, boot: Option<&str>) -> io::Result<HashMap<String, Unfinished>> {
    let mut left = HashMap::new();
    for entry in fs::read_dir(parts)? {
        let path = entry?.path();
        let found = fs::symlink_metadata(&path)?;
        if !found.is_file() || path.extension().is_none_or(|extension| extension != "part") {
            continue;
        }
        match told(path.clone(), &found, boot) {
            Some((hash, mut body)) if !left.contains_key(&hash) => {
                body.leave_a_rest()?;
                left.insert(hash, body);
            }
            _ => fs::remove_file(path)?,
        }
    }
    Ok(left)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use bytes::Bytes;

    use super::super::body::{BUFFER, SMALL};
    use super::super::folder::testing::parts;
    use super::*;
    use crate::sink::{Body, Folder, OnConflict, Published};

    fn origin<'a>(url: &'a Url, validator: &str, total: u64) -> Origin<'a> {
        Origin { url, source: 7, validator: validator.as_bytes().into(), total: Some(total) }
    }

    #[test]
    fn an_unfinished_body_waits_for_the_next_run_of_the_same_boot() {
        let folder = tempfile::tempdir().expect("a folder");
        let open = |boot: &str| Folder::open(folder.path(), false, Some(boot.into())).expect("open");
        let url = Url::parse("http://a.example/1.png").expect("a URL");
        let bytes = (0..=250).cycle().take(3 * SMALL).collect::<Vec<u8>>();
        let (first, rest) = bytes.split_at(BUFFER + 7);
        for boot in ["0", "1"] {
            let files = open("0");
            let total = bytes.len() as u64;
            let mut part = files.begin(Some(total), Some(origin(&url, "\"-tag/\"", total)));
            part.write(&Bytes::copy_from_slice(first)).expect("write");
            part.write(&Bytes::copy_from_slice(&rest[..1])).expect("write");
            drop(part);
            drop(files);

            let files = open(boot);
            let left = files.left(&url);
            if boot == "1" {
                assert!(left.is_none(), "power may have been lost in between");
                assert_eq!(parts(&files), 0);
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
            assert_eq!(part.commit("a.png", OnConflict::Keep, |_| Ok(())).expect("commit"), Published::Done);
            assert_eq!(fs::read(folder.path().join("a.png")).expect("read"), bytes);
            assert_eq!(parts(&files), 0);
        }
    }

    #[test]
    fn a_body_that_was_all_in_memory_waits_too_if_it_is_worth_it() {
        fn begin<'a>(files: &'a Folder, url: &'a Url, first: &[u8], total: u64) -> Body<'a> {
            let mut part = files.begin(Some(total), Some(origin(url, "\"a\"", total)));
            first.chunks(20_000).for_each(|piece| part.write(&Bytes::copy_from_slice(piece)).expect("write"));
            assert!(part.file.is_none());
            part
        }

        let folder = tempfile::tempdir().expect("a folder");
        let open = || Folder::open(folder.path(), false, Some("0".into())).expect("open");
        let url = Url::parse("http://a.example/1.png").expect("a URL");
        let bytes = (0..=250).cycle().take(SMALL).collect::<Vec<u8>>();
        let total = bytes.len() as u64;
        // A part, less than is worth it, and what ends with so much that its beginning is less.
        for (length, total, kept) in [
            (SMALL - 1, total, Some(SMALL - 1)),
            (BUFFER, total, Some(BUFFER)),
            (BUFFER - 1, total, None),
            (BUFFER + 1, BUFFER as u64 + 1, None),
        ] {
            let files = open();
            drop(begin(&files, &url, &bytes[..length], total));
            assert_eq!(parts(&files), usize::from(kept.is_some()), "{length}");
            drop(files);
            let files = open();
            let left = files.left(&url).map(|mut left| {
                let mut stored = Vec::new();
                left.whole().and_then(|mut whole| whole.read_to_end(&mut stored)).expect("read");
                left.discard();
                stored
            });
            assert!(left == kept.map(|kept| bytes[..kept].to_vec()), "{length}");
            assert_eq!(parts(&files), 0, "{length}");

            begin(&files, &url, &bytes[..length], total).discard();
            let published = begin(&files, &url, &bytes[..length], total).commit("a.png", OnConflict::Keep, |_| Ok(()));
            assert_eq!(published.expect("commit"), Published::Done);
            let taken = begin(&files, &url, &bytes[..length], total).commit("a.png", OnConflict::Keep, |_| Ok(()));
            assert_eq!(taken.expect("commit"), Published::NameTaken);
            assert_eq!(parts(&files), 0, "{length}");
            fs::remove_file(folder.path().join("a.png")).expect("remove");
        }
    }

    #[test]
    fn what_is_given_up_or_cannot_be_gone_on_with_does_not_wait() {
        fn begin<'a>(files: &'a Folder, origin: Option<Origin<'a>>, drop_it: impl FnOnce(Body<'a>)) {
            let mut part = files.begin(Some(10 * SMALL as u64), origin);
            part.write(&vec![1; BUFFER].into()).expect("write");
            part.write(&Bytes::from_static(b"2")).expect("write");
            drop_it(part);
        }
        let folder = tempfile::tempdir().expect("a folder");
        let open = || Folder::open(folder.path(), false, Some("0".into())).expect("open");
        let url = Url::parse("http://a.example/1.png").expect("a URL");
        let total = 10 * SMALL as u64;
        let files = open();
        begin(&files, Some(origin(&url, "\"a\"", total)), Body::discard);
        begin(&files, None, drop);
        begin(&files, Some(origin(&url, &"long".repeat(100), total)), drop);
        assert_eq!(parts(&files), 0);
        begin(&files, Some(origin(&url, "\"a\"", total)), drop);
        assert_eq!(parts(&files), 1);
        drop(files);

        // A week later.
        let path = fs::read_dir(folder.path().join(".fetchimg/parts")).expect("a folder").next().expect("a part");
        let path = path.expect("an entry").path();
        let part = OpenOptions::new().append(true).open(&path).expect("open");
        part.set_modified(SystemTime::now() - KEPT).expect("a time");
        let files = open();
        assert!(files.left(&url).is_none());
        assert_eq!(parts(&files), 0);

        // Longer than it should be.
        begin(&files, Some(origin(&url, "\"a\"", BUFFER as u64)), drop);
        drop(files);
        assert!(open().left(&url).is_none());
    }

    #[test]
    fn a_body_that_was_about_to_get_its_name_is_asked_for_its_last_byte_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let open = || Folder::open(folder.path(), false, Some("0".into())).expect("open");
        let url = Url::parse("http://a.example/1.png").expect("a URL");
        let bytes = (0..=250).cycle().take(BUFFER + 1).collect::<Vec<u8>>();
        let files = open();
        let named = files.new_part(Some(&origin(&url, "\"a\"", bytes.len() as u64))).expect("a part");
        fs::write(&named.path, &bytes).expect("write");
        // As if it had been killed.
        std::mem::forget(named);
        drop(files);
        let files = open();
        let mut left = files.left(&url).expect("the body");
        assert_eq!(left.length(), BUFFER as u64);
        let mut stored = Vec::new();
        left.whole().and_then(|mut whole| whole.read_to_end(&mut stored)).expect("read");
        assert!(stored == bytes[..BUFFER]);
    }
}
