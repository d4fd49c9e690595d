// 4. Monitor: the same figures as the daemon's, and a sign for the page.
import { EdgeNetConfig, badge, init } from "@edge-net/node";
import { fromAddress, log, onConsent } from "./page.js";

await init();
const config = new EdgeNetConfig("tutorial");
const node = fromAddress(config).build();

onConsent(async () => {
  await node.start();
  await node.connected();
  badge(node);
  for (const peer of await node.peers()) log(`peer ${peer.node.slice(0, 8)} ${peer.connected ? "connected" : "away"}, reliability ${peer.reliability}`);
  for (const task of await node.tasks()) log(`task ${task.kind}: ${task.status}`);
  const { workers, instructions, executed } = node.workerStats();
  log(`${workers} workers (${instructions}) did ${executed} pieces of work`);
  const [fastest] = await node.compute.backends();
  log(`products: ${fastest.gflops.toFixed(1)} GFLOP/s by ${fastest.name}`);
  const { security_score: score, checks } = JSON.parse(node.runSecurityAudit());
  log(`security: ${score} of 10, ${checks.length} checks`);
  log("done");
});
window.node = node;
