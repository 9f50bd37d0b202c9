//! Draws the sample of a list that is fetched instead of the whole list (`--sample`).

use super::Options;
use super::reservoir::{Reservoir, Sample};
use super::shutdown::Stop;
use super::state::State;
use super::survey::{RowPlan, Survey};
use crate::fetch::Work;
use crate::input::Lists;
use crate::journal::Key;
use crate::record::RunError;
use crate::report::RowCounts;
use crate::sink::folder::FolderView;

/// A sample that was drawn from the lists.
pub struct Drawn {
    /// The rows to be fetched.
    pub works: Vec<(Key, Box<Work>)>,
    /// What a run would do with all rows.
    pub counts: RowCounts,
    /// The seed that draws the same rows again.
    pub seed: u64,
}

/// Draws a sample of the rows that a run would fetch. Every row of the lists is admitted, so that a row of the sample
/// has the same name as in a run without `--sample`.
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
    // Looked at anew: a file for records or a report may be among the images by now.
    let folder = FolderView::open(&options.output, options.state.as_deref())?;
    let wishes = (options.existing, &options.fetch);
    let mut survey = Survey::new(wishes, folder, &mut state.journal, (&mut state.namer, &mut state.changes));
    let mut reservoir = Reservoir::new(sample);
    let offer = |_: &mut Survey, plan: RowPlan| {
        if let RowPlan::Fetch(key, work) = plan {
            // The sample is kept until the list has been read, so the reading must not wait for it.
            work.job.extra.release();
            reservoir.offer((key, work));
        }
        Ok(())
    };
    survey.go(lists, stop, offer).await?;
    Ok(Drawn { works: reservoir.chosen(), counts: survey.counts().clone(), seed: sample.seed })
}
