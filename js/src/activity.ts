/** When a tab may work for others: by input, battery, and how busy the machine says it is. */

/** Whether to work now, and why not. */
export type Allowed = { yes: boolean; why: string };

type Battery = EventTarget & { charging: boolean; level: number };
type PressureRecord = { state: "nominal" | "fair" | "serious" | "critical" };

const INPUTS = ["pointerdown", "pointermove", "keydown", "wheel", "touchstart"] as const;
const LOOK_MS = 500;
/** Both ways: what changes back within this changes nothing. */
const GRACE_MS = 10_000;

export class Activity {
  #idleAfter: number;
  #respectBattery: boolean;
  #changed: (allowed: Allowed) => void;
  #lastInput = 0;
  #battery: Battery | "unknown" | null = null;
  #pressure: PressureRecord["state"] = "nominal";
  #pressureSince = 0;
  #observer: { disconnect(): void } | null = null;
  #timer: ReturnType<typeof setInterval>;
  #heard = () => { this.#lastInput = performance.now(); };
  allowed: Allowed = { yes: true, why: "" };

  constructor(idleAfter: number, respectBattery: boolean, changed: (allowed: Allowed) => void) {
    this.#idleAfter = idleAfter;
    this.#respectBattery = respectBattery;
    this.#changed = changed;
    this.#lastInput = performance.now();
    for (const input of INPUTS) addEventListener(input, this.#heard, { passive: true });
    const battery = (navigator as { getBattery?: () => Promise<Battery> }).getBattery?.bind(navigator);
    if (battery === undefined) this.#battery = "unknown";
    else battery().then((found) => { this.#battery = found; }, () => { this.#battery = "unknown"; });
    this.#observe();
    this.#timer = setInterval(() => this.#look(), LOOK_MS);
    this.#look();
  }

  /** Whether the page had no input for a while. */
  get idle(): boolean {
    return performance.now() - this.#lastInput >= this.#idleAfter;
  }

  end(): void {
    clearInterval(this.#timer);
    this.#observer?.disconnect();
    for (const input of INPUTS) removeEventListener(input, this.#heard);
  }

  #observe(): void {
    type Observer = new (heard: (records: PressureRecord[]) => void) => {
      observe(source: string, options: object): Promise<void>; disconnect(): void;
    };
    const Found = (globalThis as { PressureObserver?: Observer }).PressureObserver;
    if (Found === undefined) return;
    const observer = new Found((records) => {
      const state = records.at(-1)?.state ?? "nominal";
      if (state !== this.#pressure) this.#pressureSince = performance.now();
      this.#pressure = state;
    });
    // Where a policy forbids it, the machine counts as calm.
    observer.observe("cpu", { sampleInterval: 2_000 }).then(() => { this.#observer = observer; }, () => {});
  }

  #look(): void {
    const allowed = this.#decide();
    if (allowed.yes === this.allowed.yes && allowed.why === this.allowed.why) return;
    this.allowed = allowed;
    this.#changed(allowed);
  }

  #decide(): Allowed {
    if (this.#respectBattery) {
      if (this.#battery === "unknown") {
        return { yes: false, why: "this browser does not say whether the machine is on battery; allow it to work anyway, or not" };
      }
      if (this.#battery !== null && !this.#battery.charging) return { yes: false, why: "the machine is on battery" };
    }
    if (!this.idle) return { yes: false, why: "the page is in use" };
    const pressed = this.#pressure === "critical" || this.#pressure === "serious";
    if (pressed && performance.now() - this.#pressureSince >= GRACE_MS) {
      return { yes: false, why: "the machine is busy" };
    }
    return { yes: true, why: "" };
  }
}
