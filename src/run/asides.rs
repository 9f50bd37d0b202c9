//! Settles the files that were set aside because other rows got their names (`--overwrite`).

use std::collections::HashSet;

use crate::journal::{Journal, NamingRecord};
use crate::naming::with_suffix;
use crate::record::RunError;
use crate::sink::Folder;
use crate::sink::folder::Aside;
use crate::sink::folder::wal::WalEntry;
use crate::util::redact::escaped;

/// The number of files that are settled at once: the journal is read for each of these batches, and their records are
/// in memory.
const MAX_BATCH_FILES: usize = 16_384;

/// Gives each file that was set aside, and that records still name, another visible name, and appends records with
/// that name to the journal. Its rows failed, were not reached, or are not in the list. `moved` is called with the old
/// and the new path for each of these records. Removes the other files that were set aside.
///
/// To be called between passes, and before the first one: the run that set them aside may have been killed.
///
/// # Errors
/// When the files cannot be found or renamed, or the journal cannot be read or written. The next run continues then.
pub fn settle(folder: &Folder, journal: &mut Journal, mut moved: impl FnMut(&str, &str)) -> Result<(), RunError> {
    let fail = |source| RunError::Output { path: folder.view().root().to_owned(), source };
    loop {
        let asides = folder.asides(MAX_BATCH_FILES).map_err(fail)?;
        let Some(Aside { journal_end, .. }) = asides.first() else { break };
        // The journal was lost, so no record says whose files these are.
        let is_lost = journal.end() < *journal_end;
        let paths = asides.iter().map(|aside| aside.path.as_str()).collect::<HashSet<_>>();
        let mut records = journal.records_naming(*journal_end, &paths)?;
        let mut noted = Vec::new();
        for aside in &asides {
            let records = records.remove(&aside.path).unwrap_or_default();
            match () {
                () if records.is_empty() && !is_lost => folder.discard_aside(aside),
                () if folder.is_in_place(aside) => {}
                () => {
                    let (name, mut entries) = show(folder, aside, &records)?;
                    noted.append(&mut entries);
                    tracing::info!(
                        target: "fetchimg",
                        "Renamed: {} is {} now, because another row has its name",
                        escaped(&aside.path),
                        escaped(&name)
                    );
                    for record in &records {
                        journal.append_moved(record, &name);
                        moved(&aside.path, &name);
                    }
                }
            }
        }
        journal.flush()?;
        if folder.syncs() {
            journal.sync()?;
        }
        noted.into_iter().for_each(WalEntry::release);
        for aside in &asides {
            folder.remove_if_aside(aside);
        }
    }
    folder.remove_empty_aside_folders();
    Ok(())
}

/// Gives a file that was set aside the first visible name that is free: like that of a row whose name is taken, with
/// digits of the hash of its URL. Returns the name, and what is to be released when the records are in the journal.
fn show(folder: &Folder, aside: &Aside, records: &[NamingRecord]) -> Result<(String, Vec<WalEntry>), RunError> {
    let hash = records.first().map_or("0".repeat(64), |record| record.url_hash.clone());
    let short = [8, 16, 64].map(|length| hash[..length].to_owned());
    let numbered = (2_u64..).map(|number| format!("{}-{number}", &hash[..8]));
    for suffix in short.into_iter().chain(numbered) {
        let name = with_suffix(&aside.path, &suffix, false);
        let lines = records.iter().map(|record| record.line_with_path(&name)).collect::<Vec<_>>();
        let shown = folder.show_aside(aside, &name, &lines);
        let shown = shown.map_err(|source| RunError::Output { path: folder.view().root().join(&name), source })?;
        if let Some(entries) = shown {
            return Ok((name, entries));
        }
    }
    unreachable!("there are more numbers than files")
}
