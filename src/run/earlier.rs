//! What the record of an earlier run says of a saved image, as far as it is compared with the wishes of this run.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::fetch::StoredImage;
use crate::record::{Algorithm, Format, Measures, Seen, Wishes};

/// The record of a saved image. Its fields are those of [`Saved`](crate::record::Saved), read without a copy.
#[derive(Debug, Deserialize)]
pub struct EarlierRecord<'a> {
    #[serde(borrow)]
    status: Cow<'a, str>,
    bytes: u64,
    pub format: Option<Format>,
    width: Option<u32>,
    height: Option<u32>,
    orientation: Option<u8>,
    #[serde(borrow, default)]
    content_type: Option<Cow<'a, str>>,
    #[serde(default)]
    http_status: u16,
    #[serde(borrow, default)]
    final_url: Cow<'a, str>,
    #[serde(borrow, default)]
    same_as: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    md5: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    sha1: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    sha256: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    sha512: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    blake3: Option<Cow<'a, str>>,
    pub verified: Option<IgnoredAny>,
    pub phash: Option<IgnoredAny>,
    pub exif: Option<IgnoredAny>,
    #[serde(default)]
    pub smaller_than_box: bool,
    pub original: Option<EarlierOriginal>,
    #[serde(borrow, default)]
    made_with: Option<&'a RawValue>,
}

/// The image as it was received, where the stored one was made from it.
#[derive(Debug, Deserialize)]
pub struct EarlierOriginal {
    bytes: u64,
    pub format: Format,
    width: Option<u32>,
    height: Option<u32>,
    orientation: Option<u8>,
    md5: Option<IgnoredAny>,
    sha1: Option<IgnoredAny>,
    sha256: Option<IgnoredAny>,
    sha512: Option<IgnoredAny>,
    blake3: Option<IgnoredAny>,
}

/// The wishes with which an image was made.
#[derive(Debug)]
pub struct EarlierWishes {
    /// The defaults, if the record states none.
    pub wishes: Wishes,
    /// Whether the record states them.
    pub are_stated: bool,
}

/// An image as it was received.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    /// Its size in bytes.
    pub bytes: u64,
    /// Its format, if it is known.
    pub format: Option<Format>,
    /// Its width and height in pixels, if they are known.
    pub size: Option<(u32, u32)>,
    /// How it is to be turned for display.
    pub orientation: Option<u8>,
}

impl Received {
    /// As it is recorded of an image that is refused.
    pub fn seen(&self) -> Seen {
        let (width, height) = self.size.unzip();
        let measures = Measures { width, height, orientation: self.orientation, frames: None };
        Seen { bytes: Some(self.bytes), format: self.format, measures }
    }
}

impl<'a> EarlierRecord<'a> {
    /// Reads a line of the journal. `None` if it is not the record of a saved image, or has values of a later version.
    pub fn read(line: &'a [u8]) -> Option<Self> {
        serde_json::from_slice::<Self>(line).ok().filter(|record| record.status == "saved")
    }

    /// The wishes with which the image was made. `None` if they cannot be read, as those of a later version may not.
    pub fn made_with(&self) -> Option<EarlierWishes> {
        match self.made_with {
            None => Some(EarlierWishes { wishes: Wishes::default(), are_stated: false }),
            Some(json) => {
                serde_json::from_str(json.get()).ok().map(|wishes| EarlierWishes { wishes, are_stated: true })
            }
        }
    }

    /// The image as it was received: filters apply to that.
    pub fn received(&self) -> Received {
        match &self.original {
            Some(original) => Received {
                bytes: original.bytes,
                format: Some(original.format),
                size: original.width.zip(original.height),
                orientation: original.orientation,
            },
            None => Received {
                bytes: self.bytes,
                format: self.format,
                size: self.width.zip(self.height),
                orientation: self.orientation,
            },
        }
    }

    /// A digest of the file.
    pub fn digest(&self, algorithm: Algorithm) -> Option<&str> {
        match algorithm {
            Algorithm::Md5 => self.md5.as_deref(),
            Algorithm::Sha1 => self.sha1.as_deref(),
            Algorithm::Sha256 => self.sha256.as_deref(),
            Algorithm::Sha512 => self.sha512.as_deref(),
            Algorithm::Blake3 => self.blake3.as_deref(),
        }
    }

    /// Whether the record has this digest of the file, and of the image as it was received.
    pub fn has_digest(&self, algorithm: Algorithm) -> bool {
        let of_original = self.original.as_ref().is_none_or(|original| {
            let digest = match algorithm {
                Algorithm::Md5 => &original.md5,
                Algorithm::Sha1 => &original.sha1,
                Algorithm::Sha256 => &original.sha256,
                Algorithm::Sha512 => &original.sha512,
                Algorithm::Blake3 => &original.blake3,
            };
            digest.is_some()
        });
        of_original && self.digest(algorithm).is_some()
    }

    /// The file, if it is as it was received: then an image can be made from it without loss.
    pub fn stored_image(&self, path: &str) -> Option<Box<StoredImage>> {
        if self.original.is_some() {
            return None;
        }
        // The strongest one.
        let digest = Algorithm::ALL.into_iter().rev().find_map(|algorithm| Some((algorithm, self.digest(algorithm)?)));
        Some(Box::new(StoredImage {
            path: path.to_owned(),
            bytes: self.bytes,
            digest: digest.map(|(algorithm, digest)| (algorithm, digest.to_owned())),
            content_type: self.content_type.as_deref().map(str::to_owned),
            http_status: self.http_status,
            final_url: self.final_url.clone().into_owned(),
            same_as: self.same_as.as_deref().map(str::to_owned),
        }))
    }
}
