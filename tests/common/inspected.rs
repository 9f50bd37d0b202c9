//! Inspects a body that is cut into pieces.

use std::io::Cursor;

use fetchimg::internals::image::{InspectError, InspectOptions, Inspection, Inspector};
use fetchimg::internals::record::Format;

/// The result of inspecting the body in pieces of these sizes, in turn, or the error, which decoding may refute.
pub fn inspected(format: Format, body: &[u8], wanted: InspectOptions, cuts: &[usize]) -> Result<Inspection, String> {
    let mut inspector = Inspector::new(format, wanted);
    let mut rest = body;
    for cut in cuts.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, after) = rest.split_at((*cut).clamp(1, rest.len()));
        rest = after;
        inspector.feed(piece).map_err(|corruption| corruption.to_string())?;
    }
    let ended = inspector.end(|| Ok(Cursor::new(body))).map_err(|error| match error {
        InspectError::Corrupt(corruption) => corruption.to_string(),
        InspectError::Io(error) => panic!("memory can be read: {error}"),
    })?;
    ended.doubt.map_or(Ok(ended), |doubt| Err(doubt.to_string()))
}
