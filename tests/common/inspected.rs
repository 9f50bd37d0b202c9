//! What an inspector finds out about a body, by the way it is cut.

use std::io::Cursor;

use fetchimg::internals::image::{Fault, Found, Inspector, Wanted};
use fetchimg::internals::record::Format;

/// What is found in pieces of these sizes, in turn, or what is wrong.
pub fn inspected(format: Format, body: &[u8], wanted: Wanted, cuts: &[usize]) -> Result<Found, String> {
    let mut inspector = Inspector::new(format, wanted);
    let mut rest = body;
    for cut in cuts.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, after) = rest.split_at((*cut).clamp(1, rest.len()));
        rest = after;
        inspector.feed(piece).map_err(|unsound| unsound.to_string())?;
    }
    inspector.end(|| Ok(Cursor::new(body))).map_err(|fault| match fault {
        Fault::Unsound(unsound) => unsound.to_string(),
        Fault::Io(error) => panic!("memory can be read: {error}"),
    })
}
