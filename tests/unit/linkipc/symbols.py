"""The public header, the symbol map and what the library exports are the same set of names; and the
library needs nothing but libc.

usage: symbols.py HEADER MAP LIBRARY"""

import re
import subprocess
import sys


def names_of_header(path):
    with open(path, encoding="utf-8") as f:
        text = re.sub(r"/\*.*?\*/", "", f.read(), flags=re.S)
    # A declaration: a type, the name, and an argument list; not a typedef of a function pointer.
    return set(re.findall(r"^(?!typedef)[a-z][\w \*]*?\b(linkipc_\w+)\(", text, flags=re.M))


def names_of_map(path):
    with open(path, encoding="utf-8") as f:
        text = f.read()
    match = re.fullmatch(r"LINKIPC_1 \{\s*global:\s*(.*?)\s*local:\s*\*;\s*\};\s*", text, re.S)
    if not match:
        sys.exit(f"{path}: is not one version LINKIPC_1 that hides all it does not name")
    names = re.findall(r"[^\s;]+", match.group(1))
    if len(names) != len(set(names)):
        sys.exit(f"{path}: names something twice")
    return set(names)


def run(*argv):
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def names_of_library(path):
    names = set()
    for line in run("nm", "-D", "--defined-only", "--with-symbol-versions", path).splitlines():
        kind, name = line.split()[1:3]
        if kind == "A" and name.startswith("LINKIPC_1"):
            continue
        name, _, version = name.partition("@@")
        if version != "LINKIPC_1":
            sys.exit(f"{path}: {name} has the version {version!r}")
        names.add(name)
    return names


def needed_of_library(path):
    text = run("readelf", "-d", path)
    soname = re.findall(r"\(SONAME\).*\[(.*)\]", text)
    if soname != ["liblinkipc.so.1"]:
        sys.exit(f"{path}: soname {soname}")
    return set(re.findall(r"\(NEEDED\).*\[(.*)\]", text))


def main():
    header, symbol_map, library = sys.argv[1:]
    sets = {
        header: names_of_header(header),
        symbol_map: names_of_map(symbol_map),
        library: names_of_library(library),
    }
    whole = set.union(*sets.values())
    bad = len(whole) < 60  # else the patterns above find nothing
    for path, names in sets.items():
        for name in sorted(whole - names):
            print(f"{path}: lacks {name}")
            bad = True
    # Sanitizers bring libraries of their own.
    allowed = re.compile(r"libc\.so\.6|ld-linux.*|lib(asan|ubsan|clang_rt)[\w.-]*")
    for name in sorted(needed_of_library(library)):
        if not allowed.fullmatch(name) and "libasan.so.8" not in needed_of_library(library):
            print(f"{library}: needs {name}")
            bad = True
    print(f"{len(whole)} symbols")
    sys.exit(1 if bad else 0)


main()
