//! Leaves rows alone that are not in the lists, where names are given anew (`--overwrite`).

use futures::StreamExt as _;

use super::shutdown::Stop;
use crate::input::Lists;
use crate::journal::Journal;
use crate::naming::Namer;
use crate::record::{Phase, RunError};

/// Marks the names of rows as taken that earlier runs have saved and that are not in these lists: their images keep the
/// names by which others know them. Reads the lists from beginning to end, and the journal.
///
/// # Errors
/// When the journal cannot be read. An error in a list is found again, and reported, when its rows are fetched.
pub async fn keep_names(lists: &Lists, journal: &mut Journal, namer: &mut Namer, stop: &Stop) -> Result<(), RunError> {
    let (rows, _) = lists.rows()?;
    let mut rows = std::pin::pin!(rows.take_until(stop.reached(Phase::Finishing)));
    let mut listed = Vec::new();
    while let Some(Ok(row)) = rows.next().await {
        listed.extend(row.iter().map(|job| journal.key(job)));
    }
    listed.sort_unstable();
    journal.names_of_others(&listed, |path| namer.mark_taken(path))
}
