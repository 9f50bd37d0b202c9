//! The write-ahead log: the record of each file is written here before the file is published.
//!
//! A file gets its final name first, and its record reaches the journal a moment later. If a run were killed in
//! between, the next run would find a file without a record, and would have to treat it as a file that fetchimg did not
//! write. So the record is written here before the file is published, together with a [`FileMark`] that identifies the
//! file. The entry is released when the record is in the journal. Entries that a run finds when it begins are from a
//! run that was killed. Such a record is valid if exactly the marked file is there.
//!
//! The entries are lines in small files. Each file is removed when the last of its entries is released. Entries that come
//! at the same time are written in one call.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::task::yield_now;

use super::view::not_a_folder;
use crate::record::is_plain_path;
use crate::util::lock;

/// The size in bytes from which on the next entry goes into a new file: about 2,500 entries.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The name of the folder of the log, inside the private folder.
pub(super) const FOLDER: &str = "intents";

/// Stands in place of the boot in the name of a file whose entries are valid after a loss of power too, because the
/// images were flushed to the disk before they were published (`--fsync`).
const SYNCED: &str = "synced";

/// The write-ahead log of a run.
#[derive(Debug)]
pub struct Wal {
    folder: PathBuf,
    /// The beginning of the files' names: the boot in which their entries are valid, or [`SYNCED`].
    valid_in: String,
    synced: bool,
    files: AtomicU64,
    current: Mutex<Option<Arc<LogFile>>>,
    open: Mutex<OpenBatch>,
}

/// Entries that are written in one call: those that have come since the last call.
#[derive(Debug, Default)]
struct OpenBatch {
    lines: Vec<u8>,
    /// `None` while there are no entries.
    batch: Option<Arc<Batch>>,
}

/// How writing the entries of a batch ended.
#[derive(Debug, Default)]
struct Batch(OnceLock<Result<Arc<LogFile>, BatchError>>);

/// What is known of an error of the system, to be returned for every entry of a batch.
#[derive(Clone, Copy, Debug)]
struct BatchError {
    code: Option<i32>,
    kind: io::ErrorKind,
}

impl From<io::Error> for BatchError {
    fn from(error: io::Error) -> Self {
        Self { code: error.raw_os_error(), kind: error.kind() }
    }
}

impl From<BatchError> for io::Error {
    fn from(BatchError { code, kind }: BatchError) -> Self {
        code.map_or_else(|| kind.into(), Self::from_raw_os_error)
    }
}

/// One file of entries. It is removed when the last entry in it is dropped.
#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    file: File,
    length: AtomicU64,
    /// Set when an entry was dropped without being released. Then the file is not removed.
    is_kept: AtomicBool,
}

/// An entry about one file. If it is dropped without [`WalEntry::release`], the next run reads it.
#[derive(Debug)]
#[must_use = "the entry is kept until it is released"]
pub struct WalEntry(Option<Arc<LogFile>>);

impl WalEntry {
    /// To be called when the record is in the journal, or the file was not published.
    pub fn release(mut self) {
        self.0 = None;
    }
}

impl Drop for WalEntry {
    fn drop(&mut self) {
        if let Some(log) = &self.0 {
            log.is_kept.store(true, Ordering::Relaxed);
        }
    }
}

/// Identifies a file among all files that ever had its name. The number of the inode alone is not enough, because it is
/// used again after the file is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct FileMark {
    /// The number of its inode.
    pub inode: u64,
    /// When its bytes were last written, in nanoseconds since 1970.
    pub modified: i64,
}

impl FileMark {
    /// The mark of the file with these metadata.
    #[must_use]
    pub fn of(file: &fs::Metadata) -> Self {
        Self { inode: file.ino(), modified: file.mtime().saturating_mul(1_000_000_000) + file.mtime_nsec() }
    }
}

/// An entry of a killed run.
#[derive(Debug, PartialEq, Eq)]
pub struct EarlierEntry {
    /// The file that it is about.
    pub mark: FileMark,
    /// The record of the file, as a line of the journal.
    pub record: Vec<u8>,
}

#[derive(Deserialize)]
struct EntryLine<'a> {
    mark: FileMark,
    #[serde(borrow)]
    record: &'a RawValue,
}

