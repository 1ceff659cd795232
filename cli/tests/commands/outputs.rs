//! Where `export` and `metrics export` write: files, links, devices, pipes, standard output.

use std::fs;

use serde_json::{Value, json};

use crate::home::Home;

/// A home with a metric 1, and both commands that write a file.
fn with_metric() -> (Home, [&'static [&'static str]; 2]) {
    let home = Home::with_judgements();
    home.ok(["refit", "c", "--force"]);
    (home, [&["export", "c"], &["metrics", "c", "export", "1"]])
}

#[test]
fn a_metric_is_written_to_standard_output_as_a_collection_is() {
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

    /// Whether a file holds what one of the commands wrote.
    fn is_whole(home: &Home, name: &str) -> bool {
        let text = fs::read_to_string(home.path(name)).unwrap();
        text.ends_with('\n')
            && text
                .lines()
                .all(|line| serde_json::from_str::<Value>(line).is_ok())
    }

    #[test]
    fn a_file_that_is_replaced_keeps_its_permissions_and_its_links() {
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

            // A link to what is not there yet.
            let _ = fs::remove_file(home.path("new"));
            symlink("folder/new-link", home.path("new-link")).unwrap();
            symlink(home.path("new"), home.path("folder/new-link")).unwrap();
            home.ok(command.iter().copied().chain(["new-link"]));
            assert!(is_whole(&home, "new") && home.path("new-link").is_symlink());
            home.write("any", "");
            assert_eq!(mode(&home, "new"), mode(&home, "any"));
        }
    }

    /// Where a shell sends standard output, named as a file.
    #[cfg(target_os = "linux")]
    #[test]
    fn standard_output_is_standard_output_under_every_name() {
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
        // Through links: where the property does not hold, the machine keeps its devices.
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
    fn whoever_reads_a_pipe_gets_all_of_it() {
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
