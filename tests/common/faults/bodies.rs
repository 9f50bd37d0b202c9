//! Complete bodies that are sent at once and with their length, and have unusual content.

use super::{Route, Target, png};
use crate::common::{images, jpegs, odd_images};

/// The number of bytes of `/echo`.
const ECHO_SIZE: usize = 100;

pub const ROUTES: &[Route] = &[
    Route::plain("/png/{n}[/name]", "a valid PNG", |target| png(target, target.number("n"))),
    Route::plain("/jpeg[/name]", "a tiny JPEG", |_| ("image/jpeg", images::jpeg())),
    Route::plain("/gif[/name]", "a tiny GIF", |_| ("image/gif", images::gif())),
    Route::plain("/webp[/name]", "a tiny WebP", |_| ("image/webp", images::webp())),
    Route::plain("/bmp[/name]", "a tiny BMP", |_| ("image/bmp", images::bmp())),
    Route::plain("/svg[/name]", "a tiny SVG", |_| ("image/svg+xml", images::svg())),
    Route::plain("/avif[/name]", "a tiny AVIF", |_| ("image/avif", images::avif())),
    Route::plain("/sized/{width}/{height}[/name]", "a grey PNG of this size in pixels", |target| {
        ("image/png", images::png_sized(target.number("width"), target.number("height")))
    }),
    Route::plain("/photo/{width}/{height}[/name]", "the same picture at any size, as JPEG", |target| {
        ("image/jpeg", images::photo(target.number("width"), target.number("height")))
    }),
    Route::plain("/spoilt[/name]", "a PNG whose pixels cannot be decompressed", |_| {
        ("image/png", images::png_spoilt())
    }),
    Route::plain("/png-bomb[/name]", "a PNG that says it has 2.5 billion pixels", |_| {
        ("image/png", images::png_bomb())
    }),
    Route::plain("/png-bomb-of-pixels[/name]", "a PNG with a megabyte that becomes a gigabyte of pixels", |_| {
        ("image/png", images::png_bomb_of_pixels())
    }),
    Route::plain("/png-bomb-of-profile[/name]", "a PNG with a megabyte that becomes a gigabyte of profile", |_| {
        ("image/png", images::png_bomb_of_profile())
    }),
    Route::plain("/gif-of-many-frames[/name]", "a GIF of 100,000 frames", |_| {
        ("image/gif", images::gif_of_many_frames())
    }),
    Route::plain("/gif-larger-inside[/name]", "a GIF of more pixels than it says", |_| {
        ("image/gif", images::gif_larger_inside())
    }),
    Route::plain("/odd-jpeg/{kind}[/name]", "a JPEG of that kind", |target| {
        ("image/jpeg", jpegs::of_kind(target.segment("kind")))
    }),
    Route::plain("/unended/{target...}", "`/{target...}` without its last two bytes", |target| {
        let (content_type, mut body) = Target::find(&target.rest()).content();
        body.truncate(body.len() - 2);
        (content_type, body)
    }),
    Route::plain(
        "/closed-half/{target...}",
        "the first half of the JPEG `/{target...}`, and an end marker",
        |target| {
            let (content_type, body) = Target::find(&target.rest()).content();
            (content_type, jpegs::closed_at(&body, body.len() / 2))
        },
    ),
    Route::plain("/sample/{file}", "that file of `tests/images`", |target| {
        let file = target.segment("file");
        (content_type_of(file), images::sample(file))
    }),
    Route::plain("/odd/{file}", "that file of `tests/common/odd_images.rs`", |target| {
        let file = target.segment("file");
        (content_type_of(file), odd_images::file(file))
    }),
    Route::plain("/half/{target...}", "the first half of `/{target...}`, and nothing that says so", |target| {
        let (content_type, mut body) = Target::find(&target.rest()).content();
        body.truncate(body.len() / 2);
        (content_type, body)
    }),
    Route::plain("/echo[/name]", "a PNG of 100 bytes, for tests which look at `Server::requests`", |target| {
        png(target, ECHO_SIZE)
    }),
    Route::plain("/empty[/name]", "no bytes", |_| ("image/png", Vec::new())),
    Route::plain("/page[/name]", "about 5 KB of HTML", |_| ("text/html; charset=utf-8", images::page())),
    Route::plain("/json[/name]", "JSON that says there is no image", |_| {
        ("application/json", b"{\"error\":\"no such image\"}\n".to_vec())
    }),
    Route::plain("/text[/name]", "text that says there is no image", |_| {
        ("text/plain", b"There is no image here.\n".to_vec())
    }),
];

/// The content type of a file, by its name.
fn content_type_of(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("jpg") => "image/jpeg",
        Some("png") => "image/png",
        Some("webp") => "image/webp",
        _ => "application/octet-stream",
    }
}
