/**
 * Large files that are the same for everybody, kept in the origin's private file system where there is one. Whoever reads
 * one checks it: a file that was cut by a crash, or is of another build, is fetched again.
 */

type SyncHandle = { write(bytes: ArrayBuffer): number; truncate(size: number): void; flush(): void; close(): void };

async function folder(): Promise<FileSystemDirectoryHandle> {
  return (await navigator.storage.getDirectory()).getDirectoryHandle("edge-net", { create: true });
}

async function fetched(url: string): Promise<Response> {
  const answer = await fetch(url).catch((error: Error) => {
    throw new Error(`failed: ${url} could not be loaded: ${error.message}; does the page's policy (connect-src) allow it?`);
  });
  if (!answer.ok) throw new Error(`failed: ${url} could not be loaded: ${answer.status} ${answer.statusText}`);
  return answer;
}

/** A module of WebAssembly. */
export async function compiled(url: URL): Promise<WebAssembly.Module> {
  return WebAssembly.compileStreaming(await fetched(url.href)).catch((error: unknown) => {
    throw new Error(`failed: ${url.href} is no module: ${error instanceof Error ? error.message : String(error)}`);
  });
}

async function read(name: string): Promise<ArrayBuffer | null> {
  try {
    const handle = await (await folder()).getFileHandle(name);
    return await (await handle.getFile()).arrayBuffer();
  } catch {
    // There is none, or no such storage.
    return null;
  }
}

/** Keeps a file; where there is no room or no such storage, nothing is kept, and it is fetched the next time. */
async function keep(name: string, bytes: ArrayBuffer): Promise<void> {
  try {
    const handle = await (await folder()).getFileHandle(name, { create: true });
    const open = (handle as unknown as { createSyncAccessHandle(): Promise<SyncHandle> }).createSyncAccessHandle();
    const file = await open;
    try {
      file.truncate(0);
      file.write(bytes);
      file.flush();
    } finally {
      file.close();
    }
  } catch {
    await folder().then((at) => at.removeEntry(name)).catch(() => {});
  }
}

/** Gives a file to `use`, which throws if it is not what it should be: the kept one, else what is at `url`. */
export async function withFile<T>(name: string, url: string, use: (bytes: ArrayBuffer) => Promise<T>): Promise<T> {
  const kept = await read(name);
  if (kept !== null) {
    try {
      return await use(kept);
    } catch {
      // It is not, or something else is wrong: the fetched one says what.
    }
  }
  const bytes = await (await fetched(url)).arrayBuffer();
  const used = await use(bytes);
  await keep(name, bytes);
  return used;
}
