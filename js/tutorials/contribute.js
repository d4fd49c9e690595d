// 2. Contribute and earn: what a tab gives is in its owner's hand, what it gets is on the ledger.
import { EdgeNetConfig, init } from "@edge-net/node";
import { fromAddress, log, onConsent } from "./page.js";

await init();
const config = new EdgeNetConfig("tutorial")
  .cpuLimit(0.5)          // of all cores
  .memoryLimit(256 << 20) // bytes of all workers
  .minIdleTime(0)         // milliseconds without input; 5,000 unless told
  .respectBattery(false); // here: also where the browser does not say whether there is one
const node = fromAddress(config).build();

onConsent(async () => {
  await node.start();
  log(`It begins with ${node.ruvBalance()} rUv.`);
  node.on("status", log);
  log(node.status);
  node.on("event", ({ event, kind }) => {
    if (event === "delivered") log(`did a task of another member: ${kind}`);
  });
});
window.node = node;
