// Where the bars of a timeline go: each group has lanes, in which calls that overlap lie one above the other.

/** Lanes of one group at most; what overlaps more lies on others. */
const MAX_LANES = 4;
const OTHERS = "others";

/**
 * Gives each bar a row.
 *
 * @param {{key: number, name: string, from: number, to: number}[]} bars What is shown: `name` is that of its group; the times are
 *   milliseconds.
 * @param {number} most Rows that there is room for, at least 1.
 * @param {Map<number, number>} lanes The lanes of bars by their keys, kept from one time to the next, so that none jumps.
 * @returns {{groups: {name: string, row: number, rows: number}[], rows: Map<number, number>}} Groups from the top down, and the row
 *   of each bar by its key.
 */
export function placed(bars, most, lanes) {
  const groups = new Map();
  for (const bar of [...bars].sort((one, other) => one.from - other.from)) {
    const group = groups.get(bar.name) ?? { name: bar.name, bars: [], ends: [] };
    groups.set(bar.name, group);
    group.bars.push(bar);
    const lane = lanes.get(bar.key) ?? free(group.ends, bar.from);
    lanes.set(bar.key, lane);
    group.ends[lane] = Math.max(group.ends[lane] ?? 0, bar.to);
  }
  const shown = fitting([...groups.values()], most);
  const limit = lanesThatFit(shown, most);
  const rows = new Map();
  let row = 0;
  const told = shown.map(({ name, bars: own, ends }) => {
    const count = Math.min(ends.length, limit);
    for (const bar of own) rows.set(bar.key, row + Math.min(lanes.get(bar.key), count - 1));
    row += count;
    return { name, row: row - count, rows: count };
  });
  return { groups: told, rows };
}

function free(ends, from) {
  for (let lane = 0; lane < MAX_LANES; lane++) if ((ends[lane] ?? 0) <= from) return lane;
  return ends.indexOf(Math.min(...ends));
}

/** The groups by name; if there is no room for all, those with most bars, and the others as one. */
function fitting(groups, most) {
  const byName = (one, other) => (one.name < other.name ? -1 : 1);
  if (groups.length <= most) return groups.sort(byName);
  const ranked = groups.sort((one, other) => other.bars.length - one.bars.length);
  const others = { name: `${groups.length - most + 1} ${OTHERS}`, bars: [], ends: [0] };
  for (const group of ranked.slice(most - 1)) for (const bar of group.bars) others.bars.push(bar);
  return [...ranked.slice(0, most - 1).sort(byName), others];
}

function lanesThatFit(groups, most) {
  let limit = MAX_LANES;
  const rows = () => groups.reduce((sum, { ends }) => sum + Math.min(ends.length, limit), 0);
  while (limit > 1 && rows() > most) limit--;
  return limit;
}
