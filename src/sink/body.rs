//! The bytes of one download, until it is complete.
//!
//! A body of up to 256 KiB stays in memory and is written in one call when it is complete. A larger one is written to a
//! part file (see [`SpillDir`]), and so is one whose download waits for a retry: memory is for downloads in progress. When
//! a body is dropped before it is complete, its part file is kept if a later run can resume it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use bytes::Bytes;
use url::Url;

use super::resume::{HASH_DIGITS, Origin, SpillDir, Unfinished};
use crate::record::url_hash;

/// Bytes of a body that stay in memory until it is complete; a larger one needs a part file. The median picture of the web
/// has 23 KB, and one in a hundred has more than this. If all were just below, 256 downloads at once would hold 64 MiB.
pub(super) const MAX_IN_MEMORY: usize = 256 * 1024;

/// Bytes of a larger body that are buffered before they are written.
pub(super) const WRITE_BUFFER: usize = 64 * 1024;

/// From this many bytes on, a system call costs less than a copy into the buffer.
const MIN_DIRECT_WRITE: usize = 16 * 1024;

/// Bytes from which on a part of a body is kept for a later run. Less is fetched again in less time than a file for it
/// takes to be made, read and removed.
const MIN_KEPT: u64 = WRITE_BUFFER as u64;

/// The bytes of one download, until it is complete.
#[derive(Debug)]
pub struct Body<'a> {
    dir: &'a SpillDir,
    origin: Option<Origin<'a>>,
    buffer: Vec<u8>,
    /// Bytes that the buffer may hold.
    capacity: usize,
    /// The last bytes of a body of known length, as they came: they are written from where they are. Earlier frames are
    /// copied, since each would keep the memory of a whole read while more is awaited.
    end: Bytes,
    /// The length of the whole, if that is known.
    expected: Option<u64>,
    pub(super) file: Option<SpillFile>,
    length: u64,
}

impl SpillDir {
    /// A place for a body of about `expected` bytes, if that is known. With its `origin`, what there is of it is kept
    /// when it is dropped, unless that is hardly anything.
    #[must_use]
    pub fn body<'a>(&'a self, expected: Option<u64>, origin: Option<Origin<'a>>) -> Body<'a> {
        let capacity =
            if expected.is_some_and(|expected| expected > MAX_IN_MEMORY as u64) { WRITE_BUFFER } else { MAX_IN_MEMORY };
        let (buffer, end) = (Vec::new(), Bytes::new());
        Body { dir: self, origin, buffer, capacity, end, expected, file: None, length: 0 }
    }

    /// What an earlier run has of the body at this URL, if it can be resumed.
    #[must_use]
    pub fn unfinished<'a>(&'a self, url: &'a Url) -> Option<Body<'a>> {
        if self.unfinished.is_empty() {
            return None;
        }
        let Unfinished { path, length, source, validator, total } =
            self.unfinished.get(&url_hash(url)[..HASH_DIGITS])?;
        // A second pass over the list finds it gone, or as the first one left it.
        let found = fs::symlink_metadata(path).ok().filter(|found| found.is_file() && found.len() == *length)?;
        let origin = Origin { url, source: *source, validator: validator.clone(), total: *total };
        let file = Some(SpillFile { file: None, path: path.clone(), is_kept: true });
        let (buffer, end) = (Vec::new(), Bytes::new());
        let (expected, length) = (*total, found.len());
        Some(Body { dir: self, origin: Some(origin), buffer, capacity: WRITE_BUFFER, end, expected, file, length })
    }
}

