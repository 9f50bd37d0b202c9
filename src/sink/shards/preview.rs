//! What a run that makes shards would find in its folder (`--dry-run`). Nothing is created or changed.

use std::path::{Path, PathBuf};

use super::target::{ShardFolder, Target};
use super::unit::{KeyRules, Unit, UnitError};
use super::{Destination, MARKER_SUFFIX, OTHER_OPTIONS, Options, OutputFormat, PresentShard, other_shard, set};
use crate::record::{Row, RunError};

/// A set, as a run would find it.
#[derive(Debug)]
pub struct Preview {
    /// The folder and the shards in it; `None` if the run does not make any.
    found: Option<(PathBuf, Target)>,
    format: OutputFormat,
    settings: String,
    present: Option<PresentShard>,
}

impl Preview {
    /// Looks at the set that a run with these options would make.
    ///
    /// # Errors
    /// When the run would be refused.
    pub fn open(options: &Options) -> Result<Self, RunError> {
        let info = options.info();
        let found = match &options.destination {
            Destination::Folder(root) => {
                set::refuse_file(root)?;
                set::check(root, &info, options.replaces)?;
                let target = Target::Folder(ShardFolder::new(root.clone(), PathBuf::new(), false));
                Some((root.clone(), target)).filter(|_| !options.replaces)
            }
            Destination::Stdout | Destination::Nowhere => None,
        };
        Ok(Self { found, format: options.format, settings: info.digest(), present: None })
    }

    /// Begins with the rows of a shard, after all rows of the one before it. Returns whether the shard is there.
    ///
    /// # Errors
    /// When the run would be refused because of this shard or of the one before it.
    pub fn enter(&mut self, number: u64, name: &str) -> Result<bool, RunError> {
        self.end()?;
        let Some((root, target)) = &self.found else { return Ok(false) };
        let marker = target.marker(name);
        let path = || root.join(format!("{name}{MARKER_SUFFIX}"));
        let Some(marker) = marker.map_err(|source| RunError::Output { path: path(), source })? else {
            return Ok(false);
        };
        if marker.fetchimg.settings != self.settings {
            return Err(other_shard(root, self.format, (name, OTHER_OPTIONS.to_owned())));
        }
        self.present = Some(PresentShard::new(marker, Unit::without_files(number, name.to_owned())));
        Ok(true)
    }

    /// Takes a row of the shard that is entered. `row`: its number there.
    ///
    /// # Errors
    /// When it cannot be expressed in JSON.
    pub fn add(&mut self, row: u64, read: &Row) -> Result<(), RunError> {
        let Some(present) = &mut self.present else { return Ok(()) };
        let rules = KeyRules { dedupes: false, is_unique: true };
        let added = match read {
            Ok(job) => present.unit.admit(row, job, String::new(), rules).map(|_| ()),
            Err(record) => present.unit.admit_invalid(row, record, String::new(), rules).map(|_| ()),
        };
        present.count();
        added.map_err(|error| match error {
            UnitError::Io(source) => RunError::System(source),
            UnitError::OtherOrigin => RunError::System(std::io::Error::other("a shard without files has an origin")),
        })
    }

    /// Ends with the rows of the shard that is entered.
    ///
    /// # Errors
    /// When it was made from other rows.
    pub fn end(&mut self) -> Result<(), RunError> {
        let Some(present) = self.present.take() else { return Ok(()) };
        let root = self.found.as_ref().map_or(Path::new(""), |(root, _)| root);
        match present.difference() {
            None => Ok(()),
            Some(sentence) => Err(other_shard(root, self.format, (&present.unit.name, sentence))),
        }
    }
}
