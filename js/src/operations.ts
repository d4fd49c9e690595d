/**
 * Operations on large arrays on the workers of a pool: cut here, put together here, computed by
 * `edge_kernels::operations`. Where the cuts lie follows from the shapes alone, so the result is the same bits
 * whatever runs them. Where a caller takes another rounding for more speed, the fastest of what was measured here runs.
 */

import { compiled } from "./files.js";
import { Gpu } from "./gpu.js";
import type { Part, Pool } from "./pool.js";
import { WebGl } from "./webgl.js";

export type Elementwise = "add" | "mul" | "relu" | "sigmoid";
export type Reduction = "sum" | "max" | "min" | "mean";

/** `heads`, `tokens` and `dim` of arrays `[heads, tokens, dim]`; `causal`: a token sees those before it, and itself. */
export type AttentionShape = { heads: number; tokens: number; dim: number; causal?: boolean };
/** `x` is `[rows, from]`, `base` `[rows, to]`, `a` `[from, rank]`, `b` `[rank, to]`. */
export type LoraShape = { from: number; to: number; rank: number; scale: number };

/** `approximate`: other roundings are welcome, so that a GPU may do it where it was the fastest when measured. */
export type Accuracy = { approximate?: boolean };

/** What can compute a product here, and how fast it did; `why` not, where there is none. */
export type Backend = { kind: "workers" | "scalar" | "webgpu" | "webgl"; name: string; gflops: number | null; exact: boolean; why?: string };

/** As `edge_kernels::operations::ELEMENTS_MAX`. */
const ELEMENTS_MAX = 1 << 28;
/** What pages may ask for. */
const ASKED = ["matmul", "dot", "vector", "reduce", "attention", "lora", "backends", "conformance"];
/** What their arrays are called, in order. */
const ARRAYS: Record<string, string[]> = {
  matmul: ["a", "b"], dot: ["a", "b"], vector: ["a", "b"], reduce: ["x"], attention: ["q", "k", "v"], lora: ["x", "base", "a", "b"],
};
const REDUCTIONS = ["sum", "max", "min", "mean"];
const ELEMENTWISE = ["add", "mul", "relu", "sigmoid"];
/** The side of the product that back ends are measured by, and how often. */
const MEASURED = 512;
const ROUNDS = 3;
/** What takes longer is not tried again. */
const SLOW_MS = 500;
/** Parts that wait for each worker. */
const AHEAD = 3;
/** Multiplications from which on it pays to send arrays to a GPU. */
const WORTH = 1 << 22;

function invalid(what: string): Error {
  return new Error(`invalid: ${what}`);
}

/** A dimension. */
function count(value: number, name: string): number {
  if (!Number.isInteger(value) || value < 0 || value > ELEMENTS_MAX) {
    throw invalid(`\`${name}\` is a whole number up to ${ELEMENTS_MAX}, not ${String(value)}`);
  }
  return value;
}

function array(value: unknown, name: string, length?: number): Float32Array {
  if (!(value instanceof Float32Array)) throw invalid(`\`${name}\` is a Float32Array`);
  if (value.length > ELEMENTS_MAX) throw invalid(`\`${name}\` has more than ${ELEMENTS_MAX} elements`);
  if (length !== undefined && value.length !== length) {
    throw invalid(`\`${name}\` has ${value.length} elements where its shape says ${length}`);
  }
  return value;
}

/** A part says that a number is not finite; which one is looked for only then. */
function notFinite(error: unknown, op: string, args: unknown[]): unknown {
  if (!(error instanceof Error) || !/finite/.test(error.message)) return error;
  const arrays = args.filter((arg): arg is Float32Array => arg instanceof Float32Array);
  for (const [which, values] of arrays.entries()) {
    const at = values.findIndex((value) => !Number.isFinite(value));
    if (at >= 0) return invalid(`\`${ARRAYS[op]?.[which]}\` has ${values[at]} at ${at}: numbers have to be finite`);
  }
  return invalid(`a number of the result of ${op} is too large: it is not finite`);
}

function shaped<T extends object>(shape: T): T {
  if (typeof shape !== "object" || shape === null) throw invalid("the first argument is a shape, an object");
  return shape;
}

