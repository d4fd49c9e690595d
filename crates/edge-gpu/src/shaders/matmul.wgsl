// c = a b, single precision: a [m, k], b [k, n], c [m, n], row-major, any sizes.
//
// Tiles in workgroup memory, and in registers what one invocation has of a tile (V. Volkov and J. Demmel,
// "Benchmarking GPUs to tune dense linear algebra", 2008). Two entry points with one meaning: `wide` has
// 8 x 8 results an invocation, `narrow` 4 x 4, for products of which too few wide tiles could be made. Both take
// 16 KiB of workgroup memory or less and 256 invocations, which every WebGPU adapter has.
//
// Sums run along k in order; whether a product is rounded before it is added is the driver's choice, so each result is
// within k u / (1 - k u) * sum |a| |b| of the exact one, u = 2^-24 (N. Higham, "Accuracy and Stability of Numerical
// Algorithms", section 3.1).

struct Shape { m: u32, k: u32, n: u32, unused: u32 }

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> c: array<f32>;

// Two tiles each: one is written while the other is read. Of `a` a vector has four rows at one k, of `b` four columns.
var<workgroup> tile_a: array<vec4<f32>, 512>;
var<workgroup> tile_b: array<vec4<f32>, 512>;

fn a_at(row: u32, depth: u32) -> f32 {
  if (row < shape.m && depth < shape.k) {
    return a[row * shape.k + depth];
  }
  return 0.0;
}

fn b_at(depth: u32, column: u32) -> f32 {
  if (depth < shape.k && column < shape.n) {
    return b[depth * shape.n + column];
  }
  return 0.0;
}

fn rows(row: u32, depth: u32) -> vec4<f32> {
  return vec4<f32>(a_at(row, depth), a_at(row + 1u, depth), a_at(row + 2u, depth), a_at(row + 3u, depth));
}

fn columns(depth: u32, column: u32) -> vec4<f32> {
  return vec4<f32>(b_at(depth, column), b_at(depth, column + 1u), b_at(depth, column + 2u), b_at(depth, column + 3u));
}

// Row i of the answer is the column vector i of the matrix.
fn outer(left: vec4<f32>, right: vec4<f32>) -> mat4x4<f32> {
  return mat4x4<f32>(right * left.x, right * left.y, right * left.z, right * left.w);
}

fn put(row: u32, column: u32, value: vec4<f32>) {
  if (row >= shape.m) {
    return;
  }
  let at = row * shape.n + column;
  if (column < shape.n) { c[at] = value.x; }
  if (column + 1u < shape.n) { c[at + 1u] = value.y; }
  if (column + 2u < shape.n) { c[at + 2u] = value.z; }
  if (column + 3u < shape.n) { c[at + 3u] = value.w; }
}

fn put_all(row: u32, column: u32, values: mat4x4<f32>) {
  put(row, column, values[0]);
  put(row + 1u, column, values[1]);
  put(row + 2u, column, values[2]);
  put(row + 3u, column, values[3]);
}

// A tile of 128 x 128 results, 8 deep.
@compute @workgroup_size(256)
fn wide(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) at: u32) {
  let row = group.y * 128u;
  let column = group.x * 128u;
  // What this invocation brings: four rows of `a` at one k, four columns of `b` at another.
  let a_depth = at % 8u;
  let a_rows = at / 8u;
  let b_depth = at / 32u;
  let b_columns = at % 32u;
  // Rows are stored in an order that differs with k: invocations that write beside each other use other banks.
  let a_slot = a_depth * 32u + (a_rows ^ a_depth);
  // What it computes: rows down.. and down + 64.., columns across.. and across + 64..
  let down = at / 16u;
  let across = at % 16u;
  var c00 = mat4x4<f32>();
  var c01 = mat4x4<f32>();
  var c10 = mat4x4<f32>();
  var c11 = mat4x4<f32>();
  var next_a = rows(row + 4u * a_rows, a_depth);
  var next_b = columns(b_depth, column + 4u * b_columns);
  let steps = (shape.k + 7u) / 8u;
  for (var step = 0u; step < steps; step++) {
    let side = (step % 2u) * 256u;
    tile_a[side + a_slot] = next_a;
    tile_b[side + at] = next_b;
    // One barrier a step: who writes this side again has passed the next barrier, and so has every reader of now.
    workgroupBarrier();
    let after = 8u * (step + 1u);
    next_a = rows(row + 4u * a_rows, after + a_depth);
    next_b = columns(after + b_depth, column + 4u * b_columns);
    for (var deep = 0u; deep < 8u; deep++) {
      let line = side + deep * 32u;
      let a0 = tile_a[line + (down ^ deep)];
      let a1 = tile_a[line + ((down + 16u) ^ deep)];
      let b0 = tile_b[line + across];
      let b1 = tile_b[line + across + 16u];
      c00 += outer(a0, b0);
      c01 += outer(a0, b1);
      c10 += outer(a1, b0);
      c11 += outer(a1, b1);
    }
  }
  let to_row = row + 4u * down;
  let to_column = column + 4u * across;
  put_all(to_row, to_column, c00);
  put_all(to_row, to_column + 64u, c01);
  put_all(to_row + 64u, to_column, c10);
  put_all(to_row + 64u, to_column + 64u, c11);
}

// A tile of 64 x 64 results, 16 deep.
@compute @workgroup_size(256)
fn narrow(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) at: u32) {
  let row = group.y * 64u;
  let column = group.x * 64u;
  let low = at % 16u;
  let high = at / 16u;
  let a_slot = low * 16u + (high ^ (low % 8u));
  var total = mat4x4<f32>();
  var next_a = rows(row + 4u * high, low);
  var next_b = columns(high, column + 4u * low);
  let steps = (shape.k + 15u) / 16u;
  for (var step = 0u; step < steps; step++) {
    let side = (step % 2u) * 256u;
    tile_a[side + a_slot] = next_a;
    tile_b[side + at] = next_b;
    workgroupBarrier();
    let after = 16u * (step + 1u);
    next_a = rows(row + 4u * high, after + low);
    next_b = columns(after + high, column + 4u * low);
    for (var deep = 0u; deep < 16u; deep++) {
      let line = side + deep * 16u;
      total += outer(tile_a[line + (high ^ (deep % 8u))], tile_b[line + low]);
    }
  }
  put_all(row + 4u * high, column + 4u * low, total);
}
