/**
 * An edge-net node in a browser tab.
 *
 * ```ts
 * await init();
 * const node = new EdgeNetConfig("my-site").build();
 * await node.start();
 * ```
 *
 * Nothing here computes: the node lives in workers, and this is the page's end of it.
 *
 * @packageDocumentation
 */

import { ALL, type Allowed, Activity } from "./activity.js";
import { type SecurityView, audit } from "./audit.js";
import { Compute } from "./compute.js";
import { type Economy, type Recommended, health, isSelfSustaining, micro, recommended, shouldReplicate, shown } from "./figures.js";
import { initKeys } from "./keys.js";
import { WORKERS_MAX } from "./limits.js";
import { Asking } from "./rpc.js";
import type { StartOptions, Started, SubmitOptions } from "./worker.js";
import type { PoolStats } from "./pool.js";

export { type Badge, badge } from "./badge.js";
export {
  type Accuracy, type AttentionShape, type Backend, Compute, type ComputeOptions, type Elementwise, type LoraShape, type Reduction,
} from "./compute.js";
export type { Economy, Health, Recommended } from "./figures.js";
export { GenesisKey, PiKey, SessionKey, initKeys, publicKeyOf } from "./keys.js";
export type { PoolStats } from "./pool.js";

/** What `submitTask` takes, by kind. */
export type TaskPayloads = {
  vector_search: { query?: string; data?: string; k?: number; index?: string };
  embedding: { text?: string; data?: string; model?: string };
  semantic_match: { text?: string; data?: string; categories?: string[] };
  compression: { data: Uint8Array; operation?: "compress" | "decompress" };
};

/** A record found. */
export type Hit = { id: string; record: string; score: number; payload: Record<string, unknown> };
export type Match = {
  category: string | null; nearest: string; score: number; similarity: number;
  scores: { label: string; score: number; similarity: number }[];
};

/** What `submitTask` answers, by kind. */
export type TaskResults = {
  vector_search: Hit[];
  embedding: Float32Array;
  semantic_match: Match;
  compression: Uint8Array;
};

/** Categories of a `semantic_match` that names none. */
export const DEFAULT_CATEGORIES = ["positive", "negative", "neutral"];

/** Since the key was made, tasks since the start; `null` before the node has joined. */
export type Stats = {
  ruv_earned: number | null; ruv_spent: number | null; tasks_completed: number; reputation: number | null;
};

type Balance = { balance: number; incoming: number; escrowed: number; vouchers: number };
type Status = {
  node: string; members: number; connected: number; executed_for_others: number; balance: Balance; notes: string[];
};
type Checkpoint = { multiplier_nano: number; epoch: number };

/** A member, as `/api/v1/peers` says it. */
export type Peer = {
  node: string; connected: boolean; reliability: number; faults: number; load: number; witness: boolean; checked: number;
  agent: string; addresses: string[];
} & Record<string, unknown>;
/** An own task, as `/api/v1/tasks` says it. */
export type Task = { task: string; kind: string; status: string } & Record<string, unknown>;
/** A collection, as `/api/v1/collections` says it. */
export type Collection = { name: string; rows: number } & Record<string, unknown>;


/** What a node tells whoever listens. */
export type Events = {
  /** One sentence that says what the node does, and why not more. */
  status: string;
  /** Something that happened to the peer, as `/api/v1/events` says it. */
  event: { event: string } & Record<string, unknown>;
  /** The node ended; why, if it was not asked to. */
  ended: string | null;
};

/** What a page saw of a peer. */
type Routed = { good: number; bad: number; latencyMs: number };
const ROUTED_MAX = 1_024;

/** Apart from `new URL`, which a bundler would read as a file of the package. */
const HERE = import.meta.url;
const SNAPSHOT_MS = 2_000;
const LIMIT_MAX = 0xffff_ffff;
/** Characters of what a site or a collection is called. */
const NAME_MAX = 256;
/** Bytes of a text that is embedded. */
const TEXT_MAX = 1 << 20;
/** How long `connected` waits, and how often it looks. */
const CONNECT_MS = 30_000;
const LOOK_MS = 200;
const STOP_MS = 3_000;
/** The longest that timers of browsers wait. */
const PATIENCE_MAX = 0x7fff_ffff;
/** How long a payment is waited for. */
const PAY_MS = 30_000;
/** A worker that dies more often than so many times in so long stays dead; a start follows after this, longer each time. */
const DEATHS_MAX = 3;
const DEATHS_MS = 600_000;
const AGAIN_MS = 1_000;
/** How long a start waits to be let in. */
const LET_IN_MS = 10_000;
/** The same where the page's policy forbids a connection: others may still be tried. */
const FORBIDDEN_MS = 5_000;
const EVENTS = ["status", "event", "ended"];
/** Until a node that has never met another is said to have a problem. */
const JOINING_MS = 15_000;
/** A worker that says nothing for so long is said to. */
const SILENT_MS = 15_000;
/** As the command line's. */
const HITS_MAX = 256;
/** What a worker that computes takes before it has done anything, and room to work in. */
const WORKER_BYTES = 32 << 20;

