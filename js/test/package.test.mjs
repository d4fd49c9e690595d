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
  await assert.rejects(async () => node.submitTask("embedding", { text: "a" }), /not running/);
});
