// What all pages share. They can be read without it.
"use strict";
(() => {
  const away = () => document.getElementById("away");
  const csrf = () => document.querySelector('meta[name="csrf-token"]')?.content;
  const lost = new Set();  // elements whose live connection is lost
  const RETRY = 3000;  // ms

  function say(text) {
    const place = away();
    if (place && place.textContent !== text) place.textContent = text;
  }

  function show() {
    say(lost.size ? "No connection to the console. What you see may be old; it is tried again." : "");
  }

  // A live connection repeats itself only once it has existed; the first one is repeated here.
  function lose(element) {
    lost.add(element);
    show();
    if (!element.hasAttribute("hx-sse:connect")) return;
    element.dataset.retried = "yes";
    setTimeout(() => {
      if (!element.isConnected || !lost.has(element)) return;
      htmx.ajax("GET", element.getAttribute("hx-sse:connect"), {source: element});
    }, RETRY);
  }

  // Every action carries the CSRF token, and what no person has caused does not count as use of the session.
  document.addEventListener("htmx:config:request", (event) => {
    const {request, sourceEvent} = event.detail.ctx;
    if (request.method !== "GET" && csrf()) request.headers["X-CSRF-Token"] = csrf();
    if (!sourceEvent?.isTrusted) request.headers["X-Background"] = "1";
  });

  // Redis or the console is away: say so, keep what is shown, and take it back once an answer comes.
  document.addEventListener("htmx:after:request", (event) => {
    const {response, sourceElement} = event.detail.ctx;
    if (response.status >= 500) return lose(sourceElement);
    lost.delete(sourceElement);
    show();
  });
  document.addEventListener("htmx:error", (event) => {
    const source = event.detail?.ctx?.sourceElement;
    if (!source || event.detail.error?.name === "AbortError") return;
    lose(source);
  });
  document.addEventListener("htmx:sse:error", (event) => {
    if ([401, 403].includes(event.detail?.status)) window.location.reload();  // the session has ended
    lost.add(event.target);
    show();
  });
  document.addEventListener("htmx:sse:after:connection", (event) => {
    lost.delete(event.target);
    show();
  });
  document.addEventListener("htmx:sse:close", (event) => {
    lost.delete(event.target);
    show();
  });
})();
