// Follows the tasks whose progress bars are on this page: by a stream of events where the server has one, else by asking.
// A module runs once, however many bars load it.

const SLOWEST = 10000; // Milliseconds between two questions about a task that does not move.

function show(bar, seen) {
  const progress = bar.querySelector("progress");
  if (seen.fraction === null) progress.removeAttribute("value");
  else progress.value = seen.fraction;
  const text = bar.querySelector("[role=status]");
  if (text.textContent !== seen.text) text.textContent = seen.text; // Screen readers announce each change.
  bar.dataset.status = seen.status;
  bar.dispatchEvent(new CustomEvent("autotask:progress", { bubbles: true, detail: seen }));
  if (!seen.ended) return;
  bar.dataset.ended = "";
  if ("reload" in bar.dataset) location.reload();
}

function visible() {
  if (!document.hidden) return Promise.resolve();
  return new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true })).then(visible);
}

async function ask(bar) {
  let pause = 1000;
  let last = "";
  while (!("ended" in bar.dataset) && bar.isConnected) {
    await new Promise((resolve) => setTimeout(resolve, pause));
    await visible();
    let text = "";
    try {
      const answer = await fetch(bar.dataset.autotaskProgress, { headers: { Accept: "application/json" } });
      if (answer.status === 404) return;
      if (answer.ok) text = await answer.text();
    } catch {} // The server is away: ask again, less and less often.
    pause = text && text !== last ? 1000 : Math.min(SLOWEST, pause * 1.5);
    if (text && text !== last) show(bar, JSON.parse(text));
    last = text;
  }
}

async function listen(bar) {
  await visible();
  const stream = new EventSource(bar.dataset.stream);
  const pause = () => {
    if (!document.hidden) return;
    stream.close();
    document.removeEventListener("visibilitychange", pause);
    listen(bar);
  };
  document.addEventListener("visibilitychange", pause);
  const end = () => {
    stream.close();
    document.removeEventListener("visibilitychange", pause);
  };
  stream.onmessage = (event) => {
    const seen = JSON.parse(event.data);
    if (seen.ended) end();
    show(bar, seen);
  };
  stream.onerror = () => {
    if (stream.readyState !== EventSource.CLOSED) return; // It opens itself again.
    end();
    ask(bar);
  };
}

for (const bar of document.querySelectorAll("[data-autotask-progress]")) {
  if ("ended" in bar.dataset) continue;
  if (bar.dataset.stream) listen(bar);
  else ask(bar);
}
