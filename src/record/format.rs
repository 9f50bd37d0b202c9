//! The image formats that fetchimg knows, with their names and file extensions.
//!
//! [`crate::image`] detects the format of bytes, and [`crate::naming`] decides which extension a file gets.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! formats {
    ($($(#[$doc:meta])* $variant:ident $name:literal [$($extension:literal),+];)+) => {
        /// An image format.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Format { $($(#[$doc])* #[serde(rename = $name)] $variant,)+ }

        impl Format {
            /// Every format.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name in records and in `--accept`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// The extensions of the format, without the dot. The first is the one that fetchimg uses for new names.
            #[must_use]
            pub const fn extensions(self) -> &'static [&'static str] {
                match self { $(Self::$variant => &[$($extension),+],)+ }
            }

            fn from_lower_case(extension: &[u8]) -> Option<Self> {
                $($(if extension == $extension.as_bytes() { return Some(Self::$variant) })+)+
                None
            }
        }
    };
}

formats! {
    /// JPEG (ISO/IEC 10918).
    Jpeg "jpeg" ["jpg", "jpeg", "jpe", "jfif", "jif"];
    /// PNG, animated ones included (W3C PNG, third edition).
    Png "png" ["png", "apng"];
    /// GIF 87a and 89a.
    Gif "gif" ["gif"];
    /// WebP (RFC 9649).
    Webp "webp" ["webp"];
    /// AVIF: AV1 pictures in HEIF.
    Avif "avif" ["avif", "avifs"];
    /// HEIC and other HEIF (ISO/IEC 23008-12).
    Heic "heic" ["heic", "heif", "hif", "heics", "heifs"];
    /// Windows bitmap.
    Bmp "bmp" ["bmp", "dib"];
    /// TIFF 6.0 and `BigTIFF`, both byte orders.
    Tiff "tiff" ["tiff", "tif"];
    /// Windows icon and cursor.
    Ico "ico" ["ico", "cur"];
    /// Scalable Vector Graphics.
    Svg "svg" ["svg"];
    /// JPEG XL (ISO/IEC 18181), bare or boxed.
    Jxl "jxl" ["jxl"];
    /// JPEG 2000 (ISO/IEC 15444), bare or boxed.
    Jp2 "jp2" ["jp2", "j2k", "jpf", "jpx", "j2c", "jpc"];
    /// Quite OK Image.
    Qoi "qoi" ["qoi"];
    /// Netpbm: PBM, PGM, PPM, PAM.
    Pnm "pnm" ["pnm", "ppm", "pgm", "pbm", "pam"];
    /// `DirectDraw` Surface.
    Dds "dds" ["dds"];
    /// Radiance RGBE.
    Hdr "hdr" ["hdr"];
    /// `OpenEXR`.
    Exr "exr" ["exr"];
    /// Photoshop.
    Psd "psd" ["psd", "psb"];
    /// Truevision TGA 2.0.
    Tga "tga" ["tga", "icb", "vda", "vst"];
    /// Digital Negative: camera raw of many makers (DNG 1.7).
    Dng "dng" ["dng"];
    /// Camera raw of Nikon.
    Nef "nef" ["nef", "nrw"];
    /// Camera raw of Canon, in a TIFF.
    Cr2 "cr2" ["cr2"];
    /// Camera raw of Canon, in boxes of ISO base media files.
    Cr3 "cr3" ["cr3"];
    /// Camera raw of Sony.
    Arw "arw" ["arw", "sr2"];
    /// Camera raw of Olympus and OM System.
    Orf "orf" ["orf"];
    /// Camera raw of Panasonic and Leica.
    Rw2 "rw2" ["rw2", "rwl"];
    /// Camera raw of Pentax and Ricoh.
    Pef "pef" ["pef"];
    /// Camera raw of Samsung.
    Srw "srw" ["srw"];
    /// Camera raw of Fujifilm.
    Raf "raf" ["raf"];
    /// Camera raw of other makers, in a TIFF.
    Raw "raw" ["raw", "3fr", "iiq", "mef"];
}

/// The length of the longest extension, in bytes.
pub const MAX_EXTENSION_BYTES: usize = 5;

impl Format {
    /// Whether it holds what the sensor of a camera saw, which has to be developed before it is a picture.
    #[must_use]
    pub const fn is_raw(self) -> bool {
        matches!(
            self,
            Self::Dng
                | Self::Nef
                | Self::Cr2
                | Self::Cr3
                | Self::Arw
                | Self::Orf
                | Self::Rw2
                | Self::Pef
                | Self::Srw
                | Self::Raf
                | Self::Raw
        )
    }

    /// Whether a file may have this format that begins as a TIFF, and only the whole of it tells.
    #[must_use]
    pub const fn begins_as_tiff(self) -> bool {
        matches!(
            self,
            Self::Tiff | Self::Dng | Self::Nef | Self::Cr2 | Self::Arw | Self::Orf | Self::Pef | Self::Srw | Self::Raw
        )
    }

    /// The extension that fetchimg gives to a file of this format, without the dot.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        self.extensions()[0]
    }

    /// The format that an extension stands for; upper and lower case are equal.
    #[must_use]
    pub fn from_extension(extension: &str) -> Option<Self> {
        // Called several times for each image, so this avoids a loop over all formats.
        let mut lower = [0; MAX_EXTENSION_BYTES];
        let lower = lower.get_mut(..extension.len())?;
        lower.copy_from_slice(extension.as_bytes());
        lower.make_ascii_lowercase();
        Self::from_lower_case(lower)
    }

    /// The format with this name or extension, as `--accept` takes them.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|format| format.name().eq_ignore_ascii_case(name))
            .or_else(|| Self::from_extension(name))
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_extension_belongs_to_two_formats() {
        let mut all = Format::ALL.iter().flat_map(|format| format.extensions()).collect::<Vec<_>>();
        all.sort_unstable();
        let count = all.len();
        all.dedup();
        assert_eq!(all.len(), count);
        assert!(count <= 64, "naming stores a set of them in the bits of one word");
        assert_eq!(all.iter().map(|extension| extension.len()).max(), Some(MAX_EXTENSION_BYTES));
    }

    #[test]
    fn names_and_extensions_are_found_in_upper_and_lower_case() {
        assert_eq!(Format::from_extension("JPG"), Some(Format::Jpeg));
        assert_eq!(Format::from_name("jpg"), Some(Format::Jpeg));
        assert_eq!(Format::from_name("AVIF"), Some(Format::Avif));
        assert_eq!(Format::from_extension("php"), None);
    }
}
