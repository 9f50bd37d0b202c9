//! An object as a file, of which only what is read is fetched.

use std::collections::VecDeque;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::Store;
use crate::util::lock;

/// What one request fetches, in bytes.
const BLOCK_BYTES: u64 = 1 << 20;

/// Blocks that are kept. The columns of a Parquet file are read side by side, each from a place of its own.
const MAX_BLOCKS: usize = 64;

/// An object that is open for reading. The object must stay the same meanwhile: what is read of another version is an error.
#[derive(Clone, Debug)]
pub struct ObjectReader {
    object: Arc<OpenObject>,
    position: u64,
}

#[derive(Debug)]
struct OpenObject {
    store: Store,
    name: String,
    length: u64,
    /// The entity tag of the version that was found first.
    version: Option<String>,
    /// The blocks that were read last, by their numbers, the latest one in front.
    blocks: Mutex<VecDeque<(u64, Bytes)>>,
}

impl Store {
    /// Opens an object for reading.
    ///
    /// # Errors
    /// When it is not there ([`io::ErrorKind::NotFound`]), or cannot be read.
    pub fn open(&self, name: &str) -> io::Result<ObjectReader> {
        let (length, version) = self.look_at(name)?;
        let object =
            OpenObject { store: self.clone(), name: name.to_owned(), length, version, blocks: Mutex::default() };
        Ok(ObjectReader { object: Arc::new(object), position: 0 })
    }
}

impl ObjectReader {
    /// The size of the object in bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.object.length
    }

    /// A reader of the same object that begins at `position`.
    #[must_use]
    pub fn at(&self, position: u64) -> Self {
        Self { object: Arc::clone(&self.object), position }
    }
}

impl OpenObject {
    fn block(&self, number: u64) -> io::Result<Bytes> {
        let mut blocks = lock(&self.blocks);
        if let Some(place) = blocks.iter().position(|(known, _)| *known == number) {
            let block = blocks.remove(place).unwrap_or_default();
            blocks.push_front(block.clone());
            return Ok(block.1);
        }
        let begin = number * BLOCK_BYTES;
        let range = begin..self.length.min(begin + BLOCK_BYTES);
        let expected = range.end - range.start;
        let bytes = Bytes::from(self.store.range(&self.name, range, self.version.as_deref())?);
        if bytes.len() as u64 != expected {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the store gave less of it than it is long"));
        }
        blocks.truncate(MAX_BLOCKS - 1);
        blocks.push_front((number, bytes.clone()));
        Ok(bytes)
    }
}

impl Read for ObjectReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position >= self.object.length || buffer.is_empty() {
            return Ok(0);
        }
        let block = self.object.block(self.position / BLOCK_BYTES)?;
        let begin = usize::try_from(self.position % BLOCK_BYTES).unwrap_or(usize::MAX);
        let count = (block.len() - begin).min(buffer.len());
        buffer[..count].copy_from_slice(&block[begin..begin + count]);
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for ObjectReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(distance) => self.object.length.checked_add_signed(distance),
            SeekFrom::Current(distance) => self.position.checked_add_signed(distance),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
