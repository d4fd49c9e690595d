// 3. Use the pool: every answer is checked before it is here.
import { EdgeNetConfig, init } from "@edge-net/node";
import { fromAddress, log, onConsent } from "./page.js";

await init();
const config = new EdgeNetConfig("tutorial").contributes(false);
const node = fromAddress(config).build();

onConsent(async () => {
  await node.start();
  await node.connected();
  const vector = await node.submitTask("embedding", { text: "a lighthouse keeper" });
  log(`embedding: ${vector.length} numbers`);
  const { category, score } = await node.submitTask("semantic_match", {
    text: "the ship lost its mast", categories: ["sea", "kitchen"],
  });
  log(`match: ${category}, ${score.toFixed(2)}`);
  for (const { name } of await node.collections()) {
    const hits = await node.submitTask("vector_search", { query: "who keeps the light", k: 3, index: name });
    for (const hit of hits) log(`${name}: ${hit.score.toFixed(3)} ${hit.payload.text ?? hit.id}`);
  }
  log("done");
});
window.node = node;
