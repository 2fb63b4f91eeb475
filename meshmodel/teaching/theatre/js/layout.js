// Where everything stands on a stage of a given width.

const STEPS = [17, 15, 13, 11.5, 10, 9, 8, 7, 6, 5, 4.2, 3.5, 2.8, 2.2]; // distances between dots, widest first

// A grid of places for `need` dots in an area: the widest steps with which they fit.
function grid(area, need, widest = 17) {
  const fits = (step) => Math.floor(area.w / step) * Math.floor(area.h / step) >= need;
  const step = STEPS.find((s) => s <= widest && fits(s)) ?? STEPS.at(-1);
  const across = Math.max(1, Math.floor(area.w / step)), down = Math.max(1, Math.floor(area.h / step));
  return { ...area, step, across, room: across * down };
}

function gridPoint(g, k) {
  const place = Math.min(k, g.room - 1); // what does not fit stands on the last place
  return { x: g.x + ((place % g.across) + 0.5) * g.step, y: g.y + (Math.floor(place / g.across) + 0.5) * g.step };
}

const gridRadius = (g) => Math.min(6.2, g.step * 0.41);

function layout(play, width) {
  const { stage, peaks, lanes } = play.panel, pods = stage.columns.at(-1), narrow = width < 470;
  const top = 20, head = 19, podH = podHeight(pods.length, narrow, width > 640, Math.max(...pods.map((p) => peaks.work[p] + peaks.queue[p])));
  const podW = Math.round(clamp(width * 0.38, 138, 230)), left = 8, right = width - podW;
  const inner = pods.length * (podH + head) - head + 8;
  const proxies = stage.columns.slice(1, -1), most = Math.max(...proxies.map((column) => column.length));
  const height = Math.max(inner, most > 1 ? most * 46 : 0, 150), middle = top + height / 2;
  const nodes = [];
  nodes[0] = loadNode(lanes, left, middle, height);
  const apart = (right - nodes[0].exit) / (proxies.length + 0.72), wordy = proxies.some(([p], c) => c && (stage.names[p].length + stage.names[proxies[c - 1][0]].length) * 3.1 > apart);
  proxies.forEach((column, c) => {
    const cx = nodes[0].exit + ((right - nodes[0].exit) * (c + 0.92)) / (proxies.length + 0.72);
    column.forEach((place, i) => {
      const cy = middle + (i - (column.length - 1) / 2) * (height / column.length);
      nodes[place] = proxyNode(play, place, cx, cy, column.length > 1 ? 30 : height - 34, narrow, apart, wordy && (c + proxies.length) % 2 === 1);
    });
  });
  proxies.flat().forEach((place) => labelPlace(nodes[place], proxies.length > 1 && wordy ? proxies.flat().map((p) => nodes[p]) : [nodes[place]]));
  pods.forEach((place, i) => {
    const y = middle - inner / 2 + i * (podH + head) + 8;
    nodes[place] = podNode(play, place, i, { x: right, y, w: podW, h: podH }, narrow);
  });
  return { width, height: top + height + 26, nodes, narrow, middle, radius: radius(play) };
}

function podHeight(pods, narrow, wide, peak) {
  const roomy = narrow ? 50 : wide ? 70 : 58;
  if (pods <= 4) return peak > 80 ? roomy + 34 : peak > 24 ? roomy + 16 : roomy;
  return pods <= 8 ? 40 : 30;
}

// Travelling dots are as large as the number that may be under way allows.
function radius(play) {
  const { work, queue, wait, back_off } = play.panel.peaks;
  const most = [work, queue, wait, back_off].flat().reduce((sum, n) => sum + n, 0);
  return most <= 30 ? 5.5 : most <= 80 ? 5 : most <= 200 ? 4 : most <= 600 ? 3 : 2.2;
}

function loadNode(lanes, left, middle, height) {
  const shown = Math.min(lanes || 1, 24), apart = Math.min(17, (height - 10) / shown);
  const points = Array.from({ length: shown }, (_, i) => ({ x: left + 6, y: middle + (i - (shown - 1) / 2) * apart }));
  return { kind: "load", points, radius: Math.min(5.5, apart * 0.4), open: !lanes, exit: left + 14, cx: left + 6, cy: middle };
}

// A proxy is a small square, or a tray for what is held, waits for a connection, or rests before a retry.
function proxyNode(play, place, cx, cy, tallest, narrow, room, above) {
  const { peaks, stage } = play.panel;
  const needs = [["hold", peaks.hold[place]], ["wait", peaks.wait[place]], ["back_off", peaks.back_off[place]]].filter(([, n]) => n);
  const fullest = Math.max(...needs.map(([, n]) => n), 0), named = needs.some(([name]) => name !== "hold");
  const w = needs.length ? Math.min(narrow ? 50 : 78, room * 0.72, Math.max(named ? 56 : 30, 12 + 14 * fullest)) : 26;
  const total = needs.reduce((sum, [, n]) => sum + n, 0);
  const step = STEPS.find((s) => s <= 14 && needs.reduce((rows, [, n]) => rows + Math.ceil(n / Math.max(1, Math.floor((w - 10) / s))), 0) * s <= tallest - 14 * needs.length) ?? 3.5;
  const across = Math.max(1, Math.floor((w - 10) / step));
  let h = needs.length ? 6 : 26;
  const trays = {};
  for (const [name, n] of needs) {
    const rows = Math.min(Math.ceil(n / across), Math.max(1, Math.floor((tallest - 14 * needs.length) / step)));
    trays[name] = { dy: h, rows };
    h += rows * step + 12;
  }
  h = Math.max(h, 26);
  for (const tray of Object.values(trays)) {
    Object.assign(tray, { x: cx - (across * step) / 2, y: cy - h / 2 + tray.dy, step, across, room: across * tray.rows, bottom: cy - h / 2 + tray.dy + tray.rows * step });
  }
  return { kind: "proxy", cx, cy, x: cx - w / 2, y: cy - h / 2, w, h, trays, total, label: labelLines(stage.names[place], room * 1.9), above };
}

