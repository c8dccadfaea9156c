// The inputs of an agent, as its signature has them: "question: str, limit: int -> answer".

/** Returns the inputs of a signature, as { name, type, isText, isOptional }; `type` is empty if the signature has none. */
export function inputsOf(signature) {
  const [line] = signature.trim().split("\n");
  return split(line.split("->")[0])
    .map((part) => {
      const colon = part.indexOf(":");
      const name = (colon < 0 ? part : part.slice(0, colon)).trim();
      const type = colon < 0 ? "" : part.slice(colon + 1).trim();
      const isOptional = /(?:^|\|)\s*None(?:Type)?\s*(?:\||$)|^(?:typing\.)?Optional\[/.test(type);
      return { name, type, isText: isText(type), isOptional };
    })
    .filter(({ name }) => name);
}

/** Returns what somebody has typed for an input as the value that is sent; undefined: it is left out. */
export function inputValue({ isText: asText, isOptional }, text) {
  if (isOptional && text === "") return undefined;
  if (asText) return text;
  try {
    return JSON.parse(text);
  } catch {
    // The hub says what is wrong with it, if anything.
    return text;
  }
}

function isText(type) {
  const kinds = type
    .replace(/^(?:typing\.)?Optional\[(.*)\]$/s, "$1")
    .split("|")
    .map((kind) => kind.trim());
  return kinds.every((kind) => ["", "str", "None", "NoneType"].includes(kind) || /^(?:typing\.)?Literal\[\s*['"]/.test(kind));
}

/** Splits at commas that are in no brackets and no quotes. */
function split(text) {
  const parts = [""];
  let depth = 0;
  let quote = "";
  for (const sign of text) {
    if (quote) quote = sign === quote ? "" : quote;
    else if (sign === "'" || sign === '"') quote = sign;
    else if ("[(".includes(sign)) depth++;
    else if ("])".includes(sign)) depth--;
    if (sign === "," && !depth && !quote) parts.push("");
    else parts[parts.length - 1] += sign;
  }
  return parts;
}
