#!/usr/bin/env python3
"""Checks the borders between the modules of the crate `affinis`, and which crates know what.

- The top-level modules of `src/` import each other without a cycle.
- So do the submodules of `src/index/`, and of any other module named in NESTED.
- Only one module knows each of the crates in OWNERS.
- No module imports what FORBIDDEN denies it.
- Only the crates in KEEPERS depend on what they keep from the others; tests and examples may.

A module is a file or a directory. Imports are paths that begin with `crate::`, and in nested modules those
that begin with `super::` and leave a submodule. Code below `#[cfg(test)]` at the top level of a file, and files named
`tests`, are left out: tests may use the whole crate.

Prints the modules in an order in which each imports earlier ones only. Exits with 1 where a border is crossed.
"""

import re
import sys
import tomllib
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent / "src"
NESTED = ["index"]
OWNERS = {
    "sled": {"storage"},
    "hnsw_rs": {"index"},
    "rten": {"encode"},
    "prost": {"encode"},
    "rten_tensor": {"encode"},
    "ort": {"encode"},
    "text_splitter": {"encode"},
    "tokenizers": {"encode"},
    "tantivy": {"keywords"},
    "frostem": {"keywords"},
}
FORBIDDEN = {
    "learning": {"items", "storage", "index", "collection", "store"},
    "model": {"learning", "items", "storage", "index", "collection", "store"},
    "storage": {"learning", "items", "index", "collection", "store"},
    "index": {"learning", "items", "storage", "collection", "store"},
}
# Which crates may depend on a crate, tests and examples aside: the store is no asynchronous program.
KEEPERS = {
    "tokio": {"affinis-pgvector", "affinis-server"},
    "axum": {"affinis-server"},
    "ureq": {"affinis-client"},
    "affinis-server": {"affinis-cli"},
    "affinis-client": {"affinis-cli"},
}
# The front door, and the entries of the fuzz targets, may import everything.
FREE = {"lib", "fuzz"}


def code(path):
    """The text of a file without comments and without its top-level test modules."""
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"//[^\n]*", "", text)
    return re.split(r"^#\[cfg\((?:test|any\(test[^\]]*)\)\]\s*mod \w+ *\{", text, flags=re.M)[0]


def files(directory):
    for path in sorted(directory.rglob("*.rs")):
        relative = path.relative_to(directory)
        if "tests" not in relative.parts and path.stem != "tests":
            yield path, relative


def module_of(relative):
    return relative.parts[0].removesuffix(".rs")


def paths(text, prefix):
    """First segments of the paths below a prefix, those of grouped imports included."""
    for match in re.finditer(re.escape(prefix) + r"(\w+|\{)", text):
        if match.group(1) != "{":
            yield match.group(1)
            continue
        depth, start, group = 1, match.end(), match.end()
        while depth:
            depth += {"{": 1, "}": -1}.get(text[group], 0)
            group += 1
        inner = re.sub(r"\{[^{}]*\}", "", text[start : group - 1])
        for part in inner.split(","):
            yield re.match(r"\s*(\w*)", part).group(1)


def graph(directory, prefix):
    """Imports of each module of a directory from its siblings, each with a file that has it."""
    modules = {module_of(relative) for _, relative in files(directory)} - {"mod"}
    edges = {module: {} for module in modules}
    for path, relative in files(directory):
        module = module_of(relative)
        if module not in modules or module in FREE:
            continue
        depth = len(relative.parts) - (1 if relative.name == "mod.rs" else 0)
        prefixes = [prefix]
        if directory != SOURCE:
            prefixes.append("super::" * depth)
        text = code(path)
        for each in prefixes:
            pattern = text if each != "super::" * depth else re.sub(r"super::" * (depth + 1), "", text)
            for name in paths(pattern, each):
                if name in modules and name != module:
                    edges[module].setdefault(name, path)
    return edges


def order(edges):
    """The modules, those that are imported first; and a cycle, if there is one."""
    done, stack = [], []

    def visit(module):
        if module in done:
            return None
        if module in stack:
            return stack[stack.index(module) :] + [module]
        stack.append(module)
        for other in sorted(edges[module]):
            cycle = visit(other)
            if cycle:
                return cycle
        stack.pop()
        done.append(module)
        return None

    for module in sorted(edges):
        cycle = visit(module)
        if cycle:
            return done, cycle
    return done, None


def dependants():
    """Dependencies that a crate of the workspace has and may not have."""
    root = SOURCE.parent
    members = tomllib.loads((root / "Cargo.toml").read_text(encoding="utf-8"))["workspace"]["members"]
    for member in [".", *members]:
        manifest = tomllib.loads((root / member / "Cargo.toml").read_text(encoding="utf-8"))
        name = manifest["package"]["name"]
        for crate in manifest.get("dependencies", {}):
            if name not in KEEPERS.get(crate, {name}):
                yield f"only {', '.join(sorted(KEEPERS[crate]))} may depend on {crate}: {name}"


def main():
    wrong = list(dependants())
    checks = [(SOURCE, "crate::")] + [(SOURCE / name, f"crate::{name}::") for name in NESTED]
    for directory, prefix in checks:
        edges = graph(directory, prefix)
        modules, cycle = order(edges)
        name = directory.relative_to(SOURCE.parent)
        if cycle:
            steps = zip(cycle, cycle[1:])
            files_of = "; ".join(f"{a} imports {b} in {edges[a][b].relative_to(SOURCE.parent)}" for a, b in steps)
            wrong.append(f"{name}: a cycle: {files_of}")
        else:
            print(f"{name}: {' < '.join(modules)}")
        if directory == SOURCE:
            for module, denied in FORBIDDEN.items():
                for other in sorted(denied & set(edges.get(module, {}))):
                    path = edges[module][other].relative_to(SOURCE.parent)
                    wrong.append(f"{module} must not import {other}: {path}")
    for path, relative in files(SOURCE):
        text, module = code(path), module_of(relative)
        for crate, owners in OWNERS.items():
            if module not in owners and re.search(rf"\b{crate}::", text):
                wrong.append(f"only {', '.join(sorted(owners))} may use {crate}: {path.relative_to(SOURCE.parent)}")
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
