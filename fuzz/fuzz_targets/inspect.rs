//! Inspects any bytes: the result must not depend on how the body is cut into pieces.
#![no_main]

use std::io::Cursor;

use fetchimg::internals::record::Format;
use fetchimg::internals::image::{InspectError, Inspection, Inspector, InspectOptions, exif};
use libfuzzer_sys::fuzz_target;

// The first five bytes choose the format, the options and the sizes of the pieces. A seed is a file after these bytes.
fuzz_target!(|input: &[u8]| {
    let Some(([format, wanted, cuts @ ..], body)) = input.split_first_chunk::<5>() else { return };
    let format = Format::ALL[usize::from(*format) % Format::ALL.len()];
    let wanted = InspectOptions { structure: wanted & 1 == 0, exif: wanted & 2 == 0 };
    let whole = inspected(format, body, wanted, &[usize::MAX]);
    assert_eq!(inspected(format, body, wanted, &cuts.map(usize::from)), whole);
    assert!(wanted.structure || whole.is_ok(), "its structure is not checked: {whole:?}");
    if let Ok(found) = whole {
        assert!(found.measures.width != Some(0) && found.measures.height != Some(0), "{found:?}");
        assert!(found.measures.frames.is_none_or(|frames| frames > 1), "{found:?}");
    }
    assert!(exif::selected_fields(body).len() <= 21);
});

fn inspected(format: Format, body: &[u8], wanted: InspectOptions, cuts: &[usize]) -> Result<Inspection, String> {
    let mut inspector = Inspector::new(format, wanted);
    let mut rest = body;
    for cut in cuts.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, after) = rest.split_at((*cut).clamp(1, rest.len()));
        rest = after;
        let was_final = inspector.size_is_final();
        let before = inspector.measures();
        inspector.feed(piece).map_err(|corruption| corruption.to_string())?;
        let after = inspector.measures();
        assert!(!was_final || (before.width, before.height) == (after.width, after.height), "{before:?} {after:?}");
    }
    inspector.end(|| Ok(Cursor::new(body))).map_err(|error| match error {
        InspectError::Corrupt(corruption) => corruption.to_string(),
        InspectError::Io(error) => panic!("memory can be read: {error}"),
    })
}
