// Live lists: new rows come first, and so many stay (data-most); what the console says about them is shown beside.
"use strict";
document.addEventListener("htmx:sse:after:message", (event) => {
  const list = event.target, most = Number(list.dataset.most);
  while (most && list.children.length > most) list.lastElementChild.remove();
});
document.querySelectorAll("[data-state]").forEach((list) => {
  const place = document.getElementById(list.dataset.state);
  list.addEventListener("state", (event) => {
    place.textContent = event.detail.data.trim();
  });
});
// Only the first connection, if it came at once, begins where the page ends.
document.querySelectorAll("[data-gap]").forEach((list) => {
  const place = document.getElementById(list.dataset.gap);
  let connections = 0;
  list.addEventListener("htmx:sse:after:connection", () => {
    connections += 1;
    if (connections > 1 || list.dataset.retried) {
      place.textContent = "The connection was lost for a while. Entries may be missing: load the page again.";
    }
  });
});
