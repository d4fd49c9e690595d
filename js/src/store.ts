/** Where a tab keeps what must survive a reload: IndexedDB, else memory, which is said aloud. */

/** One change: the value `null` removes the row. */
export type Write = [table: string, key: Uint8Array, value: Uint8Array | null];
export type Row = [table: string, key: Uint8Array, value: Uint8Array];

/** Rows by table and key. */
export interface Store {
  /** Whether it survives a reload; if not, why. */
  readonly volatile: string | null;
  /** All of these or none, durable when done. */
  persist(writes: Write[]): Promise<void>;
  load(table: string, key: Uint8Array): Promise<Uint8Array | null>;
  /** Every row but those of the tables that are left out. */
  rows(without: readonly string[]): Promise<Row[]>;
}

const PREFIX = "edge-net/";
const VERSION = 1;
const ROWS = "rows";
const SECRETS = "secrets";

const NO_ROOM = "there is no room left for this site";

/** What a browser says of its storage may be a name alone. */
function failure(said: DOMException | null): Error {
  if (said?.name === "QuotaExceededError") {
    return new Error(NO_ROOM);
  }
  return new Error(said?.message || said?.name || "its storage failed");
}

function done<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((good, bad) => {
    request.onsuccess = () => good(request.result);
    request.onerror = () => bad(failure(request.error));
  });
}

function committed(transaction: IDBTransaction): Promise<void> {
  return new Promise((good, bad) => {
    const failed = () => bad(failure(transaction.error));
    transaction.oncomplete = () => good();
    transaction.onerror = failed;
    transaction.onabort = failed;
  });
}

function open(pool: string): Promise<IDBDatabase> {
  const request = indexedDB.open(PREFIX + pool, VERSION);
  request.onupgradeneeded = () => {
    request.result.createObjectStore(ROWS);
    request.result.createObjectStore(SECRETS);
  };
  return done(request);
}

/** A copy with a buffer of its own, which a database key needs. */
function bytes(of: Uint8Array | ArrayBuffer): Uint8Array<ArrayBuffer> {
  return new Uint8Array(of);
}

class Database implements Store {
  readonly volatile = null;
  #database: IDBDatabase;

  constructor(database: IDBDatabase) {
    this.#database = database;
    // Whoever deletes what is stored need not wait: the node ends at its next write, and says why.
    database.onversionchange = () => database.close();
  }

  async persist(writes: Write[]): Promise<void> {
    // Strict: what others are told of must survive a crash of the browser.
    const transaction = this.#database.transaction(ROWS, "readwrite", { durability: "strict" });
    const rows = transaction.objectStore(ROWS);
    for (const [table, key, value] of writes) {
      if (value === null) rows.delete([table, bytes(key)]);
      else rows.put(value, [table, bytes(key)]);
    }
    await committed(transaction).catch((error: Error) => {
      const more = error.message === NO_ROOM ? ": free some storage and start again, it goes on where it was" : "";
      throw new Error(error.message + more);
    });
  }

  async load(table: string, key: Uint8Array): Promise<Uint8Array | null> {
    const rows = this.#database.transaction(ROWS).objectStore(ROWS);
    return (await done<Uint8Array | undefined>(rows.get([table, bytes(key)]))) ?? null;
  }

  async rows(without: readonly string[]): Promise<Row[]> {
    const rows = this.#database.transaction(ROWS).objectStore(ROWS);
    const [keys, values] = await Promise.all([done(rows.getAllKeys()), done(rows.getAll())]);
    const all = keys.map((key, at): Row => {
      const [table, name] = key as [string, ArrayBuffer];
      return [table, bytes(name), values[at] as Uint8Array];
    });
    return all.filter(([table]) => !without.includes(table));
  }

  /** The node's key: encrypted by one that the browser keeps and does not show to any script. */
  async seed(): Promise<Uint8Array> {
    const read = this.#database.transaction(SECRETS).objectStore(SECRETS);
    const [lock, sealed] = await Promise.all([
      done<CryptoKey | undefined>(read.get("lock")),
      done<{ nonce: Uint8Array<ArrayBuffer>; data: ArrayBuffer } | undefined>(read.get("seed")),
    ]);
    if (lock !== undefined && sealed !== undefined) {
      const opened = await crypto.subtle.decrypt({ name: "AES-GCM", iv: sealed.nonce }, lock, sealed.data);
      return new Uint8Array(opened);
    }
    const seed = crypto.getRandomValues(new Uint8Array(32));
    const fresh = await crypto.subtle.generateKey({ name: "AES-GCM", length: 256 }, false, ["encrypt", "decrypt"]);
    const nonce = crypto.getRandomValues(new Uint8Array(12));
    const data = await crypto.subtle.encrypt({ name: "AES-GCM", iv: nonce }, fresh, seed);
    const transaction = this.#database.transaction(SECRETS, "readwrite", { durability: "strict" });
    const secrets = transaction.objectStore(SECRETS);
    secrets.put(fresh, "lock");
    secrets.put({ nonce, data }, "seed");
    await committed(transaction);
    return seed;
  }
}

class Memory implements Store {
  readonly volatile: string;
  #rows = new Map<string, Row>();

  constructor(why: string) {
    this.volatile = why;
  }

  static #name(table: string, key: Uint8Array): string {
    return `${table}:${Array.from(key, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
  }

  persist(writes: Write[]): Promise<void> {
    for (const [table, key, value] of writes) {
      const name = Memory.#name(table, key);
      if (value === null) this.#rows.delete(name);
      else this.#rows.set(name, [table, key, value]);
    }
    return Promise.resolve();
  }

  load(table: string, key: Uint8Array): Promise<Uint8Array | null> {
    return Promise.resolve(this.#rows.get(Memory.#name(table, key))?.[2] ?? null);
  }

  rows(without: readonly string[]): Promise<Row[]> {
    return Promise.resolve([...this.#rows.values()].filter(([table]) => !without.includes(table)));
  }
}

/** The pools that this origin has something of. */
export async function storedPools(): Promise<string[]> {
  try {
    const names = (await indexedDB.databases()).map((database) => database.name ?? "");
    return names.filter((name) => name.startsWith(PREFIX)).map((name) => name.slice(PREFIX.length));
  } catch {
    return [];
  }
}

/** Opens what this origin stores of a pool, with the node's key in it: pools do not mix. */
export async function openStore(pool: string): Promise<{ store: Store; seed: Uint8Array }> {
  try {
    const database = new Database(await open(pool));
    return { store: database, seed: await database.seed() };
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return { store: new Memory(why), seed: crypto.getRandomValues(new Uint8Array(32)) };
  }
}
