/** What the page's end and the workers' have to agree on. */

/** Workers that compute, of one node or one `Compute`. */
export const WORKERS_MAX = 16;
