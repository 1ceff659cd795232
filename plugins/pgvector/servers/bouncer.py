"""PgBouncer in transaction mode before a server; it also takes TLS, which the server of the wheel is built without."""

import shutil
import socket

from place import Failure, PortTaken, kill_tree, tail, wait_for
from postgres import ADMIN, APP, DATABASE, url

NAME = "pgbouncer"


def program():
    # Debian puts it where only root's PATH looks.
    found = shutil.which(NAME) or shutil.which(NAME, path="/usr/sbin:/usr/local/sbin")
    if not found:
        raise Failure("pgbouncer is not installed (Debian: apt-get install pgbouncer); --pgbouncer cannot do without")
    return found


class Bouncer:
    def __init__(self, place, port, node):
        self.place = place
        self.port = port
        self.node = node
        self.folder = place.directory / NAME
        self.authority = self.folder / "authority.pem"

    def create(self):
        program()
        place = self.place
        folder = place.folder(NAME)
        users = "".join(f'"{role}" "{self.node.passwords[role]}"\n' for role in (ADMIN, APP))
        place.write(folder / "users.txt", users)
        settings = {
            "listen_addr": "127.0.0.1",
            "listen_port": self.port,
            "unix_socket_dir": "",
            "auth_type": "scram-sha-256",
            "auth_file": folder / "users.txt",
            "pool_mode": "transaction",
            "max_client_conn": 500,
            "default_pool_size": 15,
            # What libpq and the drivers set on connecting and a pooled connection cannot keep.
            "ignore_startup_parameters": "extra_float_digits,options",
        }
        if self.certify():
            settings |= {
                "client_tls_sslmode": "allow",
                "client_tls_key_file": folder / "server.key",
                "client_tls_cert_file": folder / "server.pem",
            }
        lines = ["[databases]", f"* = host=127.0.0.1 port={self.node.port}", "[pgbouncer]"]
        lines += [f"{name} = {value}" for name, value in settings.items()]
        place.write(folder / "pgbouncer.ini", "\n".join([*lines, ""]))

    def certify(self):
        """A certificate for 127.0.0.1 and localhost, signed by an authority made for it; False without openssl."""
        openssl = shutil.which("openssl")
        if not openssl:
            return False
        folder = self.folder
        extensions = folder / "extensions"
        self.place.write(extensions, "subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=CA:FALSE\n")
        new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        authority_key = folder / "authority.key"
        self.place.run(
            openssl, "req", "-x509", *new_key, "-days", 30, "-subj", "/CN=affinis test authority",
            "-keyout", authority_key, "-out", self.authority,
        )
        self.place.run(
            openssl, "req", *new_key, "-subj", "/CN=localhost",
            "-keyout", folder / "server.key", "-out", folder / "server.csr",
        )
        self.place.run(
            openssl, "x509", "-req", "-days", 30, "-in", folder / "server.csr", "-CA", self.authority,
            "-CAkey", authority_key, "-CAcreateserial", "-extfile", extensions, "-out", folder / "server.pem",
        )
        return True

    def start(self):
        if self.pid():
            return
        self.place.spawn(NAME, program(), self.folder / "pgbouncer.ini")
        try:
            wait_for(self.answers, 10, "pgbouncer")
        except Failure as failure:
            log = tail(self.place.log(NAME))
            kind = PortTaken if "in use" in log else Failure
            raise kind(f"{failure}; the end of {self.place.log(NAME)}:\n{log}") from None

    def answers(self):
        if not self.pid():
            return False
        with socket.socket() as attempt:
            return attempt.connect_ex(("127.0.0.1", self.port)) == 0

    def pid(self):
        return self.place.pid(NAME)

    def kill(self):
        pid = self.pid()
        if pid:
            kill_tree(pid)

    def status(self):
        secured = {"tls_authority": str(self.authority)} if self.authority.exists() else {}
        return {
            "pid": self.pid(),
            "port": self.port,
            "url": url([self.port], APP, self.node.passwords[APP], DATABASE),
            "log": str(self.place.log(NAME)),
            **secured,
        }