impl Body<'_> {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// When they cannot be written to the part file.
    pub fn write(&mut self, bytes: &Bytes) -> io::Result<()> {
        let written = self.append(bytes);
        self.sealed_on_error(written)
    }

    /// After a failed write the file still holds the beginning of the body, and a later run can resume it. Nothing may be
    /// appended to it, because it is not known where it ends.
    fn sealed_on_error<T>(&mut self, written: io::Result<T>) -> io::Result<T> {
        if written.is_err() {
            (self.buffer, self.end) = (Vec::new(), Bytes::new());
            if self.file.is_none() {
                self.origin = None;
            }
        }
        written
    }

    fn append(&mut self, bytes: &Bytes) -> io::Result<()> {
        if self.file.is_none() && self.expected == Some(self.length + bytes.len() as u64) && self.end.is_empty() {
            self.end = bytes.clone();
            self.length += bytes.len() as u64;
            return Ok(());
        }
        let end = std::mem::take(&mut self.end);
        self.buffer.extend_from_slice(&end);
        let is_full = self.buffer.len() + bytes.len() > self.capacity;
        // Large frames of a body that has a file are written without another copy.
        let is_large = bytes.len() > MIN_DIRECT_WRITE && (is_full || self.file.is_some());
        if is_full || is_large {
            let file = match &mut self.file {
                Some(file) => file,
                empty => empty.insert(self.dir.create(self.origin.as_ref())?),
            };
            let file = file.open()?;
            if !self.buffer.is_empty() {
                file.write_all(&self.buffer)?;
                self.buffer.clear();
            }
            if self.capacity > WRITE_BUFFER {
                self.capacity = WRITE_BUFFER;
                self.buffer.shrink_to(WRITE_BUFFER);
            }
            if is_large {
                file.write_all(bytes)?;
            }
        }
        if !is_large {
            if self.buffer.capacity() == 0 {
                let expected = self.expected.map_or(0, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
                self.buffer.reserve_exact(expected.min(self.capacity));
            }
            self.buffer.extend_from_slice(bytes);
        }
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Moves what there is to the part file and closes it: many bodies may wait for a retry at once.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn spill(&mut self) -> io::Result<()> {
        let named = match &mut self.file {
            Some(named) => named,
            empty => empty.insert(self.dir.create(self.origin.as_ref())?),
        };
        let written = named.open().and_then(|file| write_both(file, &self.buffer, &self.end));
        named.file = None;
        self.sealed_on_error(written)?;
        (self.buffer, self.capacity, self.end) = (Vec::new(), WRITE_BUFFER, Bytes::new());
        Ok(())
    }

    /// Shows what an earlier run has left, block by block, while `wanted` says `true`. Returns whether it did to the end.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn each_block(&self, mut wanted: impl FnMut(&[u8]) -> bool) -> io::Result<bool> {
        let Some(named) = &self.file else { return Ok(true) };
        let mut file = File::open(&named.path)?;
        let mut block = vec![0; WRITE_BUFFER];
        loop {
            match file.read(&mut block)? {
                0 => return Ok(true),
                length if wanted(&block[..length]) => {}
                _ => return Ok(false),
            }
        }
    }

    /// What identifies the body, if it can be resumed.
    #[must_use]
    pub const fn origin(&self) -> Option<&Origin<'_>> {
        self.origin.as_ref()
    }

    /// Gives the body up: no later run resumes it.
    pub fn discard(mut self) {
        self.origin = None;
        if let Some(named) = &mut self.file {
            named.is_kept = false;
        }
    }

    /// Nothing more comes: what is dropped from now on is not kept for a later run.
    pub(super) fn complete(&mut self) {
        self.origin = None;
    }

    /// What is in memory, to be written to `file` behind what is there.
    pub(super) fn write_buffered(&self, file: &mut File) -> io::Result<()> {
        write_both(file, &self.buffer, &self.end)
    }

    /// The part file of a complete body, with all its bytes. It is removed when it is dropped.
    pub(super) fn into_spill_file(mut self) -> io::Result<SpillFile> {
        let mut named = match self.file.take() {
            Some(named) => named,
            None => self.dir.create(None)?,
        };
        named.is_kept = false;
        self.write_buffered(named.open()?)?;
        Ok(named)
    }

    /// Whether all of it is in memory.
    pub(super) const fn is_in_memory(&self) -> bool {
        self.file.is_none()
    }

    /// Bytes taken so far.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// All bytes taken so far, to be read from any position.
    ///
    /// # Errors
    /// When they cannot be written to their file or read back.
    pub fn reader(&mut self) -> io::Result<BodyReader<'_>> {
        let end = std::mem::take(&mut self.end);
        if let Some(named) = &mut self.file {
            let written = named.open().and_then(|file| write_both(file, &self.buffer, &end));
            let stored = written.and_then(|()| File::open(&named.path));
            self.buffer.clear();
            return self.sealed_on_error(stored).map(BodyReader::Stored);
        }
        if self.buffer.is_empty() {
            self.end = end;
            return Ok(BodyReader::InMemory(Cursor::new(&self.end)));
        }
        self.buffer.extend_from_slice(&end);
        Ok(BodyReader::InMemory(Cursor::new(&self.buffer)))
    }

    /// Like [`Body::reader`], but owned, for a worker thread: bytes in memory are copied.
    ///
    /// # Errors
    /// When they cannot be written to their file or read back.
    pub fn owned(&mut self) -> io::Result<OwnedBody> {
        Ok(match self.reader()? {
            BodyReader::InMemory(bytes) => OwnedBody::InMemory(Cursor::new(bytes.into_inner().to_vec())),
            BodyReader::Stored(file) => OwnedBody::Stored(file),
        })
    }
}

