//! Follows the segments of a JPEG file whose picture comes in several scans, to see whether all of them are there.
//!
//! The library decodes the scans that it finds. A progressive picture that was cut between two of them is coarse, one
//! with a scan for each component loses its colours, and neither is worth a warning to the library. Segments are
//! followed as it does (ISO/IEC 10918-1, annex B): a marker is any FF with another byte than 0 or FF behind it.

use memchr::{memchr, memmem};

// Second bytes of markers (table B.1).
const TEMPORARY: u8 = 0x01;
const FIRST_RESTART: u8 = 0xD0;
const LAST_RESTART: u8 = 0xD7;
const START_OF_IMAGE: u8 = 0xD8;
const END_OF_IMAGE: u8 = 0xD9;
const START_OF_SCAN: u8 = 0xDA;

/// Components of a frame that is decoded here, at most.
const MAX_COMPONENTS: usize = 4;
const COEFFICIENTS: usize = 64;

/// What the segments say.
#[derive(Debug, Default)]
pub struct Scans {
    /// The picture comes in several scans, so that all coefficients are kept until the last one.
    pub are_several: bool,
    /// Scans up to the end of the picture; 1 if not [`are_several`](Self::are_several), whatever else follows.
    pub count: u32,
    /// The length of the file up to the end of the picture or beyond, in bytes. What trails behind it may look like anything.
    pub length: usize,
    /// What is missing.
    pub missing: Option<&'static str>,
}

/// Follows the segments of a file.
pub fn survey(file: &[u8]) -> Scans {
    let mut survey = Survey::default();
    let (end, mut has_end) = survey.follow(file);
    // Everything about a single scan is the library's to report, as is what is wrong before the first one.
    let (mut length, mut missing) = (file.len(), None);
    if survey.are_several {
        (length, missing) = (end, survey.missing(has_end));
    } else {
        has_end = survey.scans == 0 || file.ends_with(&[0xFF, END_OF_IMAGE]) || is_ended(&file[end..]);
    }
    if !has_end {
        length = memmem::find(&file[survey.data..length], &NO_DATA).map_or(length, |at| survey.data + at);
    }
    Scans { are_several: survey.are_several, count: survey.scans, length, missing }
}

/// A run of 64 zeros in a file without an end marker is no data, but the unwritten rest of the file. It would be decoded to
/// pixels.
const NO_DATA: [u8; 64] = [0; 64];

/// Whether the data of a scan, which may have restart markers, are followed by an end marker.
fn is_ended(data: &[u8]) -> bool {
    let mut at = 0;
    loop {
        match next_marker(data, at) {
            Some((FIRST_RESTART..=LAST_RESTART, behind)) => at = behind,
            other => return other.is_some_and(|(code, _)| code == END_OF_IMAGE),
        }
    }
}

#[derive(Default)]
struct Survey {
    is_progressive: bool,
    components: Vec<Component>,
    are_several: bool,
    scans: u32,
    /// Where the data of the first scan begin.
    data: usize,
    /// A scan refines coefficients that are not known that far.
    lacks_a_step: bool,
}

struct Component {
    id: u8,
    /// For each coefficient, the number of its lowest bits that are not known yet.
    missing_bits: [Option<u8>; COEFFICIENTS],
}

impl Survey {
    /// Goes from marker to marker. Returns where the picture ends, and whether the end is marked; of a single scan, where
    /// its data begin.
    fn follow(&mut self, file: &[u8]) -> (usize, bool) {
        let mut at = 2;
        loop {
            let Some((code, behind)) = next_marker(file, at) else { return (file.len(), false) };
            match code {
                END_OF_IMAGE => return (behind, true),
                FIRST_RESTART..=LAST_RESTART | TEMPORARY => at = behind,
                _ => {
                    let content = content(&file[behind..]).filter(|content| self.segment(code, content));
                    let Some(content) = content else { return (behind - 2, false) };
                    at = behind + 2 + content.len();
                    if code == START_OF_SCAN && self.scans == 1 {
                        self.data = at;
                        if !self.are_several {
                            return (at, false);
                        }
                    }
                }
            }
        }
    }

    /// Takes a segment; `false` if it is none that belongs there.
    fn segment(&mut self, code: u8, content: &[u8]) -> bool {
        match code {
            0xC0..=0xCF if !matches!(code, 0xC4 | 0xC8 | 0xCC) => {
                self.scans == 0 && self.frame(code, content).is_some()
            }
            START_OF_SCAN => self.scan(content).is_some(),
            // Tables, restart interval, number of lines, application data, comments.
            0xC4 | 0xCC | 0xDB..=0xDD | 0xE0..=0xEF | 0xFE => true,
            _ => self.scans == 0 && code != START_OF_IMAGE,
        }
    }

    fn frame(&mut self, code: u8, content: &[u8]) -> Option<()> {
        self.is_progressive = matches!(code, 0xC2 | 0xCA);
        let (components, _) = content.get(6..)?.as_chunks::<3>();
        let component = |&[id, ..]: &[u8; 3]| Component { id, missing_bits: [None; COEFFICIENTS] };
        self.components = components.iter().take(MAX_COMPONENTS).map(component).collect();
        Some(())
    }

    fn scan(&mut self, content: &[u8]) -> Option<()> {
        let (&count, rest) = content.split_first()?;
        let (components, parameters) = rest.split_at_checked(2 * usize::from(count))?;
        let [first, last, bits] = *parameters.first_chunk()?;
        if self.scans == 0 {
            self.are_several = self.is_progressive || usize::from(count) < self.components.len();
        }
        self.scans = self.scans.saturating_add(1);
        // A sequential scan has all coefficients, whatever its parameters say.
        let (first, last, bits) = if self.is_progressive { (first, last, bits) } else { (0, 63, 0) };
        let (refined, missing) = (bits >> 4, bits & 0xF);
        for &[id, _] in components.as_chunks().0 {
            let component = self.components.iter_mut().find(|component| component.id == id)?;
            for known in component.missing_bits.get_mut(usize::from(first)..=usize::from(last))? {
                self.lacks_a_step |= refined > 0 && *known != Some(refined);
                *known = Some(missing);
            }
        }
        Some(())
    }

    /// Says what the scans do not bring.
    fn missing(&self, has_end: bool) -> Option<&'static str> {
        let brightness = self.components.iter().take(1);
        let colours = self.components.iter().skip(1);
        // Where the end is marked, colours may have been sent without their details.
        let details = brightness.chain(colours.filter(|_| !has_end)).flat_map(|component| &component.missing_bits[1..]);
        let averages = self.components.iter().map(|component| &component.missing_bits[0]);
        let is_coarse =
            |component: &Component| component.missing_bits.iter().any(|bits| bits.is_some_and(|bits| bits > 0));
        if averages.chain(details).any(Option::is_none) {
            Some("scans are missing")
        } else if self.lacks_a_step || self.components.iter().any(is_coarse) {
            Some("scans with the last bits are missing")
        } else {
            None
        }
    }
}

/// The next marker from here on, and where its segment begins.
fn next_marker(file: &[u8], mut at: usize) -> Option<(u8, usize)> {
    loop {
        at += memchr(0xFF, file.get(at..)?)? + 1;
        let code = *file.get(at)?;
        if code != 0xFF && code != 0 {
            return Some((code, at + 1));
        }
    }
}

/// The content of a segment, which begins with its length; that includes its own two bytes.
fn content(segment: &[u8]) -> Option<&[u8]> {
    let length = u16::from_be_bytes(*segment.first_chunk()?);
    segment.get(2..usize::from(length))
}
