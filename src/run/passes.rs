//! The passes of a run over its rows: one, or one for each mode that is compared (`--compare`).

use super::Options;
use super::pass::{Control, Pass, Rows};
use super::reporting::Outputs;
use super::shutdown::Stop;
use super::state::State;
use crate::http::Client;
use crate::record::{Exit, RunError};
use crate::report::{COMPLETED, SampledRow, Summary};

/// The results of the passes.
#[derive(Debug, Default)]
pub struct Passes {
    /// The numbers of each pass.
    pub summaries: Vec<Summary>,
    /// How the download of each row of a sample ended.
    pub observed: Vec<SampledRow>,
    /// The error that ended the run early, if there was one.
    pub failure: Option<RunError>,
}

impl Passes {
    /// Makes a pass over the rows for each mode.
    ///
    /// # Errors
    /// When a pass cannot begin.
    pub async fn go(
        options: &Options,
        control: Control<'_>,
        state: State,
        outputs: &mut Outputs,
        mut rows: Rows<'_>,
    ) -> Result<Self, RunError> {
        let mut passes = Self::default();
        let State { sink, mut journal, namer, .. } = state;
        let mut namer = Some(namer);
        for (number, mode) in options.modes.iter().enumerate() {
            let is_last = number + 1 == options.modes.len();
            // Each pass begins with the same names. The last one takes them without a copy, which needs memory for
            // every name of the journal.
            let Some(namer) = (if is_last { namer.take() } else { namer.clone() }) else { break };
            // The manifest has one record per row, of the last pass. If it can be truncated, the earlier passes are
            // written to it as well, because the run may end before the last one.
            let mut manifest = outputs.manifest.as_mut().filter(|manifest| is_last || manifest.can_start_over());
            if let Some(Err(source)) = manifest.as_mut().map(|manifest| manifest.start_over()) {
                return Err(RunError::Output { path: "the manifest".into(), source });
            }
            // A client for each pass, because the second pass must not reuse the connections of the first.
            let client = Client::new(options.http.clone())?;
            let records = outputs.records.clone();
            let pass = Pass { mode: *mode, options, control, client, sink: &sink, namer, records };
            let result = pass.go(rows.take(), &mut journal, manifest).await?;
            journal.begin_pass();
            passes.summaries.push(result.summary);
            passes.observed = result.observed;
            passes.failure = result.failure;
            if passes.failure.is_some() || !control.stop.is_running() {
                break;
            }
        }
        Ok(passes)
    }

    /// How the run ended, worded for the report.
    pub fn ended(&self, stop: &Stop) -> String {
        match (&self.failure, stop.asked()) {
            (Some(error), _) => error.to_string(),
            (None, Some(_)) => "interrupted".to_owned(),
            (None, None) => COMPLETED.to_owned(),
        }
    }

    /// Whether rows failed in the last pass.
    pub fn have_failed_rows(&self) -> bool {
        self.summaries.last().is_some_and(|summary| summary.failed > 0)
    }
}

/// The exit status of a run, or the error that ended it.
pub fn exit(failure: Option<RunError>, has_failed_rows: bool, stop: &Stop) -> Result<Exit, RunError> {
    match (failure, stop.asked()) {
        (Some(error), _) => Err(error),
        (None, Some(exit)) => Ok(exit),
        (None, None) => Ok(if has_failed_rows { Exit::SomeFailed } else { Exit::Clean }),
    }
}
