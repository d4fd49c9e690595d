/** The page at `/join` of a node. */

import { EdgeNetConfig, type EdgeNetNode, init } from "./index.js";

declare global {
  interface Window {
    /** The node, for scripts and consoles; before consent it does nothing. */
    edgeNet?: EdgeNetNode;
  }
}

function element<T extends HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`the page lacks #${id}`);
  return found as T;
}

const consent = element<HTMLButtonElement>("consent");
const stop = element<HTMLButtonElement>("stop");
const limit = element<HTMLSelectElement>("limit");
const anyway = element<HTMLInputElement>("anyway");
const status = element("status");
const more = element("more");

element("host").textContent = location.host;
const knowsBattery = "getBattery" in navigator;
element("battery").hidden = knowsBattery;

async function join(): Promise<void> {
  consent.disabled = true;
  limit.disabled = true;
  try {
    await init();
    const node = new EdgeNetConfig(location.host)
      .cpuLimit(Number(limit.value))
      .respectBattery(knowsBattery || !anyway.checked)
      .from(location.origin)
      .build();
    window.edgeNet = node;
    node.on("status", (sentence) => { status.textContent = sentence; });
    node.on("ended", () => {
      stop.disabled = true;
      consent.disabled = false;
      limit.disabled = false;
    });
    await node.start();
    stop.disabled = false;
    more.textContent = `Node ${node.nodeId().slice(0, 8)}.`;
  } catch (error) {
    status.textContent = `It did not start: ${error instanceof Error ? error.message : String(error)}.`;
    consent.disabled = false;
    limit.disabled = false;
  }
}

consent.addEventListener("click", () => void join());
stop.addEventListener("click", () => {
  stop.disabled = true;
  void window.edgeNet?.stop();
});
