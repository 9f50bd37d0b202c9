//! Where a path leads, also when nothing is there yet.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The path of a file or folder without symbolic links, as far as it is there.
///
/// # Errors
/// When the path is empty, or the current folder is gone.
pub fn real_path(path: &Path) -> io::Result<PathBuf> {
    let absolute = std::path::absolute(path)?;
    for above in absolute.ancestors() {
        match fs::canonicalize(above) {
            Ok(real) => {
                return Ok(absolute
                    .strip_prefix(above)
                    .map_or_else(|_| absolute.clone(), |rest| plain_join(real, rest)));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // Whatever it is: nothing can be made there, and who tries says so.
            Err(_) => break,
        }
    }
    Ok(absolute)
}

/// Joins two paths, without the slash at the end that an empty second one would leave.
fn plain_join(above: PathBuf, rest: &Path) -> PathBuf {
    if rest.as_os_str().is_empty() { above } else { above.join(rest) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_below_the_real_path_of_what_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().canonicalize().expect("it is there");
        fs::create_dir(root.join("real")).expect("a folder");
        std::os::unix::fs::symlink("real", root.join("link")).expect("a link");
        for (path, real) in [("link", "real"), ("link/a/b", "real/a/b"), ("./real/../link/", "real"), ("a", "a")] {
            assert_eq!(real_path(&folder.path().join(path)).expect(path), root.join(real), "{path}");
        }
        real_path(Path::new("")).expect_err("it is no path");
    }
}
