/** A small sign that a page computes for others, with a control that stops it. */

import type { EdgeNetNode } from "./index.js";

/** A badge that is shown. */
export type Badge = { element: HTMLElement; remove(): void };

/** Shows what a node does, in the corner of the page or in an element of one's own. */
export function badge(node: EdgeNetNode, into: Element = document.body): Badge {
  if (!(into instanceof Element)) throw new TypeError("invalid: a badge is shown in an element of the page");
  const element = document.createElement("aside");
  element.setAttribute("aria-label", "edge-net node");
  element.dataset["edgeNet"] = "badge";
  const status = document.createElement("p");
  status.setAttribute("role", "status");
  status.textContent = node.status;
  const stop = document.createElement("button");
  stop.type = "button";
  stop.textContent = "Stop";
  stop.addEventListener("click", () => void node.stop());
  element.append(status, stop);
  into.append(element);
  const deaf = [
    node.on("status", (sentence) => {
      status.textContent = sentence;
      stop.disabled = !node.running;
    }),
    node.on("ended", () => { stop.disabled = true; }),
  ];
  return {
    element,
    remove() {
      for (const stopHearing of deaf) stopHearing();
      element.remove();
    },
  };
}
