#!/usr/bin/env python3
"""Tests of the scripts themselves; get.sh comes first. Python's own unittest runs them:

    python3 plugins/pgvector/servers/test_servers.py
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import bouncer  # noqa: E402
from place import Failure, Place, processes, wait_for  # noqa: E402
from postgres import ADMIN, APP, Node  # noqa: E402


class Servers(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="affinis-servers-")
        self.addCleanup(shutil.rmtree, self.directory)
        self.addCleanup(self.call, "stop")

    def call(self, command, *arguments, fails=False):
        """Runs the script; `arguments` come after the directory."""
        words = [*command.split(), self.directory, *arguments]
        result = subprocess.run([sys.executable, HERE / "servers.py", *words], capture_output=True, text=True)
        self.assertEqual(result.returncode != 0, fails, result.stdout + result.stderr)
        return result.stderr if fails else result.stdout.strip()

    def server(self, name="server", port=None):
        """The server of this name, or what listens on this port, to ask as the ordinary role."""
        place = Place(self.directory)
        state = place.load()
        ports = state["ports"]
        port = port or (ports[name]["postgres"] if state["kind"] == "patroni" else ports[name])
        return Node(place, name, port, state["passwords"])

    def fill(self, server, table):
        server.sql(f"INSERT INTO {table} SELECT i, ARRAY[i, i % 7, 1]::vector FROM generate_series(1, 300) i", role=APP)

    def assert_nearest(self, server, table):
        nearest = server.sql(f"SELECT id FROM {table} ORDER BY embedding <-> '[42, 0, 1]' LIMIT 1", role=APP)
        self.assertEqual(nearest, "42")

    def assert_all_ended(self):
        def left():
            return [process.command for process in processes().values() if f"{self.directory}/" in process.command]

        wait_for(lambda: not left(), 5, "the end of all processes")

    def table(self, server):
        server.sql(
            "CREATE TABLE docs (id bigint PRIMARY KEY, embedding vector(3));"
            "CREATE INDEX ON docs USING hnsw (embedding vector_l2_ops)",
            role=APP,
        )
        self.fill(server, "docs")
        self.assert_nearest(server, "docs")

    def test_one_server_answers_is_killed_comes_back_and_keeps_its_rows_over_a_stop(self):
        self.assertIn("there are no servers", self.call("status", fails=True))
        status = json.loads(self.call("start one"))
        server = self.server()
        self.assertTrue(status["nodes"][0]["running"])
        self.assertIn(f"affinis_app:{server.passwords[APP]}@127.0.0.1:{server.port}/affinis", status["url"])
        self.table(server)
        self.assertIn("is one already", self.call("start shards", fails=True))
        self.assertIn("there is no server other", self.call("kill", "other", fails=True))
        self.assertIn("this is for patroni", self.call("switchover", fails=True))
        self.call("kill", "server")
        self.assertFalse(json.loads(self.call("status"))["nodes"][0]["running"])
        self.call("revive", "server")
        self.assert_nearest(server, "docs")
        self.call("stop")
        self.assert_all_ended()
        self.call("start one")
        self.assert_nearest(server, "docs")
        self.assertEqual(server.sql("SELECT rolsuper FROM pg_roles WHERE rolname = current_user", role=APP), "f")
        self.assertEqual(server.sql("SELECT rolsuper FROM pg_roles WHERE rolname = current_user", role=ADMIN), "t")

    def test_pgbouncer_stands_before_one_server(self):
        try:
            bouncer.program()
        except Failure as failure:
            self.skipTest(str(failure))
        status = json.loads(self.call("start one", "--pgbouncer"))
        self.assertEqual(self.server(port=status["pgbouncer"]["port"]).sql("SELECT 1", role=APP), "1")
        self.call("stop")
        self.assert_all_ended()

    def test_shards_hold_the_rows_of_one_table(self):
        status = json.loads(self.call("start shards"))
        self.assertEqual(len(status["shards"]), 3)
        self.call("shard-table", "docs", "id bigint, embedding vector(3)", "--operators", "vector_l2_ops")
        coordinator = self.server("coordinator")
        self.fill(coordinator, "docs")
        self.assert_nearest(coordinator, "docs")
        counts = [int(self.server(f"shard{number}").sql("SELECT count(*) FROM docs", role=APP)) for number in (1, 2, 3)]
        self.assertEqual(sum(counts), 300)
        self.assertTrue(all(counts), counts)
        limited = "SELECT id FROM docs_shard1 ORDER BY embedding <-> '[42, 0, 1]' LIMIT 5"
        self.assertIn("LIMIT 5", coordinator.sql(f"EXPLAIN (VERBOSE) {limited}", role=APP))
        self.call("stop")
        self.assert_all_ended()

    def test_patroni_follows_a_killed_leader_with_its_standby(self):
        status = json.loads(self.call("start patroni"))
        killed = status["leader"]
        self.table(self.server(killed))
        self.call("kill", "leader")
        follower = self.call("leader", "--wait", "60")
        self.assertNotEqual(follower, killed)
        self.assert_nearest(self.server(follower), "docs")
        self.call("revive", killed)
        self.assertEqual(self.call("switchover"), killed)
        self.assert_nearest(self.server(killed), "docs")
        self.call("stop")
        self.assert_all_ended()

    def test_a_start_that_was_killed_leaves_nothing_after_a_stop_and_can_be_repeated(self):
        starting = subprocess.Popen(
            [sys.executable, HERE / "servers.py", "start", "shards", self.directory, "--shards", "1"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        pid_file = Path(self.directory) / "coordinator/data/postmaster.pid"
        wait_for(pid_file.exists, 60, "the first server", every=0.01)
        os.kill(starting.pid, signal.SIGKILL)
        starting.wait()
        # What pg_ctl had begun comes up meanwhile.
        time.sleep(0.5)
        self.call("stop")
        self.assert_all_ended()
        self.call("start shards", "--shards", "1")
        self.assertEqual(self.server("coordinator").sql("SELECT count(*) FROM pg_foreign_server", role=APP), "1")


if __name__ == "__main__":
    unittest.main()
