/**
 * A matrix product by WebGL 2, for browsers without WebGPU, in a page or a worker.
 *
 * A fragment is four results beside each other; both operands are textures with four values a texel (the way of
 * J. Krüger and R. Westermann, "Linear algebra operators for GPU implementation of numerical algorithms", 2003). As on
 * every GPU the results' bits are its own: nothing that a pool compares may come from here (docs/adr/0034).
 */

/** Bytes of a part of an operand or result that is on its way. */
const PIECE_BYTES = 4 * 1_024 * 1_024;
/** Products in one draw at most: a browser ends what occupies the GPU for seconds. */
const PRODUCTS = 2 ** 28;

const VERTEX = `#version 300 es
void main() {
  // One triangle that covers everything.
  gl_Position = vec4(gl_VertexID == 1 ? 3.0 : -1.0, gl_VertexID == 2 ? 3.0 : -1.0, 0.0, 1.0);
}`;

const FRAGMENT = `#version 300 es
precision highp float;
precision highp int;
precision highp sampler2D;
uniform sampler2D left;
uniform sampler2D right;
uniform int steps;
uniform int first;
out vec4 result;
void main() {
  ivec2 at = ivec2(gl_FragCoord.xy);
  vec4 sum = vec4(0.0);
  for (int i = 0; i < steps; i++) {
    vec4 a = texelFetch(left, ivec2(i, at.y + first), 0);
    sum += a.x * texelFetch(right, ivec2(at.x, 4 * i), 0);
    sum += a.y * texelFetch(right, ivec2(at.x, 4 * i + 1), 0);
    sum += a.z * texelFetch(right, ivec2(at.x, 4 * i + 2), 0);
    sum += a.w * texelFetch(right, ivec2(at.x, 4 * i + 3), 0);
  }
  result = sum;
}`;

/** An open WebGL context. Calls are taken one after the other. */
export class WebGl {
  /** What the browser says of the GPU; may be empty. */
  readonly adapter: string;
  /** Whether it is a program on the processor, as far as the browser says so. */
  readonly software: boolean;
  #gl: WebGL2RenderingContext;
  #program: WebGLProgram;
  #side: number;
  #turn: Promise<unknown> = Promise.resolve();
  #closed = false;

  /** Opens a context; `null` where the browser has none that computes with floats. */
  static async open(): Promise<WebGl | null> {
    if (typeof OffscreenCanvas === "undefined") return null;
    const gl = new OffscreenCanvas(1, 1).getContext("webgl2", {
      antialias: false, depth: false, stencil: false, alpha: false, powerPreference: "high-performance",
    });
    if (gl === null || gl.getExtension("EXT_color_buffer_float") === null) return null;
    return new WebGl(gl);
  }

