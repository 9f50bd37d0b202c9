//! Recognises any bytes: once the format of a body is recognised, further bytes must not change it.
#![no_main]

use fetchimg::internals::image::{MAX_HEAD_BYTES, Recogniser, Recognition, recognise};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let complete = recognise(body, true);
    assert_ne!(complete, Recognition::Unclear, "the end of a body leaves nothing open");
    let mut clear = None;
    // Every length at which the format may be recognised, and some longer ones.
    let ends = (0..=body.len().min(300)).chain((300..=body.len()).step_by(97)).chain([body.len()]);
    for end in ends {
        let verdict = recognise(&body[..end], false);
        match (clear, verdict) {
            // Only a body that may be a TGA is read to its end. The third byte of a TGA is one of these.
            (None, Recognition::Unclear) => {
                assert!(end < MAX_HEAD_BYTES || matches!(body[2], 1..=3 | 9..=11), "undecided after {end} bytes");
            }
            (None, verdict) => clear = Some(verdict),
            // The description of a body that is not an image may become more precise.
            (Some(Recognition::Other(_)), Recognition::Other(_)) => {}
            (Some(before), verdict) => assert_eq!(before, verdict, "after {end} bytes"),
        }
    }
    match clear {
        Some(Recognition::Image(format)) => assert_eq!(complete, Recognition::Image(format)),
        Some(Recognition::Other(_)) => assert!(matches!(complete, Recognition::Other(_)), "{complete:?}"),
        _ => {}
    }
    let mut recogniser = Recogniser::default();
    for piece in body.chunks(97) {
        recogniser.feed(piece);
    }
    match (recogniser.end(), complete) {
        (Recognition::Other(_), Recognition::Other(_)) => {}
        (in_pieces, whole) => assert_eq!(in_pieces, whole),
    }
});
