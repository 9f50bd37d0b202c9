//! The state that a run opens in its output: the sink, the journal and the names that are taken.

use std::sync::Arc;

use super::Options;
use super::asides;
use super::changes::Changes;
use super::names::TakenNames;
use super::output::adopt;
use crate::journal::{Journal, JournalOptions};
use crate::naming::Namer;
use crate::record::{Existing, RunError};
use crate::sink::folder::FolderView;
use crate::sink::{Folder, Sink};

/// The opened output of a run. What killed runs left unrecorded is in the journal.
pub struct State {
    /// Where images go.
    pub sink: Arc<Sink>,
    /// The records of this run and of earlier ones.
    pub journal: Journal,
    /// Reserves names; those of earlier runs are taken.
    pub namer: Namer,
    /// The output folder, for reading.
    pub folder: FolderView,
    /// Compares saved images with the wishes of this run.
    pub changes: Changes,
}

impl State {
    /// Opens the output and reads its journal. Files that a killed run published without a record get theirs.
    ///
    /// # Errors
    /// When the output cannot be opened or read, or is held by another run.
    pub fn open(options: &Options) -> Result<Self, RunError> {
        #[cfg(feature = "parquet")]
        match &options.set {
            Some(set) => return super::units::open(options, set),
            None => super::units::refuse(options)?,
        }
        let mut folder = Folder::open(&options.output, options.state.as_deref(), options.folder)?;
        let mut namer = Namer::new(options.template.clone(), options.fetch.fix_extension);
        let view = folder.view().clone();
        // What an older version has recorded, if it was used again, and what killed runs have not.
        let mut unrecorded = view.records_of_older_version()?;
        let is_merged = !unrecorded.is_empty();
        unrecorded.append(&mut folder.unrecorded()?);
        let gives_anew = options.existing == Existing::Replace;
        // A row that is fetched again keeps its name, unless this is made of the content.
        let fetches_again = options.existing == Existing::Refresh || options.input.checksum_column.is_some();
        let moves_files = fetches_again && namer.is_content_addressed();
        let removes_files = gives_anew || options.remake || options.rename || moves_files;
        // A killed run may have published a file without removing the one that it replaces.
        let counts = (removes_files || !unrecorded.is_empty()).then(|| folder.name_counts());
        let mut taken = TakenNames { namer: Some(&mut namer).filter(|_| !gives_anew), counts };
        let insert_content = |sha256: Option<&str>, path: &str| {
            if let Some(sha256) = sha256 {
                folder.insert_earlier(sha256, path);
            }
        };
        let follows = taken.counts.is_some();
        let opening = JournalOptions { remembered: options.remembered(), is_overlay: false, follows };
        let mut journal = Journal::open(&view.journal(), opening, |naming| {
            if let Some(file) = naming.own_file() {
                insert_content(file.sha256, file.path);
            }
            taken.follow(naming);
        })?;
        let mut superseded = Vec::new();
        adopt(unrecorded, &mut journal, |adopted| {
            insert_content(adopted.sha256.as_deref(), &adopted.path);
            superseded.extend(taken.adopt(adopted));
        })?;
        for file in &superseded {
            // If another row got the name, the file under it is not that of the superseded record.
            let is_aside =
                folder.is_aside(&file.path).map_err(|source| RunError::Output { path: view.root().into(), source })?;
            taken.release(file, |path, bytes| {
                if !is_aside {
                    folder.remove(path, bytes);
                }
            });
        }
        journal.flush()?;
        if folder.syncs() || is_merged {
            journal.sync()?;
        }
        view.forget_older_version()?;
        folder.forget_unrecorded()?;
        folder.sync()?;
        asides::settle(&folder, &mut journal, |old, new| taken.follow_move(old, new))?;
        // Now that nothing is set aside, no offset in the journal is remembered but in its index.
        journal.compact(&view.journal_copy());
        if let Some(counts) = taken.counts.filter(|_| removes_files) {
            folder.count_names(counts, journal.end());
        }
        let mut changes = Changes::new(options);
        changes.find_shared(&mut journal)?;
        Ok(Self { sink: Arc::new(Sink::Folder(folder)), journal, namer, folder: view, changes })
    }
}
