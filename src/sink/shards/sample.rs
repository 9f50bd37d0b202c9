//! A sample as bytes of a tar file: the image, the caption where there is one, and the record.
//!
//! The record comes last, so a sample is complete if its record is.

use std::io::{self, Read as _, Write};

use super::tar;
use crate::sink::body::{Body, BodyReader};

/// The size of the pieces in which a large image is copied, in bytes.
const COPY_BYTES: usize = 256 * 1024;

/// A sample without the bytes of its image.
#[derive(Debug)]
pub struct Sample {
    /// What comes before the image.
    head: Vec<u8>,
    /// What comes after it.
    tail: Vec<u8>,
    image_length: u64,
    /// Where the record begins in `tail`, and its length.
    record: (usize, usize),
}

/// Where the parts of a sample are, counted from its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleLayout {
    /// Where the image begins.
    pub image: u64,
    /// The bytes of the image.
    pub image_length: u64,
    /// Where the record begins.
    pub record: u64,
    /// The bytes of the record.
    pub record_length: u32,
    /// The bytes of the whole sample.
    pub length: u64,
}

impl Sample {
    /// A sample with the image `name`, whose record is the line `record`.
    #[must_use]
    pub fn new(name: &str, image_length: u64, record: &[u8], caption: Option<&str>) -> Self {
        let key = name.split('.').next().unwrap_or(name);
        let mut head = Vec::with_capacity(tar::BLOCK);
        tar::push_header(&mut head, name, image_length);
        let mut tail = Vec::with_capacity(record.len() + 4 * tar::BLOCK);
        tar::pad(&mut tail, image_length);
        if let Some(caption) = caption {
            tar::push_header(&mut tail, &format!("{key}.txt"), caption.len() as u64);
            tail.extend_from_slice(caption.as_bytes());
            tar::pad(&mut tail, caption.len() as u64);
        }
        tar::push_header(&mut tail, &format!("{key}.json"), record.len() as u64);
        let at = tail.len();
        tail.extend_from_slice(record);
        tar::pad(&mut tail, record.len() as u64);
        Self { head, tail, image_length, record: (at, record.len()) }
    }

    /// Where its parts are.
    #[must_use]
    pub fn layout(&self) -> SampleLayout {
        let image = self.head.len() as u64;
        let tail = image + self.image_length;
        SampleLayout {
            image,
            image_length: self.image_length,
            record: tail + self.record.0 as u64,
            record_length: u32::try_from(self.record.1).unwrap_or(u32::MAX),
            length: tail + self.tail.len() as u64,
        }
    }

    /// Writes the sample with the image in `body`.
    ///
    /// # Errors
    /// When the body cannot be read, or `out` not written. Part of the sample may have been written then.
    pub fn write(&self, body: &mut Body<'_>, out: &mut impl Write) -> io::Result<()> {
        if let Some([one, two]) = body.in_memory() {
            return write_slices(out, [&self.head, one, two, &self.tail]);
        }
        out.write_all(&self.head)?;
        let BodyReader::Stored(mut file) = body.reader()? else {
            return Err(io::Error::other("a body in memory has no file"));
        };
        let (mut piece, mut left) = (vec![0; COPY_BYTES], self.image_length);
        while left > 0 {
            let count = file.read(&mut piece)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            out.write_all(&piece[..count])?;
            left = left.saturating_sub(count as u64);
        }
        out.write_all(&self.tail)
    }
}

/// Writes all slices, in one call where the system takes them at once.
fn write_slices(out: &mut impl Write, slices: [&[u8]; 4]) -> io::Result<()> {
    let mut written = match out.write_vectored(&slices.map(io::IoSlice::new)) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
        written => written?,
    };
    for slice in slices {
        let done = written.min(slice.len());
        written -= done;
        out.write_all(&slice[done..])?;
    }
    Ok(())
}
