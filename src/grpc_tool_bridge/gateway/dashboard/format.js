// Numbers, times and values as people read them.

const NUMBER = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const THREE = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

/** 12,345; of a very large number the first digits, and a dash where there is none. */
export const count = (number) => {
  if (typeof number !== "number") return "–";
  return Math.abs(number) < 1e15 ? NUMBER.format(number) : number.toPrecision(3);
};

/** "1 call", "12,345 calls" */
export const counted = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

/** Microseconds as "0.4 ms", "12 ms", "3.4 s", "2 min 5 s". */
export function duration(us) {
  if (us < 1_000_000) return `${us < 1_000 ? (us / 1_000).toFixed(2) : THREE.format(us / 1_000)} ms`;
  if (us < 60_000_000) return `${(us / 1_000_000).toFixed(us < 10_000_000 ? 2 : 1)} s`;
  const seconds = Math.round(us / 1_000_000);
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3_600)} h ${Math.floor((seconds % 3_600) / 60)} min`;
  return `${Math.floor(seconds / 86_400)} d ${Math.floor((seconds % 86_400) / 3_600)} h`;
}

/** Milliseconds as `duration`; null: a dash. */
export const milliseconds = (ms) => (ms === null || ms === undefined ? "–" : duration(ms * 1_000));

/** A part of a number as "3%"; less than one is not 0. */
export function percent(part, all) {
  if (!all || !part) return "0%";
  const number = (100 * part) / all;
  return `${number >= 10 ? Math.round(number) : Number(number.toPrecision(1))}%`;
}

/** Calls a second, with three digits at most: "0.012", "3.4", "1,234". */
export const rate = (number) =>
  number >= 100 ? count(Math.round(number)) : String(Number(number.toPrecision(number >= 1 ? 3 : 2)));

/** How far something is: "3 of 7 pages", "3 pages". */
export const progressed = ({ current, total, message }) =>
  `${total > 0 ? `${count(current)} of ${count(total)}` : count(current)} ${cut(message, 500)}`;

/** Of each state of a call or a run, what tells it without colours. */
export const MARKS = { waiting: "◌", running: "▶", done: "✓", failed: "✕", cancelled: "⊘", unknown: "?" };

/** A state with its mark: "✓ done". */
export const marked = (state, word = state) => `${MARKS[state] ?? "?"} ${word}`;

/** The words that somebody looks for, in small letters. */
export const wordsOf = (text) => text.toLowerCase().split(/\s+/).filter(Boolean);

/** A moment (milliseconds, or ISO 8601) as "14:03:05.123" of this day, with the date of another. */
export function clock(moment) {
  const date = new Date(moment);
  const two = (number) => String(number).padStart(2, "0");
  const time = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${String(date.getMilliseconds()).padStart(3, "0")}`;
  if (date.toDateString() === new Date().toDateString()) return time;
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${time}`;
}

/** As `clock`, with the time zone: "14:03:05.123 GMT+1". */
export function moment(time) {
  const parts = new Intl.DateTimeFormat("en", { timeZoneName: "short" }).formatToParts(new Date(time));
  return `${clock(time)} ${parts.find(({ type }) => type === "timeZoneName").value}`;
}

/** As `clock`, without milliseconds. */
export const timeOf = (moment) => clock(moment).replace(/\.\d+$/, "");

/** "now", "3 s ago", "2 min 5 s ago" */
export function ago(moment, now) {
  const ms = Math.max(0, now - new Date(moment));
  if (ms < 1_000) return "now";
  return ms < 60_000 ? `${Math.floor(ms / 1_000)} s ago` : `${duration(ms * 1_000)} ago`;
}

/** 1536 as "1.5 KiB" */
export function bytes(number) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let power = 0;
  while (number >= 1024 && power < units.length - 1) { number /= 1024; power++; }
  return `${NUMBER.format(number)} ${units[power]}`;
}

/** A value as JSON with line breaks, at most so many characters of it. */
export function pretty(value, most = 200_000) {
  return cut(JSON.stringify(value, null, 2) ?? "", most);
}

/** A value in one line, at most so many characters of it. */
export function oneLine(value, most = 200) {
  return cut(typeof value === "string" ? value.replace(/\s+/g, " ") : (JSON.stringify(value) ?? ""), most);
}

/** A text, or its beginning and how much is left out. */
export function cut(text, most) {
  return text.length <= most ? text : `${text.slice(0, most)}… (${count(text.length - most)} more characters)`;
}
