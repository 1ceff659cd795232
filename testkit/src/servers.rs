//! Servers that a test starts and ends itself, by the scripts of `plugins/pgvector/servers`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::skipped;

/// Servers in a directory of their own, which end with it.
pub struct Servers {
    directory: tempfile::TempDir,
}

impl Servers {
    /// Starts servers of a kind: `one`, `shards`, `patroni`. `None`, with a message, where the
    /// programs are not there, or PgBouncer is asked for and not installed.
    pub fn start(kind: &str, options: &[&str]) -> Option<Self> {
        let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/postgres/packages");
        if !programs.exists() {
            skipped("no PostgreSQL in target/postgres; plugins/pgvector/servers/get.sh gets it");
            return None;
        }
        let directory = tempfile::Builder::new()
            .prefix("affinis-clusters-")
            .tempdir()
            .expect("a directory");
        // Root's servers run as another account.
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let open = std::fs::Permissions::from_mode(0o711);
            std::fs::set_permissions(directory.path(), open).expect("permissions");
        }
        let servers = Self { directory };
        let started = servers.output("start", &[kind], options);
        let said = String::from_utf8_lossy(&started.stderr).into_owned();
        if said.contains("pgbouncer is not installed") {
            skipped(&said);
            return None;
        }
        assert!(started.status.success(), "{said}");
        Some(servers)
    }

    fn directory(&self) -> PathBuf {
        self.directory.path().join("servers")
    }

    fn output(&self, command: &str, before: &[&str], after: &[&str]) -> Output {
        let script =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/pgvector/servers/servers.py");
        Command::new("python3")
            .arg(script)
            .arg(command)
            .args(before)
            .arg(self.directory())
            .args(after)
            .output()
            .expect("python3")
    }

    /// Runs a command on them: `kill`, `revive`, `leader`, `switchover`, `shard-table`. Gives what it
    /// prints.
    pub fn call(&self, command: &str, arguments: &[&str]) -> String {
        let output = self.output(command, &[], arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command} {arguments:?}: {said}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Their URLs and processes.
    pub fn status(&self) -> Value {
        serde_json::from_str(&self.call("status", &[])).expect("JSON")
    }

    /// The URL for the role of a program.
    pub fn url(&self) -> String {
        self.status()["url"].as_str().expect("a URL").to_owned()
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.output("stop", &[], &[]);
    }
}
