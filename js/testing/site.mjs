/** Sites of files, for pages that no node serves. */

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { createServer as createSecureServer } from "node:https";
import { connect, createServer as createPlain } from "node:net";
import { tmpdir } from "node:os";
import { extname, join, normalize } from "node:path";
import { createServer as createTls } from "node:tls";
import { fileURLToPath } from "node:url";

const TYPES = { ".html": "text/html", ".js": "text/javascript", ".wasm": "application/wasm", ".css": "text/css" };
const EMPTY = "<!doctype html><title>A page</title>";

/** A folder of the package, by its name beside this one. */
export const folder = (name) => fileURLToPath(new URL(`../${name}`, import.meta.url));

/** What is at a path: a file of the longest prefix that fits, or bytes. */
async function found(roots, path) {
  const prefix = Object.keys(roots).filter((root) => path.startsWith(root)).sort((a, b) => b.length - a.length)[0];
  const root = roots[prefix];
  if (typeof root !== "string") return root ?? null;
  return readFile(join(root, path.slice(prefix.length))).catch(() => null);
}

/**
 * Serves folders, or bytes, by the beginning of their paths on a free port; answers the URL and how to end it. `js/dist`
 * if nothing is said; `/` is an empty page where no folder has one. With a `certificate` by TLS.
 */
export async function site(roots = { "/": folder("dist") }, headers = {}, certificate) {
  const answers = async (asked, answer) => {
    const path = normalize(new URL(asked.url, "http://site").pathname);
    for (const [name, value] of Object.entries(headers)) answer.setHeader(name, value);
    const bytes = (await found(roots, path === "/" ? "/index.html" : path)) ?? (path === "/" ? EMPTY : null);
    if (bytes === null) return answer.writeHead(404).end();
    answer.setHeader("content-type", path === "/" ? "text/html" : (TYPES[extname(path)] ?? "application/octet-stream"));
    return answer.end(bytes);
  };
  const server = certificate === undefined ? createServer(answers) : createSecureServer(certificate, answers);
  const port = await listening(server);
  return {
    url: certificate === undefined ? `http://127.0.0.1:${port}` : `https://localhost:${port}`,
    end: () => new Promise((done) => {
      server.closeAllConnections();
      server.close(done);
    }),
  };
}

async function listening(server) {
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return server.address().port;
}

/** A certificate for `localhost` by an authority made here, and what a browser has to be told to trust that authority. */
export function authority() {
  const at = mkdtempSync(join(tmpdir(), "edge-net-tls-"));
  const file = (name) => join(at, name);
  const openssl = (...args) => execFileSync("openssl", args, { cwd: at, stdio: ["ignore", "pipe", "ignore"] });
  try {
    const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    openssl("req", "-x509", ...key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=A test authority");
    openssl("req", ...key, "-keyout", "leaf.key", "-out", "leaf.csr", "-subj", "/CN=localhost");
    writeFileSync(file("names"), "subjectAltName=DNS:localhost\nextendedKeyUsage=serverAuth\n");
    openssl("x509", "-req", "-in", "leaf.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
      "-extfile", "names", "-out", "leaf.pem");
    openssl("x509", "-in", "ca.pem", "-pubkey", "-noout", "-out", "ca.pub");
    const der = openssl("pkey", "-pubin", "-in", "ca.pub", "-outform", "DER");
    return {
      // The authority's certificate is sent along: the browser looks for its key in the chain.
      certificate: { key: readFileSync(file("leaf.key")), cert: readFileSync(file("leaf.pem"), "utf8") + readFileSync(file("ca.pem"), "utf8") },
      spki: createHash("sha256").update(der).digest("base64"),
    };
  } finally {
    rmSync(at, { recursive: true, force: true });
  }
}

/** Passes connections on to a port here, with TLS in front or without; counts them, and can hold or cut them all. */
export async function passage(to, certificate) {
  const open = new Set();
  let seen = 0;
  let shut = false;
  const pass = (from) => {
    if (shut) return from.destroy();
    seen += 1;
    const onward = connect(to, "127.0.0.1");
    for (const [one, other] of [[from, onward], [onward, from]]) {
      open.add(one);
      one.pipe(other);
      one.on("error", () => other.destroy());
      one.on("close", () => {
        open.delete(one);
        other.destroy();
      });
    }
    return undefined;
  };
  const server = certificate === undefined ? createPlain(pass) : createTls(certificate, pass);
  const port = await listening(server);
  return {
    port,
    seen: () => seen,
    /** Ends what is open, and refuses what comes, until it is opened again. */
    shut: (now) => {
      shut = now;
      if (now) for (const socket of open) socket.destroy();
    },
    end: () => new Promise((done) => {
      for (const socket of open) socket.destroy();
      server.close(done);
    }),
  };
}
