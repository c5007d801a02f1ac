// Pictures over time, drawn by uPlot. Each has its figures as a table beside it.
"use strict";

(() => {
  const { h, figure, moment, table } = ModelRelease;
  const HEIGHT = 200;
  const MOST_ROWS = 60;
  const charts = new Set();

  const colour = (name) => getComputedStyle(document.body).getPropertyValue(`--${name}`).trim();

  // One picture: `lines` say what is drawn, `bands` which two lines a band lies between.
  class Chart {
    constructor({ title, unit, lines, bands = [], height = HEIGHT, range = null, marks = () => [] }) {
      Object.assign(this, { title, unit, lines, bands, height, range, marks });
      this.place = h("div", { class: "plot", role: "img" });
      this.values = lines.map((line) => h("span", { class: "value" }));
      const items = lines.map((line, index) => line.hidden ? null : h("li", {}, h("span", { class: `key ${line.colour} ${line.dash ? "dashed" : ""} ${line.band ? "band" : ""}`, "aria-hidden": "true" }), line.label, " ", this.values[index]));
      this.figures = h("div");
      this.details = h("details", { ontoggle: () => this.fillTable() }, h("summary", {}, "Figures as a table"), this.figures);
      this.element = h("figure", { class: "chart" }, h("figcaption", {}, title), this.place, h("ul", { class: "legend" }, items), this.details);
      charts.add(this);
      this.observer = new ResizeObserver(() => this.fit());
      this.observer.observe(this.place);
    }

    // Show data: seconds, and a column for each line. The last value of each is in the legend.
    show(data) {
      this.data = data;
      this.place.setAttribute("aria-label", `${this.title}. ${this.words(data[0].length - 1)}`);
      this.tell(data[0].length - 1);
      this.fillTable();
      if (this.plot && data[0].length > 2 === this.many) this.plot.setData(data);
      else this.draw();
    }

    words(index) {
      if (index < 0) return "Nothing was seen yet.";
      const told = this.lines.map((line, at) => [line.label, this.data[at + 1][index]]);
      return told.filter(([, value]) => value !== null && value !== undefined).map(([label, value]) => `${label}: ${figure(value)}${this.unit}`).join(", ");
    }

    tell(index) {
      this.lines.forEach((line, at) => {
        const value = index < 0 ? null : this.data[at + 1][index];
        const other = line.band ? this.data[line.band][index] : null;
        const text = value === null || value === undefined ? "–" : `${line.band ? `${figure(other)} to ` : ""}${figure(value)}${this.unit}`;
        this.values[at].textContent = text;
      });
    }

    fillTable() {
      if (!this.details.open || !this.data) return;
      const [at, ...columns] = this.data;
      const step = Math.max(1, Math.ceil(at.length / MOST_ROWS));
      const rows = at.map((seconds, index) => [moment(seconds), ...columns.map((column) => figure(column[index]))]);
      const kept = rows.filter((_, index) => (rows.length - 1 - index) % step === 0).reverse();
      this.figures.replaceChildren(table(`${this.title}${this.unit ? `, in${this.unit}` : ""}`, ["time", ...this.lines.map((line) => line.label)], kept));
    }

    draw() {
      this.plot?.destroy();
      this.plot = null;
      this.many = this.data && this.data[0].length > 2;
      if (this.data && this.place.clientWidth) this.plot = new uPlot(this.options(), this.data, this.place);
    }

    fit() {
      const width = this.place.clientWidth;
      if (!width) return;
      if (this.plot) this.plot.setSize({ width, height: this.height });
      else this.draw();
    }

    options() {
      const axis = { stroke: colour("quiet"), font: "12px system-ui, sans-serif", grid: { stroke: colour("grid"), width: 1 }, ticks: { show: false } };
      const series = this.lines.map((line) => ({
        label: line.label, stroke: line.hidden ? "transparent" : colour(line.colour), width: line.width ?? 2, dash: line.dash ? [6, 5] : undefined,
        paths: line.steps ? uPlot.paths.stepped({ align: 1 }) : undefined,
        points: { show: !this.many && !line.hidden, size: 7, fill: colour(line.colour) },
      }));
      const bands = this.bands.map(({ between, colour: name }) => ({ series: between, fill: colour(name) }));
      return {
        width: this.place.clientWidth, height: this.height, legend: { show: false },
        cursor: { y: false, drag: { x: true, y: false } },
        scales: { x: { time: true, range: around }, y: { range: (plot, low, high) => this.range ? this.range(this.data, low, high) : padded(low, high) } },
        axes: [{ ...axis, space: 90 }, { ...axis, size: 58, values: (_, ticks) => ticks.map((tick) => `${figure(tick)}${this.unit.trim() === "%" ? " %" : ""}`) }],
        series: [{}, ...series], bands,
        hooks: { setCursor: [(plot) => this.tell(plot.cursor.idx ?? this.data[0].length - 1)], draw: [(plot) => this.mark(plot)] },
        tzDate: ModelRelease.utcPictures ? (seconds) => uPlot.tzDate(new Date(1000 * seconds), "UTC") : undefined,
        fmtDate: ticksOf,
      };
    }

    // Draw what happened as lines from top to bottom, with a word each.
    mark(plot) {
      const { ctx } = plot;
      const { left, top, width, height } = plot.bbox;
      const ratio = window.devicePixelRatio || 1;
      ctx.save();
      ctx.font = `${11 * ratio}px system-ui, sans-serif`;
      ctx.fillStyle = colour("quiet");
      ctx.strokeStyle = colour("mark");
      ctx.lineWidth = ratio;
      ctx.textAlign = "left";
      ctx.textBaseline = "top";
      let free = left;
      for (const { at, word } of this.marks()) {
        const x = Math.round(plot.valToPos(at, "x", true));
        if (x < left || x > left + width) continue;
        ctx.beginPath();
        ctx.moveTo(x, top);
        ctx.lineTo(x, top + height);
        ctx.stroke();
        const room = ctx.measureText(word).width + 8 * ratio;
        if (x < free || x + room > left + width) continue;
        ctx.fillText(word, x + 4 * ratio, top + 2 * ratio);
        free = x + room;
      }
      ctx.restore();
    }

    destroy() {
      this.plot?.destroy();
      this.observer.disconnect();
      charts.delete(this);
    }
  }

  // Hours and minutes by the day's clock of 24.
  function ticksOf(template) {
    return uPlot.fmtDate(template.replace("{h}:{mm}:{ss}{aa}", "{HH}:{mm}:{ss}").replace("{h}:{mm}{aa}", "{HH}:{mm}").replace("{h}{aa}", "{HH}:00").replace("{aa}", "").replace("{M}/{D}/{YY}", "{YYYY}-{MM}-{DD}").replace("{M}/{D}", "{MM}-{DD}"));
  }

  const known = (value) => value !== null && value !== undefined;

  function around(plot, low, high) {
    const moments = plot.data[0];
    // Of one look uPlot makes an axis of three years.
    if (moments.length === 1) return [moments[0] - 60, moments[0] + 60];
    return low === null ? [0, 1] : [low, high];
  }

  function padded(low, high) {
    if (low === null || high === null) return [0, 1];
    const room = (high - low || Math.abs(high) || 1) * 0.1;
    return [low >= 0 ? Math.max(0, low - room) : low - room, high + room];
  }

  // Percent of a whole, with room for words above.
  const shares = () => [0, 112];

  // From 0 to above the largest, but for the first tenth, in which a share is of a handful of requests.
  function fromZero(data) {
    const kept = data.slice(1).flatMap((column) => column.slice(Math.floor(column.length / 10)));
    return [0, 1.2 * Math.max(...kept.filter(known), 0) || 1];
  }

  // Around the lines that decide: what an interval was in the first minutes is wider than any picture.
  function aroundLines(data) {
    const [low, high, tolerated, margin, counted] = data.slice(1);
    const lines = [...tolerated, ...margin].filter(known);
    const newest = [low, high, counted].map((column) => column.findLast(known)).filter(known);
    const reach = Math.max(...[...lines, ...newest].map(Math.abs), 0.05);
    const later = [low, high].flatMap((column) => column.slice(Math.floor(column.length / 3))).filter(known);
    const kept = later.map((value) => Math.max(-2.5 * reach, Math.min(2.5 * reach, value)));
    const all = [...lines, ...newest, ...kept, 0];
    const [bottom, top] = [Math.min(...all), Math.max(...all)];
    const room = 0.12 * (top - bottom);
    return [bottom - room, top + room];
  }

  // The colours of a picture are drawn: another scheme draws them anew.
  for (const query of ["(prefers-color-scheme: dark)", "(prefers-contrast: more)"]) {
    matchMedia(query).addEventListener("change", () => charts.forEach((chart) => chart.draw()));
  }

  Object.assign(ModelRelease, { Chart, ranges: { shares, fromZero, aroundLines } });
})();