impl Drop for Body<'_> {
    fn drop(&mut self) {
        // It was published or given up, or cannot be resumed.
        let Some(origin) = self.origin.take() else { return };
        // A body with its end is whole, and has no rest to ask for.
        if self.length - (self.end.len() as u64) < MIN_KEPT {
            self.file.iter_mut().for_each(|named| named.is_kept = false);
            return;
        }
        let named = match self.file.take() {
            Some(named) => Ok(named),
            None => self.dir.create(Some(&origin)),
        };
        // A later run can resume a shorter part as well, so a failed write does not matter.
        let _ = named.and_then(|mut named| {
            let has_more = named.is_kept && !self.buffer.is_empty();
            if has_more { named.open()?.write_all(&self.buffer) } else { Ok(()) }
        });
    }
}

/// A part file. It is removed when this is dropped, unless it is kept for a later run.
#[derive(Debug)]
pub(super) struct SpillFile {
    /// `None` while the download waits for a retry.
    file: Option<File>,
    pub(super) path: PathBuf,
    pub(super) is_kept: bool,
}

impl SpillFile {
    /// A file that was just made.
    pub(super) const fn new(file: File, path: PathBuf, is_kept: bool) -> Self {
        Self { file: Some(file), path, is_kept }
    }

    /// The file, open at its end.
    pub(super) fn open(&mut self) -> io::Result<&mut File> {
        Ok(match &mut self.file {
            Some(file) => file,
            closed => closed.insert(OpenOptions::new().append(true).open(&self.path)?),
        })
    }
}

impl Drop for SpillFile {
    fn drop(&mut self) {
        if !self.is_kept {
            // After a rename there is nothing left to remove, and there is no one to report another failure to.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Reads the bytes of a body.
#[derive(Debug)]
pub enum BodyReader<'a> {
    /// All in memory.
    InMemory(Cursor<&'a [u8]>),
    /// In its part file.
    Stored(File),
}

impl Read for BodyReader<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::InMemory(bytes) => bytes.read(into),
            Self::Stored(file) => file.read(into),
        }
    }
}

impl Seek for BodyReader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match self {
            Self::InMemory(bytes) => bytes.seek(to),
            Self::Stored(file) => file.seek(to),
        }
    }
}

/// Reads the bytes of a body, and owns them.
#[derive(Debug)]
pub enum OwnedBody {
    /// All in memory.
    InMemory(Cursor<Vec<u8>>),
    /// In the part file.
    Stored(File),
}

impl Read for OwnedBody {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::InMemory(bytes) => bytes.read(into),
            Self::Stored(file) => file.read(into),
        }
    }
}

/// Writes what is buffered of a body, mostly in one call.
fn write_both(file: &mut File, buffer: &[u8], end: &[u8]) -> io::Result<()> {
    [buffer, end].into_iter().filter(|bytes| !bytes.is_empty()).try_for_each(|bytes| file.write_all(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_waits_holds_no_memory_and_goes_on_where_it_was() {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = SpillDir::open(folder.path().to_owned(), None).expect("open");
        for size in [10, 3 * MAX_IN_MEMORY + 7] {
            let bytes = (0..=250).cycle().take(size).collect::<Vec<u8>>();
            let mut part = dir.body(None, None);
            for piece in bytes.chunks(size / 3) {
                part.write(&Bytes::copy_from_slice(piece)).expect("write");
                part.spill().expect("rest");
                assert_eq!(part.buffer.capacity(), 0);
                assert!(part.file.as_ref().is_some_and(|named| named.file.is_none()));
            }
            let mut stored = Vec::new();
            part.reader().and_then(|mut reader| reader.read_to_end(&mut stored)).expect("read");
            assert!(stored == bytes);
            drop(part);
            assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
        }
    }

    #[test]
    fn what_is_kept_of_a_body_is_its_beginning_though_a_write_failed_halfway() {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = SpillDir::open(folder.path().to_owned(), Some("boot".into())).expect("open");
        let url = Url::parse("http://a.example/a.png").expect("a URL");
        let body = (0..=250).cycle().take(MAX_IN_MEMORY + 3 * WRITE_BUFFER).collect::<Vec<u8>>();
        let origin = Origin { url: &url, source: 1, validator: (*b"\"1\"").into(), total: Some(body.len() as u64) };
        let mut part = dir.body(Some(body.len() as u64), Some(origin));
        let (first, rest) = body.split_at(body.len() - 100);
        first.chunks(1000).for_each(|piece| part.write(&Bytes::copy_from_slice(piece)).expect("write"));
        // As on a disk that is full: nothing can be written there any more.
        let named = part.file.as_mut().expect("a file");
        named.file = Some(File::open(&named.path).expect("open"));
        let path = named.path.clone();
        part.write(&Bytes::copy_from_slice(rest)).expect("capacity in memory");
        assert!(part.reader().is_err());
        // And then there is capacity again.
        part.file.as_mut().expect("a file").file = None;
        drop(part);
        let kept = fs::read(path).expect("read");
        assert!(kept.len() >= WRITE_BUFFER && body.starts_with(&kept), "{} bytes", kept.len());
    }
}
