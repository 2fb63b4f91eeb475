// The clock, its buttons and keys.  The theatre is mount(element, {spec, data}): anywidget's render and a plain page both call it.

const SPEEDS = [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10];
const icon = (d) => `<svg viewBox="0 0 16 16" aria-hidden="true"><path d="${d}"/></svg>`;
const ICONS = {
  play: icon("M4 2.2v11.6a.7.7 0 0 0 1.1.6l8.6-5.8a.7.7 0 0 0 0-1.2L5.1 1.6A.7.7 0 0 0 4 2.2z"),
  pause: icon("M3.5 2h3v12h-3zM9.5 2h3v12h-3z"),
  forward: icon("M3 2.6v10.8a.7.7 0 0 0 1.1.6L11 8.9V14h2V2h-2v5.1L4.1 2A.7.7 0 0 0 3 2.6z"),
  back: icon("M13 2.6v10.8a.7.7 0 0 1-1.1.6L5 8.9V14H3V2h2v5.1L11.9 2a.7.7 0 0 1 1.1.6z"),
  start: icon("M2 2h2v12H2zM8.6 3 4.6 8l4 5V3zM14 3l-4 5 4 5V3z"),
};

class Player {
  constructor(element, state) {
    this.calm = matchMedia("(prefers-reduced-motion: reduce)");
    this.playing = false;
    this.seen = true;
    this.frames = 0;
    this.root = html("div", { class: "mt", role: "group", tabindex: "0", "data-lm-suppress-shortcuts": "true" }, element);
    this.root.theatre = this; // for who looks at the page from outside
    this.load(state);
    this.root.addEventListener("keydown", (event) => this.key(event));
    this.watchers();
  }

  // --- what is shown ----------------------------------------------------------------------

  load({ spec, data }) {
    this.spec = spec;
    this.root.setAttribute("aria-label", tr("{}. Space plays and pauses, arrow keys step.", spec.title));
    this.root.replaceChildren();
    html("h3", { class: "mt-title" }, this.root, spec.title);
    const [from, to] = spec.window;
    if (to - from < spec.whole - 1e-6) html("p", { class: "mt-small" }, this.root, tr("{} to {} of the {} that it took.", from, clockTime(to), clockTime(spec.whole)));
    this.controls();
    this.plays = spec.panels.map((panel, i) => prepare(panel, data[i], spec.window));
    const box = html("div", { class: `mt-panels ${spec.panels.length > 1 ? "two" : "solo"}` }, this.root);
    this.panels = this.plays.map((play) => new Panel(box, play, spec));
    this.most = tallest(this.plays);
    this.stops = merged(this.plays);
    this.notes();
    this.live = html("div", { class: "mt-live", "aria-live": "polite" }, this.root);
    this.at = -1; // the stop under discussion
    this.t = clamp(this.t ?? spec.window[0], ...spec.window);
    this.fit();
    this.go(this.t, false);
  }

  controls() {
    const bar = html("div", { class: "mt-bar" }, this.root);
    const button = (name, label, act) => {
      const made = html("button", { type: "button", title: label, "aria-label": label, class: name }, bar);
      made.innerHTML = ICONS[name];
      made.addEventListener("click", act);
      return made;
    };
    button("start", tr("To the start (Home)"), () => this.go(this.spec.window[0]));
    button("back", tr("Step back (left arrow)"), () => this.step(-1));
    this.button = button("play", tr("Play (space)"), () => this.toggle());
    button("forward", tr("Step to the next event (right arrow)"), () => this.step(1));
    const [from, to] = this.spec.window, track = html("div", { class: "mt-track" }, bar);
    this.strip = svg("svg", { class: "mt-strip", "aria-hidden": "true", preserveAspectRatio: "none", viewBox: "0 0 1000 14" }, track);
    this.scrub = html("input", { type: "range", min: from, max: to, step: "any", "aria-label": tr("Time in the run") }, track);
    this.scrub.addEventListener("input", () => { this.pause(); this.go(Number(this.scrub.value), false); });
    this.scrub.addEventListener("change", () => this.speak());
    this.clock = html("output", { class: "mt-clock", "aria-live": "off" }, bar);
    this.speed = html("select", { "aria-label": tr("Speed: seconds of the run in one of yours"), title: tr("Speed") }, bar);
    for (const speed of SPEEDS) html("option", { value: speed }, this.speed, `× ${speed}`);
    this.speed.value = this.spec.speed;
    keys(html("p", { class: "mt-keys" }, this.root));
  }

