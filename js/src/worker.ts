/** The worker that is the node: the peer with its network (`edge-wasm-net`), storage, and the workers that compute. */

import init, { Node, Options, isMember, ticketPool } from "./wasm/edge_wasm_net.js";
import { compiled, withFile } from "./files.js";
import { Meter } from "./metered.js";
import { Operations, kernelsModule } from "./operations.js";
import { Pool, type PoolStats } from "./pool.js";
import { type Port, answering, reason, tell } from "./rpc.js";
import { type Store, type Write, openStore, storedPools } from "./store.js";
import type { TaskParts } from "./compute-worker.js";

/** What a page starts a node with. */
export type StartOptions = {
  ticket?: string;
  /** A node to ask for a ticket. */
  from?: string;
  gateways: string[];
  works: boolean;
  share: number;
  /** Bytes that the memories of all workers may take together. */
  memory: number;
  workers: number;
  cores: number;
  /** Where the model is. */
  model: string;
};

export type Started = { id: string; pool: string; volatile: string | null; workers: number; instructions: string };

/** `microRuv`: the most for one execution; without, as the peer decides. */
export type SubmitOptions = { microRuv?: number; high?: boolean; milliseconds?: number };
export type Checked = { task: string; check: unknown };

type Shard = { rows: number };
type Collection = { name: string; layout: number[]; rows: number; shards: Shard[] };

const page = self as unknown as Port;
/** Tables that are read row by row. */
const LARGE = ["log"];
const TASK_MS = 60_000;
const SEARCH_MS = 30_000;
const LOCK = "edge-net";

let running: { node: Node; pool: Pool; store: Store; operations: Operations } | null = null;
let lock: (() => void) | null = null;
let listening = false;

function ready() {
  if (running === null) throw new Error("failed: the node is not running");
  return running;
}

/** Two nodes with one identity would contradict each other: one per origin, as long as this worker lives. */
async function only(): Promise<boolean> {
  return new Promise((taken) => {
    navigator.locks.request(LOCK, { ifAvailable: true }, (held) => {
      taken(held !== null);
      if (held === null) return undefined;
      return new Promise<void>((release) => { lock = release; });
      // Where a site may keep nothing, each start is a node of its own.
    }).catch(() => taken(true));
  });
}

/** A module with one SIMD instruction: whether this browser takes it. */
function hasSimd(): boolean {
  return WebAssembly.validate(new Uint8Array([
    0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11,
  ]));
}

type Said = { pool?: string; ticket?: string; gateways?: string[]; error?: { why?: string } };

async function asked(method: string, url: URL): Promise<Said> {
  const answer = await fetch(url, { method }).catch((error: unknown) => {
    throw new Error(`failed: ${url.origin} cannot be reached, or it or this page's policy (\`connect-src\`) forbids it: ${reason(error)}`);
  });
  const said = (await answer.json().catch(() => {
    throw new Error(`failed: what answers at ${url.origin} is no node`);
  })) as Said;
  if (!answer.ok) throw new Error(`refused: ${url.host} answered: ${said.error?.why ?? answer.statusText}`);
  return said;
}

/** The pool to go to: the ticket's, that of the node which served the page, or the only one known here. */
async function destination(options: StartOptions): Promise<{ pool: string; gateways: string[] }> {
  if (options.ticket !== undefined) return { pool: ticketPool(options.ticket), gateways: [] };
  if (options.from !== undefined) {
    const said = await asked("GET", new URL("/join/pool", options.from));
    if (said.pool !== undefined) {
      if (said.gateways?.length) return { pool: said.pool, gateways: said.gateways };
      throw new Error("failed: the node has no address for browsers; add `/ip4/0.0.0.0/tcp/0/ws` to its `listen`");
    }
  }
  const [known, more] = await storedPools();
  if (known === undefined) {
    throw new Error("invalid: this tab is of no pool yet: a ticket is needed, from `edge-net identity invite`");
  }
  if (more !== undefined) throw new Error("invalid: this site knows several pools: a ticket says which");
  return { pool: known, gateways: [] };
}

