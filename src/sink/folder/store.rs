//! Stores one complete image as a file of the folder: stage, note, publish.
//!
//! This order makes a kill at any moment harmless. First, all bytes are written to a file without a final name (stage).
//! Second, the mark of that file and its record are written to the write-ahead log (note). Third, the file gets its
//! final name in one step (publish). The caller releases the receipt when the record is in the journal. Entries that a
//! killed run has not released are found by [`FolderView::unrecorded`](super::FolderView::unrecorded).
//!
//! With `--overwrite`, the file of another row may have that name. Before all this it is set aside (see `aside`).
//!
//! Images that are complete at the same time are noted in one call, unless a name or a content is claimed meanwhile.

use std::fs::Metadata;
use std::io;

use super::Folder;
use super::dedup::{Content, has_the_bytes_of};
use super::publish::{Linked, Published, Staged};
use super::wal::{FileMark, WalEntry};
use crate::record::RecordLine;
use crate::sink::{Body, Entry, OnConflict, Receipt, Stored};

/// The result of storing an image, without its record.
enum StoreOutcome {
    /// The image has its final name, and its record is in the write-ahead log.
    Published(RecordLine, WalEntry),
    /// The path is taken by another file.
    Exists,
    /// The image was not stored, because this file has the same bytes.
    Duplicate(String),
}

impl Folder {
    /// Stores one image under its path.
    ///
    /// # Errors
    /// When the file, or its entry in the write-ahead log, cannot be written.
    pub async fn store(&self, mut entry: Entry<'_>, mut body: Body<'_>) -> io::Result<Stored> {
        if self.names.is_some() || self.options.dedupe || may_be_stored_already(&entry) {
            return self.store_at_once(entry, body);
        }
        if let Some(exists) = self.find_stored(&entry, &mut body)? {
            body.discard();
            return Ok(Stored::Duplicate { of: exists });
        }
        let mut staged = self.stage(body, entry.path, entry.on_conflict)?;
        let line = entry.line(None, self.mark)?;
        let mark = FileMark::of(&staged.metadata()?);
        let noted = self.wal.append_with_others(mark, line.as_bytes()).await?;
        Ok(match self.publish_noted(&mut entry, staged, (line, noted))? {
            StoreOutcome::Published(line, noted) => {
                Stored::New { record: entry.record, line, receipt: Receipt::Wal(noted) }
            }
            StoreOutcome::Exists => Stored::Exists,
            StoreOutcome::Duplicate(of) => Stored::Duplicate { of },
        })
    }

    /// Stores an image while its name or its content is claimed. The task must not be cancelled before the claim ends, so
    /// it does not wait for others.
    fn store_at_once(&self, mut entry: Entry<'_>, mut body: Body<'_>) -> io::Result<Stored> {
        let sha256 = entry.sha256().filter(|_| self.options.dedupe || may_be_stored_already(&entry)).map(str::to_owned);
        // Counted before the file is published, so that the file is not removed between that and its record.
        if let Some(names) = &self.names {
            let is_same = entry.replaces == Some(entry.path);
            names.claim(entry.path, is_same, || {
                Ok(!has_the_bytes_of(&self.view, entry.path, &mut body)? && self.set_aside(entry.path)?)
            })?;
        }
        let stored = match &sha256 {
            None => self.store_file(&mut entry, body),
            Some(sha256) => self.store_content(&mut entry, body, self.contents.reserve(sha256)),
        };
        if let Some(names) = self.names.as_ref().filter(|_| !matches!(stored, Ok(StoreOutcome::Published(..)))) {
            names.withdraw(entry.path, || self.take_back(entry.path));
        }
        Ok(match stored? {
            StoreOutcome::Published(line, noted) => {
                Stored::New { record: entry.record, line, receipt: Receipt::Wal(noted) }
            }
            StoreOutcome::Exists => Stored::Exists,
            StoreOutcome::Duplicate(of) => {
                if let Some(names) = &self.names {
                    names.add(&of, false);
                }
                Stored::Duplicate { of }
            }
        })
    }

    /// Stores the image as a new file, unless a file with that name and the same bytes is there.
    fn store_file(&self, entry: &mut Entry<'_>, mut body: Body<'_>) -> io::Result<StoreOutcome> {
        if let Some(exists) = self.find_stored(entry, &mut body)? {
            body.discard();
            return Ok(StoreOutcome::Duplicate(exists));
        }
        let mut staged = self.stage(body, entry.path, entry.on_conflict)?;
        let noted = self.note(entry, &staged.metadata()?, None)?;
        self.publish_noted(entry, staged, noted)
    }

