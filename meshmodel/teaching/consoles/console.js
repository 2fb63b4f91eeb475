// Shows a console and tells Python what its reader does.  What is said comes from Python, or is marked here by tr.

const make = (tag, attributes, parent, text) => {
  const made = document.createElement(tag);
  made.setAttribute("data-lm-suppress-shortcuts", "true"); // Lab looks at the focused element first, and takes its arrow keys
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  parent?.append(made);
  return made;
};
const withUnit = (number, unit) => (unit === "s" ? tr("{} s", number) : unit === "%" ? tr("{} %", number) : `${number}${unit ? ` ${unit}` : ""}`);
const INCH = 96;
const WIDE = 1060, ASIDE = 340; // as in the style: from there on the table stands beside the figure, and takes so much

class Console {
  constructor(model, element) {
    this.model = model;
    this.spec = model.get("spec");
    this.values = { ...model.get("values") };
    this.inputs = {};
    this.past = []; // what undo returns to, newest last
    this.root = make("section", { class: "mc", "aria-label": this.spec.title }, element);
    make("h3", { class: "mc-title" }, this.root, this.spec.title);
    this.bench = this.spec.controls.some(({ kind }) => kind === "text"); // what is typed and what comes of it, side by side
    const frame = this.bench ? make("div", { class: "mc-bench" }, this.root) : this.root;
    this.head = make("div", { class: "mc-head" }, frame);
    this.buttons(this.spec.presets, tr("Presets"), "mc-presets");
    const controls = make("div", { class: "mc-controls" }, this.head);
    for (const control of this.spec.controls) this.control(control, controls);
    this.bar();
    this.results = this.bench ? make("div", { class: "mc-results" }, frame) : this.root;
    this.differs = make("p", { class: "mc-differs" }, this.results);
    this.status = make("p", { class: "mc-status", role: "status", "aria-live": "polite" }, this.results);
    this.alert = make("p", { class: "mc-alert", role: "alert" }, this.results);
    this.links = make("p", { class: "mc-page" }, this.results);
    const body = make("div", { class: "mc-body" }, this.results);
    this.image = make("img", { class: "mc-figure", alt: "" }, body);
    this.table = make("div", { class: "mc-table" }, body);
    this.numbers = make("div", { class: "mc-numbers" }, this.results);
    this.text = this.folded(tr("as text"));
    this.yaml = this.folded(tr("YAML to copy"), true);
    this.mark();
    this.show();
    this.offer();
    this.draw();
    this.watcher = new ResizeObserver(() => this.fit());
    this.watcher.observe(this.root);
  }

  // --- what is built ------------------------------------------------------------------------

  control(control, parent) {
    const id = `mc-${control.name}-${Math.random().toString(36).slice(2)}`;
    const row = make("div", { class: `mc-control ${control.kind}` }, parent);
    const label = make("label", { for: id }, row, control.label);
    const input = { slider: this.slider, choice: this.choice, toggle: this.toggle, text: this.written }[control.kind].call(this, control, row);
    input.id = id;
    if (control.kind === "slider") {
      const said = make("span", { class: "mc-said", "aria-hidden": "true" }, row);
      label.after(said);
      input.said = said;
    }
    this.inputs[control.name] = Object.assign(input, { control });
    if (control.kind !== "text") input.addEventListener("input", () => this.move({ [control.name]: this.read(input) }));
  }

  written(control, row) {
    const editor = make("div", { class: "mc-editor" }, row);
    const gutter = make("div", { class: "mc-gutter", "aria-hidden": "true" }, editor);
    const area = make("textarea", { rows: control.rows, spellcheck: "false", wrap: "off", autocapitalize: "off" }, editor);
    const marks = make("ul", { class: "mc-marks", "aria-live": "polite" }, row);
    const type = () => {
      this.number(area);
      clearTimeout(area.typing); // one question for a burst of letters
      area.typing = setTimeout(() => this.move({ [control.name]: area.value }), 400);
    };
    const take = async (file) => {
      area.value = await file.text();
      type();
    };
    area.addEventListener("input", type);
    area.addEventListener("dragover", (event) => event.preventDefault());
    area.addEventListener("drop", (event) => {
      if (!event.dataTransfer.files.length) return;
      event.preventDefault();
      take(event.dataTransfer.files[0]);
    });
    area.addEventListener("scroll", () => (gutter.firstChild.style.transform = `translateY(${-area.scrollTop}px)`));
    make("div", {}, gutter);
    return Object.assign(area, { marks, gutter });
  }

  // The numbers of the lines, those of which something is said in its colour, worst last.
  number(area) {
    const kinds = Object.fromEntries([...(area.found ?? [])].sort((a, b) => (a[1] < b[1] ? 1 : -1)).map(([line, kind]) => [line, kind]));
    const lines = area.value.split("\n").map((_, at) => make("span", { class: kinds[at + 1] ?? "" }, null, `${at + 1}`));
    area.gutter.firstChild.replaceChildren(...lines);
  }