impl EarlierEntry {
    /// The path of the saved file and its size in bytes, as the record has them. `None` if fetchimg cannot have written
    /// that path.
    pub(super) fn file(&self) -> Option<(String, u64)> {
        #[derive(Deserialize)]
        struct File {
            path: String,
            bytes: u64,
        }
        let File { path, bytes } = serde_json::from_slice(&self.record).ok()?;
        is_plain_path(&path).then_some((path, bytes))
    }
}

impl EarlierEntry {
    /// The path of the saved file and the SHA-256 of its content, if the record has it.
    pub(super) fn content(&self) -> Option<(String, String)> {
        #[derive(Deserialize)]
        struct Content {
            path: String,
            sha256: String,
        }
        let Content { path, sha256 } = serde_json::from_slice(&self.record).ok()?;
        Some((path, sha256))
    }
}

/// The entries of killed runs in this folder that are valid in the current `boot`. Empty if there is no such folder.
///
/// # Errors
/// When the folder or a file in it cannot be read.
pub(super) fn read(folder: &Path, boot: Option<&str>) -> io::Result<Vec<EarlierEntry>> {
    let mut entries = Vec::new();
    for path in paths(folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let valid_in = name.split('-').next().unwrap_or_default();
        if valid_in != SYNCED && Some(valid_in) != boot {
            continue;
        }
        // The last line of a file may be torn. Its file was not published yet, so it can be ignored.
        let lines = fs::read(&path)?;
        entries.extend(lines.split(|byte| *byte == b'\n').filter_map(|line| {
            let line = serde_json::from_slice::<EntryLine>(line).ok()?;
            Some(EarlierEntry { mark: line.mark, record: line.record.get().as_bytes().to_vec() })
        }));
    }
    Ok(entries)
}

/// Removes the entries of killed runs in this folder. To be called before the first entry of this run is written.
///
/// # Errors
/// When a file cannot be removed.
pub(super) fn clear(folder: &Path) -> io::Result<()> {
    paths(folder)?.iter().try_for_each(fs::remove_file)
}

/// The files of the log.
fn paths(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::symlink_metadata(folder) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => return Err(not_a_folder()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    }
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let (entry, path) = entry.map(|entry| (entry.file_type(), entry.path()))?;
        if entry?.is_file() && path.extension().is_some_and(|extension| extension == "jsonl") {
            paths.push(path);
        }
    }
    // In the order in which they were written.
    paths.sort();
    Ok(paths)
}

impl Wal {
    /// A log in this folder, which is created with the first entry. `boot` is the current boot (see
    /// [`boot_id`](crate::util::boot_id)). `synced` says that images are flushed to the disk before they are noted.
    #[must_use]
    pub fn new(folder: PathBuf, boot: Option<&str>, synced: bool) -> Self {
        let valid_in = if synced { SYNCED } else { boot.unwrap_or("unknown") };
        Self {
            folder,
            valid_in: valid_in.to_owned(),
            synced,
            files: AtomicU64::new(0),
            current: Mutex::default(),
            open: Mutex::default(),
        }
    }

    /// To be called at the end of the run: no more entries are written. The last file is removed with its last entry.
    pub fn close(&self) {
        *lock(&self.current) = None;
    }

    /// Writes the record of a file that is about to be published.
    ///
    /// # Errors
    /// When the entry cannot be written. Then the file must not be published.
    pub fn append(&self, mark: FileMark, record: &[u8]) -> io::Result<WalEntry> {
        self.write(&self.add(mark, record))
    }

    /// Like [`Wal::append`], in one call with the entries of all tasks that are ready now. To be awaited in a Tokio
    /// runtime.
    ///
    /// # Errors
    /// Those of [`Wal::append`].
    pub async fn append_with_others(&self, mark: FileMark, record: &[u8]) -> io::Result<WalEntry> {
        let batch = self.add(mark, record);
        // The runtime goes on with this task when those that are ready have had their turn. The first that goes on
        // writes the entries of all.
        yield_now().await;
        self.write(&batch)
    }

    /// Adds an entry to the open batch, and returns the batch.
    fn add(&self, FileMark { inode, modified }: FileMark, record: &[u8]) -> Arc<Batch> {
        let mut open = lock(&self.open);
        // Writing to memory cannot fail.
        let _ = write!(open.lines, "{{\"mark\":{{\"inode\":{inode},\"modified\":{modified}}},\"record\":");
        open.lines.extend_from_slice(record);
        open.lines.extend_from_slice(b"}\n");
        Arc::clone(open.batch.get_or_insert_default())
    }

