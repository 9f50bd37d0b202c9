//! What libjpeg has to say: fatal errors, and warnings about data that it replaces by something.
//!
//! Its messages have codes, which mozjpeg's wrapper does not hand on, so this module has an error manager of its own. A
//! fatal error has to unwind, because the library goes on if its handler returns. So does a warning that means damage:
//! the rest of the picture would be filled up.

#![allow(unsafe_code, reason = "libjpeg keeps the code of a message behind a pointer")]

use std::os::raw::c_int;
use std::panic::resume_unwind;
use std::ptr;

#[allow(clippy::wildcard_imports, reason = "the codes of messages")]
use mozjpeg_sys::*;

use super::super::TransformError;

// The bindings were made for a library without arithmetic coding, which has these two codes more from here on.
const JERR_NO_ARITH_TABLE: J_MESSAGE_CODE = JERR_BAD_CROP_SPEC + 1;
const JWRN_ARITH_BAD_CODE: J_MESSAGE_CODE = JERR_BAD_CROP_SPEC + 2;

/// An error manager whose handlers unwind with a [`TransformError`].
pub fn error_manager() -> jpeg_error_mgr {
    jpeg_error_mgr {
        error_exit: Some(on_error),
        emit_message: Some(on_warning),
        output_message: None,
        format_message: None,
        reset_error_mgr: Some(on_reset),
        msg_code: 0,
        msg_parm: msg_parm_union::default(),
        trace_level: 0,
        num_warnings: 0,
        jpeg_message_table: ptr::null(),
        last_jpeg_message: 0,
        addon_message_table: ptr::null(),
        first_addon_message: 0,
        last_addon_message: 0,
    }
}

extern "C-unwind" fn on_error(decoder: &mut jpeg_common_struct) {
    let (code, detail) = message(decoder);
    resume_unwind(Box::new(fatal(code, detail)));
}

extern "C-unwind" fn on_warning(decoder: &mut jpeg_common_struct, level: c_int) {
    // Other levels are traces.
    if level < 0
        && let (code, detail) = message(decoder)
        && let Some(damage) = damage(code, detail)
    {
        resume_unwind(Box::new(TransformError::Corrupt(damage)));
    }
}

extern "C-unwind" fn on_reset(_: &mut jpeg_common_struct) {}

/// The code of the current message, and the first two numbers that belong to it.
fn message(decoder: &jpeg_common_struct) -> (J_MESSAGE_CODE, [u32; 2]) {
    // SAFETY: libjpeg calls the handlers with the structure whose `err` points to the manager that they are taken from.
    // mozjpeg's wrapper owns both, keeps the manager in a box while the structure lives, and runs on this thread alone;
    // nothing changes the manager before this function returns.
    let manager = unsafe { &*decoder.err };
    let [first, second, ..] = manager.msg_parm._bindgen_data_;
    (manager.msg_code, [first, second])
}

/// What a warning says about missing or damaged data; `None` if the picture is whole all the same.
///
/// Browsers show pictures with bytes between segments, odd Adobe and JFIF segments, or a missing end marker, and nothing
/// of them is missing. Whether progressive scans follow each other is checked in `scans`.
fn damage(code: J_MESSAGE_CODE, [_, marker]: [u32; 2]) -> Option<String> {
    let what = match code {
        JWRN_HIT_MARKER => "the picture data ends too soon",
        JWRN_HUFF_BAD_CODE => "a Huffman code in the picture data does not exist",
        JWRN_ARITH_BAD_CODE => "an arithmetic code in the picture data is impossible",
        JWRN_MUST_RESYNC => "a restart marker is not where it should be",
        // The number of bytes that were skipped, and the marker behind them. Before a restart marker, what was decoded
        // of this part is not what was encoded.
        JWRN_EXTRANEOUS_DATA if (0xD0..=0xD7).contains(&marker) => "picture data is left over before a restart marker",
        _ => return None,
    };
    Some(what.to_owned())
}

/// The error that a fatal message stands for. What the library cannot do is no damage.
fn fatal(code: J_MESSAGE_CODE, [first, _]: [u32; 2]) -> TransformError {
    let unsupported = |what: &str| TransformError::Unsupported(what.to_owned());
    let corrupt = |what: &str| TransformError::Corrupt(what.to_owned());
    match code {
        JERR_SOF_UNSUPPORTED => match first {
            0xC3 | 0xC7 | 0xCB | 0xCF => unsupported("lossless JPEG"),
            0xC5 | 0xC6 | 0xCD | 0xCE => unsupported("hierarchical JPEG"),
            kind => TransformError::Unsupported(format!("JPEG of the reserved kind {kind:02X}")),
        },
        JERR_BAD_PRECISION => TransformError::Unsupported(format!("JPEG of {first} bits per value")),
        JERR_EMPTY_IMAGE => unsupported("JPEG that tells its height late"),
        JERR_COMPONENT_COUNT => TransformError::Unsupported(format!("JPEG of {first} components")),
        JERR_BAD_J_COLORSPACE | JERR_CONVERSION_NOTIMPL => unsupported("JPEG with these components"),
        JERR_FRACT_SAMPLE_NOTIMPL | JERR_CCIR601_NOTIMPL => unsupported("JPEG with this sampling"),
        JERR_ARITH_NOTIMPL | JERR_NOTIMPL | JERR_NOT_COMPILED | JERR_BAD_DCTSIZE => unsupported("JPEG of this kind"),
        JERR_IMAGE_TOO_BIG => unsupported("JPEG with a side of more than 65500 pixels"),
        JERR_OUT_OF_MEMORY | JERR_WIDTH_OVERFLOW => TransformError::TooLarge("there is no memory for it".to_owned()),
        JERR_NO_QUANT_TABLE => corrupt("a quantization table is missing"),
        JERR_NO_HUFF_TABLE => corrupt("a Huffman table is missing"),
        JERR_BAD_HUFF_TABLE | JERR_DHT_INDEX => corrupt("a Huffman table is impossible"),
        JERR_DQT_INDEX => corrupt("a quantization table is impossible"),
        JERR_DAC_INDEX | JERR_DAC_VALUE | JERR_NO_ARITH_TABLE => corrupt("an arithmetic table is impossible"),
        JERR_BAD_LENGTH => corrupt("a segment has an impossible length"),
        // Skipping a segment is the only reading that can fail.
        JERR_FILE_READ | JERR_INPUT_EOF => corrupt("a segment ends too soon"),
        JERR_BAD_SAMPLING | JERR_BAD_MCU_SIZE => corrupt("its sampling factors are impossible"),
        JERR_BAD_COMPONENT_ID => corrupt("a scan is of a component that does not exist"),
        JERR_BAD_PROGRESSION => corrupt("a scan has impossible parameters"),
        JERR_SOF_DUPLICATE => corrupt("it has two frame headers"),
        JERR_SOI_DUPLICATE => corrupt("it begins a second time before its end"),
        JERR_SOS_NO_SOF => corrupt("its picture comes before its frame header"),
        JERR_SOF_NO_SOS | JERR_NO_IMAGE | JERR_INPUT_EMPTY => corrupt("it holds no picture"),
        JERR_NO_SOI => corrupt("it does not begin as a JPEG"),
        JERR_UNKNOWN_MARKER => TransformError::Corrupt(format!("it has a marker {first:02X}, which means nothing")),
        code => TransformError::Internal(format!("JPEG: message {code} of the library")),
    }
}
