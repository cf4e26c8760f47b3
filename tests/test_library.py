"""What the library promises to whoever links it, and what the source tree promises to whoever reads it."""
import os
import re
import shutil
import subprocess
import unittest

from program import O, ROOT, SANITIZED

CC = os.environ.get("CC", "cc")
WARNINGS = ["-Wall", "-Wextra", "-Werror", "-pedantic"]
MAX_FILE, MAX_FUNCTION = 900, 70


def output(*args):
    return subprocess.run(args, check=True, capture_output=True, text=True, cwd=ROOT).stdout


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8", errors="replace") as f:
        return f.read()


def declared():
    header = re.sub(r"/\*.*?\*/", "", read("include/slm.h"), flags=re.S)
    return sorted(re.findall(r"SLM_API\s[^;(]*?\b(slm_\w+)\s*\(", header))


@unittest.skipIf(SANITIZED, "a sanitizer changes what the library exports and imports")
class Symbols(unittest.TestCase):
    so = os.path.join(O, "libslm.so")
    archive = os.path.join(O, "libslm.a")

    def names(self, *flags):
        return [line.split()[-1].split("@")[0] for line in output("nm", *flags, self.so).splitlines()]

    def test_exports_are_the_header(self):
        self.assertGreater(len(declared()), 30)
        self.assertEqual(sorted(self.names("-D", "--defined-only")), declared())

    def test_nothing_that_prints_ends_or_looks_around(self):
        forbidden = """abort exit _exit _Exit quick_exit atexit __assert_fail __assert raise kill longjmp __longjmp_chk
            siglongjmp signal sigaction printf vprintf puts putchar putc fputc fputs fprintf vfprintf dprintf vdprintf perror
            __printf_chk __vprintf_chk __fprintf_chk __vfprintf_chk __dprintf_chk fwrite write writev psignal syslog stdout
            stderr stdin getenv secure_getenv setenv putenv environ setlocale system popen fork execve rand srand random srandom
            fesetround fesetenv""".split()
        imports = self.names("-D", "--undefined-only")
        self.assertIn("calloc", imports)  # the list is really one of imports
        self.assertEqual(sorted(f for f in forbidden if f in imports), sorted(self.ALLOWED))

    # what one object each is there for: writing files; slm_model_params.guard
    ALLOWED = {"write": "outfile.o", "raise": "guard.o", "sigaction": "guard.o"}

    def test_who_imports_what_is_allowed_once(self):
        users, member = set(), ""
        for line in output("nm", "-u", self.archive).splitlines():
            if line.endswith(".o:"):
                member = line[:-1]
            elif line.split()[-1:] and line.split()[-1] in self.ALLOWED:
                users.add((line.split()[-1], member))
        self.assertEqual(users, set(self.ALLOWED.items()))

    def test_soname(self):
        self.assertRegex(output("readelf", "-d", self.so), r"SONAME.*\[libslm\.so\.0\]")

    def test_static_library_keeps_to_its_names(self):
        """Everything that a program linked with it could collide with begins with slm_."""
        names = [line.split()[-1] for line in output("nm", "-g", "--defined-only", self.archive).splitlines()
                 if len(line.split()) == 3]
        self.assertGreater(len(names), len(declared()))
        self.assertEqual([n for n in names if not n.startswith("slm_")], [])

    def test_no_global_state(self):
        """Not a byte of data that can be written, in any object but the guard's, which says why. (.data.rel.ro is read-only once it is
        loaded.)"""
        sections, member = [], ""
        for line in output("size", "-A", self.archive).splitlines():
            if "(ex " in line or line.endswith(":"):
                member = line.split()[0]
            words = line.split()
            if len(words) == 3 and words[1].isdigit():
                sections.append((member, words[0], int(words[1])))
        self.assertTrue(any(n == ".text" and size > 0 for _, n, size in sections))
        writable = [s for s in sections if re.match(r"\.(data|bss|tdata|tbss)(\.|$)", s[1])
                    and not s[1].startswith(".data.rel.ro") and s[2] > 0]
        self.assertEqual([s[:2] for s in writable], [("guard.o", ".bss")])
        ours = output("nm", os.path.join(O, "libslm", "guard.o")).splitlines()
        self.assertEqual([line.split()[-1] for line in ours if line.split()[-2] in "bBdD"], ["guards"])

    def test_flags(self):
        flags = read(os.path.join(O, "flags")).split()
        self.assertIn("-ffp-contract=off", flags)
        self.assertIn("-std=c11", flags)


