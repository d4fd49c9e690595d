import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const folder = fileURLToPath(new URL("..", import.meta.url));
const run = async (program, ...args) => {
  const file = `node_modules/.bin/${program}`;
  const { stdout } = await promisify(execFile)(file, args, { cwd: folder }).catch((error) => {
    throw new Error(`${program}: ${error.stdout}${error.stderr}`);
  });
  return stdout;
};

test("the package resolves and has types wherever modules do", async () => {
  assert.match(await run("publint", "--strict"), /All good/);
  // Modules of WebAssembly have no types.
  const modules = ["net", "compute", "kernels", "keys"].map((name) => `./wasm/${name}`);
  await run("attw", "--pack", ".", "--profile", "esm-only", "--exclude-entrypoints", ...modules);
});

test("Node loads the package and says what it lacks there", async () => {
  const { EdgeNetConfig, init } = await import("../dist/index.js");
  await assert.rejects(init(), /cannot start workers/);
  assert.throws(() => new EdgeNetConfig("site").cpuLimit(0.9), /0.1 to 0.5/);
  assert.throws(() => new EdgeNetConfig("site").memoryLimit(1), /67108864/);
  const config = new EdgeNetConfig("site");
  const wrong = [
    () => config.cpuLimit("0.2"), () => config.workers(17), () => config.workers(1.5), () => config.respectBattery("no"),
    () => config.bootstrap("/ip4/1.2.3.4/tcp/1/ws/p2p/a"), () => config.bootstrap(["/ws/p2p/"]), () => config.ticket(5),
    () => config.from("nonsense"), () => config.model("http://["), () => config.minIdleTime(Number.NaN),
    () => config.build().on("status", 5),
  ];
  for (const attempt of wrong) assert.throws(attempt, /^\w*Error: invalid: /, String(attempt));
  for (const method of ["peers", "tasks", "history", "collections", "processNextTask", "connected"]) {
    await assert.rejects(config.build()[method](), /not running/, method);
  }
  const node = new EdgeNetConfig("site").cpuLimit(0.2).minIdleTime(0).build();
  assert.equal(node.nodeId(), "");
  const account = "ab".repeat(32);
  await assert.rejects(node.send(account, 1), /not running: call `start/);
  for (const to of [5, {}, { length: 1e9 }, [1], null, undefined, "ab", new Uint8Array(64)]) {
    await assert.rejects(node.send(to, 1), /^TypeError: invalid: an account/, String(to));
  }
  for (const method of ["stake", "unstake"]) await assert.rejects(node[method](1), /not running/, method);
  assert.throws(() => node.on("nope", () => {}), /^TypeError: invalid: events are/);
  await assert.rejects(node.start(), /a node runs in a browser/);
  assert.equal(JSON.parse(node.runSecurityAudit()).security_score, null, "nothing was looked at");
  assert.equal(node.getEconomicHealth(), '{"velocity":null,"utilization":null,"growth":null,"stability":null}');
  const readers = [node.getNetworkFitness(), node.isSelfSustaining(10, 100), node.shouldReplicate(), node.getRecommendedConfig()];
  assert.deepEqual(readers, [null, null, null, null], "nothing was seen");
  assert.throws(() => node.isSelfSustaining(-1, 5), /^RangeError: invalid: nodes/);
  await assert.rejects(async () => node.submitTask("embedding", { text: "a" }), /not running/);
});

test("what is read from the figures of the economy follows from their definitions", async () => {
  const { isSelfSustaining, micro, recommended, shouldReplicate } = await import("../dist/figures.js");
  // Ten members offer five cores: half a core each, 43,200 CPU-seconds a day.
  const seen = {
    utilization: 0.8, reputation: 0.9, cpu_seconds_per_task: 0.5, active: 10, offered_cores: 5, fees: 2, minted: 1,
  };
  assert.equal(isSelfSustaining(seen, 2, 172_800), true);
  assert.equal(isSelfSustaining(seen, 2, 172_801), false, "a task too many");
  assert.equal(isSelfSustaining({ ...seen, minted: 3 }, 2, 10), false, "it lives on what is minted");
  assert.equal(isSelfSustaining({ ...seen, cpu_seconds_per_task: null }, 2, 10), null);
  assert.equal(shouldReplicate(seen), true);
  assert.equal(shouldReplicate({ ...seen, utilization: 0.6 }), false);
  assert.equal(shouldReplicate({ ...seen, reputation: 0.7 }), false);
  assert.equal(shouldReplicate({ ...seen, utilization: null }), null);
  assert.equal(shouldReplicate({ ...seen, reputation: null }), null);

  const now = { cpuLimit: 0.2, memoryLimit: 256 << 20, minIdleTime: 5_000 };
  const pool = { heldBackMs: 0, bytes: 64 << 20 };
  assert.equal(recommended(now, pool, { all: 59_000, busy: 0 }), null, "too early");
  assert.deepEqual(recommended(now, pool, { all: 60_000, busy: 0 }), { ...now, because: ["the present limits fit"] });
  const busy = recommended(now, { ...pool, heldBackMs: 50_000 }, { all: 60_000, busy: 30_000 });
  assert.deepEqual([busy.cpuLimit, busy.because], [0.1, ["the machine was busy 50 % of the time"]]);
  const held = recommended({ ...now, cpuLimit: 0.4 }, { ...pool, heldBackMs: 45_000 }, { all: 60_000, busy: 0 });
  assert.equal(held.cpuLimit, 0.5, "never more than a tab may take");
  const full = recommended(now, { ...pool, bytes: 250 << 20 }, { all: 60_000, busy: 0 });
  assert.equal(full.memoryLimit, 512 << 20);

  assert.deepEqual([micro(1), micro(0.000001), micro(0.1 + 0.2)], [1_000_000, 1, 300_000]);
  const wrong = [[0, /more than nothing/], [-1, /more than/], [Number.NaN, /not NaN/], ["1", /not "1"/], [1n, /not 1n/], [1e300, /no 1e\+300 rUv/],
    [Number.POSITIVE_INFINITY, /no Infinity rUv/], [0.00000149, /six digits/], [undefined, /not undefined/]];
  for (const [given, text] of wrong) assert.throws(() => micro(given), (error) => text.test(error.message), String(given));
});