  notes() {
    const lower = html("div", { class: "mt-notes" }, this.root);
    this.watchFor(html("div", { class: "mt-watch" }, lower));
    constantsTable(html("details", { class: "mt-constants", open: "" }, lower), this.spec);
    legend(html("div", { class: "mt-legend" }, this.root), this.spec);
    drawStrip(this.strip, this.plays, this.spec.window);
  }

  // "Watch for": a button that goes to a moment, or a line where there is none.
  watchFor(box) {
    html("h4", {}, box, tr("Watch for"));
    const list = html("ul", {}, box), two = this.spec.panels.length > 1;
    const found = this.spec.panels.flatMap((panel, i) => panel.watch.map(([time, text]) => ({ time, text, panel: two ? panel.name : "", i })));
    const key = ({ time, text }) => `${time} ${text}`, unique = [...new Map(found.map((entry) => [key(entry), entry])).values()];
    for (const { time, text, panel } of unique.sort((a, b) => (a.time ?? -1) - (b.time ?? -1))) {
      const item = html("li", {}, list);
      if (time !== null) html("button", { type: "button" }, item, clockTime(time)).addEventListener("click", () => { this.pause(); this.goToEvent(time); });
      html("span", {}, item, panel && time !== null ? `${panel}: ${text}` : text);
    }
    box.hidden = unique.length === 0;
  }

  // --- the clock --------------------------------------------------------------------------

  go(t, speak = true) {
    this.t = clamp(t, ...this.spec.window);
    this.at = upTo(this.stops.times, this.t) - 1;
    this.draw();
    if (speak) this.speak();
  }

  goToEvent(time) {
    this.go(time + 1e-6);
    this.root.focus({ preventScroll: true });
  }

  step(direction) {
    this.pause();
    this.at = clamp(this.at + direction, -1, this.stops.times.length - 1);
    this.t = this.at < 0 ? this.spec.window[0] : this.stops.times[this.at];
    this.draw();
    this.speak();
  }

  toggle() { this.playing ? this.pause() : this.start(); }

  start() {
    if (this.t >= this.spec.window[1]) this.t = this.spec.window[0];
    this.playing = true;
    this.root.classList.add("playing");
    this.face("pause", tr("Pause (space)"));
    this.last = performance.now();
    this.owed = 0;
    this.request ??= requestAnimationFrame((now) => this.tick(now));
  }

  pause() {
    if (!this.playing) return;
    this.playing = false;
    this.root.classList.remove("playing");
    this.face("play", tr("Play (space)"));
    this.go(this.t);
  }

  face(name, label) {
    this.button.innerHTML = ICONS[name];
    this.button.setAttribute("aria-label", label);
    this.button.title = label;
  }

  // A frame; who prefers less motion sees one still picture a second.
  tick(now) {
    this.request = undefined;
    if (!this.playing || !this.root.isConnected) return;
    this.owed += (Math.min(100, now - this.last) / 1000) * Number(this.speed.value);
    this.last = now;
    if (this.seen && (!this.calm.matches || this.owed >= Number(this.speed.value))) {
      this.t = Math.min(this.spec.window[1], this.t + this.owed);
      this.owed = 0;
      this.at = upTo(this.stops.times, this.t) - 1;
      this.draw();
    }
    if (this.t >= this.spec.window[1]) this.pause();
    else this.request = requestAnimationFrame((next) => this.tick(next));
  }

