import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";
import { test } from "node:test";
import { chromium } from "playwright-core";

const CHROMIUM = process.env.EDGE_CHROMIUM;
if (!CHROMIUM) throw new Error("run these tests by `cargo xtask browser`");

const DIST = fileURLToPath(new URL("../dist/", import.meta.url));
const KINDS = { html: "text/html", js: "text/javascript", wgsl: "text/wgsl" };
/** Faults of kernels that the checks have to find: served below /broken/. */
const FAULTS = [
  ["shape.k + 7u) / 8u", "shape.k) / 8u"], ["shape.k + 15u) / 16u", "shape.k) / 16u"],
  ["first < end;", "first + tile_keys < end;"], ["i < shape.rank;", "i + 1u < shape.rank;"],
];

/** Runs in a worker of the page: everything against sums in double precision, within the bounds that the kernels state. */
const CHECKS = `
  const U = 2 ** -24, FLUSHED = 1.2e-38;
  const gamma = (n) => n * U / (1 - n * U);
  let seed = 7;
  const values = (length, size = 1) => Float32Array.from({ length }, () => {
    seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
    return size * (seed / 2 ** 31 - 1);
  });
  // The greatest error beside what it may be; NaN counts as infinite.
  const worst = (found, wanted, bounds) => found.reduce((most, is, at) => {
    const excess = Math.abs(is - wanted[at]) / bounds[at];
    return Number.isNaN(excess) ? Infinity : Math.max(most, excess);
  }, found.length === wanted.length ? 0 : Infinity);
  function product(a, b, m, k, n) {
    const [c, size] = [new Float64Array(m * n), new Float64Array(m * n)];
    for (let i = 0; i < m; i += 1) for (let t = 0; t < k; t += 1) for (let j = 0; j < n; j += 1) {
      const term = a[i * k + t] * b[t * n + j];
      c[i * n + j] += term;
      size[i * n + j] += Math.abs(term);
    }
    return { c, size };
  }
  async function matmul(on, m, k, n) {
    const [a, b] = [values(m * k), values(k * n)];
    const { c, size } = product(a, b, m, k, n);
    return worst(await on.matmul(a, b, m, k, n), c, size.map((s) => gamma(k) * s + k * FLUSHED));
  }
  // The bound is derived in crates/edge-gpu/src/tests.rs.
  async function attention(on, heads, tokens, dim, causal, size) {
    const [q, k, v] = [size, size, 1].map((s) => values(heads * tokens * dim, s));
    const [wanted, bounds] = [[], []];
    for (let at = 0; at < heads * tokens; at += 1) {
      const [head, query] = [Math.floor(at / tokens), at % tokens];
      const seen = causal ? query + 1 : tokens;
      const [scores, errors] = [[], []];
      for (let token = 0; token < seen; token += 1) {
        let [sum, abs] = [0, 0];
        for (let d = 0; d < dim; d += 1) {
          const term = q[at * dim + d] * k[(head * tokens + token) * dim + d];
          sum += term;
          abs += Math.abs(term);
        }
        scores.push(sum / Math.sqrt(dim));
        errors.push(abs / Math.sqrt(dim) * gamma(dim + 3));
      }
      const [top, off] = [Math.max(...scores), Math.max(...errors)];
      const sums = (seen + seen / 4 + 32) * U;
      const weights = scores.map((score) => Math.exp(score - top));
      const offs = scores.map((score, token) => {
        const x = Math.min(top - score, 200);
        return Math.expm1(errors[token] + off + 2 * x * U + 2 * (6 + 4 * x) * U + sums);
      });
      const total = weights.reduce((sum, weight) => sum + weight, 0);
      const totalOff = weights.reduce((sum, weight, token) => sum + weight * offs[token], 0) / total;
      for (let d = 0; d < dim; d += 1) {
        let [sum, abs, error] = [0, 0, 0];
        for (let token = 0; token < seen; token += 1) {
          const term = weights[token] / total * v[(head * tokens + token) * dim + d];
          sum += term;
          abs += Math.abs(term);
          error += Math.abs(term) * offs[token];
        }
        wanted.push(sum);
        bounds.push((error + abs * (totalOff + 6 * U)) * (1 + totalOff + 1e-3) + seen * FLUSHED);
      }
    }
    return worst(await on.attention(q, k, v, heads, tokens, dim, causal), wanted, bounds);
  }
  async function lora(on, tokens, inputs, outputs, rank, scale) {
    const [x, base] = [values(tokens * inputs), values(tokens * outputs)];
    const [a, b] = [values(inputs * rank, .1), values(rank * outputs)];
    const low = product(x, a, tokens, inputs, rank);
    const up = product(low.c, b, tokens, rank, outputs).c;
    const size = product(low.size, b.map(Math.abs), tokens, rank, outputs).c;
    const bounds = Array.from(up, (_, at) => 2 * U * Math.abs(base[at])
      + Math.abs(scale) * size[at] * (gamma(inputs) + gamma(rank + 3)) * (1 + gamma(rank + 3)) + (inputs + rank) * FLUSHED);
    const wanted = Array.from(up, (sum, at) => base[at] + scale * sum);
    return worst(await on.lora(x, base, a, b, scale, tokens, inputs, outputs, rank), wanted, bounds);
  }
  const PRODUCTS = [[1, 1, 1], [7, 13, 17], [65, 63, 129], [64, 163, 128]];
  async function products(on) {
    const found = {};
    for (const [m, k, n] of PRODUCTS) found["matmul " + [m, k, n]] = await matmul(on, m, k, n);
    return found;
  }
  async function kernels(on) {
    const found = await products(on);
    // Enough of them for wide tiles.
    found["matmul wide"] = await matmul(on, 1_409, 9, 1_500);
    for (const [heads, tokens, dim, causal, size] of [
      [1, 1, 1, false, 1], [2, 37, 64, false, 2], [1, 70, 33, true, 2], [1, 40, 130, true, 2], [1, 50, 48, false, 60],
    ]) found["attention " + [heads, tokens, dim, causal, size]] = await attention(on, heads, tokens, dim, causal, size);
    for (const [tokens, inputs, outputs, rank, scale] of [[1, 1, 1, 1, 1], [3, 130, 257, 17, -.5], [2, 64, 256, 16, 2]]) {
      found["lora " + [tokens, inputs, outputs, rank]] = await lora(on, tokens, inputs, outputs, rank, scale);
    }
    return found;
  }
  // More than two staging pieces: nothing is lost between them.
  async function transfers(on) {
    const [base, one] = [values(2_100_000), Float32Array.of(1)];
    const y = await on.lora(one, base, one, new Float32Array(base.length), 1, 1, 1, base.length, 1);
    return y.every((value, at) => value === base[at]);
  }
  async function refusals(on) {
    const said = [];
    for (const call of [
      () => on.matmul(new Float32Array(3), new Float32Array(4), 2, 2, 2), () => on.matmul(new Float32Array(0), new Float32Array(0), 1, 0, 1),
      () => on.matmul([1], new Float32Array(1), 1, 1, 1), () => on.matmul(new Float32Array(1), new Float32Array(1), 1, 1, 1.5),
    ]) said.push(await call().then(() => "taken", (error) => error.message));
    return said;
  }
  async function speed(call) {
    await call();
    const times = [];
    for (let round = 0; round < 3; round += 1) {
      const begun = performance.now();
      await call();
      times.push(performance.now() - begun);
    }
    return times.sort((a, b) => a - b)[1];
  }
`;

