//! Records for other programs (`--manifest`), one JSON object per row.

use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};
use std::path::PathBuf;

/// A place for data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManifestTarget {
    /// Standard output.
    Stdout,
    /// A file, which is replaced.
    File(PathBuf),
}

/// Where the records go.
#[derive(Debug)]
pub enum Manifest {
    /// To whoever reads standard output.
    Stdout(BufWriter<io::Stdout>),
    /// Into a file.
    File(BufWriter<File>),
}

impl Manifest {
    /// Standard output as a manifest.
    #[must_use]
    pub fn stdout() -> Self {
        Self::Stdout(BufWriter::new(io::stdout()))
    }

    /// A file, opened for writing, as a manifest.
    #[must_use]
    pub fn file(file: File) -> Self {
        Self::File(BufWriter::new(file))
    }

    /// Whether what has been written can be taken back.
    #[must_use]
    pub const fn can_start_over(&self) -> bool {
        matches!(self, Self::File(_))
    }

    /// Takes back what has been written, where that is possible: another pass over the list speaks of the same rows.
    pub fn start_over(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(_) => Ok(()),
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
            Self::File(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(out) => out.flush(),
            Self::File(out) => out.flush(),
        }
    }
}
