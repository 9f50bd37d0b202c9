//! Makes pictures to fetch: valid PNG files of random bytes, the same on every machine.

use std::fs;
use std::path::{Path, PathBuf};

use super::Result;

/// Files in a folder.
pub struct Corpus {
    /// Where they are.
    pub folder: PathBuf,
    /// Their names and sizes in bytes.
    pub files: Vec<(String, u64)>,
}

impl Corpus {
    /// Makes pictures whose sizes are distributed like those of images on the web: log-normally around the `median` in
    /// bytes, from 0.08 to 12 times the median.
    pub fn of_the_web(folder: &Path, count: usize, median: f64) -> Result<Self> {
        Self::make(folder, count, |random| {
            // The sum of uniform numbers is nearly normal.
            let normal = (0..12).map(|_| random.f64()).sum::<f64>() - 6.0;
            median * (0.8 * normal).exp().clamp(0.08, 12.0)
        })
    }

    /// Makes pictures of nearly the same size in bytes.
    pub fn of_size(folder: &Path, count: usize, size: f64) -> Result<Self> {
        Self::make(folder, count, |random| size * (0.9 + 0.2 * random.f64()))
    }

    fn make(folder: &Path, count: usize, mut size: impl FnMut(&mut fastrand::Rng) -> f64) -> Result<Self> {
        fs::create_dir(folder)?;
        let mut random = fastrand::Rng::with_seed(7);
        let mut files = Vec::with_capacity(count);
        for index in 0..count {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a size in bytes")]
            let size = size(&mut random) as usize;
            let bytes = png(size, &mut random);
            let name = format!("{index:05}.png");
            fs::write(folder.join(&name), &bytes)?;
            files.push((name, bytes.len() as u64));
        }
        Ok(Self { folder: folder.to_owned(), files })
    }

    /// The size of all files together, in bytes.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|(_, size)| size).sum()
    }

    /// The number of files that are in that folder with the same bytes.
    pub fn right_in(&self, output: &Path) -> Result<usize> {
        let mut right = 0;
        for (name, _) in &self.files {
            let is_right = match fs::read(output.join(name)) {
                Ok(bytes) => bytes == fs::read(self.folder.join(name))?,
                Err(_) => false,
            };
            right += usize::from(is_right);
        }
        Ok(right)
    }
}

/// One white pixel, and a private chunk that fills the file up to about `size` bytes.
pub fn png(size: usize, random: &mut fastrand::Rng) -> Vec<u8> {
    let pixel: &[u8] = &[0x78, 0x01, 0x01, 0x02, 0, 0xFD, 0xFF, 0, 0xFF, 0x01, 0x01, 0x01, 0];
    let header = [0, 0, 0, 1, 0, 0, 0, 1, 8, 0, 0, 0, 0];
    let mut padding = vec![0; size];
    random.fill(&mut padding);
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    for (kind, data) in [(b"IHDR", &header[..]), (b"prVt", &padding), (b"IDAT", pixel), (b"IEND", &[])] {
        file.extend(u32::try_from(data.len()).unwrap_or(u32::MAX).to_be_bytes());
        let from = file.len();
        file.extend(kind);
        file.extend(data);
        let check = crc32fast::hash(&file[from..]);
        file.extend(check.to_be_bytes());
    }
    file
}
