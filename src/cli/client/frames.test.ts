import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ChunkedDecoder } from './chunked.ts';
import { parseHead } from './connection.ts';
import { encodeFrame, FrameDecoder } from './frames.ts';

/** Cuts bytes into pieces of every length, so that each boundary falls everywhere. */
function cuts(bytes: Buffer): Buffer[][] {
  return Array.from({ length: bytes.length }, (_, length) => {
    const pieces: Buffer[] = [];
    for (let at = 0; at < bytes.length; at += length + 1) pieces.push(bytes.subarray(at, at + length + 1));
    return pieces;
  });
}

test('frames come out as they went in, wherever they are cut', () => {
  const bytes = Buffer.concat([
    encodeFrame(0, '{"id":"ä"}'),
    encodeFrame(1, 'out'),
    encodeFrame(2, ''),
    encodeFrame(0, ''),
    encodeFrame(2, 'err'),
  ]);
  for (const pieces of cuts(bytes)) {
    const controls: string[] = [];
    const output = ['', '', ''];
    const decoder = new FrameDecoder(
      (stream, data) => {
        if (stream === 0) controls.push(data.toString());
        else output[stream] += data.toString();
      },
      { whole: [0] },
    );
    for (const piece of pieces) decoder.push(piece);
    assert.deepEqual(controls, ['{"id":"ä"}', '']);
    assert.deepEqual(output, ['', 'out', 'err']);
    assert.equal(decoder.complete, true);
  }
});

test('a cut frame shows as incomplete', () => {
  const decoder = new FrameDecoder(() => {});
  decoder.push(encodeFrame(1, 'abc').subarray(0, 10));
  assert.equal(decoder.complete, false);
});

test('a chunked body comes out whole, wherever it is cut', () => {
  const bytes = Buffer.from('5\r\nhello\r\n6;ext=1\r\n world\r\n0\r\nTrailer: x\r\n\r\n');
  for (const pieces of cuts(bytes)) {
    const decoder = new ChunkedDecoder();
    const body = pieces.flatMap((piece) => [...decoder.push(piece)]);
    assert.equal(Buffer.concat(body).toString(), 'hello world');
    assert.equal(decoder.done, true);
  }
});

test('a damaged chunked body is refused', () => {
  for (const text of ['x\r\n', '5\r\nhelloX\r\n', `${'1'.repeat(5000)}`]) {
    assert.throws(() => [...new ChunkedDecoder().push(Buffer.from(text))], /damaged/, text.slice(0, 20));
  }
});

test('heads', () => {
  assert.deepEqual(parseHead('HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nX: y: z'), {
    status: 200,
    headers: new Map([
      ['content-type', 'a/b'],
      ['x', 'y: z'],
    ]),
  });
  assert.equal(parseHead('SSH-2.0-OpenSSH'), undefined);
});
