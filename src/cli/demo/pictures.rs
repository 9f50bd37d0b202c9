//! Draws the pictures of the demonstration. They have about as many pixels and bytes as those of the tutorial.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "coordinates and colours are small, and saturate where they leave the picture"
)]

use std::f32::consts::TAU;

use mozjpeg::{ColorSpace, Compress};

use crate::record::BoxError;

type Rgb = [u8; 3];
/// Coordinates, as fractions of width and height, or in pixels.
type Point = (f32, f32);

/// In pixels.
const WIDTH: u16 = 1024;
/// Chosen for files of 40 to 110 KB.
const JPEG_QUALITY: f32 = 85.0;

const WHITE: Rgb = [255, 255, 255];
const WARM: [Rgb; 4] = [[255, 209, 102], [247, 140, 107], [239, 71, 111], [255, 240, 214]];
const COOL: [Rgb; 4] = [[76, 201, 240], [72, 149, 239], [128, 237, 153], [222, 244, 255]];

/// Draws the picture for line `number` of the list.
pub fn draw(number: usize) -> Canvas {
    let (scene, height, top, bottom): (fn(&mut Canvas), _, _, _) = match number % 5 {
        0 => (bars, 512, [21, 32, 74], [96, 62, 148]),
        1 => (pipeline, 536, [8, 60, 84], [24, 140, 132]),
        2 => (parts, 536, [64, 18, 66], [222, 98, 84]),
        3 => (|canvas| topology(canvas, 5, 3), 576, [16, 24, 40], [44, 92, 130]),
        _ => (|canvas| topology(canvas, 7, 1), 512, [70, 12, 34], [176, 48, 62]),
    };
    let mut canvas = Canvas::with_gradient(height, top, bottom);
    scene(&mut canvas);
    canvas
}

fn bars(canvas: &mut Canvas) {
    let mut last = None;
    for i in 0..14_u8 {
        let t = f32::from(i) / 13.0;
        let x = 0.08 + 0.84 * t;
        let top = 0.62 - 0.34 * t - 0.12 * (t * 15.0).sin();
        canvas.stroke((x, 0.86), (x, top + 0.1), 22.0, COOL[usize::from(i % 3)]);
        let mark = (x, top - 0.08);
        if let Some(last) = last.replace(mark) {
            canvas.stroke(last, mark, 3.0, WARM[0]);
        }
        canvas.dot(mark, 9.0, WARM[3]);
    }
}

fn pipeline(canvas: &mut Canvas) {
    for row in 0..4_u8 {
        let start = 0.14 + 0.24 * f32::from(row);
        canvas.stroke((0.1, start), (0.9, 0.5), 2.5, COOL[3]);
        for stage in 0..3_u8 {
            let share = f32::from(stage) * 0.3;
            let (x, y) = (0.1 + 0.8 * share, start + (0.5 - start) * share);
            canvas.stroke((x - 0.045, y), (x + 0.045, y), 26.0 - 16.0 * share, WARM[usize::from(stage)]);
            canvas.dot((x - 0.045, y), 8.0, WHITE);
        }
    }
    canvas.dot((0.9, 0.5), 58.0, COOL[2]);
    canvas.dot((0.9, 0.5), 30.0, WHITE);
}

fn parts(canvas: &mut Canvas) {
    for row in 0..11_u8 {
        for column in 0..22_u8 {
            let (u, v) = (f32::from(column) / 21.0, f32::from(row) / 10.0);
            let wave = (u * 7.0 + (v * 5.0).sin() * 1.6).sin() * 0.5 + 0.5;
            let colour = WARM[usize::from((column + 2 * row) % 4)];
            canvas.dot((0.05 + 0.9 * u, 0.09 + 0.82 * v), 4.0 + 15.0 * wave, colour);
        }
    }
}

