//! The path of the store, its lock, exit statuses, and what every command has in common.

use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use crate::home::{Home, failed, keys};

#[test]
fn store_and_json_are_accepted_before_and_after_the_command() {
    let home = Home::new();
    home.ok(["--store", "s", "--json", "create", "c", "--dim", "2"]);
    let before = home.ok(["--store", "s", "--json", "stats", "c"]).json();
    let after = home.ok(["stats", "c", "--json", "--store", "s"]).json();
    assert_eq!(before, after);
    assert!(home.path("s").is_dir() && !home.path("affinis.store").exists());
}

#[test]
fn the_store_is_affinis_store_unless_the_environment_or_an_argument_names_another() {
    let home = Home::new();
    home.ok(["create", "c", "--dim", "2"]);
    assert!(home.path("affinis.store").is_dir());
    let in_environment = |args: &[&str]| {
        home.command(args.iter().copied())
            .env("AFFINIS_STORE", "e")
            .output()
            .unwrap()
    };
    assert!(
        in_environment(&["create", "other", "--dim", "3"])
            .status
            .success()
    );
    assert!(home.path("e").is_dir());
    assert_eq!(home.json(["collections", "--store", "e"])["name"], "other");
    assert!(!in_environment(&["stats", "c"]).status.success());
    assert!(
        in_environment(&["stats", "c", "--store", "affinis.store"])
            .status
            .success()
    );
}

#[test]
fn a_missing_store_is_an_error_and_is_not_created() {
    let home = Home::new();
    for args in [
        &["stats", "c"][..],
        &["search", "c", "text"],
        &["collections"],
        &["verify"],
        &["metrics", "c"],
    ] {
        home.fails(
            args.iter().copied(),
            1,
            &["affinis.store", "affinis create"],
        );
        assert!(!home.path("affinis.store").exists());
    }
}

#[test]
fn invalid_arguments_exit_with_status_2() {
    let home = Home::with_points();
    for args in [
        &["search", "c"][..],
        &["search", "c", "text", "--like", "a"],
        &["search", "c", "--like", "a", "-k", "0"],
        &["search", "c", "--like", "a", "-k", "10001"],
        &["search", "c", "--like", "a", "--ef", "0"],
        &["search", "c", "--like", "a", "--recall", "1.5"],
        &["search", "c", "--like", "a", "--recall", "0"],
        &[
            "search", "c", "--like", "a", "--ef", "10", "--recall", "0.9",
        ],
        &["search", "c", "--like", "a", "--metric", "best"],
        &["search", "c", "--like", "a", "--filter", "{\"a\": "],
        &[
            "search",
            "c",
            "--like",
            "a",
            "--filter",
            "{\"a\": {\"$near\": 1}}",
        ],
        &["create", "x", "--dim", "0"],
        &["create", "x", "--dim", "4097"],
        &["create", "x", "--dim", "2", "--distance", "l1"],
        &["create", "x", "--dim", "2", "--encoder", "dir"],
        &["add", "c", "points.unknown"],
        &["add", "c", "points.jsonl", "--ids", "ids.txt"],
        &["get", "c"],
        &["forget", "c"],
        &["forget", "c", "--user", "u", "--item", "a"],
        &["judge", "c", "points.jsonl", "--source", "guess"],
        &["refit", "c", "--user-share", "2"],
        &["refit", "c", "--user-share", "0"],
        &["refit", "c", "--learner", "foo"],
        &["search", "c", "--like", "a", "--user", ""],
        &["explain", "c", "--like", "a", "--item", "b", "--user", ""],
        &["judge", "c", "points.jsonl", "--user", ""],
        &["refit", "c", "--user", ""],
        &["forget", "c", "--user", ""],
        &["metrics", "c", "rollback", "--user", ""],
        &[
            "metrics", "c", "trial", "search", "--like", "a", "--user", "",
        ],
        &["nonsense"],
        &[],
    ] {
        failed(&home.run(args.iter().copied()), 2, &[]);
    }
    assert!(home.ok(["--help"]).stdout.contains("Examples:"));
}

#[test]
fn the_help_lists_every_command() {
    let help = Home::new().ok(["--help"]).stdout;
    for command in [
        "demo",
        "create",
        "add",
        "get",
        "delete",
        "search",
        "judge",
        "judgements",
        "refit",
        "metrics",
        "evaluate",
        "optimize",
        "explain",
        "stats",
        "collections",
        "verify",
        "backup",
        "restore",
        "compact",
        "export",
        "import",
        "forget",
        "model",
    ] {
        assert!(help.contains(&format!("  {command} ")), "{command}: {help}");
        assert!(
            Home::new()
                .ok([command, "--help"])
                .stdout
                .contains("Examples:"),
            "{command}"
        );
    }
}

