"""What is seen of a program from outside: its memory, its descriptors, and what it should not say."""

import collections
import os
import re
import statistics

# What a program says that is never right here. Nothing that the soak does is an error to a daemon: relays and
# agents that go and come back are what they are there for, so no error line is expected.
ALARMS = re.compile(r"^error: |\"level\":\"error\"|Sanitizer|runtime error:|Assertion|stack smashing"
                    r"|^soak-app: ")

# The end against the time after the warm-up. linkd and the relay reuse what they free, so what is left is
# malloc's fragmentation and buffers that were the largest so far: 0.2 MiB were seen. By the end of a long run a
# host's agent has set up a thousand sessions and passed on 100,000 requests, so that a KiB lost with each session
# or ten bytes with each request are noticed.
GROWTH_KIB = 1024
WARM_UP_SAMPLES = 2
JUDGED_SAMPLES = 3  # each of the two medians


def is_sanitized(path):
    """An ASan program keeps what it frees, so its memory tells nothing; LeakSanitizer does, at its end."""
    with open(path, "rb") as f:
        return b"__asan_init" in f.read()


def anonymous_kib(pid):
    """Memory of its own; that of files and libraries comes and goes with the machine's load."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
        for line in f:
            if line.startswith("Anonymous:"):
                return int(line.split()[1])
    raise AssertionError(f"/proc/{pid}/smaps_rollup names no anonymous memory")


def descriptors(pid):
    """What each open descriptor is."""
    found = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            found.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
        except FileNotFoundError:
            pass  # closed just now
    return found


def kinds(found):
    """The same, counted: sockets and pipes without their numbers."""
    return dict(collections.Counter(re.sub(r":\[\d+\]", "", name) for name in found))


class Memory:
    """Samples of one process that lives all the time, each taken under the same load."""

    def __init__(self):
        self.samples = []

    def take(self, pid):
        self.samples.append(anonymous_kib(pid))

    @property
    def is_long_enough(self):
        return len(self.samples) >= WARM_UP_SAMPLES + 2 * JUDGED_SAMPLES

    @property
    def growth_kib(self):
        warm = self.samples[WARM_UP_SAMPLES:]
        return statistics.median(warm[-JUDGED_SAMPLES:]) - statistics.median(warm[:JUDGED_SAMPLES])

    def __str__(self):
        shown = f"{self.samples[0]:,} to {self.samples[-1]:,} KiB"
        return shown + (f" ({self.growth_kib:+,.0f} after warm-up)" if self.is_long_enough else "")


class Alarms:
    """Reads on in a child's output, each line once."""

    def __init__(self, child):
        self.child = child
        self.at = 0

    def new_lines(self):
        count = self.child.count()
        lines = [line for line in self.child.lines[self.at:count] if line is not None]
        self.at = count
        return lines

    def check(self, name):
        for line in self.new_lines():
            if ALARMS.search(line):
                raise AssertionError(f"{name} says: {line}")