/** What the worker does with what it loaded, by name. */
const WORKS = {
  async gpu() {
    const { Gpu } = await import("/gpu.js");
    const on = await Gpu.open();
    if (on === null) return null;
    const a = values(256 * 256);
    const found = await kernels(on);
    const ms = await speed(() => on.matmul(a, a, 256, 256, 256));
    const both = await Promise.all([matmul(on, 9, 9, 9), matmul(on, 5, 70, 5)]);
    const answer = { adapter: on.adapter, software: on.software, found, ms, both, whole: await transfers(on), said: await refusals(on) };
    const long = new Float32Array(70_000);
    answer.said.push(await on.attention(long, long, long, 70_000, 1, 1).then(() => "taken", (error) => error.message));
    const small = await Gpu.open({ memoryBytes: 11 });
    answer.said.push(await small.matmul(a.subarray(0, 1), a.subarray(0, 1), 1, 1, 1).then(() => "taken", (error) => error.message));
    on.close();
    answer.closed = [on.open, await on.matmul(a, a, 256, 256, 256).then(() => "taken", (error) => `${error.name} ${error.lost} ${error.message}`)];
    return answer;
  },
  async lost() {
    const { Gpu } = await import("/gpu.js");
    const on = await Gpu.open();
    const call = () => on.matmul(Float32Array.of(2), Float32Array.of(3), 1, 1, 1);
    const before = (await call())[0];
    const dies = new Promise((done) => { onmessage = done; });
    postMessage({ ready: before });
    await dies;
    const after = await call().then(() => "taken", (error) => error);
    const again = await call().then(() => "taken", (error) => error);
    return { after: [after.name, after.lost], again: [again.name, again.lost], open: on.open };
  },
  async broken() {
    const { Gpu } = await import("/broken/gpu.js");
    return kernels(await Gpu.open());
  },
  async webgl() {
    const { WebGl } = await import("/webgl.js");
    const on = await WebGl.open();
    if (on === null) return null;
    const a = values(256 * 256);
    const found = await products(on);
    // Several bands of rows.
    found.long = await matmul(on, 2_000, 3, 1_100);
    const ms = await speed(() => on.matmul(a, a, 256, 256, 256));
    const both = await Promise.all([matmul(on, 9, 9, 9), matmul(on, 5, 70, 5)]);
    const answer = { adapter: on.adapter, software: on.software, found, ms, both, said: await refusals(on) };
    const wide = new Float32Array(100_000);
    answer.said.push(await on.matmul(wide, Float32Array.of(1), 100_000, 1, 1).then(() => "taken", (error) => error.message));
    on.close();
    answer.closed = [on.open, await on.matmul(a, a, 256, 256, 256).then(() => "taken", (error) => error.message)];
    return answer;
  },
};

