import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Pool, browser, cli, get, until } from "../testing/pool.mjs";
import { authority, folder, passage, site } from "../testing/site.mjs";

/** A native node with a collection, and a ticket for each page. */
async function poolOfOne(t) {
  const pool = new Pool();
  t.after(() => pool.end());
  const url = await pool.start("a");
  const texts = ["the keeper lights the lamp", "a ship without a mast", "bread with rosemary"];
  await cli(url, "collection", "import", "tales", pool.texts("tales", texts));
  const model = Buffer.from(await (await fetch(`${url}/web/model.bin`)).arrayBuffer());
  const ticket = async () => (await cli(url, "identity", "invite", "--credits", "1")).ticket;
  return { url, model, ticket };
}

/** Opens a tutorial as a new person would, consents, and waits for a line. */
async function tutorial(context, base, name, said, line, seconds = 40) {
  const page = await context.newPage();
  const wrong = [];
  page.on("pageerror", (error) => wrong.push(error.message));
  const devtools = await context.newCDPSession(page);
  await devtools.send("Emulation.setPressureSourceOverrideEnabled", { enabled: true, source: "cpu" });
  await devtools.send("Emulation.setPressureStateOverride", { source: "cpu", state: "nominal" });
  await page.goto(`${base}/${name}.html?${new URLSearchParams(said)}`);
  await page.waitForFunction(() => window.node !== undefined, undefined, { timeout: 10_000 });
  await page.click("#go");
  let text = "";
  await until(`${name}: ${line}`, seconds, async () => {
    text = await page.textContent("#log");
    if (/^failed:/m.test(text)) throw new Error(`${name}: ${text}`);
    return line.test(text);
  }, () => `${text} ${wrong}`).catch(async (error) => {
    throw new Error(`${error.message}; ${await page.evaluate(() => window.node.status)}`);
  });
  return { page, said: text, wrong };
}

test("the four tutorials run as they are, from plain HTML", { timeout: 200_000 }, async (t) => {
  const chrome = await browser();
  t.after(() => chrome.close());
  const { url, model, ticket } = await poolOfOne(t);
  const served = await site({ "/": folder("tutorials"), "/edge-net/": folder("dist"), "/edge-net/model.bin": model });
  t.after(() => served.end());
  // One person, one key: each is the same member again.
  const context = await chrome.newContext();
  const first = { ticket: await ticket() };
  const joined = await tutorial(context, served.url, "join", first, /1 of 2 members connected/);
  const id = /node ([0-9a-f]{64})/.exec(joined.said)[1];
  await joined.page.close();

  const earns = await tutorial(context, served.url, "contribute", first, /works for the pool/);
  let at = 0;
  await until("a task of the node is done by the tab", 60, async () => {
    await cli(url, "embed", `a sentence about oars, number ${at++}`);
    return /did a task of another member: embedding/.test(await earns.page.textContent("#log"));
  });
  await earns.page.close();

  const used = await tutorial(context, served.url, "use", first, /^done$/m);
  assert.match(used.said, /embedding: 256 numbers/);
  assert.match(used.said, /match: sea/);
  const same = await cli(url, "search", "who keeps the light", "-c", "tales", "-k", "3");
  const shown = [...used.said.matchAll(/^tales: ([\d.]+) (.*)$/gm)].map(([, score]) => score);
  assert.deepEqual(shown, same.hits.map((hit) => hit.score.toFixed(3)));
  await used.page.close();

  const seen = await tutorial(context, served.url, "monitor", first, /^done$/m, 60);
  assert.match(seen.said, /peer [0-9a-f]{8} connected/);
  assert.match(seen.said, /GFLOP\/s by \d+ worker/);
  assert.match(seen.said, /security: 10 of 10/);
  assert.equal(await seen.page.evaluate(() => window.node.nodeId()), id);
  assert.equal(await seen.page.locator("[data-edge-net=badge]").count(), 1);
  for (const { wrong } of [joined, earns, used, seen]) assert.deepEqual(wrong, []);
});

test("an app that Vite built joins over HTTPS and wss with a certificate of one's own authority", { timeout: 200_000 }, async (t) => {
  const trusted = authority();
  const chrome = await browser([`--ignore-certificate-errors-spki-list=${trusted.spki}`]);
  t.after(() => chrome.close());
  const { url, model, ticket } = await poolOfOne(t);

  // An app of its own, with the package as npm packs it.
  const app = mkdtempSync(join(tmpdir(), "edge-net-vite-"));
  t.after(() => rmSync(app, { recursive: true, force: true }));
  cpSync(folder("fixtures/vite"), app, { recursive: true });
  cpSync(folder("tutorials"), app, { recursive: true });
  const run = (program, args, cwd) => execFileSync(program, args, { cwd, stdio: ["ignore", "pipe", "pipe"] });
  const [packed] = JSON.parse(run("npm", ["pack", "--json", "--pack-destination", app], folder(".")));
  mkdirSync(join(app, "node_modules/@edge-net"), { recursive: true });
  run("tar", ["xf", packed.filename], app);
  run("mv", ["package", "node_modules/@edge-net/node"], app);
  symlinkSync(folder("node_modules/vite"), join(app, "node_modules/vite"));
  run("node", ["node_modules/vite/bin/vite.js", "build"], app);
  assert.ok(readdirSync(join(app, "dist/assets")).some((name) => name.endsWith(".wasm")), "the modules are assets");

  // The page may open no other connections than its own and wss.
  const policy = { "content-security-policy": "connect-src 'self' wss:" };
  const served = await site({ "/": join(app, "dist"), "/assets/model.bin": model }, policy, trusted.certificate);
  t.after(() => served.end());
  const [gateway] = (await get(url, "/join/pool")).gateways;
  const [, plain, id] = /\/tcp\/(\d+)\/ws\/p2p\/(\w+)/.exec(gateway);
  const tls = await passage(Number(plain), trusted.certificate);
  t.after(() => tls.end());

  const context = await chrome.newContext();
  const said = { ticket: await ticket(), gateway: `/dns4/localhost/tcp/${tls.port}/wss/p2p/${id}` };
  const used = await tutorial(context, served.url, "use", said, /^done$/m);
  assert.match(used.said, /match: sea/);
  assert.ok(tls.seen() > 0, "through the TLS proxy");
  assert.deepEqual(used.wrong, []);

  // A gateway that the policy forbids: the browser says so to nobody but the worker, and that is told soon.
  const forbidden = { ticket: await ticket(), gateway: `/ip4/127.0.0.1/tcp/${plain}/ws/p2p/${id}` };
  const told = /nobody was reached.*this page's policy forbids ws:.* \(connect-src\)/s;
  // Sooner than those who wait for a network give up.
  await assert.rejects(tutorial(await chrome.newContext(), served.url, "use", forbidden, /^done$/m, 25), told);
});