class Header(unittest.TestCase):
    """slm.h alone, as a user includes it."""

    program = '#include "slm.h"\n#include "slm.h"\nint main(void) { return slm_model_defaults().size == 0; }\n'

    def compile(self, compiler, *flags):
        r = subprocess.run([*compiler.split(), *flags, *WARNINGS, "-Iinclude", "-fsyntax-only", "-"], input=self.program, text=True,
                           capture_output=True, cwd=ROOT)
        self.assertEqual((r.returncode, r.stderr), (0, ""), (compiler, flags))

    def test_c(self):
        for standard in ("c11", "c17", "gnu11"):
            self.compile(CC, "-x", "c", "-std=" + standard)

    def test_cxx(self):
        found = [c for c in ("g++", "clang++") if shutil.which(c)]
        if not found:
            self.skipTest("no C++ compiler (g++ or clang++): slm.h was not compiled as C++")
        for compiler in found:
            for standard in ("c++11", "c++17"):
                self.compile(compiler, "-x", "c++", "-std=" + standard)


def tracked():
    if not shutil.which("git") or not os.path.exists(os.path.join(ROOT, ".git")):
        raise unittest.SkipTest("not a git checkout: the source files are not known")
    return [p for p in output("git", "ls-files").splitlines() if os.path.isfile(os.path.join(ROOT, p))]


class Tree(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.files = [p for p in tracked() if not p.startswith(("tests/data/", "tests/fuzz/corpus/"))]
        cls.c_files = [p for p in cls.files if p.endswith((".c", ".h"))]

    def matches(self, pattern, files):
        return [f"{p}: {m.group(0)}" for p in files for m in re.finditer(pattern, read(p))]

    def test_no_path_of_a_machine(self):
        self.assertEqual(self.matches(r"(?<![\w./])/(home|root|work|Users)/\w+", self.files), [])

    def test_no_registry_host(self):
        """No host at all but these: standards, papers, and names that tests make up."""
        known = {"json-schema.org", "w3.org", "semver.org", "keepachangelog.com", "arxiv.org",
                 "example.org", "example.com", "example.co", "my-example.org", "my-site.org"}
        found = self.matches(r"[\w-]+\.(?:org|com?|io)(?![A-Za-z])", self.files)
        self.assertEqual([f for f in found if f.split(": ")[-1] not in known], [])

    def test_no_flag_that_changes_bits_or_the_machine(self):
        build = [p for p in self.files if p == "Makefile" or p.endswith((".mk", ".sh")) or p.startswith(".ci/")]
        self.assertIn("Makefile", build)
        self.assertEqual(self.matches(r"(?m)-march=native|-mtune=native|-Ofast|^[^#\n]*-ffast-math|-funsafe-math\S*", build), [])
        self.assertEqual(self.matches(r"(?m)^#pragma\s+(STDC\s+FP_CONTRACT|GCC\s+optimize).*|fast-math\"", self.c_files), [])

    def test_size_of_files(self):
        text = [p for p in self.files if p.endswith((".c", ".h", ".py", ".sh", ".mk")) and "_tab" not in os.path.basename(p)]
        self.assertGreater(len(text), 40)
        lines = {p: read(p).count("\n") for p in text}
        # the public header is mostly the contract of each function: there declarations count
        header = re.sub(r"/\*.*?\*/", "", read("include/slm.h"), flags=re.S)
        lines["include/slm.h"] = sum(bool(line.strip()) for line in header.splitlines())
        self.assertEqual({p: n for p, n in lines.items() if n > MAX_FILE}, {})

    def test_size_of_functions(self):
        found, long = 0, []
        for path in self.c_files:
            begin = None
            for i, line in enumerate(read(path).splitlines(), 1):
                if line == "}" and begin is not None:
                    found += 1
                    if i - begin + 1 > MAX_FUNCTION:
                        long.append(f"{path}:{begin}: {i - begin + 1} lines")
                    begin = None
                elif line[:1] in ("}", "#") or line.endswith(";") and not line[:1].isspace():
                    begin = None
                elif begin is None and re.match(r"\w.*\(", line):
                    begin = i
        self.assertGreater(found, 300)
        self.assertEqual(long, [])

    def test_who_includes_whom(self):
        """kernels/ know nothing of libslm/, and the program knows slm.h only."""
        for folder, allowed in (
            ("tools", {"include"}), ("kernels", set()), ("include", set()), ("libslm", {"include", "kernels"}),
        ):
            files = [p for p in self.c_files if p.startswith(folder + "/")]
            self.assertTrue(files, folder)
            for p in files:
                for name in re.findall(r'^#include "\.\./(\w+)/', read(p), flags=re.M):
                    self.assertIn(name, allowed, p)
        self.assertEqual(self.matches(r'#include "\.\./(?!include/slm\.h)', [p for p in self.c_files if p.startswith("tools/")]), [])


if __name__ == "__main__":
    unittest.main()
