"use strict";

// A heading sorts its table: numbers by value, text by language; cells without a value stay at the end.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const value = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.value ?? cell.textContent.trim();
  };
  heads.forEach((head, column) => head.querySelector("button")?.addEventListener("click", () => {
    const direction = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", direction === 1 ? "ascending" : "descending");
    const compare = (one, two) => {
      const [a, b] = [value(one, column), value(two, column)];
      if (a === "" || b === "") return (a === "") - (b === "");
      const [x, y] = [Number(a), Number(b)];
      return direction * (Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b) : x - y);
    };
    body.append(...[...body.rows].sort(compare));
  }));
}

// The search box keeps the rows whose words, numbers of the results aside, begin with all of those typed; "1 %" is one.
const search = document.getElementById("search");
const words = (text) => text.toLowerCase().replace(/\s+%/g, "%").split(/\s+/).filter(Boolean);
search?.addEventListener("input", () => {
  const wanted = words(search.value);
  for (const row of document.getElementById("results").tBodies[0].rows) {
    const told = words([...row.querySelectorAll("td:not(.number)")].map((cell) => cell.textContent).join(" "));
    row.hidden = !wanted.every((one) => told.some((word) => word.startsWith(one)));
  }
});

// Of parts by label and by setting (readout and labels) those of the chosen ones are shown.
const choosers = [...document.querySelectorAll(".choose select")];
const isChosen = (part) => choosers.every(({ id, value }) => (part.dataset[id] ?? value) === value);
const show = () => {
  for (const part of document.querySelectorAll("[data-label]")) part.hidden = !isChosen(part);
};
for (const chooser of choosers) {
  chooser.parentElement.hidden = false;
  chooser.addEventListener("change", show);
}
if (choosers.length) show();

// Print holds what is folded, too.
addEventListener("beforeprint", () => {
  for (const folded of document.querySelectorAll("details")) folded.open = true;
});
