//! The state that a run opens in its output: the sink, the journal and the names that are taken.

use std::sync::Arc;

use super::Options;
use super::output::adopt;
use crate::journal::{EarlierFile, Journal};
use crate::naming::Namer;
use crate::record::RunError;
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
}

impl State {
    /// Opens the output and reads its journal. Files that a killed run published without a record get theirs.
    ///
    /// # Errors
    /// When the output cannot be opened or read, or is held by another run.
    pub fn open(options: &Options) -> Result<Self, RunError> {
        let folder = Folder::open(&options.output, options.folder)?;
        let mut namer = Namer::new(options.template.clone(), options.fetch.fix_extension);
        let mut add_file = |EarlierFile { path, sha256 }: EarlierFile| {
            namer.mark_taken(path);
            if let Some(sha256) = sha256 {
                folder.insert_earlier(sha256, path);
            }
        };
        let view = folder.view().clone();
        let mut journal = Journal::open(&view.private("manifest.jsonl"), options.row_identity, &mut add_file)?;
        adopt(folder.unrecorded()?, &mut journal, add_file)?;
        journal.flush()?;
        if folder.syncs() {
            journal.sync()?;
        }
        folder.forget_unrecorded()?;
        folder.sync()?;
        Ok(Self { sink: Arc::new(Sink::Folder(folder)), journal, namer, folder: view })
    }
}
