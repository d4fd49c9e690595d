/** A site of a few files, for what needs no node. */

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

const TYPES = { ".html": "text/html", ".js": "text/javascript", ".wasm": "application/wasm", ".css": "text/css" };

/** Files of `js/dist`, and an empty page at `/`. */
export const DIST = fileURLToPath(new URL("../dist", import.meta.url));

/** Serves a folder on a free port; answers its URL and how to end it. */
export async function site(folder = DIST, headers = {}) {
  const server = createServer(async (asked, answer) => {
    const path = normalize(new URL(asked.url, "http://site").pathname);
    for (const [name, value] of Object.entries(headers)) answer.setHeader(name, value);
    const bytes = await readFile(join(folder, path === "/" ? "index.html" : path)).catch(() => null);
    if (bytes === null && path !== "/") return answer.writeHead(404).end();
    answer.setHeader("content-type", path === "/" ? "text/html" : (TYPES[extname(path)] ?? "application/octet-stream"));
    return answer.end(bytes ?? "<!doctype html><title>A page</title>");
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    end: () => new Promise((done) => {
      server.closeAllConnections();
      server.close(done);
    }),
  };
}
