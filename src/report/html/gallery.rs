//! The gallery: some of the saved images, with links to their files.

use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use maud::{Markup, html};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use crate::record::Format;
use crate::report::Summary;
use crate::report::trace::GalleryImage;
use crate::util::human::Count;
use crate::util::redact::escaped;

/// Makes links from the page to the images. It holds the relative URL of the output folder, or `None` if there is no relative
/// path to it.
pub struct ImageLinks(Option<String>);

impl ImageLinks {
    /// Links from the page `file`, which must exist, to the images in the folder `output`.
    pub fn new(file: &Path, output: &Path) -> Self {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let whole = |path: &Path| path.canonicalize().ok();
        let relative = whole(folder).zip(whole(output)).and_then(|(from, to)| pathdiff::diff_paths(to, from));
        Self(relative.map(|relative| encoded(&relative)))
    }

    /// The link to an image, if the output folder can be reached.
    fn link(&self, path: &str) -> Option<String> {
        let folder = self.0.as_ref()?;
        let path = encoded(&PathBuf::from(path));
        Some(if folder.is_empty() { path } else { format!("{folder}/{path}") })
    }
}

/// The characters that are percent-encoded: all except the unreserved ones (RFC 3986, section 2.3).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A path as a relative URL.
fn encoded(path: &Path) -> String {
    let segments = path.components().map(|component| match component {
        Component::ParentDir => "..".to_owned(),
        other => percent_encode(other.as_os_str().as_bytes(), ENCODED).to_string(),
    });
    segments.collect::<Vec<_>>().join("/")
}

/// Whether browsers can show this format.
const fn is_supported(format: Option<Format>) -> bool {
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

/// The images that the trace has kept. Those that are in shards cannot be shown.
pub fn gallery(summary: &Summary, links: &ImageLinks) -> Markup {
    let Summary { trace, saved, shards, .. } = summary;
    html! {
        @if shards.is_some() {
            h2 { "Images" }
            p.soft { (Count(*saved)) " images are in shards, and not shown here." }
        } @else if !trace.gallery.is_empty() {
            h2 { "Images" }
            @if *saved > trace.gallery.len() as u64 {
                p.soft { (trace.gallery.len()) " of " (Count(*saved)) ", among the first that came." }
            }
            ul.gallery { @for image in &trace.gallery { li { (figure(image, links)) } } }
        }
    }
}

fn figure(image: &GalleryImage, links: &ImageLinks) -> Markup {
    let format = image.format.map_or("unknown format", Format::name);
    let size = image.size.map(|(width, height)| format!("{width} × {height}"));
    let words = html! {
        span { (escaped(&image.path)) }
        br;
        span.soft { (format) @if let Some(size) = size { ", " (size) } }
    };
    html! {
        @if let Some(link) = links.link(&image.path) {
            a href=(link) {
                // The alternative text is empty, because the content is not known and the name follows.
                @if is_supported(image.format) { img src=(link) alt="" loading="lazy" decoding="async"; }
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
    fn links_lead_from_the_page_to_the_image_whatever_its_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let (reports, output) = (folder.path().join("reports"), folder.path().join("a b#?"));
        std::fs::create_dir(&reports).expect("a folder");
        std::fs::create_dir(&output).expect("a folder");
        let links = ImageLinks::new(&reports.join("run.html"), &output);
        assert_eq!(links.link("x/100%.png").as_deref(), Some("../a%20b%23%3F/x/100%25.png"));
        let beside = ImageLinks::new(&output.join("run.html"), &output);
        assert_eq!(beside.link("javascript:x.png").as_deref(), Some("javascript%3Ax.png"));
        assert_eq!(ImageLinks::new(Path::new("run.html"), Path::new("/nowhere")).link("a.png"), None);
    }
}
