import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { threadId } from 'node:worker_threads';
import { serveJobs } from '../../src/store/jobs/serve.ts';
import { storeJobs } from '../../src/store/jobs.ts';
import type { TreeContext } from '../../src/store/port.ts';

/** Jobs that misbehave, for the tests of the pool. */
serveJobs({
  ...storeJobs,
  'test.echo': (context, params: unknown) => {
    context.report({ got: params });
    return params;
  },
  'test.fail': () => {
    throw Object.assign(new Error('deep inside'), { code: 'ENOSPC' });
  },
  /** Puts things, says so, then works on, looking for cancellation. */
  'test.endless': (context) => {
    const node = putThings(context);
    for (;;) context.report(node);
  },
  /** As above, but never looks. */
  'test.deaf': (context) => {
    context.report(putThings(context));
    for (;;);
  },
  'test.exit': () => process.exit(3),
  'test.dangling': (context) => {
    const hex = 'ab'.repeat(32) as ReturnType<TreeContext['putNode']>['full'];
    const meta = { mode: 0o755, uid: 0, gid: 0, mtimeSec: 0, mtimeNsec: 0 };
    return context.putRoot({ ...meta, full: hex, content: hex, hardlinks: [] });
  },
  'test.streams': (context) => {
    const whole = context.putBytes(Buffer.from('one two three'));
    const stream = context.writeObject();
    for (const part of ['one', ' two', ' three']) stream.write(Buffer.from(part));
    const dropped = context.writeObject();
    dropped.write(Buffer.alloc(1 << 20, 7));
    dropped.abort();
    const zeros = context.writeObject();
    for (let i = 0; i < 64; i++) zeros.write(Buffer.alloc(1 << 16));
    return { whole, streamed: stream.finish(), zeros: zeros.finish() };
  },
  /** Objects of all sizes up to beyond what a slot of the second thread takes, and a tree that refers to nothing of them. */
  'test.many': (context, { count }: { count: number }) => {
    const made: { object: string; text: string }[] = [];
    for (let i = 0; i < count; i++) {
      const text = `${i} `.repeat(i % 500 === 499 ? 70_000 : i % 300);
      const { object } = context.putBytes(Buffer.from(text, 'latin1'));
      if (i % 100 === 0) {
        context.report(i);
        made.push({ object, text });
        // What is pending can be read before the job ends.
        if (readFileSync(context.objectPath(object), 'latin1') !== text) throw new Error(`object ${i} is not whole`);
      }
    }
    const meta = { mode: 0o755, uid: 0, gid: 0, mtimeSec: count, mtimeNsec: 0 };
    context.putRoot({ ...meta, ...context.putNode([]), hardlinks: [] });
    return made;
  },
  /** Ends when `count` of them have run at once. Shared are how many run, the most that did, and how many began. */
  'test.meet': async (_context, { shared, count }: { shared: Int32Array; count: number }) => {
    const running = Atomics.add(shared, 0, 1) + 1;
    if (running > Atomics.load(shared, 1)) Atomics.store(shared, 1, running);
    const arrived = Atomics.add(shared, 2, 1) + 1;
    // The first of each group meets its last.
    const group = Math.ceil(arrived / count) * count;
    for (const until = Date.now() + 30_000; Atomics.load(shared, 2) < group && Date.now() < until; )
      await new Promise((resolve) => setTimeout(resolve, 5));
    Atomics.sub(shared, 0, 1);
  },
  'test.busy': async (_context, { ms }: { ms: number }) => {
    await new Promise((resolve) => setTimeout(resolve, ms));
    return threadId;
  },
});

function putThings(context: TreeContext): unknown {
  context.putBytes(Buffer.from('pending'));
  context.writeObject().write(Buffer.alloc(1 << 20, 1));
  writeFileSync(join(context.tmpDir, 'own'), 'x');
  return context.putNode([]);
}
