//! What it costs to make thumbnails, beside img2dataset, and how near they come to those of
//! `ImageMagick` and libvips.
//!
//! ```text
//! cargo bench --bench transform                     # pictures made here: photographs, and pictures of the web
//! cargo bench --bench transform -- FOLDER           # the JPEG, PNG, WebP and GIF files of a folder
//! ```
//!
//! Photographs are JPEG files of 1200 x 800 pixels, fitted into the box. Pictures of the web are JPEG, WebP, PNG and GIF
//! files of 200 to 1500 pixels, 36 : 8 : 5 : 1 of them, and get a border.
//!
//! Times of the steps are processor time of the thread, the median and the least of 15 rounds over all pictures: other
//! work on the machine disturbs that less than wall time. Then the built program and img2dataset fetch the pictures
//! from nginx in turn, make thumbnails and store them. `PYTHON` names the Python that has img2dataset (`python3` by
//! default). What is not installed is left out.

#![expect(clippy::print_stdout, reason = "a benchmark talks")]
#![expect(clippy::cast_precision_loss, reason = "counts of pixels and pictures")]
#![expect(clippy::many_single_char_names, reason = "a formula")]

#[path = "common/mod.rs"]
mod common;

use std::fs;
use std::hint::black_box;
use std::num::NonZeroU32;
use std::ops::Range;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::measure::{self, measure};
use common::nginx::Nginx;
use common::{Result, spread};
use fetchimg::internals::image::transform::pixel_buffer::{Colour, PixelBuffer};
use fetchimg::internals::image::transform::resize::Fit;
use fetchimg::internals::image::transform::{
    Encoding, Image, Limits, Quality, Resize, ResizeMode, TransformOptions, decode, encode, resize, transform, verify,
};
use fetchimg::internals::record::Format;
use nix::time::{ClockId, clock_gettime};

const ROUNDS: usize = 15;
const SIDE: u32 = 256;
const QUALITY: u8 = 90;

fn main() -> Result<()> {
    // Cargo passes `--bench`.
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    let first = words.next();
    if first.as_deref() == Some(measure::WORD) {
        return measure::child(words);
    }
    if let Some(from) = first {
        return run("given pictures", ResizeMode::KeepRatio, |corpus| given(Path::new(&from), corpus));
    }
    run("photographs", ResizeMode::KeepRatio, photographs)?;
    run("pictures of the web", ResizeMode::Border, pictures_of_the_web)
}

/// Prints all there is to say about one corpus.
fn run(what: &str, mode: ResizeMode, make: impl FnOnce(&Path) -> Result<Pictures>) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let corpus = folder.path().join("pictures");
    fs::create_dir(&corpus)?;
    let files = make(&corpus)?;
    let bytes = files.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
    let average = bytes / files.len() / 1000;
    println!("\n{} {what}, {average} KB on average; {mode:?} into {SIDE} x {SIDE}", files.len());
    steps(&files, mode)?;
    likeness(folder.path(), &files)?;
    programs(folder.path(), &corpus, &files, mode)
}

/// A file's name and what is in it.
type Pictures = Vec<(String, Vec<u8>)>;

/// The format that the extension of a name says.
fn format_of(name: &str) -> Format {
    match name.rsplit('.').next() {
        Some("png") => Format::Png,
        Some("webp") => Format::Webp,
        Some("gif") => Format::Gif,
        _ => Format::Jpeg,
    }
}

/// Copies the files of a folder that are of the formats of the web.
fn given(from: &Path, to: &Path) -> Result<Pictures> {
    let mut files = Vec::new();
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let bytes = fs::read(&path).unwrap_or_default();
        let extension = match &*bytes {
            [0xFF, 0xD8, 0xFF, ..] => "jpg",
            [0x89, b'P', b'N', b'G', ..] => "png",
            [b'R', b'I', b'F', b'F', ..] => "webp",
            [b'G', b'I', b'F', b'8', ..] => "gif",
            _ => continue,
        };
        push(&mut files, to, extension, bytes)?;
    }
    if files.is_empty() { Err(format!("no picture in {}", from.display()).into()) } else { Ok(files) }
}

fn push(files: &mut Pictures, to: &Path, extension: &str, bytes: Vec<u8>) -> Result<()> {
    let name = format!("{:04}.{extension}", files.len());
    fs::write(to.join(&name), &bytes)?;
    files.push((name, bytes));
    Ok(())
}

