//! What the images of earlier runs lack of the wishes of this one, and what was done about it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::words::counted;
use crate::util::human::Count;

/// How the images of the list that earlier runs saved differ from what this run would make.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// Images that `--remake` would make anew.
    pub images: u64,
    /// Images by the wish that they were made without, or with, as it is typed.
    pub wishes: Vec<ChangedWish>,
    /// Images that the filters would refuse now: `--remake` would remove them.
    pub refused: u64,
    /// These images by the filter, as it is typed.
    pub refused_by: BTreeMap<String, u64>,
    /// Images that `--remake` would remove in a run that is not dry.
    #[serde(skip_serializing_if = "is_zero")]
    pub to_remove: u64,
    /// The first of these files, at most [`MAX_NAMES_LISTED`](super::MAX_NAMES_LISTED).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub first_removed: Vec<String>,
    /// Images that `--remake` would make anew in a run that is not dry, from their stored files or with a request.
    #[serde(skip_serializing_if = "is_zero")]
    pub to_remake: u64,
    /// The first of these files and what they would be called then, at most [`MAX_NAMES_LISTED`](super::MAX_NAMES_LISTED).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub first_remade: Vec<NameChange>,
    /// Images that `--rename` would move in a run that is not dry.
    #[serde(skip_serializing_if = "is_zero")]
    pub to_rename: u64,
    /// The first of these files and what they would be called then, at most [`MAX_NAMES_LISTED`](super::MAX_NAMES_LISTED).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub first_renamed: Vec<NameChange>,
    /// Images that this run has removed, because the filters refuse them (`--remake`).
    pub removed: u64,
    /// Images that would get other names: `--rename` would move them.
    pub names: u64,
    /// Images that do not get the names that the list gives now, with `--rename`, because these belong to other files.
    pub names_kept: u64,
    /// Images that this run has made anew (`--remake`).
    pub remade: u64,
    /// Those of them that were made from their stored files, without a request.
    pub remade_from_files: u64,
    /// Images that this run has given other names (`--rename`).
    pub renamed: u64,
}

/// A file, and what it would be called after a run. Parts that depend on the response are still fields of the template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NameChange {
    /// Its path in the output folder.
    pub from: String,
    /// Its path then.
    pub to: String,
}

/// A wish that this run has and images were made without, or that images were made with and this run does not have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ChangedWish {
    /// The wish, as it is typed.
    pub flag: String,
    /// `without`: the images were made without this wish. `with`: they were made with it, and this run does not have it.
    pub made: Made,
    /// The number of images.
    pub images: u64,
}

/// Whether images were made with a wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Made {
    /// They were made without it.
    Without,
    /// They were made with it.
    With,
}

impl Changed {
    /// Whether there is nothing to report.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// A sentence for each thing that is told.
    #[must_use]
    pub fn sentences(&self) -> Vec<String> {
        let mut sentences = Vec::new();
        if self.images > 0 {
            let clauses = self.wishes.iter().enumerate().map(|(number, wish)| {
                let images = if number == 0 { made(wish.images) } else { Count(wish.images).to_string() };
                match wish.made {
                    Made::Without => format!("{images} without {}", wish.flag),
                    Made::With => format!("{images} with {}, which is not asked for now", wish.flag),
                }
            });
            let pronoun = if self.images == 1 { "it" } else { "them" };
            sentences.push(format!("{}; --remake makes {pronoun} anew.", clauses.collect::<Vec<_>>().join("; ")));
        }
        if self.refused > 0 {
            let flags = self.refused_by.iter().map(|(flag, count)| format!("{} by {flag}", Count(*count)));
            let by = match self.refused_by.len() {
                1 => format!("by {}", self.refused_by.keys().next().map_or("", String::as_str)),
                _ => flags.collect::<Vec<_>>().join(", "),
            };
            let pronoun = if self.refused == 1 { "it" } else { "them" };
            let images = counted(self.refused, "image");
            sentences.push(format!("{images} would be refused now, {by}; --remake removes {pronoun}."));
        }
        if self.to_remove > 0 {
            let pronoun = if self.to_remove == 1 { "it" } else { "them" };
            let files = counted(self.to_remove, "file");
            sentences.push(format!("{files} would be removed: the filters refuse {pronoun}."));
        }
        if self.removed > 0 {
            let were = if self.removed == 1 { "was" } else { "were" };
            let files = counted(self.removed, "file");
            sentences
                .push(format!("{files} of earlier runs {were} removed, because the filters refuse what is in them."));
        }
        // A plan with --rename lists them.
        if self.names > 0 && self.to_rename == 0 {
            let (names, pronoun) = if self.names == 1 { ("another name", "it") } else { ("other names", "them") };
            sentences
                .push(format!("{} would get {names} now; --rename moves {pronoun}.", counted(self.names, "image")));
        }
        if self.names_kept > 0 {
            let images = counted(self.names_kept, "image");
            sentences.push(if self.names_kept == 1 {
                format!("{images} does not get the name that the list gives now: it belongs to another file.")
            } else {
                format!("{images} do not get the names that the list gives now: these belong to other files.")
            });
        }
        sentences
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

fn made(images: u64) -> String {
    format!("{} {} made", counted(images, "image"), if images == 1 { "was" } else { "were" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thing_is_told_in_a_sentence() {
        let wish = |flag: &str, made, images| ChangedWish { flag: flag.into(), made, images };
        let changed = Changed {
            images: 1055,
            wishes: vec![
                wish("--resize 256", Made::Without, 1055),
                wish("--hash blake3", Made::Without, 40),
                wish("--encode", Made::With, 1),
            ],
            refused: 3,
            refused_by: BTreeMap::from([("--min-width 500".into(), 2), ("--accept png".into(), 1)]),
            names: 12,
            names_kept: 2,
            ..Changed::default()
        };
        assert_eq!(
            changed.sentences(),
            [
                "1,055 images were made without --resize 256; 40 without --hash blake3; 1 with --encode, which is not \
                 asked for now; --remake makes them anew.",
                "3 images would be refused now, 1 by --accept png, 2 by --min-width 500; --remake removes them.",
                "12 images would get other names now; --rename moves them.",
                "2 images do not get the names that the list gives now: these belong to other files.",
            ]
        );
        let one = Changed { images: 1, wishes: vec![wish("--phash", Made::Without, 1)], ..Changed::default() };
        assert_eq!(one.sentences(), ["1 image was made without --phash; --remake makes it anew."]);
        let planned = Changed { names: 2, to_rename: 2, names_kept: 1, to_remove: 1, ..Changed::default() };
        assert_eq!(
            planned.sentences(),
            [
                "1 file would be removed: the filters refuse it.",
                "1 image does not get the name that the list gives now: it belongs to another file.",
            ]
        );
        assert!(Changed::default().sentences().is_empty() && Changed::default().is_empty());
    }
}
