import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Pool, browser, cli, consent, get, sleep, submit, tab, until } from "../testing/pool.mjs";

let chrome;
before(async () => { chrome = await browser(); });
after(async () => { await chrome.close(); });

test("a tab joins the pool of the demo, is paid for what others submit, and uses the pool", { timeout: 300_000 }, async (t) => {
  const pool = new Pool();
  t.after(() => pool.end());
  const demo = pool.run("demo", ["demo", "--max-documents", "1500"]);
  const url = await until("the demo", 200, () => {
    if (demo.child.exitCode !== null) throw new Error(demo.said());
    return /joins the pool at (http:\S+)\/join/.exec(demo.said())?.[1];
  });
  const one = await tab(chrome, url);
  assert.equal(await one.page.evaluate(() => window.edgeNet), undefined, "nothing runs before consent");
  assert.equal(one.page.workers().length, 0, "nothing runs before consent");
  const took = await consent(one, 3);
  t.diagnostic(`a peer after ${took} s`);
  const id = await one.page.evaluate(() => window.edgeNet.nodeId());
  const known = async () => (await get(url, "/api/v1/peers")).peers.find((peer) => peer.node === id);
  assert.equal((await until("the demo's node knows the tab", 10, known)).agent.split("/")[0], "edge-net-web");

  // Others' texts come in until the tab has done and been promised pay for some of them.
  const joined = Date.now();
  const [texts, statuses] = [[], []];
  const paid = await until("pay for the tab", 60, async () => {
    const at = texts.length;
    texts.push(`passage ${at}: the lamp on shelf ${at} burns ${at % 7} hours`);
    await cli(url, "collection", "import", "afterwards", pool.texts(`import-${at}`, [texts[at]]));
    statuses.push(`${((Date.now() - joined) / 1_000).toFixed(1)} s: ${await one.status()}`);
    return /([\d.]+) promised/.exec(statuses.at(-1))?.[1];
  }, async () => {
    const { tasks } = await get(url, "/api/v1/tasks?limit=6");
    return [...statuses.slice(0, 12), ...statuses.slice(-3), JSON.stringify(tasks)].join("\n");
  });
  t.diagnostic(`${paid} rUv promised after ${(Date.now() - joined) / 1_000} s and ${texts.length} imports`);
  const done = await one.page.evaluate(() => window.edgeNet.workerStats().executed);
  assert.ok(done > 0);
  // Its part in a task is known to the requester, which paid it, and what it made is in the replicas' logs.
  const tasks = (await get(url, "/api/v1/tasks?limit=200")).tasks;
  const parts = tasks.flatMap((task) => task.nodes.filter((node) => node.node === id).map((node) => ({ task, node })));
  const worked = parts.find(({ task, node }) => task.kind === "embedding" && task.status === "verified" && node.paid > 0);
  assert.ok(worked, JSON.stringify(parts).slice(0, 2_000));
  assert.equal(worked.node.digest, worked.task.result, "what it revealed is what was accepted");
  const [held] = (await get(url, "/api/v1/collections/afterwards")).shards;
  assert.equal(held.rows, texts.length);
  assert.ok(held.replicas.filter((replica) => replica.seq === held.seq).length >= 2, JSON.stringify(held));

  // The tab's own questions have the answers of the command line.
  const sentence = "how do I set a timeout on a tcp connection";
  const [collection] = (await get(url, "/api/v1/collections")).collections.filter((c) => c.name !== "afterwards");
  const hits = await submit(one.page, "vector_search", { query: sentence, k: 5, index: collection.name });
  const same = await cli(url, "search", sentence, "-c", collection.name, "-k", "5");
  assert.deepEqual(hits.map((hit) => [hit.record, hit.score]), same.hits.map((hit) => [hit.record, hit.score]));
  const vector = await submit(one.page, "embedding", { text: sentence });
  const { vectors } = await cli(url, "embed", sentence);
  assert.deepEqual(vector, vectors[0].map(Math.fround));
  const categories = ["networks", "baking"];
  const match = await submit(one.page, "semantic_match", { text: sentence, categories });
  const said = await cli(url, "match", sentence, "--labels", categories.join(","));
  assert.deepEqual([match.category, match.score, match.similarity], [said.category, said.score, said.similarity]);
  assert.equal(match.category, "networks");
  // What the getters say is what the peer counts: what was promised is earned once it is settled.
  const stats = await one.page.evaluate(() => window.edgeNet.getStats());
  assert.ok(stats.tasks_completed > 0 && stats.ruv_earned >= 0, JSON.stringify(stats));
  // Credits go to a native node, and what is wrong is refused before it reaches the worker.
  const { node: other } = await get(url, "/api/v1/status");
  const wrong = await one.page.evaluate(() => window.edgeNet.send({ length: 5e8 }, 1).catch((error) => error.message));
  assert.match(wrong, /^invalid: an account/);
  const pay = () => one.page.evaluate(async (to) => {
    const { creditSpend } = await import("/web/economy.js");
    return creditSpend(window.edgeNet, to, 0.25).then((block) => block.kind, (error) => error.message);
  }, other);
  await until("a payment, once what was set aside for own tasks is back", 30, async () => {
    const said = await pay();
    assert.match(said, /^send$|more are set aside for own tasks|not certified yet/);
    return said === "send";
  });
  const economy = await one.page.evaluate(() => window.edgeNet.economy());
  const native = await get(url, "/api/v1/ledger/economy");
  assert.ok(economy.active === native.active && Math.abs(economy.supply - native.supply) < 1, JSON.stringify([economy, native]));
  assert.ok(native.active === 5 && native.offered_cores > 4, JSON.stringify(native));
  const health = JSON.parse(await one.page.evaluate(() => window.edgeNet.getEconomicHealth()));
  assert.deepEqual(Object.keys(health), ["velocity", "utilization", "growth", "stability"]);
  assert.ok(economy.observed_seconds <= native.observed_seconds, "it came later");
  const audit = JSON.parse(await one.page.evaluate(() => window.edgeNet.runSecurityAudit()));
  assert.equal(audit.security_score, 10, JSON.stringify(audit));
  assert.ok(audit.applicable >= 6 && audit.attempted.bans === 0, JSON.stringify(audit));
  if (process.env.EDGE_SCREENSHOT) await one.page.screenshot({ path: process.env.EDGE_SCREENSHOT, fullPage: true });

  assert.equal((await one.page.evaluate(() => window.edgeNet.tasks(2 ** 32))).length > 0, true, "no limit wraps");

  // A listener's fault is the page's, and stops nothing.
  await one.page.evaluate(() => { window.edgeNet.on("status", () => { throw new Error("a listener's own"); }); });
  await one.page.click("#stop");
  await until("the end", 10, async () => (await one.status()) === "Stopped.");
  assert.deepEqual(one.wrong.filter((text) => text !== "a listener's own"), []);
});

