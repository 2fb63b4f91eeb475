// fortio's histogram as it grows, beside the record: one column a bucket, all equally wide, heights are counts.

const BAR_H = 92, HEAD_H = 14, AXIS_H = 30, GAP = 12;

// {left, right} of every column; buckets that nobody fills are left out with a gap.
function columnsOf(buckets, width) {
  const n = buckets.starts.length, gaps = buckets.gaps.length, room = width - gaps * GAP - 2;
  const w = Math.min(110, room / Math.max(1, n));
  let x = 1;
  return buckets.starts.map((_, i) => {
    if (buckets.gaps.includes(i)) x += GAP;
    x += w;
    return { left: x - w, right: x };
  });
}

// The edges that are labelled, in seconds: as many as fit, those around a gap first.
function edgeLabels(buckets, columns) {
  const wanted = [];
  columns.forEach((column, i) => {
    const first = i === 0 || buckets.gaps.includes(i), last = i === columns.length - 1 || buckets.gaps.includes(i + 1);
    wanted.push({ x: column.left, value: buckets.starts[i], anchor: first && i ? "start" : i ? "middle" : "start", rank: first ? 0 : 2 });
    if (last && buckets.ends[i] !== null) wanted.push({ x: column.right, value: buckets.ends[i], anchor: i === columns.length - 1 ? "middle" : "end", rank: 1 });
  });
  const taken = [];
  for (const label of wanted.sort((a, b) => a.rank - b.rank || a.x - b.x)) {
    const text = String(Number(label.value.toPrecision(4))), w = text.length * 6.2 + 5;
    const from = label.anchor === "start" ? label.x : label.anchor === "end" ? label.x - w : label.x - w / 2;
    if (taken.every((other) => from > other.to || from + w < other.from)) taken.push({ text, x: label.x, anchor: label.anchor, from, to: from + w });
  }
  return taken;
}

// The greatest count that any column of any panel, or its record, will reach.
function tallest(plays) {
  let most = 1;
  for (const play of plays) {
    const counts = play.answers(Infinity).columns;
    for (const roles of counts.values()) most = Math.max(most, roles.reduce((sum, n) => sum + n, 0));
    for (const share of play.panel.record?.shares ?? []) most = Math.max(most, share * play.total);
  }
  return most;
}

function buildHistogram(root, play, buckets, width, most) {
  root.replaceChildren();
  const floor = HEAD_H + BAR_H, height = floor + AXIS_H, columns = columnsOf(buckets, width), scale = BAR_H / most;
  root.setAttribute("viewBox", `0 0 ${width} ${height}`);
  root.style.height = `${height}px`;
  const parts = { scale, floor, top: [], roomy: columns[0].right - columns[0].left > 34 };
  parts.bars = columns.map(({ left, right }) => ["healthy", "troubled", "proxy", "nobody"].map((role) =>
    svg("rect", { class: `bar ${role}`, x: left + 1.5, width: Math.max(1, right - left - 3), y: floor, height: 0 }, root)));
  parts.recorded = columns.map((column, i) => drawRecord(root, play, column, play.panel.record?.shares[i], parts));
  parts.shares = columns.map(({ left, right }) => svg("text", { class: "tiny", x: (left + right) / 2, "text-anchor": "middle" }, root));
  for (const { left, right } of columns) svg("path", { class: "axis", d: `M${left},${floor + 0.5}H${right}` }, root);
  for (const i of buckets.gaps) svg("path", { class: "break", d: `M${columns[i].left - GAP + 3},${floor + 4}l3,-7m1,7l3,-7` }, root);
  for (const label of edgeLabels(buckets, columns)) svg("text", { x: label.x, y: floor + 14, "text-anchor": label.anchor }, root, label.text);
  svg("text", { class: "tiny", x: 0, y: floor + 28 }, root, width > 300 ? tr("latency in seconds; requests in each of fortio's buckets") : tr("requests by latency (s)"));
  return parts;
}

// The record's outline with its share above.
function drawRecord(root, play, { left, right }, share, { scale, floor, roomy }) {
  if (!share) return { height: 0 };
  const h = share * play.total * scale;
  svg("path", { class: "record", d: `M${left + 0.5},${floor}V${(floor - h).toFixed(1)}H${right - 0.5}V${floor}` }, root);
  const text = right - left > 78 ? tr("{} recorded", percent(share)) : percent(share);
  return { height: h, label: svg("text", { class: "tiny", x: (left + right) / 2, "text-anchor": "middle" }, root, roomy ? text : "") };
}

const percent = (share) => tr("{} %", (100 * share).toFixed(share < 0.0995 ? 1 : 0));

function updateHistogram(parts, counts) {
  parts.bars.forEach((bars, column) => {
    const roles = counts.columns.get(column) ?? [0, 0, 0, 0];
    parts.top[column] = ROLES[roles.indexOf(Math.max(...roles))];
    let y = parts.floor;
    roles.forEach((n, role) => {
      const h = n * parts.scale;
      y -= h;
      bars[role].setAttribute("y", y.toFixed(2));
      bars[role].setAttribute("height", h.toFixed(2));
    });
    labelBar(parts, column, parts.floor - y, roles.reduce((sum, n) => sum + n, 0), counts.answered);
  });
}

// The share so far: above a low bar or inside a high one, off the record's line; the record's own share above both.
function labelBar(parts, column, height, count, answered) {
  const text = parts.shares[column], { height: recorded, label } = parts.recorded[column];
  label?.setAttribute("y", (parts.floor - Math.max(height, recorded) - 4).toFixed(1));
  const inside = height >= 20 && recorded > 0;
  let y = height + (inside ? -13 : 4);
  if (recorded && y < recorded + 4 && y + 9 > recorded) y = recorded - 14;
  text.setAttribute("class", inside ? `tiny inside ${parts.top[column]}` : "tiny");
  text.setAttribute("y", (parts.floor - y).toFixed(1));
  say(text, parts.roomy && count && (!recorded || inside || recorded > height + 14) ? percent(count / answered) : "");
}

// The percentiles so far, as fortio would print them now.
function percentilesNow(play, buckets, wanted, counts) {
  const columns = buckets.starts.map((_, i) => (counts.columns.get(i) ?? []).reduce((sum, n) => sum + n, 0));
  return wanted.map((p) => percentile(p, columns, buckets.starts, buckets.ends, counts.least, counts.most));
}
