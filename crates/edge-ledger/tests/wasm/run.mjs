// Runs the curve module named by the first argument over the golden table beside this folder and
// prints each line with the multiplier and the cap that the module computes.
import { readFile } from "node:fs/promises";

const { instance } = await WebAssembly.instantiate(await readFile(process.argv[2]), {});
const { multiplier, cap } = instance.exports;
const table = await readFile(new URL("../golden/mint.txt", import.meta.url), "utf8");
const unsigned = (value) => BigInt.asUintN(64, value);
for (const line of table.trim().split("\n")) {
  const [hours, rate] = line.split(" ").map(BigInt);
  console.log(`${hours} ${rate} ${unsigned(multiplier(hours))} ${unsigned(cap(hours, rate))}`);
}
