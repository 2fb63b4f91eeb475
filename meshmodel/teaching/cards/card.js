// Draws a card and tells Python which button was pressed.
//   spec:  kind, label (its accessible name), title, chips [{label}], text (html), fields [{label, unit, choices, labels}], silent {label}
//   state: buttons [{press, label, first}], says, tone (right, wrong, note), locked, done, parts [{title, html}], number

const PATIENCE = 4000; // ms after which Python is said not to answer

function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child != null));
  return made;
}

function htmlIn(tag, attributes, html) {
  const made = make(tag, attributes);
  made.innerHTML = html;
  return made;
}

class Card {
  constructor(model, host) {
    Object.assign(this, { model, spec: model.get("spec"), id: `mq-${Math.random().toString(36).slice(2)}` });
    this.says = make("p", { class: "mq-says", role: "status", "aria-live": "polite", tabindex: -1 });
    this.buttons = make("div", { class: "mq-buttons" });
    this.parts = make("div", { class: "mq-parts" });
    this.form = make("form", {}, ...this.spec.fields.map((field, k) => this.field(field, k)), this.buttons);
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      const first = (this.model.get("state").buttons ?? []).find((button) => button.first);
      if (first) this.press(first.press);
    });
    this.root = make(
      "section",
      { class: `mq ${this.spec.kind}`, "aria-label": this.spec.label, "data-lm-suppress-shortcuts": "true" },
      this.head(),
      this.spec.text ? htmlIn("div", { class: "mq-text" }, this.spec.text) : null,
      this.form, this.says, this.parts,
    );
    for (const kind of ["keydown", "keyup", "keypress"]) this.root.addEventListener(kind, (event) => event.stopPropagation());
    host.append(this.root);
    this.draw();
  }

  head() {
    const chips = (this.spec.chips ?? []).map((chip) => make("span", { class: "mq-chip" }, chip.label.replaceAll("`", "")));
    const title = this.spec.title ? make("strong", { class: "mq-title" }, this.spec.title) : null;
    return title || chips.length ? make("div", { class: "mq-head" }, title, ...chips) : null;
  }

  field(field, k) {
    const id = `${this.id}-${k}`;
    if (field.choices.length) {
      const options = field.choices.map((choice, i) =>
        make("label", {}, make("input", { type: "radio", name: id, value: choice }), field.labels[i]));
      return make("fieldset", { class: "mq-field" }, make("legend", {}, field.label), ...options);
    }
    const input = make("input", {
      id, type: "text", autocomplete: "off", autocapitalize: "off", spellcheck: "false",
      "aria-describedby": field.unit ? `${id}-unit` : null,
    });
    const unit = field.unit ? make("span", { id: `${id}-unit`, class: "mq-unit" }, field.unit) : null;
    return make("div", { class: "mq-field" }, make("label", { for: id }, field.label), input, unit);
  }

  values() {
    return this.spec.fields.map((field, k) => {
      const id = `${this.id}-${k}`;
      const chosen = field.choices.length ? this.form.querySelector(`input[name="${id}"]:checked`) : this.form.querySelector(`#${id}`);
      return chosen ? chosen.value : "";
    });
  }

  press(what) {
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => this.silent(), PATIENCE);
    this.root.setAttribute("aria-busy", "true");
    this.model.send({ press: what, values: this.values() });
  }

  silent() {
    this.root.removeAttribute("aria-busy");
    this.say(this.spec.silent.label, "note");
  }

  say(text, tone) {
    this.says.className = `mq-says ${tone ?? ""}`;
    if (this.says.textContent !== text) this.says.textContent = text ?? "";
  }

  draw() {
    const state = this.model.get("state");
    clearTimeout(this.waiting);
    this.root.removeAttribute("aria-busy");
    this.drawButtons(state.buttons ?? []);
    for (const input of this.form.querySelectorAll("input")) input.disabled = Boolean(state.locked);
    this.root.classList.toggle("done", Boolean(state.done));
    this.say(state.says, state.tone);
    this.drawParts(state.parts ?? []);
  }

  drawButtons(buttons) {
    const told = JSON.stringify(buttons);
    if (told === this.told) return;
    this.told = told;
    const focused = this.buttons.contains(document.activeElement);
    this.buttons.replaceChildren(...buttons.map((button) => {
      const made = make("button", { type: button.first ? "submit" : "button", class: button.first ? "first" : null }, button.label);
      if (!button.first) made.addEventListener("click", () => this.press(button.press));
      return made;
    }));
    if (focused) this.says.focus({ preventScroll: true });
  }

  drawParts(parts) {
    const told = JSON.stringify(parts);
    if (told === this.shown) return;
    this.shown = told;
    this.parts.replaceChildren(...parts.map((part) =>
      make("div", { class: "mq-part" }, part.title ? make("strong", {}, part.title) : null, htmlIn("div", {}, part.html))));
  }
}

function render({ model, el }) {
  const card = new Card(model, el);
  const change = () => card.draw();
  model.on("change:state", change);
  return () => {
    model.off("change:state", change);
    clearTimeout(card.waiting);
  };
}

export default { render };
