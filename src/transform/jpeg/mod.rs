//! JPEG (ITU-T T.81) at the size that is needed.
//!
//! Most photographs are sequential JPEG, and most of what it costs to make a thumbnail of one is to decode pixels that are
//! thrown away. [`planes`](Head::planes) decodes each block of 8 x 8 pixels as 4 x 4, 2 x 2 or one, and leaves brightness
//! and colour as they are stored: in planes of their own, the colour mostly at half the size. What is not that common
//! (progressive, arithmetic, 12 bits, four colours) is [`Error::Other`], and another decoder's business.

mod cosine;
mod huffman;
mod scan;

use self::huffman::{Class, Table};
use super::picture::Plane;

/// Why there are no planes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The file is broken, in words.
    Corrupt(&'static str),
    /// It is of a kind that this decoder leaves to another.
    Other,
}

/// How much smaller a picture is to be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reduction {
    /// As it is.
    Full,
    /// Half as wide and high.
    Half,
    /// A quarter.
    Quarter,
    /// An eighth: the mean of each block.
    Eighth,
}

impl Reduction {
    /// Of a picture that is going to shrink so many times, the most that leaves twice what is needed in each direction: what
    /// is lost then cannot be seen (SSIM above 0.99 against the whole).
    pub const fn leaving(shrinks: f64) -> Self {
        match shrinks {
            16.0.. => Self::Eighth,
            8.0.. => Self::Quarter,
            4.0.. => Self::Half,
            _ => Self::Full,
        }
    }

    /// Pixels that remain of eight.
    const fn side(self) -> u32 {
        match self {
            Self::Full => 8,
            Self::Half => 4,
            Self::Quarter => 2,
            Self::Eighth => 1,
        }
    }
}

/// A component of the frame.
#[derive(Clone, Debug)]
pub struct Component {
    id: u8,
    /// Blocks in each unit, side by side.
    horizontal: usize,
    /// Blocks in each unit, one above the other.
    vertical: usize,
    /// The number of its quantisation table.
    steps: usize,
    /// The number of its table for mean values.
    dc: usize,
    /// The number of its table for the other coefficients.
    ac: usize,
}

/// Everything before the picture data of the first scan.
pub struct Head<'a> {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    is_sequential: bool,
    components: Vec<Component>,
    steps: [Option<[u16; 64]>; 4],
    dc: [Option<Table>; 4],
    ac: [Option<Table>; 4],
    restart_interval: usize,
    is_jfif: bool,
    /// What Adobe's segment says about the colours.
    adobe: Option<u8>,
    profile: Vec<(u8, &'a [u8])>,
    /// From the first byte of picture data to the end of the file.
    scan: &'a [u8],
}

const CUT: Error = Error::Corrupt("a segment is cut off");

impl<'a> Head<'a> {
    /// Reads a file up to its picture data.
    pub fn read(file: &'a [u8]) -> Result<Self, Error> {
        let mut head = Self {
            width: 0,
            height: 0,
            is_sequential: false,
            components: Vec::new(),
            steps: [None; 4],
            dc: [const { None }; 4],
            ac: [const { None }; 4],
            restart_interval: 0,
            is_jfif: false,
            adobe: None,
            profile: Vec::new(),
            scan: &[],
        };
        let mut rest = file.strip_prefix(b"\xFF\xD8").ok_or(Error::Corrupt("it does not begin as a JPEG"))?;
        loop {
            // Some files have bytes between segments that belong to none; everybody skips them.
            let start = rest.windows(2).position(|pair| pair[0] == 0xFF && !matches!(pair[1], 0 | 0xFF));
            let (marker, body) = start.and_then(|start| rest[start + 1..].split_first()).ok_or(CUT)?;
            if matches!(marker, 0x01 | 0xD0..=0xD8) {
                rest = body;
                continue;
            }
            if *marker == 0xD9 {
                return Err(Error::Corrupt("it ends before its picture begins"));
            }
            let length = usize::from(u16::from_be_bytes(*body.first_chunk().ok_or(CUT)?));
            let segment = body.get(2..length).ok_or(CUT)?;
            rest = &body[length..];
            match marker {
                0xDB => head.quantisation(segment)?,
                0xC4 => head.huffman(segment)?,
                0xC0 | 0xC1 => head.frame(segment, true)?,
                // Differences of frames and a size that comes late are as good as unknown.
                0xC2..=0xCF | 0xDC | 0xDE | 0xDF => head.frame(segment, false)?,
                0xDD => head.restart_interval = usize::from(u16::from_be_bytes(*segment.first_chunk().ok_or(CUT)?)),
                0xE0 if segment.starts_with(b"JFIF\0") => head.is_jfif = true,
                0xE2 => {
                    if let Some([number, _, part @ ..]) = segment.strip_prefix(b"ICC_PROFILE\0") {
                        head.profile.push((*number, part));
                    }
                }
                0xEE if segment.starts_with(b"Adobe") => head.adobe = segment.get(11).copied(),
                0xDA => {
                    head.scan(segment)?;
                    head.scan = rest;
                    return Ok(head);
                }
                _ => {}
            }
        }
    }

    fn quantisation(&mut self, mut segment: &[u8]) -> Result<(), Error> {
        while let Some((kind, rest)) = segment.split_first() {
            let size = if kind >> 4 == 0 { 1 } else { 2 };
            let values = rest.get(..64 * size).ok_or(CUT)?;
            let table =
                self.steps.get_mut(usize::from(kind & 15)).ok_or(Error::Corrupt("a quantisation table is wrong"))?;
            let mut steps = [0; 64];
            for (step, value) in steps.iter_mut().zip(values.chunks_exact(size)) {
                *step = value.iter().fold(0, |step, byte| step << 8 | u16::from(*byte));
            }
            *table = Some(steps);
            segment = &rest[64 * size..];
        }
        Ok(())
    }

