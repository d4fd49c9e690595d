"""The encoder as plain ONNX operators, and token numbers, for `rten-rival`.

    cargo build --release --manifest-path crates/edge-embed/rivals/rten/Cargo.toml --target-dir WORK
    python crates/edge-embed/rivals/rten/rten.py MODEL_FOLDER TEXTS WORK
    taskset -c 1 WORK/release/rten-rival WORK/model.onnx WORK/ids.txt 32

TEXTS has a text a line. MODEL_FOLDER is one of sentence-transformers; the Python packages are those of
`oracles/encoder.py`.
"""

import sys
from pathlib import Path

import numpy as np
from onnx import TensorProto as P
from onnx import helper, numpy_helper, save

sys.path.insert(0, str(Path(__file__).resolve().parents[4] / "oracles"))
from encoder import encode, load  # noqa: E402


def model(t, config):
    """ids, mask [batch, length] int32 -> [batch, hidden], mean over the mask, length 1."""
    nodes, weights, known = [], [], set()

    def const(name, value, kind="f4"):
        if name not in known:
            known.add(name)
            value = np.ascontiguousarray(np.asarray(value, kind))
            weights.append(numpy_helper.from_array(value, name))
        return name

    def node(op, inputs, name=None, **attributes):
        name = name or f"{op}{len(nodes)}"
        nodes.append(helper.make_node(op, inputs, [name], name=name + "_node", **attributes))
        return name

    def linear(x, p):
        y = node("MatMul", [x, const(p + ".weight", t[p + ".weight"].T)])
        return node("Add", [y, const(p + ".bias", t[p + ".bias"])])

    def norm(x, p):
        scale, bias = const(p + ".weight", t[p + ".weight"]), const(p + ".bias", t[p + ".bias"])
        return node("LayerNormalization", [x, scale, bias], axis=-1, epsilon=config["layer_norm_eps"])

    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    e = "embeddings."
    words = node("Gather", [const("words", t[e + "word_embeddings.weight"]), "ids"], axis=0)
    length = node("Slice", [node("Shape", ["ids"]), const("1", [1], "i8"), const("2", [2], "i8")])
    places = node("Slice", [const("places", t[e + "position_embeddings.weight"]),
                            const("0", [0], "i8"), length, const("axis0", [0], "i8")])
    kind = const("kind", t[e + "token_type_embeddings.weight"][0])
    x = node("Add", [node("Add", [words, places]), kind])
    x = norm(x, e + "LayerNorm")
    mask = node("Cast", ["mask"], to=P.FLOAT)
    off = node("Mul", [node("Sub", [const("one", 1.0), mask]), const("low", -1e4)])
    off = node("Unsqueeze", [off, const("axes12", [1, 2], "i8")])
    split, joined = const("split", [0, 0, heads, hidden // heads], "i8"), const("joined", [0, 0, hidden], "i8")
    root = const("root", np.sqrt(hidden / heads))
    for n in range(config["num_hidden_layers"]):
        p = f"encoder.layer.{n}."
        parts = [node("Reshape", [linear(x, p + "attention.self." + s), split])
                 for s in ("query", "key", "value")]
        q = node("Transpose", [parts[0]], perm=[0, 2, 1, 3])
        k = node("Transpose", [parts[1]], perm=[0, 2, 3, 1])
        v = node("Transpose", [parts[2]], perm=[0, 2, 1, 3])
        scores = node("Add", [node("Div", [node("MatMul", [q, k]), root]), off])
        seen = node("MatMul", [node("Softmax", [scores], axis=-1), v])
        seen = node("Reshape", [node("Transpose", [seen], perm=[0, 2, 1, 3]), joined])
        y = linear(seen, p + "attention.output.dense")
        x = norm(node("Add", [y, x]), p + "attention.output.LayerNorm")
        f = node("Gelu", [linear(x, p + "intermediate.dense")])
        x = norm(node("Add", [linear(f, p + "output.dense"), x]), p + "output.LayerNorm")
    total = node("ReduceSum", [node("Mul", [x, node("Unsqueeze", [mask, const("2", [2], "i8")])]),
                               const("1", [1], "i8")], keepdims=0)
    square = node("ReduceSum", [node("Mul", [total, total]), const("1", [1], "i8")], keepdims=1)
    node("Div", [total, node("Sqrt", [square])], name="embedding")
    graph = helper.make_graph(nodes, "bert", [
        helper.make_tensor_value_info("ids", P.INT32, ["b", "l"]),
        helper.make_tensor_value_info("mask", P.INT32, ["b", "l"]),
    ], [helper.make_tensor_value_info("embedding", P.FLOAT, ["b", hidden])], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


if __name__ == "__main__":
    folder, texts, work = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    weights, config, tokenizer = load(folder)[:3]
    save(model(weights, config), work / "model.onnx")
    lines = Path(texts).read_text().splitlines()
    ids = [encode(tokenizer, line, 256) for line in lines]
    (work / "ids.txt").write_text("\n".join(" ".join(map(str, i)) for i in ids) + "\n")
