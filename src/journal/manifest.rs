//! The manifest: records for other programs (`--manifest`), one JSON object per row.

use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};
use std::path::PathBuf;

/// Where the manifest is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManifestTarget {
    /// Standard output.
    Stdout,
    /// A file, whose content is replaced.
    File(PathBuf),
}

/// An open manifest.
#[derive(Debug)]
pub enum Manifest {
    /// Standard output.
    Stdout(BufWriter<io::Stdout>),
    /// A file.
    File(BufWriter<File>),
    /// A named pipe, or one that another program has opened (`/dev/fd/5`).
    Pipe(BufWriter<File>),
}

impl Manifest {
    /// A manifest on standard output.
    #[must_use]
    pub fn stdout() -> Self {
        Self::Stdout(BufWriter::new(io::stdout()))
    }

    /// A manifest in a file that is open for writing.
    #[must_use]
    pub fn file(file: File) -> Self {
        let is_regular = file.metadata().is_ok_and(|metadata| metadata.is_file());
        let out = BufWriter::new(file);
        if is_regular { Self::File(out) } else { Self::Pipe(out) }
    }

    /// Whether the records that have been written can be removed again.
    #[must_use]
    pub const fn can_start_over(&self) -> bool {
        matches!(self, Self::File(_))
    }

    /// Removes all records if that is possible, because another pass over the list writes a record for each row again.
    ///
    /// # Errors
    /// When the file cannot be written or truncated.
    pub fn start_over(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(_) | Self::Pipe(_) => Ok(()),
            Self::File(out) => {
                out.flush()?;
                out.get_mut().set_len(0)?;
                out.rewind()
            }
        }
    }
}

impl Write for Manifest {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(out) => out.write(bytes),
            Self::File(out) | Self::Pipe(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(out) => out.flush(),
            Self::File(out) | Self::Pipe(out) => out.flush(),
        }
    }
}
