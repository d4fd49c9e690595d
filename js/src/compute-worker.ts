/** A worker that computes: one instance of `edge-wasm-compute` for tasks, and one of `edge-wasm-kernels` for parts. */

import init, { Compute, instructions } from "./wasm/edge_wasm_compute.js";
import initKernels, { Floats, Parts, attentionRows, elementsOfPart, loraRows, matmulRows } from "./wasm/edge_wasm_kernels.js";
import { type Port, answering } from "./rpc.js";

let compute: Compute | null = null;
let memory: WebAssembly.Memory | null = null;
let kernels: { memory: WebAssembly.Memory; vector: Parts; scalar: Parts } | null = null;
/** Arrays that the parts of one operation read. */
let kept: Floats[] = [];

function loaded() {
  if (kernels === null) throw new Error("the module for parts was not loaded");
  return kernels;
}

/** Copies an array into the module's memory. */
function into(array: Float32Array): Floats {
  const floats = new Floats(array.length);
  // A view made after the allocation: the memory may have grown by it.
  new Float32Array(loaded().memory.buffer, floats.asPtr(), floats.length).set(array);
  return floats;
}

/** Copies an array out of it, and frees it. */
function out(floats: Floats): Float32Array {
  const array = new Float32Array(loaded().memory.buffer, floats.asPtr(), floats.length).slice();
  floats.free();
  return array;
}

function bytes(): number {
  return (memory?.buffer.byteLength ?? 0) + (kernels?.memory.buffer.byteLength ?? 0);
}

function ready(): Compute {
  if (compute === null) throw new Error("the worker was not started");
  return compute;
}

/** What the peer needs to know of a task. */
export type TaskParts = { kind: string; payload: Uint8Array; pin: Uint8Array; units: number };

function parts(task: { kind: string; payload: Uint8Array; pin: Uint8Array; units: number; free(): void }): TaskParts {
  const { kind, payload, pin, units } = task;
  task.free();
  return { kind, payload, pin, units };
}

answering(self as unknown as Port, {
  async start(module?: WebAssembly.Module, model?: ArrayBuffer) {
    if (module === undefined || model === undefined) {
      const none = new Uint8Array();
      return { pins: none, shardPin: none, instructions: "" };
    }
    ({ memory } = await init({ module_or_path: module }));
    compute = new Compute(new Uint8Array(model));
    return { pins: compute.pins(), shardPin: compute.shardPin(), instructions: instructions() };
  },
  execute(work: Uint8Array) {
    const begun = performance.now();
    const result = ready().execute(work);
    return { result, ms: performance.now() - begun, bytes: bytes() };
  },

  async kernels(module: WebAssembly.Module) {
    const { memory } = await initKernels({ module_or_path: module });
    const [vector, scalar] = [new Parts(), new Parts("scalar")];
    kernels = { memory, vector, scalar };
  },
  instructions: () => loaded().vector.instructions(),
  /** The digests of the conformance corpus, with vector instructions and without. */
  conformance: () => [loaded().vector.conformance(), loaded().scalar.conformance()],

  /** Where the cuts of an operation lie: elements, or rows, of one part. */
  cut(op: string, ...sizes: number[]) {
    const [one = 0, two = 0, three = 0] = sizes;
    if (op === "matmul") return matmulRows(one, two);
    if (op === "attention") return attentionRows(one, two);
    return op === "lora" ? loraRows(one, two, three) : elementsOfPart();
  },

  part(op: string, sizes: never[], own: Float32Array[], shared: Float32Array[] | null, scalar: boolean) {
    const begun = performance.now();
    const { vector, scalar: plain } = loaded();
    if (shared !== null) {
      for (const floats of kept.splice(0)) floats.free();
      for (const array of shared) kept.push(into(array));
    }
    const given = own.map(into);
    const does = (scalar ? plain : vector) as unknown as Record<string, (...args: unknown[]) => Floats>;
    try {
      const result = out(does[op]!(...sizes, ...given, ...kept));
      return { result, ms: performance.now() - begun, bytes: bytes() };
    } finally {
      for (const floats of given) floats.free();
    }
  },
  merge(reduction: string, blocks: Float32Array, count: number) {
    const floats = into(blocks);
    try {
      return loaded().vector.merge(reduction, floats, count);
    } finally {
      floats.free();
    }
  },

  embedding: (texts: string[]) => parts(ready().embedding(texts)),
  vectors: (result: Uint8Array) => ready().vectors(result),
  matching: (text: string, labels: string[]) => parts(ready().matching(text, labels)),
  matched: (labels: string[], result: Uint8Array) => ready().matched(labels, result),
  compression: (data: Uint8Array, back: boolean) => parts(ready().compression(data, back)),
  query(layout: Uint8Array, text: string, k: number, rows: number) {
    const query = ready().query(layout, text, k, rows);
    const { bytes, units } = query;
    query.free();
    return { bytes, units };
  },
  hits: (found: Uint8Array) => ready().hits(found),
});
