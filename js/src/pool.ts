/** Workers that compute: one instance of the module each, work stealing, a share of the CPU that is kept. */

import { WORKERS_MAX } from "./limits.js";
import { Asking, reason } from "./rpc.js";

/** A part of an operation on arrays; `js/src/operations.ts` cuts. */
export type Part = {
  op: string;
  sizes: (number | boolean | string)[];
  /** Arrays of this part alone, given away. */
  own: Float32Array[];
  /** Arrays that all parts of one operation read: a worker keeps them from one part to the next. */
  shared: Float32Array[];
  /** Which operation it is of. */
  operation: number;
  /** Without vector instructions, to measure what those are worth. */
  scalar: boolean;
};

/** A piece of work, and who wants it. */
type Piece = {
  /** A task as encoded work, or a part. */
  what: Uint8Array | Part;
  /** 0 first. */
  urgency: number;
  /** A task of somebody else. */
  others: boolean;
  cancelled: boolean;
  done: (result: never) => void;
  failed: (error: Error) => void;
};

/** One worker: newest of its own first, oldest of another's when it has none (Blumofe and Leiserson 1999). */
class Hand {
  readonly queue: Piece[] = [];
  running: Piece | null = null;
  /** Whether its module is loaded: before, it is given nothing. */
  ready = false;
  /** Bytes of its memory, which never shrinks. */
  bytes = 0;
  /** Whether the module for parts is loaded, and of which operation the arrays are that it keeps. */
  kernels: Promise<unknown> | null = null;
  keeps = 0;
  worker: Worker;
  asking: Asking;

  constructor(worker: Worker) {
    this.worker = worker;
    this.asking = new Asking(worker);
  }
}

/** Pieces that may wait. */
const WAITING_MAX = 4_096;
/** How long a worker may take for one answer: the largest pieces take seconds. */
const ANSWER_MS = 60_000;
/** How long a worker that is starting is waited for. */
const READY_MS = 20_000;
const READY_LOOK_MS = 20;
/** Workers that are started again before there is nothing but trouble with them. */
const RENEWED_MAX = 10_000;
/** CPU time that may be saved up, in milliseconds of all that is allowed. */
const SAVED_MS = 250;

/**
 * The part of the share that is budgeted: what a browser spends on messages, storage and collection of garbage
 * around measured work is seen by no script. `js/test/share.test.mjs` compares the whole with the share.
 */
const BUDGETED = 0.7;

/** What a worker says when it is ready. */
export type Abilities = { pins: Uint8Array; shardPin: Uint8Array; instructions: string };

/** What the pool has done. */
export type PoolStats = {
  workers: number;
  instructions: string;
  waiting: number;
  running: number;
  executed: number;
  failed: number;
  stolen: number;
  /** Milliseconds of workers' time that pieces took. */
  busyMs: number;
  /** Milliseconds that the peer and its network took. */
  networkMs: number;
  /** Bytes of all workers' memories. */
  bytes: number;
  /** Workers that were started again, because they died or their memory had grown over the limit. */
  renewed: number;
  /** Milliseconds in which tasks waited only because the share was used up. */
  heldBackMs: number;
};

function worker(): Worker {
  return new Worker(new URL("./compute-worker.js", import.meta.url), { type: "module" });
}

export class Pool {
  #hands: Hand[] = [];
  #next = 0;
  #share: number;
  #cores: number;
  #tokens: number;
  #at = performance.now();
  #timer: ReturnType<typeof setTimeout> | null = null;
  #othersCost = 1;
  #memory: number;
  #modules: [WebAssembly.Module, ArrayBuffer] | [] = [];
  #kernels: (() => Promise<WebAssembly.Module>) | null = null;
  #kernelsModule: Promise<WebAssembly.Module> | null = null;
  readonly stats: PoolStats = {
    workers: 0, instructions: "", waiting: 0, running: 0, executed: 0, failed: 0, stolen: 0, busyMs: 0, networkMs: 0,
    bytes: 0, renewed: 0, heldBackMs: 0,
  };

