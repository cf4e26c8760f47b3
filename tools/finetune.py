#!/usr/bin/env python3
"""Fine-tune a GGUF model on own data: low-rank factors (LoRA, Hu et al. 2021, arXiv:2106.09685) for `slm run --lora`.

    tools/finetune.py train -m MODEL DATA -o ADAPTER.gguf    DATA: NAME.jsonl with {"prompt", "response"}, or any text
    tools/finetune.py check -m MODEL TEXT                    is the arithmetic here that of `slm logprobs --reference`?

For models of the architecture llama. Wants the Python packages torch, gguf and numpy, and the program slm for the tokens.
docs/finetune.md has the details.

The model stays as it is; beside each chosen matrix W [n_out, n_in] two factors A [r, n_in] and B [n_out, r] are trained:

    y = W x + alpha / r * B (A x)
"""
import argparse
import concurrent.futures
import functools
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time

try:
    import gguf
    import numpy as np
    import torch
    import torch.nn.functional as F
except ImportError as e:
    sys.exit(f"finetune: {e}: pip install torch gguf numpy")

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MATRICES = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"]
END_OF_TURN = b"<|im_end|>"  # of ChatML, the format that slm knows
TOLERANCE = 1e-3  # of a log-probability, for check


def die(message):
    sys.exit(f"finetune: {message}")


# ---- The model ----

