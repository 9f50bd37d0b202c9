//! What a run finds in its output, and keeps there: images, records, names.

use std::sync::Arc;

use super::Options;
use super::output::adopt;
use crate::journal::{EarlierFile, Journal};
use crate::naming::Namer;
use crate::record::RunError;
use crate::sink::folder::FolderView;
use crate::sink::{Folder, Sink};

/// The output of a run, opened, with what killed runs left taken in.
pub struct State {
    /// Where images go.
    pub sink: Arc<Sink>,
    /// What this run and earlier ones know of each row.
    pub journal: Journal,
    /// The names that are taken.
    pub namer: Namer,
    /// The folder of the sink.
    pub folder: FolderView,
}

impl State {
    /// Opens the output, reads its journal, and gives files that appeared just before a run was killed their records.
    ///
    /// # Errors
    /// When the output cannot be opened, is held by another run, or what is in it cannot be read.
    pub fn open(options: &Options) -> Result<Self, RunError> {
        let folder = Folder::open(&options.output, options.folder)?;
        let mut namer = Namer::new(options.template.clone(), options.fetch.fix_extension);
        let mut take_in = |EarlierFile { path, sha256 }: EarlierFile| {
            namer.mark_taken(path);
            if let Some(sha256) = sha256 {
                folder.insert_earlier(sha256, path);
            }
        };
        let view = folder.view().clone();
        let mut journal = Journal::open(&view.private("manifest.jsonl"), options.row_identity, &mut take_in)?;
        adopt(folder.unrecorded()?, &mut journal, take_in)?;
        journal.flush()?;
        if folder.syncs() {
            journal.sync()?;
        }
        folder.forget_unrecorded()?;
        folder.sync()?;
        Ok(Self { sink: Arc::new(Sink::Folder(folder)), journal, namer, folder: view })
    }
}
