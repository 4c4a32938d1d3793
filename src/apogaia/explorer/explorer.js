// What the page does: one selection in all figures, colours, and the numbers and spectrum of a star.

const LISTED = 20; // stars of a selection that are named
const COMPLETIONS = 20;
const MOST_ERROR_BARS = 300;
const CLICK_RADIUS = 12; // [pixels]
const FIGURES = { map: ["x", "y"], kiel: ["teff", "logg"], parallaxes: ["nn_parallax", "gaia"] };
const SUMMARISED = ["dist", "relative_error", "fe_h", "teff", "logg", "snr", "sigmas"];

const element = id => document.getElementById(id);

function node(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function say(text, isFault = false) {
  element("status").textContent = text;
  element("status").classList.toggle("fault", isFault);
}

// With a real minus sign, and none before zero.
function written(value, decimals) {
  return value.toFixed(decimals).replace(/^-(?=0\.?0*$)/, "").replace("-", "−");
}

function median(values) {
  const sorted = Float64Array.from(values.filter(Number.isFinite)).sort();
  const n = sorted.length;
  return n ? (sorted[(n - 1) >> 1] + sorted[n >> 1]) / 2 : NaN;
}

function fit(range, values) {
  const known = values ? Array.from(values).filter(Number.isFinite) : [];
  if (!known.length) return;
  const [low, high] = known.reduce(([least, most], value) => [Math.min(least, value), Math.max(most, value)], [Infinity, -Infinity]);
  const margin = 0.05 * (high - low) || 1;
  range.setv({ start: low - margin, end: high + margin, reset_start: low - margin, reset_end: high + margin });
}

class Explorer {
  constructor(models, facts) {
    this.models = models;
    this.facts = facts;
    this.columns = {};
    this.chosen = -1;
    this.selected = { size: 0, rows: [], mask: new Uint8Array(0) };
    this.shiftIsDown = false;
    this.figures = Object.keys(FIGURES).filter(name => name in models);
  }

  // ------------------------------------------------------------------ reading

  async read() {
    const { facts, models } = this;
    [this.ids, this.flags, this.bad] = await Promise.all([unpackTexts("ids"), unpackIntegers("flags"), unpackIntegers("bad")]);
    const names = Object.keys(facts.columns);
    const unpacked = await Promise.all(names.map(name => unpackFloats(`column-${name}`)));
    names.forEach((name, i) => { this.columns[name] = unpacked[i]; });
    this.texts = await Promise.all(facts.texts.map((_, i) => unpackTexts(`text-${i}`)));
    this.layers = new Layers(this.bad);
    this.colours = { index: new Int16Array(this.ids.length), palette: null };
    this.rasters = this.figures.map(name => {
      const [xs, ys] = FIGURES[name].map(column => this.columns[column]);
      return new Raster(models[name], models[`${name}_image`], xs, ys, this.layers, this.colours);
    });
    this.embedded = Object.keys(facts.spectra).map(Number);
    this.wavelength = this.embedded.length ? await unpackFloats("wavelength") : null;
  }

  place(rows) {
    const places = {};
    for (const name of ["x", "y", "teff", "logg", "nn_parallax", "gaia"]) {
      places[name] = rows.map(row => this.value(name, row));
    }
    return places;
  }

  value(name, row) {
    return name in this.columns ? this.columns[name][row] : NaN;
  }

  // ------------------------------------------------------------------ controls

  start() {
    this.fillColours();
    this.colour();
    this.select([]);
    this.connect();
    if (this.embedded.length) this.chooseFirst();
  }

  connect() {
    element("palette").addEventListener("change", () => this.colour());
    element("colour").addEventListener("change", () => this.colour());
    element("find").addEventListener("submit", event => { event.preventDefault(); this.find(element("star").value); });
    element("star").addEventListener("input", () => this.complete());
    element("show-flagged").addEventListener("change", () => this.arrange());
    element("show-rings")?.addEventListener("change", event => this.ring(event.target.checked));
    element("clear").addEventListener("click", () => this.select([]));
    for (const kind of ["keydown", "keyup", "pointerdown", "pointermove"]) {
      window.addEventListener(kind, event => { this.shiftIsDown = event.shiftKey; }, true);
    }
    window.addEventListener("keydown", event => { if (event.key === "Escape") this.select([]); });
    this.figures.forEach((name, i) => this.connectFigure(this.models[name], name, this.rasters[i]));
  }

  connectFigure(figure, name, raster) {
    figure.on_event("tap", event => this.click(name, event.x, event.y));
    figure.on_event("selectiongeometry", event => { if (event.final) this.selectInside(event.geometry, raster); });
    const resized = () => {
      if (name === "map") this.equalScales();
      raster.redraw();
    };
    figure.on_event("reset", resized);
    for (const size of ["inner_width", "inner_height"]) figure.properties[size].change.connect(resized);
    for (const range of [figure.x_range, figure.y_range]) range.change.connect(() => raster.redraw());
    resized();
  }

  fillColours() {
    const groups = new Map();
    for (const [name, column] of Object.entries(this.facts.columns)) {
      if (!groups.has(column.group)) groups.set(column.group, node("optgroup", undefined, { label: column.group }));
      groups.get(column.group).append(node("option", this.title(name), { value: name }));
    }
    element("colour").append(...groups.values());
    element("colour").value = this.facts.firstColour;
  }

  title(name) {
    const { label, unit } = this.facts.columns[name];
    return unit ? `${label} [${unit}]` : label;
  }

  colour() {
    const name = element("colour").value;
    const palette = element("palette").value;
    const { low, high, decimals } = this.facts.columns[name];
    this.colours.palette = Uint8Array.from(this.facts.palettes[palette].match(/../g), byte => parseInt(byte, 16));
    const steps = this.colours.palette.length / 3;
    this.columns[name].forEach((value, row) => {
      const step = Math.floor((steps * (value - low)) / (high - low));
      this.colours.index[row] = Number.isFinite(value) ? Math.min(Math.max(step, 0), steps - 1) : NO_COLOUR;
    });
    for (const raster of this.rasters) raster.redraw();
    for (const other of Object.keys(this.facts.palettes)) element(`bar-${other}`).classList.toggle("shown", other === palette);
    element("scale-low").textContent = `≤ ${written(low, decimals)}`;
    element("scale-high").textContent = `≥ ${written(high, decimals)}`;
  }

  arrange() {
    this.layers.update(this.selected, element("show-flagged").checked);
    for (const raster of this.rasters) raster.redraw();
  }

  ring(visible) {
    this.models.embedded.data = this.place(visible ? this.embedded : []);
  }

  // One kiloparsec is as long in x as in y, whatever the shape of the figure.
  equalScales() {
    const { x_range, y_range, inner_width, inner_height } = this.models.map;
    if (!(inner_width > 0 && inner_height > 0)) return;
    const perPixel = Math.max(Math.abs(x_range.end - x_range.start) / inner_width, Math.abs(y_range.end - y_range.start) / inner_height);
    for (const [range, pixels] of [[x_range, inner_width], [y_range, inner_height]]) {
      const middle = (range.start + range.end) / 2;
      range.setv({ start: middle - (perPixel * pixels) / 2, end: middle + (perPixel * pixels) / 2 });
    }
  }

  // ------------------------------------------------------------------ choosing a star

  complete() {
    const begin = element("star").value.trim().toUpperCase();
    const found = new Set();
    for (let i = 0; begin.length > 2 && i < this.ids.length && found.size < COMPLETIONS; i++) {
      if (this.ids[i].toUpperCase().includes(begin)) found.add(this.ids[i]);
    }
    element("names").replaceChildren(...[...found].sort().map(id => node("option", undefined, { value: id })));
  }

  find(text) {
    const wanted = text.trim().toUpperCase();
    if (!wanted) return;
    const rows = [];
    this.ids.forEach((id, row) => { if (id.toUpperCase() === wanted) rows.push(row); });
    if (!rows.length) {
      say(`No star ${text.trim()} in this page.`, true);
      return;
    }
    const snr = row => (Number.isFinite(this.value("snr", row)) ? this.value("snr", row) : -Infinity);
    const has = row => (row in this.facts.spectra ? 1 : 0);
    rows.sort((a, b) => has(b) - has(a) || snr(b) - snr(a));
    this.choose(rows[0]);
    if (rows.length > 1) say(`${this.ids[rows[0]]} has ${rows.length} spectra; this is the one with the highest SNR.`);
  }

  click(figure, x, y) {
    const model = this.models[figure];
    const [xs, ys] = FIGURES[figure].map(name => this.columns[name]);
    const scaleX = model.inner_width / Math.abs(model.x_range.end - model.x_range.start);
    const scaleY = model.inner_height / Math.abs(model.y_range.end - model.y_range.start);
    const showsFlagged = element("show-flagged").checked;
    let nearest = -1;
    let least = CLICK_RADIUS ** 2;
    for (let i = 0; i < xs.length; i++) {
      const distance = ((xs[i] - x) * scaleX) ** 2 + ((ys[i] - y) * scaleY) ** 2;
      if (distance < least && (showsFlagged || !this.bad[i])) {
        nearest = i;
        least = distance;
      }
    }
    if (nearest >= 0) this.choose(nearest);
  }

  choose(row) {
    this.chosen = row;
    element("star").value = this.ids[row];
    this.models.chosen.data = this.place([row]);
    this.errorBars();
    say(`${this.ids[row]} is ringed in red.`);
    this.showPanel(row);
    this.showSpectrum(row);
  }

  // So that no panel is empty: of the stars with spectra the one in the middle of their distances.
  chooseFirst() {
    const byDistance = [...this.embedded].sort((a, b) => (this.value("dist", a) || 0) - (this.value("dist", b) || 0));
    this.choose(byDistance[byDistance.length >> 1]);
  }

  // ------------------------------------------------------------------ the selection

  selectInside(geometry, raster) {
    const found = inside(geometry, raster.xs, raster.ys, this.layers);
    this.select(this.shiftIsDown ? [...new Set([...this.selected.rows, ...found])].sort((a, b) => a - b) : found);
  }

  select(rows) {
    const mask = new Uint8Array(this.ids.length);
    for (const row of rows) mask[row] = 1;
    this.selected = { size: rows.length, rows, mask };
    this.arrange();
    this.errorBars();
    this.summarise();
  }

  summarise() {
    const { rows } = this.selected;
    const content = element("selection-content");
    if (!rows.length) {
      content.replaceChildren(node("p", "No stars are selected."));
      return;
    }
    const bySnr = [...rows].sort((a, b) => (this.value("snr", b) || 0) - (this.value("snr", a) || 0) || a - b);
    const flagged = rows.reduce((sum, row) => sum + (this.bad[row] ? 1 : 0), 0);
    const table = node("table");
    table.append(this.line("stars", rows.length.toLocaleString("en")));
    if (flagged) table.append(this.line("of them flagged as unusable", flagged.toLocaleString("en")));
    for (const name of SUMMARISED.filter(one => one in this.columns)) {
      const middle = median(rows.map(row => this.columns[name][row]));
      const { label, unit, decimals } = this.facts.columns[name];
      table.append(this.line(`median ${label}`, Number.isFinite(middle) ? `${written(middle, decimals)} ${unit}` : "unknown"));
    }
    const names = bySnr.slice(0, LISTED).map(row => {
      const button = node("button", this.ids[row] || `row ${row}`, { type: "button", class: "star" });
      button.addEventListener("click", () => this.choose(row));
      return button;
    });
    const more = rows.length > LISTED ? `The ${LISTED} with the highest SNR:` : "Highest SNR first:";
    content.replaceChildren(table, node("p", more), ...names);
    if (!this.selected.mask[this.chosen]) this.choose(bySnr.find(row => row in this.facts.spectra) ?? bySnr[0]);
  }

  // Error bars of the chosen star, and of the selected ones as long as they can be told apart.
  errorBars() {
    if (!this.models.parallaxes) return;
    const rows = this.selected.size <= MOST_ERROR_BARS ? [...this.selected.rows] : [];
    if (this.chosen >= 0) rows.push(this.chosen);
    const bars = { x: [], y: [], low_x: [], high_x: [], low_y: [], high_y: [] };
    for (const row of rows) {
      for (const [axis, name] of [["x", "nn_parallax"], ["y", "gaia"]]) {
        const value = this.value(name, row);
        const error = this.value(`${name}_error`, row);
        bars[axis].push(value);
        bars[`low_${axis}`].push(value - error);
        bars[`high_${axis}`].push(value + error);
      }
    }
    this.models.errors.data = bars;
  }

  // ------------------------------------------------------------------ one star

  line(label, text, kind) {
    const row = node("tr");
    row.append(node("td", label), node("td", text, kind ? { class: kind } : {}));
    return row;
  }

  showPanel(row) {
    element("panel-name").textContent = this.ids[row] || `row ${row}`;
    element("flags").replaceChildren(...this.flagLines(row));
    const tables = new Map();
    const add = (group, line) => {
      if (!tables.has(group)) {
        tables.set(group, node("table"));
        tables.get(group).append(node("caption", group));
      }
      tables.get(group).append(line);
    };
    for (const [name, column] of Object.entries(this.facts.columns)) {
      const value = this.columns[name][row];
      if (this.facts.errors.includes(name) || !Number.isFinite(value)) continue;
      const error = column.error ? this.columns[column.error][row] : NaN;
      const spread = Number.isFinite(error) ? ` ± ${written(error, column.decimals)}` : "";
      add(column.group, this.line(column.label, `${written(value, column.decimals)}${spread} ${column.unit}`));
    }
    this.facts.texts.forEach((label, i) => {
      if (this.texts[i][row]) add("Names", this.line(label, this.texts[i][row], "text"));
    });
    element("numbers").replaceChildren(...tables.values());
  }

  flagLines(row) {
    if (!this.facts.meanings.length) return [];
    const set = this.facts.meanings.filter(([bit]) => this.flags[row] & bit);
    if (!set.length) return [node("p", "No flag is set.", { class: "flag" })];
    return set.map(([, name, meaning]) => {
      const line = node("p", undefined, { class: "flag" });
      line.append(node("b", name), `: ${meaning}`);
      return line;
    });
  }

  async showSpectrum(row) {
    const note = element("spectrum-note");
    const plots = element("spectrum-plots");
    if (!(row in this.facts.spectra)) {
      note.replaceChildren("This page does not hold the spectrum of this star. To get it, run ");
      note.append(node("code", `${this.facts.command} --star ${this.ids[row]}`));
      const similar = this.mostSimilar(row);
      if (similar >= 0) {
        const button = node("button", "Show the most similar star with a spectrum", { type: "button" });
        button.addEventListener("click", () => this.choose(similar));
        note.append(" ", button);
      }
      if (plots) plots.hidden = true;
      return;
    }
    const { flux, sensitivity } = await unpackSpectrum(`spectrum-${row}`, this.facts.fluxStep, this.facts.spectra[row]);
    if (row !== this.chosen) return;
    note.textContent = sensitivity
      ? "Below the spectrum: by how much the luminosity (fakemag) changes with the flux of a pixel."
      : "The sensitivity is unknown: see the end of the page.";
    plots.hidden = false;
    this.models.spectrum.data = this.withGaps(flux, sensitivity);
    for (const [name, values] of [["flux", flux], ["sensitivity", sensitivity]]) fit(this.models[name].y_range, values);
  }

  // Between detectors the line is broken by a point without a value.
  withGaps(flux, sensitivity) {
    const data = { wavelength: [], flux: [], sensitivity: [] };
    const { wavelength } = this;
    for (let i = 0; i < flux.length; i++) {
      if (i && wavelength[i] - wavelength[i - 1] > 1) {
        data.wavelength.push(NaN);
        data.flux.push(NaN);
        data.sensitivity.push(NaN);
      }
      data.wavelength.push(wavelength[i]);
      data.flux.push(flux[i]);
      data.sensitivity.push(sensitivity ? sensitivity[i] : NaN);
    }
    return data;
  }

  mostSimilar(row) {
    let nearest = -1;
    let least = Infinity;
    for (const other of this.embedded) {
      let distance = 0;
      for (const [name, scale] of [["teff", 100], ["logg", 0.2], ["fe_h", 0.2]]) {
        const difference = (this.value(name, other) - this.value(name, row)) / scale;
        if (Number.isFinite(difference)) distance += difference ** 2;
      }
      if (distance < least) {
        least = distance;
        nearest = other;
      }
    }
    return nearest;
  }
}

async function startExplorer(models) {
  if (typeof DecompressionStream === "undefined") {
    say("This page needs a browser of 2023 or later: its numbers are compressed.", true);
    return;
  }
  const explorer = new Explorer(models, JSON.parse(element("facts").textContent));
  window.explorer = explorer;
  try {
    await explorer.read();
    explorer.start();
  } catch (fault) {
    say(`The page cannot show its stars: ${fault.message}`, true);
    throw fault;
  }
  say(`${explorer.ids.length.toLocaleString("en")} stars are shown.`);
  document.body.dataset.ready = "yes";
}
