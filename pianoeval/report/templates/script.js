(function () {
  "use strict";
  var root = document.documentElement;
  var button = document.getElementById("theme");
  var system = window.matchMedia("(prefers-color-scheme: dark)");
  function stored(value) {
    try {
      if (value === undefined) { return window.localStorage.getItem("pianoeval-theme"); }
      window.localStorage.setItem("pianoeval-theme", value);
    } catch (refused) { /* A browser may refuse storage to files; the choice then lasts one visit. */ }
    return null;
  }
  function isDark() {
    return root.dataset.theme ? root.dataset.theme === "dark" : system.matches;
  }
  function show() { button.textContent = isDark() ? "Light theme" : "Dark theme"; }
  var asked = /[#&]theme=(dark|light)/.exec(window.location.hash);
  var first = asked ? asked[1] : stored();
  if (first === "dark" || first === "light") { root.dataset.theme = first; }
  button.hidden = false;
  button.addEventListener("click", function () {
    root.dataset.theme = isDark() ? "light" : "dark";
    stored(root.dataset.theme);
    show();
  });
  system.addEventListener("change", show);
  show();

  function value(row, column) {
    var cell = row.cells[column];
    var text = (cell.firstChild ? cell.firstChild.textContent : "").trim().replace("\u2212", "-");
    if (text === "\u2013" || text === "") { return null; }
    return isNaN(Number(text)) ? text : Number(text);
  }
  function compare(a, b) {
    if (typeof a === "number" && typeof b === "number") { return a - b; }
    return String(a).localeCompare(String(b), "en", { numeric: true });
  }
  document.querySelectorAll("table.sortable").forEach(function (table) {
    var body = table.tBodies[0];
    var heads = Array.from(table.tHead.rows[0].cells);
    var rows = Array.from(body.rows);
    heads.forEach(function (head, column) {
      var sorter = document.createElement("button");
      sorter.type = "button";
      sorter.textContent = head.textContent;
      head.textContent = "";
      head.appendChild(sorter);
      sorter.addEventListener("click", function () {
        var numeric = head.classList.contains("n");
        var before = head.getAttribute("aria-sort");
        var down = before ? before === "ascending" : numeric;
        heads.forEach(function (other) { other.removeAttribute("aria-sort"); });
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        rows.map(function (row, i) { return [value(row, column), i, row]; })
          .sort(function (a, b) {
            if (a[0] === null || b[0] === null) {
              return (a[0] === null) - (b[0] === null) || a[1] - b[1];
            }
            return (down ? -1 : 1) * compare(a[0], b[0]) || a[1] - b[1];
          })
          .forEach(function (item) { body.appendChild(item[2]); });
      });
    });
    var filters = table.closest(".scroll").previousElementSibling;
    if (!filters || !filters.matches(".filters")) { return; }
    var search = filters.querySelector("input");
    var selects = Array.from(filters.querySelectorAll("select"));
    var output = filters.querySelector("output");
    selects.forEach(function (select) {
      var column = Number(select.dataset.column);
      new Set(rows.map(function (row) { return row.cells[column].textContent; })).forEach(
        function (name) { select.add(new Option(name, name)); });
    });
    function apply() {
      var parts = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      var shown = 0;
      rows.forEach(function (row) {
        var text = row.textContent.toLowerCase();
        var keep = parts.every(function (part) { return text.includes(part); }) &&
          selects.every(function (select) {
            return !select.value || row.cells[Number(select.dataset.column)].textContent === select.value;
          });
        row.hidden = !keep;
        shown += keep ? 1 : 0;
      });
      output.textContent = shown + " of " + rows.length + " rows";
    }
    search.addEventListener("input", apply);
    selects.forEach(function (select) { select.addEventListener("change", apply); });
    filters.hidden = false;
    apply();
  });
})();
