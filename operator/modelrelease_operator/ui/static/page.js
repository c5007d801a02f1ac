// Which view is shown, and what keeps it up to date.
"use strict";

(() => {
  const { h, ListView, StoryView, CommandDialog, left } = ModelRelease;
  const main = document.getElementById("main");
  const state = document.getElementById("state");
  let about = { title: "", commands: false, asks_code: false };
  let stream = null;
  let view = null;

  const list = new ListView();

  document.getElementById("skip").addEventListener("click", (event) => {
    event.preventDefault();
    main.focus();
  });

  async function start() {
    const answer = await fetch("api/about").catch(() => null);
    if (!answer?.ok) {
      const told = await answer?.json().catch(() => null);
      main.replaceChildren(h("p", { class: "problem", role: "alert" }, told?.message || "The page's server does not answer."));
      return;
    }
    about = await answer.json();
    document.getElementById("where").textContent = about.title;
    addEventListener("hashchange", route);
    route();
    setInterval(tick, 1000);
  }

  function route() {
    const [namespace, name] = location.hash.replace(/^#\//, "").split("/").map(decodeURIComponent);
    stream?.close();
    view?.destroy?.();
    if (namespace && name) showOne(namespace, name);
    else showAll();
  }

  function showAll() {
    view = list;
    document.title = "Releases";
    main.replaceChildren(list.element);
    follow("api/stream", {
      rows: (rows) => list.replace(rows),
      row: (row) => list.put(row),
      gone: (key) => list.drop(key),
    });
  }

  function showOne(namespace, name) {
    document.title = `${namespace}/${name}`;
    const report = (story) => h("a", { href: `api/releases/${encodeURIComponent(story.namespace)}/${encodeURIComponent(story.name)}/report`, download: "" }, "Report as a file");
    const live = document.getElementById("live");
    const one = new StoryView({ live, links: [report], act: about.commands ? act : null });
    view = one;
    const back = h("p", { class: "back" }, h("a", { href: "#/" }, "← All releases"));
    const waits = h("p", { class: "quiet" }, `Reading ${namespace}/${name}…`);
    main.replaceChildren(back, waits);
    main.focus({ preventScroll: true });
    scrollTo(0, 0);
    follow(`api/stream?release=${encodeURIComponent(`${namespace}/${name}`)}`, {
      story: (story) => {
        if (story.unreadable) {
          main.replaceChildren(back, h("h1", {}, `${namespace}/${name}`), h("p", { class: "problem", role: "alert" }, story.message));
          return;
        }
        if (!one.element.isConnected) main.replaceChildren(back, one.element);
        one.show(story);
      },
      gone: () => main.replaceChildren(back, h("p", { role: "alert" }, `${namespace}/${name} is not there, or not for you to see.`)),
    });
  }

  function act(story, action) {
    new CommandDialog(about).ask(story, action);
  }

  // Listen; a browser comes again by itself where it was cut off.
  function follow(address, handlers) {
    stream = new EventSource(address);
    stream.addEventListener("open", () => tell(""));
    stream.addEventListener("error", () => tell("cut off; trying again"));
    stream.addEventListener("state", (event) => {
      const { trouble, filled } = JSON.parse(event.data);
      tell(trouble ? `what is shown may be old: ${trouble}` : filled ? "" : "reading");
    });
    for (const [name, handle] of Object.entries(handlers)) {
      stream.addEventListener(name, (event) => handle(JSON.parse(event.data)));
    }
  }

  function tell(text) {
    if (state.textContent !== text) state.textContent = text;
    state.hidden = !text;
  }

  function tick() {
    for (const element of document.querySelectorAll("[data-until]")) {
      element.textContent = left(Number(element.dataset.until), Date.now() / 1000 + ModelRelease.ahead);
    }
  }

  // A fragment is of this address, whatever <base> says.
  addEventListener("click", (event) => {
    const link = event.target.closest?.('a[href^="#"]');
    if (!link || link.id === "skip" || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    location.hash = link.getAttribute("href");
  });

  start();
})();
