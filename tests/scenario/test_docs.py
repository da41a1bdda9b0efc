#!/usr/bin/python3
"""What the documents say is so: man pages name every option, setting and function and no other, their
programs compile and do what is said, and each test that docs/SECURITY.md names is there."""

import ast
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import agentkit  # noqa: E402
from agentkit import BUILD, ROOT, World, program  # noqa: E402

MAN = ROOT / "docs" / "man"
OPTION = re.compile(r"--([a-z][a-z-]+)")


def page(name):
    return (MAN / name).read_text()


def help_of(name, *words):
    return subprocess.run([program(name), *words, "--help"], check=True, capture_output=True, text=True,
                          env=agentkit.clean_environment()).stdout


class Pages(World):
    def test_they_are_well_formed(self):
        pages = sorted(MAN.iterdir())
        self.assertGreater(len(pages), 5)
        for file in pages:
            found = subprocess.run(["mandoc", "-Tlint", "-Wwarning", str(file)], capture_output=True,
                                   text=True)
            self.assertEqual((found.returncode, found.stdout), (0, ""))

    def test_they_refer_to_pages_that_are_there(self):
        ours = {tuple(f.name.rsplit(".", 1)) for f in MAN.iterdir()}
        known = ours | {("poll", "2"), ("free", "3")}
        for file in MAN.iterdir():
            for name, section in re.findall(r"^\.Xr (\S+) (\d)", file.read_text(), re.M):
                self.assertIn((name, section), known, file.name)

    def test_options_of_the_daemons(self):
        for name in ("linkd", "link-relay"):
            in_page = set(re.findall(r"Fl Fl ([a-z-]+)", page(name + ".8")))
            # what the help text says of other programs stands in `backquotes`
            in_help = set(OPTION.findall(re.sub(r"`[^`]*`", "", help_of(name))))
            self.assertTrue(in_help)
            self.assertEqual(in_page, in_help, name)

    def test_variables_of_the_relay(self):
        in_page = set(re.findall(r"LINK_[A-Z_]+", page("link-relay.8")))
        self.assertEqual(in_page, set(re.findall(r"LINK_[A-Z_]+", help_of("link-relay"))))

    def test_options_of_linkctl(self):
        text = help_of("linkctl")
        verbs = re.findall(r"^  ([a-z][a-z ]*?)  +[A-Z]", text, re.M)
        self.assertIn("peer import", verbs)
        in_help = set(OPTION.findall(text))
        for verb in verbs:
            in_help |= set(OPTION.findall(help_of("linkctl", *verb.split())))
            self.assertRegex(page("linkctl.1"), rf"(?m)^\.It Cm {verb}\b")
        self.assertEqual(set(re.findall(r"Fl Fl ([a-z-]+)", page("linkctl.1"))), in_help)
        for verb in re.findall(r"^\.It Cm ([a-z]+(?: (?:add|remove|list|show|rename|export|import))?)\b",
                               page("linkctl.1"), re.M):
            self.assertTrue(any(v.split()[0] == verb.split()[0] for v in verbs), verb)

    def settings(self, name, sources):
        """Page, sample and program agree on the names of the settings."""
        in_page = set(re.findall(r"^\.It Ic (\w+) No = ", page(name + ".5"), re.M))
        sample = (ROOT / "deploy" / (name + ".sample")).read_text()
        in_sample = set(re.findall(r"^#? *(\w+) = ", sample, re.M))
        in_program = set()
        for file in sources:
            text = (ROOT / file).read_text()
            in_program |= set(re.findall(r'KNOB\("[A-Z_]+", "([a-z_]+)"', text))
            in_program |= set(re.findall(r'\{"([a-z_]+)", take_', text))
        self.assertTrue(in_program)
        return in_page, in_sample, in_program

    def test_settings_of_the_relay(self):
        in_page, in_sample, in_program = self.settings("relay.conf", ["relay/relay-config.c"])
        self.assertEqual(in_page, in_program)
        self.assertEqual(in_sample, in_program)

    def test_settings_of_linkd(self):
        in_page, in_sample, in_program = self.settings("linkd.conf", sorted(
            str(f.relative_to(ROOT)) for f in (ROOT / "linkd").glob("*.c")))
        members = {"url", "pin", "name"}  # of the lists of relays, hosts and peers
        self.assertEqual(in_page, in_program - members)
        self.assertEqual(in_sample - members, in_program - members)
        for name in members:
            self.assertIn(f"Ic {name} No = ", page("linkd.conf.5"))

    def test_functions_of_linkipc(self):
        header = re.sub(r"/\*.*?\*/", "", (ROOT / "liblinkipc" / "linkipc.h").read_text(), flags=re.S)
        declared = dict(re.findall(r"\(?\*?\b(linkipc_\w+)\)?\(([^;{}()]*)\);", header))
        in_page = {name: re.findall(r'"([^"]*)"', words) for name, words in re.findall(
            r'^\.It Ft "[^"]*" Fn (linkipc_\w+) ?(.*)$', page("linkipc.3"), re.M)}
        self.assertEqual(set(in_page), set(declared))
        exported = set(re.findall(r"linkipc_\w+", (ROOT / "liblinkipc" / "liblinkipc.map").read_text()))
        self.assertEqual({n for n in in_page if not n.endswith("_func")}, exported)
        for name, words in in_page.items():
            self.assertEqual(", ".join(words), " ".join(declared[name].split()), name)
        constants = set(re.findall(r"\b(LINKIPC_[A-Z_]+)", header)) - {"LINKIPC_H"}
        self.assertEqual(set(re.findall(r"LINKIPC_[A-Z_]+", page("linkipc.3"))), constants)


