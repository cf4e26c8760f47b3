"""slm chat from outside: with standard input, and on a terminal (pty). The model has a few kilobytes, its answers are noise of few tokens."""
import json
import os
import signal
import termios
import unittest

import terminal
import tiny_model
from program import Case, slm


class Chat(Case):
    def command(self, *args, model=None):
        return ["chat", "-m", model or self.model, "--temp", "0", "-n", "7", "--no-history", *args]

    def chat(self, lines, *args, **more):
        r = slm(*self.command(*args, **more), stdin="".join(line + "\n" for line in lines).encode())
        self.assertEqual(r.code, 0, r.message)
        return r

    def conversation(self, lines, *args):
        path = self.path("conversation.json")
        r = self.chat([*lines, "/save " + path], *args)
        self.assertEqual(r.message, "")
        with open(path) as f:
            return json.load(f)


class Piped(Chat):
    def test_the_first_answer_is_that_of_run(self):
        for message in ("hello", "the and in", 'say "x" <|im_end|>'):
            r = self.good("run", "-m", self.model, "--temp", "0", "-n", 7, "-p", message)
            self.assertGreater(len(r.out), 1)
            self.assertEqual(self.chat([message]).out, r.out)

    def test_a_conversation_continues_as_if_computed_anew(self):
        """What the cache holds of earlier turns is what a fresh one computes: each answer comes again after /load, which begins with nothing."""
        lines = ["hello", "the and in", "another one", "x"]
        again = ("--repeat-penalty", "1.7", "--frequency-penalty", "1", "--repeat-last-n", "-1")
        for args in ([], ["--lookup", "0"], ["--system", "You are and the in."], again):
            whole = self.conversation(lines, *args)
            first = len(whole) - 2 * len(lines)
            self.assertEqual([m["role"] for m in whole], ["system"] * first + ["user", "assistant"] * len(lines))
            self.assertEqual([m["content"] for m in whole[first::2]], lines)
            for n in range(first + 2, len(whole) + 1, 2):
                before = self.file("before.json", json.dumps(whole[:n - 1] + [{"role": "assistant", "content": "another answer"}]))
                self.assertEqual(self.conversation(["/again"], "--load", before, *(args if args == again else ())), whole[:n])

    def test_messages_of_several_lines(self):
        whole = self.conversation(["one\\", "two", '"""', "three", "", "four\\", '"""', " /help"])
        self.assertEqual([m["content"] for m in whole[::2]], ["one\ntwo", "three\n\nfour\\", " /help"])

    def test_commands(self):
        whole = self.conversation(["/system and the", "a", "/reset", "b"])
        self.assertEqual([(m["role"], m["content"]) for m in whole[:2]], [("system", "and the"), ("user", "b")])
        self.assertEqual(len(whole), 3)
        self.assertEqual([m["role"] for m in self.conversation(["a", "/system x", "/system y", "/system"])], ["user", "assistant"])
        r = self.chat(["/quit", "b"])
        self.assertEqual((r.out, r.message), (b"", ""))
        for line, word in (("/nosuch", "/nosuch is no command"), ("/save", "a name is missing"), ("/load", "a name is missing"),
                           ("/again", "nothing was answered"), ("/load " + self.path("missing"), "missing"),
                           ("/save " + self.path("no") + "/such/folder", "cannot write")):
            r = self.chat([line, "hello"])
            self.assertIn(word, r.message)
            self.assertEqual(r.out, self.chat(["hello"]).out, line)  # the conversation is as it was
        self.assertIn("Ctrl-C", self.chat(["/help"]).message)

    def test_conversations_that_cannot_be_loaded(self):
        for text in ("", "[", "{}", '[{"role": "user"}]', '[{"role": 1, "content": "x"}]', '["x"]'):
            self.fails(*self.command("--load", self.file("bad.json", text)))

    def test_a_grammar_begins_anew_with_each_answer(self):
        grammar = self.file("g.gbnf", 'root ::= "<" [a-c]{2} ">"')
        whole = self.conversation(["one", "two"], "--grammar", grammar)
        for m in whole[1::2]:
            self.assertRegex(m["content"], r"\A<[abc]{2}>\Z")

    def test_each_answer_has_its_least_tokens(self):
        """A model that would end at once."""
        end = tiny_model.SPECIAL.index("<|im_end|>")
        whole = self.conversation(["one", "two", "/again"], "--logit-bias", f"{end}+99", "--min-tokens", "5", "-n", "9")
        answers = [m["content"] for m in whole[1::2]]
        self.assertEqual(len(answers), 2)
        self.assertTrue(all(answers), answers)

    def test_the_oldest_messages_go_when_the_context_is_full(self):
        r = self.chat(["the " * 60, "and " * 60, "in " * 60, "x"], "-c", "256")
        self.assertIn("the oldest messages are forgotten", r.message)
        r = self.chat(["x " * 600, "hello"], "-c", "256")
        self.assertIn("too many tokens", r.message)
        self.assertEqual(r.out, self.chat(["hello"], "-c", "256").out)  # as if it had not been said

    def test_files_without_a_template(self):
        bare = self.make("bare.gguf", {"tokenizer.chat_template": None})
        self.assertIn("chat_template", self.fails(*self.command(model=bare), stdin=b"x\n").message)

    def test_usage(self):
        self.assertEqual(slm("chat").code, 2)
        self.assertEqual(slm("chat", "-m", self.model, "--grammar", "a", "--schema", "b").code, 2)


