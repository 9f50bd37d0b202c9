//! Decodes an image to verify it: every frame, in the memory of one.

use std::io::Cursor;

use gif::MemoryLimit;

use super::decode::open;
#[cfg(feature = "jxl")]
use super::jxl::Jxl;
use super::webp::Webp;
use super::workarounds::decodable;
use super::{Limits, TransformError};
use crate::record::Format;

/// Decodes an image, with all frames of an animation, and reports what is wrong with it.
pub fn verify(bytes: &[u8], format: Format, limits: &Limits) -> Result<(), TransformError> {
    let (bytes, format) = decodable(bytes, format);
    let opened = open(&bytes, format, limits)?;
    match format {
        Format::Png => png(&bytes, limits),
        Format::Gif => gif(&bytes, limits),
        Format::Webp => Webp::open(&bytes)?.verify(limits),
        #[cfg(feature = "jxl")]
        Format::Jxl => Jxl::open(&bytes, limits)?.verify(limits),
        // All data are decoded at any scale.
        Format::Jpeg => opened.decode(Some((1, 1))).map(drop),
        _ => opened.decode(None).map(drop),
    }
}

/// Decodes row by row.
fn png(bytes: &[u8], limits: &Limits) -> Result<(), TransformError> {
    let mut options = png::DecodeOptions::default();
    // The default is to ignore it, as browsers do.
    options.set_ignore_adler32(false);
    // They are compressed, and hold no pixels.
    options.set_ignore_iccp_chunk(true);
    options.set_ignore_text_chunk(true);
    let mut decoder = png::Decoder::new_with_options(Cursor::new(bytes), options);
    decoder.set_limits(png::Limits { bytes: usize::try_from(limits.max_memory).unwrap_or(usize::MAX) });
    let mut reader = decoder.read_info()?;
    // A default image that is no frame of the animation comes before the frames.
    let animation = reader.info().animation_control().copied();
    let frames = animation.map_or(1, |control| u64::from(control.num_frames));
    let pixels = u64::from(reader.info().width) * u64::from(reader.info().height);
    limits.check_frames(frames, frames.saturating_mul(pixels))?;
    // The decoder keeps some rows while it decompresses the next one.
    let line = reader.output_line_size(reader.info().width).map_or(u64::MAX, |line| line as u64);
    limits.check_memory(line.saturating_mul(6))?;
    let has_separate_default = animation.is_some() && reader.info().frame_control().is_none();
    for number in 0..frames + u64::from(has_separate_default) {
        if number > 0 {
            reader.next_frame_info()?;
        }
        while reader.next_row()?.is_some() {}
    }
    reader.finish()?;
    Ok(())
}

fn gif(bytes: &[u8], limits: &Limits) -> Result<(), TransformError> {
    // Computes the cost first: frames can be counted without decoding them.
    let mut options = gif::DecodeOptions::new();
    options.skip_frame_decoding(true);
    let mut decoder = options.read_info(Cursor::new(bytes))?;
    let (mut frames, mut pixels) = (0, 0);
    while let Some(frame) = decoder.next_frame_info()? {
        limits.check_size(u32::from(frame.width), u32::from(frame.height))?;
        // Frames may be larger than the logical screen; one byte per pixel.
        let size = u64::from(frame.width) * u64::from(frame.height);
        limits.check_memory(size)?;
        frames += 1;
        pixels += size;
    }
    limits.check_frames(frames, pixels)?;
    if frames == 0 {
        return Err(TransformError::Corrupt("it holds no picture".to_owned()));
    }
    let mut options = gif::DecodeOptions::new();
    options.set_memory_limit(MemoryLimit::Bytes(limits.max_memory.try_into().map_err(TransformError::internal)?));
    let mut decoder = options.read_info(Cursor::new(bytes))?;
    let mut frame = Vec::new();
    while decoder.next_frame_info()?.is_some() {
        frame.resize(decoder.buffer_size(), 0);
        decoder.read_into_buffer(&mut frame)?;
    }
    Ok(())
}

impl From<png::DecodingError> for TransformError {
    fn from(error: png::DecodingError) -> Self {
        match error {
            png::DecodingError::LimitsExceeded => Self::TooLarge(error.to_string()),
            png::DecodingError::IoError(error) => ends_too_soon(&error),
            other => Self::Corrupt(other.to_string()),
        }
    }
}

impl From<gif::DecodingError> for TransformError {
    fn from(error: gif::DecodingError) -> Self {
        match error {
            gif::DecodingError::MemoryLimit | gif::DecodingError::OutOfMemory => Self::TooLarge(error.to_string()),
            gif::DecodingError::UnexpectedEof => Self::Corrupt("it ends too soon".to_owned()),
            gif::DecodingError::Io(error) => ends_too_soon(&error),
            other => Self::Corrupt(other.to_string()),
        }
    }
}

/// Reading from memory can fail only at its end.
fn ends_too_soon(error: &std::io::Error) -> TransformError {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => TransformError::Corrupt("it ends too soon".to_owned()),
        _ => TransformError::Corrupt(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_held_to_the_limit_on_memory() {
        let mut bytes = Vec::new();
        let mut writer = png::Encoder::new(&mut bytes, 16_000, 1).write_header().expect("a head");
        writer.write_image_data(&[7; 16_000]).and_then(|()| writer.finish()).expect("an end");
        let limits = |max_memory| Limits { max_memory, ..Limits::default() };
        assert_eq!(verify(&bytes, Format::Png, &limits(100_000)), Ok(()));
        let refused = verify(&bytes, Format::Png, &limits(80_000));
        assert!(matches!(refused, Err(TransformError::TooLarge(_))), "{refused:?}");
    }
}
