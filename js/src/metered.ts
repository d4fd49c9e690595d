/** How long a module runs: a browser tells a worker nothing of its CPU time, so every way into the module is timed. */

/** Tells how long the module that `metered` loads runs, each time that it ran. */
export class Meter {
  #depth = 0;
  #since = 0;
  #spent: (ms: number) => void;

  constructor(spent: (ms: number) => void) {
    this.#spent = spent;
  }

  /** The same function, timed; what it calls back into counts once. */
  #timed(inner: (...args: unknown[]) => unknown): (...args: unknown[]) => unknown {
    return (...args) => {
      if (this.#depth > 0) return inner(...args);
      this.#depth = 1;
      this.#since = performance.now();
      try {
        return inner(...args);
      } finally {
        this.#depth = 0;
        this.#spent(performance.now() - this.#since);
      }
    };
  }

  /** Runs `load`, which instantiates one module, so that all its exported functions are timed. */
  async metered<T>(load: () => Promise<T>): Promise<T> {
    const instantiate = WebAssembly.instantiate;
    const replaced = async (module: WebAssembly.Module, imports?: WebAssembly.Imports) => {
      const instance = await instantiate(module, imports);
      const named = Object.entries(instance.exports).map(([name, value]) =>
        [name, typeof value === "function" ? this.#timed(value as (...args: unknown[]) => unknown) : value]);
      const exports: WebAssembly.Exports = Object.fromEntries(named);
      return Object.create(WebAssembly.Instance.prototype, { exports: { value: exports } }) as WebAssembly.Instance;
    };
    WebAssembly.instantiate = replaced as unknown as typeof instantiate;
    try {
      return await load();
    } finally {
      WebAssembly.instantiate = instantiate;
    }
  }
}
