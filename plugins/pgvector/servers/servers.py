#!/usr/bin/env python3
"""Starts and stops PostgreSQL servers with pgvector for tests and for trying out.

    servers.py start one DIR [--pgbouncer]      one server
    servers.py start shards DIR [--shards 3]    servers behind a coordinator with postgres_fdw
    servers.py start patroni DIR                two servers under Patroni, one the other's standby
    servers.py status DIR                       their URLs and processes, as JSON
    servers.py stop DIR                         ends them all; `start` with the same DIR goes on with their data

    servers.py kill DIR NODE                    ends a server as a power cut would; under Patroni also `leader`
    servers.py revive DIR NODE                  starts it again
    servers.py leader DIR [--wait SECONDS]      Patroni: who takes writes
    servers.py switchover DIR                   Patroni: makes the standby the leader

    servers.py shard-table DIR TABLE COLUMNS    shards: a table spread over them by the hash of its id, e.g.
        servers.py shard-table DIR docs 'id bigint, body text, meta jsonb, embedding vector(384)'

All listen on 127.0.0.1 alone. There are the superuser affinis_admin, the role affinis_app and its database affinis with
the extension vector; the passwords are made for each DIR. `start` returns when everything is ready and prints what
`status` prints. The programs come from get.sh. Root's servers run as the account `nobody`.
"""

import argparse
import contextlib
import fcntl
import json
import secrets
import shutil
import sys

from patroni_cluster import REPLICATION, PatroniCluster
from place import Failure, Place, PortTaken, note
from plain import One, Shards
from postgres import ADMIN, APP

KINDS = {"one": One, "shards": Shards, "patroni": PatroniCluster}


@contextlib.contextmanager
def only_one(place):
    """Holds the directory, so that of two commands that change it the second waits."""
    place.directory.mkdir(parents=True, exist_ok=True)
    with open(place.directory / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def opened(place, *kinds):
    """The servers of a directory."""
    state = place.load()
    if state is None:
        raise Failure(f"there are no servers in {place.directory}")
    if kinds and state["kind"] not in kinds:
        raise Failure(f"this is for {' and '.join(kinds)}; in {place.directory} is {state['kind']}")
    return KINDS[state["kind"]](place, state)


def start(place, options):
    place.prepare()
    state = place.load()
    if state and state["kind"] != options.kind:
        raise Failure(f"in {place.directory} is {state['kind']} already")
    if state and state["created"]:
        servers = opened(place)
        servers.start()
        return servers
    if state:
        # What a start left that did not come to its end.
        remove(place)
    for attempt in range(3):
        try:
            return create(place, options)
        except PortTaken as failure:
            remove(place)
            if attempt == 2:
                raise
            note(f"once more with other ports: {str(failure).splitlines()[0]}")
        except BaseException:
            # The files stay for whoever looks for the reason.
            if place.load():
                opened(place).stop()
            raise


def create(place, options):
    kind = KINDS[options.kind]
    state = {
        "kind": options.kind,
        "durable": options.durable,
        "created": False,
        "passwords": {role: secrets.token_hex(16) for role in (ADMIN, APP, REPLICATION)},
        **kind.plan(options),
    }
    # Before anything runs, so that `stop` knows of all that may.
    place.save(state)
    servers = kind(place, state)
    servers.create()
    servers.start()
    servers.create_databases()
    place.save({**state, "created": True})
    return servers


def remove(place):
    """Stops the servers and removes what this script made, and nothing else."""
    opened(place).stop()
    for name in [*opened(place).nodes, "voter", "pgbouncer", "run"]:
        shutil.rmtree(place.directory / name, ignore_errors=True)
    place.state_file.unlink()


def status(place, servers):
    return {"kind": servers.state["kind"], "directory": str(place.directory), **servers.status()}


def command_line():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name, *arguments):
        added = commands.add_parser(name)
        for argument in arguments:
            added.add_argument(argument)
        return added

    starting = commands.add_parser("start")
    starting.add_argument("kind", choices=KINDS)
    starting.add_argument("directory")
    starting.add_argument("--shards", type=int, default=3)
    starting.add_argument("--durable", action="store_true", help="write to the disk before acknowledging")
    starting.add_argument("--pgbouncer", action="store_true", help="PgBouncer in transaction mode before one server")
    for name in ("stop", "status", "switchover"):
        command(name, "directory")
    for name in ("kill", "revive"):
        command(name, "directory", "node")
    command("leader", "directory").add_argument("--wait", type=float, default=0, metavar="SECONDS")
    sharding = command("shard-table", "directory", "table", "columns")
    sharding.add_argument("--id", default="id", help="the key column; COLUMNS must not name a primary key")
    sharding.add_argument("--vector", default="embedding", help="the column to index on each shard; '' for no index")
    sharding.add_argument("--operators", default="vector_ip_ops", help="the index's operator class")
    return parser


def main():
    options = command_line().parse_args()
    place = Place(options.directory)
    if options.command == "status":
        print(json.dumps(status(place, opened(place)), indent=2))
    elif options.command == "leader":
        print(opened(place, "patroni").leader_within(options.wait))
    elif options.command == "stop" and place.load() is None:
        note(f"there are no servers in {place.directory}")
    else:
        with only_one(place):
            change(place, options)


def change(place, options):
    """The commands that change what runs."""
    if options.command == "start":
        print(json.dumps(status(place, start(place, options)), indent=2))
    elif options.command == "stop":
        opened(place).stop()
    elif options.command == "kill":
        print(opened(place).kill(options.node) or options.node)
    elif options.command == "revive":
        opened(place).revive(options.node)
    elif options.command == "switchover":
        print(opened(place, "patroni").switchover())
    elif options.command == "shard-table":
        opened(place, "shards").shard_table(
            options.table, options.columns, options.id, options.vector, options.operators
        )


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"servers.py: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)