  draw() {
    const [from, to] = this.spec.window, stop = this.at < 0 ? null : this.stops.all[this.at];
    const speed = Number(this.speed.value), told = !this.playing || speed <= 0.02;
    for (const [i, panel] of this.panels.entries()) {
      const event = told ? latest(this.plays[i], stop, i, this.t) : -1;
      panel.draw(this.t, { still: this.calm.matches, flash: 0.45 * speed, event, here: told && stop?.panel === i, look: this.look });
    }
    this.scrub.value = this.t;
    this.scrub.style.setProperty("--done", `${(100 * (this.t - from)) / (to - from || 1)}%`);
    this.scrub.setAttribute("aria-valuetext", tr("{} seconds", this.t.toFixed(2)));
    say(this.clock, clockTime(this.t, to < 1 ? 3 : 2));
    this.frames++;
  }

  // What a screen reader hears at rest: the event, then the state of every panel.
  speak() {
    const stop = this.at < 0 ? null : this.stops.all[this.at];
    const two = this.plays.length > 1, event = stop ? `${two ? `${this.plays[stop.panel].panel.name}: ` : ""}${describe(this.plays[stop.panel], stop.k).text} ` : "";
    const states = this.panels.map((panel, i) => { const words = summary(this.plays[i], panel.now); panel.stage.setAttribute("aria-label", words); return words; });
    say(this.live, `${tr("At {} seconds.", this.t.toFixed(3))} ${event}${states.join(" ")}`);
  }

  // --- keys, sizes, themes ----------------------------------------------------------------

  key(event) {
    const { key, target } = event;
    if (target === this.speed || event.ctrlKey || event.metaKey || event.altKey) return event.stopPropagation();
    const [from, to] = this.spec.window, page = (to - from) / 20;
    const acts = {
      ArrowRight: () => this.step(1), ArrowLeft: () => this.step(-1), Home: () => this.jump(from), End: () => this.jump(to),
      PageDown: () => this.jump(this.t + page), PageUp: () => this.jump(this.t - page), "+": () => this.faster(1), "=": () => this.faster(1), "-": () => this.faster(-1),
    };
    if (target === this.scrub) Object.assign(acts, { ArrowUp: acts.ArrowRight, ArrowDown: acts.ArrowLeft });
    if (target.tagName !== "BUTTON" && target.tagName !== "SUMMARY") acts[" "] = () => this.toggle();
    if (acts[key]) { event.preventDefault(); acts[key](); }
    if (key !== "Tab" && key !== "Escape") event.stopPropagation(); // a notebook's own keys stay out
  }

  jump(t) { this.pause(); this.go(t); }

  faster(direction) {
    this.speed.selectedIndex = clamp(this.speed.selectedIndex + direction, 0, SPEEDS.length - 1);
  }

  watchers() {
    const theme = () => { this.look = readLook(this.root); this.draw(); };
    this.sizes = new ResizeObserver(() => { if (this.fit()) this.draw(); });
    this.sizes.observe(this.root);
    this.sight = new IntersectionObserver((entries) => { this.seen = entries.at(-1).isIntersecting; this.last = performance.now(); });
    this.sight.observe(this.root);
    this.themes = new MutationObserver(theme);
    for (const element of [document.documentElement, document.body]) this.themes.observe(element, { attributes: true });
    this.system = matchMedia("(prefers-color-scheme: dark)");
    this.repaint = theme;
    this.paper = matchMedia("print"); // paper is white
    for (const asked of [this.system, this.paper]) asked.addEventListener("change", theme);
    this.calm.addEventListener("change", theme);
  }

  fit() {
    const width = this.root.clientWidth;
    if (width === this.width && this.panels[0].geo) return false;
    this.width = width;
    this.look = readLook(this.root);
    return this.panels.map((panel) => panel.fit(this.most)).every(Boolean);
  }

  destroy() {
    this.playing = false;
    for (const watcher of [this.sizes, this.sight, this.themes]) watcher.disconnect();
    for (const asked of [this.system, this.paper]) asked.removeEventListener("change", this.repaint);
    this.calm.removeEventListener("change", this.repaint);
    this.root.remove();
  }
}

