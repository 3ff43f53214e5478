// One stream for all tabs of a browser: each tab says which page it shows, and gets
// the versions of that page.
"use strict";

const quietMax = 150_000; // a tab that has said nothing for so long is gone
const again = 5_000;
const tabs = new Map(); // port of a tab -> {see, at}
const newest = new Map(); // address of a page -> its newest version
let source = null;
let open = "";
let live = false;

function tell(message, see) {
  for (const [port, tab] of tabs) if (see === undefined || tab.see === see) port.postMessage(message);
}

function state(now) {
  live = now;
  tell({ live });
}

function renew() {
  const want = [...new Set([...tabs.values()].map((tab) => tab.see))].sort();
  if (want.join("\n") === open) return;
  open = want.join("\n");
  source?.close();
  source = null;
  for (const see of newest.keys()) if (!want.includes(see)) newest.delete(see);
  if (want.length === 0) return;
  const query = new URLSearchParams();
  for (const see of want) {
    query.append("see", see);
    query.append("has", newest.get(see)?.mark ?? "");
  }
  const mine = (source = new EventSource("live?" + query));
  mine.onopen = () => state(true);
  mine.onerror = () => {
    if (mine !== source) return;
    state(false);
    if (mine.readyState !== EventSource.CLOSED) return; // it tries again by itself
    setTimeout(() => {
      if (mine !== source) return;
      open = "";
      renew();
    }, again);
  };
  mine.addEventListener("page", (event) => {
    const page = JSON.parse(event.data);
    newest.set(page.see, page);
    tell({ page }, page.see);
  });
}

self.onconnect = (event) => {
  const port = event.ports[0];
  port.onmessage = ({ data }) => {
    if (data.see === undefined) {
      tabs.delete(port);
    } else {
      const known = tabs.get(port)?.see === data.see;
      tabs.set(port, { see: data.see, at: Date.now() });
      if (!known) {
        port.postMessage({ live });
        if (newest.has(data.see)) port.postMessage({ page: newest.get(data.see) });
      }
    }
    renew();
  };
};

setInterval(() => {
  for (const [port, tab] of tabs) if (Date.now() - tab.at > quietMax) tabs.delete(port);
  renew();
}, 30_000);
