import assert from "node:assert/strict";
import test from "node:test";
import { blocksOf, GrowingMarkdown } from "../src/lib/blocks.ts";

const TEXT = `# A heading

A paragraph in two
lines, with *marks*.

- one
- two

  still two
- three

\`\`\`python
def f():

    return 1
\`\`\`

| a | b |
| - | - |
| 1 | 2 |

> a quotation

1. first
2. second

The end.`;

function grow(text: string, step: number): GrowingMarkdown {
  const growing = new GrowingMarkdown();
  for (let at = 0; at < text.length; at += step) growing.push(text.slice(at, at + step));
  return growing;
}

test("growing by any step ends with the blocks of the whole text", () => {
  for (const step of [1, 2, 3, 7, 50, TEXT.length]) {
    const growing = grow(TEXT, step);
    const raws = [...growing.frozen, growing.last].map((block) => block?.raw.trim());
    assert.deepEqual(raws, blocksOf(TEXT).map((block) => block.raw.trim()), `step ${step}`);
    assert.equal(growing.text, TEXT);
  }
});

test("a frozen block stays the same object, and keys count from zero", () => {
  const growing = new GrowingMarkdown();
  growing.push("one\n\ntwo\n\nthree");
  const [first] = growing.frozen;
  growing.push(" and more\n\nfour");
  assert.equal(growing.frozen[0], first);
  assert.deepEqual(growing.frozen.map((block) => block.key), [0, 1, 2]);
  assert.equal(growing.last?.key, 3);
});

test("an open code fence swallows what follows", () => {
  const growing = grow("before\n\n```\na\n\n# not a heading\n\nb", 1);
  assert.equal(growing.frozen.length, 1);
  assert.equal(growing.last?.token.type, "code");
});

test("the work for a token does not grow with the text before the last block", () => {
  const growing = new GrowingMarkdown();
  for (let n = 0; n < 3000; n++) growing.push("A paragraph that is not short.\n\n");
  const started = performance.now();
  for (let n = 0; n < 100; n++) growing.push("word ");
  assert.ok(performance.now() - started < 200, "100 tokens after 3,000 paragraphs");
});
