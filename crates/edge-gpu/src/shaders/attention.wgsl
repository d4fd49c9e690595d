// out = softmax(scale * q k^T) v for each head by itself: q, k, v, out [heads, tokens, dim], row-major, dim at most 512.
// With `causal` a token sees itself and those before it.
//
// One pass over the keys, a tile at a time, without the matrix of scores (T. Dao et al., "FlashAttention", 2022); the
// softmax is made on the way (M. Milakov and N. Gimelshein, "Online normalizer calculation for softmax", 2018): `top` is the
// greatest score so far, `sum` and the output are relative to it. Differs from the paper's kernel in who does what:
//
// - An invocation has one query, and 64 of its dimensions in registers. 32 invocations beside each other have 32 queries and
//   read the same key at the same time.
// - There are eight such rows of invocations. With dim at most 64 each has an eighth of a tile's keys, and in the end the
//   eight partial outputs are merged. With more, `parts` rows share the dimensions: they exchange their parts of the scores.

struct Shape { tokens: u32, dim: u32, parts: u32, causal: u32, scale: f32 }

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> q: array<f32>;
@group(0) @binding(2) var<storage, read> k: array<f32>;
@group(0) @binding(3) var<storage, read> v: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

// 32 lines of 64 dimensions: line (key * parts + part).
var<workgroup> keys: array<array<vec4<f32>, 16>, 32>;
var<workgroup> values: array<array<vec4<f32>, 16>, 32>;

const LOWEST = -3.4028234e38;

fn q_at(row: u32, d: u32, head: u32) -> f32 {
  if (row < shape.tokens && d < shape.dim) {
    return q[(head * shape.tokens + row) * shape.dim + d] * shape.scale;
  }
  return 0.0;
}

fn k_at(row: u32, d: u32, head: u32) -> f32 {
  if (row < shape.tokens && d < shape.dim) {
    return k[(head * shape.tokens + row) * shape.dim + d];
  }
  return 0.0;
}

fn v_at(row: u32, d: u32, head: u32) -> f32 {
  if (row < shape.tokens && d < shape.dim) {
    return v[(head * shape.tokens + row) * shape.dim + d];
  }
  return 0.0;
}

fn q_four(row: u32, d: u32, head: u32) -> vec4<f32> {
  return vec4<f32>(q_at(row, d, head), q_at(row, d + 1u, head), q_at(row, d + 2u, head), q_at(row, d + 3u, head));
}

fn query_of(row: u32, d: u32, head: u32) -> mat4x4<f32> {
  return mat4x4<f32>(
    q_four(row, d, head), q_four(row, d + 4u, head), q_four(row, d + 8u, head), q_four(row, d + 12u, head));
}

fn score(line: u32, q0: mat4x4<f32>, q1: mat4x4<f32>, q2: mat4x4<f32>, q3: mat4x4<f32>) -> f32 {
  var sums = q0[0] * keys[line][0];
  sums += q0[1] * keys[line][1];
  sums += q0[2] * keys[line][2];
  sums += q0[3] * keys[line][3];
  sums += q1[0] * keys[line][4];
  sums += q1[1] * keys[line][5];
  sums += q1[2] * keys[line][6];
  sums += q1[3] * keys[line][7];
  sums += q2[0] * keys[line][8];
  sums += q2[1] * keys[line][9];
  sums += q2[2] * keys[line][10];
  sums += q2[3] * keys[line][11];
  sums += q3[0] * keys[line][12];
  sums += q3[1] * keys[line][13];
  sums += q3[2] * keys[line][14];
  sums += q3[3] * keys[line][15];
  return (sums.x + sums.y) + (sums.z + sums.w);
}

fn value_of(line: u32, first: u32) -> mat4x4<f32> {
  return mat4x4<f32>(values[line][first], values[line][first + 1u], values[line][first + 2u], values[line][first + 3u]);
}

fn left_over(line: u32, first: u32) -> mat4x4<f32> {
  return mat4x4<f32>(keys[line][first], keys[line][first + 1u], keys[line][first + 2u], keys[line][first + 3u]);
}

fn leave(line: u32, first: u32, what: mat4x4<f32>) {
  keys[line][first] = what[0];
  keys[line][first + 1u] = what[1];
  keys[line][first + 2u] = what[2];
  keys[line][first + 3u] = what[3];
}

fn put(at: u32, d: u32, what: vec4<f32>) {
  if (d < shape.dim) { out[at + d] = what.x; }
  if (d + 1u < shape.dim) { out[at + d + 1u] = what.y; }
  if (d + 2u < shape.dim) { out[at + d + 2u] = what.z; }
  if (d + 3u < shape.dim) { out[at + d + 3u] = what.w; }
}

fn put_all(at: u32, d: u32, what: mat4x4<f32>) {
  put(at, d, what[0]);
  put(at, d + 4u, what[1]);
  put(at, d + 8u, what[2]);
  put(at, d + 12u, what[3]);
}

