// The results page: filters the runs, and gives Bokeh's plots and table (made empty in page_figures.py) what to show.
// Texts from files reach the page as `textContent` or as data of Bokeh, which escapes it; never as HTML.
"use strict";
(async () => {
  const MOST_DOTS = 2000, MOST_LINES = 24, MOST_CHOICES = 60, MOST_NUMBERS = 16, FRONT = "#222222";
  const CURVE_COLORS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"];
  const DASHES = ["solid", "dashed", "dotted", "dotdash"];
  const byId = (id) => document.getElementById(id);
  const read = (id) => JSON.parse(byId(id).textContent);

  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  // ---- The runs

  const runs = read("runs_data"), details = read("details_data");
  const count = runs.count, everyRow = Array.from({length: count}, (_, row) => row);
  const plural = (number, what) => `${number.toLocaleString("en")} ${what}${number === 1 ? "" : "s"}`;
  const significant = new Intl.NumberFormat("en", {maximumSignificantDigits: 5});
  const number = (value) =>
    Number.isNaN(value) ? "–" : Number.isInteger(value) ? value.toLocaleString("en") :
      Number.isFinite(value) ? significant.format(value) : "∞";

  for (const column of runs.columns) {
    if (column.texts) {
      column.cells = column.codes.map((code) => column.texts[code]);
    } else {
      column.cells = column.values.map((value) => value === null ? NaN : value === "∞" ? Infinity : value);
      const distinct = [...new Set(column.cells)].sort((a, b) => a - b);
      if (distinct.length <= MOST_NUMBERS) {
        const place = new Map(distinct.map((value, code) => [value, code]));
        column.texts = distinct.map(number);
        column.codes = column.cells.map((value) => place.get(value));
      }
    }
  }
  const columns = new Map(runs.columns.map((column) => [column.name, column]));
  const cell = (name, row) => columns.has(name) ? columns.get(name).cells[row] : "";
  const written = new Map();  // column -> its numbers as text, made when they are first wanted
  function asText(name) {
    if (!written.has(name)) written.set(name, numbers(name).map(number));
    return written.get(name);
  }
  const numbers = (name) => columns.get(name)?.cells ?? new Array(count).fill(NaN);
  const accuracy = numbers("accuracy");
  const lineNames = [...new Set(runs.lines.map((line) => line.name))];
  const lineOf = (row) => runs.lines[runs.line[row]];
  const texts = runs.columns.filter((column) => !column.values);
  const sought = everyRow.map((row) => texts.map((column) => column.cells[row]).join("\n").toLowerCase());
  const severalStudies = new Set(runs.lines.map((line) => line.study)).size > 1;
  const told = everyRow.map((row) => {
    const seed = cell("seed", row), study = severalStudies ? lineOf(row).study : "";
    return `${cell("label", row)}${seed === "" ? "" : `, seed ${seed}`}${study ? ` (${study})` : ""}`;
  });

  // ---- Filters: each is null, or says of a row whether it may be shown

  const filters = new Map();  // key -> {told, allows}
  let shown = everyRow;
  const choices = [], ranges = [];

  function filterRows() {
    const keys = [...filters.keys()], tests = [...filters.values()].map((filter) => filter.allows);
    const found = [], others = new Map(keys.map((key) => [key, []]));  // rows that one filter alone hides
    for (let row = 0; row < count; row++) {
      let failed = -1, failures = 0;
      for (let each = 0; each < tests.length && failures < 2; each++) {
        if (!tests[each](row)) {
          failed = each;
          failures++;
        }
      }
      if (failures === 0) found.push(row);
      else if (failures === 1) others.get(keys[failed]).push(row);
    }
    return {found, others};
  }

  function setFilter(key, filter) {
    if (filter) filters.set(key, filter);
    else filters.delete(key);
    update();
  }

  function makeChoices() {
    for (const column of runs.columns) {
      const most = column.values ? MOST_NUMBERS : MOST_CHOICES;
      if (!column.choice || !column.texts || column.texts.length < 2 || column.texts.length > most) continue;
      const summary = make("summary"), menu = make("div", {class: "menu"}), chosen = new Set();
      const boxes = column.texts.map((text, code) => {
        const box = make("input", {type: "checkbox"}), amount = make("span", {class: "count"});
        box.addEventListener("change", () => {
          if (box.checked) chosen.add(code);
          else chosen.delete(code);
          apply();
        });
        menu.append(make("label", {}, box, make("span", {}, text || "–"), amount));
        return {box, amount};
      });
      const drop = make("details", {class: "drop", "data-column": column.name}, summary, menu);
      const show = () => {
        summary.textContent = chosen.size ? `${column.title}: ${chosen.size} of ${boxes.length}` : column.title;
        drop.classList.toggle("set", chosen.size > 0);
        boxes.forEach(({box}, code) => { box.checked = chosen.has(code); });
      };
      const apply = (codes = null) => {
        if (codes) {
          chosen.clear();
          codes.forEach((code) => chosen.add(code));
        }
        show();
        const said = `${column.title} (${chosen.size} of ${boxes.length})`;
        setFilter(column.name, chosen.size ? {told: said, allows: (row) => chosen.has(column.codes[row])} : null);
      };
      show();
      byId("choices").append(drop);
      choices.push({column, boxes, apply, clear: () => { chosen.clear(); show(); }});
    }
  }

  function makeRanges() {
    const menu = byId("ranges").querySelector(".menu");
    for (const column of runs.columns) {
      if (!column.values) continue;
      const [low, high] = extent(column.cells.filter(Number.isFinite));
      if (!(low < high)) continue;
      const field = (end, value) => make("input", {
        type: "number", step: "any", placeholder: String(value), "aria-label": `${column.title}, ${end}`,
        "data-column": column.name, "data-end": end,
      });
      const least = field("least", low), most = field("most", high);
      const apply = () => {
        const [from, to] = [least, most].map((input) => input.value === "" ? null : input.valueAsNumber);
        const said = [from === null ? "" : `≥ ${from}`, to === null ? "" : `≤ ${to}`].filter(Boolean).join(", ");
        setFilter(`range ${column.name}`, said ? {
          told: `${column.title} ${said}`,
          allows: (row) => (from === null || column.cells[row] >= from) && (to === null || column.cells[row] <= to),
        } : null);
      };
      for (const input of [least, most]) input.addEventListener("input", apply);
      menu.append(make("span", {}, column.title), least, "to", most);
      ranges.push({clear: () => { least.value = most.value = ""; }});
    }
    byId("ranges").hidden = !ranges.length;
  }

  function search() {
    const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    setFilter("search", words.length ? {
      told: `search “${words.join(" ")}”`,
      allows: (row) => words.every((word) => sought[row].includes(word)),
    } : null);
  }

  function showAll() {
    byId("search").value = "";
    [...choices, ...ranges].forEach((each) => each.clear());
    soloed.clear();
    filters.clear();
    update();
  }

  // ---- The legend: methods, of which some can be seen alone

  const soloed = new Set(), legend = new Map();

  function swatch(color, dash, marker) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const stroke = {solid: "", dashed: "6 3", dotted: "2 3", dotdash: "2 3 6 3"}[dash];
    const parts = [["line", {x1: 0, x2: 26, y1: 7, y2: 7, stroke: color, "stroke-width": 2.2, "stroke-dasharray": stroke}]];
    if (marker === "circle") parts.push(["circle", {cx: 13, cy: 7, r: 4, fill: color}]);
    const shapes = {
      square: "9,3 17,3 17,11 9,11", diamond: "13,2 18,7 13,12 8,7", triangle: "13,2 18,11 8,11",
      inverted_triangle: "13,12 18,3 8,3", plus: "12,2 14,2 14,6 18,6 18,8 14,8 14,12 12,12 12,8 8,8 8,6 12,6",
    };
    if (shapes[marker]) parts.push(["polygon", {points: shapes[marker], fill: color}]);
    for (const [name, value] of Object.entries({width: 26, height: 14, "aria-hidden": "true"})) svg.setAttribute(name, value);
    for (const [tag, attributes] of parts) {
      const part = document.createElementNS(svg.namespaceURI, tag);
      for (const [name, value] of Object.entries(attributes)) part.setAttribute(name, value);
      svg.append(part);
    }
    return svg;
  }

  function makeLegend() {
    for (const name of lineNames) {
      const line = runs.lines.find((each) => each.name === name), amount = make("span", {class: "quiet"});
      const button = make("button", {type: "button"}, swatch(line.color, line.dash, line.marker), name, amount);
      button.addEventListener("click", () => {
        if (!soloed.delete(name)) soloed.add(name);
        const said = `legend (${soloed.size} of ${lineNames.length})`;
        setFilter("legend", soloed.size ? {told: said, allows: (row) => soloed.has(lineOf(row).name)} : null);
      });
      byId("legend").append(make("li", {}, button));
      legend.set(name, {button, amount});
    }
  }

  // ---- What is drawn

  // The means over runs that differ in their seed alone, by line: [{line, cells: [{x, y, low, high, n}]}], by x.
  function means(rows, xs) {
    const cells = new Map();
    for (const row of rows) {
      const key = runs.group[row];
      if (!cells.has(key)) cells.set(key, {line: runs.line[row], x: [], y: []});
      cells.get(key).x.push(Math.log(xs[row]));
      cells.get(key).y.push(accuracy[row]);
    }
    const lines = new Map(), kind = byId("band").value;
    for (const {line, x, y} of cells.values()) {
      const mean = average(y), deviation = y.length > 1 ? Math.sqrt(sum(y.map((v) => (v - mean) ** 2)) / (y.length - 1)) : 0;
      const [low, high] = kind === "range" ? [Math.min(...y), Math.max(...y)] : [mean - deviation, mean + deviation];
      if (!lines.has(line)) lines.set(line, []);
      lines.get(line).push({x: Math.exp(average(x)), y: mean, low, high, n: y.length});
    }
    for (const found of lines.values()) found.sort((a, b) => a.x - b.x);
    return [...lines].sort(([a], [b]) => a - b).map(([line, found]) => ({line: runs.lines[line], cells: found}));
  }
  const sum = (values) => values.reduce((a, b) => a + b, 0);
  const average = (values) => sum(values) / values.length;

  // For each data set the runs than which none of it is as accurate at no more cost, or more accurate at the same.
  function fronts(rows, name) {
    const byData = new Map(), costs = numbers(name);
    for (const row of rows) {
      // Latencies of different machines are not compared.
      const data = [cell("data", row), name === "latency_ms" ? cell("latency_machine", row) : ""].filter(Boolean).join(" on ");
      if (!byData.has(data)) byData.set(data, []);
      byData.get(data).push(row);
    }
    return [...byData].map(([data, of]) => {
      of.sort((a, b) => costs[a] - costs[b] || accuracy[b] - accuracy[a]);
      let best = -Infinity;
      return {data, rows: of.filter((row) => accuracy[row] > best && ((best = accuracy[row]), true))};
    });
  }

  Bokeh.set_log_level("error"); // plots are empty until `update` fills them, which it would tell of
  const items = read("figures_data"), documents = {};
  for (const [name, item] of Object.entries(items)) {
    const views = await Bokeh.embed.embed_item(item);
    documents[name] = {views, named: (suffix) => views.roots[0].model.document.get_model_by_name(`${name}_${suffix}`),
      view: views.roots[0], model: views.roots[0].model};
  }
  // The table is told twice of each change of its rows, the second time with all that it needs: once is enough.
  const table = documents.table.view, updateGrid = table.updateGrid.bind(table);
  let waiting = false;
  table.updateGrid = () => {
    if (!waiting) queueMicrotask(() => { waiting = false; updateGrid(); });
    waiting = true;
  };
  const fill = (plot, suffix, data) => { documents[plot].named(suffix).data = data; };
  const placed = {};  // plot -> rows of its points, in their order

  // As many dots as are drawn within a moment; always the same ones of the same runs, spread as if by chance.
  function dotted(rows) {
    if (rows.length <= MOST_DOTS) return rows;
    const share = 2 ** 32 * MOST_DOTS / rows.length;
    return rows.filter((row) => (Math.imul(row + 1, 2654435761) >>> 0) < share);
  }

  function drawPoints(plot, all, name) {
    const xs = numbers(name), said = asText(name), rows = dotted(all);
    placed[plot] = rows;
    fill(plot, "points", {
      x: rows.map((row) => xs[row]), y: rows.map((row) => accuracy[row]), what: rows.map((row) => told[row]),
      shown_x: rows.map((row) => said[row]), color: rows.map((row) => lineOf(row).color),
      marker: rows.map((row) => lineOf(row).marker),
    });
  }

  // Around all that is drawn, on an axis of ratios and one of differences.
  function setRanges(plot, xs, ys) {
    const around = (values, least, [low, high] = extent(values)) => {
      const room = Math.max(0.05 * (high - low), least);
      return low <= high ? [low - room, high + room] : [0, 1];
    };
    const {x_range: across, y_range: up} = documents[plot].model;
    const set = (range, [start, end]) => range.setv({start, end, reset_start: start, reset_end: end});
    set(across, around(xs.map(Math.log), 0.1).map(Math.exp));
    set(up, around(ys, 0.005));
  }
  const extent = (values) => values.reduce(([a, b], value) => [Math.min(a, value), Math.max(b, value)], [Infinity, -Infinity]);

  // Bokeh's own ticks of log axes are even ones below two decades.
  function setTicks(plot) {
    const {start, end} = documents[plot].model.x_range, decades = Math.log10(end / start);
    const firsts = decades > 3 ? [1] : decades > 1.2 ? [1, 2, 5] : [1, 2, 3, 4, 5, 6, 7, 8, 9], ticks = [];
    for (let power = -6; power <= 15; power++) {
      ticks.push(...firsts.map((first) => power < 0 ? first / 10 ** -power : first * 10 ** power));
    }
    const ticker = documents[plot].named("ticker");
    if (ticker.ticks.length !== ticks.length) ticker.ticks = ticks; // else all would be drawn anew
  }

  const drawable = (xs) => shown.filter((row) => xs[row] > 0 && xs[row] < Infinity && !Number.isNaN(accuracy[row]));

  function missing(plot, rows, what) {
    const hidden = shown.length - rows.length, dots = placed[plot].length;
    return (dots < rows.length ? `Single runs: ${dots.toLocaleString("en")} of ${rows.length.toLocaleString("en")} drawn, means and fronts are of all. ` : "") +
      (hidden ? `Not drawn: ${plural(hidden, "run")} whose accuracy or ${what} is infinite or not known.` : "");
  }

  function drawCompression(plot, name) {
    const xs = numbers(name), rows = drawable(xs), found = means(rows, xs);
    const lines = found.length > MOST_LINES ? [] : found, band = byId("band").value !== "none";
    drawPoints(plot, rows, name);
    const cells = lines.flatMap(({line, cells: of}) => of.map((each) => ({...each, line})));
    fill(plot, "means", {
      x: cells.map((each) => each.x), y: cells.map((each) => each.y),
      color: cells.map((each) => each.line.color), marker: cells.map((each) => each.line.marker),
    });
    const color = lines.map(({line}) => line.color), up = (of, end) => of.map((each) => each[end]);
    const longer = lines.filter(({cells: of}) => of.length > 1);
    fill(plot, "lines", {xs: lines.map(({cells: of}) => up(of, "x")), ys: lines.map(({cells: of}) => up(of, "y")),
      color, dash: lines.map(({line}) => line.dash)});
    const bands = band ? longer.map(({cells: of}) => [...up(of, "high"), ...up(of, "low").reverse()]) : [];
    fill(plot, "bands", {
      xs: bands.map((_, place) => [...up(longer[place].cells, "x"), ...up(longer[place].cells, "x").reverse()]),
      ys: bands, color: bands.map((_, place) => longer[place].line.color),
    });
    setRanges(plot, rows.map((row) => xs[row]), [...rows.map((row) => accuracy[row]), ...bands.flat()]);
    const n = cells.map((each) => each.n), [low, high] = [Math.min(...n), Math.max(...n)];
    byId(`${plot}_note`).textContent =
      (n.length ? `Means of n = ${low === high ? low : `${low} to ${high}`} runs. ` : "") + missing(plot, rows, "compression");
    return found.length;
  }

  function drawFront() {
    const name = byId("cost").value, title = columns.get(name)?.title ?? "Cost";
    const costs = numbers(name), rows = drawable(costs), found = fronts(rows, name);
    documents.front.model.below[0].axis_label = title;
    drawPoints("front", rows, name);
    const all = found.flatMap((front) => front.rows);
    fill("front", "means", {
      x: all.map((row) => costs[row]), y: all.map((row) => accuracy[row]),
      color: all.map((row) => lineOf(row).color), marker: all.map((row) => lineOf(row).marker),
    });
    setRanges("front", rows.map((row) => costs[row]), rows.map((row) => accuracy[row]));
    const steps = (of, at) => of.flatMap((row, place) => place ? at(of[place - 1], row) : [at(row, row)[1]]);
    fill("front", "lines", {
      xs: found.map((front) => steps(front.rows, (_, row) => [costs[row], costs[row]])),
      ys: found.map((front) => steps(front.rows, (before, row) => [accuracy[before], accuracy[row]])),
      color: found.map(() => FRONT), dash: found.map((_, place) => DASHES[place % DASHES.length]),
    });
    const on = found.map(({data, rows: of}, place) =>
      `${plural(of.length, "run")}${data ? ` of ${data}` : ""}${found.length > 1 ? ` (${DASHES[place % DASHES.length]})` : ""}`);
    byId("front_note").textContent =
      (on.length ? `On the front, single runs drawn large: ${on.join(", ")}. ` : "") + missing("front", rows, "cost");
  }

  function noteLines(lines) {
    const band = byId("band").selectedOptions[0];
    byId("band_note").textContent = lines > MOST_LINES
      ? `${lines} lines would be drawn, one for each method and study: more than ${MOST_LINES}, so runs are shown alone. Filter to see means.`
      : "Lines: mean accuracy over runs that differ in their seed alone, at the geometric mean of their compressions. " +
        (band.value === "none" ? "" : `Bands: ${band.textContent.trim()}; none where n = 1.`);
  }

  // ---- All at once

  function update() {
    const {found, others} = filterRows();
    shown = found;
    for (const {column, boxes} of choices) {
      const amounts = new Array(boxes.length).fill(0);
      for (const row of shown) amounts[column.codes[row]]++;
      for (const row of others.get(column.name) ?? []) amounts[column.codes[row]]++;
      boxes.forEach(({amount}, code) => { amount.textContent = amounts[code].toLocaleString("en"); });
    }
    const amounts = new Map();
    for (const row of [...shown, ...others.get("legend") ?? []]) {
      amounts.set(lineOf(row).name, (amounts.get(lineOf(row).name) ?? 0) + 1);
    }
    for (const [name, {button, amount}] of legend) {
      button.setAttribute("aria-pressed", soloed.has(name));
      button.parentElement.hidden = !amounts.has(name) && !soloed.has(name);
      amount.textContent = (amounts.get(name) ?? 0).toLocaleString("en");
    }
    const hidden = count - shown.length, by = [...filters.values()].map((filter) => filter.told).join(", ");
    byId("status").textContent = hidden
      ? `${shown.length.toLocaleString("en")} of ${plural(count, "run")} shown; ${hidden.toLocaleString("en")} hidden by ${by}.`
      : `All ${plural(count, "run")} shown.`;
    byId("reset").disabled = !filters.size;
    documents.table.named("shown").indices = shown;
    draw();
  }

  function draw() {
    drawCompression("effective", "effective_compression");
    noteLines(drawCompression("direct", "compression"));
    drawFront();
    mark();
  }

  // ---- A run

  let chosen = null;

  function mark() {
    for (const [plot, name] of [["direct", "compression"], ["effective", "effective_compression"], ["front", byId("cost").value]]) {
      const drawn = chosen !== null && drawable(numbers(name)).includes(chosen);
      const ring = documents[plot].named("chosen");
      if (drawn || ring.data.x.length) {
        ring.data = drawn ? {x: [numbers(name)[chosen]], y: [accuracy[chosen]]} : {x: [], y: []};
      }
    }
    documents.table.named("source").selected.indices = chosen === null ? [] : [chosen];
  }

  function choose(row, scroll) {
    if (row === chosen) return;
    chosen = row;
    showRun(row);
    mark();
    if (scroll && matchMedia("(max-width: 1250px)").matches) byId("run").scrollIntoView();
  }

  function pairs(found) {
    const list = make("dl", {class: "facts"});
    for (const [name, value] of found) list.append(make("div", {}, make("dt", {}, name), make("dd", {}, value)));
    return list;
  }

  function showRun(row) {
    const run = details.runs[row], more = byId("run_more");
    byId("run_title").textContent = `${cell("label", row)}${cell("seed", row) === "" ? "" : `, seed ${cell("seed", row)}`}`;
    const facts = runs.columns.filter((column) => column.name !== "label" && !column.name.startsWith("settings."))
      .map((column) => [column.title, column.values ? number(column.cells[row]) : column.cells[row]])
      .filter(([, value]) => value !== "" && value !== "–");
    byId("run_facts").replaceChildren(pairs(facts));
    more.replaceChildren();
    if (run.layers !== undefined) more.append(make("h3", {}, "Density of each layer"), layers(run));
    const settings = (run.settings ?? []).map((place) => details.settings[place]);
    if (settings.length) {
      more.append(make("h3", {}, "Settings"), pairs(settings));
      more.lastChild.id = "run_settings";
    }
    if (run.figures) {
      const links = run.figures.map(([name, link]) => make("li", {}, make("a", {href: link}, name)));
      more.append(make("h3", {}, "Figures of the run"), make("ul", {class: "names"}, ...links));
    }
    showCurves(run.curves ?? []);
  }

  function layers(run) {
    const bar = (kind, value) => {
      const inner = make("div", {class: kind});
      inner.style.width = `${100 * (value ?? 0)}%`;
      return make("div", {class: "density"}, inner);
    };
    const head = make("tr", {}, make("th", {}, "Layer"), make("th", {class: "number"}, "Weights"),
      ...["direct", "effective"].map((kind) => make("th", {class: "number"}, make("span", {class: `key ${kind}`}), kind)));
    const body = make("tbody");
    details.layers[run.layers].forEach(([name, weights], place) => {
      const [kept, effective] = [run.kept[place], run.effective[place]];
      const cells = [weights, kept ?? NaN, effective ?? NaN].map((value) => make("td", {class: "number"}, number(value)));
      body.append(make("tr", {}, make("td", {}, name, bar("direct", kept), bar("effective", effective)), ...cells));
    });
    return make("table", {class: "layers"}, make("thead", {}, head), body);
  }

  function showCurves(curves) {
    byId("run_curves").hidden = !curves.length;
    const sides = {accuracy_curves: [], loss_curves: []};
    const names = curves.map(([name, steps, values], place) => {
      const text = details.names[name], color = CURVE_COLORS[place % CURVE_COLORS.length];
      const dash = DASHES[Math.floor(place / CURVE_COLORS.length) % DASHES.length];
      sides[/(^|_)(accuracy|error|top)/.test(text) ? "accuracy_curves" : "loss_curves"]
        .push({xs: details.steps[steps], ys: values.map((value) => value ?? NaN), color, dash});
      return make("li", {}, swatch(color, dash), text.replaceAll("_", " "));
    });
    byId("curve_names").replaceChildren(...names);
    for (const [plot, lines] of Object.entries(sides)) {
      byId(`plot_${plot}`).hidden = !lines.length;
      fill(plot, "lines", Object.fromEntries(["xs", "ys", "color", "dash"].map((key) => [key, lines.map((line) => line[key])])));
    }
  }

  // ---- Beginning

  function start() {
    fill("table", "source", Object.fromEntries(runs.columns.filter((column) => column.shown)
      .map((column) => [column.name, column.cells])));
    makeChoices();
    makeRanges();
    makeLegend();
    const same = runs.columns.filter((column) => !column.shown && new Set(column.cells).size === 1);
    byId("same").textContent = (same.length ? "The same in all runs: " : "") +
      same.map((column) => `${column.title} ${column.values ? number(column.cells[0]) : column.cells[0]}`).join(" · ");
    for (const name of runs.costs) byId("cost").append(make("option", {value: name}, columns.get(name).title));
    byId("search").addEventListener("input", search);
    byId("reset").addEventListener("click", showAll);
    byId("band").addEventListener("change", draw);
    byId("cost").addEventListener("change", () => { drawFront(); mark(); });
    byId("dots").addEventListener("change", () => {
      for (const plot of ["direct", "effective"]) documents[plot].named("dots").visible = byId("dots").checked;
    });
    document.addEventListener("click", (event) => {
      for (const drop of document.querySelectorAll(".drop[open]")) if (!drop.contains(event.target)) drop.open = false;
    });
    document.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      for (const drop of document.querySelectorAll(".drop[open]")) {
        drop.open = false;
        drop.querySelector("summary").focus();
      }
    });
    for (const plot of ["direct", "effective", "front"]) {
      for (const end of ["start", "end"]) {
        documents[plot].model.x_range.properties[end].change.connect(() => setTicks(plot));
      }
      const selected = documents[plot].named("points").selected;
      selected.change.connect(() => {
        if (!selected.indices.length) return;
        const there = selected.indices.map((place) => placed[plot][place]);
        selected.indices = [];
        choose(there[(there.indexOf(chosen) + 1) % there.length], true);
        if (there.length > 1) {
          byId("run_facts").prepend(make("p", {class: "quiet"}, `One of ${there.length} runs there; a further click shows the next.`));
        }
      });
    }
    const inTable = documents.table.named("source").selected;
    inTable.change.connect(() => {
      if (inTable.indices.length) choose(inTable.indices.at(-1), true);
    });
    // Arrow keys move SlickGrid's active cell.
    const {grid, data, shadow_el: shadow} = table;
    grid.onActiveCellChanged.subscribe((_, {row}) => choose(data.index[row], false));
    for (const header of shadow.querySelectorAll(".slick-header-column")) {
      header.tabIndex = 0;
      header.addEventListener("keydown", (event) => { if (event.key === "Enter") header.click(); });
    }
    update();
    if (runs.lines.length > MOST_LINES) showLargestStudy();
    document.body.dataset.ready = "true";
  }

  // Too many lines to be told apart: begins with the runs of one study, which the line of status says.
  function showLargestStudy() {
    const sizes = new Map();
    for (const row of everyRow) sizes.set(lineOf(row).study, (sizes.get(lineOf(row).study) ?? 0) + 1);
    const [largest] = [...sizes].sort(([, a], [, b]) => b - a)[0];
    const row = everyRow.find((each) => lineOf(each).study === largest);
    for (const {column, apply} of choices) {
      if (["family", "network", "data"].includes(column.name)) apply([column.codes[row]]);
    }
  }

  start();
})();