  private constructor(gl: WebGL2RenderingContext) {
    this.#gl = gl;
    const names = gl.getExtension("WEBGL_debug_renderer_info");
    this.adapter = String(gl.getParameter(names === null ? gl.RENDERER : names.UNMASKED_RENDERER_WEBGL) ?? "");
    this.software = /swiftshader|llvmpipe|software|basic render/i.test(this.adapter);
    this.#side = Number(gl.getParameter(gl.MAX_TEXTURE_SIZE));
    const program = gl.createProgram();
    for (const [kind, text] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]] as const) {
      const shader = gl.createShader(kind);
      if (shader === null) throw new Error("the GPU was lost");
      gl.shaderSource(shader, text);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
      gl.deleteShader(shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) {
      throw new Error(`the GPU's driver does not take the kernel: ${gl.getProgramInfoLog(program) ?? "lost"}`);
    }
    this.#program = program;
  }

  /** Whether calls still work. */
  get open(): boolean {
    return !this.#closed && !this.#gl.isContextLost();
  }

  /** a `[m, k]` times b `[k, n]`, row-major. Each result is within k u / (1 - k u) Σ|a||b| of the exact one, u = 2^-24. */
  async matmul(a: Float32Array, b: Float32Array, m: number, k: number, n: number): Promise<Float32Array> {
    for (const [what, size] of [["m", m], ["k", k], ["n", n]] as const) {
      if (!Number.isSafeInteger(size) || size < 1) throw new RangeError(`${what} is ${size}, no size`);
    }
    for (const [name, values, needed] of [["a", a, m * k], ["b", b, k * n]] as const) {
      if (!(values instanceof Float32Array)) throw new TypeError(`${name} is no Float32Array`);
      if (values.length !== needed) throw new RangeError(`${name} has ${values.length} values, its shape needs ${needed}`);
    }
    const [deep, across, side] = [Math.ceil(k / 4), Math.ceil(n / 4), this.#side];
    if (m > side || 4 * deep > side || across > side) {
      throw new RangeError(`m and k are at most ${side} here, n ${4 * side}: split the work`);
    }
    const turn = this.#turn.then(() => this.#product(a, b, m, k, n));
    this.#turn = turn.catch(() => undefined);
    return turn;
  }

  /** Gives the context back. Calls that are under way and later ones fail. */
  close(): void {
    this.#closed = true;
    this.#gl.getExtension("WEBGL_lose_context")?.loseContext();
  }

  async #product(a: Float32Array, b: Float32Array, m: number, k: number, n: number): Promise<Float32Array> {
    const gl = this.#gl;
    const [deep, across] = [Math.ceil(k / 4), Math.ceil(n / 4)];
    // Rows of the result at a time: bounded in work and in bytes.
    const rows = Math.max(1, Math.min(m, Math.floor(PRODUCTS / (4 * across * k)), Math.floor(PIECE_BYTES / (16 * across))));
    this.#sound();
    const textures: WebGLTexture[] = [];
    const frame = gl.createFramebuffer();
    const pixels = gl.createBuffer();
    try {
      this.#texture(textures, deep, m, a, k);
      this.#texture(textures, across, 4 * deep, b, n);
      this.#texture(textures, across, rows);
      gl.bindFramebuffer(gl.FRAMEBUFFER, frame);
      gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, textures[2]!, 0);
      if (gl.checkFramebufferStatus(gl.FRAMEBUFFER) !== gl.FRAMEBUFFER_COMPLETE) this.#fail("takes no such result");
      gl.bindBuffer(gl.PIXEL_PACK_BUFFER, pixels);
      gl.bufferData(gl.PIXEL_PACK_BUFFER, 16 * across * rows, gl.STREAM_READ);
      gl.useProgram(this.#program);
      const place = (name: string) => gl.getUniformLocation(this.#program, name);
      gl.uniform1i(place("left"), 0);
      gl.uniform1i(place("right"), 1);
      gl.uniform1i(place("steps"), deep);
      for (const unit of [0, 1]) {
        gl.activeTexture(gl.TEXTURE0 + unit);
        gl.bindTexture(gl.TEXTURE_2D, textures[unit]!);
      }
      const result = new Float32Array(m * n);
      const band = new Float32Array(4 * across * rows);
      for (let first = 0; first < m; first += rows) {
        const height = Math.min(rows, m - first);
        gl.uniform1i(place("first"), first);
        gl.viewport(0, 0, across, height);
        gl.drawArrays(gl.TRIANGLES, 0, 3);
        gl.readPixels(0, 0, across, height, gl.RGBA, gl.FLOAT, 0);
        await this.#done();
        gl.getBufferSubData(gl.PIXEL_PACK_BUFFER, 0, band, 0, 4 * across * height);
        this.#sound();
        for (let row = 0; row < height; row += 1) {
          result.set(band.subarray(4 * across * row, 4 * across * row + n), (first + row) * n);
        }
      }
      return result;
    } finally {
      for (const texture of textures) gl.deleteTexture(texture);
      gl.deleteFramebuffer(frame);
      gl.deleteBuffer(pixels);
    }
  }

  /** A texture of four floats a texel; with values, whose rows are `columns` long and filled up with zeros. */
  #texture(made: WebGLTexture[], width: number, height: number, values?: Float32Array, columns = 0): void {
    const gl = this.#gl;
    const texture = gl.createTexture();
    made.push(texture);
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.texStorage2D(gl.TEXTURE_2D, 1, gl.RGBA32F, width, height);
    // Float textures are read as they are or not at all.
    for (const filter of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, filter, gl.NEAREST);
    if (values !== undefined) {
      const rows = Math.max(1, Math.floor(PIECE_BYTES / (16 * width)));
      const piece = new Float32Array(4 * width * Math.min(rows, height));
      for (let first = 0; first < height; first += rows) {
        const here = Math.min(rows, height - first);
        piece.fill(0);
        for (let row = 0; row < here; row += 1) {
          // Past the last row there is nothing.
          piece.set(values.subarray((first + row) * columns, (first + row + 1) * columns), 4 * width * row);
        }
        gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, first, width, here, gl.RGBA, gl.FLOAT, piece);
      }
    }
    this.#sound();
  }

  /** Waits until what was asked for is done, without holding up the thread. */
  async #done(): Promise<void> {
    const gl = this.#gl;
    const sync = gl.fenceSync(gl.SYNC_GPU_COMMANDS_COMPLETE, 0);
    if (sync === null) return this.#fail("was lost, open it again");
    gl.flush();
    for (;;) {
      const state = gl.clientWaitSync(sync, 0, 0);
      if (state === gl.ALREADY_SIGNALED || state === gl.CONDITION_SATISFIED) break;
      if (state === gl.WAIT_FAILED || gl.isContextLost()) this.#fail("was lost, open it again");
      await new Promise((done) => setTimeout(done));
    }
    gl.deleteSync(sync);
  }

  #sound(): void {
    if (this.#closed) throw new Error("the GPU was closed");
    const gl = this.#gl;
    if (gl.isContextLost()) this.#fail("was lost, open it again");
    const error = gl.getError();
    if (error === gl.OUT_OF_MEMORY) this.#fail("has no memory left for this: split the work");
    if (error !== gl.NO_ERROR) this.#fail(`refused: error ${error}`);
  }

  #fail(how: string): never {
    throw new Error(`the GPU ${this.#closed ? "was closed" : how}`);
  }
}
