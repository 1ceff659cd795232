#!/usr/bin/env python3
"""Measures search by words, and by words and meaning, with the command line.

usage: measure_words.py BINARY [--data ../shared/data/text] [--store DIR]

Needs no package. Makes stores in a temporary directory (or in DIR, which is kept) and prints:

- the ranking beside BM25 counted here: 1,000 queries of one to four words over all Debian descriptions and WordNet
  glosses, of which only runs of a to z are kept, so that the terms are the same;
- known items: 1,000 Debian packages asked for by name, and by name with one typing error: mean reciprocal rank among ten
  by meaning, by words, and by both;
- judged sets: 500 texts of each set of 6,000 as queries, relevant what has the same label: nDCG@10 of the three;
- the same after 300 judgements and a refit, of the ten hybrid answers to 30 other texts, five times: the weight of the
  words, and nDCG@10 of the three under what is active then;
- the time of the processor for a query, and the size of the index beside the texts.
"""

import argparse
import gzip
import json
import math
import random
import re
import resource
import shutil
import subprocess
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

KINDS = {"meaning": [], "words": ["--words-only"], "both": ["--hybrid"]}
LETTERS = "abcdefghijklmnopqrstuvwxyz"


class Stores:
    def __init__(self, binary, home):
        self.binary, self.home = binary, Path(home)

    def run(self, store, *arguments):
        subprocess.run([self.binary, "--store", self.home / store, *arguments], check=True, stdout=subprocess.DEVNULL)

    def fill(self, store, items, *settings):
        if (self.home / store).exists():
            return
        path = self.home / f"{store}.jsonl"
        path.write_text("".join(json.dumps(item) + "\n" for item in items))
        self.run(store, "create", "c", *settings)
        self.run(store, "add", "c", path)

    def search(self, store, queries, *settings):
        """The answers by topic, as lists of ids with scores, and the seconds of the processor."""
        topics, run = self.home / "topics.tsv", self.home / "answers.run"
        topics.write_text("".join(f"{topic}\t{text}\n" for topic, text in queries))
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.run(store, "search", "c", "--queries", topics, "--run", run, *settings)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        answers = defaultdict(list)
        for line in run.read_text().splitlines():
            topic, _, item, _, score, _ = line.split(" ")
            answers[topic].append((item, float(score)))
        return answers, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def rounded(length):
    """A length as Lucene's index keeps it, in one byte."""
    if length < 40:
        return length
    length -= 24
    shift = length.bit_length() - 4
    return 24 + (length >> shift << shift)


def bm25(texts, queries):
    """The ten best texts of each query, as numbers with scores."""
    postings, lengths = defaultdict(list), []
    for number, text in enumerate(texts):
        words = text.split()
        lengths.append(len(words))
        for word, count in Counter(words).items():
            postings[word].append((number, count))
    mean = sum(lengths) / len(texts)
    lengths = [rounded(length) for length in lengths]
    for topic, query in queries:
        scores = defaultdict(float)
        for word in query.split():
            found = postings[word]
            idf = math.log(1 + (len(texts) - len(found) + 0.5) / (len(found) + 0.5))
            for number, count in found:
                scores[number] += idf * count / (count + 1.2 * (0.25 + 0.75 * lengths[number] / mean))
        yield topic, sorted(scores.items(), key=lambda entry: (-entry[1], entry[0]))[:10]


def compare(stores, texts, chance):
    plain = [" ".join(re.findall("[a-z]+", text.lower())) or "x" for text in texts]
    queries = []
    while len(queries) < 1000:
        words = [word for word in chance.choice(plain).split() if len(word) > 2]
        if len(words) > 2:
            queries.append((f"q{len(queries)}", " ".join(chance.sample(words, chance.randint(1, min(4, len(words)))))))
    items = ({"id": f"t{number:06}", "text": text, "vector": [0.0, 1.0]} for number, text in enumerate(plain))
    stores.fill("plain", items, "--dim", "2", "--keywords", "simple")
    answers, _ = stores.search("plain", queries, "--words-only")
    most, other = 0.0, 0
    for topic, expected in bm25(plain, queries):
        assert len(answers[topic]) == len(expected), topic
        for (item, score), (number, counted) in zip(answers[topic], expected):
            most = max(most, abs(score - counted))
            other += item != f"t{number:06}" and abs(score - counted) > 1e-5
    print(f"BM25 of {len(texts):,} texts, 1,000 queries: scores differ by at most {most:.1e}, {other} other items")


def misspelt(name, chance):
    while True:
        at, letter = chance.randrange(len(name)), chance.choice(LETTERS)
        forms = (name[:at] + name[at + 1:], name[:at] + letter + name[at:], name[:at] + letter + name[at + 1:],
                 name[:at] + name[at + 1:at + 2] + name[at] + name[at + 2:])
        form = chance.choice(forms)
        if form != name and form and form[0].isalnum():
            return form


