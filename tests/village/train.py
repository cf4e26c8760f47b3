#!/usr/bin/env python3
"""Trains the model of this folder on the stories of world.py, and measures models by means that share nothing with libslm.

    train.py train TRAINED.gguf      about 15 minutes on one core; writes Q8_0
    train.py spread TRAINED.gguf OUT.gguf   gives channels different scales, which changes what is computed by nothing but rounding
    train.py heldout                 writes heldout.txt and questions.jsonl: stories that are not in the text for training, questions
    train.py perplexity MODEL.gguf   of heldout.txt, in windows as `slm perplexity -c 256` cuts them
    train.py questions MODEL.gguf    how many of questions.jsonl are answered right
    train.py tell MODEL.gguf TEXT    goes on with TEXT, always by the most probable token

Wants the Python packages torch (1.13 or later), tokenizers and gguf. A llama: RMS norms before attention and feed-forward, RoPE on neighbouring pairs, grouped queries, SwiGLU,
the embedding as output matrix. AdamW with a warm-up and a cosine (Loshchilov & Hutter 2017, 2019).
"""
import hashlib
import json
import math
import os
import sys
import time

import gguf
import numpy as np
import torch
from torch.nn import functional

import world

HERE = os.path.dirname(os.path.abspath(__file__))
N_VOCAB, N_EMBD, N_FF, N_HEAD, N_HEAD_KV, N_LAYER, N_CTX = 1280, 256, 256, 8, 2, 4, 256
HEAD = N_EMBD // N_HEAD
EPSILON, ROPE_BASE = 1e-5, 10000.0
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
END, TURN, TURN_END = range(3)
CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

N_STORIES, TRAIN_SEED = 200000, 7
N_HELDOUT, N_QUESTIONS, HELDOUT_SEED = 36000, 60, 99
SPREAD, SPREAD_SEED = 0.8, 3
TEXT_SHA256 = "9b9e2afad1ea70efabb0e5daf0bb3a9259c8010e15dbbda505e008bbd3668dfa"
STEPS, BATCH, LEARNING_RATE, WARM_UP, DECAY = 3000, 4, 3e-3, 100, 0.1

# ---- Text and tokens ----


def documents(seed, n_stories):
    """Some stories, or a chat: what a model reads from one end of text to the next."""
    t, left = world.Teller(seed), n_stories
    while left > 0:
        n = 1 + min(t.number(0, 7), left - 1)
        if t.number(0, 6) == 0:
            yield t.chat()
        else:
            yield "\n\n".join(t.story() for _ in range(n))
        left -= n


def write_heldout():
    """About N_HELDOUT bytes of new stories."""
    seen = {story for text in documents(TRAIN_SEED, N_STORIES) for story in text.split("\n\n")}
    new, size = [], 0
    for story in world.stories(HELDOUT_SEED, 1000):
        if story not in seen and size < N_HELDOUT:
            new.append(story)
            size += len(story) + 2
    with open(os.path.join(HERE, "heldout.txt"), "w", encoding="utf-8", newline="\n") as f:
        f.write("\n\n".join(new) + "\n")
    with open(os.path.join(HERE, "questions.jsonl"), "w", encoding="utf-8", newline="\n") as f:
        f.writelines(json.dumps(q) + "\n" for q in world.questions(HELDOUT_SEED, N_QUESTIONS))


def train_tokenizer(texts):
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    t.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=N_VOCAB, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                                     show_progress=False))
    return t


def prepare():
    """(tokenizer, all tokens in a row)"""
    texts = list(documents(TRAIN_SEED, N_STORIES))
    digest = hashlib.sha256("\0".join(texts).encode()).hexdigest()
    print(f"{sum(map(len, texts))} characters, SHA-256 {digest}", flush=True)
    if digest != TEXT_SHA256:
        sys.exit("this is not the text that the committed model was trained on")
    t = train_tokenizer(texts[:4000])
    ids = [i for e in t.encode_batch(texts) for i in (*e.ids, END)]
    return t, np.array(ids, np.int64)


# ---- The model: weights by their names in a file ----


