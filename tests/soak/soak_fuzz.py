#!/usr/bin/python3
"""Runs every libFuzzer program of a build for some time each: scripts/soak fuzz.

Which there are, and their corpora, meson knows: the tests of the suite "fuzz". The corpora of the tree are only
read; what a fuzzer finds new coverage with goes to BUILD/fuzz-corpus/NAME, and the next run goes on from
there. A finding (a crash, a leak, a time-out, too much memory) is left in BUILD/fuzz-findings/NAME and makes the exit
status 1.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

UNIT_SEC = 60       # for one input: a hundred times what the slowest takes, on a busy machine
MEMORY_MIB = 2048   # of one fuzzer, with ASan's own
OVERTIME_SEC = 300  # beyond its time: reading the corpora, the last input, the report
COVERED = re.compile(r"cov: (\d+) ft: (\d+)")
EXECUTED = re.compile(r"stat::number_of_executed_units:\s+(\d+)")
ADDED = re.compile(r"stat::new_units_added:\s+(\d+)")


class Fuzzer:
    def __init__(self, build, test):
        self.name = test["name"].split(":")[-1].strip()
        self.program, self.seeds = test["cmd"][0], test["cmd"][-1]
        self.corpus = build / "fuzz-corpus" / self.name
        self.findings = build / "fuzz-findings" / self.name
        self.log = build / "fuzz-findings" / (self.name + ".log")
        self.executed = self.covered = self.features = self.added = 0
        self.status = None

    def found(self):
        return sorted(self.findings.iterdir())

    def run(self, seconds, seed, children):
        for folder in (self.corpus, self.findings):
            folder.mkdir(parents=True, exist_ok=True)
        before = self.found()
        words = [self.program, f"-max_total_time={seconds}", f"-seed={seed}", f"-timeout={UNIT_SEC}",
                 f"-rss_limit_mb={MEMORY_MIB}", f"-artifact_prefix={self.findings}/",
                 "-print_final_stats=1", str(self.corpus), self.seeds]
        with open(self.log, "w", encoding="utf-8") as log:
            child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            children.append(child)
            try:
                self.status = child.wait(seconds + OVERTIME_SEC)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
                self.status = "does not end"
        self.read(self.log.read_text(encoding="utf-8", errors="replace"))
        self.new = [path for path in self.found() if path not in before]
        return self

    def read(self, text):
        covered = COVERED.findall(text)
        if covered:
            self.covered, self.features = map(int, covered[-1])
        executed, added = EXECUTED.search(text), ADDED.search(text)
        self.executed = int(executed[1]) if executed else 0
        self.added = int(added[1]) if added else 0

    @property
    def is_well(self):
        """A fuzzer that did nothing is no success."""
        return self.status == 0 and not self.new and self.executed > 0 and self.covered > 0

    def tell(self):
        print(f"  {self.name:20} {self.executed:14,} {self.covered:9,} {self.features:9,} {self.added:7,}  "
              + ("nothing" if self.is_well else f"FINDING, status {self.status}"), flush=True)
        if not self.is_well:
            text = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
            at = next((n for n, line in enumerate(text) if "ERROR: " in line or "runtime error:" in line),
                      max(0, len(text) - 20))
            print("\n".join("    " + line for line in text[at:at + 30]))
            for path in self.new or [self.log]:
                print(f"    {path}", flush=True)


def fuzzers(build):
    listed = subprocess.run(["meson", "introspect", "--tests", str(build)], capture_output=True, text=True,
                            check=True)
    return [Fuzzer(build, test) for test in json.loads(listed.stdout)
            if any(suite.split(":")[-1] == "fuzz" for suite in test["suite"])]


def main():
    parser = argparse.ArgumentParser(description="Runs every libFuzzer program of a build for some time.")
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--seconds", type=int, default=1800, help="each")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    todo = fuzzers(options.build.resolve())
    if not todo:
        print("soak fuzz: this build has no fuzzers")
        return 1
    at_once = os.cpu_count() or 1
    children = []

    def end(*_):
        for child in children:
            if child.poll() is None:
                child.kill()
        os._exit(143)  # the pool's threads would be waited for
    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    print(f"soak fuzz: {len(todo)} fuzzers, {options.seconds} s each, {at_once} at once, seed {options.seed}")
    print(f"  {'':20} {'executions':>14} {'coverage':>9} {'features':>9} {'new':>7}  found", flush=True)
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        runs = [pool.submit(fuzzer.run, options.seconds, options.seed, children) for fuzzer in todo]
        for run in concurrent.futures.as_completed(runs):
            run.result().tell()
    bad = [fuzzer.name for fuzzer in todo if not fuzzer.is_well]
    print(f"soak fuzz: {'passed' if not bad else 'FAILED: ' + ', '.join(bad)}; "
          f"{sum(f.executed for f in todo):,} executions", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
