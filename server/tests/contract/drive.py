"""Runs schemathesis against a service over a store with real contents, as the holder of each role in turn.

usage: drive.py BINARY SECONDS [SEED] --schemathesis PROGRAM --reports DIR      (called by run.sh)
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
# The most powerful first: where little time is left, what can do most was tried.
ROLES = ["admin", "write", "judge", "search"]
# A turn lasts at least so long, in seconds. Each begins with the store as it should be.
TURN = 40


class Service:
    """A running `affinis serve` with a token of each role, named after it."""

    def __init__(self, binary, directory):
        self.tokens, lines = {}, []
        for role in ROLES:
            made = subprocess.run(
                [binary, "token", role, "--role", role, "--json"], check=True, capture_output=True
            )
            made = json.loads(made.stdout)
            self.tokens[role] = made["token"]
            lines.append(made["line"])
        (directory / "tokens").write_text("\n".join(lines) + "\n")
        self.log = directory / "log"
        command = [binary, "--store", directory / "store", "serve", "--listen", "127.0.0.1:0"]
        command += ["--tokens", directory / "tokens", "--backups", directory / "backups"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stderr=log)
        for _ in range(600):
            found = re.search(r"listening on (\S+)", self.log.read_text())
            if found:
                break
            if self.process.poll() is not None:
                sys.exit(f"the service ended: {self.log.read_text()}")
            time.sleep(0.1)
        else:
            sys.exit("the service does not begin")
        self.url = found.group(1)

    def ask(self, method, path, body=None):
        """The status and the JSON of an answer to the admin."""
        request = urllib.request.Request(self.url + path, method=method)
        request.add_header("authorization", f"Bearer {self.tokens['admin']}")
        if body is not None:
            request.add_header("content-type", "application/json")
            request.data = json.dumps(body).encode()
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def must(self, method, path, body=None):
        status, answer = self.ask(method, path, body)
        if status >= 300:
            sys.exit(f"{method} {path} is {status}: {answer}")
        return answer

    def end(self):
        self.process.terminate()
        return self.process.wait(timeout=30)


def contents(service):
    """Makes the store what it should be: texts and points, judged, with versions and a trial."""
    for name in ("notes", "points"):
        service.ask("DELETE", f"/v1/collections/{name}")
    service.must("PUT", "/v1/collections/notes", {})
    texts = (HERE / "../../../cli/data/wordnet-6000.tsv").read_text().splitlines()[:60]
    notes = [{"id": f"n{at}", "text": line.split("\t")[1], "meta": {"kind": line.split("\t")[0], "at": at}}
             for at, line in enumerate(texts)]
    service.must("POST", "/v1/collections/notes/items", {"items": notes})
    judged = [{"query": "fruit tree care", "item": f"n{at}", "relevant": at % 3 == 0} for at in range(20)]
    judged += [{"query_id": f"n{at}", "item": f"n{at + 1}", "grade": at / 20} for at in range(20)]
    service.must("POST", "/v1/collections/notes/judgements", {"judgements": judged})
    service.must("PUT", "/v1/collections/points", {"dim": 2})
    points = [{"id": chr(97 + at), "vector": [at % 5, at // 5], "meta": {"year": 2000 + at}} for at in range(26)]
    service.must("POST", "/v1/collections/points/items", {"items": points})
    judged = [{"query_id": "a", "item": chr(98 + at), "relevant": at % 2 == 0} for at in range(20)]
    service.must("POST", "/v1/collections/points/judgements", {"judgements": judged})
    for matrix in ([[2, 0], [0, 0.5]], [[1, 0.2], [0.2, 3]]):
        service.must("POST", "/v1/collections/points/metrics/import", {"matrix": matrix})
    service.must("POST", "/v1/collections/points/metrics/1/promote")
    service.must("POST", "/v1/collections/points/trial", {"version": 2})
    service.must("POST", "/v1/collections/notes/refit", {"ask": 8})


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("seconds", type=int)
    parser.add_argument("seed", type=int, nargs="?", help="fixes what is generated; a new one each time by default")
    parser.add_argument("--schemathesis", required=True)
    parser.add_argument("--reports", required=True, type=pathlib.Path)
    arguments = parser.parse_args()
    arguments.reports.mkdir(parents=True, exist_ok=True)
    turns = max(1, min(arguments.seconds // TURN, 4 * len(ROLES)))
    failed = []
    with tempfile.TemporaryDirectory() as directory:
        service = Service(os.path.abspath(arguments.binary), pathlib.Path(directory))
        for turn in range(turns):
            role = ROLES[turn % len(ROLES)]
            contents(service)
            seconds = arguments.seconds // turns
            print(f"-- {role}, {seconds} s", flush=True)
            report = arguments.reports / f"{turn}-{role}.txt"
            command = [os.path.abspath(arguments.schemathesis), "--config-file", HERE / "schemathesis.toml", "--no-color", "run"]
            command += [service.url + "/openapi.json", "--max-time", str(seconds), "--continue-on-failure"]
            command += ["--header", f"Authorization: Bearer {service.tokens[role]}"]
            # With one worker: CPython 3.11 fails now and then where two threads parse Python at a time, as
            # hypothesis does ("AST constructor recursion depth mismatch").
            # A stream of events of a job that runs lasts as long as the job.
            if arguments.seed is not None:
                command += ["--seed", str(arguments.seed)]
            command += ["--request-timeout", "20", "--generation-database", "none"]
            done = subprocess.run(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                cwd=arguments.reports,
                env={**os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(HERE), "PYTHONDONTWRITEBYTECODE": "1"},
            )
            report.write_text(done.stdout)
            if done.returncode != 0 or "No test cases were generated" in done.stdout:
                failed.append(report)
                print(done.stdout[-12_000:], flush=True)
            else:
                summary = done.stdout[done.stdout.rfind("= SUMMARY"):]
                print(summary, flush=True)
            if service.process.poll() is not None:
                sys.exit(f"the service ended: {service.log.read_text()[-4_000:]}")
        verified = service.must("POST", "/v1/verify")
        while (job := service.must("GET", f"/v1/jobs/{verified['job']}"))["state"] == "running":
            time.sleep(0.1)
        if job["state"] != "done" or job["result"]["problems"]:
            sys.exit(f"the store is damaged: {job}")
        log = service.log.read_text()
        if service.end() != 0:
            sys.exit(f"the service did not end well: {log[-4_000:]}")
        for word in ("panicked", *service.tokens.values()):
            if word in log:
                sys.exit(f"the log has {'a token' if word != 'panicked' else 'a panic'}")
        (arguments.reports / "service.log").write_text(log)
    if failed:
        sys.exit(f"answers that the description does not allow: {', '.join(map(str, failed))}")


if __name__ == "__main__":
    main()