    /// Writes a batch, if no other task has written it.
    fn write(&self, batch: &Batch) -> io::Result<WalEntry> {
        let written = batch.0.get_or_init(|| {
            // A batch is open until it is written, so the lines are those of this one.
            let OpenBatch { mut lines, .. } = std::mem::take(&mut *lock(&self.open));
            let written = self.write_lines(&lines)?;
            lines.clear();
            let mut open = lock(&self.open);
            if open.lines.capacity() == 0 {
                open.lines = lines;
            }
            Ok(written)
        });
        written.as_ref().map(|log| WalEntry(Some(Arc::clone(log)))).map_err(|error| (*error).into())
    }

    fn write_lines(&self, lines: &[u8]) -> io::Result<Arc<LogFile>> {
        let log = self.current()?;
        log.length.fetch_add(lines.len() as u64, Ordering::Relaxed);
        // One call for whole lines, so that those of several threads do not mix.
        let written = (&log.file).write_all(lines);
        // With `--fsync`, the entries have to be on the disk before the final names of the files.
        if let Err(error) = written.and_then(|()| if self.synced { log.file.sync_data() } else { Ok(()) }) {
            // A line may be torn, and an entry on the same line would be lost. The next entry goes into a new file.
            *lock(&self.current) = None;
            return Err(error);
        }
        Ok(log)
    }

    fn current(&self) -> io::Result<Arc<LogFile>> {
        let mut current = lock(&self.current);
        if let Some(log) = current.as_ref().filter(|log| log.length.load(Ordering::Relaxed) < MAX_FILE_BYTES) {
            return Ok(Arc::clone(log));
        }
        let number = self.files.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.join(format!("{}-{number:06}.jsonl", self.valid_in));
        let log = Arc::new(LogFile::create(path, self.synced)?);
        *current = Some(Arc::clone(&log));
        Ok(log)
    }
}

impl LogFile {
    fn create(path: PathBuf, synced: bool) -> io::Result<Self> {
        let create = |path: &Path| OpenOptions::new().append(true).create_new(true).open(path);
        let folder = path.parent().unwrap_or(Path::new("."));
        let file = match create(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Only this folder is created. If the one above is gone, the user has removed the output.
                match fs::create_dir(folder) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                    _ => create(&path),
                }
            }
            made => made,
        }?;
        if synced {
            // The folder may be new too, so the folder above is flushed as well.
            folder.ancestors().take(2).try_for_each(|folder| File::open(folder)?.sync_all())?;
        }
        Ok(Self { path, file, length: AtomicU64::new(0), is_kept: AtomicBool::new(false) })
    }
}

