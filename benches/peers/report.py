"""Writes the measurements of run.py to bench-results/peers.json, and as tables and SVG pictures to docs/benchmarks.md."""

import json
import math

COLOURS = {"affinis": "#c0392b", "affinis, learned": "#8e44ad", "hnswlib": "#2471a3", "faiss HNSW": "#1e8449",
           "usearch": "#b9770e", "hnsw_rs": "#5d6d7e", "scan (faiss flat)": "#aab7b8"}
BEGIN, END = "<!-- figures: made by benches/peers/run.sh -->", "<!-- end of figures -->"


def load(root):
    path = root / "bench-results/peers.json"
    return json.loads(path.read_text()) if path.exists() else {}


def at_recall(curve, recall):
    """The rate at a recall, interpolated between the two points around it; None if the recall is not reached."""
    points = sorted(curve, key=lambda p: p["recall"])
    for a, b in zip(points, points[1:]):
        if a["recall"] <= recall <= b["recall"] and a["recall"] < b["recall"]:
            share = (recall - a["recall"]) / (b["recall"] - a["recall"])
            return math.exp(math.log(a["qps"]) * (1 - share) + math.log(b["qps"]) * share)
    if points and points[0]["recall"] >= recall:
        return max(p["qps"] for p in points)
    return None


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows])


def rate(x):
    return "-" if x is None else f"{x:,.0f}"


def ratio(a, b):
    return "-" if not a or not b else f"{a / b:.2f}x"


def picture(title, series):
    """Recall against rate, the rate on a logarithmic scale."""
    width, height, left, bottom, top, right = 720, 420, 64, 48, 36, 170
    shown = [(name, sorted(p, key=lambda p: p["recall"])) for name, p in series]
    points = [p for _, curve in shown for p in curve if p["recall"] >= 0.8]
    low, high = (f(math.log10(p["qps"]) for p in points) for f in (min, max))
    low, high = math.floor(low * 4) / 4, math.ceil(high * 4) / 4
    x = lambda r: left + (r - 0.8) / 0.2 * (width - left - right)
    y = lambda q: height - bottom - (math.log10(q) - low) / max(high - low, 1e-9) * (height - bottom - top)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
           f'<rect width="{width}" height="{height}" fill="white"/><text x="{left}" y="20" font-size="14">{title}</text>']
    for i in range(5):
        r = 0.8 + 0.05 * i
        out.append(f'<line x1="{x(r):.1f}" y1="{top}" x2="{x(r):.1f}" y2="{height - bottom}" stroke="#ddd"/>'
                   f'<text x="{x(r):.1f}" y="{height - bottom + 16}" text-anchor="middle">{r:.2f}</text>')
    for exponent in range(math.floor(low), math.ceil(high) + 1):
        for lead in (1, 2, 5):
            q = lead * 10**exponent
            if low <= math.log10(q) <= high:
                out.append(f'<line x1="{left}" y1="{y(q):.1f}" x2="{width - right}" y2="{y(q):.1f}" stroke="#ddd"/>'
                           f'<text x="{left - 6}" y="{y(q) + 4:.1f}" text-anchor="end">{q:,}</text>')
    out.append(f'<text x="{(left + width - right) / 2}" y="{height - 12}" text-anchor="middle">recall@10</text>'
               f'<text x="14" y="{(height - bottom + top) / 2}" transform="rotate(-90 14 {(height - bottom + top) / 2})" text-anchor="middle">queries per CPU second</text>')
    for i, (name, curve) in enumerate(shown):
        colour = COLOURS.get(name, "#333")
        line = [(x(p["recall"]), y(p["qps"])) for p in curve if p["recall"] >= 0.8]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in line)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{colour}"/>' for a, b in line]
        out.append(f'<text x="{width - right + 12}" y="{top + 14 + 18 * i}" fill="{colour}">{name}</text>')
    return "\n".join(out + ["</svg>\n"])