  /** `share`: of all cores, 0 to 1. `memory`: bytes of all workers together. */
  constructor(share: number, cores: number, memory: number) {
    this.#memory = memory;
    this.#share = share;
    this.#cores = cores;
    this.#tokens = SAVED_MS * this.#rate();
  }

  /**
   * Starts workers, each with the module for tasks and the model, or without for parts only; answers what they can
   * execute. `kernels` loads the module for parts, when the first one comes.
   */
  async start(
    count: number, tasks: [WebAssembly.Module, ArrayBuffer] | [], kernels: () => Promise<WebAssembly.Module>,
  ): Promise<Abilities> {
    this.#modules = tasks;
    this.#kernels = kernels;
    const hands = Array.from({ length: Math.max(1, Math.min(count, WORKERS_MAX)) }, () => new Hand(worker()));
    const starting = hands.map((hand) => this.#begin(hand));
    const first = await Promise.all(starting).then(([first]) => first, (error: unknown) => {
      for (const hand of hands) hand.worker.terminate();
      throw error;
    });
    if (first === undefined) throw new Error("no worker could be started");
    this.#hands = hands;
    this.stats.workers = this.#hands.length;
    this.stats.instructions = first.instructions;
    return first;
  }

  #begin(hand: Hand): Promise<Abilities> {
    const { worker } = hand;
    worker.addEventListener("error", (event) => {
      // It ends here: the node goes on without what the worker ran.
      event.preventDefault();
      if (hand.worker === worker) this.#lost(hand, event.message || "its script is missing, or the page's policy forbids it");
    });
    const started = hand.asking.ask<Abilities>("start", this.#modules);
    return started.then((abilities) => {
      if (hand.worker === worker) hand.ready = true;
      return abilities;
    });
  }

  /** Starts a worker again: it died, or a memory that has grown is to be given back. Without it if that fails. */
  async #renew(hand: Hand): Promise<void> {
    hand.ready = false;
    hand.worker.terminate();
    hand.worker = worker();
    hand.asking = new Asking(hand.worker);
    this.#holds(hand, 0);
    hand.kernels = null;
    hand.keeps = 0;
    this.stats.renewed += 1;
    await this.#begin(hand).then(() => this.#handOut(), () => this.#drop(hand));
  }

  /** Executes work; `cancel` drops it if it did not begin. */
  execute(bytes: Uint8Array, urgency: number, others: boolean): { result: Promise<Uint8Array>; cancel: () => void } {
    return this.#submit(bytes, urgency, others);
  }

  /** Runs a part of an operation on arrays. */
  part(part: Part): { result: Promise<Float32Array>; cancel: () => void } {
    const needed = [...part.own, ...part.shared].reduce((sum, array) => sum + array.byteLength, 0);
    if (needed > this.#memoryOfEach()) {
      const said = `refused: a part of this takes ${needed} bytes in a worker, and the memory limit gives each ${this.#memoryOfEach()}`;
      return { result: Promise.reject(new Error(`${said}: raise memoryLimit`)), cancel: () => {} };
    }
    return this.#submit(part, 0, false);
  }

