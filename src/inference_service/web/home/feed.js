/* The stats feed: samples of the service, once a second (`GET stats` as server-sent events). */

const KEPT = 120; // samples, and seconds on the plots

/** Watches the feed; `on` has models(list), sample(sample, all) and lost(). */
export function watch(on) {
  const samples = [];
  let source = null, timer = 0;

  function keep(sample) {
    samples.push(sample);
    while (samples.length && sample.time - samples[0].time > KEPT) samples.shift();
  }

  function open() {
    clearTimeout(timer);
    source = new EventSource("stats");
    source.addEventListener("models", ({ data }) => on.models(JSON.parse(data)));
    source.addEventListener("history", ({ data }) => {
      samples.length = 0;
      JSON.parse(data).forEach(keep);
      if (samples.length) on.sample(samples.at(-1), samples);
    });
    source.addEventListener("sample", ({ data }) => {
      keep(JSON.parse(data));
      on.sample(samples.at(-1), samples);
    });
    source.onerror = () => {
      on.lost();
      if (source.readyState !== EventSource.CLOSED) return; // it tries again itself
      clearTimeout(timer);
      timer = setTimeout(open, 3000);
    };
  }

  // A page in the background watches nothing.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      clearTimeout(timer);
      source?.close();
      source = null;
    } else if (!source || source.readyState === EventSource.CLOSED) open();
  });
  open();
}

export { KEPT };
