//! Some of the images, where they are.

use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use maud::{Markup, html};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use crate::record::Format;
use crate::report::trace::{Picture, Trace};
use crate::util::human::Count;
use crate::util::redact::escaped;

/// How to get from the page to the images.
pub struct Place(Option<String>);

impl Place {
    /// `file`: the page, which is there already; `output`: the folder of the images.
    pub fn new(file: &Path, output: &Path) -> Self {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let whole = |path: &Path| path.canonicalize().ok();
        let relative = whole(folder).zip(whole(output)).and_then(|(from, to)| pathdiff::diff_paths(to, from));
        Self(relative.map(|relative| link(&relative)))
    }

    /// The link to an image.
    fn of(&self, path: &str) -> Option<String> {
        let folder = self.0.as_ref()?;
        let path = link(&PathBuf::from(path));
        Some(if folder.is_empty() { path } else { format!("{folder}/{path}") })
    }
}

/// What stands for itself in a segment of a path (RFC 3986, section 2.3).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

fn link(path: &Path) -> String {
    let segments = path.components().map(|component| match component {
        Component::ParentDir => "..".to_owned(),
        other => percent_encode(other.as_os_str().as_bytes(), ENCODED).to_string(),
    });
    segments.collect::<Vec<_>>().join("/")
}

/// Whether browsers show it.
const fn is_shown(format: Option<Format>) -> bool {
    matches!(
        format,
        Some(
            Format::Jpeg
                | Format::Png
                | Format::Gif
                | Format::Webp
                | Format::Avif
                | Format::Bmp
                | Format::Ico
                | Format::Svg
        )
    )
}

/// The images that the trace has kept, of so many that were saved.
pub fn show(trace: &Trace, saved: u64, place: &Place) -> Markup {
    html! {
        @if !trace.gallery.is_empty() {
            h2 { "Images" }
            @if saved > trace.gallery.len() as u64 {
                p.soft { (trace.gallery.len()) " of " (Count(saved)) ", among the first that came." }
            }
            ul.gallery { @for picture in &trace.gallery { li { (one(picture, place)) } } }
        }
    }
}

fn one(picture: &Picture, place: &Place) -> Markup {
    let format = picture.format.map_or("unknown format", Format::name);
    let size = picture.size.map(|(width, height)| format!("{width} × {height}"));
    let words = html! {
        span { (escaped(&picture.path)) }
        br;
        span.soft { (format) @if let Some(size) = size { ", " (size) } }
    };
    html! {
        @if let Some(link) = place.of(&picture.path) {
            a href=(link) {
                // What it shows is not known here; its name follows.
                @if is_shown(picture.format) { img src=(link) alt="" loading="lazy" decoding="async"; }
                @else { span.blank { (format) } }
                (words)
            }
        } @else {
            (words)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_from_the_page_to_the_image_whatever_they_are_called() {
        let folder = tempfile::tempdir().expect("a folder");
        let (reports, output) = (folder.path().join("reports"), folder.path().join("a b#?"));
        std::fs::create_dir(&reports).expect("a folder");
        std::fs::create_dir(&output).expect("a folder");
        let place = Place::new(&reports.join("run.html"), &output);
        assert_eq!(place.of("x/100%.png").as_deref(), Some("../a%20b%23%3F/x/100%25.png"));
        let beside = Place::new(&output.join("run.html"), &output);
        assert_eq!(beside.of("javascript:x.png").as_deref(), Some("javascript%3Ax.png"));
        assert_eq!(Place::new(Path::new("run.html"), Path::new("/nowhere")).of("a.png"), None);
    }
}
