// Where a number is on an axis, and which numbers stand beside it.

/** Steps between times on an axis, in milliseconds. */
const TIME_STEPS = [5_000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000];
// A scale becomes logarithmic above the first spread, and linear again below the second, so that it does not flicker.
const SPREAD = 50;
const SPREAD_BACK = 20;

/** The least of 1, 2 and 5 times a power of ten that is not less than a number above 0. */
export function niceAbove(number) {
  const power = 10 ** Math.floor(Math.log10(number));
  const digit = [1, 2, 5].find((one) => one * power >= number * (1 - 1e-9));
  return rounded((digit ?? 10) * power);
}

/** The greatest of 1, 2 and 5 times a power of ten that is not more than a number above 0. */
function niceBelow(number) {
  const power = 10 ** Math.floor(Math.log10(number));
  return rounded([5, 2, 1].find((one) => one * power <= number * (1 + 1e-9) || one === 1) * power);
}

// 3 * 0.1 is 0.30000000000000004.
const rounded = (number) => Number(number.toPrecision(12));

/**
 * A scale from 0: { max, ticks, at(number) }, where `at` is 0 for its lower end and 1 for its upper one.
 *
 * @param {number} most What must have a place on it.
 * @param {object} [given]
 * @param {number} [given.ticks] About so many ticks at most, without that of 0.
 * @param {boolean} [given.whole] Ticks are whole numbers.
 */
export function linear(most, { ticks = 4, whole = false } = {}) {
  const least = whole ? 1 : 0;
  const step = Math.max(least, niceAbove((most > 0 ? most : 1) / ticks));
  const steps = Math.max(1, Math.ceil(rounded((most > 0 ? most : 1) / step)));
  const max = rounded(steps * step);
  return { max, log: false, ticks: Array.from({ length: steps + 1 }, (_, index) => rounded(index * step)),
    at: (number) => number / max };
}

/** A logarithmic scale that has a place for all between two numbers above 0. */
export function logarithmic(least, most, { ticks = 7 } = {}) {
  const low = niceBelow(least);
  const max = Math.max(niceAbove(most), low * 10);
  const all = [];
  for (let tick = low; tick <= max * (1 + 1e-9); tick = niceAbove(tick * 1.01)) all.push(tick);
  const tens = all.filter((tick) => Number.isInteger(Math.round(Math.log10(tick) * 1e6) / 1e6));
  const decades = Math.ceil(tens.length / ticks);
  const shown = all.length <= ticks + 1 ? all : tens.length > 1 ? tens.filter((_, index) => index % decades === 0) : [low, max];
  const span = Math.log(max / low);
  return { max, log: true, ticks: shown, at: (number) => Math.max(0, Math.log(number / low) / span) };
}

/** The scale for some numbers: logarithmic only if `log` allows it and they are far apart. `before`: the scale until now. */
export function scaleFor(numbers, { log = false, before = null, ...given } = {}) {
  let least = Number.POSITIVE_INFINITY;
  let most = 0;
  for (const number of numbers) {
    if (number > 0) least = Math.min(least, number);
    most = Math.max(most, number);
  }
  const isFar = most / least > (before?.log ? SPREAD_BACK : SPREAD);
  return log && isFar ? logarithmic(least, most) : linear(most, given);
}

/** Moments at which a line of an axis of time stands, at most so many: multiples of a step in the zone of this clock. */
export function timeTicks(from, to, most) {
  const step = TIME_STEPS.find((one) => (to - from) / one <= most) ?? TIME_STEPS.at(-1);
  const zone = new Date(to).getTimezoneOffset() * 60_000;
  const found = [];
  for (let at = Math.ceil((from - zone) / step) * step + zone; at <= to; at += step) found.push(at);
  return { step, ticks: found };
}

/** The place of the point that is nearest to a moment; -1: there are no points. */
export function nearest(points, at) {
  let low = 0;
  let high = points.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (points[middle].at < at) low = middle + 1;
    else high = middle;
  }
  if (low > 0 && at - points[low - 1].at < points[low].at - at) return low - 1;
  return high < 0 ? -1 : low;
}

/** The `d` of a path through points; a new part begins where a value is null or a point does not follow the one before. */
export function pathOf(points, x, y, value) {
  let text = "";
  let open = false;
  points.forEach((point, index) => {
    const number = value(point);
    if (number === null || number === undefined) {
      open = false;
      return;
    }
    const place = `${x(point.at).toFixed(1)} ${y(number).toFixed(1)}`;
    const next = points[index + 1];
    const goesOn = next?.joined && (value(next) ?? null) !== null;
    // One alone is a dot: a line without length has round ends.
    if (open && point.joined) text += `L${place}`;
    else text += `M${place}${goesOn ? "" : "h.01"}`;
    open = true;
  });
  return text;
}
