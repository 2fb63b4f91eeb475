// The stage of one panel: wires, boxes and labels in SVG, dots on a canvas above.

const SVG = "http://www.w3.org/2000/svg";

function svg(tag, attributes = {}, parent = null, text = null) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== null) element.textContent = text;
  parent?.append(element);
  return element;
}

const TAKES_KEYS = new Set(["button", "input", "select", "summary"]);

function html(tag, attributes = {}, parent = null, text = null) {
  const element = document.createElement(tag);
  if (TAKES_KEYS.has(tag)) element.setAttribute("data-lm-suppress-shortcuts", "true"); // JupyterLab asks the focused element itself
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== null) element.textContent = text;
  parent?.append(element);
  return element;
}

// Sets a text only when it changes: a browser lays out anew otherwise.
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function buildStage(root, play, geo) {
  root.replaceChildren();
  root.setAttribute("viewBox", `0 0 ${geo.width} ${geo.height}`);
  root.style.height = `${geo.height}px`;
  const wires = svg("g", { class: "wires" }, root);
  const { stations, before } = play.panel.stage, parts = { wires: new Map(), pods: new Map(), proxies: new Map() };
  const load = geo.nodes[0];
  buildLoad(root, load);
  for (const { x, y, anchor, text } of geo.headings) svg("text", { class: "called", x, y, "text-anchor": anchor }, root, text);
  for (let s = 1; s < stations.length; s++) {
    for (const place of stations[s]) {
      const node = geo.nodes[place];
      if (s === 1) for (const point of load.points) svg("path", { class: "wire", d: wire({ x: point.x + load.radius, y: point.y }, { x: node.cx, y: node.cy }) }, wires);
      else for (const from of stations[before[s]]) {
        const path = svg("path", { class: `wire to-${node.role ?? "middle"}`, d: wire({ x: geo.nodes[from].cx, y: geo.nodes[from].cy }, { x: node.kind === "pod" ? node.x : node.cx, y: node.cy }) }, wires);
        if (node.kind === "pod") parts.wires.set(`${from} ${place}`, path);
      }
      if (node.kind === "pod") parts.pods.set(place, buildPod(root, node, fullName(play, place)));
      else parts.proxies.set(place, buildProxy(root, node, play.panel, s));
    }
  }
  return parts;
}

function buildLoad(root, load) {
  if (load.open) svg("circle", { class: "source", cx: load.cx, cy: load.cy, r: 9 }, root);
  else for (const point of load.points) svg("circle", { class: "slot", cx: point.x, cy: point.y, r: load.radius }, root);
  svg("text", { x: load.label.x, y: load.label.y }, root, load.label.text);
}

function buildProxy(root, node, { stage, limits }, station) {
  const group = svg("g", { class: "proxy" }, root);
  svg("rect", { class: "box", x: node.x, y: node.y, width: node.w, height: node.h, rx: 8 }, group);
  if (!node.named) svg("path", { class: "sign", d: `M${node.cx - 5},${node.cy}h10m-4,-4l4,4l-4,4` }, group);
  const names = { wait: tr("waiting"), back_off: tr("back-off"), hold: "" };
  for (const [name, tray] of Object.entries(node.trays)) svg("text", { class: "tiny", x: node.cx, y: tray.bottom + 8, "text-anchor": "middle" }, group, names[name]);
  node.label.forEach((line, i) => svg("text", { x: node.cx, y: node.labelY + 12 * i, "text-anchor": "middle" }, group, line));
  const state = svg("text", { class: "state", x: node.cx, y: node.stateY, "text-anchor": "middle" }, group);
  const limited = limits.map((mine, hop) => ({ ...mine, hop, order: stage.order[hop + 2] })).filter(({ hop }) => stage.before[hop + 2] === station && stage.ends.includes(hop + 2));
  return { group, state, limited };
}

function fullName({ panel }, place) {
  const zone = panel.zones[panel.stage.pods.indexOf(place)];
  return panel.stage.names[place] + (zone ? `, ${zone}` : "");
}

