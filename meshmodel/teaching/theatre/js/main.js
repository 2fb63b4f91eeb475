// anywidget calls render; a plain page may call mount.

function mount(element, state) {
  speak(state.words);
  return new Player(element, state);
}

function render({ model, el }) {
  const state = () => ({ spec: model.get("spec"), data: model.get("data"), words: model.get("words") });
  const player = mount(el, state());
  const change = () => player.load(state());
  model.on("change:version", change);
  return () => {
    model.off("change:version", change);
    player.destroy();
  };
}

export { unpack, upTo, horizon, underWay, percentile, prepare, frame, describe, summary, layout, merged, mount };
export default { render };
