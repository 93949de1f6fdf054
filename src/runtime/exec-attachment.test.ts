import assert from 'node:assert/strict';
import { closeSync, writeSync } from 'node:fs';
import { Socket } from 'node:net';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { pipe } from '../kernel/stdio.ts';
import { ExecAttachment } from './exec-attachment.ts';

function piped(exited: Promise<void>): { attachment: ExecAttachment; write: number } {
  const { read, write } = pipe();
  const source = new Socket({ fd: read, readable: true, writable: false });
  return { attachment: new ExecAttachment({ child: [], outputs: [{ stream: 'stdout', source }] }, exited), write };
}

test('a client that reads slowly gets all that the process wrote before its end', async () => {
  const { promise: exited, resolve: exit } = Promise.withResolvers<void>();
  const { attachment, write } = piped(exited);
  const output = attachment.output();
  writeSync(write, Buffer.alloc(30_000, 'a'));
  const first = await output.next();
  writeSync(write, Buffer.alloc(60_000, 'b'));
  exit();
  // A background child holds the pipe open: only silence tells the end.
  await sleep(700);
  let bytes = first.done ? 0 : first.value.data.length;
  for await (const { data } of output) {
    bytes += data.length;
    await sleep(10);
  }
  closeSync(write);
  assert.equal(bytes, 90_000);
});

test('a background child that writes for ever does not keep the client', async () => {
  const { attachment, write } = piped(Promise.resolve());
  const block = Buffer.alloc(4_096, 'x');
  writeSync(write, block);
  let bytes = 0;
  for await (const { data } of attachment.output()) {
    bytes += data.length;
    writeSync(write, block);
    assert.ok(bytes < 2 << 20, 'it ends');
  }
  closeSync(write);
});
