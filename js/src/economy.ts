/**
 * The economy of a node by the names of the field: what it has, earned and has at stake.
 *
 * ```ts
 * import { creditBalance, stakeDeposit } from "@edge-net/node/economy";
 * if (creditBalance(node) > 2) await stakeDeposit(node, 1);
 * ```
 *
 * @packageDocumentation
 */

import type { Economy } from "./figures.js";
import type { EdgeNetNode, Stats } from "./index.js";

export type { Economy, Health, Recommended } from "./figures.js";

/** What can be spent, in rUv. */
export function creditBalance(node: EdgeNetNode): number {
  return node.ruvBalance();
}

/** Gives rUv to another account; answers the block once a quorum of witnesses has certified it. */
export function creditSpend(node: EdgeNetNode, to: string, amount: number): Promise<Record<string, unknown>> {
  return node.send(to, amount);
}

/** What the contribution curve multiplies minted work by; `null` before the first checkpoint. */
export function contributionMultiplier(node: EdgeNetNode): number | null {
  return node.getMultiplier();
}

/** What the node earned, spent and did. */
export function contributionStats(node: EdgeNetNode): Stats {
  return node.getStats();
}

/** What the share of this node's results that were accepted exceeds with 95 % credibility, 0 to 1. */
export function reputationScore(node: EdgeNetNode): number | null {
  return node.getStats().reputation;
}

/** Puts rUv at stake. */
export function stakeDeposit(node: EdgeNetNode, amount: number): Promise<void> {
  return node.stake(amount);
}

/** Begins to take stake back; it can be spent once the pool's delay has passed. */
export function stakeWithdraw(node: EdgeNetNode, amount: number): Promise<void> {
  return node.unstake(amount);
}

/** How the pool's economy went in the last 24 hours; `null` before the node has joined. */
export function poolEconomy(node: EdgeNetNode): Economy | null {
  return node.economy();
}
