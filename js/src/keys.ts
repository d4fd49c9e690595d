/**
 * Keys in a page: identities, signatures, sessions, labels of pools.
 *
 * ```ts
 * await init();
 * const key = new PiKey();
 * const signature = key.sign(data);
 * PiKey.verify(data, signature, key.getPublicKey());
 * ```
 *
 * The same code as the daemon's (`edge-base`), as WebAssembly in the page: it is small, and `sign` and `verify` answer
 * at once. What takes memory and time, a backup's key from its password, runs in a worker of its own.
 *
 * @packageDocumentation
 */

import { Asking } from "./rpc.js";
import load, {
  Key, Session, genesisLabel, identityKey, labelText, labels, verify,
} from "./wasm/edge_wasm_keys.js";

/** The most bytes that are signed, encrypted or decrypted at once. */
const BYTES_MAX = 64 << 20;
/** What a record of a session has beyond the data: less than this. */
const RECORD_MORE = 64;
const LABEL_BYTES = 21;
/** As the command line's: a backup can be guessed at for ever. */
const PASSWORD_CHARS_MIN = 8;

let loaded: Promise<unknown> | null = null;
let why: string | null = "call `await init()` first";

/** Loads the module for keys; `init` of the package calls it. */
export async function initKeys(): Promise<void> {
  loaded ??= load().then(() => { why = null; });
  try {
    await loaded;
  } catch (error) {
    loaded = null;
    why = `the module for keys could not be loaded: ${error instanceof Error ? error.message : String(error)}`;
    throw new Error(`failed: ${why}`);
  }
}

function ready(): void {
  if (why !== null) throw new Error(`failed: ${why}`);
}

function bytes(given: unknown, name: string, most = BYTES_MAX): Uint8Array {
  if (!(given instanceof Uint8Array)) throw new Error(`invalid: \`${name}\` is a Uint8Array; for a text use a TextEncoder`);
  if (given.length > most) throw new Error(`invalid: \`${name}\` has more than ${most} bytes`);
  return given;
}

/** A genesis digest, or none. */
function genesis(given: unknown): Uint8Array | undefined {
  return given === undefined ? undefined : bytes(given, "pool");
}

/** What was not freed. */
function held<T>(given: T | null): T {
  if (given === null) throw new Error("failed: it was freed");
  return given;
}

function random(length: number): Uint8Array {
  return crypto.getRandomValues(new Uint8Array(length));
}

/** A worker for one call: 64 MiB of memory that are given back when it ends. */
async function aside<T>(op: string, args: unknown[]): Promise<T> {
  const worker = new Worker(new URL("./keys-worker.js", import.meta.url), { type: "module" });
  try {
    return await new Promise<T>((done, failed) => {
      worker.addEventListener("error", (event) => {
        event.preventDefault();
        failed(new Error(`failed: the worker for backups did not start: ${event.message || "is `keys-worker.js` beside the package, and does the page's policy (`worker-src`) allow it?"}`));
      });
      new Asking(worker).ask<T>(op, args).then(done, failed);
    });
  } finally {
    worker.terminate();
  }
}

function password(given: unknown): Uint8Array {
  if (typeof given !== "string" || given === "") throw new Error("invalid: a password is a text that is not empty");
  // As it was typed, which the command line does, too.
  return new TextEncoder().encode(given);
}

/** An Ed25519 key with its π identity. The secret stays in the module's memory until `free`. */
export class PiKey {
  #held: Key | null;

  /** A new key, for a pool by its genesis digest (32 bytes) or for none. */
  constructor(pool?: Uint8Array) {
    ready();
    this.#held = new Key(random(32), genesis(pool));
  }

  get #key(): Key {
    return held(this.#held);
  }

  /** The key in a backup of `createEncryptedBackup`, or of `edge-net identity export`. */
  static async restore(backup: Uint8Array, secret: string): Promise<PiKey> {
    ready();
    const key = Key.fromSecret(await aside("open", [bytes(backup, "backup"), password(secret)]));
    const restored = new PiKey();
    restored.free();
    restored.#held = key;
    return restored;
  }

  /** Whether a signature of `sign` holds, under the strict rule of the protocol. */
  static verify(data: Uint8Array, signature: Uint8Array, publicKey: Uint8Array, pool?: Uint8Array): boolean {
    ready();
    return verify(bytes(data, "data"), bytes(signature, "signature"), bytes(publicKey, "publicKey"), genesis(pool));
  }

  /** `π:` and the first eight hexadecimal digits of the public key. */
  getShortId(): string {
    return this.#key.shortId();
  }

  /** The 40 bytes of the identity: key, network tag and checksum. `toString` is their written form. */
  getIdentity(): Uint8Array {
    return this.#key.identity();
  }

