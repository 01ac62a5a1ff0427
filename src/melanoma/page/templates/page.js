"use strict";
// Tables are sorted by their heads; without this script they stand in their first order.
function valueOf(row, column, isNumeric) {
  const cell = row.cells[column];
  if (!isNumeric) return cell.textContent.trim();
  return "value" in cell.dataset ? Number(cell.dataset.value) : null;
}
function isBlank(value) { return value === null || value === "" || value === "-"; }
function compare(a, b, isNumeric) {
  return isNumeric ? a - b : a.localeCompare(b, "en", { numeric: true, sensitivity: "base" });
}
function sort(table, head) {
  const column = head.cellIndex, isNumeric = head.classList.contains("number");
  const isDown = head.getAttribute("aria-sort") === "ascending";
  for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", isDown ? "descending" : "ascending");
  const body = table.tBodies[0], rows = Array.from(body.rows);
  rows.sort((one, other) => {
    const a = valueOf(one, column, isNumeric), b = valueOf(other, column, isNumeric);
    if (isBlank(a) || isBlank(b)) return isBlank(a) - isBlank(b); // what is missing stays below
    return isDown ? compare(b, a, isNumeric) : compare(a, b, isNumeric);
  });
  body.append(...rows);
}
for (const table of document.querySelectorAll("table.sortable")) {
  if (table.tBodies[0].rows.length < 2) continue;
  for (const head of table.tHead.rows[0].cells) {
    if (!head.textContent.trim()) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => sort(table, head));
  }
}
// Only what can be scrolled is a stop of the Tab key.
const regions = document.querySelectorAll(".scroll, pre");
function mark() {
  for (const region of regions) {
    if (region.scrollWidth > region.clientWidth) region.tabIndex = 0;
    else region.removeAttribute("tabindex");
  }
}
new ResizeObserver(mark).observe(document.documentElement);
for (const fold of document.querySelectorAll("details")) fold.addEventListener("toggle", mark);
mark();
// A link of the contents unfolds the part that it leads to.
function unfoldTarget() {
  const fold = document.querySelector(":target > details:only-of-type");
  if (fold) fold.open = true;
}
addEventListener("hashchange", unfoldTarget);
unfoldTarget();
// On paper nothing can be unfolded.
let unfolded = [];
addEventListener("beforeprint", () => {
  unfolded = Array.from(document.querySelectorAll("details:not([open])"));
  for (const fold of unfolded) fold.open = true;
});
addEventListener("afterprint", () => {
  for (const fold of unfolded) fold.open = false;
});