  #submit<T>(what: Uint8Array | Part, urgency: number, others: boolean): { result: Promise<T>; cancel: () => void } {
    let piece: Piece | undefined;
    const result = new Promise<T>((done, failed) => {
      if (this.stats.waiting >= WAITING_MAX) {
        failed(new Error("refused: too much work waits in this tab: try again"));
        return;
      }
      piece = { what, urgency, others, cancelled: false, done, failed };
      const hand = this.#hands[this.#next++ % Math.max(1, this.#hands.length)];
      if (hand === undefined) {
        failed(new Error("failed: no worker runs in this tab"));
        return;
      }
      hand.queue.push(piece);
      this.stats.waiting += 1;
      this.#handOut();
    });
    return { result, cancel: () => { if (piece !== undefined) piece.cancelled = true; } };
  }

  /** Asks a worker's own functions: payloads to make, results to read. */
  async call<T>(op: string, args: unknown[]): Promise<T> {
    const hand = await this.#able();
    return this.#answer(hand, hand.asking.ask<T>(op, args));
  }

  /** A worker that can be asked, an idle one if there is: all of them may be starting again. */
  async #able(): Promise<Hand> {
    const end = performance.now() + READY_MS;
    while (this.#hands.length > 0 && performance.now() < end) {
      const able = this.#hands.filter((hand) => hand.ready);
      const found = able.find((hand) => hand.running === null) ?? able[0];
      if (found !== undefined) return found;
      await new Promise((done) => setTimeout(done, READY_LOOK_MS));
    }
    throw new Error("failed: no worker of this tab is ready: try again");
  }

  /** Asks the module for parts of a worker. */
  async kernelsCall<T>(op: string, args: unknown[]): Promise<T> {
    const hand = await this.#able();
    await this.#withKernels(hand);
    return this.#answer(hand, hand.asking.ask<T>(op, args));
  }

  /** Loads the module for parts into a worker, once. */
  #withKernels(hand: Hand): Promise<unknown> {
    if (this.#kernels === null) throw new Error("failed: the pool was not started");
    this.#kernelsModule ??= this.#kernels();
    hand.kernels ??= this.#kernelsModule.then((module) => this.#answer(hand, hand.asking.ask("kernels", [module])));
    return hand.kernels.catch((error: unknown) => {
      // The next part tries again.
      hand.kernels = null;
      this.#kernelsModule = null;
      throw error;
    });
  }

  /** Has a worker do a piece. */
  async #ask(hand: Hand, what: Uint8Array | Part): Promise<{ result: unknown; ms: number; bytes: number }> {
    if (what instanceof Uint8Array) return hand.asking.ask("execute", [what]);
    await this.#withKernels(hand);
    const { op, sizes, own, operation, scalar } = what;
    const shared = hand.keeps === operation ? null : what.shared;
    hand.keeps = operation;
    try {
      return await hand.asking.ask("part", [op, sizes, own, shared, scalar], own.map((array) => array.buffer));
    } catch (error) {
      hand.keeps = 0;
      throw error;
    }
  }

  /** A worker that does not answer in time is gone: nothing else says so. */
  async #answer<T>(hand: Hand, answer: Promise<T>): Promise<T> {
    const { worker } = hand;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<never>((_, failed) => {
      timer = setTimeout(() => {
        failed(new Error("failed: a worker of this tab does not answer"));
        if (hand.worker === worker) this.#lost(hand, "it does not answer");
      }, ANSWER_MS);
    });
    try {
      return await Promise.race([answer, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Tasks of others get this part of the share, above 0 and at most 1; answers how many thousandths of a core that is. */
  forOthers(part: number): number {
    this.#othersCost = 1 / part;
    return Math.round(1_000 * this.#share * this.#cores * part);
  }

  /** Runs one waiting task now, whatever the share says; false if none waits. */
  async next(): Promise<boolean> {
    const hand = this.#hands.find((hand) => hand.ready && hand.running === null);
    const piece = hand === undefined ? null : this.#take(hand);
    if (hand === undefined || piece === null) return false;
    await this.#run(hand, piece);
    return true;
  }

  stop(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    for (const hand of this.#hands) {
      hand.worker.terminate();
      for (const piece of [...hand.queue, hand.running]) piece?.failed(new Error("the node has stopped"));
    }
    this.#hands = [];
  }

  /** Milliseconds of CPU that a millisecond gives. */
  #rate(): number {
    return BUDGETED * this.#share * this.#cores;
  }

  #refill(): void {
    const now = performance.now();
    const rate = this.#rate();
    this.#tokens = Math.min(this.#tokens + (now - this.#at) * rate, SAVED_MS * rate);
    this.#at = now;
  }

  /** The most urgent piece that may run: the hand's newest, else another's oldest. */
  #take(hand: Hand): Piece | null {
    let best: { from: Hand; at: number; piece: Piece } | null = null;
    const look = (from: Hand, at: number, piece: Piece) => {
      if (best === null || piece.urgency < best.piece.urgency) best = { from, at, piece };
    };
    for (const from of this.#hands) {
      from.queue.splice(0, from.queue.length, ...from.queue.filter((piece) => !this.#dropped(piece)));
    }
    for (let at = hand.queue.length - 1; at >= 0; at -= 1) look(hand, at, hand.queue[at] as Piece);
    for (const other of this.#hands) {
      if (other !== hand) other.queue.forEach((piece, at) => look(other, at, piece));
    }
    if (best === null) return null;
    const { from, at, piece } = best as { from: Hand; at: number; piece: Piece };
    from.queue.splice(at, 1);
    this.stats.waiting -= 1;
    if (from !== hand) this.stats.stolen += 1;
    return piece;
  }

  #dropped(piece: Piece): boolean {
    if (!piece.cancelled) return false;
    this.stats.waiting -= 1;
    piece.failed(new Error("cancelled"));
    return true;
  }

  #handOut(): void {
    this.#refill();
    for (const hand of this.#hands) {
      if (!hand.ready || hand.running !== null) continue;
      if (this.#tokens <= 0) break;
      const piece = this.#take(hand);
      if (piece !== null) void this.#run(hand, piece);
    }
    if (this.#tokens <= 0 && this.stats.waiting > 0 && this.#timer === null) {
      const wait = Math.max(1, -this.#tokens / Math.max(1e-6, this.#rate()));
      this.#timer = setTimeout(() => {
        this.#timer = null;
        this.stats.heldBackMs += wait;
        this.#handOut();
      }, wait);
    }
  }

  async #run(hand: Hand, piece: Piece): Promise<void> {
    hand.running = piece;
    this.stats.running += 1;
    try {
      const { result, ms, bytes } = await this.#answer(hand, this.#ask(hand, piece.what));
      this.#holds(hand, bytes);
      this.spent(ms, "busy", piece.others ? this.#othersCost : 1);
      this.stats.executed += 1;
      piece.done(result as never);
    } catch (error) {
      this.stats.failed += 1;
      piece.failed(new Error(reason(error)));
    } finally {
      hand.running = null;
      this.stats.running -= 1;
      this.#giveBack();
      this.#handOut();
    }
  }

  #holds(hand: Hand, bytes: number): void {
    hand.bytes = bytes;
    this.stats.bytes = this.#hands.reduce((sum, one) => sum + one.bytes, 0);
  }

  /** Starts idle workers again whose memory has grown over the limit. */
  #giveBack(): void {
    for (const hand of this.#hands) {
      const idle = hand.ready && hand.running === null;
      if (idle && hand.bytes > this.#memoryOfEach() && !this.#goesOn(hand.keeps)) void this.#renew(hand);
    }
  }

  #memoryOfEach(): number {
    return Math.floor(this.#memory / Math.max(1, this.#hands.length));
  }

  /** Whether parts of an operation wait: a worker that started again now would need its arrays again. */
  #goesOn(operation: number): boolean {
    const same = ({ what, cancelled }: Piece) => !cancelled && !(what instanceof Uint8Array) && what.operation === operation;
    return this.#hands.some((hand) => hand.queue.some(same));
  }

  /** Counts CPU time against the share, each millisecond as so many. */
  spent(ms: number, on: "busy" | "network", cost = 1): void {
    this.#tokens -= ms * cost;
    this.stats[`${on}Ms`] += ms;
  }

  /** A worker that died takes what it ran with it, and no more: another one goes on with what waits. */
  #lost(hand: Hand, why: string): void {
    hand.asking.end(`failed: a worker of this tab died: ${why}`);
    if (!this.#hands.includes(hand)) return;
    if (this.stats.renewed < RENEWED_MAX) {
      void this.#renew(hand);
    } else {
      hand.worker.terminate();
      this.#drop(hand);
    }
  }

  #drop(hand: Hand): void {
    this.#hands = this.#hands.filter((other) => other !== hand);
    this.#holds(hand, 0);
    this.stats.workers = this.#hands.length;
    const [first] = this.#hands;
    if (first !== undefined) first.queue.push(...hand.queue);
    else for (const piece of hand.queue) piece.failed(new Error("no worker runs in this tab"));
    this.#handOut();
  }
}