class Program(World):
    """The programs that stand in linkipc(3)."""

    def build(self, n):
        text = re.findall(r"\.Bd -literal -offset indent\n(#include.*?)\.Ed\n", page("linkipc.3"), re.S)[n]
        source = pathlib.Path(self.directory) / f"program{n}.c"
        source.write_text(text)
        lib = BUILD / "liblinkipc"
        subprocess.run([*shlex.split(os.environ.get("LINK_CC", "cc")), "-Wall", "-Werror", str(source),
                        "-I", str(ROOT / "liblinkipc" / "include"), "-o", str(source.with_suffix("")),
                        f"-L{lib}", "-llinkipc", f"-Wl,-rpath,{lib}",
                        *shlex.split(os.environ.get("LINK_CFLAGS", ""))], check=True)
        return str(source.with_suffix("")), text

    def run_program(self, name, socket):
        return subprocess.run([name], env=agentkit.clean_environment() | {"LINKD_SOCKET": socket},
                              capture_output=True, text=True, timeout=agentkit.LIMIT_SEC)

    def test_they_compile_and_talk(self):
        relay = self.relay()
        home, laptop = self.agent("home"), self.agent("laptop")
        home.ctl("uplink", "add", relay.url)
        home.wait_registered()
        laptop.ctl("pair", home.json("invite", "--label", "laptop")["uri"], "--name", "home")
        asks, text = self.build(0)
        answers, _ = self.build(1)
        body = text[text.index("int main"):]
        self.assertLessEqual(body.count("\n"), 10, "a program of ten lines")
        server = self.add(agentkit.Child([answers], {"LINKD_SOCKET": str(home.socket)}))
        home.until("served", lambda: home.json("host", "show")["served"])
        done = self.run_program(asks, str(laptop.socket))
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "[1,2]\n", ""))
        server.wait_line(r"^laptop asks \[1,2\]$")
        server.kill()
        self.ended(server)

    def test_an_error_is_told(self):
        laptop = self.agent("laptop")
        asks, _ = self.build(0)
        for path, said in ((str(laptop.socket), "no peer home"), ("/nowhere", "no agent runs")):
            done = self.run_program(asks, path)
            self.assertEqual(done.returncode, 1)
            self.assertIn(said, done.stderr)