/** Keys are kept, and one node of a site is one, only where nobody on the way can change the page. */
function secure(): void {
  if (!isSecureContext) throw new Error("failed: a node runs in pages that come by HTTPS or from localhost: serve this one so");
}

/**
 * Says whether this browser has what a node takes, and loads the small module for keys. Nothing else is loaded and
 * nothing runs before `start`. Where the module for keys cannot be loaded, `PiKey` and its like say so.
 */
export async function init(): Promise<void> {
  if (typeof WebAssembly !== "object") throw new Error("failed: this browser has no WebAssembly");
  if (typeof Worker !== "function") throw new Error("failed: this page cannot start workers");
  secure();
  await initKeys().catch(() => {});
}

/** How a tab's node is set up. */
export class EdgeNetConfig {
  readonly siteId: string;
  #share = 0.25;
  #memory = 256 << 20;
  #idle = 5_000;
  #battery = true;
  #works = true;
  #bootstrap: string[] = [];
  #ticket: string | undefined;
  #from: string | undefined;
  #workers = 0;
  #model: string | undefined;

  /** `siteId`: what the site calls itself; people see it, it changes nothing else. */
  constructor(siteId: string) {
    if (typeof siteId !== "string" || siteId.length > NAME_MAX) throw new TypeError(`invalid: siteId is a text of at most ${NAME_MAX} characters`);
    this.siteId = siteId;
  }

  /** The share of all cores that tasks of others may take, .1 to .5. */
  cpuLimit(share: number): this {
    this.#share = number(share, "cpuLimit", 0.1, 0.5);
    return this;
  }

  /** Bytes that the workers which compute may take together, 64 MiB or more: one over its part is started again. */
  memoryLimit(bytes: number): this {
    this.#memory = number(bytes, "memoryLimit", 64 << 20, Number.MAX_SAFE_INTEGER);
    return this;
  }

  /** Works for others after so many milliseconds without input on the page. */
  minIdleTime(milliseconds: number): this {
    this.#idle = number(milliseconds, "minIdleTime", 0, Number.MAX_SAFE_INTEGER);
    return this;
  }

  /** Whether to rest on battery, and where the browser does not say whether there is one. Default: yes. */
  respectBattery(yes: boolean): this {
    this.#battery = decision(yes, "respectBattery");
    return this;
  }

  /** Addresses of gateways (WebSocket multiaddresses with `/p2p/`). */
  bootstrap(addresses: string[]): this {
    if (!Array.isArray(addresses)) throw new Error("invalid: bootstrap takes a list of addresses");
    const wrong = addresses.find((address) => !/^\/\w+\/.+\/wss?\/p2p\/\w+/.test(String(address)));
    if (wrong !== undefined) throw new Error(`invalid: ${wrong} is no WebSocket address of a node (…/ws/p2p/ID)`);
    this.#bootstrap = [...addresses];
    return this;
  }

  /** The ticket that lets this tab into a pool, from `edge-net identity invite`. */
  ticket(text: string): this {
    if (typeof text !== "string" || text.trim() === "") throw new Error("invalid: a ticket is a text, what `edge-net identity invite` prints");
    this.#ticket = text.trim();
    return this;
  }

  /** A node to ask for a ticket: the origin that this page came from, when it came from a node. */
  from(origin: string): this {
    const { protocol, username, password } = url(origin, "from");
    if (!/^https?:$/.test(protocol) || username + password !== "") throw new Error(`invalid: from is the address of a node (http://…), not ${origin}`);
    this.#from = origin;
    return this;
  }

  /** Workers that compute; one for each two cores if nothing is said, at most 16. */
  workers(count: number): this {
    if (!Number.isInteger(count)) throw new RangeError(`invalid: workers is a whole number, not ${String(count)}`);
    this.#workers = number(count, "workers", 1, WORKERS_MAX);
    return this;
  }

