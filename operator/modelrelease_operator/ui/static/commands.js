// What a viewer may do, asked once more before it is done, and with the rights that they have.
"use strict";

(() => {
  const { h } = ModelRelease;
  let code = ""; // As the terminal shows it; kept while this page is open, and nowhere else.

  class CommandDialog {
    constructor(about) {
      this.about = about;
      this.element = h("dialog", { "aria-labelledby": "command-title", onclose: () => this.element.remove() });
    }

    ask(story, action) {
      const anyway = h("input", { type: "checkbox", id: "anyway", required: true });
      const given = h("input", { type: "text", id: "code", required: true, autocomplete: "off", spellcheck: "false", value: code });
      const problem = h("p", { class: "problem", role: "alert" });
      const go = h("button", { type: "submit", class: action.verb }, action.verb);
      const form = h("form", { method: "dialog", onsubmit: async (event) => {
        event.preventDefault();
        code = given.value.trim();
        go.disabled = true;
        problem.textContent = "";
        try {
          await this.give(story, action, anyway.checked);
          this.element.close();
        } catch (refusal) {
          problem.textContent = refusal.message;
          go.disabled = false;
        }
      } },
      h("h2", { id: "command-title" }, `${action.verb[0].toUpperCase()}${action.verb.slice(1)} ${story.namespace}/${story.name}?`),
      h("p", {}, `This will ${action.does}.`),
      action.doubt ? h("p", { class: "row" }, anyway, h("label", { for: "anyway" }, `All the same, although ${action.doubt}`)) : null,
      this.about.asks_code ? h("p", { class: "row" }, h("label", { for: "code" }, "Code that the terminal shows"), given) : null,
      h("details", {}, h("summary", {}, "The same for a terminal"), h("code", { class: "command" }, action.command)),
      problem,
      h("p", { class: "buttons" }, h("button", { type: "button", class: "plain", onclick: () => this.element.close() }, "leave it"), go));
      this.element.append(form);
      document.body.append(this.element);
      this.element.showModal();
    }

    async give(story, action, anyway) {
      const address = `api/releases/${encodeURIComponent(story.namespace)}/${encodeURIComponent(story.name)}/${action.verb}`;
      const headers = { "Content-Type": "application/json", "X-Modelrelease": "page" };
      if (this.about.asks_code) headers["X-Modelrelease-Code"] = code;
      const answer = await fetch(address, { method: "POST", headers, body: JSON.stringify({ value: action.value, anyway }) });
      if (answer.ok) return;
      const told = await answer.json().catch(() => null);
      throw new Error(told?.message || `the page's server answered ${answer.status}`);
    }
  }

  Object.assign(ModelRelease, { CommandDialog });
})();
