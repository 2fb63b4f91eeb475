// Turns the pages of a deck; the number in the address is the page.
(() => {
  const slides = [...document.querySelectorAll("main > section")];
  const at = () => Math.min(slides.length, Math.max(1, Number(location.hash.slice(2)) || 1));
  const show = () => {
    slides.forEach((slide, k) => slide.classList.toggle("shown", k + 1 === at()));
    document.getElementById("at").value = `${at()} / ${slides.length}`;
    scrollTo(0, 0);
  };
  const turn = (by) => (location.hash = `s${Math.min(slides.length, Math.max(1, at() + by))}`);
  const keys = { ArrowRight: 1, PageDown: 1, " ": 1, ArrowLeft: -1, PageUp: -1 };
  addEventListener("keydown", (event) => {
    if (event.target.closest("button, input, select, summary, .mm-widget") || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "Home") location.hash = "s1";
    else if (event.key === "End") location.hash = `s${slides.length}`;
    else if (keys[event.key]) turn(keys[event.key]);
    else return;
    event.preventDefault();
  });
  let from = null;
  addEventListener("touchstart", (event) => (from = event.touches[0].clientX), { passive: true });
  addEventListener("touchend", (event) => {
    const by = event.changedTouches[0].clientX - from;
    if (Math.abs(by) > 80 && !event.target.closest(".mm-widget")) turn(by < 0 ? 1 : -1);
  });
  document.getElementById("back").addEventListener("click", () => turn(-1));
  document.getElementById("on").addEventListener("click", () => turn(1));
  addEventListener("hashchange", show);
  show();
})();