async function start(options: StartOptions): Promise<Started> {
  if (running !== null) throw new Error("refused: the node runs already");
  if (!hasSimd()) throw new Error("failed: this browser has no WebAssembly SIMD; use a newer one");
  if (!(await only())) {
    throw new Error("refused: another node of this site runs already, in another tab of this site or in this one; end it and start again");
  }
  try {
    // Written out, so that bundlers find the files.
    const [network, compute] = await Promise.all([
      compiled(new URL("./wasm/edge_wasm_net_bg.wasm", import.meta.url)),
      compiled(new URL("./wasm/edge_wasm_compute_bg.wasm", import.meta.url)),
    ]);
    const pool = new Pool(options.share, options.cores, options.memory);
    // What the network takes is taken from the same share.
    await new Meter((ms) => pool.spent(ms, "network")).metered(() => init({ module_or_path: network }));
    const { pool: poolId, gateways } = await destination(options);
    if (!/^[0-9a-f]{64}$/.test(poolId)) throw new Error("failed: the node names a pool that is none");
    const { store, seed } = await openStore(poolId);
    const rows = await store.rows(LARGE);
    let { ticket } = options;
    if (ticket === undefined && options.from !== undefined && !isMember(rows)) {
      ticket = (await asked("POST", new URL("/join/ticket", options.from))).ticket;
      // What is stored from now on is stored as that pool's.
      if (ticket !== undefined && ticketPool(ticket) !== poolId) {
        throw new Error("failed: the node gives a ticket for another pool than it names");
      }
    }
    const { pins, shardPin } = await withFile("model.bin", options.model, (model) =>
      pool.start(options.workers, [compute, model], kernelsModule));
    const given = new Options(seed, options.works, pins, shardPin, Date.now() / 1_000);
    if (ticket !== undefined) given.ticket(ticket);
    for (const gateway of [...options.gateways, ...gateways]) given.gateway(gateway);
    let node: Node | null = null;
    const handed = new Map<number, () => void>();
    const host = {
      persist: (writes: Write[]) => store.persist(writes),
      load: (table: string, key: Uint8Array) => store.load(table, key),
      execute(work: number, what: Uint8Array, urgency: number, others: boolean) {
        const { result, cancel } = pool.execute(what, urgency, others);
        handed.set(work, cancel);
        result
          .then((bytes) => node?.executed(work, bytes), (error: unknown) => node?.failed(work, reason(error)))
          .finally(() => handed.delete(work));
      },
      cancel: (work: number) => handed.get(work)?.(),
      event: (json: string) => { if (listening) tell(page, "event", JSON.parse(json)); },
      ended(why?: string) {
        running = null;
        pool.stop();
        lock?.();
        lock = null;
        tell(page, "ended", why ?? null);
      },
    };
    node = await Node.start(host, rows, given);
    running = { node, pool, store, operations: new Operations(pool) };
    const { workers, instructions } = pool.stats;
    return { id: node.id(), pool: node.pool(), volatile: store.volatile, workers, instructions };
  } catch (error) {
    lock?.();
    lock = null;
    throw error;
  }
}

async function submit(task: TaskParts, options: SubmitOptions): Promise<Checked & { result: Uint8Array }> {
  const [id, check, result] = (await ready().node.submit(
    task.kind, task.payload, task.pin, task.units,
    options.microRuv, options.high ?? false, options.milliseconds ?? TASK_MS,
  )) as [string, string, Uint8Array];
  return { task: id, check: JSON.parse(check), result };
}

