//! Gives the files of earlier runs the names that the list gives now (`--rename`), before anything is fetched.
//!
//! The names are those of a run into an empty folder: they are reserved for all rows in the order of the list, the names of
//! rows that are not in the list are taken, and each saved file is moved as soon as its row is read. How a file gets the
//! name of another one that is moved later is up to the sink. Rows that have one file because of the same content, as under
//! `{sha256}`, get a name each: links to that file, with records of their own. A file keeps its name where the new one
//! belongs to a file that fetchimg did not write, and where the list alone does not tell it: the server named it, or
//! names have a digest that its record does not have.

use futures::StreamExt as _;

use super::asides;
use super::changes::new_name;
use super::earlier::EarlierRecord;
use super::others;
use super::shutdown::Stop;
use super::state::State;
use super::{Options, wishes};
use crate::input::Lists;
use crate::journal::{Lookup, NewName, renamed_line, shared_line};
use crate::naming::Namer;
use crate::record::{Job, MadeWith, Phase, RunError, Wishes};
use crate::sink::folder::wal::WalEntry;
use crate::sink::folder::{Moved, MovedFile};
use crate::util::redact::escaped;

/// The number of files that are moved before their records are written to the journal.
const MAX_UNWRITTEN: usize = 1024;

/// Moves the files of the rows in these lists. When the run is asked to end, the files that are left keep their names.
///
/// # Errors
/// When the lists cannot be read, a file cannot be moved, or the journal cannot be read or written. The next run finds all
/// files, and goes on.
pub async fn rename(options: &Options, lists: &Lists, state: &mut State, stop: &Stop) -> Result<(), RunError> {
    let mut namer = Namer::new(options.template.clone(), options.fetch.fix_extension);
    others::keep_names(lists, &mut state.journal, &mut namer, stop).await?;
    let mut moving = Moving { namer, wishes: wishes::of(options), state, unwritten: Vec::new(), moved: 0 };
    let (rows, _) = lists.rows()?;
    let mut rows = std::pin::pin!(rows.take_until(stop.reached(Phase::Finishing)));
    // An error in a list is found again, and reported, when its rows are fetched.
    while let Some(Ok(row)) = rows.next().await {
        if let Ok(job) = row {
            moving.take(&job)?;
        }
    }
    moving.finish(options)
}

/// The files that are being moved.
struct Moving<'a> {
    /// Reserves the names that the list gives now.
    namer: Namer,
    wishes: Wishes,
    state: &'a mut State,
    /// To be released when the records are in the journal.
    unwritten: Vec<WalEntry>,
    moved: u64,
}

impl Moving<'_> {
    /// Reserves the name of the next row, and moves its file if it has another one.
    fn take(&mut self, job: &Job) -> Result<(), RunError> {
        let State { sink, journal, changes, .. } = &mut *self.state;
        let Some(folder) = sink.folder() else { return Ok(()) };
        let key = journal.key(job);
        // Later rows with the same URL have no file of their own.
        let Lookup::New(earlier) = journal.look_up(key, job)? else { return Ok(()) };
        let planned = self.namer.reserve(job);
        let Some(file) = earlier else { return Ok(()) };
        // The record of a row that has the file of another one, because of the same content, does not say what that is.
        let of_owner = match changes.owner_of(&file.path).filter(|_| !file.is_own) {
            Some(offset) => Some(journal.line_at(offset)?),
            // fetchimg did not write that file, or an earlier version has given it another name.
            None if !file.is_own => {
                if planned.known().is_some_and(|name| name != file.path) {
                    let path = escaped(&file.path);
                    tracing::info!(target: "fetchimg", "Not renamed: {path}: no record says for which row it was stored");
                }
                return Ok(());
            }
            None => None,
        };
        let before = of_owner.as_deref().unwrap_or_else(|| journal.line_read());
        let Some(record) = EarlierRecord::read(before) else { return Ok(()) };
        let content = changes.content(&record);
        let Some(name) = new_name(&planned, content, &self.namer).filter(|name| name.path != file.path) else {
            return Ok(());
        };
        // What cannot be read was stated by a later version, and is not changed.
        let Some(made_before) = record.made_with() else { return Ok(()) };
        let (template, fix_extension) = (self.wishes.name.clone(), self.wishes.fix_extension);
        // How an image was made by a version before 0.2 is not known, and must not look as if it were.
        let is_unknown = !made_before.are_stated && record.original.is_some();
        let wishes = Wishes { name: template, fix_extension, ..made_before.wishes };
        let made_with = if is_unknown { MadeWith::default() } else { MadeWith::of(&wishes) };
        let run = folder.mark();
        let new = NewName { path: &name.path, extension_mismatch: name.mismatch, made_with: &made_with, run };
        let line = if file.is_own { renamed_line(before, job, new) } else { shared_line(before, job, new) };
        let Some(line) = line else { return Ok(()) };
        let moved = folder.move_file(MovedFile {
            from: &file.path,
            bytes: file.bytes,
            to: &name.path,
            is_content_addressed: planned.is_content_addressed(),
            record: &line,
        });
        let fail = |source| RunError::Output { path: folder.view().root().join(&name.path), source };
        match moved.map_err(fail)? {
            Moved::Kept => {
                let (old, new) = (escaped(&file.path), escaped(&name.path));
                tracing::info!(target: "fetchimg", "Not renamed: {old} to {new}, which is taken or whose file is gone");
                if !file.is_own {
                    changes.note_name_kept();
                }
            }
            Moved::Done(noted) => {
                let (old, new) = (escaped(&file.path), escaped(&name.path));
                tracing::info!(target: "fetchimg", "Renamed: {old} is {new} now");
                journal.append_renamed(key, &line);
                self.unwritten.push(noted);
                folder.release(&file.path, file.bytes);
                self.moved += 1;
                if self.unwritten.len() >= MAX_UNWRITTEN {
                    self.write()?;
                }
            }
        }
        Ok(())
    }

    /// Writes the records of the files that were moved.
    fn write(&mut self) -> Result<(), RunError> {
        self.state.journal.flush()?;
        if self.state.sink.syncs() {
            self.state.journal.sync()?;
        }
        self.unwritten.drain(..).for_each(WalEntry::release);
        Ok(())
    }

    /// Settles what is still set aside, and makes everything as if the files had always had their names.
    fn finish(mut self, options: &Options) -> Result<(), RunError> {
        self.write()?;
        let State { sink, journal, namer, changes, .. } = self.state;
        let Some(folder) = sink.folder() else { return Ok(()) };
        // A file whose row keeps it may have lost its name to another row, and has another one now. It may have several
        // records, one after the other.
        let mut last = String::new();
        asides::settle(folder, journal, |_, path| {
            folder.count_moved(path);
            if last != path {
                path.clone_into(&mut last);
                self.moved += 1;
            }
        })?;
        journal.begin_pass();
        folder.end_pass(journal.end());
        // The old names are free again.
        *namer = Namer::new(options.template.clone(), options.fetch.fix_extension);
        journal.names_of_others(&[], |path| namer.mark_taken(path))?;
        changes.note_renamed(self.moved);
        Ok(())
    }
}