/// Pictures that are as much work as photographs are: noise of every size, less of the small one, edges, and grain.
fn photographs(to: &Path) -> Result<Pictures> {
    let mut files = Vec::new();
    for number in 0..24 {
        push(&mut files, to, "jpg", encode::encode(plasma(1200, 800, number), Encoding::Jpeg, 88)?)?;
    }
    Ok(files)
}

/// Pictures in the formats, sizes and proportions that web pages have.
fn pictures_of_the_web(to: &Path) -> Result<Pictures> {
    const COUNT: u32 = 50;
    let mut files = Vec::new();
    for number in 0..COUNT {
        // From 200 to 1500 pixels, the same for each format.
        let width = 200 + number * 7919 % COUNT * 1300 / (COUNT - 1);
        let height = width * [2, 3, 4, 3, 5][number as usize % 5] / [3, 4, 3, 3, 4][number as usize % 5];
        let picture = plasma(width, height.clamp(200, 1500), number.into());
        let (extension, bytes) = match number % 50 {
            0 => ("gif", gif(&picture)?),
            1..6 => ("png", encode::encode(flattened(picture), Encoding::Png, QUALITY)?),
            6..14 => ("webp", encode::encode(picture, Encoding::Webp, 80)?),
            _ => ("jpg", encode::encode(picture, Encoding::Jpeg, 85)?),
        };
        push(&mut files, to, extension, bytes)?;
    }
    Ok(files)
}

/// The picture in few colours, as diagrams and screenshots are.
fn flattened(mut picture: PixelBuffer) -> PixelBuffer {
    picture.data.iter_mut().for_each(|value| *value &= 0xE0);
    picture
}

/// The picture in 252 colours.
fn gif(picture: &PixelBuffer) -> Result<Vec<u8>> {
    let palette = (0..252_u8).flat_map(|at| [at / 42 * 51, at / 6 % 7 * 42, at % 6 * 51]).collect::<Vec<_>>();
    let pixels = picture.data.as_chunks::<3>().0.iter();
    let buffer = pixels.map(|[red, green, blue]| red / 43 * 42 + green / 37 * 6 + blue / 43).collect::<Vec<_>>();
    let (width, height) = (u16::try_from(picture.width)?, u16::try_from(picture.height)?);
    let mut file = Vec::new();
    let frame = gif::Frame { width, height, buffer: buffer.into(), ..gif::Frame::default() };
    gif::Encoder::new(&mut file, width, height, &palette)?.write_frame(&frame)?;
    Ok(file)
}

fn plasma(width: u32, height: u32, seed: u64) -> PixelBuffer {
    let mut random = fastrand::Rng::with_seed(seed);
    let lattice = (0..1 << 16).map(|_| random.f32() - 0.5).collect::<Vec<_>>();
    let at = |x: usize, y: usize, layer: usize| lattice[(x * 2609 + y * 8117 + layer * 15_731) % lattice.len()];
    // Smooth noise: between the points of a grid.
    let noise = |x: f32, y: f32, layer: usize| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "coordinates")]
        let (column, row) = (x as usize, y as usize);
        let (u, v) = (x.fract(), y.fract());
        let (u, v) = (u * u * (3.0 - 2.0 * u), v * v * (3.0 - 2.0 * v));
        let above = at(column, row, layer) * (1.0 - u) + at(column + 1, row, layer) * u;
        let below = at(column, row + 1, layer) * (1.0 - u) + at(column + 1, row + 1, layer) * u;
        above * (1.0 - v) + below * v
    };
    let detail = 0.47 + 0.2 * at(1, 2, 3);
    let mut data = Vec::with_capacity((3 * width * height) as usize);
    for y in 0..height {
        for x in 0..width {
            let (u, v) = (x as f32 / 300.0, y as f32 / 300.0);
            let sum = |layer: usize| {
                let octave = |octave: i32| {
                    200.0 * detail.powi(octave) * noise(u * 2_f32.powi(octave), v * 2_f32.powi(octave), layer)
                };
                (0..7).map(octave).sum::<f32>()
            };
            let (light, warm, cold) = (sum(0), 0.3 * sum(1), 0.3 * sum(2));
            // What is in front has edges.
            let front = if noise(u * 2.0, v * 2.0, 3) > 0.1 { 60.0 } else { 0.0 };
            let grain = 6.0 * at(x as usize, y as usize, 4);
            let base = 120.0 + light + front + grain;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
            data.extend([base + warm, base, base + cold].map(|value| value.clamp(0.0, 255.0) as u8));
        }
    }
    PixelBuffer { width, height, colour: Colour::Rgb, data, profile: None }
}

