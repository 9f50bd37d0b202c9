//! Holds the bytes of one download until it is complete.
//!
//! A body of up to 256 KiB stays in memory and is written in one call when it is complete. A larger body is written to
//! a part file (see [`SpillDir`]). So is the body of a download that waits for a retry, because many may wait at once.
//! When a body is dropped before it is complete, its part file is kept if a later run can resume it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Cursor, IoSlice, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use bytes::Bytes;
use url::Url;

use super::resume::{HASH_DIGITS, Origin, SpillDir, Unfinished};
use crate::record::url_hash;

/// The largest body, in bytes, that stays in memory until it is complete. The median image on the web has 23 KB, and
/// one in a hundred is larger than this. 256 concurrent downloads hold at most 64 MiB.
pub(super) const MAX_IN_MEMORY: usize = 256 * 1024;

/// The number of bytes of a larger body that are buffered before they are written.
pub(super) const WRITE_BUFFER: usize = 64 * 1024;

/// From this many bytes on, a system call costs less than a copy into the buffer.
const MIN_DIRECT_WRITE: usize = 16 * 1024;

/// The smallest partial body, in bytes, that is kept for a later run. Fetching fewer bytes again takes less time than
/// creating, reading and removing a file.
const MIN_RESUMABLE: u64 = WRITE_BUFFER as u64;

/// The bytes of one download, until it is complete.
#[derive(Debug)]
pub struct Body<'a> {
    dir: &'a SpillDir,
    origin: Option<Origin<'a>>,
    buffer: Vec<u8>,
    /// The number of bytes that the buffer may hold.
    capacity: usize,
    /// The last frame of a body of known length. It is written without a copy into the buffer. Earlier frames are
    /// copied, because each of them would keep the buffer of a whole read alive until the body is complete.
    end: Bytes,
    /// The length of the whole body in bytes, if that is known.
    expected: Option<u64>,
    pub(super) file: Option<SpillFile>,
    length: u64,
}

impl SpillDir {
    /// A new body, of `expected` bytes if that is known. With an `origin`, a partial body is kept for a later run when
    /// it is dropped, if it is long enough to be worth it.
    #[must_use]
    pub fn body<'a>(&'a self, expected: Option<u64>, origin: Option<Origin<'a>>) -> Body<'a> {
        let capacity =
            if expected.is_some_and(|expected| expected > MAX_IN_MEMORY as u64) { WRITE_BUFFER } else { MAX_IN_MEMORY };
        let (buffer, end) = (Vec::new(), Bytes::new());
        Body { dir: self, origin, buffer, capacity, end, expected, file: None, length: 0 }
    }

    /// The partial body of this URL that an earlier run has left, if it can be resumed.
    #[must_use]
    pub fn unfinished<'a>(&'a self, url: &'a Url) -> Option<Body<'a>> {
        if self.unfinished.is_empty() {
            return None;
        }
        let Unfinished { path, length, source, validator, total } =
            self.unfinished.get(&url_hash(url)[..HASH_DIGITS])?;
        // In a second pass over the list, the file may be gone or may have changed since it was found.
        let found = fs::symlink_metadata(path).ok().filter(|found| found.is_file() && found.len() == *length)?;
        let origin = Origin { url, source: *source, validator: validator.clone(), total: *total };
        let file = Some(SpillFile { file: None, path: path.clone(), is_kept: true });
        let (buffer, end) = (Vec::new(), Bytes::new());
        let (expected, length) = (*total, found.len());
        Some(Body { dir: self, origin: Some(origin), buffer, capacity: WRITE_BUFFER, end, expected, file, length })
    }
}