impl Drop for LogFile {
    fn drop(&mut self) {
        if !*self.is_kept.get_mut() {
            // If it cannot be removed, the next run reads it. Its records are in the journal already, which is
            // harmless.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(inode: u64) -> FileMark {
        FileMark { inode, modified: 1_700_000_000_123_456_789 }
    }

    fn entry(inode: u64, record: &str) -> EarlierEntry {
        EarlierEntry { mark: mark(inode), record: record.into() }
    }

    fn wal(folder: &Path, boot: &str, synced: bool) -> Wal {
        Wal::new(folder.join(FOLDER), Some(boot), synced)
    }

    #[test]
    fn the_entries_of_a_killed_run_are_found_in_the_same_boot_only() {
        let folder = tempfile::tempdir().expect("a folder");
        let killed = wal(folder.path(), "boot", false);
        assert_eq!(read(&folder.path().join(FOLDER), Some("boot")).expect("left"), [], "there is no folder yet");
        let done = killed.append(mark(1), br#"{"a":1}"#).expect("append");
        done.release();
        let open = killed.append(mark(2), br#"{"b":[2]}"#).expect("append");
        std::mem::forget((killed, open));

        let next = wal(folder.path(), "boot", false);
        assert_eq!(
            read(&folder.path().join(FOLDER), Some("boot")).expect("left"),
            [entry(1, r#"{"a":1}"#), entry(2, r#"{"b":[2]}"#)]
        );
        assert_eq!(
            read(&folder.path().join(FOLDER), Some("other")).expect("left"),
            [],
            "power may have been lost in between"
        );
        assert_eq!(read(&folder.path().join(FOLDER), None).expect("left"), []);
        clear(&folder.path().join(FOLDER)).expect("clear");
        drop(next);
        assert_eq!(read(&folder.path().join(FOLDER), Some("boot")).expect("left"), []);
    }

    #[test]
    fn entries_about_flushed_files_are_valid_in_every_boot() {
        let folder = tempfile::tempdir().expect("a folder");
        let killed = wal(folder.path(), "boot", true);
        std::mem::forget(killed.append(mark(7), b"{}").expect("append"));
        assert_eq!(read(&folder.path().join(FOLDER), Some("other")).expect("left"), [entry(7, "{}")]);
        assert_eq!(read(&folder.path().join(FOLDER), None).expect("left"), [entry(7, "{}")]);
    }

    #[test]
    fn a_file_of_the_log_is_removed_when_all_its_entries_are_released_and_kept_otherwise() {
        let folder = tempfile::tempdir().expect("a folder");
        let count = || fs::read_dir(folder.path().join(FOLDER)).map_or(0, Iterator::count);
        let run = wal(folder.path(), "boot", false);
        let long = vec![b' '; 300_000];
        let mut entries = (0..9).map(|inode| run.append(mark(inode), &long).expect("append")).collect::<Vec<_>>();
        assert_eq!(count(), 3);
        entries.drain(..4).for_each(WalEntry::release);
        assert_eq!(count(), 2, "all entries of the oldest file are released");
        let last = entries.pop();
        entries.drain(..).for_each(WalEntry::release);
        assert_eq!(count(), 1);
        drop(last);
        drop(run);
        assert_eq!(count(), 1, "kept for the next run");
    }

    #[tokio::test]
    async fn entries_that_come_together_are_written_in_one_call() {
        let folder = tempfile::tempdir().expect("a folder");
        let run = wal(folder.path(), "boot", false);
        let written = || read(&folder.path().join(FOLDER), Some("boot")).expect("the log");
        let append = |inode| Box::pin(run.append_with_others(mark(inode), b"{}"));
        let (mut first, mut second, mut gone) = (append(1), append(2), append(3));
        for other in [&mut first, &mut second, &mut gone] {
            assert!(futures::poll!(other).is_pending());
        }
        assert_eq!(written(), [], "nothing is written yet");
        let first = first.await.expect("append");
        assert_eq!(written(), [1, 2, 3].map(|inode| entry(inode, "{}")));
        drop(gone);
        let second = second.await.expect("append");
        assert_eq!(written().len(), 3, "it was written with the first");
        let alone = run.append_with_others(mark(4), b"{}").await.expect("append");
        assert_eq!(written().len(), 4);
        [first, second, alone].into_iter().for_each(WalEntry::release);
        drop(run);
        assert_eq!(written(), [], "a task that is gone keeps no entry");
    }

    #[tokio::test]
    async fn entries_that_cannot_be_written_fail_all() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join(FOLDER), "not a folder").expect("write");
        let run = wal(folder.path(), "boot", false);
        let others = [1, 2].map(|inode| Box::pin(run.append_with_others(mark(inode), b"{}")));
        for failed in futures::future::join_all(others).await {
            assert_eq!(failed.expect_err("no folder").kind(), io::ErrorKind::NotADirectory);
        }
        fs::remove_file(folder.path().join(FOLDER)).expect("remove");
        run.append(mark(3), b"{}").expect("append").release();
    }

    #[test]
    fn a_torn_line_harms_no_other() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join(FOLDER)).expect("a folder");
        let text = "{\"mark\":{\"inode\":1,\"modified\":1700000000123456789},\"record\":{}}\n\0\u{1b}\n{\"mark\":{\"inode\":2,\"modified\":1700000000123456789},\"record\":{}}\n{\"mark\":{\"inode\":3";
        fs::write(folder.path().join("intents/boot-000000.jsonl"), text).expect("write");
        assert_eq!(read(&folder.path().join(FOLDER), Some("boot")).expect("left"), [entry(1, "{}"), entry(2, "{}")]);
    }
}