    fn huffman(&mut self, mut segment: &[u8]) -> Result<(), Error> {
        while let Some((kind, rest)) = segment.split_first() {
            let (counts, rest) = rest.split_first_chunk::<16>().ok_or(CUT)?;
            let count = counts.iter().map(|count| usize::from(*count)).sum();
            let symbols = rest.get(..count).ok_or(CUT)?;
            let (class, tables) = if kind >> 4 == 0 { (Class::Dc, &mut self.dc) } else { (Class::Ac, &mut self.ac) };
            let table = tables.get_mut(usize::from(kind & 15)).ok_or(Error::Corrupt("a Huffman table is wrong"))?;
            *table = Some(Table::new(class, counts, symbols)?);
            segment = &rest[count..];
        }
        Ok(())
    }

    fn frame(&mut self, segment: &[u8], is_sequential: bool) -> Result<(), Error> {
        let [precision, h1, h0, w1, w0, _, components @ ..] = segment else { return Err(CUT) };
        self.height = u32::from(u16::from_be_bytes([*h1, *h0]));
        self.width = u32::from(u16::from_be_bytes([*w1, *w0]));
        self.is_sequential = is_sequential && *precision == 8;
        self.components = components
            .chunks_exact(3)
            .map(|component| Component {
                id: component[0],
                horizontal: usize::from(component[1] >> 4),
                vertical: usize::from(component[1] & 15),
                steps: usize::from(component[2]),
                dc: 0,
                ac: 0,
            })
            .collect();
        Ok(())
    }

    fn scan(&mut self, segment: &[u8]) -> Result<(), Error> {
        let (count, rest) = segment.split_first().ok_or(CUT)?;
        let parts = rest.get(..2 * usize::from(*count)).ok_or(CUT)?;
        // Components that come in scans of their own are rare.
        self.is_sequential &= usize::from(*count) == self.components.len();
        for (component, part) in self.components.iter_mut().zip(parts.chunks_exact(2)) {
            self.is_sequential &= component.id == part[0];
            (component.dc, component.ac) = (usize::from(part[1] >> 4), usize::from(part[1] & 15));
        }
        // A single component is a scan without units (T.81, section A.2.2).
        if let [only] = &mut *self.components {
            (only.horizontal, only.vertical) = (1, 1);
        }
        Ok(())
    }

    /// Whether the colours are brightness and two differences, or brightness alone.
    fn is_plain(&self) -> bool {
        let [first, second, third] = &*self.components else { return self.components.len() == 1 };
        let is_named_rgb = [first.id, second.id, third.id] == *b"RGB";
        // As libjpeg decides (jdapimin.c, default_decompress_parms).
        self.is_jfif || self.adobe.map_or(!is_named_rgb, |transform| transform != 0)
    }

    /// Units of blocks, side by side and one above the other.
    fn units(&self) -> (usize, usize) {
        let (horizontal, vertical) = self.most();
        ((self.width as usize).div_ceil(8 * horizontal), (self.height as usize).div_ceil(8 * vertical))
    }

    fn most(&self) -> (usize, usize) {
        let of = |size: fn(&Component) -> usize| self.components.iter().map(size).max().unwrap_or(1);
        (of(|component| component.horizontal), of(|component| component.vertical))
    }

    /// Width and height of the picture in samples of this component.
    fn share(&self, component: &Component) -> (f64, f64) {
        let (horizontal, vertical) = self.most();
        let share = |size: u32, part: usize, most: usize| f64::from(size) * part as f64 / most as f64;
        (share(self.width, component.horizontal, horizontal), share(self.height, component.vertical, vertical))
    }

    /// Whether [`planes`](Self::planes) can tell anything about this file.
    pub fn is_common(&self) -> bool {
        let is_sampled = |component: &Component| {
            matches!(component.horizontal, 1 | 2 | 4) && matches!(component.vertical, 1 | 2 | 4)
        };
        self.is_sequential
            && self.width > 0
            && self.height > 0
            && self.is_plain()
            && self.components.iter().all(is_sampled)
    }

    /// The planes of the picture: brightness, and two of colour if it has any.
    pub fn planes(&self, reduction: Reduction) -> Result<Vec<Plane>, Error> {
        if !self.is_common() {
            return Err(Error::Other);
        }
        match reduction {
            Reduction::Full => scan::planes::<8>(self),
            Reduction::Half => scan::planes::<4>(self),
            Reduction::Quarter => scan::planes::<2>(self),
            Reduction::Eighth => scan::planes::<1>(self),
        }
    }

    /// What [`planes`](Self::planes) takes, in bytes.
    pub fn memory(&self, reduction: Reduction) -> u64 {
        let share = f64::from(reduction.side()) / 8.0;
        let bytes = |component: &Component| {
            let (width, height) = self.share(component);
            ((width * share).ceil() * (height * share).ceil()) as u64
        };
        // The picture data once more, for the longest segment of it.
        self.scan.len() as u64 + self.components.iter().map(bytes).sum::<u64>()
    }

    /// Goes through the picture data without making pixels of it.
    pub fn check(&self) -> Result<(), Error> {
        if !self.is_common() {
            return Err(Error::Other);
        }
        scan::planes::<0>(self).map(drop)
    }

    /// The colour profile, put together from its parts (ICC.1, annex B.4).
    pub fn profile(&self) -> Option<Vec<u8>> {
        let mut parts = self.profile.clone();
        parts.sort_by_key(|(number, _)| *number);
        let profile = parts.iter().flat_map(|(_, part)| *part).copied().collect::<Vec<_>>();
        (!profile.is_empty()).then_some(profile)
    }
}