@unittest.skipUnless(shutil.which("jq"), "the example needs jq")
class FirstUse(World):
    """The commands of "From nothing to an answer" in linkd(8), as they stand there, but for the port."""

    def commands(self):
        part = page("linkd.8").split(".Ss From nothing to an answer")[1].split(".Sh ")[0]
        part = part.replace("\\(dq", '"')
        found = []
        for dl, literal in re.findall(r"^\.Dl ([^\n]*)$|^\.Bd -literal[^\n]*\n(.*?)^\.Ed$", part, re.M | re.S):
            found += (dl or literal).splitlines()
        return found

    def setUp(self):
        super().setUp()
        bin_dir = pathlib.Path(self.directory) / "bin"
        bin_dir.mkdir()
        for name in ("linkd", "link-relay", "linkctl"):
            (bin_dir / name).symlink_to(program(name))
        self.path = f"{bin_dir}:{os.environ['PATH']}"

    def environment(self, machine):
        where = pathlib.Path(self.directory) / machine
        where.mkdir(exist_ok=True)
        return {"HOME": str(where), "XDG_RUNTIME_DIR": str(where), "PATH": self.path}

    def start(self, machine, command, line):
        child = self.add(agentkit.Child(["sh", "-c", "exec " + command], self.environment(machine)))
        return child.wait_line(line)

    def run_one(self, machine, command):
        return subprocess.run(["sh", "-c", command], check=True, capture_output=True, text=True,
                              env=agentkit.clean_environment() | self.environment(machine),
                              timeout=agentkit.LIMIT_SEC).stdout

    def test_as_it_stands_there(self):
        relay, home, uplink, serve, invite, laptop, pair, call, doctor, revoke = self.commands()
        self.assertIn("--listen 8080", relay)
        port = self.start("relay", relay.replace("8080", "127.0.0.1:0"), agentkit.LISTENING)[1]
        self.start("home", home.removesuffix(" &"), "^ready: ")
        self.assertIn("relay.example:8080", uplink)
        self.assertIn("registered", self.run_one(
            "home", uplink.replace("relay.example:8080", f"127.0.0.1:{port}")))
        self.start("home", serve, "^serving default")
        link = re.search(r"^link:\S+", self.run_one("home", invite), re.M)[0]
        self.start("laptop", laptop.removesuffix(" &"), "^ready: ")
        self.run_one("laptop", pair.replace("link:...", link))
        said = re.search(r"prints\n\.Li (\S+) ", page("linkd.8"))[1].replace("\\(dq", '"')
        self.assertEqual(self.run_one("laptop", call), said + "\n")
        for machine in ("home", "laptop"):
            self.assertIn("Nothing is wrong.", self.run_one(machine, doctor))
        self.assertIn("Revoked.", self.run_one("home", revoke))
        with self.assertRaises(subprocess.CalledProcessError) as caught:
            self.run_one("laptop", call)
        self.assertIn("has revoked", caught.exception.stderr)


def cases_of(file):
    """The classes of a file that have tests, with their names; those of a base class of it count."""
    classes = {c.name: c for c in ast.parse(file.read_text()).body if isinstance(c, ast.ClassDef)}

    def methods(c):
        found = {f.name for f in c.body if isinstance(f, (ast.FunctionDef, ast.AsyncFunctionDef))
                 and f.name.startswith("test_")}
        for base in c.bases:
            if isinstance(base, ast.Name) and base.id in classes:
                found |= methods(classes[base.id])
        return found
    return {name: found for name, c in classes.items() if (found := methods(c))}


class Named(World):
    """docs/SECURITY.md: the last column of a table that is headed "test" names what shows the row. A letter
    stands for a file, as the page itself says."""

    LEGEND = re.compile(r"`([A-Z])` is\s+`(tests/[\w/.]+)`")

    def setUp(self):
        super().setUp()
        self.text = (ROOT / "docs" / "SECURITY.md").read_text()
        self.files = dict(self.LEGEND.findall(self.text))
        self.cases = {letter: cases_of(ROOT / file) for letter, file in self.files.items()
                      if file.endswith(".py")}

    def rows(self):
        """(row, last column) of each table whose last head is "test"."""
        table = False
        for line in self.text.splitlines():
            cells = [c.strip() for c in line.split(" | ")] if line.startswith("|") else None
            if not cells:
                table = False
            elif cells[-1].strip("| ") == "test":
                table = True
            elif table and not re.fullmatch(r"[|\-\s]+", line):
                yield line, cells[-1].strip("| ")

    def check_name(self, letter, name):
        if name.startswith(("test-", "fuzz-")):
            name, _, function = name.partition("::")
            found = list((ROOT / "tests").rglob(name if name.endswith(".c") else name + ".c"))
            self.assertEqual(len(found), 1, name)
            if function:
                self.assertTrue(re.search(rf"cmocka_unit_test\w*\({function}\b", found[0].read_text()), name)
            return
        case, _, test = name.partition(".")
        tests = self.cases.get(letter, {}).get(case)
        self.assertTrue(tests and (not test or test in tests), f"{letter} {name}: there is no such test")

    def test_each_test_is_there(self):
        n = 0
        for row, cell in self.rows():
            names = re.findall(r"(?:\b([A-Z]) )?`([^`]+)`", cell)
            self.assertTrue(names, row)
            letter = None
            for own, name in names:
                letter = own or letter
                self.check_name(letter, name)
                n += 1
        self.assertGreater(n, 100)


if __name__ == "__main__":
    agentkit.main()
