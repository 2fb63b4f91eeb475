// Tables of prose with many columns are shown as cards, and those with three or more where the screen is narrow (book.css): each cell
// then says its column's name itself, and a field's name breaks at its dots.  Tables of numbers stay tables, narrow ones on a phone.
const narrow = window.matchMedia("(max-width: 540px)");

for (const table of document.querySelectorAll(".bd-article table.table")) {
  const names = [...table.querySelectorAll("thead th")].map((head) => head.textContent);
  const cells = [...table.querySelectorAll("tbody td")];
  const letters = cells.reduce((sum, cell) => sum + cell.textContent.length, 0);
  const numbers = letters < 15 * cells.length;
  table.classList.toggle("mm-of-numbers", numbers);
  if (names.length < 3 || numbers) continue;
  for (const cell of cells) cell.dataset.label = names[cell.cellIndex];
  for (const code of table.querySelectorAll("td code")) code.innerHTML = code.innerHTML.replace(/([._])(?=[A-Za-z])/g, "$1<wbr>");
  const lay = () => table.classList.toggle("mm-wide", names.length > 4 || narrow.matches);
  narrow.addEventListener("change", lay);
  lay();
}