function buildPod(root, node, name) {
  const group = svg("g", { class: `pod ${node.role}` }, root);
  const title = svg("text", { class: "name", x: node.x + 1, y: node.y - 6 }, group, node.label);
  svg("title", {}, title, name);
  const count = svg("text", { class: "count", x: node.x + node.w - 1, y: node.y - 6, "text-anchor": "end" }, group);
  svg("rect", { class: "box", x: node.x, y: node.y, width: node.w, height: node.h, rx: 8 }, group);
  svg("path", { class: "edge", d: `M${node.x + 2.5},${node.y + 8}V${node.y + node.h - 8}` }, group);
  if (node.places) {
    for (let k = 0; k < Math.min(node.places, node.work.room); k++) {
      const at = gridPoint(node.work, k);
      svg("circle", { class: "slot", cx: at.x, cy: at.y, r: gridRadius(node.work) }, group);
    }
  }
  const small = node.h > 34, line = node.y + node.h - 6;
  const left = svg("text", { class: "tiny takes", x: node.x + 11, y: line }, group, small ? node.takes : "");
  const right = svg("text", { class: "tiny share", x: node.x + node.w - 8, y: line, "text-anchor": "end" }, group);
  const clock = svg("rect", { class: "clock", x: node.x + 8, y: node.y + node.h - 4, width: node.w - 16, height: 3, rx: 1.5, visibility: "hidden" }, group);
  return { group, count, left, right, clock, node, small };
}

// What changes with time on the boxes and wires.  `draws` are those of the event under discussion.
function updateStage(parts, play, now, draws) {
  const { ends, stations } = play.panel.stage, total = []; // of the picks among each pod's like
  for (const s of ends) for (const place of stations[s]) total[place] = stations[s].reduce((sum, other) => sum + now.picks[other], 0);
  for (const [place, pod] of parts.pods) updatePod(pod, play, now, place, total[place], draws);
  for (const [place, proxy] of parts.proxies) updateProxy(proxy, now, place);
  for (const [key, path] of parts.wires) {
    const place = Number(key.split(" ")[1]), share = total[place] ? now.picks[place] / total[place] : 0;
    path.style.strokeWidth = (1 + 9 * share).toFixed(1);
    path.classList.toggle("out", now.out.has(place));
    path.classList.toggle("drawn", Boolean(draws?.some((draw) => draw.place === place)));
  }
}

function updatePod(pod, play, now, place, total, draws) {
  const out = now.out.get(place), mine = (draws ?? []).filter((draw) => draw.place === place);
  pod.group.classList.toggle("ejected", Boolean(out));
  pod.group.classList.toggle("drawn", mine.length > 0);
  pod.group.classList.toggle("taken", mine.some((draw) => draw.taken));
  say(pod.count, now.active[place] > 99 && pod.node.w < 160 ? String(now.active[place]) : tr("{} active", now.active[place]));
  pod.clock.setAttribute("visibility", out ? "visible" : "hidden");
  if (out) {
    const [, until, since] = out[0], rest = until - now.t;
    say(pod.left, pod.small || !mine.length ? (until < EVER ? tr("out, back in {}", clockTime(rest, 1)) : tr("out till the end")) : "");
    pod.clock.setAttribute("width", ((pod.node.w - 16) * (until < EVER ? clamp(rest / (until - since), 0, 1) : 1)).toFixed(1));
  } else say(pod.left, !pod.small ? "" : pod.node.takes);
  const percents = tr("{} %", Math.round((100 * now.picks[place]) / total)), share = !total ? "" : pod.node.w > 180 ? tr("{} of picks", percents) : percents;
  if (!pod.small) return say(pod.right, mine.length ? drawText(mine, draws) : "");
  const left = now.ghosts[place] ? tr("{} left behind", now.ghosts[place]) : "";
  if (mine.length || (left && !out && pod.node.w < 180)) say(pod.left, ""); // there is no room for both
  const room = (pod.node.takes.length + share.length) * 5.8 + 22 < pod.node.w; // beside what the pod takes
  say(pod.right, mine.length ? drawText(mine, draws) : left || (out || !room ? "" : share));
}

function drawText(mine, draws) {
  if (mine.length === 2) return `${tr("drawn twice: {}", mine[0].active)} ✓`;
  return (mine[0] === draws[0] ? tr("1st draw: {}", mine[0].active) : tr("2nd draw: {}", mine[0].active)) + (mine[0].taken ? " ✓" : "");
}

function updateProxy({ group, state, limited }, now, place) {
  const said = now.panic.has(place) ? [tr("panic")] : [];
  for (const { hop, order, connections, requests, pending } of limited) {
    const held = now.held[hop][place], mine = [];
    if (connections) mine.push(tr("{} busy", `${held}/${connections}`));
    if (requests) mine.push(tr("{} sent", `${held}/${requests}`));
    if (pending) mine.push(tr("{} wait", `${now.waits[hop][place]}/${pending}`));
    if (mine.length) said.push(`${order} ${mine.join(", ")}`.trim());
  }
  group.classList.toggle("panic", now.panic.has(place));
  say(state, said.join(", "));
}
