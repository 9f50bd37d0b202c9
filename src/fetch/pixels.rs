//! What is done with the pixels of a complete body, on the CPU pool beside the network.

use std::io::{self, Read as _};

use bytes::Bytes;

use super::Fetcher;
use super::validate::Found;
use crate::image::transform::{self, Image, Panicked, TransformError, TransformOptions, Transformed};
use crate::record::{Digester, ErrorKind, FetchError, Format, Measures, Original};
use crate::sink::Body;

impl Fetcher {
    /// Transforms the pixels, if that is wanted. `body` holds the image to be stored then.
    pub(super) async fn transform_pixels<'a>(&'a self, body: &mut Body<'a>, found: Found) -> Result<Found, FetchError> {
        let Some((plan, format)) = self.options.plan.as_ref().zip(found.format) else { return Ok(found) };
        let size = found.measures.width.zip(found.measures.height);
        let (orientation, most) = (found.measures.orientation, plan.limits.max_memory);
        let expected = transform::memory_needed(format, size, plan);
        let within = |max_memory| {
            let mut plan = TransformOptions::clone(plan);
            plan.limits.max_memory = max_memory;
            plan
        };
        let mut transformed = self.carry_out(within(expected), body, format, orientation).await?;
        // The image is larger inside than its header says. It is decoded all the same, but with all memory to itself.
        if matches!(transformed, Err(TransformError::TooLarge(_))) && expected < most {
            transformed = self.carry_out(within(most), body, format, orientation).await?;
        }
        let Transformed { image, hash } = match transformed {
            Ok(transformed) => transformed,
            // No decoder here can check it or hash it, which is no reason to refuse it.
            Err(TransformError::Unsupported(_)) if plan.keeps_images() => return Ok(found),
            // With `--verify none` an image without a hash is taken, too.
            Err(_) if plan.keeps_images() && !self.options.wanted.asks_whether_sound() => return Ok(found),
            Err(error) => return Err(FetchError::new(error.kind(), error.to_string())),
        };
        let phash = hash.map(|hash| hash.to_string());
        let Image::New { bytes, format: target, width, height } = image else { return Ok(Found { phash, ..found }) };
        let original = Original { bytes: body.length(), format, measures: found.measures, digests: found.digests };
        let mut digester = Digester::new(self.options.wanted.digests.iter().copied());
        digester.update(&bytes);
        let bytes = Bytes::from(bytes);
        let mut other = self.sink.body(Some(bytes.len() as u64), None);
        other.write(&bytes).map_err(|error| self.disk("cannot write", error))?;
        std::mem::replace(body, other).discard();
        let mut exif = found.exif;
        // The stored image stands upright now: a viewer that went by this field would turn it once more.
        exif.remove("orientation");
        Ok(Found {
            exif,
            format: Some(target),
            measures: Measures { width: Some(width), height: Some(height), ..Measures::default() },
            digests: digester.finish(),
            phash,
            original: Some(Box::new(original)),
        })
    }

    /// Carries out the plan on the CPU pool, within the memory that the plan allows and what the file takes.
    async fn carry_out(
        &self,
        plan: TransformOptions,
        body: &mut Body<'_>,
        format: Format,
        orientation: Option<u8>,
    ) -> Result<Result<Transformed, TransformError>, FetchError> {
        let unreadable = |error| self.disk("cannot read back what was stored", error);
        // Workarounds for decoders make a copy of the file.
        let weight = plan.limits.max_memory.saturating_add(body.length().saturating_mul(2));
        let mut bytes = body.owned().map_err(unreadable)?;
        let work = move || {
            let mut image = Vec::new();
            bytes.read_to_end(&mut image)?;
            Ok::<_, io::Error>(transform::transform(&image, format, orientation, &plan))
        };
        let panicked = |error: Panicked| FetchError::new(ErrorKind::Internal, error.to_string());
        self.pool.run(weight, work).await.map_err(panicked)?.map_err(unreadable)
    }
}