def section(data, pictures):
    name, results = data["set"], {r["name"]: r for r in data["results"]}
    ours, reference = results["affinis"], results["hnswlib"]
    series = [(n, r["curve"]) for n, r in results.items() if n != "scan (faiss flat)"]
    learned = ours.get("learned_optimized")
    if learned:
        series.insert(1, ("affinis, learned", learned))
    pictures[f"{name}.svg"] = picture(f"{name}: {data['items']:,} x {data['dim']}", series)
    rows = []
    for n, r in results.items():
        q90, q95, q99 = (at_recall(r["curve"], target) for target in (0.9, 0.95, 0.99))
        rows.append([n, rate(q90), rate(q95), rate(q99), ratio(q95, at_recall(reference["curve"], 0.95)),
                     f"{r['build_cpu']:.1f}", ratio(r["build_cpu"], reference["build_cpu"]), f"{r['rss_mib']:.0f}"])
    text = [f"### {name}: {data['items']:,} x {data['dim']}\n", f"![recall against rate](benchmarks/{name}.svg)\n",
            table(["", "q/s at recall .90", ".95", ".99", ".95 against hnswlib", "build, CPU s", "against hnswlib", "memory once built, MiB"], rows), ""]
    default = ours["default"][0]
    facts = [["recall and rate with no setting at all", f"{default['recall']:.3f}, {rate(default['qps'])} q/s"],
             ["durable adds of 1,000, graphs built in the background meanwhile", f"{ours['add_items_per_s']:,.0f} items/s"],
             ["opened to the first answer", f"{ours['open_ms']:.0f} ms"],
             ["on disk / raw f32", f"{ours['disk_mib']:.0f} MiB / {data['items'] * data['dim'] * 4 / 2**20:.0f} MiB"],
             ["memory of a process that opens it and answers 1,000 queries: its own / of mapped files",
              f"{ours['open_own_mib']:.0f} / {ours['open_mapped_mib']:.0f} MiB" if "open_own_mib" in ours else "-"]]
    if learned:
        plain, after = at_recall(ours["curve"], 0.95), at_recall(learned, 0.95)
        facts += [[f"a learned metric (condition {data['condition']:.0f}) promoted: to its first answer", f"{ours['first_answer_ms']:.0f} ms"],
                  ["q/s at .95 under it, on the old graph / after `optimize` / Euclidean",
                   f"{rate(at_recall(ours['learned_old_graph'], 0.95))} / {rate(after)} / {rate(plain)}"],
                  ["recall under it with no setting", f"{ours['learned_default'][0]['recall']:.3f}"],
                  ["`optimize`, CPU s", f"{ours['optimize_cpu']:.1f}"]]
    text += [table(["affinis on this set", ""], facts), ""]
    if "churn" in ours:
        head = ["step, under the learned metric", "recall@10 by default", "distances a query", "items", "deleted items in graphs", "segments"]
        rows = [[s["step"], f"{s['recall']:.3f}", s["visited"], f"{s['items']:,}", f"{s['deleted']:,}", s["segments"]] for s in ours["churn"]]
        text += [table(head, rows), ""]
    return "\n".join(text)


def growth(rows):
    head = ["items", "build, CPU s", "per 1,000", "recall, q/s by default", "opened: own / mapped MiB", "disk, MiB", "open, ms"]
    body = [[f"{r['items']:,}" + (" (synthetic)" if r["synthetic"] else ""), f"{r['build_cpu']:.1f}", f"{1000 * r['build_cpu'] / r['items']:.3f}",
             f"{r['default'][0]['recall']:.3f}, {rate(r['default'][0]['qps'])}", f"{r['open_own_mib']:.0f} / {r['open_mapped_mib']:.0f}" if "open_own_mib" in r else "-", f"{r['disk_mib']:.0f}", f"{r['open_ms']:.0f}"] for r in rows]
    return "### Growth, 100 dimensions\n\n" + table(head, body) + "\n"


def write(root, document):
    (root / "bench-results").mkdir(exist_ok=True)
    (root / "bench-results/peers.json").write_text(json.dumps(document, indent=1))
    pictures = {}
    parts = [f"{document['machine']}, {document['cores']} cores, commit {document['commit']}, {document['date']}.\n"]
    parts += [section(data, pictures) for data in document.get("sets", {}).values()]
    if "growth" in document:
        parts.append(growth(document["growth"]))
    folder = root / "docs/benchmarks"
    folder.mkdir(exist_ok=True)
    for name, svg in pictures.items():
        (folder / name).write_text(svg)
    page = root / "docs/benchmarks.md"
    text = page.read_text()
    head, rest = text.split(BEGIN)
    page.write_text(head + BEGIN + "\n\n" + "\n".join(parts) + "\n" + END + rest.split(END)[1])
    print("\n".join(parts))
