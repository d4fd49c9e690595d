"""The rivals of `cargo xtask bench index`, driven line by line over standard input.

    rivals.py BASE_F32 QUERIES_F32 DIM METRIC

METRIC is `cosine` (of unit vectors, so their inner product) or `l2`. A line is a JSON object, and so
is its answer:

- `{"do": "build", "engine": E}` builds an index; answers CPU and wall seconds and the growth of the
  process in bytes.
- `{"do": "search", "engine": E, "ef": N, "k": K, "repeat": R, "ids": PATH}` answers all queries R times
  by the engine's own batch call on one thread, so that no Python call is charged to a query; writes the
  rows found as `[queries, k]` u32 to PATH unless it is empty.
- `{"do": "drop", "engine": E}` frees it.

Engines are NAME or NAME-mM (links a row asks for; 16 unless it says); efConstruction is 200.
"""

import gc
import json
import subprocess
import sys
import time

import numpy as np

EF_CONSTRUCTION = 200


def resident():
    """Bytes in memory that are not those of a file."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("RssAnon:"))


class Hnswlib:
    def __init__(self, rows, metric, m):
        import hnswlib

        self.index = hnswlib.Index("ip" if metric == "cosine" else "l2", rows.shape[1])
        self.index.init_index(len(rows), M=m, ef_construction=EF_CONSTRUCTION)
        self.index.set_num_threads(1)
        self.index.add_items(rows, np.arange(len(rows)), num_threads=1)

    def search(self, queries, k, ef):
        self.index.set_ef(max(ef, k))
        return self.index.knn_query(queries, k, num_threads=1)[0]


class Faiss:
    """HNSW over f32 rows."""

    def __init__(self, rows, metric, m):
        import faiss

        faiss.omp_set_num_threads(1)
        self.faiss = faiss
        kind = faiss.METRIC_INNER_PRODUCT if metric == "cosine" else faiss.METRIC_L2
        self.index = self.make(rows, kind, m)
        self.graph().hnsw.efConstruction = EF_CONSTRUCTION
        self.index.train(rows)
        self.index.add(rows)

    def make(self, rows, kind, m):
        return self.faiss.IndexHNSWFlat(rows.shape[1], m, kind)

    def graph(self):
        return self.index

    def search(self, queries, k, ef):
        params = self.faiss.SearchParametersHNSW(efSearch=max(ef, k))
        return self.index.search(queries, k, params=params)[1]


class FaissSq8(Faiss):
    """HNSW over 8-bit rows, the best 40 compared again as f32."""

    def make(self, rows, kind, m):
        faiss = self.faiss
        quantizer = faiss.ScalarQuantizer.QT_8bit
        self.inner = faiss.IndexHNSWSQ(rows.shape[1], quantizer, m, kind)
        self.exact = faiss.IndexFlat(rows.shape[1], kind)
        return faiss.IndexRefine(self.inner, self.exact)

    def graph(self):
        return self.inner

    def search(self, queries, k, ef):
        params = self.faiss.IndexRefineSearchParameters(
            k_factor=max(40, k) / k,
            base_index_params=self.faiss.SearchParametersHNSW(efSearch=max(ef, k)),
        )
        return self.index.search(queries, k, params=params)[1]


class Usearch:
    def __init__(self, rows, metric, m, dtype="f32"):
        from usearch.index import Index

        kind = "cos" if metric == "cosine" else "l2sq"
        self.index = Index(
            ndim=rows.shape[1],
            metric=kind,
            dtype=dtype,
            connectivity=m,
            expansion_add=EF_CONSTRUCTION,
        )
        self.index.add(np.arange(len(rows)), rows, threads=1)

    def search(self, queries, k, ef):
        self.index.expansion_search = max(ef, k)
        return self.index.search(queries, k, threads=1).keys


def make(engine, rows, metric):
    name, _, m = engine.partition("-m")
    m = int(m or 16)
    kinds = {
        "hnswlib": lambda: Hnswlib(rows, metric, m),
        "faiss": lambda: Faiss(rows, metric, m),
        "faiss/sq8": lambda: FaissSq8(rows, metric, m),
        "usearch": lambda: Usearch(rows, metric, m),
        "usearch/bf16": lambda: Usearch(rows, metric, m, "bf16"),
        "usearch/i8": lambda: Usearch(rows, metric, m, "i8"),
    }
    return kinds[name]()


class Program:
    """An engine that is a program of its own; it takes the same lines and answers the same."""

    def __init__(self, path):
        command = [path, *sys.argv[1:5]]
        self.child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, ask):
        self.child.stdin.write(json.dumps(ask) + "\n")
        self.child.stdin.flush()
        return json.loads(self.child.stdout.readline())


def main():
    dim, metric = int(sys.argv[3]), sys.argv[4]
    rows = np.fromfile(sys.argv[1], "<f4").reshape(-1, dim)
    queries = np.fromfile(sys.argv[2], "<f4").reshape(-1, dim)
    built, programs = {}, {}
    for line in sys.stdin:
        ask = json.loads(line)
        engine = ask["engine"]
        name, _, m = engine.partition("-m")
        if name == "ruvector" and len(sys.argv) > 5:
            if engine not in programs:
                programs[engine] = Program(sys.argv[5])
            print(json.dumps(programs[engine].ask({**ask, "m": int(m or 16)})), flush=True)
            continue
        try:
            gc.collect()
            before, wall, cpu = resident(), time.perf_counter(), time.process_time()
            answer = {}
            if ask["do"] == "build":
                built[engine] = make(engine, rows, metric)
            elif ask["do"] == "drop":
                del built[engine]
            else:
                for _ in range(ask["repeat"]):
                    found = built[engine].search(queries, ask["k"], ask["ef"])
            answer["cpu_s"] = time.process_time() - cpu
            answer["wall_s"] = time.perf_counter() - wall
            answer["bytes"] = max(0, resident() - before)
            if ask["do"] == "search" and ask["ids"]:
                np.ascontiguousarray(found).astype("<u4").tofile(ask["ids"])
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


main()