test("two tabs of one pool: one does the other's task through the relay, keeps its key, and may die", { timeout: 240_000 }, async (t) => {
  const pool = new Pool();
  t.after(() => pool.end());
  // The native nodes take no tasks: only tabs do.
  process.env.EDGE_NET_WORKS = "false";
  t.after(() => delete process.env.EDGE_NET_WORKS);
  const url = await pool.start("a");
  const { ticket } = await cli(url, "identity", "invite");
  await pool.start("b", "--join", ticket);
  const context = await chrome.newContext();
  const one = await tab(chrome, url);
  const two = await tab(chrome, url, context);
  await consent(one, 2);
  await consent(two, 3);
  const [first, second] = await Promise.all([one, two].map(({ page }) => page.evaluate(() => window.edgeNet.nodeId())));
  const link = await until("the tabs see each other", 20, async () =>
    (await one.page.evaluate(() => window.edgeNet.peers())).find((peer) => peer.node === second && peer.connected));
  assert.ok(link.addresses.every((address) => address.includes("/p2p-circuit/")), link.addresses.join(" "));

  await until("a tab that contributes", 20, async () => /works for the pool/.test(await two.status()));
  const vector = await until("the other tab's answer", 60, async () => {
    const made = await submit(one.page, "embedding", { text: `a lighthouse ${Date.now()}` });
    const [task] = await one.page.evaluate(() => window.edgeNet.tasks(1));
    return task.nodes.some((node) => node.node === second && node.paid > 0) && made;
  });
  assert.equal(vector.length, 256);
  assert.ok((await two.page.evaluate(() => window.edgeNet.getStats())).tasks_completed >= 0);

  // A second node of the same site is refused, and says why.
  const third = await tab(chrome, url, context);
  await third.page.click("#consent");
  await until("a refusal", 10, async () => /in another tab of this site/.test(await third.status()));
  await third.page.close();

  // What cannot be is refused before it costs.
  const refused = (kind, payload, cost) => one.page.evaluate(async ([kind, payload, cost]) => {
    const given = payload.bytes ? { ...payload, data: new Uint8Array(payload.bytes) } : payload;
    return window.edgeNet.submitTask(kind, given, cost).then(() => "", (error) => error.message);
  }, [kind, payload, cost]);
  for (const [kind, payload, cost] of [
    ["compression", { data: "hello" }], ["compression", { bytes: [1], operation: "explode" }], ["compression", {}],
    ["vector_search", { query: "a", k: 1.5 }], ["vector_search", { query: "a", k: 2 ** 32 + 1 }], ["embedding", { text: " " }],
    ["embedding", { text: 5 }], ["embedding", { text: "a" }, -1], ["semantic_match", { text: "a", categories: "abc" }], ["none", {}],
  ]) {
    assert.match(await refused(kind, payload, cost), /^invalid: /, JSON.stringify([kind, payload, cost]));
  }

  // The key and the membership survive a reload.
  const before = (await get(url, "/api/v1/peers")).peers.length;
  await two.page.reload();
  await consent(two, 3);
  assert.equal(await two.page.evaluate(() => window.edgeNet.nodeId()), second);
  assert.equal((await get(url, "/api/v1/peers")).peers.length, before, "no further member");

  // It dies while tasks run: the requester has its answers all the same, and pays for no more than it got.
  const waiting = cli(url, "embed", ...Array.from({ length: 40 }, (_, at) => `sentence ${at}`));
  await sleep(30);
  await two.page.context().close();
  const { vectors } = await waiting;
  assert.equal(vectors.length, 40);
  const verified = await cli(url, "ledger", "verify");
  assert.equal(verified.conserved ?? true, true);
  assert.notEqual(first, second);
  assert.deepEqual(one.wrong, []);
});

