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
  const { stage, peaks, lanes } = play.panel, { stations, before, pods } = stage, narrow = width < 470;
  const podH = podHeight(pods.length, narrow, width > 640, Math.max(...pods.map((p) => peaks.work[p] + peaks.queue[p])));
  const podW = Math.round(clamp(width * 0.38, 138, 230)), left = 8, right = width - podW;
  const bands = bandsOf(stage, podH), { height, middle } = bands[0];
  const nodes = [], depth = depths(before), inner = stations.map((_, s) => s).filter((s) => s && !stage.ends.includes(s));
  nodes[0] = loadNode(lanes, left, middle, height);
  const deepest = Math.max(...inner.map((s) => depth[s])), apart = (right - nodes[0].exit) / (deepest + 0.72);
  const label = (s) => orderly(stage, s, stage.names[stations[s][0]]);
  const wordy = inner.some((s) => depth[s] > 1 && (label(s).length + label(before[s]).length) * 3.1 > apart);
  const headings = inner.flatMap((s) => {
    const cx = nodes[0].exit + ((right - nodes[0].exit) * (depth[s] - 0.08)) / (deepest + 0.72), above = wordy && (depth[s] - 1 + deepest) % 2 === 1;
    return callerNodes(play, s, bands[s], { cx, apart, narrow, above }, nodes);
  });
  const proxies = inner.flatMap((s) => stations[s].map((place) => nodes[place]));
  for (const node of proxies) labelPlace(node, deepest > 1 && wordy ? proxies : [node]);
  headings.push(...stage.ends.flatMap((s) => endNodes(play, s, bands[s], { x: right, w: podW, h: podH }, narrow, nodes)));
  nodes[0].label = loadLabel(nodes[0], lanes, narrow, proxies, TOP + height + 22);
  return { width, height: TOP + height + 26, nodes, headings, narrow, middle, radius: radius(play) };
}

// The proxies of a station's callers.  Where one of several calls leads to them and their names have no room, the Service's name stands above.
function callerNodes(play, station, band, { cx, apart, narrow, above }, nodes) {
  const { stage } = play.panel, column = stage.stations[station], whole = (place) => orderly(stage, station, stage.names[place]);
  const short = stage.order[station] && column.some((place) => whole(place).length * 6 > 2 * (apart - 17));
  column.forEach((place, i) => {
    const cy = band.middle + (i - (column.length - 1) / 2) * (band.height / column.length), tallest = column.length > 1 ? 30 : band.height - 34;
    nodes[place] = proxyNode(play, place, cx, cy, tallest, narrow, apart, short ? stage.short[place] : whole(place), above && !short);
  });
  return short ? [{ x: cx, y: nodes[column[0]].y - 7, anchor: "middle", text: orderly(stage, station, stage.called[station]) }] : [];
}

// How many calls from the load each station is.
function depths(before) {
  const found = [0];
  for (const caller of before.slice(1)) found.push(found[caller] + 1);
  return found;
}

// A name, and which call of its caller's it is where that makes several.
const orderly = (stage, station, name) => `${stage.order[station]} ${name}`.trim();

const TOP = 20, HEAD = 19, HEADING = 34;

// How high the pods of an end are, one below another.
const endHeight = (stage, station, podH) => stage.stations[station].length * (podH + HEAD) - HEAD + 8;

// {height, middle} of each station: who calls beside all that it calls, what is called below one another.
function bandsOf(stage, podH) {
  const { stations, before } = stage, heading = stage.ends.length > 1 ? HEADING : 0, needs = [], bands = [];
  const behind = stations.map((_, s) => stations.map((_, other) => other).filter((other) => before[other] === s));
  const called = (s) => behind[s].reduce((sum, other) => sum + needs[other], 0);
  for (let s = stations.length - 1; s > 0; s--) {
    const own = stations[s].length > 1 ? stations[s].length * 46 : 0;
    needs[s] = behind[s].length ? Math.max(own, called(s)) : endHeight(stage, s, podH) + heading;
  }
  const settle = (s, top, height) => {
    bands[s] = { height, middle: top + height / 2 };
    const spare = (height - called(s)) / behind[s].length;
    let at = top;
    for (const other of behind[s]) { settle(other, at, needs[other] + spare); at += needs[other] + spare; }
  };
  settle(0, TOP, Math.max(needs[1], 150));
  return bands;
}