fn topology(canvas: &mut Canvas, nodes: u8, replicas: u8) {
    let at = |node: f32, radius: f32| {
        let (sin, cos) = (TAU * node / f32::from(nodes) + 0.2).sin_cos();
        (0.5 + radius * 0.6 * cos, 0.5 + radius * sin)
    };
    for i in 0..nodes {
        for j in 0..i {
            canvas.stroke(at(i.into(), 0.27), at(j.into(), 0.27), 1.5, WARM[1]);
        }
    }
    for i in 0..nodes {
        let node = at(i.into(), 0.27);
        for k in 0..replicas {
            let replica = at(f32::from(i) + 0.25 * (f32::from(k) - f32::from(replicas - 1) / 2.0), 0.42);
            canvas.stroke(node, replica, 3.0, WARM[3]);
            canvas.dot(replica, 15.0, COOL[usize::from((i + k) % 3)]);
        }
        canvas.dot(node, 30.0, WARM[usize::from(i % 2)]);
        canvas.dot(node, 13.0, WHITE);
    }
}

/// A picture in memory. Points are given as fractions of its width and height, lengths in pixels.
pub struct Canvas {
    height: u16,
    /// Row by row, each of [`WIDTH`] pixels.
    pixels: Vec<Rgb>,
}

impl Canvas {
    fn with_gradient(height: u16, top: Rgb, bottom: Rgb) -> Self {
        let rows = (0..height).map(|y| mix(top, bottom, f32::from(y) / f32::from(height)));
        Self { height, pixels: rows.flat_map(|colour| [colour; WIDTH as usize]).collect() }
    }

    /// The picture as a PNG file.
    pub fn png(&self) -> Result<Vec<u8>, BoxError> {
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, WIDTH.into(), self.height.into());
        encoder.set_color(png::ColorType::Rgb);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(self.pixels.as_flattened())?;
        writer.finish()?;
        Ok(file)
    }

    /// The picture as a JPEG file.
    pub fn jpeg(&self) -> Result<Vec<u8>, BoxError> {
        let mut encoder = Compress::new(ColorSpace::JCS_RGB);
        encoder.set_size(WIDTH.into(), self.height.into());
        encoder.set_fastest_defaults();
        encoder.set_quality(JPEG_QUALITY);
        let mut started = encoder.start_compress(Vec::new())?;
        started.write_scanlines(self.pixels.as_flattened())?;
        Ok(started.finish()?)
    }

    /// Draws a disc with a soft shadow.
    fn dot(&mut self, centre: Point, radius: f32, colour: Rgb) {
        self.stroke(centre, centre, radius, colour);
    }

    /// Draws a line with round ends and a soft shadow.
    fn stroke(&mut self, from: Point, to: Point, radius: f32, colour: Rgb) {
        let [from, to] = [from, to].map(|(x, y)| (x * f32::from(WIDTH), y * f32::from(self.height)));
        let below = |(x, y): Point| (x + radius * 0.15, y + radius * 0.3);
        self.blend((below(from), below(to)), radius, radius * 0.8, |pixel, cover| mix(pixel, [0, 0, 16], cover * 0.35));
        self.blend((from, to), radius, 1.0, |pixel, cover| mix(pixel, colour, cover));
    }

    /// Repaints all pixels within `radius` of the line between two points. `paint` gets a pixel and the share of it
    /// that is covered; that share falls to 0 over `blur` pixels at the edge.
    fn blend(&mut self, (from, to): (Point, Point), radius: f32, blur: f32, paint: impl Fn(Rgb, f32) -> Rgb) {
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let length_squared = (dx * dx + dy * dy).max(f32::EPSILON);
        let reach = radius + blur;
        let span =
            |a: f32, b: f32, end: u16| (a.min(b) - reach) as usize..((a.max(b) + reach) as usize + 1).min(end.into());
        for y in span(from.1, to.1, self.height) {
            for x in span(from.0, to.0, WIDTH) {
                let (px, py) = (x as f32 - from.0, y as f32 - from.1);
                let along = ((px * dx + py * dy) / length_squared).clamp(0.0, 1.0);
                let distance = (px - along * dx).hypot(py - along * dy);
                let cover = ((radius - distance) / blur + 0.5).clamp(0.0, 1.0);
                if cover > 0.0 {
                    let pixel = &mut self.pixels[y * usize::from(WIDTH) + x];
                    *pixel = paint(*pixel, cover);
                }
            }
        }
    }
}

/// A colour between two others: `share` 0 is `a`, 1 is `b`.
fn mix(a: Rgb, b: Rgb, share: f32) -> Rgb {
    let channel = |i: usize| (f32::from(a[i]) * (1.0 - share) + f32::from(b[i]) * share + 0.5) as u8;
    [channel(0), channel(1), channel(2)]
}