// Where a proxy's name and state are written: clear of the boxes beside it, where names are long.
function labelPlace(node, neighbours) {
  const same = neighbours.filter((other) => Math.abs(other.cy - node.cy) < 1);
  const lines = 12 * (node.label.length - 1);
  if (node.above) {
    node.stateY = Math.min(...same.map((other) => other.y)) - 7;
    node.labelY = node.stateY - (node.total ? 13 : 0) - lines;
  } else {
    node.labelY = Math.max(...same.map((other) => other.y + other.h)) + 14;
    node.stateY = node.labelY + lines + 13;
  }
}

// A name in at most two lines, broken at a dash.
function labelLines(name, room) {
  const fits = (text) => text.length * 6 <= room;
  if (fits(name)) return [name];
  const at = name.lastIndexOf("-", Math.ceil(name.length * 0.7));
  return at > 0 ? [name.slice(0, at + 1), name.slice(at + 1)] : [name];
}

function podNode(play, place, i, box, narrow) {
  const { stage, peaks, places, takes, zones } = play.panel;
  const inside = { x: box.x + 10, y: box.y + 5, w: box.w - 16, h: box.h - 5 - (box.h > 34 ? 18 : 4) };
  const need = Math.max(1, peaks.work[place]), queued = peaks.queue[place];
  const node = { kind: "pod", ...box, cx: box.x, cy: box.y + box.h / 2, role: stage.roles[place], takes: smallPrint(takes[i], zones[i], box.w), places: places[i] };
  const full = stage.names[place], fits = full.length * 6.4 + 62 < box.w;
  node.label = fits ? full : stage.short[place];
  if (!queued) return { ...node, work: grid(inside, need), queue: null };
  const slots = grid({ ...inside, h: inside.h / 2 }, need), used = Math.ceil(need / slots.across) * slots.step;
  return { ...node, work: slots, queue: grid({ ...inside, y: inside.y + used + 3, h: inside.h - used - 3 }, queued, slots.step * 0.8) };
}

// What a pod takes, and its zone where there is room beside its share.
function smallPrint(takes, zone, width) {
  const both = zone ? `${takes}, ${zone}` : takes;
  return both.length * 5.8 + (width > 180 ? 90 : 50) < width ? both : takes;
}

// The place of a visit's way in a column: its own proxy, its pod, or those of the visits that it serves.
function placeIn(play, row, column) {
  const v = play.visits;
  while (v.hop[row] + 1 > column) row = v.parent[row];
  return v.hop[row] + 1 === column ? v.origin[row] : v.target[row];
}

// Where a request leaves the load: its connection's place, or anywhere in an open loop's source.
function lanePoint(play, geo, row) {
  const request = play.visits.request[row], connection = play.requests.connection[request], { points } = geo.nodes[0];
  return points[connection < 0 ? 0 : connection % points.length];
}

// A cubic with level ends, evaluated.
function along(a, b, u) {
  const m = (a.x + b.x) / 2, v = 1 - u;
  const c0 = v * v * v, c1 = 3 * v * v * u, c2 = 3 * v * u * u, c3 = u * u * u;
  return { x: c0 * a.x + (c1 + c2) * m + c3 * b.x, y: (c0 + c1) * a.y + (c2 + c3) * b.y };
}
const wire = (a, b) => `M${a.x},${a.y}C${(a.x + b.x) / 2},${a.y} ${(a.x + b.x) / 2},${b.y} ${b.x},${b.y}`;

// The points that a move passes, from its first column to its last.
function stops(play, geo, i) {
  const { column, to, visit, seat } = play.moves, row = visit[i], step = column[i] < to[i] ? 1 : -1, points = [];
  for (let c = column[i]; ; c += step) {
    const place = placeIn(play, row, c), node = geo.nodes[place];
    if (c === 0) points.push(lanePoint(play, geo, row));
    else if (!node) points.push(points.at(-1) ?? { x: geo.nodes[0].exit, y: geo.middle });
    else if (node.kind === "pod") points.push(node.queue && step > 0 ? { x: node.x + 6, y: node.cy } : gridPoint(node.work, seat[i]));
    else points.push({ x: node.cx, y: node.cy });
    if (c === to[i]) return points;
  }
}

// The point at a share u of the way, and which piece of it that is.
function onTheWay(points, u) {
  const pieces = points.length - 1, at = Math.min(pieces - 1e-6, u * pieces), piece = Math.floor(at);
  return { ...along(points[piece], points[piece + 1], at - piece), piece };
}