// The pods of an end, and the heading above them where there are several ends.
function endNodes(play, station, band, box, narrow, nodes) {
  const { stage } = play.panel, several = stage.ends.length > 1;
  let y = band.middle - (endHeight(stage, station, box.h) - (several ? HEADING : 0)) / 2 + 8;
  const heading = several ? [{ x: box.x + 1, y: y - HEAD - 6, anchor: "start", text: orderly(stage, station, stage.called[station]) }] : [];
  for (const place of stage.stations[station]) {
    nodes[place] = podNode(play, place, stage.pods.indexOf(place), { ...box, y }, narrow);
    y += box.h + HEAD;
  }
  return heading;
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

// What the load is, below its places; above them where the name of a proxy beside it would be met.
function loadLabel(load, lanes, narrow, proxies, lowest) {
  const text = load.open ? tr("load") : narrow ? tr("{} conn.", lanes) : lanes > 1 ? tr("{} connections", lanes) : tr("1 connection");
  const [first, last] = [load.points[0].y, load.points.at(-1).y], away = load.radius + (load.open ? 6 : 0);
  const below = Math.min(last + away + 16, lowest), met = proxies.some((node) => meets(node, { to: 1 + 6.6 * text.length, y: below }));
  return { text, x: 1, y: met ? first - away - 7 : below };
}

// Does a text that ends at `to` meet the name of a proxy, or the line for what is said beside it?
function meets(node, { to, y }) {
  const wide = Math.max(...node.label.map((line) => line.length)) * 6.6, lines = 12 * (node.label.length - 1);
  return node.cx - wide / 2 < to + 4 && y > Math.min(node.labelY, node.stateY) - 13 && y < Math.max(node.labelY + lines, node.stateY) + 13;
}

// A proxy is a small square, or a tray for what is held, waits for a connection, or rests before a retry.
function proxyNode(play, place, cx, cy, tallest, narrow, room, name, above) {
  const { peaks } = play.panel;
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
  return { kind: "proxy", cx, cy, x: cx - w / 2, y: cy - h / 2, w, h, trays, total, named, label: labelLines(name, room * 1.9), above };
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

// The place of a visit's way in a station: its pod, its own proxy, or those of the visits that it serves.
function placeIn(play, row, station) {
  const v = play.visits, { before } = play.panel.stage;
  while (v.hop[row] + 2 !== station && before[v.hop[row] + 2] !== station) row = v.parent[row];
  return v.hop[row] + 2 === station ? v.target[row] : v.origin[row];
}

// The stations from one to another, of which one is on the other's way to the load.
function way(before, from, to) {
  const stations = [Math.max(from, to)];
  while (stations.at(-1) !== Math.min(from, to)) stations.push(before[stations.at(-1)]);
  return from < to ? stations.reverse() : stations;
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

// The points that a move passes, station by station.
function stops(play, geo, i, stations) {
  const { station, to, visit, seat } = play.moves, row = visit[i], points = [];
  for (const s of stations) {
    const node = geo.nodes[placeIn(play, row, s)];
    if (s === 0) points.push(lanePoint(play, geo, row));
    else if (!node) points.push(points.at(-1) ?? { x: geo.nodes[0].exit, y: geo.middle });
    else if (node.kind === "pod") points.push(node.queue && station[i] < to[i] ? { x: node.x + 6, y: node.cy } : gridPoint(node.work, seat[i]));
    else points.push({ x: node.cx, y: node.cy });
  }
  return points;
}

// The point at a share u of the way, and which piece of it that is.
function onTheWay(points, u) {
  const pieces = points.length - 1, at = Math.min(pieces - 1e-6, u * pieces), piece = Math.floor(at);
  return { ...along(points[piece], points[piece + 1], at - piece), piece };
}
