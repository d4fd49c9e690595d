import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { browser } from "../testing/pool.mjs";
import { site } from "../testing/site.mjs";

/** `edge_kernels::conformance::DIGEST`: what every native back end gives for the corpus of the property tests. */
const CANON_1 = "1ec1b33114b4d7a1";

let chrome;
let served;
before(async () => {
  chrome = await browser();
  served = await site();
});
after(async () => {
  await chrome.close();
  await served.end();
});

async function page(at = served.url) {
  const opened = await chrome.newPage();
  await opened.goto(at);
  return opened;
}

test("the built module gives the canonical bits of every kernel, with vector instructions and without", async () => {
  const tab = await page();
  const digests = await tab.evaluate(async () => {
    const { Compute } = await import("/compute.js");
    const compute = await Compute.open({ workers: 1 });
    return compute.conformance();
  });
  assert.deepEqual(digests, [CANON_1, CANON_1]);
});

test("operations are the same bits on one worker, on sixteen and natively, and the right numbers", async () => {
  const tab = await page();
  const found = await tab.evaluate(async () => {
    const { Compute } = await import("/compute.js");
    const random = (seed, length) => {
      let state = seed;
      return Float32Array.from({ length }, () => {
        state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
        return state / 2 ** 32 - 0.5;
      });
    };
    const [m, k, n] = [500, 301, 258];
    const [a, b] = [random(1, m * k), random(2, k * n)];
    const long = [random(3, 2_200_001), random(4, 2_200_001)];
    const shape = { heads: 3, tokens: 301, dim: 32, causal: true };
    const qkv = [5, 6, 7].map((seed) => random(seed, 3 * 301 * 32));
    const lora = { from: 64, to: 48, rank: 4, scale: 0.5 };
    const update = [random(8, 100 * 64), random(9, 100 * 48), random(10, 64 * 4), random(11, 4 * 48)];
    const all = async (compute) => ({
      matmul: await compute.matmul(a, b, m, k, n),
      dot: await compute.dot(...long),
      add: await compute.vector("add", ...long),
      mul: await compute.vector("mul", ...long),
      relu: await compute.vector("relu", long[0]),
      sigmoid: await compute.vector("sigmoid", long[0]),
      sum: await compute.reduce("sum", long[0]),
      max: await compute.reduce("max", long[0]),
      min: await compute.reduce("min", long[0]),
      mean: await compute.reduce("mean", long[0]),
      attention: await compute.attention(shape, ...qkv),
      lora: await compute.lora(lora, ...update),
    });
    const results = [];
    for (const workers of [1, 16]) {
      const compute = await Compute.open({ workers });
      results.push(await all(compute));
    }
    const [one, many] = results;
    const bits = (value) => (typeof value === "number" ? [value] : [...new Uint32Array(value.buffer)]);
    const differ = Object.keys(one).filter((name) => String(bits(one[name])) !== String(bits(many[name])));
    // Straightforward references in double precision.
    let worst = 0;
    const near = (got, want, tolerance) => { worst = Math.max(worst, Math.abs(got - want) / tolerance); };
    for (const [row, column] of [[0, 0], [m - 1, n - 1], [123, 200]]) {
      let want = 0;
      for (let at = 0; at < k; at += 1) want += a[row * k + at] * b[at * n + column];
      near(one.matmul[row * n + column], want, 1e-4);
    }
    near(one.dot, long[0].reduce((sum, x, at) => sum + x * long[1][at], 0), 0.05);
    near(one.sum, long[0].reduce((sum, x) => sum + x, 0), 0.05);
    near(one.mean, long[0].reduce((sum, x) => sum + x, 0) / long[0].length, 1e-6);
    for (const at of [0, 1_048_576, 2_200_000]) {
      near(one.add[at], long[0][at] + long[1][at], 1e-6);
      near(one.mul[at], long[0][at] * long[1][at], 1e-6);
      near(one.relu[at], Math.max(0, long[0][at]), 1e-9);
      near(one.sigmoid[at], 1 / (1 + Math.exp(-long[0][at])), 1e-6);
    }
    const max = long[0].reduce((best, x) => Math.max(best, x), -1);
    // FNV-1a with 64 bits, in halves.
    const fnv = (values) => {
      let [high, low] = [0xcbf29ce4, 0x84222325];
      for (const byte of new Uint8Array(values.buffer)) {
        low ^= byte;
        const product = (low >>> 0) * 0x1b3;
        high = (Math.imul(high >>> 0, 0x1b3) + Math.floor(product / 2 ** 32) + (low << 8)) >>> 0;
        low = product >>> 0;
      }
      return [high, low].map((half) => (half >>> 0).toString(16).padStart(8, "0")).join("");
    };
    const lines = Object.entries(one).map(([name, value]) =>
      `${name} ${fnv(typeof value === "number" ? Float32Array.of(value) : value)}`);
    return { differ, worst, max: one.max === max, size: one.attention.length, lines };
  });
  assert.deepEqual(found.differ, []);
  assert.ok(found.worst <= 1, `off by ${found.worst} times what is allowed`);
  assert.equal(found.max, true);
  assert.equal(found.size, 3 * 301 * 32);
  // `crates/edge-kernels/tests/operations.rs` has the same inputs.
  const native = readFileSync(new URL("../../crates/edge-kernels/tests/golden/operations.txt", import.meta.url), "utf8");
  assert.deepEqual(found.lines, native.trimEnd().split("\n"), "what native threads give");
});

