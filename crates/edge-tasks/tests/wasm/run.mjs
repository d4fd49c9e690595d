// Runs the passage_digest module named by the first argument and prints a line per back end and section:
// "scalar 0 <sha256>", "wasm128 0 <sha256>", ... A back end that the module lacks prints nothing.
import { readFile } from "node:fs/promises";

const { instance } = await WebAssembly.instantiate(await readFile(process.argv[2]), {});
const { memory, passage_digests, passage_section_count } = instance.exports;
const sections = passage_section_count();
for (const [vector, name] of [[0, "scalar"], [1, "wasm128"]]) {
  const at = passage_digests(vector);
  if (at === 0) continue;
  // Read after the call: the memory may have grown.
  const bytes = new Uint8Array(memory.buffer, at, 32 * sections);
  for (let section = 0; section < sections; section++) {
    const digest = bytes.subarray(32 * section, 32 * section + 32);
    console.log(name, section, Buffer.from(digest).toString("hex"));
  }
}
