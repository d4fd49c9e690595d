/// <reference types="@webgpu/types" />
/**
 * Matrix product, attention and LoRA on a GPU, by WebGPU, in a page or a worker.
 *
 * The kernels are the files of `crates/edge-gpu`, which are tested natively too. Their results have other bits on every
 * GPU: they are for the page that asks, never for an answer that a pool compares (docs/adr/0034). Matrices are row-major
 * `Float32Array`s; values are not looked at, so that with infinities or NaN among them results have no meaning.
 */

/** Bytes of one piece of a transfer. */
const PIECE_BYTES = 3_840 * 1_024;
/** Bytes that transfers take beside the operands: two pieces in each direction. */
export const STAGING_BYTES = 4 * PIECE_BYTES;
/** Bytes that the buffers of one call may take together, unless told otherwise. */
const MEMORY_BYTES = 512 * 1_024 * 1_024;
/** Bytes of one operand at most that are asked of an adapter. */
const BINDING_BYTES = 1_024 * 1_024 * 1_024;
/** Wide tiles from so many on: fewer leave most of a large GPU idle. */
const WIDE_TILES = 128;
/** Dimensions of a head at most. */
const DIM_MAX = 512;

/** Written out, so that bundlers find them. */
const KERNELS = {
  matmul: new URL("./shaders/matmul.wgsl", import.meta.url),
  attention: new URL("./shaders/attention.wgsl", import.meta.url),
  lora: new URL("./shaders/lora.wgsl", import.meta.url),
};

/** What failed is the GPU or its driver, not the call. `lost` says that no further call can work: open another one. */
export class GpuError extends Error {
  override readonly name = "GpuError";
  readonly lost: boolean;

  constructor(message: string, lost: boolean) {
    super(message);
    this.lost = lost;
  }
}

/** What may be set. */
export type GpuSettings = {
  /** Bytes that the buffers of one call may take together; 512 MiB. */
  memoryBytes?: number;
};

type Operand = { name: string; values: Float32Array; sizes: [string, number][] };

/** An open GPU. Calls are taken one after the other. */
export class Gpu {
  /** What the browser says of the adapter; may be empty. */
  readonly adapter: string;
  /** Whether the adapter is a program on the processor, as far as the browser says so. */
  readonly software: boolean;
  #device: GPUDevice;
  #memoryBytes: number;
  #pipelines = new Map<string, Promise<GPUComputePipeline>>();
  #up: GPUBuffer[];
  #down: GPUBuffer[];
  #turn: Promise<unknown> = Promise.resolve();
  #gone: string | null = null;

  /** Opens the fastest adapter; `null` where the browser has none. */
  static async open(settings: GpuSettings = {}): Promise<Gpu | null> {
    const adapter = await navigator.gpu?.requestAdapter({ powerPreference: "high-performance" });
    if (!adapter) return null;
    const { maxBufferSize, maxStorageBufferBindingSize } = adapter.limits;
    const device = await adapter.requestDevice({
      label: "edge-net",
      requiredLimits: {
        maxBufferSize: Math.min(maxBufferSize, BINDING_BYTES),
        maxStorageBufferBindingSize: Math.min(maxStorageBufferBindingSize, BINDING_BYTES),
      },
    });
    return new Gpu(adapter, device, settings.memoryBytes ?? MEMORY_BYTES);
  }

  private constructor(adapter: GPUAdapter, device: GPUDevice, memoryBytes: number) {
    // Browsers before 2024 say nothing of it.
    const info: Partial<GPUAdapterInfo> = adapter.info ?? {};
    this.adapter = [info.vendor, info.architecture, info.description].filter(Boolean).join(" ");
    this.software = info.isFallbackAdapter === true || /swiftshader|llvmpipe/i.test(this.adapter);
    this.#device = device;
    this.#memoryBytes = memoryBytes;
    void device.lost.then(({ message, reason }) => {
      this.#gone ??= `the GPU was lost, open it again: ${message || reason}`;
    });
    const pieces = (usage: number) =>
      [0, 1].map(() => device.createBuffer({ label: "staging", size: PIECE_BYTES, usage }));
    this.#up = pieces(GPUBufferUsage.MAP_WRITE | GPUBufferUsage.COPY_SRC);
    this.#down = pieces(GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST);
  }

