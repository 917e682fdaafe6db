// The leaderboard page: sorting, filtering and folding tables, two themes, figures drawn when seen.
(() => {
  "use strict";

  const root = document.documentElement;
  const all = (selector, where = document) => Array.from(where.querySelectorAll(selector));
  const first = (selector, where = document) => where.querySelector(selector);

  // ---- theme ------------------------------------------------------------------------------

  const THEME_KEY = "fersearch-theme";
  const darkSystem = window.matchMedia("(prefers-color-scheme: dark)");

  // A page from disk may have no storage; the choice then holds until the page is closed.
  const memory = {
    read() {
      try { return window.localStorage.getItem(THEME_KEY); } catch { return null; }
    },
    write(value) {
      try { window.localStorage.setItem(THEME_KEY, value); } catch { /* nothing to keep it in */ }
    },
  };

  const theme = () => root.dataset.theme || (darkSystem.matches ? "dark" : "light");

  function showTheme() {
    const button = first("#theme");
    button.textContent = theme() === "dark" ? "Light theme" : "Dark theme";
    redrawAll();
  }

  function startTheme() {
    const kept = memory.read();
    if (kept === "dark" || kept === "light") root.dataset.theme = kept;
    const button = first("#theme");
    button.hidden = false;
    button.addEventListener("click", () => {
      root.dataset.theme = theme() === "dark" ? "light" : "dark";
      memory.write(root.dataset.theme);
      showTheme();
    });
    darkSystem.addEventListener("change", showTheme);
    showTheme();
  }

  // ---- tables -----------------------------------------------------------------------------

  function startTable(board) {
    const table = first(".ranking", board);
    if (!table) return;
    const heads = all("thead th", table);
    const entries = all("tbody.entry", table);
    const count = first(".count", board);
    const filter = first(".filter", board);
    const role = first(".role-choice", board);
    first(".controls", board).hidden = false;

    function say(sorted = "") {
      const shown = entries.filter((entry) => !entry.hidden).length;
      count.textContent = `${shown} of ${entries.length} ${entries.length === 1 ? "model" : "models"}${sorted}`;
    }

    function applyFilter() {
      const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
      for (const entry of entries) {
        const text = entry.dataset.text;
        const fits = words.every((word) => text.includes(word));
        entry.hidden = !fits || Boolean(role && role.value && entry.dataset.role !== role.value);
      }
      say();
    }

    function keyOf(entry, column) {
      const { value, session } = first("tr.figures", entry).children[column].dataset;
      const number = Number(value);
      return { value: value === undefined || Number.isNaN(number) ? value : number, session: session || "" };
    }

    function compare(a, b, sign) {
      if (a.value === undefined || b.value === undefined) {
        return (a.value === undefined) - (b.value === undefined);
      }
      // Latencies of different sessions do not compare, so each session keeps to itself.
      if (a.session !== b.session) return a.session < b.session ? -1 : 1;
      if (typeof a.value === "number" && typeof b.value === "number") return sign * (a.value - b.value);
      return sign * String(a.value).localeCompare(String(b.value));
    }

    function sortBy(column) {
      const head = heads[column];
      const now = head.getAttribute("aria-sort");
      const turned = now === "ascending" ? "descending" : "ascending";
      const direction = now === "none" ? head.dataset.first : turned;
      const sign = direction === "ascending" ? 1 : -1;
      heads.forEach((other) => other.setAttribute("aria-sort", other === head ? direction : "none"));
      entries
        .map((entry, place) => ({ entry, place, key: keyOf(entry, column) }))
        .sort((a, b) => compare(a.key, b.key, sign) || a.place - b.place)
        .forEach(({ entry }) => table.append(entry));
      say(`, sorted by ${head.dataset.name}, ${direction}`);
    }

    heads.forEach((head, column) => first("button", head).addEventListener("click", () => sortBy(column)));
    filter.addEventListener("input", applyFilter);
    if (role) role.addEventListener("change", applyFilter);
    for (const button of all(".toggle", board)) {
      button.addEventListener("click", () => {
        const show = button.getAttribute("aria-pressed") !== "true";
        button.setAttribute("aria-pressed", String(show));
        for (const cell of all("[data-group]", table)) {
          if (cell.dataset.group === button.dataset.group) cell.hidden = !show;
        }
      });
    }
    table.addEventListener("click", (event) => {
      const button = event.target.closest(".open");
      if (!button) return;
      const open = button.getAttribute("aria-expanded") !== "true";
      button.setAttribute("aria-expanded", String(open));
      document.getElementById(button.getAttribute("aria-controls")).hidden = !open;
    });
    say();
  }

  // ---- commands ---------------------------------------------------------------------------

  function selectText(element) {
    const range = document.createRange();
    range.selectNodeContents(element);
    const selection = window.getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
  }

  async function copy(button) {
    const code = first("code", button.closest(".command"));
    let done = false;
    try {
      await navigator.clipboard.writeText(code.textContent);
      done = true;
    } catch {
      selectText(code);
      try { done = document.execCommand("copy"); } catch { done = false; }
    }
    button.textContent = done ? "Copied" : "Selected";
    window.setTimeout(() => { button.textContent = "Copy"; }, 1600);
  }

  // ---- figures ----------------------------------------------------------------------------

  const drawn = new Map(); // figure element -> its state
  let printing = false; // paper is white, whatever the screen is
  let themes = null;
  let plotly = null;

  // The plotting library stands in the page as text: it is parsed when a figure is first drawn,
  // so that the table does not wait for it.
  function loadPlotly() {
    plotly ??= new Promise((resolve) => {
      const load = () => {
        const script = document.createElement("script");
        script.textContent = first("#plotly").textContent;
        document.head.append(script);
        script.remove();
        resolve(window.Plotly);
      };
      if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", load, { once: true });
      else load();
    });
    return plotly;
  }

  function coloured(value, colours) {
    if (Array.isArray(value)) return value.map((item) => coloured(item, colours));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, coloured(item, colours)]));
    }
    return typeof value === "string" && Object.hasOwn(colours, value) ? colours[value] : value;
  }

  function narrowed(layout, width) {
    const small = { ...layout, dragmode: window.matchMedia("(pointer: fine)").matches ? "zoom" : false };
    if (width < 520) {
      small.font = { ...layout.font, size: 10.5 };
      small.margin = { ...layout.margin, l: 34, r: 8 };
      const { narrow_ticktext: names, narrow_annotations: labels } = layout.meta || {};
      if (names) small.yaxis = { ...layout.yaxis, ticktext: names };
      if (labels) small.annotations = labels;
    }
    return small;
  }

  async function draw(figure) {
    const library = await loadPlotly();
    const state = drawn.get(figure);
    const plot = first(".plot", figure);
    themes ??= JSON.parse(first("#themes").textContent);
    const shown = printing ? "light" : theme();
    const colours = themes[shown];
    const variant = state.variants[state.chosen];
    const config = { displayModeBar: false, responsive: true };
    const layout = narrowed(coloured(variant.layout, colours), plot.clientWidth);
    plot.style.height = `${variant.layout.height}px`;
    await library.react(plot, coloured(variant.data, colours), layout, config);
    figure.dataset.drawn = shown;
  }

  function startFigure(figure) {
    if (drawn.has(figure)) return undefined;
    const { variants } = JSON.parse(first("script", figure).textContent);
    drawn.set(figure, { variants, chosen: 0 });
    const choice = first(".choice select", figure);
    if (choice) drawn.get(figure).chosen = Number(choice.value);
    return draw(figure);
  }

  async function save(figure) {
    const library = await loadPlotly();
    await startFigure(figure);
    const { clientWidth: width, clientHeight: height } = first(".plot", figure);
    await library.downloadImage(first(".plot", figure), { format: "svg", width, height, filename: figure.id });
  }

  function redrawAll() {
    return Promise.all(Array.from(drawn.keys(), draw));
  }

  function fillTable(figure) {
    startFigure(figure);
    const { variants, chosen } = drawn.get(figure);
    const { header, rows } = variants[chosen];
    const table = document.createElement("table");
    const line = (cells, where, scope) => {
      const tr = where.insertRow();
      cells.forEach((text, place) => {
        const head = scope === "col" || place === 0;
        const cell = document.createElement(head ? "th" : "td");
        if (head) cell.scope = scope;
        if (text.length > 48) cell.className = "long";
        cell.textContent = text;
        tr.append(cell);
      });
    };
    line(header, table.createTHead(), "col");
    const body = table.createTBody();
    rows.forEach((cells) => line(cells, body, "row"));
    first(".data .scroll", figure).replaceChildren(table);
  }

  function startFigures() {
    const figures = all("figure");
    for (const figure of figures) {
      const details = first(".data", figure);
      details.addEventListener("toggle", () => { if (details.open) fillTable(figure); });
      const choice = first(".choice select", figure);
      if (!choice) continue;
      choice.addEventListener("change", () => {
        startFigure(figure);
        drawn.get(figure).chosen = Number(choice.value);
        draw(figure);
        if (details.open) fillTable(figure);
      });
    }
    const observer = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        observer.unobserve(entry.target);
        startFigure(entry.target);
      }
    }, { rootMargin: "300px 0px" });
    figures.forEach((figure) => observer.observe(figure));
    window.addEventListener("beforeprint", () => {
      printing = true;
      redrawAll();
      figures.forEach(startFigure);
    });
    window.addEventListener("afterprint", () => {
      printing = false;
      redrawAll();
    });
  }

  startTheme();
  all(".board").forEach(startTable);
  document.addEventListener("click", (event) => {
    const button = event.target.closest(".copy, .save");
    if (!button) return;
    if (button.classList.contains("copy")) copy(button);
    else save(button.closest("figure"));
  });
  startFigures();
  root.dataset.ready = String(Math.round(performance.now()));
})();
