// What the hub remembers of its last minutes, as one row of points.

/** How long points are kept, in milliseconds: as long as the hub keeps them. */
export const KEPT_MS = 600_000;

/**
 * The points of all calls, of a tool or of a worker, put together from one answer after another.
 *
 * A point is { key, at, calls, errors, active, p50, p95, p99, rate, errorRate, joined }: milliseconds since 1970 and of
 * durations (null: no calls), calls a second, and whether it follows the point before without a gap.
 */
export class Points {
  constructor() {
    this.list = [];
    this.epoch = "";
    this.sequence = 0;
    // Milliseconds that this clock is ahead of the hub's; the least that was seen, as the newest point has some age.
    this.ahead = Number.POSITIVE_INFINITY;
  }

  /** What to ask for: only what is new. */
  get query() {
    return this.epoch ? { since: this.sequence, epoch: this.epoch } : {};
  }

  /** The hub's clock; before the first answer, this one. */
  now(clock = Date.now()) {
    return Number.isFinite(this.ahead) ? clock - this.ahead : clock;
  }

  /** Takes an answer of /api/history. Of a hub that was started anew, the points come after those of the old one. */
  take({ epoch, interval_ms: interval, points }, clock = Date.now()) {
    if (epoch !== this.epoch) {
      this.epoch = epoch;
      this.sequence = 0;
      this.ahead = Number.POSITIVE_INFINITY;
      const first = points.length ? Date.parse(points[0].at) : Number.POSITIVE_INFINITY;
      this.list = this.list.filter(({ at }) => at < first);
    }
    for (const told of points) if (told.sequence > this.sequence) this.add(told, interval);
    const last = this.list.at(-1);
    if (!last) return;
    if (points.length) this.ahead = Math.min(this.ahead, clock - last.at);
    this.list = this.list.filter(({ at }) => at > last.at - KEPT_MS);
  }

  add(told, interval) {
    const before = this.list.at(-1);
    const joined = this.sequence > 0 && told.sequence === this.sequence + 1;
    const at = Date.parse(told.at);
    // A hub that is busy is late with a point, which is of a longer time then.
    const seconds = Math.max(joined ? at - before.at : interval, interval / 2) / 1_000;
    this.sequence = told.sequence;
    this.list.push({
      key: `${this.epoch} ${told.sequence}`, at, joined,
      calls: told.calls, errors: told.errors, active: told.active,
      p50: told.p50_ms, p95: told.p95_ms, p99: told.p99_ms,
      rate: told.calls / seconds, errorRate: told.errors / seconds,
    });
  }

  /** The points between two moments. */
  between(from, to) {
    return this.list.filter(({ at }) => at >= from && at <= to);
  }
}

/** Sums of points: { calls, errors, active }; `active` is that of the last one. */
export function sumOf(points) {
  const sum = { calls: 0, errors: 0, active: points.at(-1)?.active ?? 0 };
  for (const point of points) {
    sum.calls += point.calls;
    sum.errors += point.errors;
  }
  return sum;
}