class Llama:
    """The transformer of the architecture llama, in f32. All weights are as [n_out, n_in]."""

    def __init__(self, path):
        try:
            self.file = gguf.GGUFReader(path)
        except (OSError, ValueError) as e:
            die(f"{path}: {e}")
        self.arch = self.value("general.architecture")
        if self.arch != "llama":
            die(f"{path}: architecture {self.arch}, expected llama: no other is known here")
        self.read_keys()
        self.weights = {t.name: torch.from_numpy(gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float32))
                        for t in self.file.tensors}
        self.refuse_unknown_tensors()
        self.frequencies = self.rope_frequencies()
        self.factors, self.scale = {}, 1.0  # matrix: (A, B); alpha / r

    def value(self, key, default=None):
        field = self.file.get_field(key)
        return default if field is None else field.contents()

    def key(self, name, default=None):
        value = self.value(f"{self.arch}.{name}", default)
        if value is None:
            die(f"key {self.arch}.{name} is missing")
        if isinstance(value, list):
            if len(set(value)) != 1:
                die(f"key {self.arch}.{name} differs from layer to layer: not known here")
            value = value[0]
        return value

    def read_keys(self):
        for name in ("expert_count", "attn_logit_softcapping", "final_logit_softcapping"):
            if self.key(name, 0):
                die(f"key {self.arch}.{name}: not known here")
        if self.key("rope.scaling.attn_factor", 1) != 1:
            die(f"key {self.arch}.rope.scaling.attn_factor: not known here")
        self.n_layer, n_embd = self.key("block_count"), self.key("embedding_length")
        self.n_head = self.key("attention.head_count")
        self.n_head_kv = self.key("attention.head_count_kv", self.n_head)
        self.head = self.key("attention.key_length", n_embd // self.n_head)
        self.n_rot = self.key("rope.dimension_count", self.head)
        self.epsilon = self.key("attention.layer_norm_rms_epsilon")
        self.attn_scale = self.key("attention.scale", 0) or 1 / math.sqrt(self.head)
        # no sequence here is longer than the window of a layer, so none has to be known
        self.n_ctx = min(self.key("context_length"), self.key("attention.sliding_window", 0) or 1 << 30)

    def refuse_unknown_tensors(self):
        layer = [*MATRICES, "attn_norm", "ffn_norm"]
        known = {"token_embd.weight", "output_norm.weight", "output.weight", "rope_freqs.weight"}
        known |= {f"blk.{i}.{name}.weight" for i in range(self.n_layer) for name in layer}
        needed = known - {"output.weight", "rope_freqs.weight"}
        known |= {f"blk.{i}.{name}.bias" for i in range(self.n_layer) for name in MATRICES[:4]}
        for name in sorted(needed - set(self.weights)):
            die(f"tensor {name} is missing")
        for name in sorted(set(self.weights) - known):
            die(f"tensor {name}: not known here")

    def rope_frequencies(self):
        """Radians a position, [n_rot / 2]."""
        scaling = self.key("rope.scaling.type", "linear")
        if scaling not in ("none", "linear"):
            die(f"key {self.arch}.rope.scaling.type is {scaling}: not known here")
        i = torch.arange(self.n_rot // 2, dtype=torch.float64)
        frequencies = self.key("rope.freq_base", 10000.0) ** (-2 * i / self.n_rot)
        if scaling == "linear":
            frequencies /= self.key("rope.scaling.factor", self.key("rope.scale_linear", 1.0)) or 1.0
        return frequencies / self.weights["rope_freqs.weight"].double() if "rope_freqs.weight" in self.weights else frequencies

    def linear(self, x, name):
        y = F.linear(x, self.weights[name + ".weight"], self.weights.get(name + ".bias"))
        if name in self.factors:
            a, b = self.factors[name]
            y = y + self.scale * F.linear(F.linear(x, a), b)
        return y

    def norm(self, x, name):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.epsilon) * self.weights[name + ".weight"]

    def rope(self, x, cos, sin):
        """x [batch, heads, positions, head]: neighbours are a pair, as files of this architecture are ordered."""
        a, b = x[..., 0:self.n_rot:2], x[..., 1:self.n_rot:2]
        turned = torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)
        return torch.cat((turned, x[..., self.n_rot:]), -1)

    def heads(self, x, n):
        return x.unflatten(-1, (n, -1)).transpose(1, 2)

    def attention(self, x, layer, turns, mask):
        blk = f"blk.{layer}.attn_"
        q = self.rope(self.heads(self.linear(x, blk + "q"), self.n_head), *turns)
        k = self.rope(self.heads(self.linear(x, blk + "k"), self.n_head_kv), *turns)
        v = self.heads(self.linear(x, blk + "v"), self.n_head_kv)
        group = self.n_head // self.n_head_kv
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        scores = (q @ k.transpose(-1, -2) * self.attn_scale).masked_fill(mask, -math.inf)
        return self.linear((scores.softmax(-1) @ v).transpose(1, 2).flatten(-2), blk + "output")

    def hidden(self, ids):
        """ids [batch, positions] -> [batch, positions, n_embd], of which logits() makes distributions."""
        n = ids.shape[1]
        angles = torch.arange(n, dtype=torch.float64)[:, None] * self.frequencies
        turns = angles.cos().float(), angles.sin().float()
        mask = torch.ones(n, n, dtype=torch.bool).triu(1)
        x = self.weights["token_embd.weight"][ids]
        for layer in range(self.n_layer):
            blk = f"blk.{layer}."
            x = x + self.attention(self.norm(x, blk + "attn_norm"), layer, turns, mask)
            y = self.norm(x, blk + "ffn_norm")
            y = F.silu(self.linear(y, blk + "ffn_gate")) * self.linear(y, blk + "ffn_up")
            x = x + self.linear(y, blk + "ffn_down")
        return self.norm(x, "output_norm")

    def logits(self, hidden):
        return F.linear(hidden, self.weights.get("output.weight", self.weights["token_embd.weight"]))

    # ---- Factors ----

    def add_factors(self, targets, rank, alpha):
        """A random, B zero: at first the model does what it did."""
        self.scale = alpha / rank
        for layer in range(self.n_layer):
            for target in targets:
                n_out, n_in = self.weights[f"blk.{layer}.{target}.weight"].shape
                a = torch.randn(rank, n_in) / math.sqrt(n_in)
                self.factors[f"blk.{layer}.{target}"] = a.requires_grad_(), torch.zeros(n_out, rank, requires_grad=True)

    def load_factors(self, path):
        file = gguf.GGUFReader(path)
        tensors = {t.name: torch.from_numpy(t.data.astype(np.float32)) for t in file.tensors}
        for name in {n.rsplit(".weight.", 1)[0] for n in tensors}:
            self.factors[name] = tensors[name + ".weight.lora_a"], tensors[name + ".weight.lora_b"]
            self.scale = file.get_field("adapter.lora.alpha").contents() / len(self.factors[name][0])


