"use strict";
// What moves on a page: tables that sort, a confusion matrix that opens, and charts in the colours of the reader's
// theme. Without it the page still has all its words and tables.
(() => {
  const data = JSON.parse(document.getElementById("page-data").textContent);
  const all = (query, root = document) => [...root.querySelectorAll(query)];

  function make(tag, properties = {}, ...children) {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  }

  document.documentElement.classList.add("scripted");

  // Tables -----------------------------------------------------------------------------------------------------------

  function valueOf(row, column) {
    const cell = row.cells[column];
    const text = cell.dataset.value ?? cell.textContent.trim();
    const number = Number(text);
    return text === "" ? null : Number.isNaN(number) ? text.toLowerCase() : number;
  }

  function compare(a, b) {
    if (typeof a === "number" && typeof b === "number") return a - b;
    return String(a).localeCompare(String(b), "en", { numeric: true });
  }

  function sortBy(table, heading) {
    const column = heading.cellIndex, body = table.tBodies[0];
    const now = heading.getAttribute("aria-sort"), first = heading.dataset.first || "ascending";
    const other = first === "ascending" ? "descending" : "ascending";
    const order = now === first ? other : first;
    all("th", table.tHead).forEach(each => each.setAttribute("aria-sort", each === heading ? order : "none"));
    const sign = order === "ascending" ? 1 : -1;
    const keyed = [...body.rows].map(row => [valueOf(row, column), row]);
    // What is unknown comes last either way.
    keyed.sort(([a], [b]) => (a === null) - (b === null) || (a === null ? 0 : sign * compare(a, b)));
    body.append(...keyed.map(([, row]) => row));
  }

  for (const table of all("table[data-sorts]")) {
    for (const heading of all("th", table.tHead)) {
      const button = make("button", { type: "button", className: "sort" }, ...heading.childNodes);
      button.addEventListener("click", () => sortBy(table, heading));
      heading.append(button);
      heading.setAttribute("aria-sort", heading.dataset.sorted || "none");
    }
  }

  // The images behind a cell -----------------------------------------------------------------------------------------

  const MOST_SHOWN = 60;
  const said = ([, , , perMille]) => `${(perMille / 10).toFixed(1)}\u00a0%`;

  function picture([path, truth, answer, , thumbnail]) {
    const words = `Photo of ${data.classes[truth]}, taken for ${data.classes[answer]}`;
    return thumbnail ? make("img", { src: thumbnail, alt: words }) : make("div", { className: "missing" }, "no thumbnail");
  }

  function open(cell, from) {
    const [truth, answer] = cell.split(",").map(Number);
    const images = data.images.filter(image => image[1] === truth && image[2] === answer);
    images.sort((a, b) => b[3] - a[3]);
    const many = images.length === 1 ? "1 image" : `${images.length} images`;
    const panel = document.getElementById("cell-images");
    const back = make("button", { type: "button", className: "quiet-button" }, "Back");
    back.addEventListener("click", () => { panel.hidden = true; from.focus(); });
    const items = images.slice(0, MOST_SHOWN).map(image =>
      make("li", {}, picture(image), make("p", { className: "path" }, `${said(image)} sure · ${image[0]}`)));
    const heading = truth === answer
      ? `${many} of ${data.classes[truth]} classified right`
      : `${many} of ${data.classes[truth]} taken for ${data.classes[answer]}`;
    panel.replaceChildren(make("h3", {}, heading), back, make("ul", { className: "photos small" }, ...items));
    if (images.length > MOST_SHOWN) {
      const rest = images.slice(MOST_SHOWN).map(image => image[0]).join(", ");
      panel.append(make("details", {}, make("summary", {}, `${images.length - MOST_SHOWN} more, by name`), make("p", { className: "note" }, rest)));
    }
    panel.hidden = false;
    all("[data-cell][aria-current]").forEach(each => each.removeAttribute("aria-current"));
    if (from.dataset.cell) from.setAttribute("aria-current", "true");
    panel.focus({ preventScroll: true });
    panel.scrollIntoView({ block: "nearest" });
  }

  const matrix = document.getElementById("matrix");
  if (matrix) {
    const cells = all("[data-cell]", matrix);
    const place = cell => cell.dataset.cell.split(",").map(Number);
    // One cell is in the order of the Tab key; arrow keys lead to the others.
    const current = cell => cells.forEach(each => { each.tabIndex = each === cell ? 0 : -1; });
    const STEPS = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] };
    current(cells[0]);
    matrix.addEventListener("click", event => {
      const cell = event.target.closest("[data-cell]");
      if (cell) { current(cell); open(cell.dataset.cell, cell); }
    });
    matrix.addEventListener("keydown", event => {
      const cell = event.target.closest("[data-cell]"), step = STEPS[event.key];
      if (!cell || !step) return;
      event.preventDefault();
      const along = step[0] ? 0 : 1, [here, sign] = [place(cell), step[along]];
      const ahead = cells.filter(each => place(each)[1 - along] === here[1 - along] && sign * (place(each)[along] - here[along]) > 0);
      ahead.sort((a, b) => sign * (place(a)[along] - place(b)[along]));
      if (ahead.length) { current(ahead[0]); ahead[0].focus(); }
    });
  }

  for (const cell of all("[data-opens]")) {
    const button = make("button", { type: "button", className: "link" }, ...cell.childNodes);
    button.addEventListener("click", () => open(cell.dataset.opens, button));
    cell.append(button);
  }

  // Charts -----------------------------------------------------------------------------------------------------------

  const COLOURS = data.colours, NUMBERS = { displayModeBar: false, responsive: true, showTips: false };

  function themed(value, style) {
    if (typeof value === "string") return value in COLOURS ? style.getPropertyValue(COLOURS[value]).trim() : value;
    if (Array.isArray(value)) return value.map(each => themed(each, style));
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, themed(each, style)]));
  }

  async function loadLibrary() {
    const packed = document.getElementById("chart-library");
    const bytes = Uint8Array.from(atob(packed.textContent), character => character.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    document.head.append(make("script", { textContent: await new Response(stream).text() }));
  }

  function draw() {
    const style = getComputedStyle(document.documentElement), font = getComputedStyle(document.body).fontFamily;
    for (const place of all("[data-chart]")) {
      const { data: traces, layout } = themed(data.charts[place.dataset.chart], style);
      layout.font = { ...layout.font, family: font };
      if (!place.classList.contains("drawn")) place.replaceChildren();
      Plotly.react(place, traces, layout, NUMBERS);
      place.classList.add("drawn");
    }
  }

  function openFromChart() {
    const place = document.querySelector('[data-chart="matrix"]');
    if (place) place.on("plotly_click", event => open(event.points[0].customdata.join(","), place));
  }

  function map() {
    const place = document.querySelector('[data-chart="map"]');
    if (!place) return;
    const tip = document.getElementById("map-tip"), words = document.getElementById("map-words");
    const show = point => {
      const image = data.images[point.customdata], [path, truth, answer] = image;
      const verdict = truth === answer ? `is ${data.classes[truth]}` : `is ${data.classes[truth]}, taken for ${data.classes[answer]}`;
      tip.replaceChildren(picture(image), make("p", {}, `${verdict}, ${said(image)} sure`), make("p", { className: "path" }, path));
      tip.hidden = false;
      const box = place.getBoundingClientRect();
      const x = point.xaxis.l2p(point.x) + point.xaxis._offset, y = point.yaxis.l2p(point.y) + point.yaxis._offset;
      tip.style.left = `${Math.max(0, Math.min(x + 14, box.width - tip.offsetWidth))}px`;
      tip.style.top = `${y + 14 + tip.offsetHeight > box.height ? Math.max(0, y - 14 - tip.offsetHeight) : y + 14}px`;
    };
    const hide = () => { tip.hidden = true; };
    place.on("plotly_hover", event => show(event.points[0]));
    place.on("plotly_unhover", hide);
    place.on("plotly_relayout", hide);
    const { xaxis, yaxis } = place._fullLayout;
    const points = place.data.flatMap(trace => trace.x.map((x, i) => ({ x, y: trace.y[i], customdata: trace.customdata[i], xaxis, yaxis })));
    points.sort((a, b) => a.x - b.x);
    let at = -1;
    place.addEventListener("keydown", event => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (event.key === "Escape") hide();
      if (!step) return;
      event.preventDefault();
      at = (at + step + points.length) % points.length;
      show(points[at]);
      words.textContent = [...tip.querySelectorAll("p")].map(each => each.textContent).join(", ");
    });
    place.addEventListener("blur", hide);
    document.getElementById("map-class").addEventListener("change", event => {
      const wanted = event.target.value;
      const opacity = place.data.map(trace => trace.customdata.map(row => wanted === "" || data.images[row][1] === Number(wanted) ? 0.9 : 0.07));
      Plotly.restyle(place, { "marker.opacity": opacity });
    });
  }

  async function charts() {
    if (!Object.keys(data.charts).length || !("DecompressionStream" in window)) return;
    await loadLibrary();
    draw();
    openFromChart();
    map();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
    document.documentElement.classList.add("charted");
  }

  charts();
})();
