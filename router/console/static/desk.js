// The desk: news of the server into the page, deadlines that count down, a sound for offers, and forms sent once.
"use strict";

(() => {
  const desk = document.querySelector("[data-desk]");
  if (!desk) return;
  const byId = (name) => document.getElementById(name);

  // Deadlines. The server says how many seconds are left, so a wrong clock of this computer does not matter.
  const startCountdowns = (root) => {
    for (const one of root.querySelectorAll(".countdown")) {
      one.deadline = performance.now() + Number(one.dataset.seconds) * 1000;
    }
  };
  const tick = () => {
    for (const one of document.querySelectorAll(".countdown")) {
      const left = Math.max(0, Math.ceil((one.deadline - performance.now()) / 1000));
      one.textContent = left ? `${left} s` : "no time: it is over";
    }
  };
  startCountdowns(desk);
  setInterval(tick, 1000);

  // Sound. Browsers play none before somebody has pressed something, so it is a switch; the choice is kept for this tab.
  const sound = byId("sound");
  const player = new Audio(desk.dataset.sound);
  let isLoud = false;
  const showSound = () => {
    sound.textContent = `Sound for offers: ${isLoud ? "on" : "off"}`;
    sound.setAttribute("aria-pressed", String(isLoud));
  };
  const play = () => player.play().catch(() => { isLoud = false; showSound(); });
  const remember = (on) => { try { sessionStorage.setItem("sound", on ? "on" : "off"); } catch { /* private window */ } };
  try { isLoud = sessionStorage.getItem("sound") === "on"; } catch { /* private window */ }
  sound.hidden = false;
  showSound();
  sound.addEventListener("click", () => {
    isLoud = !isLoud;
    remember(isLoud);
    showSound();
    if (isLoud) play();
  });

  // Forms: a double click sends once. The server counts a form that comes twice once as well, so one that is still not
  // answered after a while may be sent again.
  const FORM_LOCK = 10_000;
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.dataset.sent) {
      event.preventDefault();
      return;
    }
    form.dataset.sent = "yes";
    setTimeout(() => delete form.dataset.sent, FORM_LOCK);
  });
  // News. The server's text is its own template, in which everything that people wrote is escaped.
  const parse = (html) => new DOMParser().parseFromString(html, "text/html");
  // What has the focus is found again in the new text by what it does.
  const markOf = (one) =>
    [one.tagName, one.name, one.value, one.getAttribute("href"), one.form?.elements.offer?.value].join("\n");
  const replace = (name, html) => {
    const place = byId(name);
    if (!place) return;
    const mark = place.contains(document.activeElement) ? markOf(document.activeElement) : "";
    place.innerHTML = html;
    startCountdowns(place);
    if (!mark) return;
    [...place.querySelectorAll("a, button")].find((one) => markOf(one) === mark)?.focus({ preventScroll: true });
  };
  const scrollDown = () => {
    const lines = byId("lines");
    if (lines) lines.scrollTop = lines.scrollHeight;
  };
  // Lines that have not changed stay as they are: a screen reader reads what is new, and nobody loses the place.
  const mergeLines = (list, next) => {
    const old = [...list.children];
    const first = old.findIndex((one) => next[0]?.isEqualNode(one));
    for (const one of old.splice(0, Math.max(0, first))) one.remove();
    let same = 0;
    while (same < old.length && same < next.length && old[same].isEqualNode(next[same])) same += 1;
    for (const one of old.slice(same)) one.remove();
    list.append(...next.slice(same));
  };
  const takeTranscript = (html) => {
    const next = parse(html), lines = byId("lines");
    const isAtEnd = lines.scrollTop + lines.clientHeight >= lines.scrollHeight - 10;
    replace("about", next.getElementById("about").innerHTML);
    mergeLines(lines.querySelector("ol"), [...next.querySelectorAll("#lines > ol > li")]);
    if (isAtEnd) scrollDown();
  };
  const connection = byId("connection");
  const say = (text) => {
    connection.textContent = text;
    connection.hidden = !text;
  };
  const title = document.title;
  const countOffers = (root) => root.querySelectorAll(".card.offer").length;
  const showOffers = (waiting) => {
    document.title = waiting ? `(${waiting}) ${title}` : title;
  };
  // A conversation's page has no lists: it says that an offer waits, and where.
  const hint = (waiting) => {
    const place = byId("offers");
    if (!place) return;
    const text = waiting === 1 ? "An offer waits for you at the desk" : `${waiting} offers wait for you at the desk`;
    if (place.textContent === (waiting ? text : "")) return;
    place.replaceChildren();
    if (!waiting) return;
    const link = document.createElement("a");
    link.href = "/desk";
    link.textContent = text;
    place.append(link);
  };
  const takeLists = (html) => {
    const waiting = countOffers(parse(html));
    replace("lists", html);
    showOffers(waiting);
    hint(waiting);
  };
  // A browser reconnects by itself after a lost connection, but never after an answer other than 200 (503 while Redis is
  // away, 502 of a proxy): then this page does, after pauses in milliseconds that grow.
  const FIRST_PAUSE = 5_000, LONGEST_PAUSE = 60_000;
  let sources = [], pause = FIRST_PAUSE, retry;
  const isRefused = async () => {
    const probe = new AbortController();
    try {
      const answer = await fetch(desk.dataset.events, { redirect: "manual", signal: probe.signal });
      return answer.type === "opaqueredirect" || answer.status === 401 || answer.status === 403;
    } catch {
      return false; // the console cannot be reached
    } finally {
      probe.abort(); // an answer of 200 has no end
    }
  };
  const connectLater = async (failed) => {
    clearTimeout(retry);
    retry = setTimeout(connect, pause);
    pause = Math.min(2 * pause, LONGEST_PAUSE);
    leave(); // another tab may be able to connect
    const refused = await isRefused();
    if (!sources.includes(failed)) return; // another connection is open by now
    say(refused
      ? "You are signed out, or may not see this any more. Sign in again, or load the page again."
      : "The connection to the console is lost. It is tried again.");
  };
  const disconnect = (kept) => {
    clearTimeout(retry);
    for (const one of sources) if (one !== kept) one.close();
    sources = kept ? [kept] : [];
  };
  const connect = () => {
    const source = new EventSource(desk.dataset.events);
    sources = [...sources.filter((one) => one.readyState !== EventSource.CLOSED), source];
    source.addEventListener("open", () => {
      disconnect(source);
      pause = FIRST_PAUSE;
      say("");
      if (document.hidden && !isSharing) share();
    });
    source.addEventListener("error", () => {
      if (source.readyState === EventSource.CLOSED) connectLater(source);
      else say("The connection to the console is lost. It is tried again.");
    });
    source.addEventListener("reconnect", connect);
    source.addEventListener("lists", (event) => takeLists(event.data));
    source.addEventListener("transcript", (event) => takeTranscript(event.data));
    source.addEventListener("answer", (event) => replace("notice", event.data));
    source.addEventListener("offer", () => { if (isLoud) play(); });
    source.addEventListener("connection", (event) => {
      say(event.data.trim() === "up" ? "" : "Redis does not answer. This page comes back by itself once it does.");
    });
  };
  // Over HTTP/1.1 a browser opens six connections to a host, for all of its tabs. So only one of the tabs in the background
  // stays connected, for the presence of its person, besides those that are visible or play a sound. The tab that has a
  // lock is that one; the browser passes the lock on when the tab is closed. It has locks by https and on localhost only.
  const GRACE = 10_000;
  let isSharing = false, leave = () => {};
  const resume = () => { if (!sources.length) connect(); };
  const share = () => {
    leave();
    if (!document.hidden || isLoud || !navigator.locks) {
      resume();
      return;
    }
    isSharing = true;
    const closing = setTimeout(() => disconnect(), GRACE);
    const left = new AbortController();
    const end = new Promise((resolve) => left.signal.addEventListener("abort", resolve));
    leave = () => {
      isSharing = false;
      clearTimeout(closing);
      left.abort();
    };
    navigator.locks.request("desk-news", { signal: left.signal }, () => {
      clearTimeout(closing);
      resume();
      return end;
    }).catch(() => {}); // it became visible before the lock was free
  };
  resume();
  document.addEventListener("visibilitychange", share);
  addEventListener("pagehide", () => {
    leave();
    disconnect();
  });
  addEventListener("pageshow", (event) => {
    for (const form of document.forms) delete form.dataset.sent;
    if (event.persisted) share();
  });
  showOffers(countOffers(document));
  scrollDown();
})();
