// Replaces the parts of the page that are marked as live when the store has changed. Without this
// script the page shows what was there when it was loaded.
"use strict";
const events = document.body.dataset.events;
if (events) {
  const sign = document.getElementById("live");
  let loading = false;

  async function refresh() {
    if (loading || document.hidden) return;
    loading = true;
    try {
      const answer = await fetch(location.href, { credentials: "same-origin" });
      if (!answer.ok) return;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const old of document.querySelectorAll("[data-live]")) {
        const fresh = page.getElementById(old.id);
        if (!fresh || old.contains(document.activeElement) || fresh.isEqualNode(old)) continue;
        const scrolled = [...old.querySelectorAll(".scroll")].map((e) => e.scrollLeft);
        const now = document.importNode(fresh, true);
        old.replaceWith(now);
        now.querySelectorAll(".scroll").forEach((e, n) => { e.scrollLeft = scrolled[n] || 0; });
      }
    } finally {
      loading = false;
    }
  }

  const source = new EventSource(events);
  source.addEventListener("open", () => { sign.hidden = false; });
  source.addEventListener("error", () => { // the stream ends from time to time and begins again
    setTimeout(() => { sign.hidden = source.readyState !== EventSource.OPEN; }, 3000);
  });
  source.addEventListener("changed", refresh);
  document.addEventListener("visibilitychange", refresh);
}
