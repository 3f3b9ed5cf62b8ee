// Reading the weights: what payload.py packed, and the rows, columns and maps that are drawn.

async function inflate(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// weight = scale * (code / 255)^2
const SQUARED = Float32Array.from({ length: 256 }, (_, code) => (code / 255) ** 2);

function weightsOf(meta, raw) {
  const [R, Q, L, H] = [meta.runs.length, meta.queries.length, meta.layers.length, meta.heads.length];
  const K = meta.keys.length;
  const rows = R * Q * L * H;
  if (raw.length !== rows * (4 + K)) throw new Error("the weights do not fit their description");
  const scales = new Float32Array(raw.buffer.slice(raw.byteOffset, raw.byteOffset + 4 * rows));
  const codes = raw.subarray(4 * rows);
  const every = Array.from({ length: L * H }, (_, at) => at);

  const at = (run, query, cell) => (run * Q + query) * L * H + cell;
  // A head is a cell of the map, layer * heads + head; null means the mean of all.
  const cells = (head) => (head === null ? every : [head]);
  // The difference of two runs is the second's weights minus the first's.
  const signed = (run) => (run === "difference" ? [[1, 1], [0, -1]] : [[run, 1]]);

  function row(run, query, head) {
    const out = new Float32Array(K);
    const chosen = cells(head);
    for (const [which, sign] of signed(run)) {
      for (const cell of chosen) {
        const index = at(which, query, cell);
        const factor = (sign * scales[index]) / chosen.length;
        const base = index * K;
        for (let key = 0; key < K; key++) out[key] += factor * SQUARED[codes[base + key]];
      }
    }
    return out;
  }

  function column(run, key, head) {
    const out = new Float32Array(Q);
    const chosen = cells(head);
    for (const [which, sign] of signed(run)) {
      for (let query = 0; query < Q; query++) {
        for (const cell of chosen) {
          const index = at(which, query, cell);
          out[query] += (sign / chosen.length) * scales[index] * SQUARED[codes[index * K + key]];
        }
      }
    }
    return out;
  }

  // For every head: the weight from some queries to some keys, summed over keys, mean over queries.
  function map(run, queries, keys) {
    const out = new Float32Array(L * H);
    for (const [which, sign] of signed(run)) {
      for (const query of queries) {
        for (const cell of every) {
          const index = at(which, query, cell);
          const base = index * K;
          let sum = 0;
          for (const key of keys) sum += SQUARED[codes[base + key]];
          out[cell] += (sign * scales[index] * sum) / queries.length;
        }
      }
    }
    return out;
  }

  return { row, column, map, Q, L, H, K };
}

// The vision tokens, panel by panel: the tiles of one image lie on it together, its thumbnail apart.
function panelsOf(meta) {
  const panels = new Map();
  meta.image.forEach((image, key) => {
    if (image < 0 || meta.row[key] < 0) return;
    const boxed = meta.box[key][0] >= 0;
    const part = meta.kind[key] === "thumbnail" ? "thumbnail" : boxed ? "image" : `tile ${meta.tile[key]}`;
    const name = `${image} ${part}`;
    if (!panels.has(name)) panels.set(name, { image, part, boxed, keys: [] });
    panels.get(name).keys.push(key);
  });
  return [...panels.values()].map((panel) => ({ ...panel, ...placed(meta, panel) }));
}

// Where a panel's cells lie on its picture, in the picture's own pixels; without one, on a grid.
function placed(meta, panel) {
  const picture = meta.runs[0].pictures[panel.image];
  const rects = panel.keys.map((key) => {
    if (!panel.boxed) return [meta.column[key], meta.row[key], meta.column[key] + 1, meta.row[key] + 1];
    return meta.box[key];
  });
  // Without a picture the grid is as large as it was shown, though tokens of it were left out.
  const [across, down] = [1, 0].map((at) => (panel.boxed ? [] : panel.keys.map((key) => meta.spans?.[key][at] ?? 0)));
  const width = picture && panel.boxed ? picture.width : Math.max(...rects.map((r) => r[2]), ...across);
  const height = picture && panel.boxed ? picture.height : Math.max(...rects.map((r) => r[3]), ...down);
  return { rects, width, height };
}

function largest(values, keys) {
  let most = 0;
  for (const key of keys) most = Math.max(most, Math.abs(values[key]));
  return most;
}

function total(values, keys) {
  let sum = 0;
  for (const key of keys) sum += values[key];
  return sum;
}

function number(value) {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size < 0.0005) return value < 0 ? "−<0.0005" : "<0.0005";
  return value.toFixed(size < 0.01 ? 4 : 3).replace("-", "−");
}
