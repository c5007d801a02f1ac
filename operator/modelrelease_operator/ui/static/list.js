// All releases: a table that is filtered and sorted, and kept up to date line by line.
"use strict";

(() => {
  const { h, count, percent, phase, verdict, badge, meter, NOTHING } = ModelRelease;
  const GOING = ["Pending", "Starting", "Shadowing", "Progressing", "Paused", "Promoting", "RollingBack"];
  const SHOWS = [
    ["all", "All", () => true],
    ["going", "Going on", (row) => GOING.includes(row.phase)],
    ["person", "Want a person", (row) => row.person],
    ["rejected", "Rejected", (row) => row.rejected],
    ["drifted", "Drifted", (row) => row.drifted],
  ];
  const COLUMNS = [
    ["release", "Release", (row) => [row.namespace, row.name]],
    ["phase", "Phase", (row) => [row.person ? 0 : 1, GOING.includes(row.phase) ? 0 : 1, row.phase]],
    ["versions", "Versions", (row) => [row.stable ?? ""]],
    ["weight", "Weight", (row) => [-(row.asked ?? -1)]],
    ["evidence", "Evidence", (row) => [-(row.back ?? -1), -(row.on ?? -1)]],
    ["message", "What is said", (row) => [row.message]],
  ];

  // Numbers by size, texts as people order them: `qna-10` after `qna-9`.
  const order = new Intl.Collator("en", { numeric: true });

  function compare(one, other) {
    for (let index = 0; index < one.length; index += 1) {
      const [a, b] = [one[index], other[index]];
      const by = typeof a === "number" ? a - b : order.compare(a, b);
      if (by) return by;
    }
    return 0;
  }

  class ListView {
    constructor() {
      this.rows = new Map();
      this.sorted = { column: COLUMNS[1], down: false };
      this.shown = SHOWS[0];
      this.words = [];
      this.search = h("input", { type: "search", id: "filter", placeholder: "name, namespace, version or sentence", oninput: () => this.filterBy(this.search.value) });
      this.buttons = SHOWS.map((show) => h("button", { type: "button", class: "chip", "aria-pressed": "false", onclick: () => this.only(show) }));
      this.heads = COLUMNS.map((column) => h("th", { scope: "col", class: column[0] }, h("button", { type: "button", onclick: () => this.sortBy(column) }, column[1], h("span", { class: "arrow", "aria-hidden": "true" }))));
      this.body = h("tbody");
      this.told = h("p", { class: "quiet", role: "status" });
      this.element = h("div", { class: "list" },
        h("h1", {}, "Releases"),
        h("div", { class: "tools" }, h("label", { for: "filter" }, "Filter"), this.search, h("div", { class: "chips", role: "group", "aria-label": "Which releases" }, this.buttons)),
        this.told,
        h("div", { class: "wide", tabindex: "0", role: "region", "aria-label": "Releases" }, h("table", { class: "releases" }, h("caption", { class: "unseen" }, "Releases; the buttons of the head sort them"), h("thead", {}, h("tr", {}, this.heads)), this.body)));
      this.markHeads();
    }

    replace(rows) {
      const listed = new Set(rows.map(keyOf));
      for (const key of [...this.rows.keys()]) if (!listed.has(key)) this.rows.delete(key);
      rows.forEach((row) => this.take(row));
      this.arrange();
    }

    put(row) {
      this.take(row);
      this.later();
    }

    drop([namespace, name]) {
      this.rows.delete(`${namespace}/${name}`);
      this.later();
    }

    // What comes in one burst is arranged once.
    later() {
      this.due ??= requestAnimationFrame(() => {
        this.due = null;
        this.arrange();
      });
    }

    take(row) {
      const key = keyOf(row);
      const known = this.rows.get(key);
      const said = JSON.stringify(row);
      if (known?.said === said) return;
      const text = [row.namespace, row.name, row.stable, row.canary, row.phase, row.message].join(" ").toLowerCase();
      const element = known ? known.element : h("tr");
      const focused = element.contains(document.activeElement);
      element.replaceChildren(...cells(row));
      if (focused) element.querySelector("a").focus();
      this.rows.set(key, { row, said, text, element });
    }

    filterBy(text) {
      this.words = text.toLowerCase().split(/\s+/).filter(Boolean);
      this.arrange();
    }

    only(show) {
      this.shown = show;
      this.arrange();
    }

    sortBy(column) {
      const again = this.sorted.column === column;
      this.sorted = { column, down: again && !this.sorted.down };
      this.markHeads();
      this.arrange();
    }

    markHeads() {
      COLUMNS.forEach((column, index) => {
        const is = this.sorted.column === column;
        if (is) this.heads[index].setAttribute("aria-sort", this.sorted.down ? "descending" : "ascending");
        else this.heads[index].removeAttribute("aria-sort");
        this.heads[index].querySelector(".arrow").textContent = is ? (this.sorted.down ? " ↓" : " ↑") : "";
      });
    }

    arrange() {
      const all = [...this.rows.values()];
      SHOWS.forEach((show, index) => {
        this.buttons[index].textContent = `${show[1]} ${count(all.filter(({ row }) => show[2](row)).length)}`;
        this.buttons[index].setAttribute("aria-pressed", String(show === this.shown));
      });
      const kept = all.filter(({ row, text }) => this.shown[2](row) && this.words.every((word) => text.includes(word)));
      const [, , by] = this.sorted.column;
      kept.sort((one, other) => compare(by(one.row), by(other.row)) || compare(COLUMNS[0][2](one.row), COLUMNS[0][2](other.row)));
      if (this.sorted.down) kept.reverse();
      this.place(kept.map(({ element }) => element));
      const told = kept.length === all.length ? `${count(all.length)} releases` : `${count(kept.length)} of ${count(all.length)} releases`;
      if (this.told.textContent !== told) this.told.textContent = told;
    }

    // Move only where the order is another one: an element that stays keeps its focus.
    place(elements) {
      const now = [...this.body.children];
      if (now.length === elements.length && now.every((element, index) => element === elements[index])) return;
      const focused = document.activeElement;
      this.body.replaceChildren(...elements);
      if (this.body.contains(focused) && document.activeElement !== focused) focused.focus({ preventScroll: true });
    }
  }

  const keyOf = (row) => `${row.namespace}/${row.name}`;

  function cells(row) {
    const address = `#/${encodeURIComponent(row.namespace)}/${encodeURIComponent(row.name)}`;
    const versions = row.canary === null ? row.stable ?? NOTHING : [row.stable ?? "nothing", " → ", h("strong", {}, row.canary)];
    const weight = row.asked === null ? h("span", { class: "quiet" }, NOTHING) : meter(row.asked / 100, "canary", percent(row.asked));
    const evidence = row.back === null ? h("span", { class: "quiet" }, NOTHING) : [meter(row.back, "bad", `back ${Math.floor(100 * row.back)} %`), meter(row.on ?? 0, "good", `on ${Math.floor(100 * (row.on ?? 0))} %`)];
    const marks = [phase(row.phase), row.person && row.phase !== "Paused" ? badge("wants a person", "asks") : null, row.drifted ? badge("drifted", "asks") : null, row.rejected ? badge("rejected", "bad") : null];
    return [
      h("th", { scope: "row", class: "release" }, h("a", { href: address }, row.name), h("span", { class: "space" }, row.namespace)),
      h("td", { class: "phase" }, marks.filter(Boolean)),
      h("td", { class: "versions" }, versions),
      h("td", { class: "weight" }, weight),
      h("td", { class: "evidence" }, evidence, row.verdict && row.verdict !== "Insufficient" ? verdict(row.verdict) : null),
      h("td", { class: "message" }, h("p", {}, row.message)),
    ];
  }

  Object.assign(ModelRelease, { ListView });
})();
