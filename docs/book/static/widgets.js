// Widgets without a kernel: each .mm-widget holds its class and its state (meshmodel/teaching/standalone.py), and a still picture
// that stays where anything goes wrong.  The modules come as text, so that a book opened as a file works too.

const modules = {};

function moduleOf(name) {
  const { esm, css } = window.meshmodelWidgets[name];
  if (!modules[name]) {
    const style = document.createElement("style");
    style.textContent = css;
    document.head.append(style);
    modules[name] = import(URL.createObjectURL(new Blob([esm], { type: "text/javascript" })));
  }
  return modules[name];
}

const bytesOf = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

function revived(_, value) {
  const binary = value && typeof value === "object" && Object.keys(value).length === 1 && typeof value.base64 === "string";
  return binary ? new DataView(bytesOf(value.base64).buffer) : value;
}

async function stateOf(text) {
  const stream = new Blob([bytesOf(text.trim())]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text(), revived);
}

// What anywidget's model offers; nobody is at the other end.
function modelOf(state) {
  const listeners = {};
  return {
    get: (name) => state[name],
    set: (name, value) => { state[name] = value; (listeners[`change:${name}`] ?? []).forEach((listener) => listener()); },
    on: (event, listener) => { (listeners[event] ??= []).push(listener); },
    off: (event, listener) => { listeners[event] = (listeners[event] ?? []).filter((other) => other !== listener); },
    save_changes: () => {},
    send: () => {},
  };
}

async function bringToLife(box) {
  const [module, state] = await Promise.all([moduleOf(box.dataset.class), stateOf(box.querySelector("script").textContent)]);
  const el = document.createElement("div");
  box.append(el);
  const widget = typeof module.default === "function" ? await module.default() : module.default;
  const model = modelOf(state);
  await widget.initialize?.({ model });
  await widget.render({ model, el });
  box.querySelector("img")?.remove();
}

for (const box of document.querySelectorAll(".mm-widget")) bringToLife(box);