    /// The path of the image, if a file with the same bytes is there.
    ///
    /// It may be one of an earlier run whose journal is lost. The record says that the content is there, so that later
    /// runs do not fetch it again to find out what it would be called.
    fn find_stored(&self, entry: &Entry<'_>, body: &mut Body<'_>) -> io::Result<Option<String>> {
        let is_stored = entry.on_conflict == OnConflict::Keep
            && self.view.is_taken(entry.path)
            && has_the_bytes_of(&self.view, entry.path, body)?;
        Ok(is_stored.then(|| entry.path.to_owned()))
    }

    /// Gives a file that is noted its final name.
    fn publish_noted(
        &self,
        entry: &mut Entry<'_>,
        mut staged: Staged<'_>,
        (mut line, mut noted): (RecordLine, WalEntry),
    ) -> io::Result<StoreOutcome> {
        loop {
            match self.publish(staged, entry.path, entry.on_conflict)? {
                Ok(Published::Done) => return Ok(StoreOutcome::Published(line, noted)),
                Ok(Published::NameTaken) => {
                    noted.release();
                    return Ok(StoreOutcome::Exists);
                }
                // The body is in another file now, which has to be noted instead.
                Err(restaged) => {
                    noted.release();
                    staged = restaged;
                    (line, noted) = self.note(entry, &staged.metadata()?, None)?;
                }
            }
        }
    }

    /// Stores the image as a new file, or as a hard link to a file with the same content.
    fn store_content(
        &self,
        entry: &mut Entry<'_>,
        mut body: Body<'_>,
        mut content: Content<'_>,
    ) -> io::Result<StoreOutcome> {
        if may_be_stored_already(entry) && has_the_bytes_of(&self.view, entry.path, &mut body)? {
            body.discard();
            return Ok(StoreOutcome::Duplicate(entry.path.to_owned()));
        }
        let first = content.first().filter(|_| self.options.dedupe).map(str::to_owned);
        if let Some(first) = first
            && let Some(stored) = self.store_link(entry, &mut body, &first)?
        {
            body.discard();
            if entry.is_own(&first) && matches!(stored, StoreOutcome::Published(..)) {
                content.set_first(entry.path);
            }
            return Ok(stored);
        }
        let stored = self.store_file(entry, body)?;
        if self.options.dedupe && matches!(stored, StoreOutcome::Published(..)) {
            content.set_first(entry.path);
        }
        Ok(stored)
    }

    /// Stores the image as a hard link to the file `first`. `None` if that file is gone or has other bytes.
    fn store_link(&self, entry: &mut Entry<'_>, body: &mut Body<'_>, first: &str) -> io::Result<Option<StoreOutcome>> {
        // Looked at before its bytes: another image may get its name at any time, and `link` compares the file with this.
        let Some(found) = self.view.metadata(first) else { return Ok(None) };
        if !has_the_bytes_of(&self.view, first, body)? {
            return Ok(None);
        }
        self.make_folders(entry.path)?;
        let same_as = Some(first).filter(|first| !entry.is_own(first));
        let (line, noted) = self.note(entry, &found, same_as)?;
        let linked = self.link((first, &found), entry.path, entry.on_conflict)?;
        if linked == Linked::Done {
            return Ok(Some(StoreOutcome::Published(line, noted)));
        }
        noted.release();
        Ok(match linked {
            Linked::NameTaken => Some(StoreOutcome::Exists),
            // A file of an earlier run may lose its name to another row yet.
            Linked::Impossible if self.names.as_ref().is_some_and(|names| !names.is_claimed(first)) => None,
            Linked::Impossible => Some(StoreOutcome::Duplicate(first.to_owned())),
            Linked::Gone | Linked::Done => None,
        })
    }

    /// Writes the record of a file that is about to be published to the write-ahead log.
    fn note(
        &self,
        entry: &mut Entry<'_>,
        file: &Metadata,
        same_as: Option<&str>,
    ) -> io::Result<(RecordLine, WalEntry)> {
        let line = entry.line(same_as, self.mark)?;
        let noted = self.wal.append(FileMark::of(file), line.as_bytes())?;
        Ok((line, noted))
    }
}

