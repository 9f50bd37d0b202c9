//! Unusual but sound JPEG files of one scene, put together from the parts of plain ones.

use mozjpeg::{ColorSpace, Compress};

/// Width and height of the scene in pixels; no multiples of a block.
pub const SIZE: (usize, usize) = (101, 75);

/// The colours of the scene at fractions of its width and height, as JPEG has them: smooth, so that sampling matters
/// little, and different in every direction.
fn scene(x: f64, y: f64) -> [f64; 3] {
    [85.0 + 70.0 * x * y + 15.0 * (9.0 * x).sin(), 118.0 + 30.0 * y - 10.0 * x, 108.0 + 45.0 * x]
}

/// Red, green and blue of the scene (ITU-T T.871, section 7).
pub fn pixel(x: usize, y: usize) -> [u8; 3] {
    let [light, blue, red] = scene(centre(x, SIZE.0), centre(y, SIZE.1));
    let (blue, red) = (blue - 128.0, red - 128.0);
    [light + 1.402 * red, light - 0.344_14 * blue - 0.714_14 * red, light + 1.772 * blue].map(byte)
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn centre(at: usize, length: usize) -> f64 {
    (at as f64 + 0.5) / length as f64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
fn byte(value: f64) -> u8 {
    value.round() as u8
}

/// The names of [`sound`], for routes.
pub const KINDS: [&str; 19] = [
    "plain",
    "subsampled",
    "grey",
    "one-scan-each",
    "one-scan-each-subsampled",
    "one-scan-each-backwards",
    "coarse-light",
    "tall-samples",
    "restarts",
    "progressive",
    "progressive-one-scan-each",
    "rgb",
    "cmyk",
    "cmyk-unmarked",
    "ycck",
    "no-huffman-tables",
    "short-adobe",
    "jfif-and-adobe",
    "junk-between-segments",
];

/// A file of any kind, for routes.
pub fn of_kind(kind: &str) -> Vec<u8> {
    match kind {
        "lossless" => reframed(0xC3, 8),
        "twelve-bits" => reframed(0xC1, 12),
        // Three coefficients of two bytes for each pixel take more memory than is allowed.
        "bomb-progressive" => {
            let file = encoded(ColorSpace::JCS_RGB, |encoder| {
                encoder.set_chroma_sampling_pixel_sizes((1, 1), (1, 1));
                encoder.set_progressive_mode();
            });
            resized(&file, 14_000)
        }
        "large" => flat(9000, 6000),
        "bomb-of-scans" => resized(&of_many_scans(100), 8_000),
        _ => sound(kind),
    }
}

/// A progressive file that has its last scan again and again: a few bytes for a pass over the whole picture.
pub fn of_many_scans(count: usize) -> Vec<u8> {
    let file = sound("progressive");
    let last = file.windows(2).rposition(|pair| pair == b"\xFF\xDA").expect("a scan");
    let again = unended(&file)[last..].repeat(count);
    [unended(&file), &again, b"\xFF\xD9"].concat()
}

/// A file of one colour, row by row.
fn flat(width: usize, height: usize) -> Vec<u8> {
    let mut encoder = Compress::new(ColorSpace::JCS_RGB);
    encoder.set_size(width, height);
    encoder.set_fastest_defaults();
    let mut started = encoder.start_compress(Vec::new()).expect("a head");
    let row = [90, 120, 150].repeat(width);
    for _ in 0..height {
        started.write_scanlines(&row).expect("a row");
    }
    started.finish().expect("an end")
}

/// A file that says it has this many pixels on each side.
fn resized(file: &[u8], side: u16) -> Vec<u8> {
    let mut file = file.to_vec();
    let at = frame_start(&file);
    file[at + 5..at + 7].copy_from_slice(&side.to_be_bytes());
    file[at + 7..at + 9].copy_from_slice(&side.to_be_bytes());
    file
}

/// A file of this kind, which all programs of the libjpeg family show as [`pixel`] says.
pub fn sound(kind: &str) -> Vec<u8> {
    const WHOLE: [(usize, usize); 3] = [(1, 1); 3];
    const SUBSAMPLED: [(usize, usize); 3] = [(2, 2), (1, 1), (1, 1)];
    let adobe = |transform: u8| [b"\xFF\xEE\0\x0EAdobe\0\x64\0\0\0\0".as_slice(), &[transform]].concat();
    match kind {
        "plain" => encoded(ColorSpace::JCS_RGB, |encoder| encoder.set_chroma_sampling_pixel_sizes((1, 1), (1, 1))),
        "subsampled" => encoded(ColorSpace::JCS_RGB, |_| {}),
        "grey" => plane(0, SIZE),
        "one-scan-each" => one_scan_each(WHOLE, [0, 1, 2]),
        "one-scan-each-subsampled" => one_scan_each(SUBSAMPLED, [0, 1, 2]),
        "one-scan-each-backwards" => one_scan_each(SUBSAMPLED, [2, 1, 0]),
        "coarse-light" => one_scan_each([(1, 1), (2, 2), (2, 2)], [0, 1, 2]),
        "tall-samples" => one_scan_each([(1, 2), (2, 1), (1, 1)], [1, 0, 2]),
        "restarts" => with_restarts(),
        "progressive" => encoded(ColorSpace::JCS_RGB, Compress::set_progressive_mode),
        "progressive-one-scan-each" => encoded(ColorSpace::JCS_RGB, |encoder| {
            encoder.set_scan_optimization_mode(mozjpeg::ScanMode::ScanPerComponent);
            encoder.set_progressive_mode();
        }),
        "rgb" => encoded(ColorSpace::JCS_RGB, |encoder| encoder.set_color_space(ColorSpace::JCS_RGB)),
        "cmyk" => encoded(ColorSpace::JCS_CMYK, |_| {}),
        "cmyk-unmarked" => without(&sound("cmyk"), 0xEE),
        "ycck" => encoded(ColorSpace::JCS_CMYK, |encoder| encoder.set_color_space(ColorSpace::JCS_YCCK)),
        "no-huffman-tables" => without(&sound("plain"), 0xC4),
        "short-adobe" => inserted(&sound("subsampled"), b"\xFF\xEE\0\x09Adobe\0\x64"),
        "jfif-and-adobe" => inserted(&sound("plain"), &adobe(0)),
        "junk-between-segments" => inserted(&sound("plain"), b"\0some\xFF\0junk\xFF\xFF"),
        _ => panic!("there is no JPEG of the kind {kind}"),
    }
}

/// The scene in these channels, encoded with the settings of the callback.
fn encoded(space: ColorSpace, set: impl FnOnce(&mut Compress)) -> Vec<u8> {
    let (width, height) = SIZE;
    let mut pixels = Vec::new();
    for at in 0..width * height {
        let colours = pixel(at % width, at / width);
        if space == ColorSpace::JCS_CMYK {
            // Black covers a fifth, so that the inks have to show more.
            pixels.extend(colours.map(|value| byte((f64::from(value) * 255.0 / 204.0).min(255.0))));
            pixels.push(204);
        } else {
            pixels.extend(colours);
        }
    }
    finished(space, SIZE, &pixels, set)
}

fn finished(space: ColorSpace, size: (usize, usize), pixels: &[u8], set: impl FnOnce(&mut Compress)) -> Vec<u8> {
    let mut encoder = Compress::new(space);
    encoder.set_size(size.0, size.1);
    encoder.set_fastest_defaults();
    set(&mut encoder);
    encoder.set_quality(95.0);
    let mut started = encoder.start_compress(Vec::new()).expect("a head");
    started.write_scanlines(pixels).expect("rows");
    started.finish().expect("an end")
}

/// One channel of the scene as a grey file of this size.
fn plane(channel: usize, (width, height): (usize, usize)) -> Vec<u8> {
    let value = |at: usize| byte(scene(centre(at % width, width), centre(at / width, height))[channel]);
    let pixels = (0..width * height).map(value).collect::<Vec<_>>();
    finished(ColorSpace::JCS_GRAYSCALE, (width, height), &pixels, |_| {})
}

/// A baseline file with a scan for each component, in this order. Such a scan holds the same data as a grey file of the
/// component's size (ISO/IEC 10918-1, A.2.2). `factors` are the sampling factors.
fn one_scan_each(factors: [(usize, usize); 3], order: [usize; 3]) -> Vec<u8> {
    let most = factors.iter().fold((1, 1), |most, factor| (most.0.max(factor.0), most.1.max(factor.1)));
    let size = |(across, down): (usize, usize)| ((SIZE.0 * across).div_ceil(most.0), (SIZE.1 * down).div_ceil(most.1));
    let planes = [0, 1, 2].map(|channel| plane(channel, size(factors[channel])));
    let scans = order.map(|channel| (channel, entropy_coded(&planes[channel])));
    assembled(&planes[0], factors, b"", &scans.map(|(channel, data)| (channel, data.to_vec())))
}

/// A file in which each row of blocks is coded by itself: the stripes are those of grey files.
fn with_restarts() -> Vec<u8> {
    let (width, height) = SIZE;
    let stripes = |channel: usize| {
        let rows = (0..height).step_by(8).enumerate().map(|(number, top)| {
            let rows = 8.min(height - top);
            let value = |at: usize| byte(scene(centre(at % width, width), centre(top + at / width, height))[channel]);
            let pixels = (0..width * rows).map(value).collect::<Vec<_>>();
            let file = finished(ColorSpace::JCS_GRAYSCALE, (width, rows), &pixels, |_| {});
            let marker = [0xFF, 0xD0 + u8::try_from((number + 7) % 8).expect("below 8")];
            [if number > 0 { &marker[..] } else { b"" }, entropy_coded(&file)].concat()
        });
        rows.collect::<Vec<_>>().concat()
    };
    let blocks = u8::try_from(width.div_ceil(8)).expect("a small picture");
    let interval = [b"\xFF\xDD\0\x04\0".as_slice(), &[blocks]].concat();
    assembled(&plane(0, SIZE), [(1, 1); 3], &interval, &[0, 1, 2].map(|channel| (channel, stripes(channel))))
}

/// A file of three components from the tables of a grey one.
fn assembled(tables: &[u8], factors: [(usize, usize); 3], more: &[u8], scans: &[(usize, Vec<u8>)]) -> Vec<u8> {
    let small = |number: usize| u8::try_from(number).expect("a small number");
    let frame = segments(tables).find(|(code, _)| *code == 0xC0).expect("a frame").1;
    let mut file = without(tables, 0xC0);
    file.truncate(scan_start(&file));
    file.extend(b"\xFF\xC0\0\x11\x08");
    file.extend([0, small(SIZE.1), 0, small(SIZE.0), 3]);
    assert_eq!(frame[0], 8, "eight bits");
    for (index, (across, down)) in factors.into_iter().enumerate() {
        file.extend([small(index + 1), small(across << 4 | down), 0]);
    }
    file.extend(more);
    for (channel, data) in scans {
        file.extend([0xFF, 0xDA, 0, 8, 1, small(channel + 1), 0, 0, 63, 0]);
        file.extend(data);
    }
    file.extend(b"\xFF\xD9");
    file
}

/// Code and content of each segment before the entropy-coded data.
fn segments(file: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let (mut at, mut is_over) = (2, false);
    std::iter::from_fn(move || {
        let head = file.get(at..at + 4).filter(|_| !is_over)?;
        let end = at + 2 + usize::from(u16::from_be_bytes([head[2], head[3]]));
        let content = &file[at + 4..end];
        (at, is_over) = (end, head[1] == 0xDA);
        Some((head[1], content))
    })
}

/// Where the header of the first scan begins.
pub fn scan_start(file: &[u8]) -> usize {
    file.windows(2).position(|pair| pair == b"\xFF\xDA").expect("a scan")
}

/// Where the frame header begins.
fn frame_start(file: &[u8]) -> usize {
    let before = segments(file).take_while(|(code, _)| !matches!(code, 0xC0..=0xC2));
    2 + before.map(|(_, content)| content.len() + 4).sum::<usize>()
}

/// The data of the only scan.
fn entropy_coded(file: &[u8]) -> &[u8] {
    let header = scan_start(file);
    &file[header + 2 + usize::from(file[header + 3])..file.len() - 2]
}

/// A file without its segments of this kind before the first scan.
fn without(file: &[u8], code: u8) -> Vec<u8> {
    let mut kept = file[..2].to_vec();
    let end = scan_start(file);
    for (kind, content) in segments(file).take_while(|(kind, _)| *kind != 0xDA).filter(|(kind, _)| *kind != code) {
        kept.extend([0xFF, kind]);
        kept.extend(u16::try_from(content.len() + 2).expect("a segment").to_be_bytes());
        kept.extend(content);
    }
    kept.extend(&file[end..]);
    kept
}

/// A file with something behind its first segment.
pub fn inserted(file: &[u8], more: &[u8]) -> Vec<u8> {
    let first = 2 + 4 + segments(file).next().map_or(0, |(_, content)| content.len());
    [&file[..first], more, &file[first..]].concat()
}

/// A file without its end marker.
pub fn unended(file: &[u8]) -> &[u8] {
    file.strip_suffix(b"\xFF\xD9").expect("an end marker")
}

/// The first bytes of a file, closed by an end marker.
pub fn closed_at(file: &[u8], length: usize) -> Vec<u8> {
    // An FF at the end would make another marker of it.
    let end = file[..length].iter().rposition(|byte| *byte != 0xFF).map_or(0, |last| last + 1);
    [&file[..end], b"\xFF\xD9"].concat()
}

/// A file whose frame header has this code, and this many bits for each value.
pub fn reframed(code: u8, bits: u8) -> Vec<u8> {
    let mut file = sound("plain");
    let at = frame_start(&file);
    (file[at + 1], file[at + 4]) = (code, bits);
    file
}
