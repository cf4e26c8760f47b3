"""The program on a terminal of its own (pty). Each step waits for what it expects, not for a time."""
import os
import pty
import select
import signal
import termios
import time
import unittest

from program import SLM, TIMEOUT


class Case(unittest.TestCase):
    def run_on_terminal(self, command, **environment):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update(TERM="xterm", **environment)
            os.execv(SLM, [SLM, *map(str, command)])
        self.seen = b""
        self.addCleanup(self.stop)

    def stop(self):
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)

    def read(self, seconds):
        """What comes in that time joins what was seen. False if the program has ended."""
        if select.select([self.fd], [], [], seconds)[0]:
            try:
                self.seen += os.read(self.fd, 65536)
            except OSError:
                return False
        return True

    def expect(self, what):
        """What came up to it, and it."""
        end = time.monotonic() + TIMEOUT
        while what not in self.seen:
            self.assertLess(time.monotonic(), end, (what, self.seen))
            if not self.read(0.2):
                self.assertIn(what, self.seen)
        at = self.seen.index(what) + len(what)
        out, self.seen = self.seen[:at], self.seen[at:]
        return out

    def type(self, data, editing=True):
        """When the program is ready for it: after the prompt the terminal takes a moment to change from lines to characters."""
        end = time.monotonic() + TIMEOUT
        while editing and termios.tcgetattr(self.fd)[3] & termios.ICANON:
            self.assertLess(time.monotonic(), end)
            time.sleep(0.002)
        os.write(self.fd, data)

    def end(self, how=b"\x04"):
        """The code to exit with. A program that leaves a terminal waits for what it wrote to be read."""
        if how:
            self.type(how)
        end = time.monotonic() + TIMEOUT
        done, status = os.waitpid(self.pid, os.WNOHANG)
        while not done:
            self.assertLess(time.monotonic(), end)
            if not self.read(0.02):
                time.sleep(0.02)
            done, status = os.waitpid(self.pid, os.WNOHANG)
        self.pid = 0
        return os.waitstatus_to_exitcode(status)
