// Times operations in a tab: a JSON object {"name": [value, unit]} on standard output. Used by the benchmark group
// `browser`, which runs `cargo xtask web` before.
import { browser } from "../testing/pool.mjs";
import { site } from "../testing/site.mjs";

const [chrome, served] = [await browser(), await site()];
try {
  const page = await chrome.newPage();
  const figures = {};
  for (const workers of [1, 2, 4]) {
    await page.goto(served.url);
    Object.assign(figures, await page.evaluate(async (workers) => {
      const begun = performance.now();
      const { Compute } = await import("/compute.js");
      const compute = await Compute.open({ workers });
      const one = Float32Array.of(1);
      await compute.matmul(one, one, 1, 1, 1);
      const figures = { [`cold_${workers}`]: performance.now() - begun };
      const random = (length) => Float32Array.from({ length }, Math.random);
      const best = async (rounds, does) => {
        let best = Number.POSITIVE_INFINITY;
        for (let round = 0; round < rounds; round += 1) {
          const begun = performance.now();
          await does();
          best = Math.min(best, performance.now() - begun);
        }
        return best;
      };
      for (const side of [512, 1024]) {
        const [a, b] = [random(side * side), random(side * side)];
        const ms = await best(12, () => compute.matmul(a, b, side, side, side));
        figures[`matmul_${side}_${workers}`] = (2 * side ** 3) / ms / 1e6;
      }
      const long = random(1 << 22);
      figures[`sigmoid_${workers}`] = await best(8, () => compute.vector("sigmoid", long));
      figures[`sum_${workers}`] = await best(8, () => compute.reduce("sum", long));
      const shape = { heads: 8, tokens: 512, dim: 64 };
      const [q, k, v] = [1, 2, 3].map(() => random(8 * 512 * 64));
      figures[`attention_${workers}`] = await best(6, () => compute.attention(shape, q, k, v));
      if (workers === 1) {
        const scalar = (await compute.backends()).find(({ name }) => name.includes("scalar"));
        figures.matmul_512_scalar = scalar.gflops;
      }
      await compute.close();
      return figures;
    }, workers));
  }
  console.log(JSON.stringify(figures));
} finally {
  await chrome.close();
  await served.end();
}
