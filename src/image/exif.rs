//! Reads the Exif block of an image (Exif 2.32). A block is a TIFF file of its own.
//!
//! The IFDs are read by hand, because a block is untrusted. kamadak-exif (0.6.2) keeps every entry of every IFD that a
//! block points to, and IFDs may overlap: a block of 65,000 bytes became 4,112,000 fields and 200 MB. Here a fixed list
//! of tags is looked up, each once.

use std::io::{Cursor, Read, Seek};

use serde_json::{Map, Number, Value as Json};

use super::ifd::{Ifd, IfdError, IfdReader, IfdValue};

/// Longest text that is reported, in characters.
const MAX_TEXT_CHARS: usize = 200;

// Tags (Exif 2.32, tables 4, 7 and 15).
const ORIENTATION: u16 = 0x0112;
const EXIF_IFD: u16 = 0x8769;
const GPS_IFD: u16 = 0x8825;
const MODIFIED: u16 = 0x0132;
const TAKEN: u16 = 0x9003;
const MODIFIED_OFFSET: u16 = 0x9010;
const TAKEN_OFFSET: u16 = 0x9011;
const FLASH: u16 = 0x9209;
const LATITUDE: u16 = 2;
const LONGITUDE: u16 = 4;
const ALTITUDE_REFERENCE: u16 = 5;
const ALTITUDE: u16 = 6;
const GPS_TIME: u16 = 7;
const GPS_DATE: u16 = 29;

/// Tags of the block's first IFD whose values are reported as they are.
const PICTURE_TAGS: &[(u16, &str)] = &[
    (0x010E, "description"),
    (0x010F, "camera_make"),
    (0x0110, "camera_model"),
    (ORIENTATION, "orientation"),
    (0x0131, "software"),
    (0x013B, "artist"),
    (0x8298, "copyright"),
];

/// Tags of the Exif IFD whose values are reported as they are.
const EXPOSURE_TAGS: &[(u16, &str)] = &[
    (0x829A, "exposure_seconds"),
    (0x829D, "f_number"),
    (0x8827, "iso"),
    (0x9204, "exposure_bias"),
    (0x920A, "focal_length_mm"),
    (0xA405, "focal_length_35mm"),
    (0xA434, "lens_model"),
];

/// Result of reading a block.
#[derive(Clone, Debug, Default)]
pub(super) struct ExifInfo {
    /// Orientation from 2 to 8; `None` if upright.
    pub(super) orientation: Option<u8>,
    /// Fields of [`selected_fields`]; empty unless asked for.
    pub(super) fields: Map<String, Json>,
}

/// Reads a block.
pub(super) fn read(block: &[u8], with_fields: bool) -> ExifInfo {
    // Some writers of WebP and PNG leave the prefix that the block has in a JPEG.
    let block = block.strip_prefix(b"Exif\0\0").unwrap_or(block);
    let parse = || {
        let (mut reader, first) = IfdReader::open(Cursor::new(block))?;
        let first = reader.ifd(first)?;
        Ok::<_, IfdError>(ExifInfo {
            orientation: orientation(&mut reader, &first),
            fields: if with_fields { fields(&mut reader, &first) } else { Map::new() },
        })
    };
    parse().unwrap_or_default()
}

/// The orientation of a picture, as in [`Measures`](crate::record::Measures).
pub(super) fn orientation<R: Read + Seek>(reader: &mut IfdReader<R>, picture: &Ifd) -> Option<u8> {
    let orientation = reader.integer(picture, ORIENTATION).ok()?;
    u8::try_from(orientation).ok().filter(|orientation| (2..=8).contains(orientation))
}

/// Selected values of an Exif block as JSON fields; empty if the block is invalid.
///
/// | field | value |
/// |---|---|
/// | `description` `artist` `copyright` `software` | text |
/// | `camera_make` `camera_model` `lens_model` | text |
/// | `taken_at` `modified_at` | `2024-05-04T03:02:01`, local time, followed by `+02:00` if the block states an offset |
/// | `orientation` | from 1 to 8 |
/// | `exposure_seconds` `f_number` `iso` | numbers |
/// | `exposure_bias` | number, in exposure values (EV) |
/// | `focal_length_mm` `focal_length_35mm` | numbers, in millimetres; the second is the 35 mm equivalent |
/// | `flash` | whether it fired |
/// | `gps_latitude` `gps_longitude` | degrees, north and east |
/// | `gps_altitude` | metres above sea level |
/// | `gps_at` | `2024-05-04T01:02:01Z` |
///
/// Texts have at most 200 characters and no control characters. Numbers have six significant digits, degrees seven
/// decimals.
#[must_use]
pub fn selected_fields(block: &[u8]) -> Map<String, Json> {
    read(block, true).fields
}

