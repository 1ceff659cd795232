#!/usr/bin/env python3
"""Compares affinis with hnswlib, faiss, usearch, hnsw_rs and a scan, on the same vectors in one run.

    benches/peers/run.sh [SET ...]        see SETS below; default: all that are not marked slow

Rates are queries per second of CPU time of one searching thread, so that other load on the machine matters little;
builds are CPU seconds of all threads. Every peer gets HNSW with M 16, efConstruction 200. Prints tables, writes
bench-results/peers.json and the pictures and tables of docs/benchmarks.md.
"""

import ctypes
import gzip
import json
import os
import pathlib
import platform
import subprocess
import sys
import time

import faiss
import hnswlib
import numpy as np
from usearch.index import Index as Usearch

import report

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = pathlib.Path(os.environ.get("AFFINIS_DATA", ROOT / "../shared/data"))
WORK = ROOT / "target/peers"
K, QUERIES = 10, 1000
WIDTHS = [16, 24, 32, 48, 64, 96, 128, 192, 256, 512]
SETS = {
    "glove-100k": dict(source="glove", rows=100_000),
    "glove-340k": dict(source="glove", rows=340_000, slow=True, churn=True),
    "text-180k": dict(source="text", rows=10**9, slow=True),
    "minilm-12k": dict(source="minilm", rows=10**9),
}
GROWTH = [10_000, 30_000, 100_000, 300_000, 1_000_000]


def driver(task):
    """Runs the Rust part on a task and returns the JSON that it prints."""
    path = WORK / "task.json"
    path.write_text(json.dumps(task, default=str))
    out = subprocess.run([os.environ["AFFINIS_PEERS"], str(path)], check=True, capture_output=True, text=True)
    return json.loads(out.stdout)


def normalise(x):
    x = np.ascontiguousarray(x, dtype=np.float32)
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


def load(source):
    """Vectors, and the labels by which a simulated user judges."""
    if source == "glove":
        x = normalise(np.load(DATA / "ann/wink_glove_341k_x100.f16.npy").astype(np.float32))
        # The words have no labels: this user groups them into 100 clusters of a random 20-dimensional projection.
        rng = np.random.default_rng(1)
        seen = x @ rng.normal(size=(x.shape[1], 20)).astype(np.float32)
        centres = seen[rng.choice(len(x), 100, replace=False)]
        labels = faiss.knn(seen, centres, 1)[1][:, 0]
        return x, labels.astype(np.uint32)
    if source == "minilm":
        parts = [np.load(DATA / f"text/{name}-6000.minilm384.f16.npy") for name in ("wordnet", "debian")]
        lines = [(DATA / f"text/{name}-6000.tsv").read_text().splitlines() for name in ("wordnet", "debian")]
        return normalise(np.concatenate(parts).astype(np.float32)), number(line.split("\t")[0] for part in lines for line in part)
    lines = []
    for name in ("wordnet-lemmas-glosses", "debian-name-descriptions"):
        lines += gzip.open(DATA / f"text/{name}.tsv.gz", "rt").read().splitlines()
    lines = [line.split("\t", 1) for line in lines if "\t" in line]
    vectors = WORK / "text.f32"
    if not vectors.exists():
        minilm = subprocess.run([ROOT / "tools/get-minilm.sh"], check=True, capture_output=True, text=True).stdout.strip()
        (WORK / "text.txt").write_text("\n".join(line[1] for line in lines))
        driver({"encode": WORK / "text.txt", "model": minilm, "out": WORK / "text.part"})
        (WORK / "text.part").rename(vectors)
    return normalise(np.fromfile(vectors, np.float32).reshape(len(lines), -1)), number(line[0] for line in lines)


def number(labels):
    labels = list(labels)
    known = {label: i for i, label in enumerate(sorted(set(labels)))}
    return np.array([known[label] for label in labels], np.uint32)


def hold_out(x, labels, rows):
    """Splits off random rows as queries, which are not in the base."""
    order = np.random.default_rng(7).permutation(len(x))
    queries, base = order[:QUERIES], np.sort(order[QUERIES:QUERIES + rows])
    return x[base], labels[base], x[queries]


def nearest(base, queries):
    return faiss.knn(queries, base, K)[1].astype(np.uint32)


def measured(widths, queries, truth, search):
    """Recall, and rate as the best of three rounds."""
    points = []
    for ef in widths:
        best = float("inf")
        for _ in range(3):
            start = time.thread_time()
            found = search(queries, ef)
            best = min(best, time.thread_time() - start)
        recall = np.mean([len(set(f) & set(t)) for f, t in zip(found.tolist(), truth.tolist())]) / K
        points.append({"ef": ef, "recall": float(recall), "qps": len(queries) / best})
    return points


def resident():
    # Freed memory that the allocator keeps would be counted for the next peer.
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


def padded(x):
    """hnswlib's fast path needs a multiple of 16 numbers; zeros change no distance."""
    return np.pad(x, ((0, 0), (0, -x.shape[1] % 16)))