test("an isolated page shares operands, and gets the same bits", async () => {
  const isolated = await site(undefined, {
    "cross-origin-opener-policy": "same-origin", "cross-origin-embedder-policy": "require-corp",
  });
  try {
    const sums = [];
    for (const url of [served.url, isolated.url]) {
      const tab = await page(url);
      sums.push(await tab.evaluate(async () => {
        const { Compute } = await import("/compute.js");
        const compute = await Compute.open({ workers: 2 });
        const a = Float32Array.from({ length: 600 * 600 }, (_, at) => Math.sin(at));
        const product = await compute.matmul(a, a, 600, 600, 600);
        const digest = await crypto.subtle.digest("SHA-256", product);
        return [globalThis.crossOriginIsolated, String(new Uint8Array(digest))];
      }));
    }
    assert.deepEqual(sums.map(([isolated]) => isolated), [false, true]);
    assert.equal(sums[0][1], sums[1][1]);
  } finally {
    await isolated.end();
  }
});

test("wrong shapes, numbers that are none and a closed pool are said", async () => {
  const tab = await page();
  const said = await tab.evaluate(async () => {
    const { Compute } = await import("/compute.js");
    const compute = await Compute.open({ workers: 1 });
    const two = new Float32Array(2);
    const said = [];
    const tries = [
      () => compute.matmul(two, two, 2, 2, 2),
      () => compute.matmul(two, two, 2 ** 40, 1, 1),
      () => compute.matmul([1, 2], two, 1, 2, 1),
      () => compute.dot(two, new Float32Array(3)),
      () => compute.vector("divide", two, two),
      () => compute.vector("relu", two, two),
      () => compute.reduce("max", new Float32Array()),
      () => compute.reduce("sum", Float32Array.of(1, Number.NaN)),
      () => compute.matmul(Float32Array.of(1), Float32Array.of(1 / 0), 1, 1, 1),
      () => compute.dot(Float32Array.of(3e38, 1), Float32Array.of(3e38, 1)),
      () => compute.attention({ heads: 1, tokens: 0, dim: 2 }, two, two, two),
      () => compute.lora({ from: 0, to: 1, rank: 1, scale: 1 }, two, two, two, two),
      () => compute.attention({ heads: 2 ** 28, tokens: 0, dim: 4 }, ...[0, 0, 0].map(() => new Float32Array())),
      () => compute.attention(),
      () => Compute.open({ workers: 17 }),
    ];
    for (const attempt of tries) said.push(await attempt().then(() => "no error", (error) => error.message));
    // What cannot be sent is said, and takes no place: there are 4,096.
    const gone = new Float32Array(4);
    structuredClone(gone, { transfer: [gone.buffer] });
    let refused = 0;
    for (let at = 0; at < 4_200; at += 1) await compute.reduce("sum", at % 2 ? gone : () => 1).catch(() => { refused += 1; });
    said.push(String(refused));
    // It still works.
    said.push(String(await compute.reduce("sum", Float32Array.of(1, 2))));
    const waits = compute.matmul(new Float32Array(1 << 22), new Float32Array(1 << 22), 2048, 2048, 2048);
    await compute.close();
    said.push(await waits.then(() => "no error", (error) => error.message));
    said.push(await compute.dot(two, two).then(() => "no error", (error) => error.message));
    return said;
  });
  const expected = [
    /`a` has 2 elements/, /`m` is a whole number/, /`a` is a Float32Array/, /`b` has 3/, /add, mul, relu, sigmoid/,
    /takes one array/, /nothing to reduce/, /^invalid: `x` has NaN at 1: numbers have to be finite/, /`b` has Infinity at 0/, /^invalid: a number of the result of dot is too large/,
    /nothing to attend/, /without columns/,
    /nothing to attend/, /a shape/, /1 to 16/, /^4200$/, /^3$/, /closed/, /closed/,
  ];
  said.forEach((text, at) => assert.match(text, expected[at], `${at}`));
});

