import assert from "node:assert/strict";
import test from "node:test";
import { age, shorten, short } from "../src/lib/format.ts";
import { locate } from "../src/lib/passage.ts";
import { SentenceCutter } from "../src/lib/sentences.ts";

test("a passage is found at its offset in code points", () => {
  const text = "🐋🐋 the whale. the whale. the whale.";
  assert.deepEqual(locate(text, "the whale.", 14), [16, 26]);
  assert.equal(text.slice(16, 26), "the whale.");
});

test("a passage that moved is found elsewhere, a strange one nowhere", () => {
  assert.deepEqual(locate("new words. the passage", "the passage", 0), [11, 22]);
  assert.deepEqual(locate("the passage moved up", " the passage ", 900), [0, 11]);
  assert.equal(locate("something else", "the passage", 0), null);
  assert.equal(locate("anything", "  ", 0), null);
});

test("sentences are told whole, without marks", () => {
  const cutter = new SentenceCutter();
  assert.equal(cutter.push("The **whale** is wh"), "");
  assert.equal(cutter.push("ite. It costs 3.50 and"), "The whale is white.");
  assert.equal(cutter.push(" swims! "), "It costs 3.50 and swims!");
  cutter.push("The end");
  assert.equal(cutter.finish(), "The end");
});

test("titles are cut between words", () => {
  assert.equal(shorten("What  is\nthe whale's colour?", 60), "What is the whale's colour?");
  assert.equal(shorten("one two three four", 12), "one two…");
  assert.equal(short("ab".repeat(32)), "abababababab…");
});

test("conversations stand under their age", () => {
  const noon = new Date(2026, 10, 23, 12).getTime();
  assert.equal(age(noon - 3_600_000, noon), "Today");
  assert.equal(age(noon - 13 * 3_600_000, noon), "Yesterday");
  assert.equal(age(noon - 5 * 86_400_000, noon), "This week");
  assert.equal(age(noon - 30 * 86_400_000, noon), "Earlier");
});
