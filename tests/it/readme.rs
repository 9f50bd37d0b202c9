//! The README says what the program says.

use fetchimg::record::ErrorKind;

use crate::common::fetchimg;

const README: &str = include_str!("../../README.md");

#[test]
fn the_readme_shows_the_help() {
    let run = fetchimg().arg("-h").run();
    assert_eq!(run.status, Some(0), "{run}");
    assert!(README.contains(run.stdout.trim()), "paste this into README.md:\n{}", run.stdout);
}

#[test]
fn the_readme_lists_every_exit_status_and_every_error() {
    let run = fetchimg().arg("--help").run();
    for status in ["| 0 |", "| 1 |", "| 2 |", "| 3 |", "| 130, 143 |"] {
        assert!(README.contains(status), "{status}");
    }
    assert!(run.stdout.contains("130") && run.stdout.contains("143"), "{run}");
    let kinds = ErrorKind::WITHOUT_STATUS.map(ErrorKind::name);
    for kind in kinds.iter().chain(&["http_status"]) {
        assert!(README.contains(&format!("| `{kind}` |")), "{kind}");
    }
}

#[test]
fn the_list_is_the_tutorials() {
    let list = include_str!("../../urls.txt");
    assert_eq!(list.lines().count(), 5);
    assert!(list.lines().all(|line| line.starts_with("https://codeflex.co/wp-content/uploads/")));
}