/// The fields of [`selected_fields`], from a block or from a TIFF file.
pub(super) fn fields<R: Read + Seek>(reader: &mut IfdReader<R>, picture: &Ifd) -> Map<String, Json> {
    let mut fields = FieldCollector { reader, found: Map::new() };
    fields.values(picture, PICTURE_TAGS);
    let exposure = fields.ifd(picture, EXIF_IFD);
    if let Some(exposure) = &exposure {
        fields.values(exposure, EXPOSURE_TAGS);
        fields.time("taken_at", (exposure, TAKEN), (exposure, TAKEN_OFFSET));
        // The lowest bit says whether the flash fired; the others give details.
        let flash = fields.reader.integer(exposure, FLASH).ok();
        fields.put("flash", flash.map(|flash| Json::Bool(flash & 1 == 1)));
    }
    fields.time("modified_at", (picture, MODIFIED), (exposure.as_ref().unwrap_or(picture), MODIFIED_OFFSET));
    if let Some(gps) = fields.ifd(picture, GPS_IFD) {
        fields.location(&gps);
    }
    fields.found
}

struct FieldCollector<'a, R> {
    reader: &'a mut IfdReader<R>,
    found: Map<String, Json>,
}

impl<R: Read + Seek> FieldCollector<'_, R> {
    fn put(&mut self, name: &str, value: Option<Json>) {
        if let Some(value) = value {
            self.found.insert(name.to_owned(), value);
        }
    }

    fn value(&mut self, ifd: &Ifd, tag: u16) -> Option<IfdValue> {
        self.reader.value(ifd, tag).ok()
    }

    fn ifd(&mut self, from: &Ifd, tag: u16) -> Option<Ifd> {
        let at = self.reader.integer(from, tag).ok()?;
        self.reader.ifd(at).ok()
    }

    fn values(&mut self, ifd: &Ifd, tags: &[(u16, &str)]) {
        for (tag, name) in tags {
            let value = self.value(ifd, *tag).and_then(|value| match value {
                IfdValue::Text(text) => plain_text(&text).map(Json::String),
                IfdValue::Integers(numbers) => numbers.first().map(|number| Json::from(*number)),
                IfdValue::Rationals(ratios) => ratios.first().and_then(|ratio| quotient(*ratio)).and_then(number),
                IfdValue::Bytes(_) => None,
            });
            self.put(name, value);
        }
    }

    fn text(&mut self, ifd: &Ifd, tag: u16) -> Option<String> {
        match self.value(ifd, tag)? {
            IfdValue::Text(text) => plain_text(&text),
            _ => None,
        }
    }

    fn rationals(&mut self, ifd: &Ifd, tag: u16) -> Option<Vec<f64>> {
        match self.value(ifd, tag)? {
            IfdValue::Rationals(ratios) => ratios.into_iter().map(quotient).collect(),
            _ => None,
        }
    }

    /// Adds a time, with its offset from UTC if the block states one.
    fn time(&mut self, name: &str, (ifd, tag): (&Ifd, u16), offset: (&Ifd, u16)) {
        let Some(mut time) = self.text(ifd, tag).and_then(|text| time(&text)) else { return };
        if let Some(offset) = self.text(offset.0, offset.1).filter(|offset| matches_pattern(offset, "+00:00")) {
            time.push_str(&offset);
        }
        self.put(name, Some(Json::String(time)));
    }

    fn location(&mut self, gps: &Ifd) {
        for (name, tag, limit) in [("gps_latitude", LATITUDE, 90.0), ("gps_longitude", LONGITUDE, 180.0)] {
            let degrees = self.rationals(gps, tag).and_then(|parts| match parts[..] {
                [degrees, minutes, seconds] => Some(degrees + minutes / 60.0 + seconds / 3600.0),
                _ => None,
            });
            // N or S, E or W, under the tag before.
            let sign = match self.text(gps, tag - 1).as_deref() {
                Some("N" | "E") => 1.0,
                Some("S" | "W") => -1.0,
                _ => continue,
            };
            let degrees = degrees.filter(|degrees| (0.0..=limit).contains(degrees));
            let rounded = degrees.map(|degrees| (sign * degrees * 1e7).round() / 1e7);
            self.put(name, rounded.and_then(Number::from_f64).map(Json::Number));
        }
        if let Some(&[altitude]) = self.rationals(gps, ALTITUDE).as_deref() {
            let is_below = self.value(gps, ALTITUDE_REFERENCE) == Some(IfdValue::Bytes(vec![1]));
            self.put("gps_altitude", number(if is_below { -altitude } else { altitude }));
        }
        if let Some(date) = self.text(gps, GPS_DATE)
            && let Some(&[hours, minutes, seconds]) = self.rationals(gps, GPS_TIME).as_deref()
            && let Some(at) = time(&format!("{date} {hours:02.0}:{minutes:02.0}:{:02.0}", seconds.floor()))
        {
            self.put("gps_at", Some(Json::String(at + "Z")));
        }
    }
}