fn thumbnails(mode: ResizeMode) -> Resize {
    let side = NonZeroU32::new(SIDE).unwrap_or(NonZeroU32::MIN);
    Resize { width: side, height: side, mode, enlarge: false }
}

fn plan(target: Encoding, mode: ResizeMode) -> TransformOptions {
    let quality = Quality::new(QUALITY).unwrap_or_default();
    TransformOptions { resize: Some(thumbnails(mode)), target: Some(target), quality, ..TransformOptions::default() }
}

/// Prints what each step costs.
fn steps(files: &Pictures, mode: ResizeMode) -> Result<()> {
    let limits = Limits::default();
    let fit = |size| Fit::new(size, 1, Some(&thumbnails(mode)));
    let decode = |(name, bytes): &(String, Vec<u8>)| {
        let opened = decode::open(bytes, format_of(name), &limits)?;
        let size = (opened.width, opened.height);
        opened.decode(fit(size).decoded_at_least(size)).map(|pixels| (pixels, fit(size)))
    };
    // The pixels of all pictures, as they are before each step.
    let (mut decoded, mut pictures) = (Vec::new(), Vec::new());
    for file in files {
        let (pixels, fit) = decode(file)?;
        pictures.push(resize::scale(pixels.clone(), &fit)?);
        decoded.push((pixels, fit));
    }
    let all = 0..files.len();
    println!("\nfetchimg, a picture:");
    time("verify", all.clone(), |at| drop(black_box(verify(&files[at].1, format_of(&files[at].0), &limits))));
    for (what, extension) in [("JPEG", "jpg"), ("PNG", "png"), ("WebP", "webp"), ("GIF", "gif")] {
        let some = files.iter().filter(|(name, _)| name.ends_with(extension)).collect::<Vec<_>>();
        if !some.is_empty() {
            time(&format!("decode {what}"), 0..some.len(), |at| drop(black_box(decode(some[at]))));
        }
    }
    time("resize", all.clone(), |at| drop(black_box(resize::scale(decoded[at].0.clone(), &decoded[at].1))));
    for target in [Encoding::Jpeg, Encoding::Png, Encoding::Webp] {
        time(&format!("encode as {}", target.format()), all.clone(), |at| {
            drop(black_box(encode::encode(pictures[at].clone(), target, QUALITY)));
        });
    }
    let look = TransformOptions { hash: true, ..TransformOptions::default() };
    time("perceptual hash", all.clone(), |at| {
        drop(black_box(transform(&files[at].1, format_of(&files[at].0), None, &look)));
    });
    let whole = plan(Encoding::Jpeg, mode);
    time("all: to JPEG", all, |at| {
        drop(black_box(transform(&files[at].1, format_of(&files[at].0), None, &whole)));
    });
    Ok(())
}

/// Does something with each picture, and prints the processor time for one.
fn time(what: &str, pictures: Range<usize>, mut work: impl FnMut(usize)) {
    let spent = || clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from);
    let count = pictures.len() as f64;
    let mut rounds = Vec::new();
    for round in 0..=ROUNDS {
        let begin = spent();
        pictures.clone().for_each(&mut work);
        // The first one warms up.
        if round > 0 {
            rounds.push(spent().saturating_sub(begin).as_secs_f64() * 1000.0 / count);
        }
    }
    let (median, least, _) = spread(rounds);
    println!("  {what:<22} {median:>7.3} ms  (least {least:.3})");
}

/// Compares thumbnails with those of `ImageMagick` and of libvips, which are made by the filter of Lanczos from all pixels.
fn likeness(folder: &Path, files: &Pictures) -> Result<()> {
    for peer in [Peer { name: "ImageMagick", command: "convert" }, Peer { name: "libvips", command: "vipsthumbnail" }] {
        if answers(peer.command, &["-version"]) || answers(peer.command, &["--version"]) {
            peer.likeness(folder, files)?;
        } else {
            println!("\n{} is not installed", peer.name);
        }
    }
    Ok(())
}

/// A program that makes thumbnails.
struct Peer {
    name: &'static str,
    command: &'static str,
}

impl Peer {
    /// Makes a thumbnail of the first picture in a file; smaller pictures stay as they are.
    fn shrink(&self, from: &Path, to: &Path) -> Result<()> {
        if self.command == "convert" {
            let words = [format!("{}[0]", from.display()), "-filter".into(), "Lanczos".into(), "-resize".into()];
            return convert(&[words.as_slice(), &[format!("{SIDE}x{SIDE}>")]].concat(), to);
        }
        // The result lies beside the source unless its path is absolute.
        let size = format!("{SIDE}x{SIDE}>");
        let mut command = Command::new(self.command);
        let status = command.arg(from).args(["--size", &size, "-o"]).arg(to).stderr(Stdio::null()).status()?;
        if status.success() { Ok(()) } else { Err(format!("{} ended with {status}", self.command).into()) }
    }