impl Body<'_> {
    /// Appends the next bytes.
    ///
    /// # Errors
    /// When the part file cannot be written.
    pub fn write(&mut self, bytes: &Bytes) -> io::Result<()> {
        let written = self.append(bytes);
        self.drop_buffer_on_error(written)
    }

    /// After a failed write, drops what is buffered. The file still holds the beginning of the body, which a later run
    /// can resume. Nothing more may be appended to it, because it is not known how much of the failed write is in it.
    fn drop_buffer_on_error<T>(&mut self, written: io::Result<T>) -> io::Result<T> {
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
        // Large frames are written to the file directly, without a copy into the buffer.
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

    /// Moves all bytes to the part file and closes it, because many bodies may wait for a retry at once.
    ///
    /// # Errors
    /// When the part file cannot be written.
    pub fn spill(&mut self) -> io::Result<()> {
        let spilled = match &mut self.file {
            Some(spilled) => spilled,
            empty => empty.insert(self.dir.create(self.origin.as_ref())?),
        };
        let written = spilled.open().and_then(|file| write_both(file, &self.buffer, &self.end));
        spilled.file = None;
        self.drop_buffer_on_error(written)?;
        (self.buffer, self.capacity, self.end) = (Vec::new(), WRITE_BUFFER, Bytes::new());
        Ok(())
    }

    /// Calls `is_wanted` for the bytes in the part file, block by block, until it returns `false`. Returns whether it
    /// returned `true` for all of them.
    ///
    /// # Errors
    /// When the part file cannot be read.
    pub fn each_block(&self, mut is_wanted: impl FnMut(&[u8]) -> bool) -> io::Result<bool> {
        let Some(spilled) = &self.file else { return Ok(true) };
        let mut file = File::open(&spilled.path)?;
        let mut block = vec![0; WRITE_BUFFER];
        loop {
            match file.read(&mut block)? {
                0 => return Ok(true),
                length if is_wanted(&block[..length]) => {}
                _ => return Ok(false),
            }
        }
    }

    /// What identifies the body for a later run, if it can be resumed.
    #[must_use]
    pub const fn origin(&self) -> Option<&Origin<'_>> {
        self.origin.as_ref()
    }

    /// Drops the body so that no later run resumes it.
    pub fn discard(mut self) {
        self.origin = None;
        if let Some(spilled) = &mut self.file {
            spilled.is_kept = false;
        }
    }

    /// Nothing more comes: what is in memory is not kept for a later run from now on.
    pub(super) fn complete(&mut self) {
        self.origin = None;
    }

    /// All bytes are in another file, too: the part file goes with the body. If the run is killed before that, it stays.
    pub(super) fn is_copied(&mut self) {
        self.file.iter_mut().for_each(|spilled| spilled.is_kept = false);
    }

    /// Appends all bytes to `file`, which may be on another file system than the part file.
    pub(super) fn copy_to(&self, file: &mut File) -> io::Result<()> {
        if let Some(spilled) = &self.file {
            io::copy(&mut File::open(&spilled.path)?, file)?;
        }
        write_both(file, &self.buffer, &self.end)
    }

    /// The part file of a complete body, with all its bytes. It is removed when it is dropped.
    pub(super) fn into_spill_file(mut self) -> io::Result<SpillFile> {
        let mut spilled = match self.file.take() {
            Some(spilled) => spilled,
            None => self.dir.create(None)?,
        };
        spilled.is_kept = false;
        write_both(spilled.open()?, &self.buffer, &self.end)?;
        Ok(spilled)
    }

    /// Whether all bytes are in memory.
    pub(super) const fn is_in_memory(&self) -> bool {
        self.file.is_none()
    }

    /// The bytes, in two parts of which one may be empty, if all of them are in memory.
    #[cfg(feature = "parquet")]
    pub(super) fn in_memory(&self) -> Option<[&[u8]; 2]> {
        self.is_in_memory().then(|| [&self.buffer[..], &self.end[..]])
    }

    /// The number of bytes received so far.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// A reader of all bytes received so far, from the first one.
    ///
    /// # Errors
    /// When the part file cannot be written or read back.
    pub fn reader(&mut self) -> io::Result<BodyReader<'_>> {
        let end = std::mem::take(&mut self.end);
        if let Some(spilled) = &mut self.file {
            let written = spilled.open().and_then(|file| write_both(file, &self.buffer, &end));
            let stored = written.and_then(|()| File::open(&spilled.path));
            self.buffer.clear();
            return self.drop_buffer_on_error(stored).map(BodyReader::Stored);
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
    /// When the part file cannot be written or read back.
    pub fn owned(&mut self) -> io::Result<OwnedBody> {
        Ok(match self.reader()? {
            BodyReader::InMemory(bytes) => OwnedBody::InMemory(Cursor::new(bytes.into_inner().to_vec())),
            BodyReader::Stored(file) => OwnedBody::Stored(file),
        })
    }
}

