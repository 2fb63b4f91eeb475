// One trace on the screen: its heading, its stage, what happens in words, its histogram.

class Panel {
  constructor(parent, play, spec) {
    this.play = play;
    this.spec = spec;
    const { panel } = play;
    this.root = html("section", { class: "mt-panel", "aria-label": `${panel.name}, ${panel.says}` }, parent);
    this.heading();
    const stage = html("div", { class: "mt-stage", role: "img", "aria-label": panel.name }, this.root);
    this.stage = stage;
    this.svg = svg("svg", { "aria-hidden": "true" }, stage);
    this.canvas = html("canvas", { "aria-hidden": "true" }, stage);
    this.card = html("div", { class: "mt-card" }, this.root);
    const lower = html("div", { class: "mt-lower" }, this.root);
    this.histogram = svg("svg", { class: "mt-histogram", role: "img", "aria-label": tr("answers in fortio's buckets") }, html("div", { class: "mt-bars" }, lower));
    this.table(lower);
  }

  heading() {
    const { panel } = this.play, head = html("div", { class: "mt-head" }, this.root);
    const name = html("div", { class: "mt-name" }, head);
    if (panel.name !== panel.says) html("span", {}, name, panel.name);
    html("span", { class: `mt-chip ${panel.engine}` }, name, panel.says);
    html("div", { class: "mt-own" }, head, ownConstants(panel.own));
    const tiles = html("div", { class: "mt-tiles", role: "list" }, this.root);
    this.tiles = Object.fromEntries([["answered", tr("answered")], ["failed", tr("failed")], ["tries", tr("tries each")], ["underWay", tr("under way")]].map(([key, label]) => {
      const tile = html("div", { role: "listitem" }, tiles), value = html("b", {}, tile);
      this.labels = { ...this.labels, [key]: html("span", {}, tile, label) };
      return [key, value];
    }));
  }

  table(parent) {
    const table = html("table", { class: "mt-table" }, parent), record = this.play.panel.record;
    const head = html("tr", {}, html("thead", {}, table)), body = html("tbody", {}, table);
    for (const text of [tr("seconds"), tr("so far"), ...(record ? [tr("record")] : [])]) html("th", { scope: "col" }, head, text);
    this.cells = this.spec.percentiles.map((p, i) => {
      const row = html("tr", {}, body);
      html("th", { scope: "row" }, row, `p${p}`);
      const cell = html("td", {}, row);
      if (record) html("td", {}, row, figure(record.percentiles[i]));
      return cell;
    });
  }

  // Lays the panel out for its width; false while it has none (a hidden tab, a folded cell).
  fit(most) {
    const width = Math.floor(this.stage.clientWidth), bars = Math.floor(this.histogram.parentElement.clientWidth);
    if (width < 60 || bars < 30) return false;
    this.geo = layout(this.play, width);
    this.parts = buildStage(this.svg, this.play, this.geo);
    sizeCanvas(this.canvas, this.geo.width, this.geo.height);
    this.bars = buildHistogram(this.histogram, this.play, this.spec.buckets, bars, most);
    return true;
  }

  // Draws the panel at t.  `event` is the stop under discussion (-1: none), `here` whether it is this panel's.
  draw(t, { still, flash, event, here, look }) {
    const now = frame(this.play, this.geo, t, { still });
    this.now = now;
    if (!this.geo) return now;
    const told = this.toldOf(event);
    const focus = told && here ? this.focused(event) : () => false;
    paint(this.canvas, this.geo, now.dots, flashes(this.play, this.geo, t, flash), look, focus);
    updateStage(this.parts, this.play, now, here ? told?.draws : null);
    updateHistogram(this.bars, now.answers);
    this.figures(now);
    this.tell(told, event, here, now);
    return now;
  }

  toldOf(event) {
    if (this.said?.event !== event) this.said = { event, told: event >= 0 ? describe(this.play, event) : null };
    return this.said.told;
  }

  // Which dots belong to the request that the event is about.
  focused(event) {
    const { events, visits } = this.play;
    if (events.kind[event] === HOST) return () => false;
    const request = visits.request[events.row[event]];
    return (row) => visits.request[row] === request;
  }

  figures(now) {
    const { answered, failed } = now.answers;
    say(this.tiles.answered, answered.toLocaleString("en"));
    say(this.tiles.failed, failed.toLocaleString("en"));
    say(this.labels.failed, failed ? tr("{} failed", percent(failed / answered)) : tr("failed"));
    say(this.tiles.tries, answered + now.underWay ? (now.tries / (answered + now.underWay)).toFixed(2) : "–");
    say(this.tiles.underWay, String(now.underWay));
    percentilesNow(this.play, this.spec.buckets, this.spec.percentiles, now.answers).forEach((value, i) => say(this.cells[i], figure(value)));
  }

  // The card: what happened last, with the two draws where there were any.
  tell(told, event, here, now) {
    const key = told ? `${event} ${here}` : "-";
    if (key === this.told) return;
    this.told = key;
    this.card.replaceChildren();
    this.card.classList.toggle("here", Boolean(told && here));
    if (!told) return html("p", {}, this.card, tr("Step (→) to see why each pod was chosen."));
    html("time", {}, this.card, clockTime(this.play.events.time[event], 3));
    html("p", {}, this.card, told.text);
    if (told.draws) this.draws(told.draws);
  }

  draws(draws) {
    const list = html("div", { class: "mt-draws" }, this.card);
    const twice = draws[0].place === draws[1].place, { stage } = this.play.panel;
    draws.slice(0, twice ? 1 : 2).forEach((draw, i) => {
      const chip = html("span", { class: `mt-draw ${stage.roles[draw.place]}${draw.taken ? " taken" : ""}` }, list);
      html("b", {}, chip, twice ? tr("both draws") : i ? tr("2nd draw") : tr("1st draw"));
      html("span", {}, chip, tr("{}, {} active", stage.short[draw.place], draw.active) + (draw.taken ? " ✓" : ""));
    });
  }
}

// The constants that only this panel has, by the place where they act.
function ownConstants(own) {
  const places = new Map();
  for (const [place, name, value] of own) places.set(place, [...(places.get(place) ?? []), `${name} ${value}`]);
  return [...places].map(([place, facts]) => `${place}: ${facts.join(", ")}`).join("; ");
}
