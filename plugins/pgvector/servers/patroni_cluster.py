"""Two PostgreSQL servers under Patroni, which agree by raft on who leads; a third member of raft has no server."""

import json
import signal
import time
import urllib.error
import urllib.request

from place import Failure, PortTaken, free_ports, kill_tree, send, tail, wait_for
from postgres import ADMIN, APP, DATABASE, INITDB, Node, settings, url

NODES = ["node1", "node2"]
VOTER = "voter"
REPLICATION = "affinis_replication"

# A leader that is gone is missed when its key has not been renewed for `ttl`; Patroni takes no less than 20 s.
TIMING = {"ttl": 20, "loop_wait": 1, "retry_timeout": 5}


class PatroniCluster:
    def __init__(self, place, state):
        self.place = place
        self.state = state
        self.passwords = state["passwords"]
        self.ports = state["ports"]
        self.nodes = {name: Node(place, name, self.ports[name]["postgres"], self.passwords) for name in NODES}

    @staticmethod
    def plan(_options):
        ports = iter(free_ports(7))
        members = {name: {kind: next(ports) for kind in ("postgres", "rest", "raft")} for name in NODES}
        return {"ports": {**members, VOTER: {"raft": next(ports)}}}

    def create(self):
        for name in [*NODES, VOTER]:
            folder = self.place.folder(name)
            self.place.folder(f"{name}/raft")
            # Patroni reads YAML, of which JSON is a part.
            self.place.write(folder / "patroni.yml", json.dumps(self.configuration(name), indent=2))

    def configuration(self, name):
        others = [f"127.0.0.1:{ports['raft']}" for other, ports in self.ports.items() if other != name]
        raft = {
            "data_dir": str(self.place.directory / name / "raft"),
            "self_addr": f"127.0.0.1:{self.ports[name]['raft']}",
            "partner_addrs": others,
        }
        if name == VOTER:
            return {"raft": raft}
        rest = f"127.0.0.1:{self.ports[name]['rest']}"
        server = f"127.0.0.1:{self.ports[name]['postgres']}"
        shared = settings(self.state["durable"])
        # Patroni takes where a server listens from each node's own part alone.
        del shared["listen_addresses"]
        own = {"unix_socket_directories": shared.pop("unix_socket_directories")}
        admin = {"username": ADMIN, "password": self.passwords[ADMIN]}
        return {
            "scope": DATABASE,
            "name": name,
            "restapi": {"listen": rest, "connect_address": rest},
            "raft": raft,
            "bootstrap": {
                "dcs": {
                    **TIMING,
                    # What was acknowledged is on the standby too, so that a failover loses none of it.
                    "synchronous_mode": True,
                    # A leader that was killed comes back as a standby: by pg_rewind, which asks for full pages in the
                    # log, or else by copying the new leader.
                    "postgresql": {
                        "use_pg_rewind": True,
                        "remove_data_directory_on_rewind_failure": True,
                        "parameters": {**shared, "full_page_writes": "on"},
                    },
                },
                "initdb": [dict([word.lstrip("-").split("=")]) for word in INITDB] + ["no-sync"],
            },
            "postgresql": {
                "listen": server,
                "connect_address": server,
                "data_dir": str(self.nodes[name].data),
                "bin_dir": str(self.place.program("postgres").parent),
                "pgpass": str(self.place.directory / name / "pgpass"),
                "authentication": {
                    "superuser": admin,
                    "rewind": admin,
                    "replication": {"username": REPLICATION, "password": self.passwords[REPLICATION]},
                },
                "pg_hba": [
                    "host all all 127.0.0.1/32 scram-sha-256",
                    "host replication all 127.0.0.1/32 scram-sha-256",
                ],
                "parameters": own,
            },
        }

    def start(self):
        python = self.place.installed / "python"
        for name in [VOTER, *NODES]:
            if self.place.pid(name):
                continue
            # The raft member without a server has no module that `-m` would run.
            module = ["-c", "from patroni.raft_controller import main; main()"] if name == VOTER else ["-m", "patroni"]
            self.place.spawn(name, python, *module, self.place.directory / name / "patroni.yml")
        self.wait_until_complete()

    def wait_until_complete(self):
        """Waits for a leader and a standby that has all that is acknowledged."""
        members = [*NODES, VOTER]

        def complete():
            ended = [name for name in members if not self.place.pid(name)]
            # A process writes its number just after it starts.
            if ended and time.monotonic() > begun + 5:
                raise Failure(f"Patroni of {', '.join(ended)} ended")
            leader = self.leader()
            return leader and any(self.asks(name, "synchronous") for name in NODES if name != leader)

        begun = time.monotonic()
        try:
            wait_for(complete, 120, "a leader with its standby", every=0.3)
        except Failure as failure:
            logs = {name: tail(self.place.log(name)) for name in members}
            kind = PortTaken if any("in use" in log for log in logs.values()) else Failure
            raise kind("\n".join([str(failure), *(f"-- {name}:\n{log}" for name, log in logs.items())])) from None

    def create_databases(self):
        self.nodes[self.leader()].create_database()

    # -- questions

    def asks(self, name, path):
        """Whether a node's Patroni answers yes: `primary`, `replica`, `synchronous`."""
        try:
            return self.rest(name, path) is not None
        except OSError:
            return False

    def rest(self, name, path, body=None, seconds=3):
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.ports[name]['rest']}/{path}",
            data=json.dumps(body).encode() if body else None,
            headers={"content-type": "application/json"},
        )
        # The loopback is not behind anybody's proxy.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=seconds) as answer:
            return answer.read().decode()

    def leader(self):
        """The node that takes writes, or None in a failover."""
        return next((name for name in NODES if self.asks(name, "primary")), None)

    def leader_within(self, seconds):
        return wait_for(self.leader, seconds, "a leader", every=0.2)

    # -- commands

    def named(self, wanted):
        if wanted == "leader":
            return self.leader_within(30)
        if wanted not in NODES:
            raise Failure(f"there is no node {wanted}; there are leader, {', '.join(NODES)}")
        return wanted

    def kill(self, wanted):
        """Ends a node's Patroni and PostgreSQL at once, Patroni first: it would start the server again."""
        name = self.named(wanted)
        pid = self.place.pid(name)
        if pid:
            kill_tree(pid)
        self.nodes[name].kill()
        return name

    def revive(self, wanted):
        self.named(wanted)
        self.start()

    def switchover(self):
        """Makes the standby the leader, as an operator would, and waits for it."""
        leader = self.leader_within(30)
        candidate = next(name for name in NODES if name != leader)
        try:
            self.rest(leader, "switchover", {"leader": leader, "candidate": candidate}, seconds=60)
        except urllib.error.HTTPError as error:
            raise Failure(f"Patroni refused: {error.read().decode()}") from None
        wait_for(lambda: self.leader() == candidate, 60, f"{candidate} to lead", every=0.2)
        return candidate

    def stop(self):
        """Ends everything. The leader last, so that no standby is promoted meanwhile."""
        leader = self.leader()
        for name in sorted(NODES, key=lambda name: name == leader):
            pid = self.place.pid(name)
            if pid:
                send(pid, signal.SIGTERM)
                try:
                    wait_for(lambda: not self.place.pid(name), 20, f"{name} to stop")
                except Failure:
                    kill_tree(pid)
            self.nodes[name].kill()
        pid = self.place.pid(VOTER)
        if pid:
            kill_tree(pid)

    def status(self):
        leader = self.leader()
        # The leader first: a client tries the hosts in their order.
        ports = [self.nodes[name].port for name in sorted(NODES, key=lambda name: name != leader)]

        def all_of(role, attributes):
            return url(ports, role, self.passwords[role], target_session_attrs=attributes)

        return {
            "url": all_of(APP, "read-write"),
            "admin_url": all_of(ADMIN, "read-write"),
            "url_any": all_of(APP, "any"),
            "url_read_only": all_of(APP, "read-only"),
            "leader": leader,
            "nodes": [
                {
                    **self.nodes[name].status(),
                    "role": "leader" if name == leader else "standby" if self.asks(name, "replica") else None,
                    "patroni_pid": self.place.pid(name),
                    "rest": f"http://127.0.0.1:{self.ports[name]['rest']}",
                    "log": str(self.place.log(name)),
                }
                for name in NODES
            ],
        }
