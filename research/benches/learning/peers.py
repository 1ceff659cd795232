"""Other libraries' learners on the splits that `learning --tables` takes, and the table of ranks.

    python3 -m venv venv && venv/bin/pip install -r research/benches/learning/requirements.txt
    venv/bin/python research/benches/learning/peers.py splits --tables DIR --out splits.npz --names iris,wine --seeds 3
    cargo test -p affinis-research --bench learning -- --tables DIR --splits splits.npz --out affinis.json
    venv/bin/python research/benches/learning/peers.py run --tables DIR --splits splits.npz --out peers.json
    venv/bin/python research/benches/learning/peers.py ranks affinis.json peers.json
"""

import os

# One thread, before numpy is loaded: CPU seconds are compared.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import argparse
import json
import time
import warnings

import numpy as np

FILES = {
    "libras": "keel_movement_libras", "wdbc": "breast_cancer_wdbc", "pima": "pimaindiansdiabetes",
    "segment": "keel_segment", "spambase": "keel_spambase", "penbased": "keel_penbased",
    "optdigits": "keel_optdigits", "texture": "keel_texture", "letter": "letterrecognition",
}


def read(directory, name):
    with open(f"{directory}/{FILES.get(name, name)}.csv", encoding="utf-8") as file:
        cells = [line.rstrip("\n").split(",") for line in file][1:]
    rows = np.array([row[:-1] for row in cells], dtype=float)
    return rows, np.unique([row[-1] for row in cells], return_inverse=True)[1]


def splits(args):
    arrays = {}
    for name in args.names.split(","):
        _, classes = read(args.tables, name)
        rows = np.sort(np.random.default_rng(99).permutation(len(classes))[: args.most])
        classes = classes[rows]
        folds = np.zeros((args.seeds, len(classes)), dtype=np.uint8)
        for seed in range(args.seeds):
            random = np.random.default_rng(seed)
            for members in (np.flatnonzero(classes == c) for c in np.unique(classes)):
                folds[seed, random.permutation(members)[: len(members) // 2]] = 1
        arrays[f"{name}.rows"], arrays[f"{name}.fold"] = rows, folds
    np.savez(args.out, **arrays)


def error(known, classes, asked, truth):
    """5 nearest neighbours by majority, ties to the nearest."""
    distances = (known**2).sum(1) - 2 * asked @ known.T
    near = classes[np.argsort(distances, 1, kind="stable")[:, :5]]
    votes = (near[:, :, None] == near[:, None, :]).sum(2)
    return float((near[np.arange(len(near)), votes.argmax(1)] != truth).mean())


def learners():
    import metric_learn
    from sklearn.neighbors import NeighborhoodComponentsAnalysis

    class Identity:
        def fit(self, rows, classes):
            return self

        def transform(self, rows):
            return rows

    return {
        "Euclid, standardised": lambda seed: Identity(),
        "LMNN (metric-learn)": lambda seed: metric_learn.LMNN(n_neighbors=3, random_state=seed),
        "NCA (scikit-learn)": lambda seed: NeighborhoodComponentsAnalysis(random_state=seed),
        "ITML (metric-learn)": lambda seed: metric_learn.ITML_Supervised(random_state=seed),
    }


def run(args):
    given = np.load(args.splits)
    names = [key.removesuffix(".rows") for key in given.files if key.endswith(".rows")]
    results = []
    for learner, make in learners().items():
        table = {}
        for name in names:
            rows, classes = (part[given[f"{name}.rows"]] for part in read(args.tables, name))
            errors, seconds = [], []
            for split in range(2 * len(given[f"{name}.fold"])):
                test = given[f"{name}.fold"][split // 2] == split % 2
                mean, deviation = rows[~test].mean(0), rows[~test].std(0)
                scaled = (rows - mean) / np.where(deviation > 0, deviation, 1)
                start = time.process_time()
                try:
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")
                        model = make(split).fit(scaled[~test], classes[~test])
                    seconds.append(time.process_time() - start)
                    images = model.transform(scaled)
                    errors.append(error(images[~test], classes[~test], images[test], classes[test]))
                except (ValueError, RuntimeError, np.linalg.LinAlgError) as problem:
                    print(f"{learner}, {name}: {problem}")
                    seconds.append(time.process_time() - start)
                    errors.append(None)
            table[name] = {"err": errors, "fit": seconds}
            known = [e for e in errors if e is not None]
            print(f"{learner}, {name}: {100 * np.mean(known) if known else float('nan'):.2f} %, {np.mean(seconds):.3f} s")
        results.append({"name": learner, "results": table})
    with open(args.out, "w", encoding="utf-8") as file:
        json.dump(results, file)


def ranks(args):
    results = []
    for path in args.results:
        with open(path, encoding="utf-8") as file:
            loaded = json.load(file)
        results += loaded if isinstance(loaded, list) else [loaded]
    names = sorted(set.intersection(*(set(r["results"]) for r in results)))

    def mean(result, name):
        known = [e for e in result["results"][name]["err"] if e is not None]
        return np.mean(known) if known else 1.0

    errors = np.array([[mean(r, name) for name in names] for r in results])
    # The rank among learners; equals share the mean of theirs.
    rank = ((errors[None] < errors[:, None]).sum(1) + ((errors[None] == errors[:, None]).sum(1) + 1) / 2)
    fit = np.array([[np.mean(r["results"][name]["fit"]) for name in names] for r in results])
    print("| learner | " + " | ".join(names) + " | mean rank | CPU seconds a fit, all tables |")
    print("|---" * (len(names) + 3) + "|")
    for i in np.argsort(rank.mean(1)):
        cells = " | ".join(f"{100 * e:.1f}" for e in errors[i])
        print(f"| {results[i]['name']} | {cells} | {rank[i].mean():.2f} | {fit[i].sum():.2f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for command in (splits, run):
        sub = commands.add_parser(command.__name__)
        sub.add_argument("--tables", required=True)
        sub.add_argument("--out", required=True)
        sub.set_defaults(command=command)
        if command is splits:
            sub.add_argument("--names", required=True)
            sub.add_argument("--seeds", type=int, default=3)
            sub.add_argument("--most", type=int, help="take at most so many rows of a table, drawn at random")
        else:
            sub.add_argument("--splits", required=True)
    sub = commands.add_parser("ranks")
    sub.add_argument("results", nargs="+")
    sub.set_defaults(command=ranks)
    args = parser.parse_args()
    args.command(args)


if __name__ == "__main__":
    main()
