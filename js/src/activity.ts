/** When a tab may work for others: by input, whether it is seen, battery, and how busy the machine says it is. */

/** Whether to work now, with which part of the limit, and why not, or why not with all of it. */
export type Allowed = { yes: boolean; part: number; why: string };

export const ALL: Allowed = { yes: true, part: 1, why: "" };

type Battery = EventTarget & { charging: boolean; level: number };
type PressureRecord = { state: "nominal" | "fair" | "serious" | "critical" };

const INPUTS = ["pointerdown", "pointermove", "keydown", "wheel", "touchstart"] as const;
const LOOK_MS = 500;
/** What is over within this changes nothing. */
const GRACE_MS = 10_000;
/** The part of the limit that is used on a busy machine: it may be busy for days, and what keeps it busy goes first. */
const BUSY_PART = 0.2;
/** A page that nobody sees is not told how busy the machine is: what it was told last counts so long. */
const TOLD_MS = 60_000;

export class Activity {
  #idleAfter: number;
  #respectBattery: boolean;
  #changed: (allowed: Allowed) => void;
  #lastInput = 0;
  #battery: Battery | "unknown" | null = null;
  #pressed = false;
  #pressedSince = 0;
  #hiddenSince = Infinity;
  #observer: { disconnect(): void } | null = null;
  #timer: ReturnType<typeof setInterval>;
  #heard = () => { this.#lastInput = performance.now(); };
  /** Who turns to another page or back is at the machine. Timers of hidden pages run once a second, later once a minute. */
  #seen = () => {
    this.#heard();
    this.#hiddenSince = document.hidden ? performance.now() : Infinity;
    this.#look();
  };
  #over = new AbortController();
  #begun = performance.now();
  #looked = performance.now();
  #pressedMs = 0;
  allowed: Allowed = ALL;

  constructor(idleAfter: number, respectBattery: boolean, changed: (allowed: Allowed) => void) {
    this.#idleAfter = idleAfter;
    this.#respectBattery = respectBattery;
    this.#changed = changed;
    this.#lastInput = performance.now();
    const { signal } = this.#over;
    for (const input of INPUTS) addEventListener(input, this.#heard, { passive: true, signal });
    document.addEventListener("visibilitychange", this.#seen, { signal });
    if (document.hidden) this.#hiddenSince = performance.now();
    const battery = (navigator as { getBattery?: () => Promise<Battery> }).getBattery?.bind(navigator);
    if (battery === undefined) this.#battery = "unknown";
    else battery().then((found) => {
      this.#battery = found;
      found.addEventListener("chargingchange", () => this.#look(), { signal });
    }, () => { this.#battery = "unknown"; });
    this.#observe();
    this.#timer = setInterval(() => this.#look(), LOOK_MS);
    this.#look();
  }

  /** Whether the page had no input for a while. */
  get idle(): boolean {
    return performance.now() - this.#lastInput >= this.#idleAfter;
  }

  /** Milliseconds since the start, and of them those in which the machine was busy. */
  get times(): { all: number; busy: number } {
    return { all: performance.now() - this.#begun, busy: this.#pressedMs };
  }

  end(): void {
    clearInterval(this.#timer);
    this.#observer?.disconnect();
    this.#over.abort();
  }

  #observe(): void {
    type Observer = new (heard: (records: PressureRecord[]) => void) => {
      observe(source: string, options: object): Promise<void>; disconnect(): void;
    };
    const Found = (globalThis as { PressureObserver?: Observer }).PressureObserver;
    if (Found === undefined) return;
    const observer = new Found((records) => {
      const state = records.at(-1)?.state ?? "nominal";
      const pressed = (state: PressureRecord["state"]) => state === "critical" || state === "serious";
      if (pressed(state) !== this.#pressed) this.#pressedSince = performance.now();
      this.#pressed = pressed(state);
    });
    // Where a policy forbids it, the machine counts as calm.
    observer.observe("cpu", { sampleInterval: 2_000 }).then(() => { this.#observer = observer; }, () => {});
  }

  #look(): void {
    const now = performance.now();
    if (this.#pressed && now - this.#hiddenSince >= TOLD_MS) this.#pressed = false;
    if (this.#pressed) this.#pressedMs += now - this.#looked;
    this.#looked = now;
    const allowed = this.#decide();
    if (allowed.yes === this.allowed.yes && allowed.part === this.allowed.part && allowed.why === this.allowed.why) return;
    this.allowed = allowed;
    this.#changed(allowed);
  }

  #decide(): Allowed {
    const rests = (why: string) => ({ yes: false, part: 1, why });
    if (this.#respectBattery) {
      if (this.#battery === "unknown") {
        return rests( "this browser does not say whether the machine is on battery; allow it to work anyway, or not");
      }
      if (this.#battery !== null && !this.#battery.charging) return rests("the machine is on battery");
    }
    if (!this.idle) return rests("the page is in use");
    if (this.#pressed && performance.now() - this.#pressedSince >= GRACE_MS) {
      return { yes: true, part: BUSY_PART, why: "the machine is busy" };
    }
    return ALL;
  }
}
