import assert from 'node:assert/strict';
import { closeSync, writeSync } from 'node:fs';
import { Socket } from 'node:net';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { bytesWaiting, pipe } from '../kernel/stdio.ts';
import { ExecAttachment } from './exec-attachment.ts';

/** An attachment whose process's side of stdout is `write`. */
function piped(exited: Promise<void>): { attachment: ExecAttachment; write: number } {
  const { read, write } = pipe();
  const source = new Socket({ fd: read, readable: true, writable: false });
  const pendingBytes = () => bytesWaiting(read) + source.readableLength;
  return { attachment: new ExecAttachment({ stdin: undefined, outputs: [{ stream: 'stdout', source, pendingBytes }] }, exited), write };
}

test('a client that reads slowly gets all that the process wrote before its end', async () => {
  const { promise: exited, resolve: exit } = Promise.withResolvers<void>();
  const { attachment, write } = piped(exited);
  const output = attachment.output();
  writeSync(write, Buffer.alloc(30_000, 'a'));
  const first = await output.next();
  writeSync(write, Buffer.alloc(60_000, 'b'));
  exit();
  await sleep(50);
  let bytes = first.done ? 0 : first.value.data.length;
  for await (const { data } of output) {
    bytes += data.length;
    await sleep(10);
  }
  // The other end was open all the time, as a background child holds it.
  closeSync(write);
  assert.equal(bytes, 90_000);
});

test('what a background child writes after the end keeps nobody', async () => {
  const { promise: exited, resolve: exit } = Promise.withResolvers<void>();
  const { attachment, write } = piped(exited);
  const block = Buffer.alloc(4_096, 'x');
  writeSync(write, block);
  exit();
  let bytes = 0;
  for await (const { data } of attachment.output()) {
    bytes += data.length;
    writeSync(write, block);
    assert.ok(bytes <= 64 << 10, 'it ends');
  }
  closeSync(write);
});

test('a client that leaves does not stop the process: what it writes is dropped', async () => {
  const { promise: exited, resolve: exit } = Promise.withResolvers<void>();
  const { attachment, write } = piped(exited);
  attachment.close();
  for (let round = 0; round < 20; round++) {
    writeSync(write, Buffer.alloc(32_000, 'x'));
    await sleep(5);
  }
  exit();
  await sleep(20);
  assert.throws(() => writeSync(write, 'x'), { code: 'EPIPE' });
  closeSync(write);
});