def stored(name, factor, dtype):
    with np.errstate(over="ignore"):
        values = factor.detach().numpy().astype(dtype)
    if not np.isfinite(values).all():
        die(f"{name}: a factor has a value that is no number in {np.dtype(dtype).name}: try a lower --lr")
    return values


def write_adapter(path, model, alpha, dtype):
    """Under another name first, so that nobody ever sees half a file."""
    folder, name = os.path.split(os.path.abspath(path))
    with tempfile.TemporaryDirectory(prefix=".finetune.", dir=folder) as temporary:
        half = os.path.join(temporary, name)
        w = gguf.GGUFWriter(half, model.arch)
        w.add_type("adapter")
        w.add_string("adapter.type", "lora")
        w.add_float32("adapter.lora.alpha", alpha)
        for matrix, pair in model.factors.items():
            for suffix, factor in zip(("lora_a", "lora_b"), pair):
                name = f"{matrix}.weight.{suffix}"
                w.add_tensor(name, stored(name, factor, dtype))
        w.write_header_to_file()
        w.write_kv_data_to_file()
        w.write_tensors_to_file()
        w.close()
        os.replace(half, path)


# ---- The program ----

def run_slm(command, data):
    try:
        r = subprocess.run(command, input=data, capture_output=True)
    except OSError as e:
        die(f"{e}: see --slm")
    if r.returncode != 0:
        die(r.stderr.decode(errors="replace").strip().removeprefix("slm: "))
    return r.stdout


class Tokenizer:
    """`slm tokenize`, so that tokens are those at run time."""

    def __init__(self, slm, model):
        self.command = [slm, "tokenize", "-m", model]

    def ids(self, text, *options):
        return [int(i) for i in run_slm([*self.command, *options], text).split()]


# ---- Data ----


def read_file(path):
    try:
        with open(path, "rb") as f:
            return f.read()
    except OSError as e:
        die(e)


def windows(tokenizer, data, length):
    """A text cut into pieces of at most `length` tokens: (ids, first that counts)."""
    begin = tokenizer.ids(b"")  # what a text begins with: a token, or nothing
    ids, step = tokenizer.ids(data, "--no-bos"), length - len(begin)
    pieces = [begin + ids[i:i + step] for i in range(0, len(ids), step)]
    return [(piece, 1) for piece in pieces if len(piece) > 1]


def example(tokenizer, end, system, where, line):
    try:
        record = json.loads(line)
        prompt, response = (record[name].encode() for name in ("prompt", "response"))
    except (ValueError, TypeError, KeyError, AttributeError) as e:
        die(f"{where}: expected an object with the strings prompt and response ({type(e).__name__}: {e})")
    chat = ["--chat", *(["--system", system] if system is not None else [])]
    begin = tokenizer.ids(prompt, *chat)
    return begin + tokenizer.ids(response, "--no-bos") + end, len(begin)


def examples(tokenizer, path, data, length, system):
    """Prompts in the chat format, each with its response and the end of a turn: (ids, first of the response)."""
    end = tokenizer.ids(END_OF_TURN, "--special", "--no-bos")
    lines = [(f"{path}, line {i}", line) for i, line in enumerate(data.splitlines(), 1) if line.strip()]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        done = list(pool.map(lambda line: example(tokenizer, end, system, *line), lines))
    for (where, _), (ids, _) in zip(lines, done):
        if len(ids) > length:
            die(f"{where}: {len(ids)} tokens, at most {length}: see --length")
    return done


def read_data(tokenizer, path, length, system):
    data = read_file(path)
    if path.endswith(".jsonl"):
        return examples(tokenizer, path, data, length, system)
    if system is not None:
        die(f"{path}: --system is for .jsonl, this is a text")
    return windows(tokenizer, data, length)