impl Drop for Body<'_> {
    fn drop(&mut self) {
        // Without an origin, it was completed or discarded, or cannot be resumed.
        let Some(origin) = self.origin.take() else { return };
        // The last frame is not kept: a later run must have something left to request.
        if self.length - (self.end.len() as u64) < MIN_RESUMABLE {
            self.file.iter_mut().for_each(|spilled| spilled.is_kept = false);
            return;
        }
        let spilled = match self.file.take() {
            Some(spilled) => Ok(spilled),
            None => self.dir.create(Some(&origin)),
        };
        // A later run can resume a shorter part as well, so a failed write does not matter.
        let _ = spilled.and_then(|mut spilled| {
            let has_more = spilled.is_kept && !self.buffer.is_empty();
            if has_more { spilled.open()?.write_all(&self.buffer) } else { Ok(()) }
        });
    }
}

/// A part file. It is removed when this is dropped, unless `is_kept` is set.
#[derive(Debug)]
pub(super) struct SpillFile {
    /// `None` while the download waits for a retry.
    file: Option<File>,
    pub(super) path: PathBuf,
    pub(super) is_kept: bool,
}

impl SpillFile {
    /// A part file that was just created.
    pub(super) const fn new(file: File, path: PathBuf, is_kept: bool) -> Self {
        Self { file: Some(file), path, is_kept }
    }

    /// The file, opened for appending.
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

/// Writes the two parts of a body that are in memory, of which one is often empty, in one call.
fn write_both(file: &mut File, buffer: &[u8], end: &[u8]) -> io::Result<()> {
    let mut written = 0;
    if !buffer.is_empty() && !end.is_empty() {
        written = match file.write_vectored(&[IoSlice::new(buffer), IoSlice::new(end)]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            written => written?,
        };
    }
    // Mostly nothing is left.
    file.write_all(buffer.get(written..).unwrap_or_default())?;
    file.write_all(end.get(written.saturating_sub(buffer.len())..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spilled_body_holds_no_memory_and_takes_further_bytes() {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = SpillDir::open(folder.path().to_owned(), None).expect("open");
        for size in [10, 3 * MAX_IN_MEMORY + 7] {
            let bytes = (0..=250).cycle().take(size).collect::<Vec<u8>>();
            let mut body = dir.body(None, None);
            for piece in bytes.chunks(size / 3) {
                body.write(&Bytes::copy_from_slice(piece)).expect("write");
                body.spill().expect("spill");
                assert_eq!(body.buffer.capacity(), 0);
                assert!(body.file.as_ref().is_some_and(|spilled| spilled.file.is_none()));
            }
            let mut stored = Vec::new();
            body.reader().and_then(|mut reader| reader.read_to_end(&mut stored)).expect("read");
            assert!(stored == bytes);
            drop(body);
            assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
        }
    }

    #[test]
    fn the_beginning_of_a_body_is_kept_even_if_a_write_failed_halfway() {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = SpillDir::open(folder.path().to_owned(), Some("boot".into())).expect("open");
        let url = Url::parse("http://a.example/a.png").expect("a URL");
        let bytes = (0..=250).cycle().take(MAX_IN_MEMORY + 3 * WRITE_BUFFER).collect::<Vec<u8>>();
        let total = bytes.len() as u64;
        let origin = Origin { url: &url, source: 1, validator: (*b"\"1\"").into(), total: Some(total) };
        let mut body = dir.body(Some(total), Some(origin));
        let (first, rest) = bytes.split_at(bytes.len() - 100);
        first.chunks(1000).for_each(|piece| body.write(&Bytes::copy_from_slice(piece)).expect("write"));
        // As on a full disk: the file is open for reading only, so that writing fails.
        let spilled = body.file.as_mut().expect("a part file");
        spilled.file = Some(File::open(&spilled.path).expect("open"));
        let path = spilled.path.clone();
        body.write(&Bytes::copy_from_slice(rest)).expect("the rest fits into the buffer");
        assert!(body.reader().is_err());
        // Then the disk has free space again.
        body.file.as_mut().expect("a part file").file = None;
        drop(body);
        let kept = fs::read(path).expect("read");
        assert!(kept.len() >= WRITE_BUFFER && bytes.starts_with(&kept), "{} bytes", kept.len());
    }
}
