// One release: the same view on the page and in a report.
"use strict";

(() => {
  const { h, svg, count, figure, percent, share, signed, time, moment, duration, phase, verdict, badge, meter, bar, table, Chart, ranges } = ModelRelease;
  const PAIRS = [
    ["same", "same answer", "good"], ["different", "different answer", "bad"],
    ["canary_failed", "canary failed", "bad2"], ["stable_failed", "stable failed", "quiet"],
    ["both_failed", "both failed", "grid"],
  ];
  const SLOW = [["canary_slower", "canary much slower"], ["stable_slower", "stable much slower"], ["noise_different", "stable differed from itself"]];
  const OUTCOMES = { Promoted: "good", PromotedByHand: "good", FirstVersionServes: "good", ShadowPassed: "good" };
  const BAD = ["Regression", "Rejected", "CanaryNotReady", "ArtifactRefused", "RolledBack"];

  // Draws a story and keeps it up to date: a part is made anew only where it says something else,
  // so that nobody's focus, place or open table is lost.
  class StoryView {
    constructor({ act = null, live = null, links = [], made = null } = {}) {
      Object.assign(this, { act, live, links, made });
      this.parts = new Map();
      this.gates = new Map();
      this.charts = new Map();
      this.element = h("article", { class: "story" });
      for (const name of ["head", "sentence", "arms", "steps", "actions", "awaited", "evidence", "gates", "weight", "shadow", "drift", "history", "foot"]) {
        const part = h("section", { class: `part part-${name}` });
        this.parts.set(name, { part, said: null });
        this.element.append(part);
      }
    }

    show(story) {
      // Deadlines are of the server's clock, which need not be this machine's.
      ModelRelease.ahead = story.now - Date.now() / 1000;
      this.put("head", [story.namespace, story.name, story.phase, story.model, story.paused, story.person], () => this.head(story));
      this.put("sentence", [story.happened, story.advice, story.warnings, story.notes, story.verdict, story.person], () => this.sentence(story));
      this.put("arms", [story.arms, story.asked, story.counted, story.samples && [story.samples.canary_pods, story.samples.stable_pods, story.samples.source, story.samples.left_out]], () => this.arms(story));
      this.put("steps", story.steps, () => this.steps(story.steps));
      this.put("actions", [story.actions, Boolean(this.act)], () => this.actions(story));
      this.put("awaited", story.awaited, () => this.awaited(story));
      this.put("evidence", [story.gates, story.canary], () => this.evidence(story));
      this.drawGates(story);
      this.drawWeight(story);
      this.put("shadow", story.shadow, () => this.shadow(story.shadow));
      this.put("drift", story.drift, () => this.drift(story.drift));
      const timeline = timelineOf(story);
      this.put("history", timeline, () => this.history(timeline));
      this.put("foot", [story.seen_since, story.moments.at.length > 1], () => this.foot(story));
      this.announce(story);
    }

    put(name, said, make) {
      const known = this.parts.get(name);
      const text = JSON.stringify(said);
      if (known.said === text) return;
      known.said = text;
      const focused = known.part.contains(document.activeElement) ? document.activeElement.dataset.key : null;
      known.part.replaceChildren(...[make()].flat().filter(Boolean));
      known.part.hidden = !known.part.childNodes.length;
      if (focused) known.part.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
    }

    // Say aloud what a person would turn their head for, and not every count.
    announce(story) {
      const said = [story.phase, story.canary, story.asked, story.verdict, story.person].join();
      if (this.live && this.announced !== undefined && this.announced !== said) this.live.textContent = `${story.name}: ${story.phase}. ${story.message}`;
      this.announced = said;
    }

    head(story) {
      return [
        h("div", { class: "title" }, h("h1", {}, h("span", { class: "space" }, `${story.namespace}/`), story.name), phase(story.phase), story.paused && badge("paused by spec", "asks"), story.drifted && badge("drifted", "asks")),
        this.made && h("p", { class: "note" }, this.made),
        h("p", { class: "quiet model" }, story.model ? ["model ", h("code", {}, story.model)] : "its spec cannot be read", this.links.map((link) => [" · ", link(story)])),
      ];
    }

    sentence(story) {
      const kind = story.person ? "asks" : story.verdict === "Fail" || story.phase === "RollingBack" ? "bad" : story.verdict === "Pass" ? "good" : "";
      return [
        story.warnings.map((text) => h("p", { class: "warning" }, h("strong", {}, "Mind: "), text)),
        h("p", { class: `said ${kind}` }, story.happened || story.message),
        h("p", { class: "advice" }, h("strong", {}, "What to do: "), story.advice),
        story.notes.map((text) => h("p", { class: "note" }, text)),
      ].flat();
    }

    arms(story) {
      const seen = story.samples;
      const cards = story.arms.map((arm) => {
        const pods = seen && (arm.track === "canary" ? seen.canary_pods : seen.stable_pods);
        const weight = arm.track === "canary" && story.asked !== null ? [h("dt", {}, "weight"), h("dd", {}, `${percent(story.asked)} asked for, ${story.counted === null ? "none counted yet" : `${percent(story.counted)} counted`}`)] : [];
        return h("div", { class: `card arm ${arm.track}` },
          h("h2", {}, h("span", { class: `key ${arm.track}`, "aria-hidden": "true" }), arm.track),
          h("p", { class: "version" }, arm.version),
          h("dl", {}, h("dt", {}, "revision"), h("dd", {}, h("code", {}, arm.revision)), h("dt", {}, "since"), h("dd", {}, time(arm.since)), weight, seen && story.canary !== null ? [h("dt", {}, "pods seen"), h("dd", {}, count(pods))] : []));
      });
      const left = seen && seen.left_out.length ? h("p", { class: "note" }, `not seen: ${seen.left_out.join(", ")}`) : null;
      return cards.length ? [h("div", { class: "cards" }, cards), left] : [];
    }

    steps(steps) {
      if (!steps.some((step) => step.state !== "ahead")) return [];
      const words = { done: "done", now: "now", back: "ends here", ahead: "to come" };
      return h("ol", { class: "stages", "aria-label": "Steps of this release" }, steps.map((step) => h("li", { class: step.state, "aria-current": step.state === "now" ? "step" : null }, h("span", { class: "name" }, step.name), h("span", { class: "what" }, step.bake && step.state !== "done" ? `${words[step.state]}, ${duration(step.bake)} at least` : words[step.state]))));
    }

    actions(story) {
      if (!story.actions.length) return [];
      const rows = story.actions.map((action) => h("li", {},
        this.act ? h("button", { type: "button", class: action.verb, "data-key": action.verb, onclick: () => this.act(story, action) }, action.verb) : h("strong", {}, action.verb),
        h("span", {}, action.does),
        this.act ? null : h("code", { class: "command" }, action.command)));
      return [h("h2", {}, "How to go on"), h("ul", { class: "actions" }, rows)];
    }

    awaited(story) {
      if (!story.awaited.length) return [];
      const items = story.awaited.map(({ what, until }) => h("li", {}, what, until === null ? null : h("span", { class: "quiet" }, " · until ", time(until), " ", h("span", { class: "left", "data-until": until }, left(until, story.now)))));
      return [h("h2", {}, "What is awaited"), h("ul", { class: "plain" }, items)];
    }

    evidence(story) {
      if (!story.gates.length) return [];
      const rows = story.gates.map((gate) => [
        [gate.name, gate.dry_run && h("span", { class: "quiet" }, " (only shown)")], verdict(gate.verdict), counts(gate.canary), counts(gate.stable), interval(gate),
        meter(gate.back, "bad"), meter(gate.on, "good"),
      ]);
      const about = story.canary === null ? "Evidence of the last canary" : "Evidence";
      return [
        h("h2", {}, about),
        table(`${about} by gate`, ["gate", "verdict", "canary bad", "stable bad", "canary less stable", "to go back", "to go on"], rows, "evidence"),
        h("p", { class: "quiet" }, "Evidence is a share of what is needed: to go back that of all gates together counts, to go on each gate needs its own."),
      ];
    }

    drawGates(story) {
      const { part } = this.parts.get("gates");
      for (const [name, view] of this.gates) {
        if (story.gates.some((gate) => gate.name === name)) continue;
        view.destroy();
        this.gates.delete(name);
      }
      for (const gate of story.gates) {
        if (!this.gates.has(gate.name)) {
          const view = new GateView();
          this.gates.set(gate.name, view);
          part.append(view.element);
        }
        this.gates.get(gate.name).show(gate, story.moments);
      }
      part.hidden = !story.gates.length;
    }

    drawWeight(story) {
      const { part } = this.parts.get("weight");
      const shown = story.moments.asked.some((asked) => asked > 0);
      part.hidden = !shown;
      if (!shown) return;
      if (!this.weight) {
        this.weight = new Chart({
          title: "Weight of the canary: asked for, and counted of the requests", unit: " %", height: 150, range: ranges.fromZero,
          lines: [{ label: "asked for", colour: "quiet", steps: true, dash: true }, { label: "counted", colour: "canary" }],
        });
        part.append(h("h2", {}, "Weight"), h("div", { class: "card" }, this.weight.element));
      }
      this.weight.show([story.moments.at, story.moments.asked, story.moments.counted]);
    }

    shadow(shadow) {
      if (!shadow) return [];
      const of = PAIRS.map(([key]) => shadow.counts[key] || 0);
      const all = of.reduce((sum, number) => sum + number, 0);
      const shares = PAIRS.map(([, , kind], index) => {
        const fill = h("span", { class: `fill ${kind}` });
        fill.style.width = `${all ? (100 * of[index]) / all : 0}%`;
        return fill;
      });
      const rows = PAIRS.map(([, word, kind], index) => [[h("span", { class: `key block ${kind}`, "aria-hidden": "true" }), word], count(of[index]), all ? percent((100 * of[index]) / all) : "–"]);
      const others = SLOW.filter(([key]) => shadow.counts[key]).map(([key, word]) => [word, count(shadow.counts[key]), ""]);
      return [
        h("h2", {}, "Pairs of the shadow"),
        h("div", { class: "card" },
          h("p", {}, `${count(shadow.pairs)} requests that both versions answered${shadow.wanted ? `, of ${count(shadow.wanted)} at least` : ""}${shadow.passed ? "; passed" : ""}`),
          shadow.message && h("p", { class: "quiet" }, shadow.message),
          h("div", { class: "stack", "aria-hidden": "true" }, shares),
          table("Pairs by what came of them", ["pairs", "number", "share"], [...rows, ...others])),
      ];
    }

    drift(drift) {
      if (!drift) return [];
      const words = { D: ["drifted", "bad"], S: ["stable", "good"], I: ["too few values", "quiet"] };
      const windows = [...drift.windows].map((letter) => h("li", { class: words[letter][1] }, words[letter][0]));
      const rows = drift.features.map((feature) => [feature.name, meter(feature.threshold ? feature.psi / (2 * feature.threshold) : 0, feature.psi > feature.threshold ? "bad" : "good", figure(feature.psi)), figure(feature.threshold), count(feature.values), feature.verdict]);
      return [
        h("h2", {}, "Drift of what stable is asked ", badge(drift.drifted ? "drifted" : "not drifted", drift.drifted ? "bad" : "good")),
        h("div", { class: "card" },
          drift.message && h("p", {}, drift.message),
          windows.length ? [h("h3", {}, "The last windows, the newest at the end"), h("ol", { class: "windows" }, windows)] : null,
          rows.length ? table(`Features of the window that ended ${drift.at === null ? "last" : moment(drift.at)}, the worst first`, ["feature", "PSI", "threshold", "values", "verdict"], rows, "drift") : null),
      ];
    }

    history(history) {
      if (!history.length) return [];
      const items = history.map((told) => h("li", { class: OUTCOMES[told.outcome] || (BAD.includes(told.outcome) ? "bad" : "quiet") },
        h("p", { class: "when" }, time(told.at), told.by && ` · by ${told.by}`),
        h("p", {}, h("strong", {}, told.outcome), " ", told.from ? `${told.from} → ${told.to}` : told.to),
        told.message && h("p", { class: "quiet" }, told.message)));
      return [h("h2", {}, "Steps and decisions"), h("ol", { class: "timeline", reversed: true }, items)];
    }

    foot(story) {
      const since = story.seen_since;
      if (since === null) return h("p", { class: "quiet" }, "This is the present alone: nobody has watched the release for this.");
      return h("p", { class: "quiet" }, "Pictures over time show what was seen since ", time(since), "; what was before is known by its outcome alone.");
    }

    destroy() {
      this.gates.forEach((view) => view.destroy());
      this.weight?.destroy();
    }
  }

  // One gate's pictures.
  class GateView {
    constructor() {
      this.title = h("h3");
      this.bound = h("p", { class: "quiet" });
      this.message = h("p");
      this.pictures = h("div", { class: "pictures" });
      this.element = h("section", { class: "card gate" }, this.title, this.message, this.bound, this.pictures);
      this.charts = {};
    }

    show(gate, moments) {
      const seen = moments.gates[gate.name];
      const said = JSON.stringify([gate.name, gate.verdict, gate.dry_run, gate.message, gate.bound, gate.withheld]);
      if (said !== this.said) {
        this.said = said;
        this.title.replaceChildren(gate.name, " ", verdict(gate.verdict), gate.dry_run ? h("span", { class: "quiet" }, " only shown: it decides nothing") : "");
        this.message.textContent = gate.message;
        this.bound.textContent = [gate.bound && `held to: ${gate.bound}`, gate.withheld && `no interval is shown: ${gate.withheld}`].filter(Boolean).join(" · ");
      }
      if (!seen) return;
      const marks = marksOf(moments);
      const any = (column) => seen[column].some((value) => value !== null);
      // Drawn once there are two looks: one alone is in the table.
      if (any("lower")) this.chart("difference", marks).show([moments.at, seen.lower, seen.upper, seen.tolerated, seen.margin, less(seen)]);
      if (any("canary") || any("stable")) this.chart("rates", marks).show([moments.at, seen.stable, seen.canary, ...(any("limit") ? [seen.limit] : [])]);
      if (any("value")) this.chart("value", marks).show([moments.at, seen.value]);
      this.chart("evidence", marks).show([moments.at, hundred(seen.back), hundred(seen.on)]);
    }

    chart(kind, marks) {
      this.marks = marks;
      const known = (this.charts[kind] ??= this.made(kind));
      return known;
    }

    made(kind) {
      const chart = new Chart({ ...PICTURES[kind], marks: () => this.marks });
      this.pictures.append(chart.element);
      return chart;
    }

    destroy() {
      Object.values(this.charts).forEach((chart) => chart.destroy());
    }
  }

  const PICTURES = {
    difference: {
      title: "How much worse the canary is: the interval that holds at every look", unit: " points", height: 240, range: ranges.aroundLines,
      lines: [
        { label: "from", colour: "canary", width: 1, hidden: true }, { label: "interval", colour: "canary", width: 1, band: 1 },
        { label: "tolerated", colour: "bad", dash: true }, { label: "margin", colour: "good", dash: true },
        { label: "counted", colour: "canary" },
      ],
      bands: [{ between: [2, 1], colour: "canary-band" }],
    },
    rates: {
      title: "Bad requests of both versions since the canary began", unit: " %", range: ranges.fromZero,
      lines: [{ label: "stable", colour: "stable" }, { label: "canary", colour: "canary" }],
    },
    value: { title: "What its query gave", unit: "", lines: [{ label: "value", colour: "canary" }] },
    evidence: {
      title: "Evidence, of what is needed", unit: " %", range: ranges.shares,
      lines: [{ label: "to go back", colour: "bad", steps: true }, { label: "to go on", colour: "good", steps: true }],
    },
  };

  const hundred = (column) => column.map((part) => (part === null ? null : 100 * part));
  const less = (seen) => seen.canary.map((canary, index) => (canary === null || seen.stable[index] === null ? null : canary - seen.stable[index]));

  // What was decided, as status keeps it, and the steps that were seen: the newest first.
  function timelineOf(story) {
    const seen = marksOf(story.moments).map(({ at, word }) => ({ at, outcome: word, from: null, to: "", by: null, message: "" }));
    return [...story.history, ...seen].sort((one, other) => other.at - one.at);
  }

  // A new weight, and a new phase where the weight is as it was.
  function marksOf(moments) {
    const marks = [];
    for (let index = 1; index < moments.at.length; index += 1) {
      if (moments.asked[index] !== moments.asked[index - 1]) marks.push({ at: moments.at[index], word: moments.asked[index] ? `${moments.asked[index]} %` : moments.phase[index] });
      else if (moments.phase[index] !== moments.phase[index - 1]) marks.push({ at: moments.at[index], word: moments.phase[index] });
    }
    return marks;
  }

  const counts = ({ total, bad, percent: rate }) => (total ? [`${count(bad)} of ${count(total)}`, h("span", { class: "quiet" }, ` ${percent(rate)}`)] : "–");

  function interval(gate) {
    if (gate.value !== null) return figure(gate.value);
    if (!gate.interval) return "–";
    const { lower, upper, confidence } = gate.interval;
    return [`${signed(lower)} to ${signed(upper)} points`, h("span", { class: "quiet" }, ` at ${figure(confidence)} %`)];
  }

  const left = (until, now) => (until >= now ? `(in ${duration(until - now)})` : `(was due ${duration(now - until)} ago)`);

  Object.assign(ModelRelease, { StoryView, left });
})();
