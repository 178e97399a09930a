"use strict";
(() => {
  const study = document.body.dataset.study;
  const place = "listening-test-" + study;
  const clips = [...document.querySelectorAll(".clip")];
  const steps = [...document.querySelectorAll(".step")];
  const bar = document.getElementById("progress");
  const save = document.getElementById("save");

  function fresh() {
    const bytes = crypto.getRandomValues(new Uint8Array(8));
    const rater = [...bytes].map((b) => b.toString(16).padStart(2, "0")).join("");
    return { rater, started: new Date().toISOString(), answers: {}, watched: {} };
  }

  function recall() {
    try {
      const kept = JSON.parse(localStorage.getItem(place));
      if (kept && kept.rater && kept.answers && kept.watched) return kept;
    } catch (problem) {
      // Nothing readable is kept: begin anew; keep() tells whether saving works at all.
    }
    return fresh();
  }

  function keep() {
    try {
      localStorage.setItem(place, JSON.stringify(state));
    } catch (problem) {
      document.getElementById("unsaved").hidden = false;
    }
  }

  const state = recall();

  // What a version still lacks, in words; empty where it is complete.
  function lacks(version) {
    const token = version.dataset.token;
    const given = state.answers[token] || {};
    const parts = [];
    if (!state.watched[token]) parts.push("play it to the end");
    for (const field of version.querySelectorAll("fieldset")) {
      if (!given[field.dataset.criterion]) parts.push(field.querySelector("legend").textContent.toLowerCase());
    }
    return parts;
  }

  const versionsOf = (clip) => [...clip.querySelectorAll(".version")];
  const done = (clip) => versionsOf(clip).every((version) => lacks(version).length === 0);

  function refresh() {
    clips.forEach((clip, index) => {
      versionsOf(clip).forEach((version) => {
        version.classList.toggle("complete", lacks(version).length === 0);
      });
      const button = bar.querySelectorAll("button")[index];
      button.classList.toggle("done", done(clip));
      button.setAttribute("aria-label", "Clip " + (index + 1) + (done(clip) ? ", answered" : ""));
    });
    const open = clips.filter((clip) => !done(clip));
    save.disabled = open.length > 0;
    document.getElementById("thanks").hidden = open.length > 0;
    document.querySelector("#end .missing").textContent = open.length
      ? "Not finished yet: clip " + open.map((clip) => clips.indexOf(clip) + 1).join(", ") + "."
      : "";
  }

  function tellWatched(version, words, kind) {
    const line = version.querySelector(".watched");
    line.textContent = words;
    line.className = "watched" + (kind ? " " + kind : "");
  }

  function show(name, move) {
    const step = document.getElementById(name);
    if (!step || !steps.includes(step)) return;
    document.querySelectorAll("video").forEach((video) => video.pause());
    steps.forEach((other) => { other.hidden = other !== step; });
    bar.hidden = name === "start";
    bar.querySelectorAll("button").forEach((button) => {
      if (button.dataset.goto === name) button.setAttribute("aria-current", "step");
      else button.removeAttribute("aria-current");
    });
    step.querySelectorAll("video").forEach((video) => { video.preload = "auto"; });
    refresh();
    if (location.hash !== "#" + name) history.replaceState(null, "", "#" + name);
    if (move) {
      window.scrollTo(0, 0);
      step.querySelector("h2").focus({ preventScroll: true });
    }
  }

  // The next step only from a page that is complete; what is missing is named and gets the focus.
  function leave(clip, target) {
    const open = versionsOf(clip).find((version) => lacks(version).length > 0);
    const line = clip.querySelector(".missing");
    if (!open) {
      line.textContent = "";
      show(target, true);
      return;
    }
    line.textContent = open.querySelector("h3").textContent + " still needs: " + lacks(open).join(", ") + ".";
    const given = state.answers[open.dataset.token] || {};
    const field = [...open.querySelectorAll("fieldset")].find((f) => !given[f.dataset.criterion]);
    const first = state.watched[open.dataset.token] && field ? field.querySelector("input") : open.querySelector("video");
    first.focus({ preventScroll: true });
    open.scrollIntoView({ block: "nearest" });
  }

  function playedSeconds(video) {
    let total = 0;
    for (let i = 0; i < video.played.length; i++) total += video.played.end(i) - video.played.start(i);
    return total;
  }

  function watch(version) {
    const video = version.querySelector("video");
    const token = version.dataset.token;
    let heard = true;
    if (state.watched[token]) tellWatched(version, "Played to the end", "yes");
    video.addEventListener("play", () => {
      heard = heard && !video.muted && video.volume > 0;
      document.querySelectorAll("video").forEach((other) => { if (other !== video) other.pause(); });
    });
    video.addEventListener("volumechange", () => {
      if (!video.paused && (video.muted || video.volume === 0)) heard = false;
    });
    // Marks are for what is seen and heard at its own speed.
    video.addEventListener("ratechange", () => { if (video.playbackRate !== 1) video.playbackRate = 1; });
    video.addEventListener("ended", () => {
      if (state.watched[token]) return;
      if (!heard) {
        heard = true;
        video.load();
        tellWatched(version, "Please turn the sound on and play it again", "no");
      } else if (playedSeconds(video) < 0.9 * video.duration) {
        tellWatched(version, "Please play it without leaving anything out", "no");
      } else {
        state.watched[token] = true;
        tellWatched(version, "Played to the end", "yes");
        keep();
        refresh();
      }
    });
    video.addEventListener("error", () => {
      tellWatched(version, "This video cannot be played here. Please try another browser.", "no");
    });
  }

  function rate(version) {
    const token = version.dataset.token;
    version.querySelectorAll("fieldset").forEach((field) => {
      const criterion = field.dataset.criterion;
      const inputs = [...field.querySelectorAll("input")];
      const given = (state.answers[token] || {})[criterion];
      inputs.forEach((input) => { input.checked = Number(input.value) === given; });
      field.addEventListener("change", (event) => {
        state.answers[token] = { ...state.answers[token], [criterion]: Number(event.target.value) };
        keep();
        refresh();
      });
      field.addEventListener("keydown", (event) => {
        if (!/^[0-9]$/.test(event.key) || event.ctrlKey || event.altKey || event.metaKey) return;
        event.preventDefault();
        inputs[event.key === "0" ? 9 : Number(event.key) - 1].focus();
        inputs[event.key === "0" ? 9 : Number(event.key) - 1].click();
      });
    });
  }

  function download() {
    const answers = {
      format: document.body.dataset.format,
      study,
      rater: state.rater,
      started: state.started,
      finished: new Date().toISOString(),
      answers: state.answers,
    };
    const name = "answers-" + state.rater + ".json";
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(answers, null, 2) + "\n"], { type: "application/json" }));
    link.download = name;
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    document.getElementById("saved").textContent = "Saved as " + name + " in your downloads.";
  }

  clips.forEach((clip) => {
    versionsOf(clip).forEach((version) => { watch(version); rate(version); });
    clip.querySelector(".next").addEventListener("click", (event) => leave(clip, event.target.dataset.goto));
  });
  document.querySelectorAll("[data-goto]:not(.next)").forEach((button) => {
    button.addEventListener("click", () => show(button.dataset.goto, true));
  });
  document.getElementById("begin").addEventListener("click", () => {
    const open = clips.find((clip) => !done(clip));
    show(open ? open.id : "end", true);
  });
  save.addEventListener("click", download);
  window.addEventListener("hashchange", () => show(location.hash.slice(1), true));
  if (Object.keys(state.answers).length) document.getElementById("begin").textContent = "Go on";
  keep();
  refresh();
  show(location.hash.length > 1 ? location.hash.slice(1) : "start", false);
})();
