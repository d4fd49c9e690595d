/** The worker that derives the keys of backups. */

import init, { open, seal } from "./wasm/edge_wasm_keys.js";
import { type Port, answering } from "./rpc.js";

answering(self as unknown as Port, {
  async seal(secret: Uint8Array, password: Uint8Array, random: Uint8Array) {
    await init();
    return seal(secret, password, random);
  },
  async open(backup: Uint8Array, password: Uint8Array) {
    await init();
    return open(backup, password);
  },
});