test("arguments are what they were when they were given, and a view travels without its buffer", async () => {
  const isolated = await site(undefined, {
    "cross-origin-opener-policy": "same-origin", "cross-origin-embedder-policy": "require-corp",
  });
  try {
    const tab = await page(isolated.url);
    const found = await tab.evaluate(async () => {
      const { Compute } = await import("/compute.js");
      const compute = await Compute.open({ workers: 1 });
      const shared = new Float32Array(new SharedArrayBuffer(4 * 300 * 300)).fill(1);
      const plain = new Float32Array(300 * 300).fill(1);
      const waits = compute.matmul(plain, shared, 300, 300, 300);
      shared.fill(2);
      plain.fill(2);
      const product = await waits;
      const post = Worker.prototype.postMessage;
      let most = 0;
      Worker.prototype.postMessage = function posted(message, ...rest) {
        for (const given of message.args[1]) most = Math.max(most, given.buffer?.byteLength ?? 0);
        return post.call(this, message, ...rest);
      };
      const view = new Float32Array(1 << 20).subarray(5, 9);
      view.set([1, 2, 3, 4]);
      const sum = await compute.reduce("sum", view);
      await compute.close();
      return { all: product.every((value) => value === 300), sum, most };
    });
    assert.deepEqual(found, { all: true, sum: 10, most: 16 });
  } finally {
    await isolated.end();
  }
});

