// A report shows what is in it, once.
"use strict";

(() => {
  const { StoryView, inUtc } = ModelRelease;
  const { story, made } = JSON.parse(document.getElementById("data").textContent);
  inUtc();
  ModelRelease.utcPictures = true;
  const view = new StoryView({ made });
  document.getElementById("main").replaceChildren(view.element);
  view.show(story);
})();