  /** The 32 bytes of the public key. */
  getPublicKey(): Uint8Array {
    return this.#key.publicKey();
  }

  /** `pi` and 64 characters. */
  toString(): string {
    return this.#key.text();
  }

  /**
   * Signs, 64 bytes, for a pool by its genesis digest or for none. What is signed is a digest of the data with a name
   * of its own: a page's signature is never one of a message of the protocol, nor a bare Ed25519 one.
   */
  sign(data: Uint8Array, pool?: Uint8Array): Uint8Array {
    return this.#key.sign(bytes(data, "data"), genesis(pool));
  }

  /** As the static `verify`. */
  verify(data: Uint8Array, signature: Uint8Array, publicKey: Uint8Array, pool?: Uint8Array): boolean {
    return PiKey.verify(data, signature, publicKey, pool);
  }

  /**
   * The identity and its secret under a password, as `edge-net identity import` reads it. Takes 64 MiB and about a
   * second, in a worker.
   */
  async createEncryptedBackup(secret: string): Promise<Uint8Array> {
    if (typeof secret === "string" && [...secret].length < PASSWORD_CHARS_MIN) {
      throw new Error(`invalid: a password has ${PASSWORD_CHARS_MIN} characters at least: a backup can be guessed at for ever`);
    }
    const key = this.#key.secret();
    try {
      return await aside("seal", [key, password(secret), random(28)]);
    } finally {
      key.fill(0);
    }
  }

  /** Forgets the secret; nothing works afterwards. */
  free(): void {
    this.#held?.free();
    this.#held = null;
  }
}

/**
 * Encryption for some time: what a session encrypts, it alone decrypts, until it is over or the page is gone. AES-256-GCM
 * with a key of its own for each session.
 */
export class SessionKey {
  #held: Session | null;
  #began = Date.now();
  #since = performance.now();

  private constructor(identity: Uint8Array, seconds: number) {
    this.#held = new Session(identity, seconds, random(48));
  }

  get #session(): Session {
    return held(this.#held);
  }

  /** A session of an identity (a `PiKey`, or the 40 bytes), for so many seconds. */
  static create(identity: PiKey | Uint8Array, seconds: number): SessionKey {
    ready();
    if (!(seconds > 0 && Number.isFinite(seconds))) throw new Error(`invalid: seconds is a positive number, not ${seconds}`);
    return new SessionKey(identity instanceof PiKey ? identity.getIdentity() : bytes(identity, "identity"), seconds);
  }

  /** Seconds since it began, by the clock that went further: one may have been set back, the other have slept. */
  #age(): number {
    return Math.max(Date.now() - this.#began, performance.now() - this.#since) / 1_000;
  }

  get isOver(): boolean {
    return this.#session.isOver(this.#age());
  }

  encrypt(data: Uint8Array): Uint8Array {
    return this.#session.encrypt(this.#age(), bytes(data, "data"));
  }

  /** Decrypts what `encrypt` gave; throws if it is of another session, was changed, or the session is over. */
  decrypt(record: Uint8Array): Uint8Array {
    return this.#session.decrypt(this.#age(), bytes(record, "record", BYTES_MAX + RECORD_MORE));
  }

  /** Forgets the key. */
  free(): void {
    this.#held?.free();
    this.#held = null;
  }
}

/** The φ label of a pool: 21 bytes of its genesis digest and its purpose. For people and names; nothing trusts it. */
export class GenesisKey {
  readonly #label: Uint8Array;
  readonly #text: string;

  /** From a genesis digest (32 bytes), or a label (21 bytes). `test`: a pool for trying things, which a label says itself. */
  constructor(given: Uint8Array, test?: boolean) {
    ready();
    const isLabel = bytes(given, "given").length === LABEL_BYTES;
    if (isLabel && test !== undefined) throw new Error("invalid: a label says itself whether it is of a pool for trying things");
    this.#label = isLabel ? given.slice() : genesisLabel(given, test ?? false);
    this.#text = labelText(this.#label);
  }

  /** The 21 bytes. */
  getBytes(): Uint8Array {
    return this.#label.slice();
  }

  /** `φ:` and eight hexadecimal digits, and `-test`. */
  getShortId(): string {
    return this.#text;
  }

  /** Whether it is the label of the pool with this genesis digest. */
  labels(genesis: Uint8Array): boolean {
    return labels(this.#label, bytes(genesis, "genesis"));
  }
}

/** The public key in the 40 bytes of an identity; throws with what is wrong if they are none. */
export function publicKeyOf(identity: Uint8Array): Uint8Array {
  ready();
  return identityKey(bytes(identity, "identity"));
}