  /** Whether calls still work. */
  get open(): boolean {
    return this.#gone === null;
  }

  /** a `[m, k]` times b `[k, n]`. Each result is within k u / (1 - k u) Σ|a||b| of the exact one, u = 2^-24. */
  async matmul(a: Float32Array, b: Float32Array, m: number, k: number, n: number): Promise<Float32Array> {
    const operands: Operand[] = [
      { name: "a", values: a, sizes: [["m", m], ["k", k]] },
      { name: "b", values: b, sizes: [["k", k], ["n", n]] },
    ];
    this.#check(operands, m * n, 0);
    const wide = Math.ceil(m / 128) * Math.ceil(n / 128) >= WIDE_TILES;
    const side = wide ? 128 : 64;
    const groups = [this.#groups("n", n, side), this.#groups("m", m, side)] as const;
    return this.#call(operands, m * n, async (device, [left, right], out) => {
      const pipeline = await this.#pipeline("matmul", wide ? "wide" : "narrow");
      return [dispatch(device, pipeline, [m, k, n, 0], 0, [left!, right!, out], groups)];
    });
  }

  /**
   * softmax(q kᵀ / √dim) v of each head, all of them `[heads, tokens, dim]`, by online softmax (Dao et al.,
   * "FlashAttention", 2022; Milakov and Gimelshein, 2018); with `causal` a token sees itself and those before it. `dim` is
   * at most 512.
   */
  async attention(
    q: Float32Array, k: Float32Array, v: Float32Array, heads: number, tokens: number, dim: number, causal = false,
  ): Promise<Float32Array> {
    const sizes: [string, number][] = [["heads", heads], ["tokens", tokens], ["dim", dim]];
    const operands: Operand[] = [
      { name: "q", values: q, sizes }, { name: "k", values: k, sizes }, { name: "v", values: v, sizes },
    ];
    const results = heads * tokens * dim;
    this.#check(operands, results, 0);
    if (dim > DIM_MAX) throw new RangeError(`dim is ${dim}, and the kernel takes ${DIM_MAX}`);
    const groups = [this.#groups("tokens", tokens, 32), this.#groups("heads", heads, 1)] as const;
    // Rows of invocations that share the dimensions: 1, 2, 4 or 8.
    const parts = 2 ** Math.ceil(Math.log2(Math.ceil(dim / 64)));
    return this.#call(operands, results, async (device, sent, out) => {
      const pipeline = await this.#pipeline("attention", "attention");
      const parameters = [tokens, dim, parts, causal ? 1 : 0];
      return [dispatch(device, pipeline, parameters, 1 / Math.sqrt(dim), [...sent, out], groups)];
    });
  }

  /**
   * base + scale · (x a) b (Hu et al., "LoRA", 2021): x `[tokens, inputs]`, base and the result `[tokens, outputs]`, a
   * `[inputs, rank]`, b `[rank, outputs]`.
   */
  async lora(
    x: Float32Array, base: Float32Array, a: Float32Array, b: Float32Array, scale: number,
    tokens: number, inputs: number, outputs: number, rank: number,
  ): Promise<Float32Array> {
    const operands: Operand[] = [
      { name: "x", values: x, sizes: [["tokens", tokens], ["inputs", inputs]] },
      { name: "base", values: base, sizes: [["tokens", tokens], ["outputs", outputs]] },
      { name: "a", values: a, sizes: [["inputs", inputs], ["rank", rank]] },
      { name: "b", values: b, sizes: [["rank", rank], ["outputs", outputs]] },
    ];
    this.#check(operands, tokens * outputs, tokens * rank);
    const rows = this.#groups("tokens", tokens, 1);
    const [columns, across] = [this.#groups("rank", rank, 16), this.#groups("outputs", outputs, 256)];
    return this.#call(operands, tokens * outputs, async (device, sent, out, scratch) => {
      const [down, up] = [await this.#pipeline("lora", "down"), await this.#pipeline("lora", "up")];
      const between = scratch(tokens * rank);
      const parameters = [tokens, inputs, outputs, rank];
      return [
        dispatch(device, down, parameters, scale, [sent[0]!, sent[2]!, between], [columns, rows]),
        dispatch(device, up, parameters, scale, [between, sent[3]!, out, sent[1]!], [across, rows]),
      ];
    });
  }

  /** Gives the GPU back. Calls that are under way and later ones fail. */
  close(): void {
    this.#gone ??= "the GPU was closed";
    this.#device.destroy();
  }

  /** Refuses what does not fit its shape, the adapter or the limit of memory, before anything is sent. */
  #check(operands: Operand[], results: number, scratch: number): void {
    const most = Math.min(this.#device.limits.maxStorageBufferBindingSize, 2 ** 32 - 4);
    let bytes = 4 * (results + scratch);
    for (const { name, values, sizes } of operands) {
      if (!(values instanceof Float32Array)) throw new TypeError(`${name} is no Float32Array`);
      for (const [what, size] of sizes) {
        if (!Number.isSafeInteger(size) || size < 1) throw new RangeError(`${what} is ${size}, no size`);
      }
      const needed = sizes.reduce((product, [, size]) => product * size, 1);
      if (values.length !== needed) {
        throw new RangeError(`${name} has ${values.length} values, its shape needs ${needed}`);
      }
      if (values.byteLength > most) throw new RangeError(`${name} has ${values.byteLength} bytes, the GPU takes ${most}`);
      bytes += values.byteLength;
    }
    if (4 * Math.max(results, scratch) > most) throw new RangeError(`the result has ${4 * results} bytes, the GPU takes ${most}`);
    if (bytes > this.#memoryBytes) throw new RangeError(`${bytes} bytes are needed, the limit is ${this.#memoryBytes}: split the work`);
  }

  #groups(what: string, size: number, each: number): number {
    const [groups, most] = [Math.ceil(size / each), this.#device.limits.maxComputeWorkgroupsPerDimension];
    if (groups > most) throw new RangeError(`${what} is ${size}, and the GPU takes ${most * each}: split the work`);
    return groups;
  }

  /** Sends the operands, runs what `work` makes of them, and fetches the result, when the calls before are over. */
  #call(
    operands: Operand[], results: number,
    work: (device: GPUDevice, sent: GPUBuffer[], out: GPUBuffer, scratch: (values: number) => GPUBuffer) => Promise<Step[]>,
  ): Promise<Float32Array> {
    const turn = this.#turn.then(async () => {
      if (this.#gone !== null) throw new GpuError(this.#gone, true);
      const device = this.#device;
      const made: GPUBuffer[] = [];
      const buffer = (values: number) => {
        const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
        made.push(device.createBuffer({ size: 4 * values, usage }));
        return made.at(-1)!;
      };
      device.pushErrorScope("validation");
      device.pushErrorScope("out-of-memory");
      let failed: unknown = null;
      let answer: Float32Array | null = null;
      try {
        const sent = operands.map(({ values }) => buffer(values.length));
        const out = buffer(results);
        for (const [at, { values }] of operands.entries()) await this.#upload(values, sent[at]!);
        const encoder = device.createCommandEncoder();
        for (const step of await work(device, sent, out, buffer)) {
          made.push(step.uniform);
          const pass = encoder.beginComputePass();
          pass.setPipeline(step.pipeline);
          pass.setBindGroup(0, step.bound);
          pass.dispatchWorkgroups(step.groups[0], step.groups[1]);
          pass.end();
        }
        device.queue.submit([encoder.finish()]);
        answer = await this.#download(out, results);
      } catch (error) {
        failed = error;
      }
      const scope = () => device.popErrorScope().catch(() => null);
      const [memory, validation] = [await scope(), await scope()];
      const refused = memory ?? validation;
      for (const one of made) one.destroy();
      // The browser tells of a lost device after what failed by it.
      if (failed !== null) await new Promise((done) => setTimeout(done));
      if (this.#gone !== null) throw new GpuError(this.#gone, true);
      if (refused !== null) throw new GpuError(`the GPU's driver refused: ${refused.message}`, false);
      if (failed !== null || answer === null) throw new GpuError(`the GPU failed: ${String(failed)}`, false);
      return answer;
    });
    this.#turn = turn.catch(() => undefined);
    return turn;
  }

  /** Copies values into a buffer, piece by piece: one is filled while the one before is copied. */
  async #upload(values: Float32Array, to: GPUBuffer): Promise<void> {
    const step = PIECE_BYTES / 4;
    for (let [at, piece] = [0, 0]; at < values.length; at += step, piece ^= 1) {
      const [part, staging] = [values.subarray(at, at + step), this.#up[piece]!];
      await staging.mapAsync(GPUMapMode.WRITE, 0, part.byteLength);
      new Float32Array(staging.getMappedRange(0, part.byteLength)).set(part);
      staging.unmap();
      const encoder = this.#device.createCommandEncoder();
      encoder.copyBufferToBuffer(staging, 0, to, 4 * at, part.byteLength);
      this.#device.queue.submit([encoder.finish()]);
    }
  }

  /** Copies a buffer's values, piece by piece: one is read while the next is copied. */
  async #download(out: GPUBuffer, length: number): Promise<Float32Array> {
    const values = new Float32Array(length);
    const step = PIECE_BYTES / 4;
    const ask = (at: number) => {
      const [bytes, staging] = [4 * Math.min(step, length - at), this.#down[(at / step) % 2]!];
      const encoder = this.#device.createCommandEncoder();
      encoder.copyBufferToBuffer(out, 4 * at, staging, 0, bytes);
      this.#device.queue.submit([encoder.finish()]);
      const mapped = staging.mapAsync(GPUMapMode.READ, 0, bytes);
      // Where an earlier piece fails nobody waits for this one.
      mapped.catch(() => undefined);
      return { at, bytes, staging, mapped };
    };
    let next = ask(0);
    while (true) {
      const now = next;
      if (now.at + step < length) next = ask(now.at + step);
      await now.mapped;
      values.set(new Float32Array(now.staging.getMappedRange(0, now.bytes)), now.at);
      now.staging.unmap();
      if (now.at + step >= length) return values;
    }
  }

  /** A compiled entry point; loaded and compiled once. */
  #pipeline(file: keyof typeof KERNELS, entryPoint: string): Promise<GPUComputePipeline> {
    let found = this.#pipelines.get(entryPoint);
    if (found === undefined) {
      found = this.#compile(file, entryPoint);
      this.#pipelines.set(entryPoint, found);
      // A file that did not come may come next time.
      found.catch(() => this.#pipelines.delete(entryPoint));
    }
    return found;
  }

  async #compile(file: keyof typeof KERNELS, entryPoint: string): Promise<GPUComputePipeline> {
    const module = this.#device.createShaderModule({ label: entryPoint, code: await text(KERNELS[file]) });
    return this.#device.createComputePipelineAsync({ label: entryPoint, layout: "auto", compute: { module, entryPoint } });
  }
}

/** A file; or what a bundler wrote into its address, which a page's policy may not let us fetch. */
async function text(url: URL): Promise<string> {
  const written = /^data:[^,]*?(;base64)?,(.*)$/s.exec(url.href);
  if (written !== null) return written[1] ? atob(written[2]!) : decodeURIComponent(written[2]!);
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url.pathname}: ${answer.status}`);
  return answer.text();
}

type Step = { pipeline: GPUComputePipeline; bound: GPUBindGroup; uniform: GPUBuffer; groups: readonly [number, number] };

/** A dispatch: `parameters` and `scale` are binding 0, the buffers those after it. */
function dispatch(
  device: GPUDevice, pipeline: GPUComputePipeline, parameters: number[], scale: number, buffers: GPUBuffer[],
  groups: readonly [number, number],
): Step {
  const words = new Uint32Array(8);
  words.set(parameters);
  new Float32Array(words.buffer)[4] = scale;
  const uniform = device.createBuffer({ size: words.byteLength, usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST });
  device.queue.writeBuffer(uniform, 0, words);
  const entries = [uniform, ...buffers].map((buffer, binding) => ({ binding, resource: { buffer } }));
  const bound = device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries });
  return { pipeline, bound, uniform, groups };
}
