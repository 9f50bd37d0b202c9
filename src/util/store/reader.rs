//! An object as a file, of which only what is read is fetched.

use std::collections::VecDeque;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::client::{ComingRange, Store};
use crate::util::lock;

/// What one request fetches, in bytes.
const BLOCK_BYTES: u64 = 1 << 20;

/// Blocks that one request fetches at most, where an object is read from its beginning to its end.
const MAX_BLOCKS_AHEAD: u64 = 8;

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
    blocks: Mutex<Blocks>,
}

#[derive(Debug, Default)]
struct Blocks {
    /// The blocks that were read last, by their numbers, the latest one in front.
    kept: VecDeque<(u64, Bytes)>,
    /// The block behind those that were fetched last, and their number.
    next: u64,
    ahead: u64,
    /// Those from there on, if they are on their way: while what was read before is used.
    coming: Option<ComingRange>,
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
    /// The bytes of so many blocks, as far as the object has them.
    fn range(&self, number: u64, count: u64) -> Range<u64> {
        number * BLOCK_BYTES..self.length.min((number + count) * BLOCK_BYTES)
    }

    fn begin(&self, range: Range<u64>) -> io::Result<ComingRange> {
        self.store.begin_range(&self.name, range, self.version.as_deref())
    }

    fn block(&self, number: u64) -> io::Result<Bytes> {
        let mut blocks = lock(&self.blocks);
        if let Some(place) = blocks.kept.iter().position(|(known, _)| *known == number) {
            let block = blocks.kept.remove(place).unwrap_or_default();
            blocks.kept.push_front(block.clone());
            return Ok(block.1);
        }
        let is_next = number == blocks.next && number > 0;
        blocks.ahead = if is_next { (2 * blocks.ahead).min(MAX_BLOCKS_AHEAD) } else { 1 };
        let coming = blocks.coming.take().filter(|_| is_next);
        let range = self.range(number, blocks.ahead);
        let expected = range.end - range.start;
        let bytes = match coming {
            Some(coming) => coming.wait()?,
            None => self.begin(range)?.wait()?,
        };
        if bytes.len() as u64 != expected {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the store gave less of it than it is long"));
        }
        blocks.next = number + blocks.ahead;
        let following = self.range(blocks.next, MAX_BLOCKS_AHEAD);
        if blocks.ahead == MAX_BLOCKS_AHEAD && !following.is_empty() {
            blocks.coming = Some(self.begin(following)?);
        }
        let block_bytes = usize::try_from(BLOCK_BYTES).unwrap_or(usize::MAX);
        let mut pieces = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            pieces.push(rest.split_to(rest.len().min(block_bytes)));
        }
        // What is read from its beginning to its end is read once.
        let is_passing = blocks.ahead == MAX_BLOCKS_AHEAD;
        blocks.kept.truncate(if is_passing { pieces.len() } else { MAX_BLOCKS - pieces.len() });
        let first = pieces.first().cloned().unwrap_or_default();
        for (piece, number) in pieces.into_iter().zip(number..).collect::<Vec<_>>().into_iter().rev() {
            blocks.kept.push_front((number, piece));
        }
        Ok(first)
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
