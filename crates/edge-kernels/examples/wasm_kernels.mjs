// Times `matmul` of the wasm_kernels module named by the first argument for the sizes that follow:
// a line "<n> <nanoseconds of one product>" each, the least CPU time of several runs, set-up subtracted.
import { readFile } from "node:fs/promises";

const { instance } = await WebAssembly.instantiate(await readFile(process.argv[2]), {});
const { matmul } = instance.exports;
const cpu = (run) => {
  const before = process.cpuUsage();
  run();
  const { user, system } = process.cpuUsage(before);
  return (user + system) * 1000;
};
for (const text of process.argv.slice(3)) {
  const n = Number(text);
  const times = Math.max(2, Math.ceil(4e8 / n ** 3));
  // The engine's fast compiler comes first; its slow one replaces the code while it runs.
  for (let i = 0; i < 5; i++) matmul(n, times);
  let best = Infinity;
  for (let i = 0; i < 12; i++) {
    const once = cpu(() => matmul(n, 1));
    best = Math.min(best, (cpu(() => matmul(n, times + 1)) - once) / times);
  }
  console.log(n, best);
}