    fn likeness(&self, folder: &Path, files: &Pictures) -> Result<()> {
        let mut rows: [Vec<f64>; 3] = Default::default();
        let mut unreadable = 0;
        for (name, bytes) in files {
            let (reference, again) = (folder.join("r.png"), folder.join("r.jpg"));
            if self.shrink(&folder.join("pictures").join(name), &reference).is_err() {
                unreadable += 1;
                continue;
            }
            let coarse = [reference.to_string_lossy().into_owned(), "-quality".into(), QUALITY.to_string()];
            convert(&coarse, &again)?;
            let reference = fs::read(&reference)?;
            let options = |target| plan(target, ResizeMode::KeepRatio);
            let ours = |target| match transform(bytes, format_of(name), None, &options(target))?.image {
                Image::New { bytes, .. } => Ok::<_, Box<dyn std::error::Error>>(bytes),
                Image::Unchanged => Ok(bytes.clone()),
            };
            rows[0].push(similarity(&ours(Encoding::Png)?, &reference)?);
            rows[1].push(similarity(&ours(Encoding::Jpeg)?, &reference)?);
            rows[2].push(similarity(&fs::read(&again)?, &reference)?);
        }
        if unreadable > 0 {
            println!("\n{} cannot read {unreadable} of the pictures", self.name);
        }
        if rows[0].is_empty() {
            return Ok(());
        }
        println!("\nSSIM of brightness, beside the PNG of {}:", self.name);
        for (what, row) in ["fetchimg's PNG", "fetchimg's JPEG", "its own JPEG"].iter().zip(rows) {
            let (mean, (_, least, _)) = (row.iter().sum::<f64>() / row.len() as f64, spread(row));
            println!("  {what:<22} {mean:.4} on average, {least:.4} at least");
        }
        Ok(())
    }
}

fn convert(words: &[String], to: &Path) -> Result<()> {
    let status = Command::new("convert").args(words).arg(to).stderr(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(format!("convert ended with {status}").into()) }
}

/// Pixels in each direction.
const WINDOW: u32 = 8;

/// The structural similarity of the brightness of two files, by windows of 8 x 8 pixels (Wang et al., 2004).
fn similarity(one: &[u8], other: &[u8]) -> Result<f64> {
    let (one, other) = (image::load_from_memory(one)?.into_luma8(), image::load_from_memory(other)?.into_luma8());
    if one.dimensions() != other.dimensions() {
        return Err(format!("sizes differ: {:?}, {:?}", one.dimensions(), other.dimensions()).into());
    }
    let (stable, stable_too) = ((0.01_f64 * 255.0).powi(2), (0.03_f64 * 255.0).powi(2));
    let (mut sum, mut windows) = (0.0, 0.0);
    for top in 0..=one.height().saturating_sub(WINDOW) {
        for left in 0..=one.width().saturating_sub(WINDOW) {
            let (mut a, mut b, mut aa, mut bb, mut ab) = (0.0, 0.0, 0.0, 0.0, 0.0);
            for at in 0..WINDOW * WINDOW {
                let (x, y) = (left + at % WINDOW, top + at / WINDOW);
                let (p, q) = (f64::from(one.get_pixel(x, y)[0]), f64::from(other.get_pixel(x, y)[0]));
                (a, b, aa, bb, ab) = (a + p, b + q, aa + p * p, bb + q * q, ab + p * q);
            }
            let count = f64::from(WINDOW * WINDOW);
            let (a, b) = (a / count, b / count);
            let (aa, bb, ab) = (aa / count - a * a, bb / count - b * b, ab / count - a * b);
            sum +=
                (2.0 * a * b + stable) * (2.0 * ab + stable_too) / ((a * a + b * b + stable) * (aa + bb + stable_too));
            windows += 1.0;
        }
    }
    Ok(sum / windows)
}

fn python() -> String {
    std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned())
}

fn answers(program: &str, words: &[&str]) -> bool {
    let run = Command::new(program).args(words).stdout(Stdio::null()).stderr(Stdio::null()).status();
    run.is_ok_and(|status| status.success())
}

