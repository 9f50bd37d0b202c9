//! Output without a run: completions, the man page, the help, and suggestions for mistyped flags.

use std::process::Command;

use crate::common::{Program, Run, TestDir, fetchimg};

/// The flags that the help names, `--help` and `--version` among them.
fn flags() -> Vec<String> {
    let help = fetchimg().arg("--help").run();
    let lines = help.stdout.lines().filter(|line| line.trim_start().starts_with('-'));
    let words = lines.flat_map(|line| line.split([' ', ',', '.']).take_while(|word| !word.starts_with('<')));
    // A dot belongs to one of them.
    let flags = words.filter(|word| word.starts_with("--")).map(|flag| flag.replace("--http1", "--http1.1"));
    let flags = flags.collect::<Vec<_>>();
    assert!(flags.len() > 60, "{flags:?}");
    flags
}

/// All of it is on standard output, nothing else is written, and no file is created.
#[track_caller]
fn printed(arguments: &[&str]) -> Run {
    let run = fetchimg().args(arguments).run();
    assert_eq!((run.status, run.stderr.as_str()), (Some(0), ""), "{run}");
    assert!(!run.stdout.is_empty() && run.stdout.ends_with('\n'), "{run}");
    assert!(!run.output().exists(), "{run}");
    run
}

/// Runs another program, if it is installed, and returns what it writes to both streams.
fn other(program: &str, arguments: &[&str], file: &std::path::Path) -> Option<(bool, String, String)> {
    let output = Command::new(program).args(arguments).arg(file).output().ok()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Some((output.status.success(), text(&output.stdout), text(&output.stderr)))
}

#[test]
fn completions_know_every_flag_and_are_sound_scripts() {
    let dir = TestDir::new();
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let run = printed(&["--completions", shell]);
        for flag in flags() {
            let word = if shell == "fish" { format!("-l {}", &flag[2..]) } else { flag };
            assert!(run.stdout.contains(&word), "{shell} does not know {word}");
        }
        // Of values as well.
        assert!(run.stdout.contains("center-crop") || shell == "powershell", "{run}");
        let script = dir.write(shell, &run.stdout);
        if let Some((is_sound, _, complaint)) = other(shell, &["-n"], &script).filter(|_| shell != "powershell") {
            assert!(is_sound && complaint.is_empty(), "{shell}: {complaint}");
        }
    }
}

#[test]
fn bash_completes_flags_and_values() {
    let dir = TestDir::new();
    let script = dir.write("completions", printed(&["--completions", "bash"]).stdout);
    let asked = |words: &str, word: usize| {
        let ask = format!(
            ". '{}'; COMP_WORDS=({words}); COMP_CWORD={word}; _fetchimg fetchimg \"${{COMP_WORDS[{word}]}}\" \
             \"${{COMP_WORDS[{word}-1]}}\"; echo \"${{COMPREPLY[@]}}\"",
            script.display()
        );
        other("bash", &["-c", &ask], "bash".as_ref())
    };
    for (words, word, reply) in [
        ("fetchimg --sequ", 1, "--sequential"),
        ("fetchimg urls.txt --resize-mode c", 3, "center-crop"),
        ("fetchimg --input-format pa", 2, "parquet"),
    ] {
        // Without bash, completions cannot be tested.
        let Some((_, answer, complaint)) = asked(words, word) else { return };
        assert_eq!((answer.trim(), complaint.as_str()), (reply, ""), "{words}");
    }
}

#[test]
fn the_man_page_names_every_flag_and_is_clean() {
    let dir = TestDir::new();
    let run = printed(&["--man"]);
    let plain = run.stdout.replace("\\-", "-");
    for flag in flags() {
        assert!(plain.contains(&format!("\\fB{flag}\\fR")), "{flag} is missing in\n{run}");
    }
    for heading in ["NAME", "SYNOPSIS", "DESCRIPTION", "OUTPUT", "MODES", "HTTP", "EXAMPLES", "\"EXIT STATUS\""] {
        assert!(run.stdout.contains(&format!(".SH {heading}\n")), "{heading} is missing in\n{run}");
    }
    let page = dir.write("fetchimg.1", &run.stdout);
    for (program, arguments) in [
        ("groff", &["-ww", "-z", "-man", "-Kutf8", "-Tutf8"][..]),
        ("mandoc", &["-T", "lint", "-W", "warning"]),
        ("man", &["--warnings", "-P", "cat", "-l"]),
    ] {
        if let Some((is_fine, _, complaint)) = other(program, arguments, &page) {
            assert!(is_fine && complaint.is_empty(), "{program}: {complaint}");
        }
    }
}

#[test]
fn what_is_printed_waits_for_no_list_and_may_go_unread() {
    let run = fetchimg().args(["missing.txt", "--man"]).run();
    assert_eq!(run.status, Some(0), "as with --help, there is no run\n{run}");
    let program = env!("CARGO_BIN_EXE_fetchimg");
    let unread = format!("{program} --completions zsh | true; {program} --man >&-");
    let run = Program::new("bash").args(["-c", &unread]).run();
    assert!(!run.stderr.contains("panicked"), "{run}");
    let run = fetchimg().args(["--completions", "tcsh"]).run();
    assert_eq!(run.status, Some(2), "{run}");
    assert!(run.stderr.contains("powershell"), "{run}");
}

#[test]
fn the_help_ends_with_examples_that_can_be_typed() {
    let run = fetchimg().arg("--help").run();
    let (_, end) = run.stdout.split_once("\nExamples:\n").unwrap_or_else(|| panic!("no examples\n{run}"));
    let (examples, statuses) = end.split_once("\nExit status:\n").unwrap_or_else(|| panic!("no statuses\n{run}"));
    assert!(statuses.contains("\n  130  "), "{run}");
    let examples = examples.lines().collect::<Vec<_>>();
    assert!(examples.len() >= 4, "{run}");
    for example in examples {
        assert!(example.contains("fetchimg") && example.chars().count() <= 80, "{example}");
        let (_, command) = example.split_once("fetchimg ").unwrap_or_else(|| panic!("{example}"));
        let command = command.split("  ").next().unwrap_or_default();
        // The flags are understood: only the list is missing.
        let run = Program::new("sh").args(["-c", &format!("{} {command}", env!("CARGO_BIN_EXE_fetchimg"))]).run();
        assert!(run.status != Some(2), "{command}\n{run}");
    }
}

#[test]
fn a_slip_of_the_finger_is_told_what_was_meant() {
    for (typed, meant) in [
        (&["--sequentail"][..], "--sequential"),
        (&["--conncurrency", "4"], "--concurrency"),
        (&["--reports", "run.json"], "--report"),
        (&["--log-format", "jsn"], "json"),
        (&["--resize", "256", "--resize-mode", "centre-crop"], "center-crop"),
        (&["--overwite"], "--overwrite"),
    ] {
        let run = fetchimg().arg("list.txt").args(typed).run();
        assert_eq!((run.status, run.stdout.as_str()), (Some(2), ""), "{run}");
        assert!(run.stderr.contains(&format!("'{meant}'")), "{meant} is not proposed\n{run}");
    }
}
