//! One complete image becomes a file of the folder: stage, note, publish, and a receipt for the journal.
//!
//! This order makes a kill at any moment harmless. First all bytes are in a file without a final name (stage). Then the
//! write-ahead log says which file that is and what its record will be (note). Then the file gets its name in one step
//! (publish). The receipt is released when the record is in the journal; what a killed run has not released is found by
//! [`FolderView::unrecorded`](super::FolderView::unrecorded).

use std::fs::Metadata;
use std::io;

use super::Folder;
use super::dedup::{Content, has_the_bytes_of};
use super::publish::{Linked, Published};
use super::wal::{Mark, WalEntry};
use crate::record::RecordLine;
use crate::sink::{Body, Entry, OnConflict, Receipt, Replaced, Stored};
use crate::util::redact::escaped;

/// How one way to store an image ended.
enum Step {
    /// It is there under its path; its record is noted.
    Published(RecordLine, WalEntry),
    /// There is another file of that path.
    Exists,
    /// This file has the same bytes.
    Duplicate(String),
}

impl Folder {
    /// Stores one image under its path.
    ///
    /// # Errors
    /// When the file, or the note about it, cannot be written.
    pub fn store(&self, mut entry: Entry<'_>, body: Body<'_>) -> io::Result<Stored> {
        let sha256 = entry.sha256().filter(|_| self.options.dedupe || may_be_there(&entry)).map(str::to_owned);
        let step = match &sha256 {
            None => self.store_file(&mut entry, body)?,
            Some(sha256) => self.store_content(&mut entry, body, self.contents.reserve(sha256))?,
        };
        let (line, noted) = match step {
            Step::Published(line, noted) => (line, noted),
            Step::Exists => return Ok(Stored::Exists),
            Step::Duplicate(of) => return Ok(Stored::Duplicate { of }),
        };
        if let Some(Replaced { path, bytes, remove: true }) = entry.replaces
            && let Err(error) = self.remove(path, bytes)
        {
            // The new image is there all the same.
            let (path, url) = (escaped(path), &entry.record.url);
            tracing::warn!(target: "fetchimg", "Cannot remove {path}, which {url} had before: {error}");
        }
        Ok(Stored::New { record: entry.record, line, receipt: Receipt::Wal(noted) })
    }

    /// As a file of its own.
    fn store_file(&self, entry: &mut Entry<'_>, body: Body<'_>) -> io::Result<Step> {
        let mut staged = self.stage(body, entry.path, entry.on_conflict)?;
        loop {
            let (line, noted) = self.note(entry, &staged.metadata()?, None)?;
            match self.publish(staged, entry.path, entry.on_conflict)? {
                Ok(Published::Done) => return Ok(Step::Published(line, noted)),
                Ok(Published::NameTaken) => {
                    noted.release();
                    return Ok(Step::Exists);
                }
                // It is another file now, and that one has to be noted.
                Err(restaged) => {
                    noted.release();
                    staged = restaged;
                }
            }
        }
    }

    /// As a file of its own, or by what is there already of the same content.
    fn store_content(&self, entry: &mut Entry<'_>, mut body: Body<'_>, mut content: Content<'_>) -> io::Result<Step> {
        if may_be_there(entry) && has_the_bytes_of(&self.view, entry.path, &mut body)? {
            body.discard();
            return Ok(Step::Duplicate(entry.path.to_owned()));
        }
        let first = content.first().filter(|_| self.options.dedupe).map(str::to_owned);
        if let Some(first) = first
            && let Some(step) = self.store_link(entry, &mut body, &first)?
        {
            body.discard();
            if entry.is_own(&first) && matches!(step, Step::Published(..)) {
                content.set_first(entry.path);
            }
            return Ok(step);
        }
        let step = self.store_file(entry, body)?;
        if self.options.dedupe && matches!(step, Step::Published(..)) {
            content.set_first(entry.path);
        }
        Ok(step)
    }

    /// As another name of the file `first`. `None`: that file is gone, or its bytes are others.
    fn store_link(&self, entry: &mut Entry<'_>, body: &mut Body<'_>, first: &str) -> io::Result<Option<Step>> {
        if !has_the_bytes_of(&self.view, first, body)? {
            return Ok(None);
        }
        let Some(found) = self.view.metadata(first) else { return Ok(None) };
        self.make_folders(entry.path)?;
        let same_as = Some(first).filter(|first| !entry.is_own(first));
        let (line, noted) = self.note(entry, &found, same_as)?;
        let linked = self.link((first, &found), entry.path, entry.on_conflict)?;
        if linked == Linked::Done {
            return Ok(Some(Step::Published(line, noted)));
        }
        noted.release();
        Ok(match linked {
            Linked::NameTaken => Some(Step::Exists),
            Linked::Impossible => Some(Step::Duplicate(first.to_owned())),
            Linked::Gone | Linked::Done => None,
        })
    }

    /// Notes the record of a file that is about to be published.
    fn note(
        &self,
        entry: &mut Entry<'_>,
        file: &Metadata,
        same_as: Option<&str>,
    ) -> io::Result<(RecordLine, WalEntry)> {
        let line = entry.line(same_as)?;
        let noted = self.wal.append(Mark::of(file), line.as_bytes())?;
        Ok((line, noted))
    }
}