/// Pictures of the short list, and of the long one.
const FEW: usize = 50;
const MANY: usize = 1050;

/// Runs of each program with each list.
const RUNS: usize = 5;

/// The command line for a list and an output folder.
type MakeCommand = fn(&str, &str, ResizeMode) -> Vec<String>;

/// Both programs from nginx on loopback, in turn. img2dataset takes seconds to start, so what a picture costs is what a
/// long list takes beyond a short one.
fn programs(folder: &Path, corpus: &Path, files: &Pictures, mode: ResizeMode) -> Result<()> {
    if !answers("nginx", &["-v"]) {
        println!("\nnginx is not installed");
        return Ok(());
    }
    let nginx = Nginx::start(folder, corpus)?;
    for count in [FEW, MANY] {
        let urls = (0..count).map(|at| format!("http://127.0.0.1:{}/{}?{at}\n", nginx.port, files[at % files.len()].0));
        fs::write(folder.join(format!("{count}.txt")), urls.collect::<String>())?;
    }
    let mut programs: Vec<(&str, MakeCommand)> = vec![("fetchimg", fetchimg)];
    if answers(&python(), &["-c", "import img2dataset"]) {
        programs.push(("img2dataset", img2dataset));
    } else {
        println!("\nimg2dataset is not installed");
    }
    let mut costs = vec![Vec::new(); programs.len()];
    for round in 0..RUNS {
        for (at, (name, command)) in programs.iter().enumerate() {
            let run = |count: usize| -> Result<f64> {
                let (list, output) =
                    (folder.join(format!("{count}.txt")), folder.join(format!("{name}-{count}-{round}")));
                let command = command(&list.to_string_lossy(), &output.to_string_lossy(), mode);
                let taken = measure(&command, None, Duration::from_secs(600))?;
                let written = jpegs(&output)?;
                fs::remove_dir_all(&output)?;
                if written == count { Ok(taken.cpu()) } else { Err(format!("{name}: {written} of {count}").into()) }
            };
            let (few, many) = (run(FEW)?, run(MANY)?);
            costs[at].push((many - few) * 1000.0 / (MANY - FEW) as f64);
        }
    }
    println!("\nFetching, shrinking and storing a picture, {RUNS} runs, {MANY} pictures less {FEW}:");
    for ((name, _), costs) in programs.iter().zip(&costs) {
        let (median, least, most) = spread(costs.clone());
        println!("  {name:<12} {median:.2} ms of processor time ({least:.2} to {most:.2})");
    }
    if let [ours, theirs] = &costs[..] {
        let ratios = theirs.iter().zip(ours).map(|(theirs, ours)| theirs / ours).collect();
        let (median, least, most) = spread(ratios);
        println!("  img2dataset takes {median:.2} times fetchimg's ({least:.2} to {most:.2})");
    }
    Ok(())
}

fn fetchimg(list: &str, output: &str, mode: ResizeMode) -> Vec<String> {
    let (side, quality) = (SIDE.to_string(), QUALITY.to_string());
    let program = env!("CARGO_BIN_EXE_fetchimg");
    let mode = if mode == ResizeMode::Border { "border" } else { "keep-ratio" };
    let wanted = ["--resize", &side, "--resize-mode", mode, "--encode", "jpeg", "--quality", &quality];
    let words = [&[program, list, "-q", "-o", output, "--name", "{index}.{ext}"], &wanted[..]].concat();
    words.into_iter().map(str::to_owned).collect()
}

fn img2dataset(list: &str, output: &str, mode: ResizeMode) -> Vec<String> {
    let options = [
        ("url_list", list),
        ("output_folder", output),
        ("output_format", "files"),
        ("processes_count", "1"),
        ("thread_count", "16"),
        ("image_size", &SIDE.to_string()),
        ("resize_mode", if mode == ResizeMode::Border { "border" } else { "keep_ratio_largest" }),
        ("resize_only_if_bigger", "True"),
        ("encode_quality", &QUALITY.to_string()),
        ("number_sample_per_shard", "100000"),
    ];
    let module = "from img2dataset import download; import fire; fire.Fire(download)";
    let mut command = vec![python(), "-c".into(), module.into()];
    command.extend(options.into_iter().flat_map(|(name, value)| [format!("--{name}"), value.to_owned()]));
    command
}

/// JPEG files in a folder and the folders in it.
fn jpegs(folder: &Path) -> Result<usize> {
    let (mut count, mut folders) = (0, vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "jpg") {
                count += 1;
            }
        }
    }
    Ok(count)
}
