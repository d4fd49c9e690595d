// 1. Join: three lines, and what there is afterwards.
import { EdgeNetConfig, init } from "@edge-net/node";
import { fromAddress, log, onConsent } from "./page.js";

await init();
const config = new EdgeNetConfig("tutorial");
const node = fromAddress(config).build();

onConsent(async () => {
  await node.start();
  log(`This tab is node ${node.nodeId()}, also after a reload.`);
  node.on("status", log);
  log(node.status);
});
window.node = node;
