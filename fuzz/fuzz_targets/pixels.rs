//! Decodes any bytes as JPEG: what is verified is what can be decoded, at any size.
#![no_main]

use std::num::NonZeroU32;

use fetchimg::internals::image::transform::{
    Encoding, Image, Limits, Resize, ResizeMode, TransformError, TransformOptions, transform,
};
use fetchimg::internals::record::Format;
use libfuzzer_sys::fuzz_target;

// A seed is a JPEG file.
fuzz_target!(|file: &[u8]| {
    let limits = Limits { max_pixels: 4_000_000, max_memory: 64 << 20, max_frame_pixels: 40_000_000, ..Limits::default() };
    let done = |options: TransformOptions| transform(file, Format::Jpeg, None, &TransformOptions { limits, ..options });
    let verified = done(TransformOptions { verify: true, ..TransformOptions::default() });
    let side = NonZeroU32::new(16).expect("a side");
    let resize = Resize { width: side, height: side, mode: ResizeMode::KeepRatio, enlarge: false };
    for resize in [None, Some(resize)] {
        let made = done(TransformOptions { target: Some(Encoding::Png), resize, ..TransformOptions::default() });
        match (&verified, made) {
            // The whole picture takes more memory than its eighth.
            (_, Err(TransformError::TooLarge(_))) | (Err(TransformError::TooLarge(_)), _) => {}
            (Err(why), Err(same)) => assert_eq!(*why, same),
            (Ok(_), Ok(made)) => assert!(matches!(made.image, Image::New { width: 1.., height: 1.., .. })),
            (verified, made) => panic!("{verified:?}, but {made:?}"),
        }
    }
    assert!(!matches!(verified, Err(TransformError::Internal(_))), "{verified:?}");
});