def known_items(stores, texts, names, chance):
    items = ({"id": f"t{number:06}", "text": text} for number, text in enumerate(texts))
    stores.fill("texts", items, "--keywords", "en")
    chosen = chance.sample(range(len(names)), 1000)
    exact = [(f"t{number:06}", names[number]) for number in chosen]
    wrong = [(topic, misspelt(name, chance)) for topic, name in exact]
    for title, queries in (("by name", exact), ("with a typing error", wrong)):
        for kind, settings in KINDS.items():
            answers, seconds = stores.search("texts", queries, *settings)
            ranks = [[item for item, _ in answers[topic]] for topic, _ in queries]
            reciprocal = [1 / (rank.index(topic) + 1) for rank, (topic, _) in zip(ranks, queries) if topic in rank]
            print(f"packages {title}, {kind}: MRR {sum(reciprocal) / 1000:.3f}, {seconds:.2f} ms of the processor a query")
    files = (stores.home / "texts" / "sled" / "segments").glob("words-*")
    share = sum(file.stat().st_size for file in files) / sum(len(text.encode()) for text in texts)
    print(f"the index of words takes {share:.2f} times the bytes of the texts")


def labelled(data, name):
    lines = (data / f"{name}-6000.tsv").read_text().splitlines()
    return zip(*(line.split("\t", 1) for line in lines))


def ndcg(stores, store, queries, labels, *settings):
    """Mean nDCG@10 of texts as queries, where what has the same label is relevant."""
    best = sum(1 / math.log2(rank + 2) for rank in range(10))
    answers, _ = stores.search(store, queries, "-k", "11", *settings)
    total = 0.0
    for topic, _ in queries:
        found = [item for item, _ in answers[topic] if item != topic][:10]
        gains = (labels[int(item)] == labels[int(topic)] for item in found)
        total += sum(gain / math.log2(rank + 2) for rank, gain in enumerate(gains)) / best
    return total / len(queries)


def judged(stores, data, name, chance):
    labels, texts = labelled(data, name)
    stores.fill(name, ({"id": str(number), "text": text} for number, text in enumerate(texts)), "--keywords", "en")
    chosen = chance.sample(range(len(texts)), 500)
    queries = [(str(number), texts[number]) for number in chosen]
    for kind, settings in KINDS.items():
        print(f"{name}, {kind}: nDCG@10 {ndcg(stores, name, queries, labels, *settings):.3f}")
    others = sorted(set(range(len(texts))) - set(chosen))
    for seed in range(5):
        asked = [(str(number), texts[number]) for number in random.Random(seed).sample(others, 30)]
        learned(stores, name, labels, (asked, queries))


def learned(stores, name, labels, texts):
    """Judges answers to some texts, and measures those to others."""
    asked, queries = texts
    store = f"{name}-judged"
    shutil.rmtree(stores.home / store, ignore_errors=True)
    shutil.copytree(stores.home / name, stores.home / store)
    answers, _ = stores.search(store, asked, "-k", "11", "--hybrid")
    lines = []
    for topic, text in asked:
        for item in [item for item, _ in answers[topic] if item != topic][:10]:
            lines.append({"query": text, "item": item, "relevant": labels[int(item)] == labels[int(topic)]})
    path = stores.home / "judged.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    stores.run(store, "judge", "c", path)
    command = [stores.binary, "--store", stores.home / store, "refit", "c", "--json"]
    report = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    fusion = report["fusion"]
    measured = {kind: ndcg(stores, store, queries, labels, *settings) for kind, settings in KINDS.items()}
    figures = ", ".join(f"{kind} {value:.4f}" for kind, value in measured.items())
    promoted = "a new metric" if report["promoted"] else "the same metric"
    print(f"{name}, {len(lines)} judgements: {promoted}, words weigh {fusion['words']}; nDCG@10 {figures}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/text"))
    parser.add_argument("--store")
    given = parser.parse_args()
    texts, names = [], []
    for name in ("debian-name-descriptions", "wordnet-lemmas-glosses"):
        with gzip.open(given.data / f"{name}.tsv.gz", "rt") as lines:
            for line in lines:
                texts.append(line.rstrip("\n").split("\t", 1)[1])
        if not names:
            names = [text.split(":", 1)[0] for text in texts]
    with tempfile.TemporaryDirectory() as home:
        stores = Stores(given.binary, given.store or home)
        stores.home.mkdir(parents=True, exist_ok=True)
        known_items(stores, texts, names, random.Random(1))
        for name in ("debian", "wordnet"):
            judged(stores, given.data, name, random.Random(5))
        compare(stores, texts, random.Random(1))


if __name__ == "__main__":
    main()
