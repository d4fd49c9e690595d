/** A worker that computes: one instance of `edge-wasm-compute`. */

import init, { Compute, instructions } from "./wasm/edge_wasm_compute.js";
import { type Port, answering } from "./rpc.js";

let compute: Compute | null = null;
let memory: WebAssembly.Memory | null = null;

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
  async start(module: WebAssembly.Module, model: ArrayBuffer) {
    ({ memory } = await init({ module_or_path: module }));
    compute = new Compute(new Uint8Array(model));
    return { pins: compute.pins(), shardPin: compute.shardPin(), instructions: instructions() };
  },
  execute(work: Uint8Array) {
    const begun = performance.now();
    const result = ready().execute(work);
    return { result, ms: performance.now() - begun, bytes: memory?.buffer.byteLength ?? 0 };
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