test("tabs find a gateway again that was killed, and each other through it", { timeout: 120_000 }, async (t) => {
  const pool = new Pool();
  t.after(() => pool.end());
  const url = await pool.start("a");
  const [one, two] = [await tab(chrome, url), await tab(chrome, url)];
  await consent(one, 1);
  await consent(two, 2);
  const id = await two.page.evaluate(() => window.edgeNet.nodeId());
  await pool.kill("a");
  let seen;
  await until("the tab notices", 60, async () => / 0 of 3 members connected/.test(seen = await one.status()), () => seen);
  assert.match(await one.status(), /tries again by itself/);
  await pool.start("a");
  // A tab whose worker died meanwhile starts again by itself, and has nobody to ask in that moment.
  const sees = async () => (await one.page.evaluate(() => window.edgeNet.peers().catch(() => []))).find((peer) => peer.node === id)?.connected;
  await until("the tabs see each other again", 60, sees);
  await until("both members", 20, async () => / 2 of 3 members connected/.test(await one.status()), async () => `${await one.status()} ${one.wrong}`);
  const vector = await submit(one.page, "embedding", { text: "after all that" });
  assert.equal(vector.length, 256);
});

test("a worker that dies is replaced, a pause holds over a start, a busy machine gives a trickle, a used ticket is said to be used", { timeout: 120_000 }, async (t) => {
  const pool = new Pool();
  t.after(() => pool.end());
  const url = await pool.start("a");
  const one = await tab(chrome, url);
  await one.pressure("critical");
  await consent(one, 1);
  const computing = one.page.workers().find((worker) => worker.url().includes("compute-worker"));
  await computing.evaluate(() => { setTimeout(() => { throw new Error("boom"); }); });
  await until("another worker", 20, async () => (await one.page.evaluate(() => window.edgeNet.workerStats())).renewed === 1);
  assert.equal((await submit(one.page, "embedding", { text: "still here" })).length, 256);
  assert.deepEqual(one.wrong, [], "the page hears nothing of it");

  // The worker with the peer dies: the node starts again by itself, as who it was.
  const id = await one.page.evaluate(() => window.edgeNet.nodeId());
  const network = one.page.workers().find((worker) => /\/worker\.js/.test(worker.url()));
  await network.evaluate(() => { setTimeout(() => { throw new Error("bang"); }); });
  await until("its death is said", 5, async () => /starts its node again: .*bang/.test(await one.status()), one.status);
  await until("the node again", 30, async () => / 1 of 2 members connected/.test(await one.status()), one.status);
  assert.equal(await one.page.evaluate(() => window.edgeNet.nodeId()), id);

  await one.page.evaluate(() => window.edgeNet.pause());
  await one.page.evaluate(async () => { await window.edgeNet.stop(); await window.edgeNet.start(); });
  await until("the rest", 10, async () => /rests: you paused it/.test(await one.status()));
  const before = (await get(url, "/api/v1/status")).own_executions;
  await sleep(1_000);
  await cli(url, "embed", "nobody but this node", "is there to do it");
  assert.ok((await get(url, "/api/v1/status")).own_executions > before, "the tab takes nothing");
  const executed = () => one.page.evaluate(() => window.edgeNet.getStats().tasks_completed);
  assert.equal(await executed(), 0);
  const cores = async () => (await get(url, "/api/v1/ledger/economy")).offered_cores;
  const native = await cores();

  // The pause has ended, the machine is busy: a fifth of the limit is offered, and work is done with it.
  await one.page.evaluate(() => window.edgeNet.resume());
  await until("a trickle", 20, async () => /works for the pool with 0.2 of its limit: the machine is busy/.test(await one.status()), one.status);
  await until("what is offered", 5, async () => (await cores()) > native);
  const limit = await one.page.evaluate(() => Number(document.querySelector("#limit").value) * navigator.hardwareConcurrency);
  assert.ok(Math.abs((await cores()) - native - limit / 5) < 0.002, `${await cores()} - ${native}, limit ${limit}`);
  await cli(url, "embed", "somebody else is there to do it");
  await until("the tab did it", 5, async () => (await executed()) === 1, executed);

  // A page that asks for too much is refused, and still switches its node.
  const refused = await one.page.evaluate(async () => {
    const text = (at) => window.edgeNet.submitTask("embedding", { text: `text ${at}` }).then(() => "", (error) => error.message);
    const calls = Array.from({ length: 1_200 }, (_, at) => text(at));
    await window.edgeNet.pause();
    await window.edgeNet.resume();
    return (await Promise.all(calls)).filter((said) => said !== "");
  });
  assert.ok(refused.length > 0 && refused.every((said) => /1024 calls wait already/.test(said)), `${refused.length} ${refused[0]}`);

  const { ticket } = await cli(url, "identity", "invite");
  await pool.start("b", "--join", ticket);
  const context = await chrome.newContext();
  await context.route("**/join/ticket", async (route) => {
    const answer = await route.fetch();
    await route.fulfill({ response: answer, json: { ...(await answer.json()), ticket } });
  });
  await one.page.context().close();
  const two = await tab(chrome, url, context);
  await two.page.click("#consent");
  await until("the reason", 20, async () => /It did not start: refused: not a member.*with a new ticket/.test(await two.status()), two.status);
  await context.close();
});