#[test]
fn a_second_process_is_refused_at_once_with_the_holders_pid_or_waits() {
    let home = Home::with_points();
    let holder = affinis::Store::open(home.path("affinis.store")).unwrap();
    let pid = std::process::id().to_string();
    for wait in [&["stats", "c"][..], &["stats", "c", "--wait", "0.05"]] {
        failed(&home.run(wait.iter().copied()), 1, &[&pid, "affinis.store"]);
    }
    let mut waiting = home
        .command(["stats", "c", "--wait", "600"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(100));
    assert!(waiting.try_wait().unwrap().is_none(), "it did not wait");
    drop(holder);
    assert!(waiting.wait().unwrap().success());
    for wrong in ["--wait=-1", "--wait=soon", "--wait=inf", "--wait=NaN"] {
        home.fails(["stats", "c", wrong], 2, &["--wait", "seconds"]);
    }
}

#[test]
fn a_command_reads_standard_input_before_it_locks_the_store() {
    let home = Home::with_points();
    home.write("metric.json", r#"{"matrix": [[2, 0], [0, 1]]}"#);
    let export = home.ok(["export", "c", "-"]).stdout;
    let commands: [(&[&str], &str); 6] = [
        (&["add", "c", "-"], "{\"id\": \"e\", \"vector\": [5, 5]}\n"),
        (
            &["judge", "c", "-"],
            "{\"query_id\": \"a\", \"item\": \"b\", \"relevant\": true}\n",
        ),
        (
            &["evaluate", "c", "-"],
            "{\"query_id\": \"a\", \"relevant\": [\"b\"]}\n",
        ),
        (
            &["metrics", "c", "import", "-"],
            r#"{"matrix": [[2, 0], [0, 1]]}"#,
        ),
        (&["delete", "c", "--ids", "-"], "a\n"),
        (&["import", "other", "-"], &export),
    ];
    for (command, input) in commands {
        let mut reading = home
            .command(command.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // Others have the store while it reads.
        home.ok(["list", "c"]);
        assert!(reading.try_wait().unwrap().is_none(), "{command:?} ended");
        let mut stdin = reading.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).unwrap();
        home.ok(["list", "c"]);
        drop(stdin);
        assert!(reading.wait().unwrap().success(), "{command:?}");
    }
    assert_eq!(home.items(), 4);
    assert_eq!(home.json(["stats", "other"])["items"], 4);
}

#[test]
fn the_json_of_collections_and_stats_has_the_documented_keys() {
    let home = Home::with_points();
    home.ok([
        "create",
        "half",
        "--dim",
        "3",
        "--distance",
        "cosine",
        "--precision",
        "f16",
    ]);
    let collections = home.all_json(["collections"]);
    assert_eq!(collections.len(), 2);
    assert_eq!(collections[0]["items"], 4);
    assert_eq!(
        (&collections[1]["distance"], &collections[1]["precision"]),
        (&"cosine".into(), &"f16".into())
    );
    let stats = home.json(["stats", "c"]);
    let wanted = [
        "items",
        "dim",
        "deleted",
        "segments",
        "growing",
        "judgements",
        "active_metric",
        "recall",
        "memory_bytes",
        "disk_bytes",
        "store_bytes",
    ];
    assert_eq!(keys(&stats), wanted);
    assert_eq!(
        (&stats["items"], &stats["dim"], &stats["active_metric"]),
        (&4.into(), &2.into(), &0.into())
    );
    home.ok(["delete", "c", "a"]);
    assert_eq!(home.items(), 3);
    home.fails(["stats", "nobody"], 1, &["nobody", "half"]);
    home.fails(["create", "c", "--dim", "2"], 1, &["exists"]);
}

#[test]
fn a_sound_store_verifies() {
    let home = Home::with_points();
    assert!(home.ok(["verify"]).stdout.contains("sound"));
    assert_eq!(home.json(["verify"])["problems"], serde_json::json!([]));
}

#[test]
fn no_escape_codes_reach_a_pipe() {
    let home = Home::with_points();
    for args in [
        &["search", "c", "--like", "a"][..],
        &["stats", "c"],
        &["metrics", "c"],
        &["get", "c", "b"],
    ] {
        let ran = home.ok(args.iter().copied());
        assert!(
            !ran.stdout.contains('\u{1b}') && ran.stderr.is_empty(),
            "{ran:?}"
        );
    }
}

/// Characters that change the direction of text are stored as given, and not written to a terminal.
#[test]
fn a_text_with_direction_marks_is_printed_without_them() {
    let home = Home::with_points();
    let text = "up\u{202e}down\u{2066}\u{1b}[31m";
    home.write(
        "t.jsonl",
        serde_json::json!({"id": text, "text": text, "vector": [0, 1]}).to_string(),
    );
    home.ok(["add", "c", "t.jsonl"]);
    assert_eq!(home.json(["get", "c", text])["text"], text);
    home.write(
        "t.jsonl",
        serde_json::json!({"id": "x", text: 1}).to_string(),
    );
    let (get, search) = (
        home.run(["get", "c", text]),
        home.run(["search", "c", "--like", "a"]),
    );
    for said in [
        get.stdout,
        search.stdout,
        home.run(["add", "c", "t.jsonl"]).stderr,
    ] {
        assert!(said.contains("updown [31m"), "{said:?}");
    }
}

/// A small file system in memory, where the test may mount one.
#[cfg(target_os = "linux")]
struct SmallDisk(std::path::PathBuf);

#[cfg(target_os = "linux")]
impl SmallDisk {
    fn mount(at: std::path::PathBuf) -> Option<Self> {
        std::fs::create_dir(&at).unwrap();
        let mount = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=32m", "tmpfs"])
            .arg(&at)
            .output();
        mount
            .is_ok_and(|output| output.status.success())
            .then_some(Self(at))
    }
}

#[cfg(target_os = "linux")]
impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(&self.0).status();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_search_is_answered_on_a_full_disk() {
    use std::io::Write;
    let home = Home::with_points();
    let Some(disk) = SmallDisk::mount(home.path("disk")) else {
        eprintln!("SKIPPED: no file system can be mounted here");
        return;
    };
    let on_disk = |args: &[&str]| home.run([args, &["--store", "disk/s"]].concat());
    assert_eq!(on_disk(&["create", "c", "--dim", "2"]).status, Some(0));
    let fill = || {
        let mut file = std::fs::File::create(disk.0.join("fill")).unwrap();
        for size in [1 << 16, 1 << 10, 1] {
            let bytes = vec![1; size];
            while file.write_all(&bytes).is_ok() {}
        }
    };
    for round in 0..3 {
        // What was written since the last opening is what an opening needs space for.
        assert_eq!(on_disk(&["add", "c", "points.jsonl"]).status, Some(0));
        fill();
        for _ in 0..3 {
            let found = on_disk(&["search", "c", "--like", "a", "-k", "1", "--json"]);
            assert_eq!(found.status, Some(0), "round {round}: {found:?}");
            assert_eq!(found.json()[0]["hits"][0]["id"], "b");
        }
        std::fs::remove_file(disk.0.join("fill")).unwrap();
        assert_eq!(on_disk(&["verify"]).status, Some(0));
    }
}

#[test]
fn commands_that_only_read_run_beside_the_process_that_has_the_store_open() {
    let home = Home::with_points();
    let holder = affinis::Store::open(home.path("affinis.store")).unwrap();
    home.fails(["stats", "c"], 1, &["in use"]);
    let points = holder.collection("c").open().unwrap();
    points
        .add([affinis::Item::vector("e", [5.0, 5.0])])
        .unwrap();
    let commands: [&[&str]; 9] = [
        &["stats", "c"],
        &["collections"],
        &["list", "c"],
        &["get", "c", "a"],
        &["search", "c", "--like", "a"],
        &["metrics", "c"],
        &["verify"],
        &["export", "c", "c.affinis"],
        &["backup", "copy"],
    ];
    for command in commands {
        home.ok([command, &["--read-only"]].concat());
    }
    let counted = home.json(["count", "c", "--read-only"]);
    assert_eq!(counted["count"], 5, "{counted}");
    assert_eq!(home.json(["count", "c", "--store", "copy"])["count"], 5);
    home.write("more.jsonl", r#"{"id": "f", "vector": [1, 1]}"#);
    let writing: [&[&str]; 8] = [
        &["create", "x", "--dim", "2"],
        &["add", "c", "more.jsonl"],
        &["delete", "c", "a"],
        &["drop", "c", "--yes"],
        &["optimize", "c"],
        &["keywords", "c", "en"],
        &["compact"],
        &["verify", "--repair"],
    ];
    for command in writing {
        let command = [command, &["--read-only"]].concat();
        home.fails(command, 1, &["opened to be read only"]);
    }
    assert_eq!(points.len(), 5);
    drop((points, holder));
    // Nobody has it open any more.
    assert_eq!(home.json(["count", "c", "--read-only"])["count"], 5);
    let url = ["count", "c", "--read-only", "--store", "postgres://x/y"];
    home.fails(url, if cfg!(feature = "postgres") { 2 } else { 1 }, &[]);
    home.fails(
        ["count", "c", "--read-only", "--store", "nowhere"],
        1,
        &["no store"],
    );
}