def shapes():
    """{name: [rows, columns], or [n] for a norm}"""
    rows = {"token_embd.weight": [N_VOCAB, N_EMBD], "output_norm.weight": [N_EMBD]}
    for i in range(N_LAYER):
        rows |= {
            f"blk.{i}.attn_norm.weight": [N_EMBD],
            f"blk.{i}.attn_q.weight": [N_HEAD * HEAD, N_EMBD],
            f"blk.{i}.attn_k.weight": [N_HEAD_KV * HEAD, N_EMBD],
            f"blk.{i}.attn_v.weight": [N_HEAD_KV * HEAD, N_EMBD],
            f"blk.{i}.attn_output.weight": [N_EMBD, N_HEAD * HEAD],
            f"blk.{i}.ffn_norm.weight": [N_EMBD],
            f"blk.{i}.ffn_gate.weight": [N_FF, N_EMBD],
            f"blk.{i}.ffn_up.weight": [N_FF, N_EMBD],
            f"blk.{i}.ffn_down.weight": [N_EMBD, N_FF],
        }
    return rows


def initial(seed):
    random, weights = np.random.default_rng(seed), {}
    for name, shape in shapes().items():
        if len(shape) == 1:
            weights[name] = np.ones(shape, np.float32)
        else:
            scale = 0.05 if name.startswith("token") else shape[1] ** -0.5
            if name.endswith(("attn_output.weight", "ffn_down.weight")):
                scale /= math.sqrt(2 * N_LAYER)
            weights[name] = random.normal(0, scale, shape).astype(np.float32)
    return weights


def norm(x, weight):
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + EPSILON) * weight


def rope(x):
    """x: [batch, position, head, HEAD]"""
    angle = torch.arange(x.shape[1], dtype=x.dtype)[:, None] * ROPE_BASE ** (-torch.arange(0, HEAD, 2, dtype=x.dtype) / HEAD)
    cos, sin = angle.cos()[:, None], angle.sin()[:, None]
    even, odd = x[..., ::2], x[..., 1::2]
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).reshape(x.shape)


def attention(q, k, v, future):
    """q: [batch, position, N_HEAD, HEAD], k, v: the same with N_HEAD_KV. All heads of a KV head together."""
    b, n, shared = q.shape[0], q.shape[1], N_HEAD // N_HEAD_KV
    q = q.view(b, n, N_HEAD_KV, shared, HEAD).permute(0, 2, 3, 1, 4).reshape(b * N_HEAD_KV, shared * n, HEAD)
    k = k.permute(0, 2, 3, 1).reshape(b * N_HEAD_KV, HEAD, n)
    v = v.transpose(1, 2).reshape(b * N_HEAD_KV, n, HEAD)
    p = torch.softmax(torch.baddbmm(future, q, k, alpha=HEAD**-0.5), -1)
    return torch.bmm(p, v).view(b, N_HEAD_KV, shared, n, HEAD).permute(0, 3, 1, 2, 4).reshape(b, n, N_HEAD * HEAD)


