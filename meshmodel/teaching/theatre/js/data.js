// The tables of a trace, and what is under way at a time.  Everything here is a pure function of its arguments.

const TYPES = { f4: Float32Array, i4: Int32Array, i2: Int16Array, u2: Uint16Array, u1: Uint8Array };
const OUT = 0, WORK = 1, BACK = 2, WAIT = 3, BACK_OFF = 4, QUEUE = 5, HOLD = 6, GHOST = 8, KIND = 7; // as in moves.py
const ENDED = 0, HOST = 1, ANSWERED = 2, SENT = 3, PICKED = 4, GRANTED = 5; // as in events.py
const EJECTED = 0, READMITTED = 1, PANIC = 2, EVER = 1e9; // as in events.py
const ROLES = ["healthy", "troubled", "proxy", "nobody"]; // who answered, as in spec.py

// The columns of packing.py: {table: {column: typed array}}.
function unpack(data, layout) {
  const bytes = new Uint8Array(data.buffer ?? data, data.byteOffset ?? 0, data.byteLength).slice();
  const tables = {};
  for (const [table, { rows, columns }] of Object.entries(layout)) {
    tables[table] = { rows };
    for (const [name, [kind, at]] of Object.entries(columns)) tables[table][name] = new TYPES[kind](bytes.buffer, at, rows);
  }
  return tables;
}

// How many of the ascending values are at most t.
function upTo(ascending, t) {
  let low = 0, high = ascending.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ascending[middle] <= t) low = middle + 1;
    else high = middle;
  }
  return low;
}

// For each slice of time the first move that is not over by then: where a search for what is under way begins.
function horizon(start, stop, from, to, slices = 512) {
  const width = (to - from) / slices || 1;
  const slice = (t) => clamp(Math.floor((t - from) / width), 0, slices - 1);
  const first = new Int32Array(slices).fill(start.length);
  for (let i = start.length - 1; i >= 0; i--) {
    if (stop[i] <= from) continue;
    for (let k = slice(start[i]); k <= slice(stop[i]); k++) first[k] = i;
  }
  return { first, slice };
}

// Calls each(i) for every move under way at t, in order of their start.
function underWay(moves, index, t, each) {
  for (let i = index.first[index.slice(t)]; i < moves.rows && moves.start[i] <= t; i++) if (moves.stop[i] > t) each(i);
}

// The row numbers sorted by a column, and that column sorted.
function sorted(rows, column) {
  const order = Int32Array.from(rows).sort((a, b) => column[a] - column[b]);
  return { order, values: Float32Array.from(order, (row) => column[row]) };
}

// Counts that grow with the clock and begin anew when it goes back: add(counts, row) for each row up to t.
function growing(order, make, add) {
  let counts = make(), done = 0;
  return (t) => {
    const now = upTo(order.values, t);
    if (now < done) { counts = make(); done = 0; }
    while (done < now) add(counts, order.order[done++]);
    return counts;
  };
}

// One panel's tables with the indices that the drawing needs.
function prepare(panel, data, window) {
  const tables = unpack(data, panel.layout), { visits, requests, moves, hosts, events } = tables;
  const ends = new Set(panel.stage.ends.map((station) => station - 2)); // the hops that end at pods
  const all = [...Array(visits.rows).keys()];
  const ended = all.slice(0, requests.rows).filter((row) => panel.outcomes[visits.outcome[row]] !== "");
  const tries = all.slice(requests.rows).filter((row) => ends.has(visits.hop[row]));
  const places = panel.stage.names.length;
  return {
    panel, ...tables, ends,
    index: horizon(moves.start, moves.stop, window[0], window[1]),
    ...neighbours(visits, requests.rows),
    begun: sorted(all.slice(0, requests.rows), visits.began).values,
    tries: sorted(tries.filter((row) => visits.sent[row] >= 0), visits.sent).values,
    answers: growing(sorted(ended, visits.end), newAnswers, (counts, row) => addAnswer(counts, row, visits, requests)),
    picks: growing(sorted(tries.filter((row) => visits.target[row] >= 0), visits.began), () => new Float64Array(places),
      (counts, row) => { counts[visits.target[row]]++; }),
    total: ended.length,
  };
}

// For each try the next and the previous one of its call, -1 where there is none.
function neighbours(visits, first) {
  const next = new Int32Array(visits.rows).fill(-1), previous = next.slice(), latest = new Map();
  for (let row = first; row < visits.rows; row++) {
    const key = visits.hop[row] + " " + visits.call[row], before = latest.get(key);
    if (before !== undefined) { next[before] = row; previous[row] = before; }
    latest.set(key, row);
  }
  return { next, previous };
}

const newAnswers = () => ({ answered: 0, failed: 0, least: Infinity, most: 0, byRole: [0, 0, 0, 0], columns: new Map() });

function addAnswer(counts, row, visits, requests) {
  const latency = visits.end[row] - visits.began[row], code = requests.code[row], role = requests.answered[row];
  counts.answered++;
  counts.failed += code < 0 || code >= 400;
  counts.byRole[role]++;
  counts.least = Math.min(counts.least, latency);
  counts.most = Math.max(counts.most, latency);
  const column = requests.column[row];
  if (!counts.columns.has(column)) counts.columns.set(column, [0, 0, 0, 0]);
  counts.columns.get(column)[role]++;
}

// fortio's percentile: linear within a bucket, from the minimum to the maximum (results/fortio.py has the equation).
function percentile(p, counts, starts, ends, least, most) {
  const total = counts.reduce((sum, n) => sum + n, 0);
  if (!total) return NaN;
  const one = 100 / total;
  if (p <= one) return least;
  if (p >= 100) return most;
  const filled = counts.map((n, i) => (n ? i : -1)).filter((i) => i >= 0);
  let before = one, sum = 0;
  for (const i of filled) {
    sum += counts[i];
    const percent = (100 * sum) / total;
    if (percent >= p) {
      const from = i === filled[0] ? least : starts[i], to = i === filled.at(-1) ? most : ends[i];
      return from + ((p - before) / (percent - before)) * (to - from);
    }
    before = Math.max(percent, one);
  }
  return most;
}

const clamp = (x, low, high) => Math.min(high, Math.max(low, x));
const ease = (u) => u * u * (3 - 2 * u);

// 0.0254 -> "25 ms", 1.5 -> "1.50 s".
function duration(seconds) {
  const ms = 1000 * seconds;
  return seconds >= 1 ? tr("{} s", seconds.toFixed(2)) : `${ms >= 100 ? Math.round(ms) : Number(ms.toPrecision(2))} ms`;
}
const clockTime = (seconds, digits = 2) => tr("{} s", seconds.toFixed(digits));
const figure = (seconds) => (Number.isFinite(seconds) ? seconds.toFixed(3) : "–");