class Terminal(Chat, terminal.Case):
    def start(self, *args, history=False, locale="C.UTF-8"):
        command = self.command(*args)
        if history:
            command.remove("--no-history")
        self.run_on_terminal(command, HOME=self.folder.name, LC_ALL=locale)
        self.expect(b"> ")

    def test_an_answer_and_its_speed(self):
        self.start()
        self.type(b"hello\r")
        self.assertIn(b"7 tokens", self.expect(b"-n reached]"))
        self.expect(b"> ")
        self.assertEqual(self.end(), 0)

    def test_ctrl_c_stops_the_answer_not_the_program(self):
        self.start("-n", "0", "-c", "100000")  # the model does not end by itself
        for _ in range(2):
            self.type(b"hello\r")
            self.expect(b"hello\r\n")
            while not self.seen:  # the answer has begun
                self.assertTrue(self.read(0.2))
            self.type(b"\x03", editing=False)
            self.expect(b"interrupted]")
            self.expect(b"> ")
        self.type(b"half a line\x03")
        self.expect(b"\n")
        self.expect(b"> ")
        self.assertEqual(self.end(b"/quit\r"), 0)

    def test_characters_of_several_bytes_without_a_locale(self):
        path = self.path("locale.json")
        self.start(locale="C")
        self.type("h\u00e9llo \u20ac\r".encode())
        self.expect(b"reached]")
        self.expect(b"> ")
        self.type(b"/save " + path.encode() + b"\r")
        self.expect(b"> ")
        self.assertEqual(self.end(), 0)
        with open(path) as f:
            self.assertEqual(json.load(f)[0]["content"], "h\u00e9llo \u20ac")

    def test_the_terminal_is_given_back_when_the_program_is_ended(self):
        self.start(history=True)
        self.type(b"hello\r")
        self.expect(b"reached]")
        self.expect(b"> ")
        self.type(b"half")
        os.kill(self.pid, signal.SIGTERM)
        self.assertEqual(self.end(b""), -signal.SIGTERM)
        self.assertTrue(termios.tcgetattr(self.fd)[3] & termios.ICANON)
        with open(self.path(".slm_history")) as f:
            self.assertIn("hello", f.read())

    def test_lines_are_edited_and_come_back(self):
        path = self.path("edited.json")
        self.start(history=True)
        self.type(b"hello x\x7f\x7f\r")
        self.expect(b"reached]")
        self.expect(b"> ")
        self.type(b"\x1b[A\r")  # arrow up
        self.expect(b"reached]")
        self.expect(b"> ")
        self.type(b"/save " + path.encode() + b"\r")
        self.expect(b"> ")
        self.assertEqual(self.end(), 0)
        with open(path) as f:
            self.assertEqual([m["content"] for m in json.load(f)[::2]], ["hello", "hello"])
        history = self.path(".slm_history")
        self.assertEqual(os.stat(history).st_mode & 0o777, 0o600)
        with open(history) as f:
            self.assertIn("hello", f.read())


if __name__ == "__main__":
    unittest.main()