def train_and_held_out(args, tokenizer):
    """What is learned from, and what is only measured: a file of its own, or every tenth."""
    data = read_data(tokenizer, args.data, args.length, args.system)
    if args.held_out:
        held_out = read_data(tokenizer, args.held_out, args.length, args.system)
    else:
        held_out = data[9::10]
        data = [x for i, x in enumerate(data) if i % 10 != 9]
    if not data or not held_out:
        die(f"{args.data}: {len(data)} sequences to learn from and {len(held_out)} held out: too few")
    return data, held_out


# ---- Training ----

def batch_loss(model, batch):
    """Sum of -log p of the tokens that count, and their number."""
    n = max(len(ids) for ids, _ in batch)
    ids = torch.tensor([ids + [0] * (n - len(ids)) for ids, _ in batch])
    counts = torch.tensor([[first <= i < len(ids) for i in range(1, n)] for ids, first in batch])
    logits = model.logits(model.hidden(ids[:, :-1])[counts])
    return F.cross_entropy(logits, ids[:, 1:][counts], reduction="sum"), int(counts.sum())


def mean_loss(model, sequences, batch, most):
    """Nats a token, of at most `most` sequences."""
    total = n = 0
    with torch.no_grad():
        for i in range(0, min(len(sequences), most), batch):
            loss, count = batch_loss(model, sequences[i:min(i + batch, most)])
            total, n = total + loss.item(), n + count
    return total / n


def rate(step, steps, warm_up):
    """Rises over the first steps, then falls to zero in a straight line: a share of --lr."""
    return (step + 1) / warm_up if step < warm_up else (steps - step) / max(1, steps - warm_up)


def shuffled(sequences, generator):
    """Forever, each as often as the others."""
    while True:
        yield from (sequences[i] for i in torch.randperm(len(sequences), generator=generator).tolist())


def train_steps(model, data, args):
    parameters = [factor for pair in model.factors.values() for factor in pair]
    optimizer = torch.optim.AdamW(parameters, lr=args.lr, weight_decay=args.weight_decay)
    warm_up = max(1, round(args.steps * args.warm_up))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, args.steps, warm_up))
    source = shuffled(data, torch.Generator().manual_seed(args.seed))
    begin, total, count = time.time(), 0, 0
    for step in range(1, args.steps + 1):
        loss, n = batch_loss(model, [next(source) for _ in range(args.batch)])
        optimizer.zero_grad()
        (loss / n).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        total, count = total + loss.item(), count + n
        if not math.isfinite(total):
            die(f"step {step}: the loss is {total}: try a lower --lr")
        if step % 10 == 0 or step == args.steps:
            print(f"step {step:5}  loss {total / count:.4f}  {time.time() - begin:.0f} s", flush=True)
            total = count = 0


def train(args):
    folder = os.path.dirname(os.path.abspath(args.out))
    if not os.access(folder, os.W_OK):
        die(f"{folder}: no folder that can be written to")  # now, and not after the training
    torch.manual_seed(args.seed)
    model = Llama(args.model)
    if args.length > model.n_ctx:
        die(f"--length {args.length}: the model was trained for {model.n_ctx}")
    data, held_out = train_and_held_out(args, Tokenizer(args.slm, args.model))
    model.add_factors(MATRICES if args.targets == ["all"] else args.targets, args.rank, args.alpha)
    n = sum(factor.numel() for pair in model.factors.values() for factor in pair)
    print(f"{len(data)} sequences, {len(held_out)} held out; {n} parameters in {len(model.factors)} matrices")
    measure = functools.partial(mean_loss, model, batch=args.batch, most=args.measure)
    print(f"before      loss {measure(data):.4f}, held out {measure(held_out):.4f}", flush=True)
    train_steps(model, data, args)
    print(f"after       loss {measure(data):.4f}, held out {measure(held_out):.4f}")
    write_adapter(args.out, model, args.alpha, np.float16 if args.type == "f16" else np.float32)
    print(f"{args.out}: {os.path.getsize(args.out)} bytes")


# ---- Check ----

