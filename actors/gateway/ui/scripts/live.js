// Keeps the page as it is on the server, without a reload. What comes is the content
// of the main element; only what has changed is touched, so that focus, selection,
// open details and what was typed stay.
const base = document.body.dataset.base;
const main = document.getElementById("main");
const note = document.getElementById("live");
const ahead = Number(document.body.dataset.now) - Date.now(); // the server's clock
const pollEvery = 5_000;

const here = new URL(location.href);
const address = () => here.pathname.slice(base.length) + here.search;
if (here.searchParams.has("done")) {
  here.searchParams.delete("done");
  history.replaceState(null, "", here);
}

const keyOf = (node) => (node.nodeType === Node.ELEMENT_NODE ? node.dataset.key : undefined);

function like(a, b) {
  return a.nodeType === b.nodeType && a.nodeName === b.nodeName && keyOf(a) === keyOf(b);
}

// morph makes an element what the next one is.
function morph(old, next) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.nodeValue !== next.nodeValue) old.nodeValue = next.nodeValue;
    return;
  }
  for (const { name } of [...old.attributes]) {
    if (!next.hasAttribute(name) && !(name === "open" && old.nodeName === "DETAILS")) old.removeAttribute(name);
  }
  for (const { name, value } of next.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  children(old, next);
}

function children(old, next) {
  const stay = new Set([...next.childNodes].map(keyOf));
  const keyed = new Map();
  for (const node of [...old.childNodes]) {
    const key = keyOf(node);
    if (key === undefined) continue;
    if (stay.has(key)) keyed.set(key, node);
    else node.remove();
  }
  let at = old.firstChild;
  for (const node of [...next.childNodes]) {
    const known = keyed.get(keyOf(node));
    if (at && like(at, node)) {
      morph(at, node);
      at = at.nextSibling;
    } else if (known && like(known, node)) {
      old.insertBefore(known, at);
      morph(known, node);
    } else {
      old.insertBefore(document.importNode(node, true), at);
    }
  }
  while (at) {
    const gone = at;
    at = at.nextSibling;
    gone.remove();
  }
}

function show(html, at) {
  const next = new DOMParser().parseFromString("<!doctype html><main>" + html + "</main>", "text/html");
  const told = main.querySelector("[role=status]"); // stays until the next page
  children(main, next.querySelector("main"));
  if (told) main.querySelector("h1").after(told);
  document.getElementById("as-of").textContent = at;
  count();
}

// count goes on with the times that have not ended, in the words of the server.
function span(ms) {
  const s = Math.max(ms, 0) / 1000;
  if (s < 1) return Math.floor(s * 1000) + " ms";
  if (s < 60) return s.toFixed(1) + " s";
  if (s < 3600) return Math.floor(s / 60) + " min " + (Math.floor(s) % 60) + " s";
  if (s < 48 * 3600) return Math.floor(s / 3600) + " h " + (Math.floor(s / 60) % 60) + " min";
  return Math.floor(s / 86400) + " days";
}

function count() {
  for (const e of document.querySelectorAll("[data-since]")) e.textContent = span(Date.now() + ahead - Number(e.dataset.since));
}

function state(live) {
  const text = live ? "Live." : "Not live: the server does not answer, and is asked again.";
  if (note.textContent !== text) note.textContent = text;
  note.dataset.live = live;
}

function shared() {
  const port = new SharedWorker(document.body.dataset.shared, "limpet").port;
  const hello = () => port.postMessage({ see: address() });
  const bye = () => port.postMessage({});
  port.onmessage = ({ data }) => {
    if (data.live !== undefined) state(data.live);
    if (data.page?.see === address()) show(data.page.html, data.page.at.slice(0, 19).replace("T", " "));
  };
  // A hidden tab gives its part of the stream back.
  document.addEventListener("visibilitychange", () => (document.hidden ? bye() : hello()));
  addEventListener("pagehide", bye);
  addEventListener("pageshow", hello);
  setInterval(() => document.hidden || hello(), 30_000);
  hello();
}

// alone asks again and again, where tabs cannot share a stream.
function alone() {
  setInterval(async () => {
    if (document.hidden) return;
    try {
      const answer = await fetch(here, { redirect: "error" });
      const next = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (answer.status < 500) show(next.querySelector("main").innerHTML, next.getElementById("as-of").textContent);
      state(answer.status < 500);
    } catch {
      state(false);
    }
  }, pollEvery);
}

if (typeof SharedWorker === "function") shared();
else alone();
setInterval(count, 1_000);
