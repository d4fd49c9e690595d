/** What is read from how the pool's economy went, and from how the limits of this tab fared. */

import type { PoolStats } from "./pool.js";

/** What the node saw in the last 24 hours, as `/api/v1/ledger/economy` says it; `null`: too few samples. */
export type Economy = {
  velocity: number | null; utilization: number | null; growth: number | null; stability: number | null; fitness: number | null;
  supply: number; epoch: number; observed_seconds: number; offered_cpu_seconds: number; certified_cpu_seconds: number;
  cpu_seconds_per_task: number | null; settled: number; settled_tasks: number; fees: number; minted: number;
  active: number; offered_cores: number; earned: number; spent: number; reputation: number | null;
};

export type Health = Pick<Economy, "velocity" | "utilization" | "growth" | "stability">;

/** Above this share of what is offered, tasks wait: with a queue (M/M/1) that is busy 70 % of the time they take over three times as long. */
const BUSY = 0.7;
/** Who keeps fewer of its promises should mend that first. */
const RELIABLE = 0.8;
/** Before that nothing is recommended. */
const SEEN_MS = 60_000;
/** A machine that is busy for a larger share of the time has less to give. */
const BUSY_SHARE = 0.1;
/** Tasks that waited for the limit for a larger share of the time could use more. */
const HELD_SHARE = 0.5;
const SHARES = { least: 0.1, most: 0.5 };
const MEMORY_MOST = 1 << 30;
const SECONDS_A_DAY = 86_400;

export function health(seen: Economy | null): Health {
  const { velocity = null, utilization = null, growth = null, stability = null } = seen ?? {};
  return { velocity, utilization, growth, stability };
}

/** Whether `nodes` that offer what members offer now can do the tasks, and fees cover what is minted. */
export function isSelfSustaining(seen: Economy | null, nodes: number, tasksPerDay: number): boolean | null {
  for (const [name, given] of Object.entries({ nodes, tasksPerDay })) {
    if (typeof given !== "number" || !(given >= 0)) throw new RangeError(`invalid: ${name} is a number from 0, not ${String(given)}`);
  }
  if (seen === null || seen.utilization === null || seen.cpu_seconds_per_task === null || seen.active === 0) return null;
  const offered = (nodes * SECONDS_A_DAY * seen.offered_cores) / seen.active;
  return offered >= seen.cpu_seconds_per_task * tasksPerDay && seen.fees >= seen.minted;
}

export function shouldReplicate(seen: Economy | null): boolean | null {
  if (seen === null || seen.utilization === null || seen.reputation === null) return null;
  return seen.utilization >= BUSY && seen.reputation >= RELIABLE;
}

/** Limits of a node, and why they are these. */
export type Recommended = { cpuLimit: number; memoryLimit: number; minIdleTime: number; because: string[] };

/** `times`: milliseconds since the start, and of them those in which the machine was busy. */
export function recommended(
  now: Omit<Recommended, "because">, pool: PoolStats, times: { all: number; busy: number },
): Recommended | null {
  if (times.all < SEEN_MS) return null;
  const because: string[] = [];
  const percent = (part: number) => `${Math.round((100 * part) / times.all)} %`;
  let { cpuLimit, memoryLimit } = now;
  if (times.busy > BUSY_SHARE * times.all) {
    cpuLimit = Math.max(SHARES.least, cpuLimit / 2);
    because.push(`the machine was busy ${percent(times.busy)} of the time`);
  } else if (pool.heldBackMs > HELD_SHARE * times.all) {
    cpuLimit = Math.min(SHARES.most, cpuLimit * 1.5);
    because.push(`tasks waited for the limit ${percent(pool.heldBackMs)} of the time, and the machine was not busy`);
  }
  if (pool.bytes > 0.9 * memoryLimit) {
    memoryLimit = Math.min(MEMORY_MOST, memoryLimit * 2);
    because.push(`the workers take ${Math.ceil(pool.bytes / (1 << 20))} MiB of ${Math.floor(now.memoryLimit / (1 << 20))}`);
  }
  if (because.length === 0) because.push("the present limits fit");
  return { cpuLimit, memoryLimit, minIdleTime: now.minIdleTime, because };
}

/** What was given, for an error: a text is seen to be one. */
export function shown(given: unknown): string {
  return typeof given === "string" ? JSON.stringify(given) : typeof given === "bigint" ? `${given}n` : String(given);
}

/** An amount of rUv in millionths. */
export function micro(ruv: number): number {
  if (typeof ruv !== "number" || Number.isNaN(ruv)) throw new TypeError(`invalid: an amount is a number of rUv, not ${shown(ruv)}`);
  const all = Math.round(ruv * 1e6);
  if (!(ruv > 0)) throw new RangeError(`invalid: an amount is more than nothing, not ${ruv}`);
  if (all > Number.MAX_SAFE_INTEGER) throw new RangeError(`invalid: there are no ${ruv} rUv in any pool`);
  // What a calculation with doubles leaves beyond six digits is none of it.
  if (Math.abs(ruv * 1e6 - all) > 1e-3) throw new RangeError(`invalid: an amount has six digits after the point at most, not ${ruv}`);
  return all;
}
