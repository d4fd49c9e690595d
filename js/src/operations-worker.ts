/** The worker that cuts operations and hands them to others, for a page without a node. */

import { Operations, kernelsModule } from "./operations.js";
import { Pool } from "./pool.js";
import { type Port, answering } from "./rpc.js";

/** The page decides what it computes: there is no share to keep. */
const ALL = 1e9;
/** As much as workers have: what a page asks for is what it gets. */
const MEMORY = 16 * 2 ** 32;

const pool = new Pool(ALL, 1, MEMORY);
const operations = new Operations(pool);

answering(self as unknown as Port, {
  async start(workers: number) {
    await pool.start(workers, [], kernelsModule);
    // Whether the module can be loaded is said now, not by the first operation.
    return pool.kernelsCall<string>("instructions", []);
  },
  compute: (op: string, args: never[]) => operations.answer(op, args),
});
