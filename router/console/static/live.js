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
