// What a stage shows at a time: a list of dots, and who is out, active and waiting.  Pure, so play, step and scrub are one thing.

function frame(play, geo, t, options = {}) {
  const { moves, visits, panel } = play, places = panel.stage.names.length;
  const now = {
    t, dots: [], active: new Int32Array(places), ghosts: new Int32Array(places), waiting: 0, resting: 0,
    held: panel.limits.map(() => new Int32Array(places)), waits: panel.limits.map(() => new Int32Array(places)), // by hop and proxy
    out: outAt(play, t), panic: panicAt(play, t), answers: play.answers(t), picks: play.picks(t),
  };
  now.underWay = upTo(play.begun, t) - now.answers.answered;
  now.tries = upTo(play.tries, t);
  const ranks = new Map();
  const rank = (key) => { const k = ranks.get(key) ?? 0; ranks.set(key, k + 1); return k; };
  underWay(moves, play.index, t, (i) => {
    const row = moves.visit[i], kind = moves.kind[i] & KIND, ghost = (moves.kind[i] & GHOST) > 0;
    countMove(now, play, row, kind, ghost, t);
    if (geo) now.dots.push(dotOf(play, geo, i, t, kind, ghost, rank, options));
  });
  return now;
}

function countMove(now, { visits, ends }, row, kind, ghost, t) {
  const hop = visits.hop[row];
  if (kind === WAIT) { now.waiting++; now.waits[hop][visits.origin[row]]++; }
  if (kind === BACK_OFF) now.resting++;
  if (!ends.has(hop) || visits.target[row] < 0) return;
  if (ghost) now.ghosts[visits.target[row]] += kind === WORK || kind === QUEUE;
  else if (visits.sent[row] <= t && kind !== BACK_OFF && kind !== WAIT) { now.active[visits.target[row]]++; now.held[hop][visits.origin[row]]++; }
}

// {place: [[proxy, until], ...]} of the pods that are ejected.
function outAt({ hosts }, t) {
  const out = new Map();
  for (let k = 0; k < hosts.rows && hosts.time[k] <= t; k++) {
    if (hosts.what[k] === EJECTED && hosts.until[k] > t) out.set(hosts.pod[k], [...(out.get(hosts.pod[k]) ?? []), [hosts.proxy[k], hosts.until[k], hosts.time[k]]]);
  }
  return out;
}

function panicAt({ hosts }, t) {
  const proxies = new Set();
  for (let k = 0; k < hosts.rows && hosts.time[k] <= t; k++) if (hosts.what[k] === PANIC && hosts.until[k] > t) proxies.add(hosts.proxy[k]);
  return proxies;
}

// One dot: where it is, and how it looks.
function dotOf(play, geo, i, t, kind, ghost, rank, options) {
  const { moves, visits, panel } = play, row = moves.visit[i];
  const target = visits.target[row], outcome = panel.outcomes[visits.outcome[row]];
  const dot = { row, ghost, r: geo.radius, role: target >= 0 ? panel.stage.roles[target] : "plain", shape: "dot", number: visits.number[row] };
  if (kind === OUT || kind === BACK) return onTrip(play, geo, i, t, kind, dot, outcome, options);
  const place = placeIn(play, row, moves.station[i]), node = geo.nodes[place];
  if (kind === WORK) return { ...dot, ...gridPoint(node.work, moves.seat[i]), r: Math.min(geo.radius + 0.7, gridRadius(node.work)) };
  if (kind === QUEUE) return { ...dot, ...gridPoint(node.queue ?? node.work, rank(`q${target}`)), r: gridRadius(node.queue ?? node.work), queued: true };
  const name = kind === WAIT ? "wait" : kind === BACK_OFF ? "back_off" : "hold", tray = node.trays?.[name];
  const at = tray ? gridPoint(tray, rank(name + place)) : { x: node.cx, y: node.cy };
  if (kind === BACK_OFF) Object.assign(dot, { role: "plain", left: (moves.stop[i] - t) / (moves.stop[i] - moves.start[i]) });
  return { ...dot, ...at, r: tray ? Math.min(geo.radius + 0.5, tray.step * 0.38) : geo.radius };
}

function onTrip(play, geo, i, t, kind, dot, outcome, options) {
  const { moves, visits, panel } = play, row = dot.row, stations = way(panel.stage.before, moves.station[i], moves.to[i]);
  const points = stops(play, geo, i, stations);
  const share = clamp((t - moves.start[i]) / (moves.stop[i] - moves.start[i]), 0, 1);
  const u = options.still ? (kind === OUT ? 1 : 0) : ease(share);
  const at = onTheWay(points, u), spread = spreadOf(visits.request[row], geo) * Math.sin(Math.PI * u);
  if (kind === OUT && stations[at.piece] < panel.stage.before[visits.hop[row] + 2]) dot.role = "plain"; // nobody has chosen yet
  if (kind === BACK) Object.assign(dot, answerLook(outcome));
  const trail = options.still ? [] : [0.035, 0.07, 0.105].map((back) => onTheWay(points, Math.max(0, u - back / Math.max(1, points.length - 1))));
  return { ...dot, x: at.x, y: at.y + spread, trail: trail.map((p) => ({ x: p.x, y: p.y + spread })) };
}

const spreadOf = (request, geo) => (((request * 0.618034) % 1) - 0.5) * (geo.narrow ? 9 : 13);

// A pod's error keeps its colour and has a cross; what a proxy answers by itself is a diamond.
function answerLook(outcome) {
  if (/^[123]\d\d$/.test(outcome) || outcome === "") return {};
  if (/^\d\d\d$/.test(outcome)) return { mark: "cross" };
  return { role: "proxy", shape: "diamond" };
}

// Failures of the last moments, to be drawn as a ring that grows and fades: even what took no time is seen.
function flashes(play, geo, t, seconds) {
  const { events, visits, panel } = play, found = [];
  for (let k = upTo(events.time, t) - 1; k >= 0 && events.time[k] > t - seconds && found.length < 40; k--) {
    if (events.kind[k] !== ENDED) continue;
    const row = events.row[k], outcome = panel.outcomes[visits.outcome[row]], look = answerLook(outcome);
    if (!look.mark && !look.shape) continue;
    const atPod = visits.target[row] >= 0 && ["refused", "reset"].includes(outcome) || look.mark;
    const node = geo.nodes[atPod ? visits.target[row] : visits.origin[row]];
    if (node) found.push({ x: node.kind === "pod" ? node.x + 4 : node.cx, y: node.cy, age: (t - events.time[k]) / seconds, role: look.shape ? "proxy" : panel.stage.roles[visits.target[row]] });
  }
  return found;
}