// The stops of all panels on one clock: {times, all: [{panel, k}]}.
function merged(plays) {
  const all = plays.flatMap((play, panel) => Array.from({ length: play.events.rows }, (_, k) => ({ panel, k, time: play.events.time[k] })));
  all.sort((a, b) => a.time - b.time || a.panel - b.panel || a.k - b.k);
  return { all, times: Float32Array.from(all, (stop) => stop.time) };
}

// A panel's own latest stop, as far as the stop under discussion.
function latest(play, stop, panel, t) {
  if (stop?.panel === panel) return stop.k;
  const before = upTo(play.events.time, t) - 1;
  return before;
}

// Above the slider: failures as ticks, pods that are out as bars, a row a panel.
function drawStrip(root, plays, [from, to]) {
  root.replaceChildren();
  const x = (t) => (1000 * (clamp(t, from, to) - from)) / (to - from || 1), each = 13 / plays.length;
  plays.forEach(({ requests, visits, hosts }, i) => {
    const y = i * each, bins = new Set();
    for (let k = 0; k < hosts.rows; k++) if (hosts.what[k] === EJECTED) svg("rect", { class: "out", x: x(hosts.time[k]), width: Math.max(1, x(hosts.until[k]) - x(hosts.time[k])), y: y + 1, height: each - 2 }, root);
    for (let row = 0; row < requests.rows; row++) if (requests.code[row] < 0 || requests.code[row] >= 400) bins.add(Math.round(x(visits.end[row]) / 2));
    for (const bin of bins) svg("rect", { class: "bad", x: bin * 2 - 1, width: 2, y: y + 1, height: each - 2 }, root);
  });
}

function constantsTable(box, spec) {
  html("summary", {}, box, tr("Every constant that acts"));
  const list = html("div", {}, box), groups = new Map();
  for (const [place, name, value] of spec.constants) groups.set(place, [...(groups.get(place) ?? []), [name, value]]);
  for (const [place, rows] of groups) {
    const group = html("section", { "aria-label": place }, list);
    html("h5", {}, group, place);
    for (const [name, value] of rows) {
      const row = html("p", {}, group);
      html("span", {}, row, name);
      html("b", {}, row, value);
    }
  }
  html("p", { class: "mt-small" }, box, tr("Trips are drawn within the time that they take, {} of it at most: no time is added.", duration(spec.leg)));
}

function legend(box, spec) {
  const key = (kind, text, sign = "") => { const item = html("span", {}, box); html("i", { class: kind, "aria-hidden": "true" }, item, sign); item.append(text); };
  const roles = new Set(spec.panels.flatMap((panel) => panel.stage.roles)), outcomes = spec.panels.flatMap((panel) => panel.outcomes);
  const has = (name) => spec.panels.some((panel) => panel.peaks[name].some((n) => n));
  key("healthy", tr("to or from a healthy pod"));
  if (roles.has("troubled")) key("troubled", tr("to or from the troubled pod"));
  key("plain", tr("no pod chosen yet"));
  if (spec.panels.some((panel) => panel.stage.order.some(Boolean))) key("order", tr("the order of a pod's calls for one request"), "①②");
  if (outcomes.some((word) => word && !/^\d\d\d$/.test(word))) key("proxy", tr("a proxy's own answer"));
  if (outcomes.some((word) => /^[45]\d\d$/.test(word))) key("cross", tr("an error that a pod answered"));
  if (has("back_off")) key("ring", tr("resting before the next try"));
  if (outcomes.some((word) => /timeout|abandoned/.test(word))) key("ghost", tr("at work, though nobody waits for it"));
  if (spec.panels.some((panel) => panel.record)) key("record", tr("the record, scaled to the count at the end"));
}

// Which key does what: the same words as the buttons'.
function keys(box) {
  const told = [[["Space"], tr("plays and pauses")], [["←", "→"], tr("one event")], [["PgUp", "PgDn"], tr("a twentieth")], [["Home", "End"], tr("to the ends")], [["+", "−"], tr("speed")]];
  for (const [names, does] of told) {
    const item = html("span", {}, box);
    for (const name of names) html("kbd", {}, item, name);
    item.append(` ${does}`);
  }
}
