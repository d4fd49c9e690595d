import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Pool, browser, cli, consent, get, sleep, submit, tab, until } from "../testing/pool.mjs";

/** Seconds without a network; some hundreds for a run by hand. */
const SILENCE = Number(process.env.EDGE_SILENCE ?? 20);

let chrome;
before(async () => { chrome = await browser(); });
after(async () => { await chrome.close(); });

/** Everything a tab has, wherever it is set aside, and what its account's blocks say. */
async function credits(page, url) {
  const id = await page.evaluate(() => window.edgeNet.nodeId());
  const of = async () => {
    const { balance, incoming, escrowed } = await cli(url, "ledger", "balance", id);
    return balance + incoming + escrowed;
  };
  return of();
}

test("a network that passes nothing on, and a page that is frozen, cost time and no credits", { timeout: 400_000 + SILENCE * 1_000 }, async (t) => {
  const pool = new Pool();
  t.after(() => pool.end());
  // The tab is the only one who is paid for anything.
  const url = await pool.start("a");
  const one = await tab(chrome, url);
  await consent(one, 1);
  await until("its own credits", 20, () => one.page.evaluate(() => window.edgeNet.ruvBalance() > 0));
  const before = await credits(one.page, url);

  pool.hold("a", true);
  const waiting = submit(one.page, "embedding", { text: "asked while nobody hears" }).then((vector) => vector.length, (error) => error.message);
  await until("it is noticed", 90, async () => / 0 of 2 members connected/.test(await one.status()), one.status);
  await sleep(SILENCE * 1_000);
  pool.hold("a", false);
  await until("the tab is back", 90, async () => / 1 of 2 members connected/.test(await one.status()), one.status);
  const said = await waiting;
  assert.ok(said === 256 || /^Error: |failed|refused/.test(said), String(said));
  assert.equal((await submit(one.page, "embedding", { text: "and after it" })).length, 256);

  // Frozen, as a browser does with tabs in the background; it has no say in it.
  const devtools = await one.page.context().newCDPSession(one.page);
  await devtools.send("Page.setWebLifecycleState", { state: "frozen" });
  await sleep(10_000);
  assert.equal((await cli(url, "embed", "while the tab is frozen")).vectors.length, 1, "others are served without it");
  await devtools.send("Page.setWebLifecycleState", { state: "active" });
  await until("the tab is back again", 90, async () => / 1 of 2 members connected/.test(await one.status()), one.status);
  assert.equal((await submit(one.page, "embedding", { text: "thawed" })).length, 256);

  const verified = await cli(url, "ledger", "verify");
  assert.equal(verified.conserved, true);
  const after = await credits(one.page, url);
  // Own tasks that another member did are paid for; nothing else may have moved.
  assert.ok(after <= before + 0.001 && after >= before - 0.001, `${before} before, ${after} after`);
  assert.deepEqual(one.wrong.filter((text) => !/WebSocket/.test(text)), []);
});

test("what a lying gateway says is refused with the reason, and moves nothing", { timeout: 200_000 }, async (t) => {
  const pool = new Pool();
  t.after(() => pool.end());
  const url = await pool.start("a");
  const other = await pool.start("b");
  const honest = await get(url, "/join/pool");
  const theirs = await get(other, "/join/pool");
  const tries = [
    // Of another pool; of an address where somebody else answers; of no address; of no pool at all; not JSON.
    [{ ...honest, pool: theirs.pool }, /did not start: failed: the node gives a ticket for another pool/],
    [{ ...honest, gateways: theirs.gateways.map((at) => at.replace(/p2p\/.*/, honest.gateways[0].split("p2p/")[1])) }, /members connected|not a member/],
    [{ ...honest, gateways: [] }, /no address for browsers/],
    [{ pool: "not a pool", gateways: honest.gateways }, /did not start: failed: the node names a pool that is none/],
    ["<html>", /did not start/],
  ];
  for (const [lie, expected] of tries) {
    const context = await chrome.newContext();
    await context.route("**/join/pool", (route) => route.fulfill(
      typeof lie === "string" ? { body: lie, contentType: "application/json" } : { json: lie },
    ));
    const one = await tab(chrome, url, context);
    await one.page.click("#consent");
    await until(`an answer to ${JSON.stringify(lie).slice(0, 80)}`, 40, async () => expected.test(await one.status()), one.status);
    assert.deepEqual(one.wrong.filter((text) => !/WebSocket|SyntaxError/.test(text)), [], await one.status());
    await context.close();
  }
  for (const at of [url, other]) assert.equal((await cli(at, "ledger", "verify")).conserved, true);
  // An honest one works as before.
  const one = await tab(chrome, url);
  await consent(one, 1);
  assert.equal((await submit(one.page, "embedding", { text: "after the lies" })).length, 256);
});

