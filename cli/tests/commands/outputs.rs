//! The outputs of `export` and `metrics export`: files, links, devices, pipes, standard output.

use std::fs;

use serde_json::{Value, json};

use crate::home::Home;

/// A home with a metric version 1, and the arguments of both commands that write a file.
fn with_metric() -> (Home, [&'static [&'static str]; 2]) {
    let home = Home::with_judgements();
    home.ok(["refit", "c", "--force"]);
    (home, [&["export", "c"], &["metrics", "c", "export", "1"]])
}

#[test]
fn both_exports_can_write_to_standard_output() {
    let (home, _) = with_metric();
    for more in [&[][..], &["--json"]] {
        let ran = home.ok(["metrics", "c", "export", "1", "-"]
            .iter()
            .chain(more)
            .copied());
        assert_eq!(
            (ran.json().len(), &ran.json()[0]["version"]),
            (1, &json!(1))
        );
        assert!(ran.stderr.contains("wrote metric 1"), "{ran:?}");
        home.write("m.json", ran.stdout);
        assert!(!home.path("-").exists());
    }
    home.ok(["metrics", "c", "import", "m.json"]);
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
    use std::process::Command;

    use super::*;

    fn mode(home: &Home, name: &str) -> u32 {
        fs::metadata(home.path(name)).unwrap().permissions().mode() & 0o777
    }

    /// Whether a file holds the whole output of one of the commands.
    fn is_whole(home: &Home, name: &str) -> bool {
        let text = fs::read_to_string(home.path(name)).unwrap();
        text.ends_with('\n')
            && text
                .lines()
                .all(|line| serde_json::from_str::<Value>(line).is_ok())
    }

    #[test]
    fn a_replaced_file_keeps_its_permissions_and_links() {
        let (home, commands) = with_metric();
        for command in commands {
            home.write("private", "old");
            fs::set_permissions(home.path("private"), fs::Permissions::from_mode(0o600)).unwrap();
            fs::create_dir_all(home.path("folder")).unwrap();
            for link in ["link", "folder/link", "new-link", "folder/new-link"] {
                let _ = fs::remove_file(home.path(link));
            }
            symlink("folder/link", home.path("link")).unwrap();
            symlink("../private", home.path("folder/link")).unwrap();
            home.ok(command.iter().copied().chain(["link"]));
            assert!(is_whole(&home, "private"));
            assert_eq!(mode(&home, "private"), 0o600);
            assert!(home.path("link").is_symlink() && home.path("folder/link").is_symlink());

            // A link to a file that does not exist yet.
            let _ = fs::remove_file(home.path("new"));
            symlink("folder/new-link", home.path("new-link")).unwrap();
            symlink(home.path("new"), home.path("folder/new-link")).unwrap();
            home.ok(command.iter().copied().chain(["new-link"]));
            assert!(is_whole(&home, "new") && home.path("new-link").is_symlink());
            home.write("any", "");
            assert_eq!(mode(&home, "new"), mode(&home, "any"));
        }
    }

    /// Standard output is written to, also when it is named as a file.
    #[cfg(target_os = "linux")]
    #[test]
    fn standard_output_can_be_named_as_a_file() {
        let (home, commands) = with_metric();
        for command in commands {
            home.write("log", "before\n");
            let log = fs::OpenOptions::new()
                .append(true)
                .open(home.path("log"))
                .unwrap();
            let ran = home
                .command(command.iter().copied().chain(["/dev/stdout"]))
                .stdout(log)
                .status()
                .unwrap();
            assert!(ran.success());
            let log = fs::read_to_string(home.path("log")).unwrap();
            assert!(
                log.starts_with("before\n{") && !log.contains("wrote"),
                "{log}"
            );
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_device_is_written_to_and_not_replaced() {
        let (home, commands) = with_metric();
        // Through links, so that a failing test replaces a link and not a device.
        for (link, device) in [("full", "/dev/full"), ("null", "/dev/null")] {
            symlink(device, home.path(link)).unwrap();
        }
        for command in commands {
            home.fails(
                command.iter().copied().chain(["full"]),
                1,
                &["full cannot be written", "No space left"],
            );
            home.ok(command.iter().copied().chain(["null"]));
            for link in ["full", "null"] {
                assert!(home.path(link).is_symlink() && !home.path(link).is_file());
            }
        }
        home.fails(
            ["export", "c", "affinis.store"],
            1,
            &["affinis.store cannot be written", "directory"],
        );
    }

    #[test]
    fn a_reader_of_a_named_pipe_gets_the_whole_output() {
        let (home, commands) = with_metric();
        assert!(
            Command::new("mkfifo")
                .arg(home.path("pipe"))
                .status()
                .unwrap()
                .success()
        );
        for command in commands {
            let read = fs::File::create(home.path("read")).unwrap();
            let mut reader = Command::new("cat")
                .arg(home.path("pipe"))
                .stdout(read)
                .spawn()
                .unwrap();
            home.ok(command.iter().copied().chain(["pipe"]));
            if !fs::metadata(home.path("pipe"))
                .unwrap()
                .file_type()
                .is_fifo()
            {
                reader.kill().unwrap();
                panic!("the pipe was replaced, and its reader waits for ever");
            }
            assert!(reader.wait().unwrap().success());
            assert!(is_whole(&home, "read"));
        }
    }
}

/// Ctrl-C, or the system's request to end, in the middle of an export or a backup.
#[cfg(unix)]
#[test]
fn an_interrupted_export_or_backup_leaves_no_file() {
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};
    let home = Home::new();
    home.ok(["create", "c", "--dim", "64"]);
    let vector: Vec<String> = (0..64).map(|i| format!("0.{i}1")).collect();
    let items: Vec<String> = (0..30_000)
        .map(|i| format!("{{\"id\": \"{i}\", \"vector\": [{}]}}\n", vector.join(",")))
        .collect();
    let items = items.concat();
    home.write("items.jsonl", items);
    home.ok(["add", "c", "items.jsonl"]);
    std::fs::create_dir(home.path("out")).unwrap();
    let names = || -> Vec<_> {
        let entries = std::fs::read_dir(home.path("out")).unwrap();
        entries.map(|entry| entry.unwrap().file_name()).collect()
    };
    for (args, signal) in [
        (&["export", "c", "out/c.jsonl"][..], "INT"),
        (&["export", "c", "out/c.jsonl"], "TERM"),
        (&["backup", "out/copy"], "INT"),
        (&["backup", "out/copy"], "TERM"),
    ] {
        let child = home
            .command(args.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let started = Instant::now();
        while names().is_empty() {
            assert!(
                started.elapsed() < Duration::from_mins(1),
                "it did not begin"
            );
            std::thread::yield_now();
        }
        let kill = Command::new("kill")
            .args(["-s", signal, &child.id().to_string()])
            .status();
        assert!(kill.unwrap().success());
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            output.status.code(),
            Some(130),
            "{args:?} by {signal}: {said}"
        );
        assert!(
            said.contains("interrupted") && said.contains("was not written"),
            "{said}"
        );
        assert_eq!(names(), [""; 0], "{args:?} by {signal}");
    }
    home.ok(["verify"]);
}
