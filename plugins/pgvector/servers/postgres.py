"""One PostgreSQL server, and the database that every test finds."""

import os
import subprocess
from urllib.parse import quote

from place import Failure, PortTaken, kill_tree, tail

ADMIN = "affinis_admin"
APP = "affinis_app"
DATABASE = "affinis"

# Small: several servers and a build share one machine.
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    # A socket's path may have about 100 bytes, and a test's directory is longer.
    "unix_socket_directories": "",
    "shared_buffers": "128MB",
    "max_connections": 60,
    "maintenance_work_mem": "256MB",
    "log_checkpoints": "off",
}
# Their files need not outlive a power cut. Killed processes lose nothing by it: the kernel keeps what they wrote.
NOT_DURABLE = {"fsync": "off", "full_page_writes": "off"}

INITDB = ["--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]


def settings(durable):
    return {**SETTINGS, **({} if durable else NOT_DURABLE)}


def url(ports, role, password, database=DATABASE, **options):
    """A connection URL as libpq and tokio-postgres read it; several ports make several hosts of it."""
    hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
    query = "&".join(f"{name}={value}" for name, value in options.items())
    return f"postgresql://{role}:{quote(password)}@{hosts}/{database}" + (f"?{query}" if query else "")


def literal(text):
    """An SQL string."""
    return "'" + str(text).replace("'", "''") + "'"


def name(text):
    """An SQL name, quoted."""
    return '"' + text.replace('"', '""') + '"'


class Node:
    """A server with its own data directory below the place."""

    def __init__(self, place, name, port, passwords):
        self.place = place
        self.name = name
        self.port = port
        self.passwords = passwords
        self.data = place.directory / name / "data"
        self.log = place.directory / name / "server.log"

    def create(self, durable):
        """Makes the data directory."""
        place = self.place
        folder = place.folder(self.name)
        place.write(folder / "password", self.passwords[ADMIN])
        place.run(
            place.program("initdb"), "-D", self.data, "-U", ADMIN, "--pwfile", folder / "password",
            "--auth=scram-sha-256", "--no-sync", *INITDB,
        )
        lines = [f"{name} = '{value}'" for name, value in settings(durable).items()]
        place.write(self.data / "postgresql.auto.conf", "\n".join([*lines, f"port = {self.port}", ""]))

    def start(self):
        """Starts the server and waits until it takes connections."""
        if self.pid():
            return
        self.log.unlink(missing_ok=True)
        started = self.place.run(
            self.place.program("pg_ctl"), "start", "-w", "-t", 60, "-D", self.data, "-l", self.log, check=False,
            stdin=subprocess.DEVNULL,
        )
        if started.returncode != 0:
            log = tail(self.log)
            kind = PortTaken if "Address already in use" in log else Failure
            raise kind(f"the server {self.name} did not start; the end of {self.log}:\n{log}")

    def stop(self):
        """Stops the server; open transactions are rolled back."""
        if self.pid():
            self.place.run(
                self.place.program("pg_ctl"), "stop", "-w", "-t", 30, "-m", "fast", "-D", self.data, check=False
            )
        self.kill()

    def kill(self):
        """Ends the server at once, as a machine that loses power would."""
        pid = self.pid()
        if pid:
            kill_tree(pid)
            # Where nobody has asked yet how the process ended, its number is still taken, and the next server would
            # believe the file that this one runs.
            (self.data / "postmaster.pid").unlink(missing_ok=True)

    def pid(self):
        return self.place.pid_in(self.data / "postmaster.pid")

    def url(self, role=APP, database=DATABASE):
        return url([self.port], role, self.passwords[role], database)

    def sql(self, text, role=ADMIN, database=DATABASE, seconds=120):
        """Runs SQL and returns its output, columns parted by `|`."""
        result = subprocess.run(
            [str(self.place.program("psql")), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"],
            input=text,
            capture_output=True,
            text=True,
            timeout=seconds,
            env={
                "PATH": os.defpath,
                "PGHOST": "127.0.0.1",
                "PGPORT": str(self.port),
                "PGUSER": role,
                "PGPASSWORD": self.passwords[role],
                "PGDATABASE": database,
                "PGCONNECT_TIMEOUT": "5",
            },
        )
        if result.returncode != 0:
            raise Failure(f"{self.name} refused: {result.stderr.strip()}")
        return result.stdout.strip()

    def create_database(self):
        """The ordinary role, and a database of its own with pgvector."""
        self.sql(f"CREATE ROLE {APP} LOGIN PASSWORD {literal(self.passwords[APP])}", database="postgres")
        self.sql(f"CREATE DATABASE {DATABASE} OWNER {APP}", database="postgres")
        self.sql("CREATE EXTENSION vector")

    def status(self):
        pid = self.pid()
        return {
            "name": self.name,
            "running": pid is not None,
            "pid": pid,
            "port": self.port,
            "url": self.url(),
            "admin_url": self.url(ADMIN),
            "log": str(self.log),
        }
