//! `--demo`: the whole program at work, without the internet.

use std::fs;

use image::{GenericImageView as _, ImageFormat};

use crate::common::{Run, TestDir, fetchimg};

/// The files of the list, as the tutorial names them, with their formats and heights.
const FILES: [(&str, ImageFormat, u32); 5] = [
    ("boto3-s3-multipart-upload-1024x536.jpg", ImageFormat::Jpeg, 536),
    ("github-actions-deployment-to-eks-with-kustomize-1024x536.jpg", ImageFormat::Jpeg, 536),
    ("kafka-cluster-architecture.jpg", ImageFormat::Jpeg, 576),
    ("pandas-dataframe-python-1024x512.png", ImageFormat::Png, 512),
    ("redis-cluster-topology.png", ImageFormat::Png, 512),
];

/// The five pictures are in a folder of the run, and were compared with what the server sent.
#[track_caller]
fn assert_all_there(run: &Run, folder: &str) {
    assert_eq!(run.status, Some(0), "{run}");
    for (name, format, height) in FILES {
        let bytes = run.dir.read(format!("{folder}/{name}"));
        assert_eq!(image::guess_format(&bytes).expect("an image"), format, "{name}\n{run}");
        let size = image::load_from_memory(&bytes).expect("a sound image").dimensions();
        assert_eq!(size, (1024, height), "{name}\n{run}");
    }
    let sentence = format!("All 5 files in {folder} are byte for byte what the server sent.\n");
    assert!(run.stderr.ends_with(&sentence), "{run}");
}

/// Everything in a folder that is not hidden.
fn entries(dir: &TestDir, folder: &str) -> Vec<String> {
    let entries = fs::read_dir(dir.join(folder)).expect("a folder").map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<_> = entries.map(|name| name.to_string_lossy().into_owned()).collect();
    names.retain(|name| !name.starts_with('.'));
    names.sort();
    names
}

#[test]
fn the_demonstration_needs_nothing_and_compares_both_modes() {
    let dir = TestDir::new();
    fs::create_dir(dir.join("tmp")).expect("a folder");
    let run = fetchimg().args(["--demo", "--json"]).env("TMPDIR", dir.join("tmp")).in_dir(&dir).run();

    assert_all_there(&run, "demo_images");
    assert_eq!(entries(&dir, "demo_images"), FILES.map(|(name, ..)| name), "{run}");
    let report = run.report();
    let modes = report["modes"].as_array().expect("modes").iter().map(|mode| mode["mode"].as_str()).collect::<Vec<_>>();
    assert_eq!(modes, [Some("sequential"), Some("concurrent")], "{run}");
    // Nearly 5 on a quiet machine.
    assert!(report["comparison"]["speed_up"].as_f64().expect("a number") >= 2.0, "{run}");

    assert!(run.stderr.starts_with("A server on loopback (127.0.0.1:"), "{run}");
    assert!(run.stderr.contains("\n$ fetchimg "), "{run}");
    assert!(run.stderr.contains(" -o demo_images --compare "), "{run}");
    assert_eq!(entries(&dir, "tmp"), [""; 0], "nothing of its own stays\n{run}");
}

#[test]
fn a_folder_may_hold_files_already_and_the_environment_may_name_a_proxy() {
    let dir = TestDir::new();
    dir.write("demo_images/holiday.jpg", "not from here");
    dir.write(format!("demo_images/{}", FILES[0].0), "an older one");
    let run = fetchimg().args(["--demo", "--sequential"]).env("https_proxy", "http://127.0.0.1:9").in_dir(&dir).run();
    assert_all_there(&run, "demo_images");
    assert_eq!(dir.read("demo_images/holiday.jpg"), b"not from here");
    assert_eq!(entries(&dir, "demo_images").len(), 6, "{run}");
}

#[test]
fn further_flags_have_the_last_word() {
    let run = fetchimg().args(["-o", "elsewhere", "--demo", "-j", "3", "--json"]).run();
    assert_all_there(&run, "elsewhere");
    assert_eq!(run.report()["modes"].as_array().expect("modes").len(), 1, "{run}");
    assert_eq!(entries(&run.dir, "."), ["elsewhere"], "{run}");
}

#[test]
fn failures_of_the_demonstration_are_those_of_a_run() {
    let run = fetchimg().args(["--demo", "-q", "--timeout", "0.02", "--retries", "0"]).run();
    assert_eq!((run.status, run.stdout.as_str()), (Some(1), ""), "{run}");
    assert!(run.stderr.contains("--timeout") && run.stderr.lines().all(|line| line.contains("ERROR")), "{run}");

    let run = fetchimg().arg("--demo").env("TMPDIR", "/dev/null").run();
    assert_eq!(run.status, Some(3), "{run}");
    assert!(run.stderr.starts_with("fetchimg: the demonstration cannot start: "), "{run}");
}

#[test]
fn a_list_beside_the_demonstration_is_refused() {
    let run = fetchimg().lines(["https://images.test/a.png"]).arg("--demo").run();
    assert_eq!(run.status, Some(2), "{run}");
    assert!(run.stderr.contains("leave out list.txt"), "{run}");
    assert_eq!(run.stdout, "", "{run}");
    assert_eq!(entries(&run.dir, "."), ["list.txt"], "{run}");
}