@compute @workgroup_size(256)
fn attention(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) at: u32) {
  let head = group.y;
  let lane = at % 32u;
  let query = group.x * 32u + lane;
  let parts = shape.parts;
  let part = (at / 32u) % parts;
  // Four keys of every tile are this invocation's.
  let mine = 4u * (at / 32u / parts);
  let tile_keys = 32u / parts;
  let d = 64u * part;
  let q0 = query_of(query, d, head);
  let q1 = query_of(query, d + 16u, head);
  let q2 = query_of(query, d + 32u, head);
  let q3 = query_of(query, d + 48u, head);
  var o0 = mat4x4<f32>();
  var o1 = mat4x4<f32>();
  var o2 = mat4x4<f32>();
  var o3 = mat4x4<f32>();
  var top = LOWEST;
  var sum = 0.0;
  var end = shape.tokens;
  var seen_end = shape.tokens;
  if (shape.causal != 0u) {
    end = min(end, group.x * 32u + 32u);
    seen_end = min(seen_end, query + 1u);
  }
  for (var first = 0u; first < end; first += tile_keys) {
    // Everybody is done with the tile before.
    workgroupBarrier();
    for (var slot = at; slot < 512u; slot += 256u) {
      let line = slot / 16u;
      let key = first + line / parts;
      let start = 64u * (line % parts) + 4u * (slot % 16u);
      keys[line][slot % 16u] = vec4<f32>(
        k_at(key, start, head), k_at(key, start + 1u, head), k_at(key, start + 2u, head), k_at(key, start + 3u, head));
      values[line][slot % 16u] = vec4<f32>(
        v_at(key, start, head), v_at(key, start + 1u, head), v_at(key, start + 2u, head), v_at(key, start + 3u, head));
    }
    workgroupBarrier();
    let line = mine * parts + part;
    var scores = vec4<f32>(
      score(line, q0, q1, q2, q3),
      score(line + parts, q0, q1, q2, q3),
      score(line + 2u * parts, q0, q1, q2, q3),
      score(line + 3u * parts, q0, q1, q2, q3));
    if (parts > 1u) {
      // The keys have been read by all: their place holds the parts of the scores.
      workgroupBarrier();
      keys[at / 16u][at % 16u] = scores;
      workgroupBarrier();
      scores = vec4<f32>();
      for (var other = 0u; other < parts; other++) {
        let slot = at - 32u * part + 32u * other;
        scores += keys[slot / 16u][slot % 16u];
      }
    }
    let key = first + mine;
    let seen = vec4<u32>(key, key + 1u, key + 2u, key + 3u) < vec4<u32>(seen_end);
    scores = select(vec4<f32>(LOWEST), scores, seen);
    let best = max(top, max(max(scores.x, scores.y), max(scores.z, scores.w)));
    let shrink = exp(top - best);
    let weights = select(vec4<f32>(), exp(scores - best), seen);
    top = best;
    sum = sum * shrink + ((weights.x + weights.y) + (weights.z + weights.w));
    o0 = o0 * shrink;
    o1 = o1 * shrink;
    o2 = o2 * shrink;
    o3 = o3 * shrink;
    o0 += value_of(line, 0u) * weights.x;
    o1 += value_of(line, 4u) * weights.x;
    o2 += value_of(line, 8u) * weights.x;
    o3 += value_of(line, 12u) * weights.x;
    o0 += value_of(line + parts, 0u) * weights.y;
    o1 += value_of(line + parts, 4u) * weights.y;
    o2 += value_of(line + parts, 8u) * weights.y;
    o3 += value_of(line + parts, 12u) * weights.y;
    o0 += value_of(line + 2u * parts, 0u) * weights.z;
    o1 += value_of(line + 2u * parts, 4u) * weights.z;
    o2 += value_of(line + 2u * parts, 8u) * weights.z;
    o3 += value_of(line + 2u * parts, 12u) * weights.z;
    o0 += value_of(line + 3u * parts, 0u) * weights.w;
    o1 += value_of(line + 3u * parts, 4u) * weights.w;
    o2 += value_of(line + 3u * parts, 8u) * weights.w;
    o3 += value_of(line + 3u * parts, 12u) * weights.w;
  }
  // The first row of each part takes in the others, one after the other.
  for (var row = parts; row < 8u; row++) {
    workgroupBarrier();
    if (at / 32u == row) {
      leave(lane, 0u, o0);
      leave(lane, 4u, o1);
      leave(lane, 8u, o2);
      leave(lane, 12u, o3);
      values[lane][0] = vec4<f32>(top, sum, 0.0, 0.0);
    }
    workgroupBarrier();
    if (at / 32u == row % parts) {
      let theirs = values[lane][0];
      let best = max(top, theirs.x);
      let ours = exp(top - best);
      let other = exp(theirs.x - best);
      top = best;
      sum = sum * ours + theirs.y * other;
      o0 = o0 * ours + left_over(lane, 0u) * other;
      o1 = o1 * ours + left_over(lane, 4u) * other;
      o2 = o2 * ours + left_over(lane, 8u) * other;
      o3 = o3 * ours + left_over(lane, 12u) * other;
    }
  }
  if (at / 32u < parts && query < shape.tokens) {
    let to = (head * shape.tokens + query) * shape.dim;
    let share = 1.0 / sum;
    put_all(to, d, o0 * share);
    put_all(to, d + 16u, o1 * share);
    put_all(to, d + 32u, o2 * share);
    put_all(to, d + 48u, o3 * share);
  }
}