test("a browser that stores nothing or starts no workers is told so", { timeout: 90_000 }, async (t) => {
  const pool = new Pool();
  t.after(() => pool.end());
  const url = await pool.start("a");
  const context = await chrome.newContext();
  await context.route("**/web/worker.js", async (route) => {
    const answer = await route.fetch();
    const denied = 'Object.defineProperty(self, "indexedDB", { value: { open() { throw new Error("denied"); } } });\n' +
      'navigator.locks.request = () => Promise.reject(new Error("denied"));\n';
    await route.fulfill({ response: answer, body: denied + (await answer.text()) });
  });
  const one = await tab(chrome, url, context);
  await consent(one, 1);
  await until("it is said that nothing is stored", 10, async () => /Nothing is stored \(denied\)/.test(await one.status()), one.status);
  // Eight hundred tasks at once wait for room at the others, who would ban it otherwise.
  const answered = await one.page.evaluate(async () => {
    const tasks = Array.from({ length: 800 }, (_, at) => window.edgeNet.submitTask("embedding", { text: `one of many ${at}` }));
    return (await Promise.all(tasks)).length;
  });
  assert.equal(answered, 800);
  const { attempted, done } = await get(url, "/api/v1/security/audit");
  assert.deepEqual([done.bans, attempted.limited], [0, 0]);
  // What is no time ends nothing.
  assert.match(await one.page.evaluate(() => window.edgeNet.stop(5n).catch((error) => error.message)), /^invalid: patience is a number/);
  assert.match(await one.page.evaluate(() => window.edgeNet.start().catch((error) => error.message)), /runs already/);
  const again = await one.page.evaluate(async () => {
    const stopped = window.edgeNet.stop();
    const started = await window.edgeNet.start().catch((error) => error.message);
    await stopped;
    return [started, window.edgeNet.nodeId().length];
  });
  assert.match(again[0], /is stopping: wait for/);
  assert.equal(again[1], 64, "it still says who it was");
  await context.close();

  const strict = await chrome.newContext();
  await strict.route("**/join", async (route) => {
    const answer = await route.fetch();
    const policy = answer.headers()["content-security-policy"].replace("worker-src 'self'", "worker-src 'none'");
    await route.fulfill({ response: answer, headers: { ...answer.headers(), "content-security-policy": policy } });
  });
  const two = await tab(chrome, url, strict);
  await two.page.click("#consent");
  await until("a reason", 10, async () => /worker did not start|policy/i.test(await two.status()));
  await strict.close();
});
