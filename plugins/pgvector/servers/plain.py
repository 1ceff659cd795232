"""Servers without failover: one, or shards behind a coordinator."""

from bouncer import Bouncer
from place import Failure, free_ports
from postgres import ADMIN, APP, DATABASE, Node, literal, name


class One:
    """One server, and PgBouncer before it where that was asked for."""

    def __init__(self, place, state):
        self.place = place
        self.state = state
        self.nodes = {
            node: Node(place, node, port, state["passwords"]) for node, port in state.get("ports", {}).items()
        }
        self.bouncer = Bouncer(place, state["bouncer"], self.first) if state.get("bouncer") else None

    @staticmethod
    def plan(options):
        """What is decided before anything is made: the names of the servers, and the ports."""
        ports = free_ports(2)
        return {"ports": {"server": ports[0]}, "bouncer": ports[1] if options.pgbouncer else None}

    @property
    def first(self):
        """The server that clients connect to."""
        return next(iter(self.nodes.values()))

    def create(self):
        if self.bouncer:
            self.bouncer.create()
        for node in self.nodes.values():
            node.create(self.state["durable"])

    def start(self):
        for node in self.nodes.values():
            node.start()
        if self.bouncer:
            self.bouncer.start()

    def create_databases(self):
        for node in self.nodes.values():
            node.create_database()

    def stop(self):
        if self.bouncer:
            self.bouncer.kill()
        for node in self.nodes.values():
            node.stop()

    def node(self, wanted):
        if wanted not in self.nodes:
            raise Failure(f"there is no server {wanted}; there are {', '.join(self.nodes)}")
        return self.nodes[wanted]

    def kill(self, wanted):
        self.node(wanted).kill()

    def revive(self, wanted):
        self.node(wanted).start()

    def status(self):
        return {
            "url": self.first.url(),
            "admin_url": self.first.url(ADMIN),
            "nodes": [node.status() for node in self.nodes.values()],
            "pgbouncer": self.bouncer.status() if self.bouncer else None,
        }


class Shards(One):
    """A coordinator that reaches several servers through postgres_fdw."""

    @staticmethod
    def plan(options):
        names = ["coordinator"] + [f"shard{number}" for number in range(1, options.shards + 1)]
        return {"ports": dict(zip(names, free_ports(len(names))))}

    @property
    def shards(self):
        return [node for node in self.nodes.values() if node is not self.first]

    def create_databases(self):
        super().create_databases()
        lines = ["CREATE EXTENSION postgres_fdw;"]
        for shard in self.shards:
            # Only operators of a named extension are sent to the shard; the others are worked out here, row by row.
            # With async_capable the shards of one query work at the same time.
            lines.append(
                f"CREATE SERVER {shard.name} FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', "
                f"port '{shard.port}', dbname '{DATABASE}', extensions 'vector', async_capable 'true', "
                # What a session of the coordinator sets is not told to the shards.
                f"options '-c hnsw.ef_search=100 -c hnsw.iterative_scan=relaxed_order', "
                f"fetch_size '1000', batch_size '500');"
                f"GRANT USAGE ON FOREIGN SERVER {shard.name} TO {APP};"
            )
            lines += [
                f"CREATE USER MAPPING FOR {role} SERVER {shard.name} OPTIONS "
                f"(user {literal(role)}, password {literal(shard.passwords[role])});"
                for role in (ADMIN, APP)
            ]
        self.first.sql("\n".join(lines))

    def shard_table(self, table, columns, key, vector, operators):
        """Makes a table whose rows lie on the shards by the hash of their key.

        The key is unique within each shard, hence in all; a partitioned table over foreign tables cannot say so itself.
        """
        for shard in self.shards:
            index = f"CREATE INDEX ON {name(table)} USING hnsw ({name(vector)} {operators});" if vector else ""
            shard.sql(
                f"BEGIN; CREATE TABLE {name(table)} ({columns}, PRIMARY KEY ({name(key)})); {index} COMMIT;", role=APP
            )
        lines = [f"BEGIN; CREATE TABLE {name(table)} ({columns}) PARTITION BY HASH ({name(key)});"]
        for number, shard in enumerate(self.shards):
            lines.append(
                f"CREATE FOREIGN TABLE {name(f'{table}_{shard.name}')} PARTITION OF {name(table)} "
                f"FOR VALUES WITH (MODULUS {len(self.shards)}, REMAINDER {number}) "
                f"SERVER {shard.name} OPTIONS (table_name {literal(table)});"
            )
        self.first.sql("\n".join([*lines, "COMMIT;"]), role=APP)

    def status(self):
        return {**super().status(), "shards": [shard.url() for shard in self.shards]}
