// A stretch of time that a timeline shows: zooming, moving, and its scale. Pure.

/** From and to, in the kernel's seconds. */
export type Span = readonly [from: number, to: number];

/** The part of a whole that is nearest to what is asked for: not outside it, not too short; null for all of it. */
export function within([from, to]: Span, [begin, end]: Span): Span | null {
  const length = Math.max(to - from, (end - begin) / 10_000, 0.001);
  if (length >= (end - begin) * 0.999) return null;
  const at = Math.min(Math.max((from + to - length) / 2, begin), end - length);
  return [at, at + length];
}

/** A span that is so many times as long around the same middle. */
export function scaled([from, to]: Span, factor: number): Span {
  const half = ((to - from) / 2) * factor;
  return [(from + to) / 2 - half, (from + to) / 2 + half];
}

/** A span moved by a share of its length, stopping at the ends of the whole. */
export function moved([from, to]: Span, share: number, [begin, end]: Span): Span {
  const by = Math.min(Math.max((to - from) * share, begin - from), end - to);
  return [from + by, to + by];
}

/** A moment on a scale: as exact as the length of what is shown asks for. */
export function moment(seconds: number, length: number): string {
  const exact = length < 0.1 ? 3 : length < 1 ? 2 : length < 10 ? 1 : 0;
  if (seconds < 60 || exact) return seconds === 0 ? "0 s" : `${seconds.toFixed(exact)} s`;
  const minutes = Math.floor(seconds / 60);
  const rest = Math.round(seconds % 60);
  return minutes < 60 ? `${minutes} min ${rest} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
