// y = base + scale * (x a) b: what a low-rank adapter adds to a layer's output (E. Hu et al., "LoRA: Low-Rank Adaptation
// of Large Language Models", 2021; their alpha / r is `scale`). x [tokens, inputs], a [inputs, rank], b [rank, outputs],
// base and y [tokens, outputs], row-major. `down` makes h = x a, `up` the rest; they run one after the other.

struct Shape { tokens: u32, inputs: u32, outputs: u32, rank: u32, scale: f32 }

@group(0) @binding(0) var<uniform> shape: Shape;
// `down`: x, a, h. `up`: h, b, y, base.
@group(0) @binding(1) var<storage, read> left: array<f32>;
@group(0) @binding(2) var<storage, read> right: array<f32>;
@group(0) @binding(3) var<storage, read_write> answer: array<f32>;
@group(0) @binding(4) var<storage, read> base: array<f32>;

var<workgroup> partial: array<f32, 256>;

// Sixteen columns of one token's h: sixteen invocations share a column, each has every sixteenth of its terms.
@compute @workgroup_size(256)
fn down(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) at: u32) {
  let column = group.x * 16u + at % 16u;
  let token = group.y * shape.inputs;
  // Four sums, so that four loads are under way at a time.
  var sums = vec4<f32>();
  if (column < shape.rank) {
    var input = at / 16u;
    while (input + 48u < shape.inputs) {
      let x = vec4<f32>(left[token + input], left[token + input + 16u], left[token + input + 32u], left[token + input + 48u]);
      let first = input * shape.rank + column;
      let jump = 16u * shape.rank;
      sums += x * vec4<f32>(right[first], right[first + jump], right[first + 2u * jump], right[first + 3u * jump]);
      input += 64u;
    }
    while (input < shape.inputs) {
      sums.x += left[token + input] * right[input * shape.rank + column];
      input += 16u;
    }
  }
  partial[at] = (sums.x + sums.y) + (sums.z + sums.w);
  for (var apart = 128u; apart >= 16u; apart /= 2u) {
    workgroupBarrier();
    if (at < apart) {
      partial[at] += partial[at + apart];
    }
  }
  if (at < 16u && column < shape.rank) {
    answer[group.y * shape.rank + column] = partial[at];
  }
}

@compute @workgroup_size(256)
fn up(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) at: u32) {
  let output = group.x * 256u + at;
  if (output >= shape.outputs) {
    return;
  }
  var sum = 0.0;
  for (var i = 0u; i < shape.rank; i++) {
    sum += left[group.y * shape.rank + i] * right[i * shape.outputs + output];
  }
  let to = group.y * shape.outputs + output;
  answer[to] = base[to] + shape.scale * sum;
}