def check(args):
    """The log-probabilities of a text here and in slm: its most probable tokens after each position."""
    model = Llama(args.model)
    ids = Tokenizer(args.slm, args.model).ids(read_file(args.text))[:args.length]
    if not ids:
        die(f"{args.text}: no token")
    command = [args.slm, "logprobs", "-m", args.model, "--ids", "-", "--top", "100", "--reference", "--kv", "f32"]
    command += ["--lora", args.lora] if args.lora else []
    top = json.loads(run_slm(command, " ".join(map(str, ids)).encode()))["top"]
    if args.lora:
        model.load_factors(args.lora)  # slm has found no fault in it
    with torch.no_grad():
        mine = model.logits(model.hidden(torch.tensor([ids])))[0].log_softmax(-1)
    worst = max(abs(mine[i, token].item() - p) for i, row in enumerate(top) for token, p in row)
    print(f"{len(ids)} positions, the 100 most probable tokens after each: the largest difference of a log-probability is {worst:.2g}")
    if not worst < TOLERANCE:
        die(f"expected less than {TOLERANCE}")


# ---- Arguments ----

def targets(text):
    names = text.split(",")
    if names != ["all"] and not set(names) <= set(MATRICES):
        raise argparse.ArgumentTypeError(f"{text}: expected all, or some of {','.join(MATRICES)}")
    return names


def at_least(least, kind=int):
    def parse(text):
        value = kind(text)
        if not least <= value < math.inf:
            raise ValueError
        return value
    parse.__name__ = f"number (at least {least})"
    return parse


def default_slm():
    built = os.path.join(ROOT, "build", "slm")
    return built if os.path.exists(built) else shutil.which("slm") or built


def parse_arguments():
    both = argparse.ArgumentParser(add_help=False)
    both.add_argument("-m", dest="model", metavar="MODEL", required=True, help="GGUF file of the architecture llama")
    both.add_argument("--slm", metavar="PROGRAM", default=default_slm(), help="default: %(default)s")
    both.add_argument("--length", type=at_least(2), default=256, metavar="N", help="most tokens of a sequence (default: 256)")
    both.add_argument("-t", dest="threads", type=at_least(0), default=0, metavar="N", help="0 (default): what PyTorch chooses")

    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = p.add_subparsers(required=True, metavar="train|check")
    t = commands.add_parser("train", parents=[both], formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    t.set_defaults(run=train)
    t.add_argument("data", metavar="DATA", help="NAME.jsonl: prompts and responses; else a text")
    t.add_argument("-o", dest="out", required=True, metavar="FILE", help="the adapter")
    t.add_argument("--held-out", metavar="FILE", help="measured only; without it, every tenth sequence of DATA")
    t.add_argument("--system", metavar="TEXT", help="a system message before each prompt, as that of slm run")
    t.add_argument("--rank", type=at_least(1), default=8, metavar="N", help="of the factors")
    t.add_argument("--alpha", type=at_least(1e-3, float), default=16, metavar="F", help="the factors count alpha / rank times")
    t.add_argument("--targets", type=targets, default="attn_q,attn_v", metavar="LIST", help="all, or some of " + ",".join(MATRICES))
    t.add_argument("--steps", type=at_least(1), default=100, metavar="N")
    t.add_argument("--batch", type=at_least(1), default=4, metavar="N", help="sequences a step")
    t.add_argument("--lr", type=at_least(0, float), default=2e-3, metavar="F", help="the highest rate of learning")
    t.add_argument("--warm-up", type=at_least(0, float), default=0.1, metavar="F", help="share of the steps in which it rises")
    t.add_argument("--weight-decay", type=at_least(0, float), default=0.0, metavar="F")
    t.add_argument("--seed", type=int, default=1, metavar="N")
    t.add_argument("--measure", type=at_least(1), default=32, metavar="N", help="sequences that the loss before and after is of, at most")
    t.add_argument("--type", choices=["f16", "f32"], default="f16", help="of the numbers in the file")
    c = commands.add_parser("check", parents=[both])
    c.set_defaults(run=check)
    c.add_argument("text", metavar="TEXT", help="a file")
    c.add_argument("--lora", metavar="FILE", help="with this adapter, here and in slm")
    return p.parse_args()


def main():
    args = parse_arguments()
    if args.threads:
        torch.set_num_threads(args.threads)
    args.run(args)


if __name__ == "__main__":
    main()