test("keys: signatures, sessions, labels, and backups that the command line reads", async () => {
  const tab = await page();
  const found = await tab.evaluate(async () => {
    const { GenesisKey, PiKey, SessionKey, init } = await import("/index.js");
    let early = "";
    try { new PiKey(); } catch (error) { early = error.message; }
    await init();
    const key = new PiKey();
    const data = new TextEncoder().encode("what I say");
    const signature = key.sign(data);
    const pool = crypto.getRandomValues(new Uint8Array(32));
    const holds = [
      PiKey.verify(data, signature, key.getPublicKey()),
      key.verify(data, signature, key.getPublicKey()),
      PiKey.verify(data, key.sign(data, pool), key.getPublicKey(), pool),
    ];
    const other = new PiKey();
    const flipped = signature.map((byte, at) => (at === 40 ? byte ^ 1 : byte));
    const not = [
      PiKey.verify(data, signature, other.getPublicKey()),
      PiKey.verify(data.slice(1), signature, key.getPublicKey()),
      PiKey.verify(data, flipped, key.getPublicKey()),
      PiKey.verify(data, signature, key.getPublicKey(), pool),
      PiKey.verify(data, signature, key.getPublicKey(), new Uint8Array(32)),
      PiKey.verify(data, new Uint8Array(3), key.getPublicKey()),
      PiKey.verify(data, signature, new Uint8Array(32)),
    ];
    // The bare signature of RFC 8032 does not hold: a page is not made to sign what the protocol reads.
    const bare = await crypto.subtle.importKey("raw", key.getPublicKey(), "Ed25519", false, ["verify"])
      .then((imported) => crypto.subtle.verify("Ed25519", imported, signature, data), () => false);
    const session = SessionKey.create(key, 1);
    const record = session.encrypt(data);
    const back = new TextDecoder().decode(session.decrypt(record));
    const errors = [];
    const attempt = (does) => { try { does(); errors.push("no error"); } catch (error) { errors.push(error.message); } };
    attempt(() => SessionKey.create(other, 1).decrypt(record));
    attempt(() => session.decrypt(record.map((byte, at) => (at === record.length - 1 ? byte ^ 1 : byte))));
    attempt(() => session.decrypt(new Uint8Array(5)));
    attempt(() => SessionKey.create(key, 0));
    attempt(() => key.sign("a text"));
    attempt(() => PiKey.verify(data, signature, key.getPublicKey(), "x".repeat(32)));
    attempt(() => key.sign(data, [1, 2]));
    attempt(() => new GenesisKey(new GenesisKey(pool).getBytes(), true));
    const freed = new PiKey();
    freed.free();
    freed.free();
    attempt(() => freed.sign(data));
    const large = new Uint8Array(64 << 20);
    const long = SessionKey.create(key, 600);
    attempt(() => { if (long.decrypt(long.encrypt(large)).length === large.length) throw new Error("read again"); });
    await new Promise((done) => setTimeout(done, 1_100));
    attempt(() => session.decrypt(record));
    attempt(() => session.encrypt(data));
    const label = new GenesisKey(pool, true);
    const labels = [label.labels(pool), label.labels(new Uint8Array(32)), label.getShortId(), label.getBytes().length,
      new GenesisKey(label.getBytes()).getShortId() === label.getShortId()];
    const backup = await key.createEncryptedBackup("correct horse");
    const restored = await PiKey.restore(backup, "correct horse");
    const wrong = await PiKey.restore(backup, "wrong").then(() => "no error", (error) => error.message);
    const short = await key.createEncryptedBackup("short").then(() => "no error", (error) => error.message);
    const same = restored.toString() === key.toString() && PiKey.verify(data, restored.sign(data), key.getPublicKey());
    return {
      early, holds, not, bare, back, errors, over: session.isOver, labels, same, wrong, weak: short, text: key.toString(),
      short: key.getShortId(), identity: key.getIdentity().length, backup: [...backup],
    };
  });
  assert.match(found.early, /await init/);
  assert.deepEqual(found.holds, [true, true, true]);
  assert.deepEqual(found.not, Array(7).fill(false));
  assert.equal(found.bare, false);
  assert.equal(found.back, "what I say");
  const expected = [/another session/, /does not hold/, /not a record/, /positive number/, /Uint8Array/,
    /`pool` is a Uint8Array/, /`pool` is a Uint8Array/, /says itself/, /freed/, /read again/, /over/, /over/];
  found.errors.forEach((text, at) => assert.match(text, expected[at]));
  assert.equal(found.over, true);
  assert.deepEqual([found.labels[0], found.labels[1], found.labels[3], found.labels[4]], [true, false, 21, true]);
  assert.match(found.labels[2], /^φ:[0-9a-f]{8}-test$/);
  assert.equal(found.same, true);
  assert.match(found.wrong, /wrong password/);
  assert.match(found.weak, /8 characters/);
  assert.match(found.short, /^π:[0-9a-f]{8}$/);
  assert.equal(found.identity, 40);
  // The command line reads the backup, and is the same node.
  const folder = mkdtempSync(join(tmpdir(), "edge-net-keys-"));
  try {
    const file = join(folder, "backup");
    writeFileSync(file, Uint8Array.from(found.backup));
    const args = ["identity", "import", "--data-dir", join(folder, "node"), file];
    writeFileSync(join(folder, "password"), "correct horse\n");
    args.push("--password-file", join(folder, "password"));
    const { stdout } = await promisify(execFile)(process.env.EDGE_NET, ["--json", ...args]);
    assert.equal(JSON.parse(stdout).identity, found.text);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test("a page that takes other roundings has the fastest compute, a GPU too, and else its workers", async () => {
  const found = async (chrome, changed = (text) => text) => {
    const tab = await chrome.newPage();
    await tab.route("**/operations.js", async (route) => {
      const answer = await route.fetch();
      await route.fulfill({ response: answer, body: changed(await answer.text()) });
    });
    await tab.goto(served.url);
    return tab.evaluate(async () => {
      const { Compute } = await import("/compute.js");
      const compute = await Compute.open({ workers: 1 });
      const side = 300;
      const a = Float32Array.from({ length: side * side }, (_, at) => Math.sin(at));
      const attention = [{ heads: 1, tokens: side, dim: side }, a, a, a];
      const update = [{ from: side, to: side, rank: side, scale: 0.5 }, a, a, a, a];
      const both = async (accuracy) => [
        await compute.matmul(a, a, side, side, side, accuracy), await compute.attention(...attention, accuracy),
        await compute.lora(...update, accuracy),
      ];
      const [exact, approximate] = [await both({}), await both({ approximate: true })];
      const backends = await compute.backends();
      await compute.close();
      const apart = (x, y) => x.reduce((most, value, at) => Math.max(most, Math.abs(value - y[at])), 0);
      const same = (x, y) => String(new Uint32Array(x.buffer)) === String(new Uint32Array(y.buffer));
      return {
        backends, apart: exact.map((x, at) => apart(x, approximate[at])), same: exact.map((x, at) => same(x, approximate[at])),
      };
    });
  };
  const software = await browser(["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-unsafe-swiftshader"]);
  try {
    // As if this machine had a fast GPU: the software one is ranked first.
    const first = (text) => {
      const ranked = text.replace("(y.gflops ?? 0) - (x.gflops ?? 0)", '(y.kind === "webgpu") - (x.kind === "webgpu")');
      assert.notEqual(ranked, text);
      return ranked;
    };
    const { backends, apart, same } = await found(software, first);
    assert.equal(backends[0].kind, "webgpu");
    assert.ok(backends[0].gflops > 0 && !backends[0].exact, JSON.stringify(backends));
    assert.ok(apart.every((error) => error < 1e-3), String(apart));
    assert.deepEqual(same, [false, false, false], "it is the GPU's arithmetic");
  } finally {
    await software.close();
  }
  // By measurement a program on the processor loses to the workers, and without WebGPU there are only those.
  const { backends, same } = await found(chrome);
  const [webgpu] = backends.filter(({ kind }) => kind === "webgpu");
  assert.equal(webgpu.gflops, null);
  assert.match(webgpu.why, /none/);
  assert.equal(backends[0].kind, "workers");
  assert.deepEqual(same, [true, true, true]);
});
