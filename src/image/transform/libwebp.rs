//! The decoder of libwebp behind two safe functions.
//!
//! libwebp is linked for encoding anyway. Its decoder has SIMD, holds a few rows of a lossy picture instead of all of
//! it, and scales while it decodes, none of which image-webp 0.2.4 does. Side by side, both optimised, a lossy picture of
//! 800 x 600 pixels takes 3.5 ms of processor time and 14.9 ms, one of 1500 x 1000 12.3 ms and 52.8 ms; the decoding of
//! WebP was nearly a third of the time for thumbnails of web pictures.
//! The safe crate `webp` decodes at full size only, and hides why a file cannot be decoded.

#![allow(unsafe_code, reason = "libwebp is in C, and its fast decoder has no safe wrapper")]

use libwebp_sys::{
    VP8StatusCode, WEBP_CSP_MODE, WebPBitstreamFeatures, WebPDecode, WebPDecoderConfig, WebPGetFeatures, WebPRGBABuffer,
};

use super::TransformError;

/// What the header of one picture states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Whether pixels have opacity.
    pub has_alpha: bool,
    /// Whether it is lossless.
    pub is_lossless: bool,
}

/// Reads the header of one picture: a chunk `VP8L`, or a chunk `VP8 ` that may have an `ALPH` before it.
///
/// # Errors
/// The header is damaged or cut off.
pub fn features(picture: &[u8]) -> Result<Features, TransformError> {
    const LOSSLESS: i32 = 2;
    let mut found =
        WebPBitstreamFeatures { width: 0, height: 0, has_alpha: 0, has_animation: 0, format: 0, pad: [0; 5] };
    // SAFETY: the pointer and the length are those of a slice, which libwebp only reads and does not keep, and `found`
    // is a valid structure of the size that this version of libwebp writes.
    let status = unsafe { WebPGetFeatures(picture.as_ptr(), picture.len(), &raw mut found) };
    check(status)?;
    let side = |side: i32| u32::try_from(side).map_err(TransformError::internal);
    Ok(Features {
        width: side(found.width)?,
        height: side(found.height)?,
        has_alpha: found.has_alpha != 0,
        is_lossless: found.format == LOSSLESS,
    })
}

/// Decodes one picture of the kind that [`features`] reads: red, green, blue and opacity of each pixel, row by row.
/// With `scaled`, it is scaled to that width and height by the mean of the pixels; both are less than its own.
///
/// libwebp allocates up to five bytes per pixel beside the result, so the caller holds the size of the picture to the
/// limits first.
///
/// # Errors
/// The picture is damaged or cut off.
pub fn decode(picture: &[u8], scaled: Option<(u32, u32)>) -> Result<Vec<u8>, TransformError> {
    const CHANNELS: usize = 4;
    let features = features(picture)?;
    let (width, height) = scaled.unwrap_or((features.width, features.height));
    let row = width as usize * CHANNELS;
    let mut pixels = vec![0; row * height as usize];
    let number = |number: u32| i32::try_from(number).map_err(TransformError::internal);
    let mut config =
        WebPDecoderConfig::new().map_err(|()| TransformError::Internal("another version of libwebp".to_owned()))?;
    if scaled.is_some() {
        config.options.use_scaling = 1;
        config.options.scaled_width = number(width)?;
        config.options.scaled_height = number(height)?;
    }
    config.output.colorspace = WEBP_CSP_MODE::MODE_RGBA;
    config.output.is_external_memory = 1;
    let stride = i32::try_from(row).map_err(TransformError::internal)?;
    config.output.u.RGBA = WebPRGBABuffer { rgba: pixels.as_mut_ptr(), stride, size: pixels.len() };
    // SAFETY: the slice is only read, and not kept. `config` was initialised by libwebp for its version. The output is
    // the memory of `pixels`, which lives until after the call, is not used meanwhile, and is as long as `size` says;
    // libwebp refuses (VP8_STATUS_INVALID_PARAM) what `stride` and `size` do not hold. Memory that is marked as external
    // is not freed by libwebp, and its own is freed before it returns.
    let status = unsafe { WebPDecode(picture.as_ptr(), picture.len(), &raw mut config) };
    check(status)?;
    Ok(pixels)
}

fn check(status: VP8StatusCode) -> Result<(), TransformError> {
    match status {
        VP8StatusCode::VP8_STATUS_OK => Ok(()),
        VP8StatusCode::VP8_STATUS_OUT_OF_MEMORY => Err(TransformError::TooLarge("no memory".to_owned())),
        VP8StatusCode::VP8_STATUS_NOT_ENOUGH_DATA | VP8StatusCode::VP8_STATUS_SUSPENDED => {
            Err(TransformError::Corrupt("it ends too soon".to_owned()))
        }
        VP8StatusCode::VP8_STATUS_UNSUPPORTED_FEATURE => {
            Err(TransformError::Unsupported("a kind of WebP that libwebp does not know".to_owned()))
        }
        VP8StatusCode::VP8_STATUS_BITSTREAM_ERROR => Err(TransformError::Corrupt("its picture data".to_owned())),
        VP8StatusCode::VP8_STATUS_INVALID_PARAM | VP8StatusCode::VP8_STATUS_USER_ABORT => {
            Err(TransformError::Internal(format!("libwebp: {status:?}")))
        }
    }
}