/// Whether a file with that path is the same image: the path contains the SHA-256 of the content.
fn may_be_stored_already(entry: &Entry<'_>) -> bool {
    entry.is_content_addressed && entry.on_conflict == OnConflict::Keep
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::Ordering;

    use bytes::Bytes;
    use url::Url;

    use super::super::testing::{part_files, visible, wal_entries};
    use super::super::{Options, wal};
    use super::*;
    use crate::record::{Job, Measures, Outcome, Record, Saved, Timing};
    use crate::sink::body::{MAX_IN_MEMORY, WRITE_BUFFER};

    fn open(root: &std::path::Path, fsync: bool) -> Folder {
        Folder::open(root, None, Options { fsync, ..Options::default() }).expect("open")
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
            verified: None,
            original: None,
            same_as: None,
            extension_mismatch: false,
            smaller_than_box: false,
            made_with: crate::record::MadeWith::default(),
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

    #[tokio::test]
    async fn a_file_appears_when_it_is_stored_and_nothing_else_is_left() {
        let dir = tempfile::tempdir().expect("a folder");
        for (unnamed, fsync) in [(true, false), (false, false), (true, true)] {
            let root = dir.path().join(format!("{unnamed}-{fsync}"));
            let folder = open(&root, fsync);
            if !unnamed {
                folder.has_unnamed_files.store(false, Ordering::Relaxed);
            }
            // Both ways to link an unnamed file, as far as the kernel and the privileges of the test allow them.
            #[cfg(target_os = "linux")]
            folder.links_by_descriptor.store(!fsync, Ordering::Relaxed);
            let sizes =
                [0, 1, WRITE_BUFFER, MAX_IN_MEMORY - 1, MAX_IN_MEMORY, MAX_IN_MEMORY + 1, 3 * MAX_IN_MEMORY + 7];
            for size in sizes {
                let bytes = (0..=250).cycle().take(size).collect::<Vec<u8>>();
                let chunks = [(512, None), (100_000, None), (512, Some(size)), (MAX_IN_MEMORY, Some(size))];
                for (chunk, expected) in chunks {
                    let mut body = folder.spill_dir.body(expected.map(|size| size as u64), None);
                    for piece in bytes.chunks(chunk) {
                        body.write(&Bytes::copy_from_slice(piece)).expect("write");
                    }
                    assert_eq!(visible(&root).len(), 0);
                    assert_eq!(body.length(), size as u64);
                    assert!(is_new(folder.store(entry("a/b.png", size, OnConflict::Keep), body).await));
                    assert_eq!(fs::read(root.join("a/b.png")).expect("read"), bytes);
                    assert_eq!(folder.view().size("a/b.png"), Some(size as u64));
                    fs::remove_dir_all(root.join("a")).expect("remove");
                }
            }
            assert_eq!(part_files(&folder), 0);
        }
    }

    #[tokio::test]
    async fn a_file_is_noted_before_it_appears() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = open(dir.path(), false);
        for (name, size, on_conflict) in
            [("a", 5, OnConflict::Keep), ("b", 2 * MAX_IN_MEMORY, OnConflict::Keep), ("c", 5, OnConflict::Replace)]
        {
            let mut body = folder.spill_dir.body(None, None);
            body.write(&vec![1; size].into()).expect("write");
            let Ok(Stored::New { record, receipt, .. }) = folder.store(entry(name, size, on_conflict), body).await
            else {
                panic!("{name} is not stored")
            };
            let noted = wal_entries(&folder);
            let mark = FileMark::of(&folder.view().metadata(name).expect("the file"));
            let expected = (mark, RecordLine::of(&record).expect("a line").as_bytes().to_vec());
            assert_eq!(noted.last(), Some(&expected), "{name}");
            receipt.release();
        }
        // As on a full disk: the write-ahead log cannot be written.
        let log = folder.view().work(wal::FOLDER);
        drop(folder);
        assert!(!log.exists(), "it was empty, because all entries are released");
        fs::create_dir_all(log.parent().expect("a folder")).expect("a folder");
        fs::write(&log, "not a folder").expect("write");
        let folder = open(dir.path(), false);
        let mut body = folder.spill_dir.body(None, None);
        body.write(&Bytes::from_static(b"x")).expect("write");
        folder.store(entry("d", 1, OnConflict::Keep), body).await.expect_err("it cannot be noted");
        assert!(folder.view().metadata("d").is_none(), "a file that cannot be noted does not appear");
    }

    #[tokio::test]
    async fn a_taken_name_is_kept_or_replaced_as_asked() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = open(dir.path(), false);
        for size in [10, 2 * MAX_IN_MEMORY] {
            fs::write(dir.path().join("a.png"), "theirs").expect("write");
            let body = |byte: u8| {
                let mut body = folder.spill_dir.body(Some(size as u64), None);
                body.write(&vec![byte; size].into()).expect("write");
                body
            };
            assert!(!is_new(folder.store(entry("a.png", size, OnConflict::Keep), body(1)).await));
            assert_eq!(fs::read(dir.path().join("a.png")).expect("read"), b"theirs");
            assert!(is_new(folder.store(entry("a.png", size, OnConflict::Replace), body(2)).await));
            assert_eq!(fs::read(dir.path().join("a.png")).expect("read"), vec![2; size]);
        }
        drop(folder.spill_dir.body(None, None));
        assert_eq!((visible(dir.path()), part_files(&folder)), (vec!["a.png".to_owned()], 0));
    }
}