test("the memory limit holds: a worker that has grown over it is started again, and nothing is lost", { timeout: 120_000 }, async (t) => {
  const pool = new Pool();
  t.after(() => pool.end());
  const url = await pool.start("a");
  const context = await chrome.newContext();
  await context.route("**/web/join.js", async (route) => {
    const answer = await route.fetch();
    const text = await answer.text();
    const limited = text.replace(".cpuLimit(", ".memoryLimit(64 << 20).workers(2).cpuLimit(");
    assert.notEqual(limited, text);
    await route.fulfill({ response: answer, body: limited });
  });
  const one = await tab(chrome, url, context);
  await consent(one, 1);
  const seen = await one.page.evaluate(async () => {
    const { compute } = window.edgeNet;
    const side = 2_800;
    const a = Float32Array.from({ length: side * side }, (_, at) => ((at * 7) % 11) - 5);
    const sums = [];
    for (let round = 0; round < 2; round += 1) {
      const product = await compute.matmul(a, a, side, side, side);
      sums.push(await compute.reduce("sum", product));
    }
    const tall = new Float32Array(9 << 20);
    const refused = await compute.matmul(a.slice(0, 3), tall, 1, 3, 3 << 20).then(() => "no error", (error) => error.message);
    // By who has nothing to do after it, too.
    await compute.matmul(a, a, side, side, side);
    return { sums, refused };
  });
  assert.equal(seen.sums[0], seen.sums[1]);
  assert.match(seen.refused, /memory limit .* raise memoryLimit/);
  const figures = () => one.page.evaluate(() => window.edgeNet.workerStats());
  const stats = await until("memory given back", 10, async () => {
    const stats = await figures();
    return stats.renewed >= 3 && stats.bytes <= 64 << 20 && stats;
  }, async () => JSON.stringify(await figures()));
  assert.equal(stats.failed, 0);
  assert.equal((await submit(one.page, "embedding", { text: "still here" })).length, 256);
  assert.deepEqual(one.wrong, []);
});

test("the model is kept, a kept one that is cut is fetched again, and a full disk ends the node with the reason", { timeout: 120_000 }, async (t) => {
  const pool = new Pool();
  t.after(() => pool.end());
  const url = await pool.start("a");
  const context = await chrome.newContext();
  let fetched = 0;
  await context.route("**/web/model.bin", (route) => {
    fetched += 1;
    return route.continue();
  });
  const one = await tab(chrome, url, context);
  const again = async () => {
    await one.page.evaluate(async () => { await window.edgeNet.stop(); await window.edgeNet.start(); });
    await one.page.evaluate(() => window.edgeNet.connected());
  };
  await consent(one, 1);
  const id = await one.page.evaluate(() => window.edgeNet.nodeId());
  assert.equal(fetched, 1);
  await again();
  assert.equal(fetched, 1, "the kept one");
  const cut = await one.page.evaluate(async () => {
    const folder = await (await navigator.storage.getDirectory()).getDirectoryHandle("edge-net");
    const file = await folder.getFileHandle("model.bin");
    const whole = (await file.getFile()).size;
    const writable = await file.createWritable({ keepExistingData: true });
    await writable.truncate(1_000_000);
    await writable.close();
    return whole;
  });
  assert.ok(cut > 8_000_000, String(cut));
  await again();
  assert.equal(fetched, 2, "fetched again");
  await again();
  assert.equal(fetched, 2, "and kept");

  // No room any more: what could not be stored must not have been said.
  const devtools = await context.newCDPSession(one.page);
  await devtools.send("Storage.overrideQuotaForOrigin", { origin: url, quotaSize: 1 });
  await until("the end", 60, async () => {
    await one.page.evaluate(() => window.edgeNet.submitTask("embedding", { text: `something to write ${Date.now()}` }).catch(() => {}));
    return /^Stopped: /.test(await one.status());
  }, one.status);
  assert.match(await one.status(), /quota|room|space|storage/i);
  await devtools.send("Storage.overrideQuotaForOrigin", { origin: url });
  await one.page.evaluate(() => window.edgeNet.start());
  await one.page.evaluate(() => window.edgeNet.connected());
  assert.equal(await one.page.evaluate(() => window.edgeNet.nodeId()), id);
  assert.equal((await submit(one.page, "embedding", { text: "there is room again" })).length, 256);
  assert.equal((await cli(url, "ledger", "verify")).conserved, true);
});
