//! The sample of a list that is fetched instead of all of it (`--sample`).

use super::Options;
use super::reservoir::{Reservoir, Sample};
use super::shutdown::Stop;
use super::state::State;
use super::survey::{Survey, Verdict};
use crate::fetch::Work;
use crate::input::Lists;
use crate::journal::Key;
use crate::record::RunError;
use crate::report::RowCounts;

/// What was drawn from the lists.
pub struct Drawn {
    /// The rows to be fetched.
    pub works: Vec<(Key, Box<Work>)>,
    /// What a run would do with all rows.
    pub counts: RowCounts,
    /// The seed with which the same rows are drawn again.
    pub seed: u64,
}

/// Draws a sample of the rows that are to be fetched. All rows are admitted for that, so that each has the name that it
/// would have in a run that fetches them all.
///
/// # Errors
/// When the lists or the journal cannot be read.
pub async fn draw(
    options: &Options,
    sample: Sample,
    lists: &Lists,
    state: &mut State,
    stop: &Stop,
) -> Result<Drawn, RunError> {
    tracing::info!(target: "fetchimg", "Reading the list, to draw {} of its rows at random", sample.rows);
    let mut survey = Survey::new(options.existing, state.folder.clone(), &mut state.journal, &mut state.namer);
    let mut reservoir = Reservoir::new(sample);
    let offer = |_: &mut Survey, verdict: Verdict| {
        if let Verdict::Fetch(key, work) = verdict {
            reservoir.offer((key, work));
        }
        Ok(())
    };
    survey.go(lists, stop, offer).await?;
    Ok(Drawn { works: reservoir.chosen(), counts: survey.counts().clone(), seed: sample.seed })
}
