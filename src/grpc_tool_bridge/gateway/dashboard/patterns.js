// Patterns of schemas. Whoever writes a tool chooses them, and a browser has no limit to how long it matches one.

/** Steps that matching may take, as far as can be told before: some tenths of a second. */
export const MOST_STEPS = 1e8;
const MOST_CHARS = 1_000;
const TOKENS = /\\.|\[(?:\\.|[^\]\\])*\]|\((?:\?(?::|<?[=!]|<[^>]*>))?|[*+?]|\{\d+(?:,\d*)?\}|[\s\S]/gu;

/** Whether a text matches a pattern, or only the hub can tell. */
export function matches(text, pattern) {
  if (typeof pattern !== "string") return true;
  try {
    return stepsOf(pattern, text.length) > MOST_STEPS || new RegExp(pattern, "u").test(text);
  } catch {
    // A pattern of Python that a browser cannot read.
    return true;
  }
}

/** Returns how many steps it takes at most to match a text of so many characters; it is never more, and often much less. */
export function stepsOf(pattern, length) {
  if (pattern.length > MOST_CHARS) return Number.POSITIVE_INFINITY;
  const tokens = pattern.match(TOKENS) ?? [];
  let place = 0;
  // Of the choices of a part after another, each goes with each.
  const sequence = () => {
    let ways = 1;
    let all = 0;
    while (place < tokens.length && tokens[place] !== ")") {
      const token = tokens[place++];
      if (token === "|") {
        all += ways;
        ways = 1;
        continue;
      }
      let inner = 1;
      if (token.startsWith("(")) {
        inner = sequence();
        place++;
      }
      ways *= repeated(inner);
    }
    return all + ways;
  };
  const repeated = (inner) => {
    let ways = inner;
    for (let times = timesOf(tokens[place]); times; times = timesOf(tokens[place])) {
      place++;
      // A lazy one has as many.
      if (tokens[place] === "?") place++;
      const most = Math.min(times[1], length + 1);
      const least = Math.min(times[0], most);
      ways = ways > 1 ? (most - least + 1) * ways ** most : most - least + 1;
    }
    return ways;
  };
  const starts = tokens[0] === "^" && !tokens.includes("|") ? 1 : length + 1;
  return starts * (length + tokens.length) * sequence();
}

function timesOf(token) {
  if (token === "*") return [0, Number.POSITIVE_INFINITY];
  if (token === "+") return [1, Number.POSITIVE_INFINITY];
  if (token === "?") return [0, 1];
  if (token?.length < 3 || token?.[0] !== "{") return null;
  const [least, most = least] = token.slice(1, -1).split(",");
  return [Number(least), most === "" ? Number.POSITIVE_INFINITY : Number(most)];
}
