//! Transforms the pixels of a complete body on the CPU pool, so that the threads of the network are not blocked.

use std::io::{self, Read as _};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::validate::{InspectedBody, corrupt};
use super::{Fetcher, Verify};
use crate::image::transform::{self, Image, Panicked, TransformError, TransformOptions, Transformed};
use crate::record::{Digester, ErrorKind, FetchError, Format, Measures, Original, Verified};
use crate::sink::Body;

impl Fetcher {
    /// Transforms the pixels, if the options ask for it, and decodes an image that is corrupt if it cannot be. Afterwards
    /// `body` holds the image to be stored. The time for which the image waits for a processor is added to `waited`.
    pub(super) async fn transform_pixels<'a>(
        &'a self,
        body: &mut Body<'a>,
        mut inspected: InspectedBody,
        waited: &mut Duration,
    ) -> Result<InspectedBody, FetchError> {
        let Some(format) = inspected.format else { return Ok(inspected) };
        let doubt = inspected.doubt.take();
        let closed;
        let plan = match (&self.options.plan, doubt) {
            (None, None) => return Ok(inspected),
            (Some(plan), None) => &**plan,
            // Only decoding all of its pixels shows whether its picture is whole.
            (plan, Some(_)) => {
                closed = TransformOptions { verify: true, ..plan.as_deref().cloned().unwrap_or_default() };
                &closed
            }
        };
        let size = inspected.measures.width.zip(inspected.measures.height);
        let (orientation, max_memory) = (inspected.measures.orientation, plan.limits.max_memory);
        let expected = transform::memory_needed(format, size, plan);
        let within = |max_memory| {
            let mut plan = TransformOptions::clone(plan);
            plan.limits.max_memory = max_memory;
            plan
        };
        let mut transformed = self.carry_out(within(expected), body, (format, orientation), waited).await?;
        // The image is larger inside than its header says. It is decoded all the same, but with all memory to itself.
        if matches!(transformed, Err(TransformError::TooLarge(_))) && expected < max_memory {
            transformed = self.carry_out(within(max_memory), body, (format, orientation), waited).await?;
        }
        let is_decoding_asked = self.options.wanted.verify == Verify::Decode;
        let verified = |level| is_decoding_asked.then_some(level);
        let Transformed { image, hash, smaller_than_box } = match (transformed, doubt) {
            (Ok(transformed), _) => transformed,
            (Err(error), Some(doubt)) if !matches!(error, TransformError::Internal(_)) => return Err(corrupt(doubt)),
            // No decoder here supports the format. The image is stored unchanged, without a hash.
            (Err(TransformError::Unsupported(_)), None) if plan.keeps_images() => {
                return Ok(InspectedBody { verified: verified(Verified::Structure), ..inspected });
            }
            // With `--verify none`, an image that cannot be decoded is stored without a hash.
            (Err(_), None) if plan.keeps_images() && !self.options.wanted.verifies() => return Ok(inspected),
            (Err(error), _) => return Err(FetchError::new(error.kind(), error.to_string())),
        };
        inspected.verified = verified(Verified::Decode);
        let phash = hash.map(|hash| hash.to_string());
        let Image::New { bytes, format: target, width, height } = image else {
            return Ok(InspectedBody { phash, smaller_than_box, ..inspected });
        };
        let (measures, digests) = (inspected.measures, inspected.digests);
        let original = Original { bytes: body.length(), format, measures, digests };
        let mut digester = Digester::new(self.options.wanted.digests.iter().copied());
        digester.update(&bytes);
        let bytes = Bytes::from(bytes);
        let mut new_body = self.sink.body(Some(bytes.len() as u64), None);
        new_body.write(&bytes).map_err(|error| self.disk("cannot write", error))?;
        std::mem::replace(body, new_body).discard();
        let mut exif = inspected.exif;
        // The new image is stored upright. A viewer that applied the old orientation would turn it once more.
        exif.remove("orientation");
        Ok(InspectedBody {
            exif,
            doubt: None,
            format: Some(target),
            measures: Measures { width: Some(width), height: Some(height), ..Measures::default() },
            digests: digester.finish(),
            phash,
            verified: inspected.verified,
            original: Some(Box::new(original)),
            smaller_than_box,
        })
    }

    /// Carries out the plan on the CPU pool, within the memory that the plan allows and what the file takes.
    async fn carry_out(
        &self,
        plan: TransformOptions,
        body: &mut Body<'_>,
        (format, orientation): (Format, Option<u8>),
        waited: &mut Duration,
    ) -> Result<Result<Transformed, TransformError>, FetchError> {
        let unreadable = |error| self.disk("cannot read back what was stored", error);
        // Workarounds for decoders make a copy of the file.
        let weight = plan.limits.max_memory.saturating_add(body.length().saturating_mul(2));
        let mut bytes = body.owned().map_err(unreadable)?;
        let asked = Instant::now();
        let work = move || {
            let waited = asked.elapsed();
            let mut image = Vec::new();
            bytes.read_to_end(&mut image)?;
            Ok::<_, io::Error>((waited, transform::transform(&image, format, orientation, &plan)))
        };
        let panicked = |error: Panicked| FetchError::new(ErrorKind::Internal, error.to_string());
        let (waited_now, transformed) = self.pool.run(weight, work).await.map_err(panicked)?.map_err(unreadable)?;
        *waited += waited_now;
        Ok(transformed)
    }
}
