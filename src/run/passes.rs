//! The passes of a run over its rows: one, or one for each mode that is compared (`--compare`).

use super::pass::{Control, Pass, Rows};
use super::reporting::Outputs;
use super::state::State;
use super::{Options, asides};
use crate::http::Client;
use crate::record::{ErrorKind, Exit, RunError};
use crate::report::{COMPLETED, Ending, INTERRUPTED, SampledRow, Summary, Tolerance};
use crate::sink::Sink;

/// The results of the passes.
#[derive(Debug, Default)]
pub struct Passes {
    /// The numbers of each pass.
    pub summaries: Vec<Summary>,
    /// How the download of each row of a sample ended.
    pub observed: Vec<SampledRow>,
    /// The number of rows that the last pass left, if it ended early and that is known.
    pub rows_left: Option<u64>,
    /// The error that ended the run early, if there was one.
    pub failure: Option<RunError>,
    /// Why the run ended.
    pub ending: Ending,
    /// The run was asked to end before its rows did.
    pub is_interrupted: bool,
    /// The exit status, if a signal asked. A signal that comes later changes nothing.
    pub exit: Option<Exit>,
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
        let State { sink, mut journal, namer, mut changes, .. } = state;
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
            let metrics = outputs.metrics.as_ref();
            let pass = Pass { mode: *mode, options, control, client, sink: &sink, namer, records, metrics };
            let result = pass.go(rows.take(), &mut journal, manifest, &mut changes).await?;
            passes.summaries.push(result.summary);
            passes.observed = result.observed;
            passes.rows_left = result.rows_left;
            passes.failure = result.failure;
            match &*sink {
                Sink::Folder(folder) => {
                    if let Err(error) = asides::settle(folder, &mut journal, |_, path| folder.count_moved(path)) {
                        passes.failure.get_or_insert(error);
                    }
                    journal.begin_pass();
                    folder.end_pass(journal.end());
                }
                #[cfg(feature = "parquet")]
                Sink::Shards(_) => {}
            }
            if passes.failure.is_some() || !control.stop.is_running() {
                break;
            }
        }
        passes.is_interrupted = !control.stop.is_running();
        passes.exit = control.stop.asked();
        passes.ending = match (&passes.failure, passes.is_interrupted) {
            (Some(error), _) if error.is_of_list() => Ending::ListFault,
            (Some(_), _) => Ending::Aborted,
            (None, true) => Ending::Interrupted,
            (None, false) => Ending::Completed,
        };
        Ok(passes)
    }

    /// How the run ended, in a few words for the report.
    pub fn ended(&self) -> String {
        match (&self.failure, self.is_interrupted) {
            (Some(error), _) => error.to_string(),
            (None, true) => INTERRUPTED.to_owned(),
            (None, false) => COMPLETED.to_owned(),
        }
    }

    /// What `--ok-if-failed-below` makes of the rows that failed; `None` if none did, or if the run ended early.
    pub fn tolerance(&self, options: &Options) -> Option<Tolerance> {
        let (share, last) = (options.ok_if_failed_below?, self.summaries.last()?);
        let is_asked = self.ending == Ending::Completed && last.failed > 0;
        is_asked.then(|| Tolerance::new(share, last.failed, last.rows))
    }

    /// Whether rows failed in the last pass for another reason than its early end.
    pub fn have_rows_failed_before_the_end(&self) -> bool {
        let interrupted = |summary: &Summary| summary.failed_by_kind.get(ErrorKind::Interrupted.name()).copied();
        self.summaries.last().is_some_and(|summary| summary.failed > interrupted(summary).unwrap_or_default())
    }

    /// Whether rows failed in the last pass.
    pub fn have_failed_rows(&self) -> bool {
        self.summaries.last().is_some_and(|summary| summary.failed > 0)
    }
}