def logits(w, tokens):
    """tokens: [batch, position] -> [batch, position, N_VOCAB]"""
    b, n = tokens.shape
    x = w["token_embd.weight"][tokens]
    future = torch.triu(torch.full((n, n), -1e30, dtype=x.dtype), 1).repeat(N_HEAD // N_HEAD_KV, 1)
    for i in range(N_LAYER):
        def of(name):
            return w[f"blk.{i}.{name}.weight"]
        h = norm(x, of("attn_norm"))
        q = rope((h @ of("attn_q").T).view(b, n, N_HEAD, HEAD))
        k = rope((h @ of("attn_k").T).view(b, n, N_HEAD_KV, HEAD))
        v = (h @ of("attn_v").T).view(b, n, N_HEAD_KV, HEAD)
        x = x + attention(q, k, v, future) @ of("attn_output").T
        h = norm(x, of("ffn_norm"))
        x = x + (functional.silu(h @ of("ffn_gate").T) * (h @ of("ffn_up").T)) @ of("ffn_down").T
    return norm(x, w["output_norm.weight"]) @ w["token_embd.weight"].T


def surprise(w, tokens):
    """-ln p of every token but the first: [batch, position - 1]"""
    rows = logits(w, tokens[:, :-1])
    return functional.cross_entropy(rows.reshape(-1, N_VOCAB), tokens[:, 1:].reshape(-1), reduction="none").view(len(tokens), -1)


# ---- Training ----


def learning_rate(step):
    if step < WARM_UP:
        return LEARNING_RATE * (step + 1) / WARM_UP
    return LEARNING_RATE * (0.5 + 0.5 * math.cos(math.pi * (step - WARM_UP) / (STEPS - WARM_UP)))


def train(path):
    torch.set_num_threads(1)
    tokenizer, ids = prepare()
    state = json.loads(tokenizer.to_str())["model"]
    tokens, merges = sorted(state["vocab"], key=state["vocab"].get), state["merges"]
    w = {k: torch.nn.Parameter(torch.from_numpy(x)) for k, x in initial(1).items()}
    print(f"{len(ids)} tokens, {sum(x.numel() for x in w.values())} weights", flush=True)
    groups = [{"params": [x for x in w.values() if x.ndim == 2], "weight_decay": DECAY}, {"params": [x for x in w.values() if x.ndim == 1], "weight_decay": 0}]
    adam = torch.optim.AdamW(groups, betas=(0.9, 0.95))
    random, began, mean = np.random.default_rng(2), time.time(), None
    for step in range(STEPS):
        for group in adam.param_groups:
            group["lr"] = learning_rate(step)
        at = random.integers(0, len(ids) - N_CTX - 1, BATCH)
        loss = surprise(w, torch.from_numpy(np.stack([ids[i:i + N_CTX + 1] for i in at]))).mean()
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(w.values(), 1)
        adam.step()
        mean = loss.item() if mean is None else 0.98 * mean + 0.02 * loss.item()
        if step % 50 == 49:
            print(f"step {step + 1}: loss {mean:.4f}, {time.time() - began:.0f} s", flush=True)
        if step % 250 == 249 or step == STEPS - 1:
            write(path, (tokens, merges), {k: x.detach().numpy() for k, x in w.items()})


def write(path, vocabulary, weights):
    tokens, merges = vocabulary
    f = gguf.GGUFWriter(path, "llama")
    f.add_type("model")
    f.add_name("Village")
    f.add_description("Stories of a village with 22 people, for tests of libslm: a fixture, of no other use")
    f.add_license("mit")
    f.add_languages(["en"])
    f.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    f.add_quantization_version(2)
    f.add_vocab_size(N_VOCAB)
    f.add_context_length(N_CTX)
    f.add_embedding_length(N_EMBD)
    f.add_block_count(N_LAYER)
    f.add_feed_forward_length(N_FF)
    f.add_head_count(N_HEAD)
    f.add_head_count_kv(N_HEAD_KV)
    f.add_rope_dimension_count(HEAD)
    f.add_rope_freq_base(ROPE_BASE)
    f.add_layer_norm_rms_eps(EPSILON)
    f.add_tokenizer_model("gpt2")
    f.add_tokenizer_pre("gpt-2")
    f.add_token_list(tokens)
    f.add_token_types([gguf.TokenType.CONTROL if t in SPECIAL else gguf.TokenType.NORMAL for t in tokens])
    f.add_token_merges([" ".join(m) for m in merges])
    f.add_bos_token_id(TURN)
    f.add_eos_token_id(TURN_END)
    f.add_pad_token_id(END)
    f.add_add_bos_token(False)
    f.add_chat_template(CHATML)
    for name, x in weights.items():
        if x.ndim == 1:
            f.add_tensor(name, x)
        else:
            f.add_tensor(name, gguf.quantize(x, gguf.GGMLQuantizationType.Q8_0), raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    f.write_header_to_file()
    f.write_kv_data_to_file()
    f.write_tensors_to_file()
    f.close()


# ---- Channels of different scales ----


def spread(trained, path):
    """In a large model some channels of the activations are a hundred times the others, and the weights that they meet are small: that is what makes few bits
    costly and an importance matrix useful. So short a training leaves all channels alike. So here each gets a random factor where it is made, and what reads it the
    inverse: channels of norms, of values, of the feed-forward's linear half."""
    _, w = read(trained)
    w = {k: x.numpy() for k, x in w.items()}
    random = np.random.default_rng(SPREAD_SEED)

    def factors(*shape):
        return np.exp(random.normal(0, SPREAD, shape))

    for i in range(N_LAYER):
        def of(name):
            return w[f"blk.{i}.{name}.weight"]
        for source, readers in (("attn_norm", ("attn_q", "attn_k", "attn_v")), ("ffn_norm", ("ffn_gate", "ffn_up"))):
            s = factors(N_EMBD)
            of(source)[:] *= s
            for name in readers:
                of(name)[:] /= s
        s = factors(N_FF)
        of("ffn_up")[:] *= s[:, None]
        of("ffn_down")[:] /= s
        s = factors(N_HEAD_KV, HEAD)
        of("attn_v")[:] *= s.reshape(-1, 1)
        of("attn_output")[:] /= s.repeat(N_HEAD // N_HEAD_KV, 0).reshape(-1)
    write(path, vocabulary(trained), {k: x.astype(np.float32) for k, x in w.items()})


# ---- Measuring ----


def vocabulary(path):
    """(tokens, merges as pairs) of a file"""
    r = gguf.GGUFReader(path)
    return r.fields["tokenizer.ggml.tokens"].contents(), [tuple(m.split(" ")) for m in r.fields["tokenizer.ggml.merges"].contents()]


def read(path):
    """(tokenizer, weights) of a file"""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    tokens, merges = vocabulary(path)
    t = Tokenizer(models.BPE(vocab={x: i for i, x in enumerate(tokens)}, merges=merges))
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    t.decoder = decoders.ByteLevel()
    return t, {x.name: torch.from_numpy(gguf.dequantize(x.data, x.tensor_type).astype(np.float64)) for x in gguf.GGUFReader(path).tensors}


def perplexity(path):
    """The second half of each whole window is scored, as the peer and `slm perplexity` do."""
    t, w = read(path)
    with open(os.path.join(HERE, "heldout.txt"), encoding="utf-8", newline="") as f:
        ids = t.encode(f.read().removesuffix("\n")).ids
    rows = torch.tensor(ids[:len(ids) // N_CTX * N_CTX]).view(-1, N_CTX)
    scored = surprise(w, rows)[:, N_CTX // 2:]
    print(f"{len(ids)} tokens, {scored.numel()} scored: perplexity {scored.mean().exp().item():.6f}")


def answer(path):
    """The choice whose tokens are the most probable ones, by their sum."""
    t, w = read(path)
    right, by_length = 0, 0
    with open(os.path.join(HERE, "questions.jsonl"), encoding="utf-8") as f:
        questions = [json.loads(line) for line in f]
    for q in questions:
        n = len(t.encode(q["query"]).ids)
        sums, means = [], []
        for choice in q["choices"]:
            ids = t.encode(q["query"]).ids + t.encode(choice).ids
            x = surprise(w, torch.tensor([ids]))[0, n - 1:]
            sums.append(x.sum().item())
            means.append(x.mean().item())
        right += int(np.argmin(sums)) == q["gold"]
        by_length += int(np.argmin(means)) == q["gold"]
    print(f"{right} of {len(questions)} right, {by_length} by the mean of a choice's tokens")


def tell(path, text, n=120):
    t, w = read(path)
    ids = t.encode(text).ids
    for _ in range(n):
        ids.append(logits(w, torch.tensor([ids]))[0, -1].argmax().item())
        if ids[-1] in (END, TURN_END):
            break
    print(t.decode(ids, skip_special_tokens=False))


if __name__ == "__main__":
    if sys.argv[1] == "train":
        train(sys.argv[2])
    elif sys.argv[1] == "heldout":
        write_heldout()
    else:
        with torch.no_grad():
            {"spread": spread, "perplexity": perplexity, "questions": answer, "tell": tell}[sys.argv[1]](*sys.argv[2:])
