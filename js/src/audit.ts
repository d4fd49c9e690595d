/** What of a tab's security holds, each line from what the peer counts or the browser says. */

/** What the peer says of itself, as far as a tab needs it. */
export type SecurityView = {
  self_revoked: boolean; limits: boolean; open_tickets: number; witnesses_lost: string[]; witnesses_banned: string[];
  quorum: number; [counter: string]: unknown;
};

export type Check = { name: string; passed: boolean | null; what: string; fix: string };

export type Audit = {
  /** Ten times the share of the checks that hold among those that apply; `null` before the node has looked. */
  security_score: number | null; passed: number; applicable: number; checks: Check[];
  /** What others tried since the start, by counter; nothing before the node has looked. */
  attempted: Record<string, number>;
};

/** Counters of what senders did; the rest of the view is not about them. */
const ATTEMPTED = [
  "malformed", "limited", "refused", "bad_signatures", "gossip_rejected", "results_rejected", "faults", "joins_refused", "bans",
];

export function audit(view: SecurityView | null, volatile: string | null): Audit {
  const check = (name: string, passed: boolean | null, what: string, fix: string): Check => ({ name, passed, what, fix });
  const several = (holds: boolean) => (view !== null && view.quorum > 1 ? holds : null);
  const checks = [
    check("key-not-revoked", view && !view.self_revoked, "this tab's own key is believed",
      "clear the site's data and join again with a ticket"),
    check("secure-context", globalThis.isSecureContext, "nobody on the way can change the page's scripts",
      "serve the page by HTTPS or from this machine"),
    check("key-kept-sealed", view && volatile === null, "the key is stored, sealed by one that no script is shown",
      "let the site store data; without, each start is a new node"),
    check("limits", view && view.limits, "senders have budgets, and those that go far beyond are banned",
      "this build has them switched off"),
    check("no-open-ticket", view && view.open_tickets === 0, "no ticket of this tab is out",
      "tickets are void after seven days"),
    check("no-witness-lost", view && several(view.witnesses_lost.length === 0),
      "no witness was named by a proof, and no witness's key is revoked", "ask the founder to replace it"),
    check("no-witness-banned", view && several(view.witnesses_banned.length === 0),
      "this tab hears the votes of every witness", "bans end by themselves"),
  ];
  const applicable = checks.filter((one) => one.passed !== null).length;
  const passed = checks.filter((one) => one.passed === true).length;
  const counted = ATTEMPTED.map((name) => [name, view?.[name]] as const);
  const attempted = Object.fromEntries(counted.filter((entry): entry is [string, number] => typeof entry[1] === "number"));
  const score = view && Math.round((100 * passed) / Math.max(1, applicable)) / 10;
  return { security_score: score, passed, applicable, checks, attempted };
}
