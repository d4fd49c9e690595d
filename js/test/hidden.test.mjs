import assert from "node:assert/strict";
import { test } from "node:test";
import { Pool, cli, consent, sleep, tab, until, window } from "../testing/pool.mjs";

test("a tab behind another goes on working, and who turns to it or away from it is at the machine", { timeout: 200_000 }, async (t) => {
  const pool = new Pool();
  t.after(() => pool.end());
  const url = await pool.start("a");
  const { context, end } = await window();
  t.after(end);
  const { page, wrong, status } = await tab(null, url, context);
  await consent({ page, status }, 1);
  await until("it is idle", 20, () => page.evaluate(() => window.edgeNet.isIdle()));

  const other = await context.newPage();
  await other.bringToFront();
  await until("it is hidden", 10, () => page.evaluate(() => document.hidden));
  assert.equal(await page.evaluate(() => window.edgeNet.isIdle()), false, "somebody turned to another page");
  await until("it works for others behind it", 20, async () => / works for the pool\./.test(await status()), status);
  assert.equal(await page.evaluate(() => window.edgeNet.isIdle()), true);
  // The browser slows the page down: without that this test says nothing.
  await page.evaluate(() => { window.ticks = 0; setInterval(() => { window.ticks += 1; }, 50); });
  const executed = () => page.evaluate(() => window.edgeNet.workerStats().executed);
  const before = await executed();
  const begun = Date.now();
  for (let at = 0; at < 40; at += 1) await cli(url, "embed", `asked while nobody looks ${at}`);
  // And for a while: its connections and its part in the pool do not depend on the page's timers.
  await sleep(8_000);
  const seconds = (Date.now() - begun) / 1_000;
  const slowed = await page.evaluate(() => window.ticks);
  assert.ok(slowed <= 2 * seconds, `${slowed} ticks of 50 ms in ${seconds} s`);
  const done = (await executed()) - before;
  t.diagnostic(`${done} parts of 40 tasks done behind another tab; ${slowed} ticks of 50 ms in ${seconds} s`);
  assert.ok(done >= 10, `${done} parts`);
  assert.match(await status(), / works for the pool\. 1 of 2 members connected/);
  assert.equal((await cli(url, "embed", "and after a while")).vectors.length, 1);

  await page.bringToFront();
  await until("it rests when somebody comes back", 3, async () => /the page is in use/.test(await status()), status);
  assert.deepEqual(wrong, []);
});