/// Whether what is under the path can only be the same image: the path holds the SHA-256 of the content.
fn may_be_there(entry: &Entry<'_>) -> bool {
    entry.is_content_addressed && entry.on_conflict == OnConflict::Keep
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::Ordering;

    use bytes::Bytes;
    use url::Url;

    use super::super::testing::{noted_files, parts, visible};
    use super::super::{Options, wal};
    use super::*;
    use crate::record::{Job, Measures, Outcome, Record, Saved, Timing};
    use crate::sink::body::{MAX_IN_MEMORY, WRITE_BUFFER};

    fn open(root: &std::path::Path, fsync: bool) -> Folder {
        Folder::open(root, Options { fsync, ..Options::default() }).expect("open")
    }

    fn entry(path: &str, bytes: usize, on_conflict: OnConflict) -> Entry<'_> {
        let saved = Saved {
            path: path.to_owned(),
            bytes: bytes as u64,
            format: None,
            measures: Measures::default(),
            content_type: None,
            http_status: 200,
            final_url: String::new(),
            attempts: 1,
            resumed_from: 0,
            timing: Timing::default(),
            exif: serde_json::Map::default(),
            digests: crate::record::Digests::default(),
            phash: None,
            original: None,
            same_as: None,
            extension_mismatch: false,
            from_earlier_run: 0,
        };
        let job = Job::new(0, Url::parse("http://a.example/a.png").expect("a URL"));
        let record = Record::of(&job, Outcome::Saved(saved));
        Entry { record, path, on_conflict, replaces: None, is_content_addressed: false, began: None }
    }

    fn is_new(stored: std::io::Result<Stored>) -> bool {
        match stored.expect("stored") {
            Stored::New { receipt, .. } => {
                receipt.release();
                true
            }
            Stored::Exists => false,
            Stored::Duplicate { of } => panic!("it is no duplicate of {of}"),
        }
    }

    #[test]
    fn a_file_appears_when_it_is_stored_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        for (unnamed, fsync) in [(true, false), (false, false), (true, true)] {
            let root = folder.path().join(format!("{unnamed}-{fsync}"));
            let files = open(&root, fsync);
            if !unnamed {
                files.has_unnamed_files.store(false, Ordering::Relaxed);
            }
            // Both ways to a name, whichever the kernel and the privileges at hand allow.
            #[cfg(target_os = "linux")]
            files.links_by_descriptor.store(!fsync, Ordering::Relaxed);
            let sizes =
                [0, 1, WRITE_BUFFER, MAX_IN_MEMORY - 1, MAX_IN_MEMORY, MAX_IN_MEMORY + 1, 3 * MAX_IN_MEMORY + 7];
            for size in sizes {
                let bytes = (0..=250).cycle().take(size).collect::<Vec<u8>>();
                let chunks = [(512, None), (100_000, None), (512, Some(size)), (MAX_IN_MEMORY, Some(size))];
                for (chunk, expected) in chunks {
                    let mut body = files.spill_dir.body(expected.map(|size| size as u64), None);
                    for piece in bytes.chunks(chunk) {
                        body.write(&Bytes::copy_from_slice(piece)).expect("write");
                    }
                    assert_eq!(visible(&root).len(), 0);
                    assert_eq!(body.length(), size as u64);
                    assert!(is_new(files.store(entry("a/b.png", size, OnConflict::Keep), body)));
                    assert_eq!(fs::read(root.join("a/b.png")).expect("read"), bytes);
                    assert_eq!(files.view().size("a/b.png"), Some(size as u64));
                    fs::remove_dir_all(root.join("a")).expect("remove");
                }
            }
            assert_eq!(parts(&files), 0);
        }
    }

    #[test]
    fn a_file_is_noted_before_it_appears() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = open(folder.path(), false);
        for (name, size, on_conflict) in
            [("a", 5, OnConflict::Keep), ("b", 2 * MAX_IN_MEMORY, OnConflict::Keep), ("c", 5, OnConflict::Replace)]
        {
            let mut body = files.spill_dir.body(None, None);
            body.write(&vec![1; size].into()).expect("write");
            let Ok(Stored::New { record, receipt, .. }) = files.store(entry(name, size, on_conflict), body) else {
                panic!("{name} is not stored")
            };
            let noted = noted_files(&files);
            let mark = Mark::of(&files.view().metadata(name).expect("the file"));
            let expected = (mark, RecordLine::of(&record).expect("a line").as_bytes().to_vec());
            assert_eq!(noted.last(), Some(&expected), "{name}");
            receipt.release();
        }
        // As on a disk that is full: nothing can be noted any more.
        let log = files.view().private(wal::FOLDER);
        drop(files);
        fs::remove_dir(&log).expect("it is empty when all is released");
        fs::write(&log, "in the way").expect("write");
        let files = open(folder.path(), false);
        let mut body = files.spill_dir.body(None, None);
        body.write(&Bytes::from_static(b"x")).expect("write");
        files.store(entry("d", 1, OnConflict::Keep), body).expect_err("it cannot be noted");
        assert!(files.view().metadata("d").is_none(), "nothing appears that could not be noted");
    }

    #[test]
    fn a_taken_name_is_kept_or_replaced_as_asked() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = open(folder.path(), false);
        for size in [10, 2 * MAX_IN_MEMORY] {
            fs::write(folder.path().join("a.png"), "theirs").expect("write");
            let body = |byte: u8| {
                let mut body = files.spill_dir.body(Some(size as u64), None);
                body.write(&vec![byte; size].into()).expect("write");
                body
            };
            assert!(!is_new(files.store(entry("a.png", size, OnConflict::Keep), body(1))));
            assert_eq!(fs::read(folder.path().join("a.png")).expect("read"), b"theirs");
            assert!(is_new(files.store(entry("a.png", size, OnConflict::Replace), body(2))));
            assert_eq!(fs::read(folder.path().join("a.png")).expect("read"), vec![2; size]);
        }
        drop(files.spill_dir.body(None, None));
        assert_eq!((visible(folder.path()), parts(&files)), (vec!["a.png".to_owned()], 0));
    }
}
