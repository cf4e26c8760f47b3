#!/usr/bin/env python3
"""off_grid.py IN OUT: a model in F32 that computes what IN does, with weights that no quantized file holds exactly.

An F32 file made from a quantized one lies on the grid of its types, so quantizing to these again costs nothing, and says nothing. Here channels
are rescaled where it cancels: a norm's weight against the columns of the matrices behind it, a row of V against the columns of the output
matrix, a row of up against a column of down. Factors are log-normal, sigma 0.15, seeded. Needs the Python packages gguf and numpy.
"""
import shutil
import sys

import gguf
import numpy as np

SIGMA, SEED = 0.15, 7


def number(reader, key):
    return int(reader.fields[key].parts[-1][0])


def rescale(path):
    reader = gguf.GGUFReader(path, "r+")
    arch = bytes(reader.fields["general.architecture"].parts[-1]).decode()
    n_head, n_head_kv = (number(reader, f"{arch}.attention.{k}") for k in ("head_count", "head_count_kv"))
    tensors = {t.name: t.data for t in reader.tensors}
    random = np.random.default_rng(SEED)

    def factors(n):
        return np.exp(SIGMA * random.standard_normal(n)).astype(np.float32)

    for i in range(number(reader, f"{arch}.block_count")):
        w = {name: tensors[f"blk.{i}.{name}.weight"] for name in
             ("attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_norm", "ffn_gate", "ffn_up", "ffn_down")}
        for norm, behind in (("attn_norm", ("attn_q", "attn_k", "attn_v")), ("ffn_norm", ("ffn_gate", "ffn_up"))):
            f = factors(len(w[norm]))
            w[norm][:] /= f
            for name in behind:
                w[name][:] *= f
        f = factors(w["ffn_up"].shape[0])
        w["ffn_up"][:] /= f[:, None]
        w["ffn_down"][:] *= f
        f = factors(w["attn_v"].shape[0])
        w["attn_v"][:] /= f[:, None]
        w["attn_output"][:] *= np.repeat(f.reshape(n_head_kv, -1), n_head // n_head_kv, axis=0).reshape(-1)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    shutil.copy(sys.argv[1], sys.argv[2])
    rescale(sys.argv[2])