def peers(base, queries, truth):
    n, dim = base.shape
    done = []

    def peer(name, build, search, widths=WIDTHS):
        before, cpu = resident(), time.process_time()
        index = build()
        build_cpu, memory = time.process_time() - cpu, resident() - before
        curve = measured(widths, queries, truth, lambda q, ef: search(index, q, ef))
        done.append({"name": name, "build_cpu": build_cpu, "rss_mib": memory, "curve": curve})
        print(f"  {name}: build {build_cpu:.1f} cpu-s", file=sys.stderr, flush=True)

    def hnswlib_build():
        index = hnswlib.Index("l2", dim + -dim % 16)
        index.init_index(n, M=16, ef_construction=200)
        index.add_items(padded(base), num_threads=2)
        return index

    def hnswlib_search(index, q, ef):
        index.set_ef(max(ef, K))
        return index.knn_query(padded(q), k=K, num_threads=1)[0]

    def faiss_build():
        index = faiss.IndexHNSWFlat(dim, 16)
        index.hnsw.efConstruction = 200
        faiss.omp_set_num_threads(2)
        index.add(base)
        faiss.omp_set_num_threads(1)
        return index

    def faiss_search(index, q, ef):
        index.hnsw.efSearch = max(ef, K)
        return index.search(q, K)[1]

    def usearch_build():
        index = Usearch(ndim=dim, metric="l2sq", dtype="f32", connectivity=16, expansion_add=200)
        index.add(np.arange(n), base, threads=2)
        return index

    def usearch_search(index, q, ef):
        index.expansion_search = max(ef, K)
        return index.search(q, K, threads=1).keys

    peer("hnswlib", hnswlib_build, hnswlib_search)
    peer("faiss HNSW", faiss_build, faiss_search)
    peer("usearch", usearch_build, usearch_search)
    faiss.omp_set_num_threads(1)

    def flat():
        index = faiss.IndexFlatL2(dim)
        index.add(base)
        return index

    peer("scan (faiss flat)", flat, lambda index, q, _: index.search(q, K)[1], widths=[0])
    return done


def write(name, array):
    path = WORK / name
    np.ascontiguousarray(array).tofile(path)
    return path


def run(name):
    print(name, file=sys.stderr, flush=True)
    spec = SETS[name]
    x, labels = load(spec["source"])
    base, labels, queries = hold_out(x, labels, spec["rows"])
    del x
    faiss.omp_set_num_threads(2)
    truth = nearest(base, queries)
    task = dict(dim=base.shape[1], k=K, widths=WIDTHS, base=write("base.f32", base), queries=write("queries.f32", queries),
                truth=write("truth.u32", truth), labels=write("labels.u32", labels), matrix=WORK / "matrix.f64",
                truth_learned=None, churn=False)
    learned = driver(task | {"who": "learn"})
    matrix = np.fromfile(task["matrix"], np.float64).reshape(base.shape[1], -1)
    factor = np.linalg.cholesky(matrix).astype(np.float32)
    mapped, mapped_queries = base @ factor, queries @ factor
    truth_learned = nearest(mapped, mapped_queries)
    task["truth_learned"] = write("truth_learned.u32", truth_learned)
    ours = driver(task | {"who": "affinis", "churn": spec.get("churn", False)})
    print(f"  affinis: build {ours['build_cpu']:.1f} cpu-s", file=sys.stderr, flush=True)
    results = [ours] + peers(base, queries, truth)
    if not spec.get("slow"):
        results.append(driver(task | {"who": "hnsw_rs"}))
    return {"set": name, "items": len(base), "dim": base.shape[1], "condition": learned["condition"], "results": results}


def growth():
    """Size by size; above 340,000 items the points are synthetic: sums of two real ones, normalised."""
    x, _ = load("glove")
    rng = np.random.default_rng(3)
    rows = []
    for n in GROWTH:
        print(f"growth {n}", file=sys.stderr, flush=True)
        pool = x if n <= len(x) - QUERIES else normalise(x[rng.integers(len(x), size=n + QUERIES)] + .6 * x[rng.integers(len(x), size=n + QUERIES)])
        base, _, queries = hold_out(pool, np.zeros(len(pool), np.uint32), n)
        faiss.omp_set_num_threads(2)
        task = dict(who="affinis", dim=100, k=K, widths=[64], base=write("base.f32", base), queries=write("queries.f32", queries),
                    truth=write("truth.u32", nearest(base, queries)), matrix=None, truth_learned=None, labels=None, churn=False)
        rows.append({"items": n, "synthetic": n > len(x) - QUERIES} | driver(task))
    return rows


def main():
    WORK.mkdir(parents=True, exist_ok=True)
    wanted = sys.argv[1:] or [name for name, spec in SETS.items() if not spec.get("slow")]
    machine = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    document = report.load(ROOT)
    document |= {"machine": machine, "cores": os.cpu_count(), "commit": commit, "date": time.strftime("%Y-%m-%d")}
    for name in wanted:
        if name == "growth":
            document["growth"] = growth()
        else:
            document.setdefault("sets", {})[name] = run(name)
        report.write(ROOT, document)


if __name__ == "__main__":
    main()