/** An array that all workers read: one copy in shared memory where the page is isolated, else a copy for each worker. */
function common(given: Float32Array): Float32Array {
  if (!globalThis.crossOriginIsolated || given.buffer instanceof SharedArrayBuffer) return given;
  const shared = new Float32Array(new SharedArrayBuffer(given.byteLength));
  shared.set(given);
  return shared;
}

function concatenated(parts: Float32Array[], length: number): Float32Array {
  const whole = new Float32Array(length);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Parts of so many units each. */
function* cuts<T>(units: number, per: number, part: (first: number, last: number) => T): Generator<T> {
  for (let first = 0; first < units; first += per) yield part(first, Math.min(units, first + per));
}

/** The module of the parts. */
export function kernelsModule(): Promise<WebAssembly.Module> {
  return compiled(new URL("./wasm/edge_wasm_kernels_bg.wasm", import.meta.url));
}

export class Operations {
  #pool: Pool;
  #operation = 0;
  #measured: Promise<Backend[]> | null = null;
  #gpu: Gpu | null = null;
  #webgl: WebGl | null = null;

  constructor(pool: Pool) {
    this.#pool = pool;
  }

  /**
   * Runs parts, which are cut when it is their turn: a few wait for each worker, so that none is idle and the arrays
   * are not copied all at once. When one fails those that wait are dropped.
   */
  async #run(parts: Iterable<Omit<Part, "operation">>): Promise<Float32Array[]> {
    const operation = ++this.#operation;
    const results: Float32Array[] = [];
    const going = new Map<number, { cancel: () => void; done: Promise<void> }>();
    let at = 0;
    try {
      for (const part of parts) {
        while (going.size >= AHEAD * Math.max(1, this.#pool.stats.workers)) {
          await Promise.race([...going.values()].map(({ done }) => done));
        }
        const place = at++;
        const { result, cancel } = this.#pool.part({ ...part, operation });
        const done = result.then((value) => {
          results[place] = value;
          going.delete(place);
        });
        // It is waited for below; until then its failure is nobody's.
        done.catch(() => {});
        going.set(place, { cancel, done });
      }
      await Promise.all([...going.values()].map(({ done }) => done));
      return results;
    } catch (error) {
      for (const { cancel } of going.values()) cancel();
      throw error;
    }
  }

  #cut(op: string, ...sizes: number[]): Promise<number> {
    return this.#pool.kernelsCall<number>("cut", [op, ...sizes]);
  }

  /**
   * Has a GPU do something that takes so many multiplications, if the caller takes its roundings and it was the
   * fastest; `null` if not, or if the GPU fails: the workers do it then.
   */
  async #elsewhere(
    accuracy: Accuracy | null, products: number, does: (on: Gpu | WebGl) => Promise<Float32Array> | null,
  ): Promise<Float32Array | null> {
    if (accuracy?.approximate !== true || products < WORTH) return null;
    const [fastest] = await this.backends();
    const on = fastest?.kind === "webgpu" ? this.#gpu : fastest?.kind === "webgl" ? this.#webgl : null;
    if (on === null) return null;
    try {
      return await does(on);
    } catch {
      // Lost, or the arrays do not fit it. What is measured next time says whether it is back.
      this.#measured = null;
      return null;
    }
  }

  /** `a b`: `a` is `[m, k]`, `b` `[k, n]`, the result `[m, n]`, row after row. */
  async matmul(
    a: Float32Array, b: Float32Array, m: number, k: number, n: number, accuracy: Accuracy = {},
  ): Promise<Float32Array> {
    array(a, "a", count(m, "m") * count(k, "k"));
    array(b, "b", k * count(n, "n"));
    if (m * n > ELEMENTS_MAX) throw invalid("the product is too large");
    return (await this.#elsewhere(accuracy, m * k * n, (on) => on.matmul(a, b, m, k, n)))
      ?? this.#product(a, b, m, k, n, false);
  }

  async #product(
    a: Float32Array, b: Float32Array, m: number, k: number, n: number, scalar: boolean,
  ): Promise<Float32Array> {
    const rows = await this.#cut("matmul", n, k);
    const shared = [common(b)];
    const parts = cuts(m, rows, (first, last) =>
      ({ op: "matmul", sizes: [last - first, n, k], own: [a.slice(first * k, last * k)], shared, scalar }));
    return concatenated(await this.#run(parts), m * n);
  }

  /** Parts of so many elements of each array; an empty one has an empty part in each. */
  async #stretches(op: string, sizes: string[], arrays: [Float32Array, ...Float32Array[]]): Promise<Float32Array[]> {
    const per = await this.#cut(op);
    return this.#run(cuts(arrays[0].length, per, (first, last) =>
      ({ op, sizes, own: arrays.map((array) => array.slice(first, last)), shared: [], scalar: false })));
  }

  /** One number of what the blocks gave. */
  #merge(reduction: Reduction, blocks: Float32Array[], length: number): Promise<number> {
    const all = concatenated(blocks, blocks.reduce((sum, block) => sum + block.length, 0));
    return this.#pool.kernelsCall<number>("merge", [reduction, all, length]);
  }

  async dot(a: Float32Array, b: Float32Array): Promise<number> {
    array(b, "b", array(a, "a").length);
    return this.#merge("sum", await this.#stretches("dot", [], [a, b]), a.length);
  }

  async vector(operation: Elementwise, a: Float32Array, b?: Float32Array): Promise<Float32Array> {
    if (!ELEMENTWISE.includes(operation)) throw invalid(`an operation is ${ELEMENTWISE.join(", ")}, not ${String(operation)}`);
    const two = operation === "add" || operation === "mul";
    array(a, "a");
    if (two) array(b, "b", a.length);
    else if (b !== undefined) throw invalid(`${operation} takes one array`);
    const parts = await this.#stretches("vector", [operation], [a, b ?? new Float32Array()]);
    return concatenated(parts, a.length);
  }

  async reduce(reduction: Reduction, x: Float32Array): Promise<number> {
    if (!REDUCTIONS.includes(reduction)) throw invalid(`a reduction is ${REDUCTIONS.join(", ")}, not ${String(reduction)}`);
    return this.#merge(reduction, await this.#stretches("reduce", [reduction], [array(x, "x")]), x.length);
  }

  /** `softmax(q kᵀ / sqrt(dim)) v` of each head. */
  async attention(
    shape: AttentionShape, q: Float32Array, k: Float32Array, v: Float32Array, accuracy: Accuracy = {},
  ): Promise<Float32Array> {
    const { heads, tokens, dim, causal = false } = shaped(shape);
    const size = count(tokens, "tokens") * count(dim, "dim");
    if (count(heads, "heads") * size === 0) throw invalid("there is nothing to attend to: heads, tokens and dim are 1 or more");
    for (const [name, given] of Object.entries({ q, k, v })) array(given, name, heads * size);
    const sent = await this.#elsewhere(accuracy, 2 * heads * tokens * size, (on) =>
      (on instanceof Gpu ? on.attention(q, k, v, heads, tokens, dim, causal) : null));
    if (sent !== null) return sent;
    const rows = await this.#cut("attention", tokens, dim);
    // An operation a head: the parts of a head read the same keys and values.
    const one = (head: number) => {
      const of = (given: Float32Array, first: number, last: number) =>
        given.slice(head * size + first * dim, head * size + last * dim);
      const shared = [common(of(k, 0, tokens)), common(of(v, 0, tokens))];
      return this.#run(cuts(tokens, rows, (first, last) =>
        ({ op: "attention", sizes: [tokens, dim, causal, first], own: [of(q, first, last)], shared, scalar: false })));
    };
    const done: Float32Array[] = [];
    // As many heads at once as keep the workers busy.
    const together = Math.max(1, Math.ceil(this.#pool.stats.workers / Math.max(1, tokens / rows)));
    for (let head = 0; head < heads; head += together) {
      const some = Array.from({ length: Math.min(together, heads - head) }, (_, at) => one(head + at));
      done.push(...(await Promise.all(some)).flat());
    }
    return concatenated(done, heads * size);
  }

  /** `base + scale * (x a) b`. */
  async lora(
    shape: LoraShape, x: Float32Array, base: Float32Array, a: Float32Array, b: Float32Array, accuracy: Accuracy = {},
  ): Promise<Float32Array> {
    const { from, to, rank, scale } = shaped(shape);
    if (!(count(from, "from") > 0 && count(to, "to") > 0 && count(rank, "rank") > 0)) throw invalid("a shape without columns");
    if (!Number.isFinite(scale)) throw invalid("`scale` is a number");
    const all = array(x, "x").length / from;
    array(base, "base", count(all, "rows of x") * to);
    array(a, "a", from * rank);
    array(b, "b", rank * to);
    const sent = await this.#elsewhere(accuracy, all * rank * (from + to), (on) =>
      (on instanceof Gpu ? on.lora(x, base, a, b, scale, all, from, to, rank) : null));
    if (sent !== null) return sent;
    const rows = await this.#cut("lora", from, to, rank);
    const shared = [common(a), common(b)];
    const parts = cuts(all, rows, (first, last) => ({
      op: "lora", sizes: [from, to, rank, scale], shared, scalar: false,
      own: [x.slice(first * from, last * from), base.slice(first * to, last * to)],
    }));
    return concatenated(await this.#run(parts), all * to);
  }

  /** What there is for products, measured once: the fastest first. */
  backends(): Promise<Backend[]> {
    this.#measured ??= this.#measure();
    return this.#measured;
  }

  async #measure(): Promise<Backend[]> {
    const side = MEASURED;
    const a = Float32Array.from({ length: side * side }, (_, at) => ((at * 7) % 31) / 31 - 0.5);
    const b = Float32Array.from({ length: side * side }, (_, at) => ((at * 11) % 29) / 29 - 0.5);
    const gflops = async (once: () => Promise<unknown>) => {
      let best = Number.POSITIVE_INFINITY;
      // The first one compiles.
      for (let round = 0; round <= ROUNDS; round += 1) {
        const begun = performance.now();
        await once();
        const took = performance.now() - begun;
        if (round > 0 || took > SLOW_MS) best = Math.min(best, took);
        if (took > SLOW_MS) break;
      }
      return (2 * side ** 3) / best / 1e6;
    };
    const instructions = await this.#pool.kernelsCall<string>("instructions", []);
    const { workers } = this.#pool.stats;
    const some = `${workers} ${workers === 1 ? "worker" : "workers"}`;
    const found: Backend[] = [{
      kind: "workers", name: `${some}, ${instructions}`, exact: true,
      gflops: await gflops(() => this.#product(a, b, side, side, side, false)),
    }, {
      kind: "scalar", name: `${some}, scalar`, exact: true,
      gflops: await gflops(() => this.#product(a, b, side, side, side, true)),
    }];
    const gpu = async (kind: "webgpu" | "webgl", name: string, open: () => Promise<Gpu | WebGl | null>) => {
      try {
        const on = await open();
        if (on === null) throw new Error("this browser has none");
        const speed = await gflops(() => on.matmul(a, b, side, side, side));
        found.push({ kind, name: `${name}, ${on.adapter}`, exact: false, gflops: speed });
      } catch (error) {
        found.push({ kind, name, exact: false, gflops: null, why: error instanceof Error ? error.message : String(error) });
      }
    };
    await gpu("webgpu", "WebGPU", async () => {
      if (this.#gpu === null || !this.#gpu.open) this.#gpu = await Gpu.open();
      return this.#gpu;
    });
    await gpu("webgl", "WebGL 2", async () => (this.#webgl ??= await WebGl.open()));
    return found.sort((x, y) => (y.gflops ?? 0) - (x.gflops ?? 0));
  }

  /** The digests of the conformance corpus, with vector instructions and without. */
  conformance(): Promise<string[]> {
    return this.#pool.kernelsCall<string[]>("conformance", []);
  }

  /** Answers a page's question: `op` is the name of a method here. */
  async answer(op: string, args: never[]): Promise<unknown> {
    if (!ASKED.includes(op)) throw invalid(`there is no operation ${op}`);
    try {
      return await (this as unknown as Record<string, (...args: never[]) => unknown>)[op]?.(...args);
    } catch (error) {
      throw notFinite(error, op, args);
    }
  }
}