  markLines(input, found) {
    const said = JSON.stringify(found ?? []);
    if (input.marks.said === said) return;
    input.marks.said = said;
    input.found = found;
    this.number(input);
    input.marks.replaceChildren();
    const kinds = { error: tr("error"), warning: tr("warning") };
    for (const [line, kind, words] of found ?? []) {
      const item = make("li", { class: kind }, input.marks);
      const go = this.button(item, line ? tr("line {}", line) : kinds[kind], () => this.goTo(input, line));
      go.disabled = !line;
      item.append(` ${kinds[kind]}: ${words}`);
    }
  }

  goTo(input, line) {
    const lines = input.value.split("\n");
    const start = lines.slice(0, line - 1).join("\n").length + (line > 1 ? 1 : 0);
    input.focus();
    input.setSelectionRange(start, start + (lines[line - 1] ?? "").length);
    input.scrollTop = (line - 4) * (input.scrollHeight / lines.length);
  }

  slider(control, row) {
    return make("input", { type: "range", min: control.least, max: control.most, step: control.step }, row);
  }

  choice(control, row) {
    const select = make("select", {}, row);
    control.options.forEach((option, k) => make("option", { value: option }, select, control.labels[k]));
    return select;
  }

  toggle(control, row) {
    return make("input", { type: "checkbox", role: "switch" }, row);
  }

  buttons(presets, name, kind) {
    if (!presets.length) return;
    const group = make("div", { class: kind, role: "group", "aria-label": name }, this.head);
    for (const { label, values } of presets) this.button(group, label, () => this.move(values));
  }

  bar() {
    const bar = make("div", { class: "mc-bar" }, this.head);
    const tutorial = () => this.model.get("shown").tutorial;
    if (Object.keys(tutorial()).length) this.button(bar, tr("tutorial's values"), () => this.move(tutorial()));
    if (this.bench) this.back = this.button(bar, tr("undo"), () => this.undo());
    this.button(bar, tr("reset"), () => this.move(this.spec.start));
    this.acts = this.spec.actions.map(({ act, label, missing }) => {
      const made = this.button(bar, label, () => this.ask({ act }));
      if (missing) Object.assign(made, { disabled: true, title: missing, missing });
      return made;
    });
    this.stop = this.button(bar, tr("cancel"), () => this.ask({ act: "cancel" }));
    const missing = [...new Set(this.spec.actions.map((action) => action.missing).filter(Boolean))];
    if (missing.length) make("p", { class: "mc-missing" }, this.head, missing.join(" "));
  }

  button(parent, label, act) {
    const made = make("button", { type: "button" }, parent, label);
    made.addEventListener("click", act);
    return made;
  }

  folded(name, copied = false) {
    const box = make("details", { class: "mc-folded" }, this.results);
    make("summary", {}, box, name);
    const content = make("pre", { tabindex: "0" }, box);
    if (copied) {
      const button = this.button(box, tr("copy"), () => this.copy(content, button));
      content.before(button);
    }
    return { box, content };
  }

  async copy(content, button) {
    try {
      await navigator.clipboard.writeText(content.textContent);
    } catch {
      getSelection().selectAllChildren(content);
      document.execCommand("copy");
    }
    button.textContent = tr("copied");
    setTimeout(() => (button.textContent = tr("copy")), 1500);
  }

  // --- what the reader does -----------------------------------------------------------------

  read(input) {
    const { kind, stops } = input.control;
    return kind === "toggle" ? input.checked : kind === "choice" || kind === "text" ? input.value : stops ? stops[+input.value] : +input.value;
  }

  move(values) {
    this.remember(values);
    Object.assign(this.values, values);
    this.mark();
    this.ask({});
  }

  // What was before these values; a slider's drag and a burst of letters are one step.
  remember(values) {
    const names = Object.keys(values).filter((name) => values[name] !== this.values[name]);
    const step = Object.keys(values).join(), now = performance.now();
    if (names.length && (step !== this.past.at(-1)?.step || now - this.past.at(-1).at > 1500)) {
      this.past.push({ step, before: Object.fromEntries(names.map((name) => [name, this.values[name]])) });
    }
    if (names.length) this.past.at(-1).at = now;
  }

  undo() {
    Object.values(this.inputs).forEach((input) => clearTimeout(input.typing));
    Object.assign(this.values, this.past.pop()?.before);
    this.mark();
    this.ask({});
  }

