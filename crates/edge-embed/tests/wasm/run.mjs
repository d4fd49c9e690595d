// Runs the encoder_digest module named by the first argument and prints a line per back end:
// "scalar <sha256>", "wasm128 <sha256>". A back end that the module lacks prints nothing.
import { readFile } from "node:fs/promises";

const { instance } = await WebAssembly.instantiate(await readFile(process.argv[2]), {});
const { memory, encoder_digest } = instance.exports;
for (const [vector, name] of [[0, "scalar"], [1, "wasm128"]]) {
  const at = encoder_digest(vector);
  // The memory may have grown during the call: look at it only now.
  if (at !== 0) console.log(name, Buffer.from(new Uint8Array(memory.buffer, at, 64)).toString());
}
