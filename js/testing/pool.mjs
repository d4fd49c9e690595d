/** Native nodes and a browser for the tests beside this file. */

import { execFile, spawn } from "node:child_process";
import { closeSync, existsSync, mkdtempSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { chromium } from "playwright-core";

const EDGE_NET = process.env.EDGE_NET;
const CHROMIUM = process.env.EDGE_CHROMIUM;
if (!EDGE_NET || !CHROMIUM) throw new Error("run these tests by `cargo xtask browser`");

export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

/** Looks again and again until something is there, at most so long. */
export async function until(what, seconds, look, said = () => "") {
  const end = Date.now() + seconds * 1_000;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (Date.now() > end) throw new Error(`${what}: not within ${seconds} s; ${await said()}`);
    await sleep(200);
  }
}

/** Native nodes in a folder that is removed with them. */
export class Pool {
  folder = mkdtempSync(join(tmpdir(), "edge-net-browser-"));
  #children = [];
  #nodes = new Map();

  /** Starts a program and answers its process; its output goes to a file. */
  run(name, args) {
    const log = join(this.folder, `${name}.log`);
    const out = openSync(log, "w");
    // The test's own load would make every node rest.
    const env = { ...process.env, EDGE_NET_CPU: "100%", EDGE_NET_CPU_IDLE: "100%" };
    const child = spawn(EDGE_NET, args, { stdio: ["ignore", out, out], env });
    closeSync(out);
    this.#children.push(child);
    return { child, said: () => readFileSync(log, "utf8") };
  }

  /** Starts a node and answers its URL. */
  async start(name, ...args) {
    const data = join(this.folder, name);
    const note = join(data, "api.json");
    rmSync(note, { force: true });
    const node = this.run(name, ["start", "--data-dir", data, "--port", "0", ...args]);
    this.#nodes.set(name, node.child);
    return until(`node ${name}`, 30, () => {
      if (node.child.exitCode !== null) throw new Error(node.said());
      if (!existsSync(note)) return null;
      try {
        return JSON.parse(readFileSync(note, "utf8")).url;
      } catch {
        return null;
      }
    });
  }

  /** SIGKILL: the node gets no chance to say or store anything. */
  async kill(name) {
    const child = this.#nodes.get(name);
    const gone = new Promise((done) => child.once("exit", done));
    child.kill("SIGKILL");
    await gone;
  }

  /** Stops a node without its connections noticing, as a network does that passes nothing on; or lets it go on. */
  hold(name, held) {
    this.#nodes.get(name).kill(held ? "SIGSTOP" : "SIGCONT");
  }

  texts(name, texts) {
    const folder = join(this.folder, name);
    mkdirSync(folder);
    texts.forEach((text, at) => writeFileSync(join(folder, `${at}.txt`), text));
    return folder;
  }

  async end() {
    for (const child of this.#children) child.kill("SIGTERM");
    await Promise.all(this.#children.map((child) => Promise.race([
      new Promise((done) => (child.exitCode === null ? child.once("exit", done) : done())),
      sleep(10_000).then(() => child.kill("SIGKILL")),
    ])));
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** The command line, as JSON. */
export async function cli(url, ...args) {
  const { stdout } = await promisify(execFile)(EDGE_NET, ["--api", url, "--json", ...args], { maxBuffer: 64 << 20 });
  return JSON.parse(stdout);
}

export async function get(url, path) {
  const answer = await fetch(new URL(path, url));
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
  return answer.json();
}

const QUIET = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];

export async function browser(more = []) {
  return chromium.launch({ executablePath: CHROMIUM, args: [...QUIET, ...more] });
}

/** A browser as people have it: of its tabs one is seen, and the others are slowed down. Answers their context. */
export async function window() {
  const folder = mkdtempSync(join(tmpdir(), "edge-net-window-"));
  const own = ["--headless=new", `--user-data-dir=${folder}`, "--remote-debugging-port=0", "about:blank"];
  const child = spawn(CHROMIUM, [...QUIET, ...own], { stdio: "ignore" });
  const gone = new Promise((done) => child.once("exit", done));
  const note = join(folder, "DevToolsActivePort");
  const [port, path] = await until("the browser", 30, () => {
    const lines = existsSync(note) ? readFileSync(note, "utf8").split("\n") : [];
    return lines.length >= 2 ? lines : null;
  });
  const chrome = await chromium.connectOverCDP(`ws://127.0.0.1:${port}${path}`, { noDefaults: true });
  return {
    context: chrome.contexts()[0],
    end: async () => {
      await chrome.close();
      child.kill();
      await gone;
      // Its other processes end after it, and write until then.
      let why = "";
      await until("its folder to be gone", 20, () => {
        try {
          rmSync(folder, { recursive: true, force: true });
          return true;
        } catch (error) {
          why = error.message;
          return false;
        }
      }, () => why);
    },
  };
}

/** A tab at `/join` in a context of its own, or in the given one; what goes wrong in it is kept. */
export async function tab(chrome, url, context) {
  const page = await (context ?? (await chrome.newContext())).newPage();
  const wrong = [];
  page.on("pageerror", (error) => wrong.push(error.message));
  page.on("console", (message) => { if (message.type() === "error") wrong.push(message.text()); });
  // The machine is busy with this test; what the browser says of that is set to what a calm one says.
  const devtools = await page.context().newCDPSession(page);
  await devtools.send("Emulation.setPressureSourceOverrideEnabled", { enabled: true, source: "cpu" });
  const pressure = (state) => devtools.send("Emulation.setPressureStateOverride", { source: "cpu", state });
  await pressure("nominal");
  await page.goto(`${url}/join`);
  return { page, wrong, pressure, status: () => page.textContent("#status") };
}

/** Consents, and waits until the tab is a peer of so many others. */
export async function consent({ page, status }, others) {
  const begun = Date.now();
  await page.click("#consent");
  await until(`a tab with ${others} peers`, 30, async () => {
    const connected = Number(/(\d+) of \d+ members connected/.exec(await status())?.[1] ?? 0);
    if (/did not start|^Stopped/.test(await status())) throw new Error(await status());
    return connected >= others;
  });
  return (Date.now() - begun) / 1_000;
}

/** Has a tab's node do a task; arrays come as lists. */
export const submit = (page, kind, payload) =>
  page.evaluate(async ([kind, payload]) => {
    const result = await window.edgeNet.submitTask(kind, payload);
    return result instanceof Float32Array ? Array.from(result) : result;
  }, [kind, payload]);
