import assert from "node:assert/strict";
import test from "node:test";
import { EventParser } from "../src/lib/sse.ts";

const STREAM = 'data: {"a":1}\n\n: ping\n\ndata:two\r\n\r\nevent: x\ndata: l1\ndata: l2\n\ndata: [DONE]\n\n';
const EVENTS = ['{"a":1}', "two", "l1\nl2", "[DONE]"];

test("events come out whole wherever the stream is cut", () => {
  for (let step = 1; step <= STREAM.length; step++) {
    const parser = new EventParser();
    const found: string[] = [];
    for (let at = 0; at < STREAM.length; at += step) found.push(...parser.push(STREAM.slice(at, at + step)));
    assert.deepEqual(found, EVENTS, `step ${step}`);
  }
});

test("an event that is not closed is not told", () => {
  assert.deepEqual(new EventParser().push('data: {"half":'), []);
});
