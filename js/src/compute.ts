/**
 * Operations on large arrays on the workers of a tab.
 *
 * ```ts
 * const compute = await Compute.open();
 * const c = await compute.matmul(a, b, m, k, n);
 * await compute.close();
 * ```
 *
 * Works with no node running. The result is the same bits on every machine and with any number of workers, unless
 * `approximate` lets a GPU do it.
 *
 * @packageDocumentation
 */

import { WORKERS_MAX } from "./limits.js";
import { Asking } from "./rpc.js";
import type { Accuracy, AttentionShape, Backend, Elementwise, LoraShape, Reduction } from "./operations.js";

export type { Accuracy, AttentionShape, Backend, Elementwise, LoraShape, Reduction } from "./operations.js";

/** `workers`: 1 to 16, as many as there are cores if nothing is said. */
export type ComputeOptions = { workers?: number };

/** What travels: of a view its own part, and of shared memory what is in it now. */
function sent(given: unknown): unknown {
  if (!(given instanceof Float32Array)) return given;
  const part = given.byteLength < given.buffer.byteLength;
  return part || (globalThis.SharedArrayBuffer !== undefined && given.buffer instanceof SharedArrayBuffer) ? given.slice() : given;
}

export class Compute implements AsyncDisposable {
  #asking: () => Asking;
  #end: () => void;

  /** Of a node, as its `compute`; else use `open`. */
  constructor(asking: () => Asking, end: () => void = () => {}) {
    this.#asking = asking;
    this.#end = end;
  }

  /** Starts workers for operations alone. */
  static async open({ workers = Math.min(navigator.hardwareConcurrency, WORKERS_MAX) }: ComputeOptions = {}): Promise<Compute> {
    if (!(Number.isInteger(workers) && workers >= 1 && workers <= WORKERS_MAX)) {
      throw new RangeError(`invalid: workers is 1 to ${WORKERS_MAX}, not ${workers}`);
    }
    const worker = new Worker(new URL("./operations-worker.js", import.meta.url), { type: "module" });
    let asking: Asking | null = new Asking(worker);
    const end = (why: string) => {
      asking?.end(why);
      asking = null;
      worker.terminate();
    };
    worker.addEventListener("error", (event) => {
      event.preventDefault();
      end(`failed: the worker did not start or died: ${event.message || "operations-worker.js is missing, or the page's policy forbids it"}`);
    });
    const compute = new Compute(() => {
      if (asking === null) throw new Error("failed: it was closed");
      return asking;
    }, () => end("failed: it was closed"));
    try {
      await asking.ask("start", [workers]);
    } catch (error) {
      end("failed: it did not start");
      throw error;
    }
    return compute;
  }

  /** Ends the workers, and what they have not finished. Does nothing for a node's: that ends with the node. */
  async close(): Promise<void> {
    this.#end();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#end();
  }

  async #ask<T>(op: string, ...args: unknown[]): Promise<T> {
    return this.#asking().ask<T>("compute", [op, args.map(sent)]);
  }

  /** `a b`: `a` is `[m, k]`, `b` `[k, n]`, the result `[m, n]`, row after row. */
  matmul(
    a: Float32Array, b: Float32Array, m: number, k: number, n: number, accuracy: Accuracy = {},
  ): Promise<Float32Array> {
    return this.#ask("matmul", a, b, m, k, n, accuracy);
  }

  /** The dot product. */
  dot(a: Float32Array, b: Float32Array): Promise<number> {
    return this.#ask("dot", a, b);
  }

  /** `add` or `mul` of two arrays, `relu` or `sigmoid` of one. */
  vector(operation: Elementwise, a: Float32Array, b?: Float32Array): Promise<Float32Array> {
    return this.#ask("vector", operation, a, b);
  }

  /** The `sum`, `max`, `min` or `mean` of all elements. */
  reduce(reduction: Reduction, x: Float32Array): Promise<number> {
    return this.#ask("reduce", reduction, x);
  }

  /** `softmax(q kᵀ / sqrt(dim)) v` of each head; arrays are `[heads, tokens, dim]`. */
  attention(
    shape: AttentionShape, q: Float32Array, k: Float32Array, v: Float32Array, accuracy: Accuracy = {},
  ): Promise<Float32Array> {
    return this.#ask("attention", shape, q, k, v, accuracy);
  }

  /** `base + scale * (x a) b`. */
  lora(
    shape: LoraShape, x: Float32Array, base: Float32Array, a: Float32Array, b: Float32Array, accuracy: Accuracy = {},
  ): Promise<Float32Array> {
    return this.#ask("lora", shape, x, base, a, b, accuracy);
  }

  /** What there is for products here, GPUs too, measured by one of 512 x 512 x 512, the fastest first. */
  backends(): Promise<Backend[]> {
    return this.#ask("backends");
  }

  /** The digests of the conformance corpus of canon-1, with vector instructions and without: 16 digits each. */
  conformance(): Promise<string[]> {
    return this.#ask("conformance");
  }
}
