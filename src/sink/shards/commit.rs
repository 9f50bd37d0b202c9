//! Commits a complete shard: the end of its tar file, its table, its marker, in this order.

use std::collections::HashMap;
use std::io::{self, BufWriter, Write as _};
use std::sync::{Arc, Mutex};

use sha2::{Digest as _, Sha256};

use super::marker::{Counts, Origin, StoredFile};
use super::scratch;
use super::table::{self, Layout, TableRow};
use super::target::{CompleteShard, Target};
use super::unit::{FinishedUnit, Unit};
use super::{Options, OutputFormat};
use crate::record::{ColumnType, RunError, hex};
use crate::util::human::{Count, Size};
use crate::util::lock;
use crate::util::private_file::{self, remove_if_there};
use crate::util::redact::escaped;

/// Makes the files of complete shards, and puts them in place.
#[derive(Debug)]
pub struct Committer {
    target: Target,
    format: OutputFormat,
    caption_column: Option<String>,
    column_types: Vec<(Arc<str>, ColumnType)>,
    digests: Vec<&'static str>,
    is_retry: bool,
    settings: String,
    replaces: bool,
    /// The types of columns whose list does not state them, by name.
    found_types: Mutex<HashMap<Arc<str>, FoundType>>,
    /// The rows of a shard are in memory while its table is written, so one is written at a time.
    turn: Mutex<()>,
}

/// The type of a column in the first shard that was made, and the name of that shard; `None` once it has been said that another
/// shard has another type.
type FoundType = Option<(ColumnType, String)>;

/// What is in a shard.
#[derive(Clone, Copy, Debug, Default)]
pub struct Committed {
    /// Its rows.
    pub rows: u64,
    /// Those with an image.
    pub samples: u64,
    /// The size of its data file.
    pub bytes: u64,
}

impl Committer {
    /// A committer for shards that are made with these options. `replaces`: shards that are there may be made anew.
    #[must_use]
    pub fn new(target: Target, options: &Options, replaces: bool) -> Self {
        Self {
            target,
            format: options.format,
            caption_column: options.caption_column.clone(),
            column_types: options.column_types.clone(),
            digests: options.digests.clone(),
            is_retry: options.units.retries.is_some(),
            found_types: Mutex::default(),
            settings: options.info().digest(),
            replaces,
            turn: Mutex::default(),
        }
    }

    /// Where shards go.
    #[must_use]
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// Commits a shard. Returns what is in it.
    ///
    /// # Errors
    /// When a file cannot be written. What is there of the shard waits for the next run.
    pub fn commit(&self, unit: &Unit) -> Result<Committed, RunError> {
        let path = self.target.path(&format!("{}.{}", unit.name, self.format.names().1));
        self.make(unit).map_err(|source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::ReadOnlyFilesystem => {
                let folder = path.parent().unwrap_or(&path).to_owned();
                RunError::Disk { folder, message: format!("cannot write the shard {}: {source}", unit.name) }
            }
            _ => RunError::Output { path: path.clone(), source },
        })
    }

    fn make(&self, made: &Unit) -> io::Result<Committed> {
        let Some(finished) = made.finish()? else { return Ok(Committed::default()) };
        self.compare_types(&made.name, &finished.columns);
        let mut counts = Counts::default();
        let turn = lock(&self.turn);
        let table = self.write_table(&finished, &mut counts)?;
        drop(turn);
        let (tar_name, table_name) = (format!("{}.tar", made.name), format!("{}.parquet", made.name));
        let table = StoredFile { name: table_name.clone(), ..table };
        let mut files = vec![(finished.scratch.table.clone(), table_name)];
        let (data, metadata) = match self.format {
            OutputFormat::Parquet => (table, None),
            OutputFormat::Webdataset => {
                files.insert(0, (finished.scratch.tar.clone(), tar_name.clone()));
                let tar = StoredFile {
                    name: tar_name,
                    bytes: finished.files.tar_bytes,
                    sha256: finished.files.tar_sha256.clone(),
                };
                (tar, Some(table))
            }
        };
        let bytes = data.bytes;
        let origin = Origin {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            input: finished.input.clone(),
            settings: self.settings.clone(),
            data,
            metadata,
        };
        let marker = counts.marker(made.began, origin);
        let (successes, count) = (marker.successes, marker.count);
        self.target.commit(&CompleteShard { name: &made.name, files, marker }, self.replaces)?;
        finished.scratch.remove()?;
        if let Some(folder) = finished.scratch.log.parent() {
            scratch::remove_abandoned(folder, &made.name);
        }
        tracing::info!(
            target: "fetchimg",
            "Shard {}: {} of {} rows have a sample, {}",
            made.name,
            Count(successes),
            Count(count),
            Size::from(bytes)
        );
        Ok(Committed { rows: count, samples: successes, bytes })
    }

    /// Warns of a column that has another type in this shard than in another one. The types cannot be made to agree: each shard
    /// depends on its own rows alone, so that any machine makes the same one.
    fn compare_types(&self, shard: &str, columns: &[(Arc<str>, Option<ColumnType>)]) {
        let mut known = lock(&self.found_types);
        for (name, ty) in columns {
            if self.column_types.iter().any(|(stated, _)| stated == name)
                || Some(&**name) == self.caption_column.as_deref()
            {
                continue;
            }
            let ty = ty.unwrap_or(ColumnType::Text);
            let first = known.entry(Arc::clone(name)).or_insert_with(|| Some((ty, shard.to_owned())));
            if let Some((other, other_shard)) = first.take_if(|(other, _)| *other != ty) {
                tracing::warn!(
                    target: "fetchimg",
                    "Column {} is {} in shard {shard} and {} in shard {other_shard}, as their rows have it, and some readers of \
                     the whole set want one type; a list in Parquet states its types, and then all shards have these",
                    escaped(name),
                    ty.name(),
                    other.name(),
                );
            }
        }
    }

    /// Writes the table of a shard to its scratch file. Returns its size and its digest.
    fn write_table(&self, finished: &FinishedUnit<'_>, counts: &mut Counts) -> io::Result<StoredFile> {
        let stated = |name: &str| self.column_types.iter().find(|(stated, _)| **stated == *name).map(|(_, ty)| *ty);
        let found = finished
            .columns
            .iter()
            .map(|(name, ty)| (Arc::clone(name), stated(name).or(*ty).unwrap_or(ColumnType::Text)));
        let layout = Layout {
            holds_images: self.format == OutputFormat::Parquet,
            caption_column: self.caption_column.clone(),
            list_columns: found.collect(),
            is_retry: self.is_retry,
            digests: self.digests.clone(),
        };
        let path = &finished.scratch.table;
        remove_if_there(path)?;
        let mut open = std::fs::OpenOptions::new();
        let file = private_file::open(open.create_new(true).read(true).write(true), path)?;
        let mut out = Digesting { out: BufWriter::with_capacity(1 << 18, &file), digest: Sha256::new(), bytes: 0 };
        let rows = finished.lines().map(|line| {
            let (line, image) = line?;
            let mut row = serde_json::from_slice::<TableRow>(&line)?;
            row.image = image.map(|image| (image.image, image.image_length));
            counts.add(&row);
            Ok(row)
        });
        table::write(&mut out, &layout, rows, &finished.files.tar)?;
        out.flush()?;
        Ok(StoredFile { name: String::new(), bytes: out.bytes, sha256: hex(&out.digest.finalize()) })
    }
}

/// Computes the digest of what is written.
struct Digesting<W> {
    out: W,
    digest: Sha256,
    bytes: u64,
}

impl<W: io::Write> io::Write for Digesting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.digest.update(&bytes[..count]);
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
