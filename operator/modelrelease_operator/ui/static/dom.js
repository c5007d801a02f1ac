// What every view needs: elements from words, and figures and times as people read them.
// Text becomes text nodes and nothing else: messages quote servers and pods, which may say anything.
"use strict";

const ModelRelease = {};

(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const NOTHING = "–";

  // Make an element; attributes named `on…` are listeners, `null` and `false` leave one out.
  function h(tag, attributes = {}, ...children) {
    return filled(document.createElement(tag), attributes, children);
  }

  function svg(tag, attributes = {}, ...children) {
    return filled(document.createElementNS(SVG, tag), attributes, children);
  }

  function filled(element, attributes, children) {
    for (const [name, value] of Object.entries(attributes)) {
      if (value === null || value === undefined || value === false) continue;
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else element.setAttribute(name, value === true ? "" : String(value));
    }
    for (const child of children.flat(Infinity)) {
      if (child === null || child === undefined || child === false) continue;
      element.append(child instanceof Node ? child : String(child));
    }
    return element;
  }

  const count = (number) => number.toLocaleString("en");

  // Three digits that tell something, at most four decimals.
  function figure(number) {
    if (number === null || number === undefined) return NOTHING;
    const size = Math.abs(number);
    const decimals = size === 0 ? 0 : size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : size >= 0.1 ? 2 : 3;
    return number.toLocaleString("en", { maximumFractionDigits: decimals });
  }

  const percent = (number) => (number === null || number === undefined ? NOTHING : `${figure(number)} %`);
  const share = (part) => (part === null || part === undefined ? NOTHING : `${Math.floor(100 * part)} %`);
  const signed = (number) => (number > 0 ? `+${figure(number)}` : figure(number).replace("-", "−"));

  let zone; // undefined: the viewer's own

  // Write every time in UTC, as a file has to that is read elsewhere.
  function inUtc() {
    zone = "UTC";
  }

  function moment(seconds, { withDate = true } = {}) {
    const date = new Date(1000 * seconds);
    const parts = { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false, timeZone: zone };
    const days = withDate ? { year: "numeric", month: "2-digit", day: "2-digit" } : {};
    const text = date.toLocaleString("sv-SE", { ...days, ...parts });
    return zone ? `${text} UTC` : text;
  }

  function time(seconds, options) {
    return h("time", { datetime: new Date(1000 * seconds).toISOString() }, moment(seconds, options));
  }

  function duration(seconds) {
    const whole = Math.max(0, Math.round(seconds));
    const parts = [
      [Math.floor(whole / 86400), "d"], [Math.floor(whole / 3600) % 24, "h"],
      [Math.floor(whole / 60) % 60, "min"], [whole % 60, "s"],
    ].filter(([number]) => number);
    if (!parts.length) return "0 s";
    return parts.slice(0, 2).map(([number, unit]) => `${number} ${unit}`).join(" ");
  }

  const PHASES = {
    Pending: "busy", Stable: "calm", Starting: "busy", Shadowing: "busy", Progressing: "busy",
    Paused: "asks", Promoting: "busy", RollingBack: "bad", Unreadable: "bad", Unseen: "quiet",
  };
  const PHASE_WORDS = { RollingBack: "Rolling back", Unseen: "Not seen yet" };
  const VERDICTS = { Pass: "good", Fail: "bad", Insufficient: "quiet", Unavailable: "asks" };

  const badge = (word, kind) => h("span", { class: `badge ${kind}` }, word);
  const phase = (name) => badge(PHASE_WORDS[name] || name, PHASES[name] || "quiet");
  const verdict = (name) => (name ? badge(name, VERDICTS[name] || "quiet") : NOTHING);

  // A bar beside its figure, which is what is read aloud.
  function bar(part, kind) {
    const fill = h("span", { class: `fill ${kind}` });
    fill.style.width = `${Math.min(100, Math.max(0, 100 * (part || 0)))}%`;
    return h("span", { class: "bar", "aria-hidden": "true" }, fill);
  }

  const meter = (part, kind, text = share(part)) => h("span", { class: "meter" }, bar(part, kind), h("span", { class: "figure" }, text));

  // A table that can be scrolled by keyboard where it is wider than its place.
  function table(caption, head, rows, kind = "") {
    const titles = head.map((word) => h("th", { scope: "col" }, word));
    const lines = rows.map((cells) => h("tr", {}, cells.map((cell, index) => h(index ? "td" : "th", index ? {} : { scope: "row" }, cell))));
    const whole = h("table", { class: kind }, h("caption", {}, caption), h("thead", {}, h("tr", {}, titles)), h("tbody", {}, lines));
    return h("div", { class: "wide", tabindex: "0", role: "group", "aria-label": caption }, whole);
  }

  Object.assign(ModelRelease, {
    h, svg, count, figure, percent, share, signed, inUtc, moment, time, duration, phase, verdict,
    badge, bar, meter, table, NOTHING,
  });
})();