fn plain_text(text: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(text);
    let text = text.chars().filter(|character| !character.is_control()).take(MAX_TEXT_CHARS).collect::<String>();
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

#[expect(clippy::cast_precision_loss, reason = "both have 32 bits in the block")]
fn quotient((numerator, denominator): (i64, i64)) -> Option<f64> {
    (denominator != 0).then(|| numerator as f64 / denominator as f64)
}

/// Rounds to six significant digits; no camera measures more precisely.
fn number(value: f64) -> Option<Json> {
    let rounded = format!("{value:.5e}").parse::<f64>().ok()?;
    Number::from_f64(rounded).map(Json::Number)
}

/// Converts `2024:05:04 03:02:01` to RFC 3339 without an offset.
fn time(text: &str) -> Option<String> {
    if !matches_pattern(text, "0000:00:00 00:00:00") {
        return None;
    }
    let (date, time) = text.split_once(' ')?;
    // Cameras whose clock was never set write zeros.
    (date != "0000:00:00").then(|| format!("{}T{time}", date.replace(':', "-")))
}

/// Whether a text matches a pattern: `0` stands for any digit, `+` for either sign, any other character for itself.
fn matches_pattern(text: &str, pattern: &str) -> bool {
    let matches_pattern = |(byte, pattern): (u8, u8)| match pattern {
        b'0' => byte.is_ascii_digit(),
        b'+' => matches!(byte, b'+' | b'-'),
        pattern => byte == pattern,
    };
    text.len() == pattern.len() && text.bytes().zip(pattern.bytes()).all(matches_pattern)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A block of one IFD, followed by its values.
    struct Block {
        entries: Vec<u8>,
        values: Vec<u8>,
        start: usize,
        /// Offset of the values.
        values_at: usize,
    }

    impl Block {
        /// A block at offset `start` with space for this number of entries.
        fn new(start: usize, entries: usize) -> Self {
            Self { entries: Vec::new(), values: Vec::new(), start, values_at: start + 2 + 12 * entries + 4 }
        }

        fn entry(mut self, tag: u16, kind: u16, count: u32, value: &[u8]) -> Self {
            self.entries.extend(tag.to_be_bytes());
            self.entries.extend(kind.to_be_bytes());
            self.entries.extend(count.to_be_bytes());
            if value.len() <= 4 {
                self.entries.extend(value);
                self.entries.resize(self.entries.len().next_multiple_of(12), 0);
            } else {
                let place = u32::try_from(self.values_at + self.values.len()).expect("a short block");
                self.entries.extend(place.to_be_bytes());
                self.values.extend(value);
            }
            self
        }

        fn text(self, tag: u16, text: &str) -> Self {
            let count = u32::try_from(text.len()).expect("a short text") + 1;
            self.entry(tag, 2, count, &[text.as_bytes(), b"\0"].concat())
        }

        fn ratios(self, tag: u16, ratios: &[(u32, u32)]) -> Self {
            let count = u32::try_from(ratios.len()).expect("a few");
            let value = ratios.iter().flat_map(|(one, other)| [one.to_be_bytes(), other.to_be_bytes()]).flatten();
            self.entry(tag, 5, count, &value.collect::<Vec<_>>())
        }

        fn short(self, tag: u16, value: u16) -> Self {
            self.entry(tag, 3, 1, &value.to_be_bytes())
        }

        fn end(self) -> Vec<u8> {
            let count = u16::try_from(self.entries.len() / 12).expect("a few").to_be_bytes();
            let mut directory = [&count[..], &self.entries].concat();
            directory.resize(self.values_at - self.start, 0);
            [directory, self.values].concat()
        }
    }

    const TIFF_HEADER: &[u8] = b"MM\0\x2A\0\0\0\x08";

    /// A block with an Exif IFD and a GPS IFD.
    fn block(exposure: impl Fn(Block) -> Block, place: impl Fn(Block) -> Block) -> Vec<u8> {
        let start = TIFF_HEADER.len() + 2 + 2 * 12 + 4;
        let exposure = exposure(Block::new(start, 12)).end();
        let exposure = [exposure, vec![0; 600]].concat();
        let next = start + exposure.len();
        let place = place(Block::new(next, 12)).end();
        let pointer = |at: usize| u32::try_from(at).expect("a short block").to_be_bytes();
        let first = Block::new(TIFF_HEADER.len(), 2)
            .entry(EXIF_IFD, 4, 1, &pointer(start))
            .entry(GPS_IFD, 4, 1, &pointer(next))
            .end();
        [TIFF_HEADER, &first, &exposure, &place].concat()
    }

    #[test]
    fn values_that_make_no_sense_are_left_out() {
        let block = block(
            |exposure| {
                exposure
                    .ratios(0x829A, &[(1, 0)])
                    .ratios(0x829D, &[(28, 10)])
                    .text(TAKEN, "0000:00:00 00:00:00")
                    .text(TAKEN_OFFSET, "+2:00")
                    .text(0xA434, " \u{7}\n ")
                    .short(FLASH, 0x18)
                    .entry(0x9204, 10, 1, &[0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 3])
                    .entry(0x8827, 99, 1, &[0; 4])
                    .entry(0x920A, 5, u32::MAX, &[0xFF; 4])
            },
            |place| {
                place
                    .text(1, "N")
                    .ratios(LATITUDE, &[(91, 1), (0, 1), (0, 1)])
                    .text(3, "W")
                    .ratios(LONGITUDE, &[(12, 1), (30, 1), (36, 10)])
                    .entry(ALTITUDE_REFERENCE, 1, 1, &[1])
                    .ratios(ALTITUDE, &[(85, 2)])
                    .ratios(GPS_TIME, &[(1, 1), (2, 1), (39, 10)])
                    .text(GPS_DATE, "2024:05:04")
            },
        );
        let expected = json!({
            "f_number": 2.8,
            "exposure_bias": -0.333_333,
            "flash": false,
            "gps_longitude": -12.501,
            "gps_altitude": -42.5,
            "gps_at": "2024-05-04T01:02:03Z",
        });
        assert_eq!(Json::Object(selected_fields(&block)), expected);
    }

    #[test]
    fn text_is_short_and_plain() {
        assert_eq!(plain_text(b"  Kodalux\t7 \xFF"), Some("Kodalux7 \u{FFFD}".into()));
        assert_eq!(plain_text(" K\u{1B}[31m".as_bytes()), Some("K[31m".into()));
        assert_eq!(plain_text(&[b'x'; 5000]).map(|text| text.len()), Some(200));
        assert_eq!(plain_text(b" "), None);
        for other in ["2024-05-04 03:02:01", "2024:05:04T03:02:01", "    :  :     :  :  ", "", "2024:05:04 03:02:0é"] {
            assert_eq!(time(other), None, "{other}");
        }
    }

    #[test]
    fn a_hostile_block_takes_little_time() {
        // 2,000 pointers to overlapping IFDs of 2,000 entries each.
        let pointers: u16 = 2000;
        let zone = 8 + 2 + 12 * u32::from(pointers) + 4;
        let mut block = [TIFF_HEADER, &pointers.to_be_bytes()].concat();
        for pointer in 0..u32::from(pointers) {
            block.extend(b"\x87\x69\0\x04\0\0\0\x01");
            block.extend((zone + pointer).to_be_bytes());
        }
        block.resize(block.len() + 4, 0);
        block.resize(block.len() + usize::from(pointers) + 2, 8);
        block.resize(65_000, 0);
        assert_eq!(selected_fields(&block), Map::new());
        for end in 0..200 {
            assert_eq!(selected_fields(&block[..end]), Map::new());
        }
        // An IFD that is also its own Exif and GPS IFD.
        let own = [TIFF_HEADER, b"\0\x02\x87\x69\0\x04\0\0\0\x01\0\0\0\x08\x88\x25\0\x04\0\0\0\x01\0\0\0\x08"].concat();
        assert_eq!(selected_fields(&own), Map::new());
    }
}
