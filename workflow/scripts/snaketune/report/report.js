"use strict";
// Makes every table of class `rows` searchable and sortable, and those that say what their rows are
// (`data-kinds`) filterable. Text of models is only ever moved as nodes or set as `textContent`.
(() => {
  const MOST_LABELS = 40;

  function element(name, className, text) {
    const made = document.createElement(name);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  }

  function choice(label, options, onChange) {
    const box = element("label", "choice", label + " ");
    const select = element("select");
    for (const [value, text] of options) {
      const option = element("option", "", text);
      option.value = value;
      select.append(option);
    }
    select.addEventListener("change", onChange);
    box.append(select);
    return [box, select];
  }

  // What a column holds, where that is few different things.
  function labelsOf(rows, column) {
    const found = new Set();
    for (const row of rows) {
      const text = row.cells[column].textContent.trim();
      if (text) found.add(text);
      if (found.size > MOST_LABELS) return [];
    }
    const sorted = [...found].sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
    return sorted.length > 1 ? sorted : [];
  }

  function filters(table, rows, redraw) {
    const bar = element("div", "choices");
    const tests = [];
    if (table.dataset.kinds) {
      const states = JSON.parse(table.dataset.states);
      const bases = JSON.parse(table.dataset.bases);
      const words = new Map(rows.map((row) => [row, row.dataset.flags.split(" ")]));
      const named = states.map((name, place) => [String(place), name]);
      const [whose, state] = choice("State", [["", "any"], ...named], redraw);
      const kinds = JSON.parse(table.dataset.kinds);
      const [what, kind] = choice("Reply", [["", "any"], ...kinds], redraw);
      bar.append(whose, what);
      tests.push((row) => {
        const found = words.get(row);
        const asked = state.value === "" ? found : [found[Number(state.value)]];
        return asked.some((word) => word !== "-" && word.includes(kind.value));
      });
      // Only the chosen state and its base.
      bar.hide = () => {
        const place = Number(state.value);
        for (const row of table.tBodies[0].rows) {
          for (const reply of row.querySelectorAll("[data-state]")) {
            const at = Number(reply.dataset.state);
            reply.hidden = state.value !== "" && at !== place && at !== bases[place];
          }
        }
      };
    }
    table.querySelectorAll("thead th[data-choice]").forEach((head) => {
      const labels = labelsOf(rows, head.cellIndex);
      if (!labels.length) return;
      const options = [["", "any"], ...labels.map((label) => [label, label])];
      const [box, select] = choice(head.dataset.choice, options, redraw);
      bar.append(box);
      const place = head.cellIndex;
      const known = new Map(rows.map((row) => [row, row.cells[place].textContent.trim()]));
      tests.push((row) => select.value === "" || known.get(row) === select.value);
    });
    if (table.querySelector("tbody details")) {
      const open = element("button", "", "Open all texts");
      open.type = "button";
      open.addEventListener("click", () => {
        const closed = table.querySelectorAll("tbody details:not([open])");
        const found = closed.length ? closed : table.querySelectorAll("tbody details");
        found.forEach((details) => { details.open = closed.length > 0; });
      });
      bar.append(open);
    }
    bar.test = (row) => tests.every((test) => test(row));
    return bar;
  }

  function enhance(table) {
    const rows = [...table.tBodies[0].rows];
    let made = null;
    const bar = filters(table, rows, () => made && made.draw());
    const name = table.caption ? table.caption.textContent.trim() : "";
    made = new DataTable(table, {
      autoWidth: false,
      order: [],
      pageLength: 10,
      lengthMenu: [10, 25, 100, { label: "all", value: -1 }],
      columnDefs: [{ targets: "unsorted", orderable: false }],
      layout: {
        topStart: "search",
        topEnd: () => bar,
        bottomStart: "info",
        bottomEnd: ["pageLength", "paging"],
      },
      language: {
        search: "Search",
        lengthMenu: "_MENU_ a page",
        info: "_START_ to _END_ of _TOTAL_",
        infoFiltered: "(of _MAX_)",
        infoEmpty: "none",
        zeroRecords: "No row is like that.",
      },
      drawCallback: () => bar.hide && bar.hide(),
    });
    made.search.fixed("choices", (text, data, place) => bar.test(made.row(place).node()));
    made.draw();
    const search = table.closest(".dt-container").querySelector("input[type=search]");
    if (search && name) search.setAttribute("aria-label", "Search in: " + name);
    const pages = table.closest(".dt-container").querySelector("nav");
    if (pages) pages.setAttribute("aria-label", "Pages of: " + name);
  }

  // What is in a closed box is made when somebody opens it.
  for (const table of document.querySelectorAll("table.rows")) {
    const box = table.parentElement.closest("details:not([open])");
    if (box) box.addEventListener("toggle", () => enhance(table), { once: true });
    else enhance(table);
  }
  document.documentElement.classList.add("scripted");
})();
