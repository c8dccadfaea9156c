import assert from "node:assert/strict";
import { test } from "node:test";

import { inputsOf, inputValue } from "../../src/grpc_tool_bridge/gateway/dashboard/signature.js";

const input = (text) => inputsOf(`${text} -> answer: str\nJudge: the tone, not the opinion -> well.`);

test("inputs are what stands before the arrow on the first line", () => {
  assert.deepEqual(
    input("Question, limit: int").map(({ name, type }) => [name, type]),
    [
      ["Question", ""],
      ["limit", "int"],
    ],
  );
  assert.deepEqual(
    input("a: dict[str, list[int]], b: Literal['x, y', \"it's\", ']'], c: tuple[int, ...]").map(({ name, type }) => [name, type]),
    [
      ["a", "dict[str, list[int]]"],
      ["b", "Literal['x, y', \"it's\", ']']"],
      ["c", "tuple[int, ...]"],
    ],
  );
  assert.deepEqual(inputsOf("").length, 0);
});

test("a text is sent as it was typed, and anything else as JSON", () => {
  for (const type of ["", ": str", ": Optional[str]", ": str | None", ": Literal['1', '2']", ": typing.Optional[str]"]) {
    assert.equal(inputValue(input(`a${type}`)[0], "1"), "1");
  }
  for (const type of [": int", ": float | None", ": Any", ": int | str", ": Literal[1, 2]"]) {
    assert.equal(inputValue(input(`a${type}`)[0], "1"), 1);
  }
  assert.deepEqual(inputValue(input("a: list[str]")[0], '["x"]'), ["x"]);
  // The hub says what is wrong with it.
  assert.equal(inputValue(input("a: int")[0], "many"), "many");
});

test("what may be left out is, if nothing was typed", () => {
  for (const type of ["str | None", "None | int", "Optional[int]", "typing.Optional[str]"]) {
    assert.equal(inputValue(input(`a: ${type}`)[0], ""), undefined);
  }
  for (const type of ["str", "Literal['None']", "list[None]"]) assert.equal(inputValue(input(`a: ${type}`)[0], ""), "");
});
