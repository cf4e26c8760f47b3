"""jinja2, set up as transformers sets it up for chat templates, and the library beside it."""
import functools
import json
import os
import struct
import subprocess
from datetime import datetime, timezone

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

NOW = 1790000000  # 2026-09-21
STATUS = ["OK", "ARGUMENT", "RANGE", "NOMEM", "IO", "TRUNCATED", "FORMAT", "UNSUPPORTED", "LIMIT"]


class Generation(jinja2.ext.Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("same"), [], [], body).set_lineno(line)

    def same(self, caller):
        return caller()


class Namespace(jinja2.utils.Namespace):
    """Without names that begin with an underscore."""

    def __init__(*args, **kwargs):
        self, args = args[0], args[1:]
        values = dict(*args, **kwargs)
        for name in values:
            Namespace.check(name)
        jinja2.utils.Namespace.__init__(self, values)

    def __setitem__(self, name, value):
        Namespace.check(name)
        jinja2.utils.Namespace.__setitem__(self, name, value)

    @staticmethod
    def check(name):
        if isinstance(name, str) and name.startswith("_"):
            raise jinja2.exceptions.SecurityError(name)


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def strftime_now(format):
    return datetime.fromtimestamp(NOW, timezone.utc).replace(tzinfo=None).strftime(format)


def environment():
    e = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    e.filters["tojson"] = tojson
    e.filters["from_json"] = json.loads  # of llama.cpp, not of transformers
    e.globals["raise_exception"] = raise_exception
    e.globals["strftime_now"] = strftime_now
    e.globals["dict"] = dict
    e.globals["namespace"] = Namespace
    for name in ("lipsum", "cycler", "joiner"):
        del e.globals[name]
    return e


ENVIRONMENT = environment()


class Elements:
    """What map, select and others give, here as one object that prints the same each time and was computed at once."""

    def __init__(self, elements):
        self.elements = iter(list(elements))

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.elements)

    def __repr__(self):
        return "<generator>"


def at_once(filter):
    @functools.wraps(filter)
    def wrapped(*args, **kwargs):
        result = filter(*args, **kwargs)
        return result if isinstance(result, (str, list)) else Elements(result)

    return wrapped


EAGER = environment()
for _name in ("map", "select", "reject", "selectattr", "rejectattr", "unique", "batch", "slice", "items", "reverse"):
    EAGER.filters[_name] = at_once(EAGER.filters[_name])


@functools.lru_cache(maxsize=8)
def compiled(template, environment):
    return environment.from_string(template)


def oracle(template, variables, environment=ENVIRONMENT):
    """(text, None) or (None, error)"""
    try:
        return compiled(template, environment).render(**variables), None
    except Exception as e:  # whatever a template does wrong
        return None, f"{type(e).__name__}: {e}"


class Library:
    """The driver, one process for many requests."""

    def __init__(self, folder, model):
        self.args = [os.path.join(folder, "tests", "chat_driver"), model]
        self.process = subprocess.Popen(self.args, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def close(self):
        self.process.stdin.close()
        code = self.process.wait()
        self.process.stdout.close()
        return code

    def render(self, template, variables):
        """(text, None) or (None, "STATUS: message")"""
        t, v = template.encode("utf-8", "surrogatepass"), json.dumps(variables, ensure_ascii=False).encode()
        self.process.stdin.write(struct.pack("=IIq", len(t), len(v), NOW) + t + v)
        self.process.stdin.flush()
        status, n = struct.unpack("=II", self.process.stdout.read(8))
        text = self.process.stdout.read(n).decode("utf-8", "surrogatepass")
        if status == 0:
            return text, None
        return None, f"{STATUS[status] if status < len(STATUS) else status}: {text}"


def same(a, b):
    """Both the same text, or both an error."""
    if (a[1] is None) != (b[1] is None):
        return False
    return a[1] is not None or a[0] == b[0]