  /** Where the built-in model is, a file that every node gives at `/web/model.bin`; `model.bin` beside the package if nothing is said. */
  model(address: string): this {
    this.#model = url(address, "model", globalThis.location?.href).href;
    return this;
  }

  /** Whether to execute tasks of others at all. */
  contributes(yes: boolean): this {
    this.#works = decision(yes, "contributes");
    return this;
  }

  build(): EdgeNetNode {
    const cores = globalThis.navigator?.hardwareConcurrency ?? 1;
    return new EdgeNetNode(this.siteId, {
      share: this.#share,
      memory: this.#memory,
      idle: this.#idle,
      battery: this.#battery,
      works: this.#works,
      gateways: this.#bootstrap,
      ticket: this.#ticket,
      from: this.#from,
      model: this.#model ?? new URL("model.bin", HERE).href,
      cores,
      workers: Math.max(1, Math.min(this.#workers > 0 ? this.#workers : cores >> 1, Math.floor(this.#memory / WORKER_BYTES))),
    });
  }
}

type Settings = {
  share: number; memory: number; idle: number; battery: boolean; works: boolean; gateways: string[];
  ticket: string | undefined; from: string | undefined; cores: number; workers: number; model: string;
};

/** A node. `start` begins, `stop` (or `await using`) ends it. */
export class EdgeNetNode implements AsyncDisposable {
  readonly siteId: string;
  /** Operations on large arrays by this node's workers, within its share; see `Compute`. */
  readonly compute = new Compute(() => this.#ready());
  #settings: Settings;
  #worker: Worker | null = null;
  #asking: Asking | null = null;
  #started: Started | null = null;
  #id = "";
  #activity: Activity | null = null;
  #paused = false;
  #stopping = false;
  #timer: ReturnType<typeof setInterval> | null = null;
  #snapshot: {
    at: number; status: Status; pool: PoolStats; checkpoint: Checkpoint | null; economy: Economy | null; security: SecurityView | null;
  } | null = null;
  #routed = new Map<string, Routed>();
  #listeners = new Map<keyof Events, Set<(value: never) => void>>();
  #said = "not started";
  /** Which connection the page's policy forbids, once one was tried. */
  #forbidden: string | null = null;
  #begun = 0;
  /** When its worker died, latest last; and the start that follows. */
  #deaths: number[] = [];
  #again: ReturnType<typeof setTimeout> | null = null;
  #met = false;
  #looking = false;

  constructor(siteId: string, settings?: Settings) {
    this.siteId = siteId;
    this.#settings = settings ?? new EdgeNetConfig(siteId).build().#settings;
  }

  /** Starts the node. Only to be called when the person at the machine agreed. */
  async start(): Promise<void> {
    if (this.#stopping && this.#worker !== null) throw new Error("refused: the node is stopping: wait for `stop()` first");
    if (this.#worker !== null) throw new Error("refused: the node runs already");
    if (typeof Worker !== "function") throw new Error("failed: a node runs in a browser's page: there are no workers here");
    secure();
    this.#stopping = false;
    this.#forbidden = null;
    if (this.#again !== null) clearTimeout(this.#again);
    this.#again = null;
    const settings = this.#settings;
    this.#say("joining the pool");
    let worker: Worker;
    try {
      worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
    } catch (error) {
      this.#say(`Stopped: its worker did not start: ${error instanceof Error ? error.message : String(error)}`);
      throw error;
    }
    const asking = new Asking(worker);
    this.#worker = worker;
    this.#asking = asking;
    asking.onnews = (news, value) => {
      // What a node of before says late ends no other one.
      if (this.#worker !== worker) return;
      if (news === "event") this.#emit("event", value as Events["event"]);
      else if (news === "forbidden") {
        this.#forbidden = value as string;
        this.#sentence();
      }
      else if (news === "ended") this.#end(value as string | null);
    };
    worker.addEventListener("error", (event) => {
      if (this.#worker === worker) this.#died(event.message || "is `worker.js` beside the package, and does the page's policy (`worker-src`) allow it?");
    });
    try {
      const options: StartOptions = {
        gateways: settings.gateways, works: settings.works, share: settings.share, memory: settings.memory,
        workers: settings.workers, cores: settings.cores, model: settings.model,
      };
      if (settings.ticket !== undefined) options.ticket = settings.ticket;
      if (settings.from !== undefined) options.from = settings.from;
      this.#started = await asking.ask<Started>("start", [options]);
      this.#id = this.#started.id;
    } catch (error) {
      // Another start may have begun since.
      if (this.#worker === worker) this.#end(error instanceof Error ? error.message : String(error));
      throw error;
    }
    this.#begun = Date.now();
    this.#met = false;
    this.#listen();
    if (settings.works) {
      const changed = (allowed: Allowed) => { this.#allow(allowed).catch(() => {}); };
      this.#activity = new Activity(settings.idle, settings.battery, changed);
      await this.#allow(this.#activity.allowed);
    }
    await this.#letIn(asking);
    // It may have been stopped meanwhile.
    if (this.#worker === worker) this.#timer = setInterval(() => { this.#look().catch(() => this.#silent()); }, SNAPSHOT_MS);
  }

  /** Waits a while until this node is a member; of a ticket that is refused nothing can come. */
  async #letIn(asking: Asking): Promise<void> {
    const begun = Date.now();
    for (;;) {
      await this.#look();
      const out = outside(this.#snapshot?.status.notes ?? []);
      if (out === undefined || this.#asking !== asking || this.#isTooLate(begun, LET_IN_MS)) return;
      if (!out.startsWith(NOT_YET)) {
        this.#end(out);
        throw new Error(`refused: ${out}`);
      }
      await new Promise((done) => setTimeout(done, LOOK_MS));
    }
  }

  /** Which connection the page's policy forbids, where that may be why nobody was met; a network may be lost, too. */
  #blocked(): string | null {
    return this.#met ? null : this.#forbidden;
  }

  /** Whether there is no use in waiting on for a connection. */
  #isTooLate(begun: number, milliseconds: number): boolean {
    const most = this.#blocked() === null ? milliseconds : Math.min(milliseconds, FORBIDDEN_MS);
    return Date.now() > begun + most;
  }

  /** Waits until another member is connected; fails with the status sentence if none is after so many milliseconds. */
  async connected(milliseconds = CONNECT_MS): Promise<void> {
    const most = number(milliseconds, "milliseconds", 0, Number.MAX_SAFE_INTEGER);
    const begun = Date.now();
    for (;;) {
      const asking = this.#ready();
      const { connected, notes } = await asking.ask<Status>("status");
      if (connected > 0 && outside(notes) === undefined) break;
      if (this.#isTooLate(begun, most)) throw new Error(`failed: nobody was reached. ${this.#said}`);
      await new Promise((done) => setTimeout(done, LOOK_MS));
    }
    await this.#look();
  }

  /** Whether it runs, or is starting or stopping. */
  get running(): boolean {
    return this.#worker !== null;
  }

  /** Rests until `resume`: takes no tasks of others; own tasks go on. */
  async pause(): Promise<void> {
    this.#paused = true;
    await this.#allow(this.#activity?.allowed ?? ALL);
  }

  async resume(): Promise<void> {
    this.#paused = false;
    await this.#allow(this.#activity?.allowed ?? ALL);
  }

  /** Takes nothing new, finishes what was promised if that takes no longer than `patience` milliseconds, and ends. */
  async stop(patience = STOP_MS): Promise<void> {
    number(patience, "patience", 0, PATIENCE_MAX);
    const [asking, worker] = [this.#asking, this.#worker];
    if (this.#again !== null) {
      clearTimeout(this.#again);
      this.#again = null;
      this.#say("Stopped.");
      this.#emit("ended", null);
    }
    if (asking === null) return;
    this.#stopping = true;
    this.#say("Stopping: it finishes what it promised.");
    // What is not finished then goes on at the next start: everything promised is stored.
    const late = new Promise((done) => setTimeout(done, patience));
    await Promise.race([asking.ask("stop").catch(() => undefined), late]);
    if (this.#worker === worker) this.#end(null);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  /** 64 hexadecimal digits; empty before the first `start`. */
  nodeId(): string {
    return this.#id;
  }

  /** Why nothing survives a reload, if so. */
  get volatile(): string | null {
    return this.#started?.volatile ?? null;
  }

  /** One sentence: what the node does. */
  get status(): string {
    return this.#said;
  }

  /** Whether the page has had no input for `minIdleTime`. */
  isIdle(): boolean {
    return this.#activity?.idle ?? false;
  }

  /** Has the pool execute a task and check it; `maxCost` is the most for one execution, in rUv. */
  async submitTask<K extends keyof TaskPayloads>(
    kind: K, payload: TaskPayloads[K], maxCost?: number,
  ): Promise<TaskResults[K]> {
    if (typeof payload !== "object" || payload === null) throw new Error("invalid: the payload is an object");
    const options: SubmitOptions = {};
    if (maxCost !== undefined) {
      if (typeof maxCost !== "number" || !(maxCost >= 0 && maxCost <= 1e9)) {
        throw new Error(`invalid: maxCost is an amount of rUv, not ${String(maxCost)}`);
      }
      options.microRuv = Math.floor(maxCost * 1e6);
    }
    return (await this.#submit(kind, payload, options)) as TaskResults[K];
  }

  async #submit(kind: keyof TaskPayloads, payload: TaskPayloads[keyof TaskPayloads], options: SubmitOptions) {
    const asking = this.#ready();
    switch (kind) {
      case "vector_search": {
        const { query, data, k = 10, index } = payload as TaskPayloads["vector_search"];
        if (!Number.isInteger(k) || k < 1 || k > HITS_MAX) throw new Error(`invalid: k is 1 to ${HITS_MAX}, not ${k}`);
        if (index !== undefined && (typeof index !== "string" || index.length > NAME_MAX)) throw new Error("invalid: `index` is the name of a collection");
        const found = await asking.ask<{ hits: Hit[] }>("search", [text(query ?? data, "query"), k, index]);
        return found.hits;
      }
      case "embedding": {
        const { text: given, data, model } = payload as TaskPayloads["embedding"];
        if (model !== undefined && model !== "sentence-transformer" && model !== "static-256") {
          throw new Error(`not found: a tab has the built-in model only, not ${model}`);
        }
        const made = await asking.ask<{ vectors: Float32Array }>("embedding", [[text(given ?? data, "text")], options]);
        return made.vectors;
      }
      case "semantic_match": {
        const { text: given, data, categories } = payload as TaskPayloads["semantic_match"];
        // Places that are left out count.
        if (categories !== undefined && !(Array.isArray(categories) && [...categories].every((one) => typeof one === "string"))) {
          throw new Error("invalid: `categories` is a list of texts");
        }
        return asking.ask<Match>("matching", [text(given ?? data, "text"), categories ?? DEFAULT_CATEGORIES, options]);
      }
      case "compression": {
        const { data, operation = "compress" } = payload as TaskPayloads["compression"];
        if (!(data instanceof Uint8Array)) throw new Error("invalid: `data` is a Uint8Array; for a text use a TextEncoder");
        if (operation !== "compress" && operation !== "decompress") {
          throw new Error(`invalid: operation is compress or decompress, not ${String(operation)}`);
        }
        const done = await asking.ask<{ data: Uint8Array }>("compression", [data, operation === "decompress", options]);
        return done.data;
      }
      default:
        throw new Error(`invalid: a tab submits vector_search, embedding, semantic_match and compression, not ${String(kind).slice(0, 40)}`);
    }
  }

  /** Executes one waiting task of others now, whatever limits say; false if none waits. */
  async processNextTask(): Promise<boolean> {
    return this.#ready().ask<boolean>("next");
  }

  /** Spendable credits in rUv, of the last look, which is at most some seconds old. */
  ruvBalance(): number {
    const { balance, incoming } = this.#snapshot?.status.balance ?? { balance: 0, incoming: 0 };
    return balance + incoming;
  }

  /** How old what the readers answer from is, in milliseconds. */
  snapshotAge(): number | null {
    return this.#snapshot === null ? null : Date.now() - this.#snapshot.at;
  }

  getStats(): Stats {
    const economy = this.#snapshot?.economy;
    return {
      ruv_earned: economy?.earned ?? null,
      ruv_spent: economy?.spent ?? null,
      tasks_completed: this.#snapshot?.status.executed_for_others ?? 0,
      reputation: economy?.reputation ?? null,
    };
  }

  /** How the pool's economy goes, as JSON: `velocity`, `utilization`, `growth`, `stability`; `null` of too few samples. */
  getEconomicHealth(): string {
    return JSON.stringify(health(this.#snapshot?.economy ?? null));
  }

  /** Utilization of the pool times what the share of this tab's accepted results exceeds; `null` of too few samples. */
  getNetworkFitness(): number | null {
    return this.#snapshot?.economy?.fitness ?? null;
  }

  /**
   * Whether so many nodes like those of the pool could do so many tasks a day of the size seen, and fees cover what is
   * minted; `null` of too few samples.
   */
  isSelfSustaining(nodes: number, tasksPerDay: number): boolean | null {
    return isSelfSustaining(this.#snapshot?.economy ?? null, nodes, tasksPerDay);
  }

  /** Whether another node like this one would find work and do it well; `null` of too few samples. */
  shouldReplicate(): boolean | null {
    return shouldReplicate(this.#snapshot?.economy ?? null);
  }

  /** Limits that fit what was measured since the start, and why; `null` before a minute has been seen. */
  getRecommendedConfig(): Recommended | null {
    const [pool, times] = [this.#snapshot?.pool, this.#activity?.times];
    if (pool === undefined || times === undefined) return null;
    const { share: cpuLimit, memory: memoryLimit, idle: minIdleTime } = this.#settings;
    return recommended({ cpuLimit, memoryLimit, minIdleTime }, pool, times);
  }

  /** The figures that the readers of the economy answer from, as `/api/v1/ledger/economy` says them. */
  economy(): Economy | null {
    return this.#snapshot?.economy ?? null;
  }

  /** Gives rUv to another account; answers the block once it is certified. */
  async send(to: string, amount: number): Promise<Record<string, unknown>> {
    if (typeof to !== "string" || !/^[0-9a-f]{64}$/.test(to)) {
      throw new TypeError("invalid: an account is the 64 hexadecimal digits of a `nodeId()`");
    }
    return this.#pay("send", to, amount);
  }

  /** Puts rUv at stake: they answer for what this node does, and let it be drawn as an auditor. */
  async stake(amount: number): Promise<void> {
    await this.#pay("stake", "", amount);
  }

  /** Begins to take stake back: it can be spent once the pool's delay has passed. */
  async unstake(amount: number): Promise<void> {
    await this.#pay("unstake", "", amount);
  }

  /** Waits for the certificate; where witnesses are missing it goes on without the caller. */
  async #pay<T>(what: string, to: string, amount: number): Promise<T> {
    const paying = this.#ready().ask<T>("pay", [what, to, micro(amount)]);
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<never>((_, failed) => {
      timer = setTimeout(() => failed(new Error(
        `timed out: no quorum of witnesses has certified it within ${PAY_MS / 1_000} s. It goes on when they can be reached, and ` +
        "another payment is refused until then: `history()` shows it when it is certified",
      )), PAY_MS);
    });
    return Promise.race([paying, late]).finally(() => clearTimeout(timer));
  }

  /** What the workers did. */
  workerStats(): PoolStats | null {
    return this.#snapshot?.pool ?? null;
  }

  /** What the contribution curve multiplies minted work by, at the last checkpoint; `null` before the first. */
  getMultiplier(): number | null {
    const found = this.#snapshot?.checkpoint;
    return found ? found.multiplier_nano / 1e9 : null;
  }

  /** What of this tab's security holds, and what others tried: JSON with `security_score`, 0 to 10, and each check. */
  runSecurityAudit(): string {
    return JSON.stringify(audit(this.#snapshot?.security ?? null, this.volatile));
  }

  /** Remembers what the page saw of a peer, for `getOptimalPeers`. */
  recordTaskRouting(kind: string, peer: string, latencyMs: number, ok: boolean): void {
    if (!(latencyMs >= 0 && latencyMs < Number.POSITIVE_INFINITY)) throw new RangeError(`latencyMs is a time, not ${latencyMs}`);
    text(kind, "kind");
    text(peer, "peer");
    decision(ok, "ok");
    const seen = this.#routed.get(peer) ?? { good: 0, bad: 0, latencyMs };
    if (ok) seen.good += 1;
    else seen.bad += 1;
    seen.latencyMs += (latencyMs - seen.latencyMs) / 8;
    this.#routed.delete(peer);
    this.#routed.set(peer, seen);
    const [oldest] = this.#routed.keys();
    if (this.#routed.size > ROUTED_MAX && oldest !== undefined) this.#routed.delete(oldest);
  }

  /** The `n` connected members that keep most of what they promise, best first; of equals the faster one. */
  async getOptimalPeers(n: number): Promise<string[]> {
    number(n, "n", 0, Number.POSITIVE_INFINITY);
    const peers = (await this.#ready().ask<Peer[]>("peers")).filter((peer) => peer.connected && peer.faults === 0);
    const kept = (peer: Peer) => {
      const { good, bad } = this.#routed.get(peer.node) ?? { good: 0, bad: 0 };
      // The mean of a Beta(1, 1) that saw these, beside what the peer itself knows of its promises.
      return peer.reliability + (good + 1) / (good + bad + 2);
    };
    const latency = (peer: Peer) => this.#routed.get(peer.node)?.latencyMs ?? Number.POSITIVE_INFINITY;
    const order = (a: Peer, b: Peer) => kept(b) - kept(a) || a.load - b.load || Number(latency(a) > latency(b));
    return peers.sort(order).slice(0, n).map((peer) => peer.node);
  }

  /** The members that this node knows, as `/api/v1/peers` says them. */
  async peers(): Promise<Peer[]> {
    return this.#ready().ask("peers");
  }

  /** The collections of the pool. */
  async collections(): Promise<Collection[]> {
    return this.#ready().ask("collections");
  }

  /** Own tasks, newest first. */
  async tasks(limit = 20): Promise<Task[]> {
    return this.#ready().ask("tasks", [limited(limit)]);
  }

  /** The blocks of this node's account. */
  async history(limit = 50): Promise<Record<string, unknown>[]> {
    return this.#ready().ask("history", [limited(limit)]);
  }

  on<E extends keyof Events>(event: E, listener: (value: Events[E]) => void): () => void {
    if (!EVENTS.includes(event)) throw new TypeError(`invalid: events are ${EVENTS.join(", ")}, not ${shown(event)}`);
    if (typeof listener !== "function") throw new TypeError("invalid: a listener is a function");
    const listeners = this.#listeners.get(event) ?? new Set();
    this.#listeners.set(event, listeners);
    listeners.add(listener as (value: never) => void);
    this.#listen();
    return () => {
      listeners.delete(listener as (value: never) => void);
      this.#listen();
    };
  }

  /** A busy peer has thousands of events: they come to the page's thread only while somebody hears them. */
  #listen(): void {
    if (this.#started === null) return;
    const hears = (this.#listeners.get("event")?.size ?? 0) > 0;
    // The worker may end at this moment: then there is nothing to hear.
    this.#asking?.ask("listen", [hears]).catch(() => {});
  }

  #ready(): Asking {
    if (this.#asking === null || this.#started === null) throw new Error("failed: the node is not running: call `start()`");
    return this.#asking;
  }

  async #allow(allowed: Allowed): Promise<void> {
    const yes = allowed.yes && !this.#paused;
    if (this.#started === null) return;
    await this.#asking?.ask("contribute", [yes, allowed.part]);
    this.#sentence();
  }

  async #look(): Promise<void> {
    const asking = this.#asking;
    if (asking === null || this.#started === null) return;
    if (this.#looking) {
      this.#silent();
      return;
    }
    this.#looking = true;
    const [status, pool, checkpoint, economy, security] = await Promise.all([
      asking.ask<Status>("status"), asking.ask<PoolStats>("stats"), asking.ask<Checkpoint | null>("checkpoint"),
      asking.ask<Economy | null>("economy"),
      // Before it has joined the peer has nothing to say.
      asking.ask<SecurityView>("security").catch(() => null),
    ]).finally(() => { this.#looking = false; });
    this.#snapshot = { at: Date.now(), status, pool, checkpoint, economy, security };
    this.#sentence();
  }

  #silent(): void {
    if ((this.snapshotAge() ?? 0) > SILENT_MS) this.#say("This tab's node does not answer: stop it and start it again.");
  }

  #sentence(): void {
    const seen = this.#snapshot;
    if (seen === null || this.#stopping) return;
    const { status } = seen;
    const allowed = this.#activity?.allowed;
    let does = "works for the pool";
    if (!this.#settings.works) does = "uses the pool and takes no tasks";
    else if (this.#paused) does = "rests: you paused it";
    else if (allowed !== undefined && !allowed.yes) does = `rests: ${allowed.why}`;
    else if (allowed !== undefined && allowed.part < 1) does = `works for the pool with ${allowed.part} of its limit: ${allowed.why}`;
    this.#met ||= status.connected > 0;
    if (status.connected === 0) {
      const early = !this.#met && Date.now() - this.#begun < JOINING_MS;
      does = early ? "is joining the pool" : "is not connected; it tries again by itself";
      if (this.#blocked() !== null) does = `is not connected: this page's policy forbids ${this.#blocked()}`;
    }
    const waits = outside(status.notes);
    if (waits !== undefined) {
      const why = this.#blocked() === null ? "" : `: this page's policy forbids ${this.#blocked()}`;
      return this.#say(`This tab is ${waits}${why}.`);
    }
    const { balance, incoming, escrowed, vouchers } = status.balance;
    const aside = escrowed > 0 ? `, ${amount(escrowed)} set aside for own tasks` : "";
    const credits = `${amount(balance + incoming)} rUv${aside}${vouchers > 0 ? ` and ${amount(vouchers)} promised` : ""}`;
    const count = status.executed_for_others;
    const earned = `${count} ${count === 1 ? "task" : "tasks"} done for others since the start, ${credits}`;
    const lost = this.volatile === null ? "" : ` Nothing is stored (${this.volatile}): this node and its credits end with this page.`;
    this.#say(`This tab ${does}. ${status.connected} of ${status.members} members connected, ${earned}.${lost}`);
  }

  #say(sentence: string): void {
    if (sentence === this.#said) return;
    this.#said = sentence;
    this.#emit("status", sentence);
  }

  #emit<E extends keyof Events>(event: E, value: Events[E]): void {
    for (const listener of this.#listeners.get(event) ?? []) {
      try {
        (listener as (value: Events[E]) => void)(value);
      } catch (error) {
        // The page's fault, and the page's to see: the node goes on.
        reportError(error);
      }
    }
  }

  /** A fault inside the worker takes nothing that was promised with it: all that is stored. It starts again, a few times. */
  #died(why: string): void {
    const now = Date.now();
    this.#deaths = this.#deaths.filter((at) => now - at < DEATHS_MS);
    const what = `its worker did not start or died: ${why}`;
    if (this.#started === null || this.#stopping || this.#deaths.length >= DEATHS_MAX) return this.#end(what);
    this.#deaths.push(now);
    this.#halt(what);
    this.#say(`This tab starts its node again: ${what}`);
    this.#again = setTimeout(() => {
      this.#again = null;
      this.start().catch(() => {});
    }, AGAIN_MS * this.#deaths.length);
  }

  #end(why: string | null): void {
    if (this.#worker === null) return;
    this.#halt(why ?? "the node has stopped");
    this.#say(why === null ? "Stopped." : `Stopped: ${why}`);
    this.#emit("ended", why);
  }

  #halt(why: string): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
    this.#activity?.end();
    this.#activity = null;
    this.#asking?.end(why);
    this.#worker?.terminate();
    this.#worker = null;
    this.#asking = null;
    this.#started = null;
    this.#looking = false;
  }
}

function number(given: number, name: string, least: number, most: number): number {
  if (typeof given !== "number" || !(given >= least && given <= most)) {
    throw new RangeError(`invalid: ${name} is a number, ${least} to ${most}, not ${shown(given)}`);
  }
  return given;
}

function decision(given: boolean, name: string): boolean {
  if (typeof given !== "boolean") throw new TypeError(`invalid: ${name} is true or false, not ${String(given)}`);
  return given;
}

function url(given: string, name: string, base?: string): URL {
  if (typeof given !== "string") throw new TypeError(`invalid: ${name} is an address, not ${String(given)}`);
  try {
    return new URL(given, base);
  } catch {
    throw new Error(`invalid: ${name} is an address, not ${String(given)}`);
  }
}

/** How many of a list, a whole number that fits 32 bits. */
function limited(given: number): number {
  return Math.min(LIMIT_MAX, Math.floor(number(given, "limit", 0, Number.POSITIVE_INFINITY)));
}

/** What a node says that was not refused. */
const NOT_YET = "not a member yet";

/** What is said of a node that is no member. */
function outside(notes: string[]): string | undefined {
  return notes.find((note) => note.startsWith("not a member"));
}

/** An amount for people: six digits are all there are. */
function amount(ruv: number): string {
  return String(Math.round(ruv * 1e6) / 1e6);
}

function text(given: string | undefined, name: string): string {
  if (typeof given !== "string" || given.trim() === "") throw new Error(`invalid: \`${name}\` is a text that is not empty`);
  // A character has three bytes at most.
  if (given.length * 3 > TEXT_MAX && new TextEncoder().encode(given).length > TEXT_MAX) {
    throw new Error(`invalid: \`${name}\` has more than ${TEXT_MAX >> 20} MiB`);
  }
  return given;
}
