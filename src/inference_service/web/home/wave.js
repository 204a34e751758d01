/* Sound as a waveform, with segments where speech is. */

import { colour, paint } from "./dom.js";

let decoder = null;

/** The first channel's peaks, and the seconds. Throws where the browser can't decode it. */
async function peaksOf(blob, count) {
  decoder ??= new OfflineAudioContext(1, 1, 16000);
  const sound = await decoder.decodeAudioData(await blob.arrayBuffer());
  const samples = sound.getChannelData(0), step = samples.length / count;
  const peaks = Array.from({ length: count }, (_, place) => {
    let top = 0;
    const end = Math.min(samples.length, Math.ceil((place + 1) * step));
    for (let at = Math.floor(place * step); at < end; at += 1) top = Math.max(top, Math.abs(samples[at]));
    return top;
  });
  return { peaks, seconds: sound.duration };
}

/** Draw a recording; `segments` are shaded. Returns its seconds, null where it can't be decoded. */
export async function waveform(canvas, blob, segments = []) {
  try {
    const wide = Math.max(24, Math.floor(canvas.getBoundingClientRect().width / 3));
    const { peaks, seconds } = await peaksOf(blob, wide);
    const loudest = Math.max(...peaks, 1e-3);
    paint(canvas, (context, width, height) => {
      context.fillStyle = colour("segment");
      for (const { start, end } of segments) context.fillRect((start / seconds) * width, 0, Math.max(1, ((end - start) / seconds) * width), height);
      peaks.forEach((peak, place) => {
        const at = (place + 0.5) / peaks.length;
        const spoken = !segments.length || segments.some(({ start, end }) => at * seconds >= start && at * seconds <= end);
        context.fillStyle = colour(spoken ? "wave" : "quiet");
        const high = Math.max(1, (peak / loudest) * (height - 4));
        context.fillRect(at * width - 1, (height - high) / 2, 2, high);
      });
    });
    return seconds;
  } catch {
    paint(canvas, (context, width, height) => {
      context.fillStyle = colour("quiet");
      context.fillRect(0, height / 2, width, 1);
    });
    return null;
  }
}
