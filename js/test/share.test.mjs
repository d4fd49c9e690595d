import assert from "node:assert/strict";
import { cpus } from "node:os";
import { test } from "node:test";
import { Pool, browser, consent, sleep, tab, until } from "../testing/pool.mjs";

const SECONDS = 10;
/** Points of all cores that a machine which also runs this test may be off by. */
const POINTS = 5;

test("a tab takes no more of the processor than it was told, and the page's thread is free", { timeout: 180_000 }, async (t) => {
  // Only the tab executes.
  process.env.EDGE_NET_WORKS = "false";
  t.after(() => delete process.env.EDGE_NET_WORKS);
  const chrome = await browser();
  t.after(() => chrome.close());
  const devtools = await chrome.newBrowserCDPSession();
  const renderers = async () => {
    const { processInfo } = await devtools.send("SystemInfo.getProcessInfo");
    return processInfo.filter((one) => one.type === "renderer").reduce((sum, one) => sum + one.cpuTime, 0);
  };
  const used = async (percent) => {
    // A pool of its own: a node that misses half of two members believes itself cut off, and works alone.
    const pool = new Pool();
    t.after(() => pool.end());
    const url = await pool.start("a");
    const one = await tab(chrome, url);
    await one.page.selectOption("#limit", String(percent / 100).replace(/^0/, ""));
    await consent(one, 1);
    await until("a tab that contributes", 20, async () => /works for the pool/.test(await one.status()));
    const metrics = await one.page.context().newCDPSession(one.page);
    await metrics.send("Performance.enable", { timeDomain: "threadTicks" });
    const page = async () => {
      const found = (await metrics.send("Performance.getMetrics")).metrics;
      return found.find((metric) => metric.name === "TaskDuration").value;
    };
    // More than it can do: long texts, several requests at a time.
    let asking = true;
    let last = "";
    const answers = {};
    const ask = async (lane) => {
      for (let round = 0; asking; round += 1) {
        const texts = Array.from({ length: 32 }, (_, at) =>
          Array.from({ length: 300 }, (_, word) => `w${(at * 37 + word * 11 + round * 7 + lane * 5) % 4_001}`).join(" "));
        const body = JSON.stringify({ texts });
        const answer = await fetch(`${url}/api/v1/embed`, { method: "POST", body });
        const said = await answer.json();
        answers[answer.status] = (answers[answer.status] ?? 0) + 1;
        if (!answer.ok) last = JSON.stringify(said);
      }
    };
    const lanes = [0, 1, 2, 3].map(ask);
    await sleep(8_000);
    const [cpu, busy, main] = [await renderers(), await page(), await one.page.evaluate(() => window.edgeNet.workerStats())];
    await sleep(SECONDS * 1_000);
    const [cpuAfter, busyAfter, mainAfter] = [await renderers(), await page(), await one.page.evaluate(() => window.edgeNet.workerStats())];
    asking = false;
    t.diagnostic(`answers ${JSON.stringify(answers)} ${last}`);
    await Promise.race([Promise.all(lanes), sleep(20_000)]);
    await one.page.context().close();
    const all = SECONDS * cpus().length;
    return {
      renderer: (100 * (cpuAfter - cpu)) / all,
      workers: (mainAfter.busyMs - main.busyMs) / 10 / all,
      network: (mainAfter.networkMs - main.networkMs) / 10 / all,
      pieces: mainAfter.executed - main.executed,
      page: (100 * (busyAfter - busy)) / SECONDS,
    };
  };
  for (const percent of [10, 50]) {
    const found = await used(percent);
    const shown = Object.entries(found).map(([name, value]) => `${name} ${value.toFixed(1)}`).join(", ");
    t.diagnostic(`limit ${percent} %: ${shown}`);
    assert.ok(found.pieces > 0, "it works at all");
    assert.ok(found.workers <= percent + POINTS, shown);
    assert.ok(found.renderer <= percent + POINTS, shown);
    assert.ok(found.page < 1, shown);
  }
});