  ask(what) {
    const number = (this.model.get("asked").number ?? 0) + 1; // the same console may be shown twice
    this.root.dataset.asked = number; // for who looks at the page from outside
    this.model.set("asked", { number, values: { ...this.values }, width: this.width ?? 6.4, scale: devicePixelRatio, ...what });
    this.model.save_changes();
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => this.silent(), 15000);
  }

  silent() {
    this.status.textContent = tr("No answer yet. Without a kernel (in a book, or after a restart) the controls do nothing: run the cell again.");
  }

  fit() {
    const aside = this.table.said && !this.bench && this.root.clientWidth >= WIDE ? ASIDE : 0;
    const room = this.bench ? this.results.clientWidth : this.root.clientWidth - 36 - aside;
    const inches = Math.round(room / 24) / 4; // in steps of a quarter of an inch
    const width = Math.min(10, Math.max(3.9, inches));
    if (this.root.clientWidth && width !== (this.width ?? this.model.get("shown").wide)) {
      this.width = width;
      clearTimeout(this.fitting);
      this.fitting = setTimeout(() => this.ask({}), 150);
    }
  }

  // --- what is shown ------------------------------------------------------------------------

  follow(values) {
    this.values = { ...values };
    this.mark();
  }

  mark() {
    if (this.back) this.back.disabled = !this.past.length;
    for (const [name, input] of Object.entries(this.inputs)) {
      const value = this.values[name], { kind, stops, unit } = input.control;
      if (kind === "toggle") input.checked = value;
      else if (kind === "choice") input.value = value;
      else if (kind === "text") {
        if (input.value !== value && document.activeElement !== input) input.value = value; // never under the fingers of who types
        this.number(input);
      }
      else {
        input.value = stops ? stops.indexOf(value) : value;
        const said = withUnit(+(+value).toPrecision(6), unit);
        input.said.textContent = said;
        input.setAttribute("aria-valuetext", said);
        input.style.setProperty("--done", `${(100 * (input.value - input.min)) / (input.max - input.min || 1)}%`);
      }
    }
  }

  show() {
    const shown = this.model.get("shown");
    clearTimeout(this.waiting);
    this.root.toggleAttribute("data-busy", !!shown.busy);
    this.root.dataset.answered = shown.answered;
    this.stop.disabled = !shown.busy;
    for (const button of this.acts) button.disabled = !!shown.busy || !!button.missing;
    for (const part of ["differs", "status", "alert"]) if (this[part].textContent !== shown[part]) this[part].textContent = shown[part] ?? "";
    this.image.alt = shown.alt ?? "";
    this.image.style.width = `${(shown.wide ?? 6.4) * INCH}px`;
    if (this.table.said !== shown.table) this.table.innerHTML = this.table.said = shown.table ?? "";
    this.tell(shown.numbers ?? "");
    for (const [name, input] of Object.entries(this.inputs)) if (input.marks) this.markLines(input, shown.marks?.[name]);
    for (const part of ["text", "yaml"]) {
      this[part].box.hidden = !shown[part];
      this[part].content.textContent = shown[part] ?? "";
    }
  }

  // The figure's numbers, which stay unfolded while the controls move.
  tell(numbers) {
    if (this.numbers.said === numbers) return;
    const open = this.numbers.querySelector("details")?.open;
    this.numbers.innerHTML = this.numbers.said = numbers;
    for (const box of this.numbers.querySelectorAll("details")) box.open = !!open;
    for (const part of this.numbers.querySelectorAll("summary")) part.setAttribute("data-lm-suppress-shortcuts", "true");
  }

  // A page that was made: to be opened, and to be saved.
  offer() {
    const { name, html } = this.model.get("page");
    URL.revokeObjectURL(this.offered);
    this.links.replaceChildren();
    if (!html) return;
    this.offered = URL.createObjectURL(new Blob([html], { type: "text/html" }));
    make("a", { href: this.offered, target: "_blank", rel: "noopener" }, this.links, tr("open {}", name));
    make("a", { href: this.offered, download: name }, this.links, tr("save {}", name));
  }

  draw() {
    const png = this.model.get("png");
    if (!png?.byteLength) return;
    const before = this.image.src;
    this.image.src = URL.createObjectURL(new Blob([png], { type: "image/png" }));
    if (before) this.image.addEventListener("load", () => URL.revokeObjectURL(before), { once: true });
  }
}

function render({ model, el }) {
  speak(model.get("words"));
  const shown = new Console(model, el);
  const listeners = {
    "change:shown": () => shown.show(),
    "change:png": () => shown.draw(),
    "change:page": () => shown.offer(),
    "change:values": () => shown.follow(model.get("values")),
    "change:asked": () => shown.follow(model.get("asked").values),
  };
  for (const [event, act] of Object.entries(listeners)) model.on(event, act);
  return () => {
    for (const [event, act] of Object.entries(listeners)) model.off(event, act);
    shown.watcher.disconnect();
    clearTimeout(shown.waiting);
    clearTimeout(shown.fitting);
  };
}

export default { render };