/** The package's files, once as they are and once with faults, and a worker for each work. */
async function serve(t) {
  const server = createServer(async (request, response) => {
    const path = new URL(request.url, "http://localhost").pathname;
    const work = /^\/do\/(\w+)\.js$/.exec(path)?.[1];
    try {
      let text;
      if (path === "/") text = "<!doctype html><title>kernels</title>";
      else if (work) text = `${CHECKS}\nconst works = { ${WORKS[work]} };\nworks.${work}().then((answer) => postMessage({ answer }), (error) => postMessage({ error: error.stack }));`;
      else text = await readFile(DIST + path.replace(/^\/(broken\/)?/, ""), "utf8");
      if (path.startsWith("/broken/")) for (const [right, wrong] of FAULTS) text = text.replace(right, wrong);
      if (path === "/broken/gpu.js") {
        // As bundlers do it with small files: the kernel is in its address.
        const [, , , [right, wrong]] = FAULTS;
        const kernel = (await readFile(DIST + "shaders/lora.wgsl", "utf8")).replace(right, wrong);
        const address = `data:text/wgsl;base64,${Buffer.from(kernel).toString("base64")}`;
        assert.ok(text.includes('new URL("./shaders/lora.wgsl", import.meta.url)'));
        text = text.replace('new URL("./shaders/lora.wgsl", import.meta.url)', `new URL("${address}")`);
      }
      response.setHeader("content-security-policy", "connect-src 'self'");
      response.writeHead(200, { "content-type": KINDS[path.split(".").at(-1)] ?? "text/html" }).end(text);
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  t.after(() => server.close());
  return `http://127.0.0.1:${server.address().port}/`;
}

/** A browser that was started so, and how it does a work in a worker; `ready` is called when the work waits. */
async function start(t, flags) {
  const url = await serve(t);
  const chrome = await chromium.launch({
    executablePath: CHROMIUM, args: ["--no-sandbox", "--no-first-run", "--disable-background-networking", ...flags],
  });
  t.after(() => chrome.close());
  const page = await chrome.newPage();
  await page.goto(url);
  const run = async (work, ready) => {
    await page.exposeFunction(`${work}Ready`, async (value) => ready?.(value));
    return page.evaluate((name) => new Promise((done, fail) => {
      const worker = new Worker(`/do/${name}.js`, { type: "module" });
      worker.onmessage = async ({ data }) => {
        if ("ready" in data) worker.postMessage(await window[`${name}Ready`](data.ready));
        else if ("error" in data) fail(new Error(data.error));
        else done(data.answer);
      };
      worker.onerror = (event) => fail(new Error(event.message));
    }), work);
  };
  return { chrome, run };
}

const SOFTWARE = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"];
const REFUSED = [
  "a has 3 values, its shape needs 4", "k is 0, no size", "a is no Float32Array", "n is 1.5, no size",
];

function within(found) {
  for (const [name, excess] of Object.entries(found)) assert.ok(excess <= 1, `${name}: ${excess} times what it may be off`);
}

test("kernels in a worker of a tab give what sums in double precision give, faults are found, a lost GPU is said", { timeout: 120_000 }, async (t) => {
  const { chrome, run } = await start(t, SOFTWARE);
  const answer = await run("gpu");
  assert.notEqual(answer, null, "this Chromium has no WebGPU in software");
  t.diagnostic(`${answer.adapter}: matmul 256 in ${answer.ms.toFixed(1)} ms with transfers; ${JSON.stringify(answer.found)}`);
  assert.equal(Object.keys(answer.found).length, 13);
  within(answer.found);
  assert.ok(answer.software, "the adapter is known to be a program");
  within(answer.both);
  assert.ok(answer.whole, "a transfer in pieces keeps every value");
  assert.deepEqual(answer.said.slice(0, 4), REFUSED);
  assert.match(answer.said[4], /heads is 70000, and the GPU takes 65535/);
  assert.match(answer.said[5], /12 bytes are needed, the limit is 11/);
  assert.deepEqual(answer.closed, [false, "GpuError true the GPU was closed"]);

  // The control: a fault in any kernel is found by these checks.
  const found = await run("broken");
  for (const [name, excess] of Object.entries(found)) {
    // Where the sizes are multiples of a tile nothing is left out, and a result of one term has none.
    if (/^matmul (7|65|wide)|^attention (2|1,70|1,50)|^lora [32]/.test(name)) assert.ok(excess > 1, `${name} passed`);
  }
  assert.ok(Object.values(found).filter((excess) => excess > 1).length >= 7);

  // The GPU's process dies.
  const devtools = await chrome.newBrowserCDPSession();
  const lost = await run("lost", async (before) => {
    assert.equal(before, 6);
    await devtools.send("Browser.crashGpuProcess");
  });
  assert.deepEqual(lost, { after: ["GpuError", true], again: ["GpuError", true], open: false });
});

test("WebGL multiplies matrices where there is no WebGPU, and a tab without it is told so", { timeout: 120_000 }, async (t) => {
  const flags = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"];
  const answer = await (await start(t, flags)).run("webgl");
  assert.notEqual(answer, null, "this Chromium has no WebGL in software");
  t.diagnostic(`${answer.adapter}: matmul 256 in ${answer.ms.toFixed(1)} ms with transfers; ${JSON.stringify(answer.found)}`);
  assert.equal(Object.keys(answer.found).length, 5);
  within(answer.found);
  within(answer.both);
  assert.deepEqual(answer.said.slice(0, 4), REFUSED);
  assert.match(answer.said[4], /m and k are at most \d+ here/);
  assert.deepEqual(answer.closed, [false, "the GPU was closed"]);
  assert.equal(await (await start(t, [])).run("gpu"), null, "no adapter, no GPU");
  assert.equal(await (await start(t, ["--disable-gpu", "--disable-software-rasterizer"])).run("webgl"), null, "no context, no WebGL");
});