/** The collection that is asked: the named one, else the only one. */
async function collection(name: string | undefined): Promise<Collection> {
  const all = JSON.parse(await ready().node.collections()) as Collection[];
  const found = name === undefined && all.length === 1 ? all[0] : all.find((one) => one.name === name);
  if (found !== undefined) return found;
  const names = all.map((one) => one.name).join(", ");
  const there = names === "" ? "there is no collection" : `there are: ${names}`;
  throw new Error(`not found: ${name === undefined ? "name a collection as `index`" : `no collection ${name}`}; ${there}`);
}

/** What the peer says to people at a command line, as a page has it. */
const HERE: [RegExp, string][] = [
  [/Start again with `--join` and a new ticket/, "Start again with a new ticket"],
  [/`edge-net status` says what it waits for/, "`status` says what it waits for"],
  [/raise `max_credits`/, "raise `maxCost`"],
  [/`edge-net collection ls` shows/, "`collections()` shows"],
];

function worded(text: string): string {
  return HERE.reduce((said, [pattern, here]) => said.replace(pattern, here), text);
}

answering(page, {
  start,

  async stop() {
    await ready().node.stop();
  },

  /** Whether tasks of others are taken, and for which part of the share; what was promised is finished. */
  async contribute(yes: boolean, part: number) {
    const { node, pool } = ready();
    await node.work(yes, pool.forOthers(part));
  },

  listen: (hears: boolean) => { listening = hears; },
  next: () => ready().pool.next(),
  stats: (): PoolStats => ({ ...ready().pool.stats }),
  status: async () => JSON.parse(await ready().node.status(), (_, value) => (typeof value === "string" ? worded(value) : value)),
  peers: async () => JSON.parse(await ready().node.peers()),
  tasks: async (limit: number) => JSON.parse(await ready().node.tasks(limit)),
  history: async (limit: number) => JSON.parse(await ready().node.history(limit)),
  economy: async () => JSON.parse(await ready().node.economy()),
  pay: async (what: string, to: string, micro: number) => JSON.parse(await ready().node.pay(what, to, micro)),
  checkpoint: async () => JSON.parse(await ready().node.checkpoint()),
  security: async () => JSON.parse(await ready().node.security()),
  collections: async () => JSON.parse(await ready().node.collections()),

  compute: (op: string, args: never[]) => ready().operations.answer(op, args),

  async embedding(texts: string[], options: SubmitOptions) {
    const { pool } = ready();
    const done = await submit(await pool.call<TaskParts>("embedding", [texts]), options);
    const vectors = await pool.call<Float32Array>("vectors", [done.result]);
    return { vectors, task: done.task, check: done.check };
  },

  async matching(text: string, labels: string[], options: SubmitOptions) {
    const { pool } = ready();
    const done = await submit(await pool.call<TaskParts>("matching", [text, labels]), options);
    const said = JSON.parse(await pool.call<string>("matched", [labels, done.result])) as object;
    return { ...said, task: done.task, check: done.check };
  },

  async compression(data: Uint8Array, back: boolean, options: SubmitOptions) {
    const done = await submit(await ready().pool.call<TaskParts>("compression", [data, back]), options);
    return { data: done.result, task: done.task, check: done.check };
  },

  async search(text: string, k: number, index: string | undefined, milliseconds: number | undefined) {
    const { node, pool } = ready();
    const asked = await collection(index);
    const rows = Math.max(0, ...asked.shards.map((shard) => shard.rows));
    const layout = Uint8Array.from(asked.layout);
    const query = await pool.call<{ bytes: Uint8Array; units: number }>("query", [layout, text, k, rows]);
    const [found, shards] = (await node.search(
      asked.name, k, query.bytes, query.units, milliseconds ?? SEARCH_MS,
    )) as [Uint8Array, string];
    return { hits: JSON.parse(await pool.call<string>("hits", [found])), shards: JSON.parse(shards) };
  },
}, worded);

// A policy forbids connections without a word to what opens them.
self.addEventListener("securitypolicyviolation", (event) => {
  tell(page, "forbidden", `${event.blockedURI} (${event.effectiveDirective})`);
});
