import { randomFillSync } from 'node:crypto';
import { closeSync, mkdirSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';

const stages = 20;
const steps = 100;

function project(folder: string, dockerfile: readonly string[]): string {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'Dockerfile'), `${dockerfile.join('\n')}\n`);
  return folder;
}

/** 14 stages that need nothing of each other, 5 that each take from three of those, and one that takes from these five. Each counts, which is a processor's work. */
export function stagesProject(folder: string, turns: number): string {
  const count = `i=0; while [ $i -lt ${turns} ]; do i=$((i+1)); done`;
  const leaves = Array.from({ length: stages - 6 }, (_, index) => `leaf${index}`);
  const joins = Array.from({ length: 5 }, (_, index) => ({
    name: `join${index}`,
    of: [0, 1, 2].map((step) => leaves[(index * 3 + step) % leaves.length]),
  }));
  return project(folder, [
    ...leaves.flatMap((name) => [`FROM busybox:bench AS ${name}`, `RUN ${count}; echo ${name} > /${name}`]),
    ...joins.flatMap(({ name, of }) => [
      `FROM busybox:bench AS ${name}`,
      ...of.map((leaf) => `COPY --from=${leaf} /${leaf} /`),
      `RUN ${count}; cat /leaf* > /${name}`,
    ]),
    'FROM busybox:bench',
    ...joins.map(({ name }) => `COPY --from=${name} /${name} /`),
  ]);
}

/** `RUN` upon `RUN`, and beside it the same context with one step only. */
export function stepsProjects(folder: string): { many: string; one: string } {
  const make = (name: string, length: number) => {
    const path = project(join(folder, name), [
      'FROM busybox:bench',
      'COPY file /',
      ...Array.from({ length }, (_, index) => `RUN echo ${index} > /step`),
    ]);
    writeFileSync(join(path, 'file'), 'a file\n');
    return path;
  };
  return { many: make('many', steps), one: make('one', 1) };
}

/** A context that is one file which nothing makes smaller. */
export function largeFileProject(folder: string, bytes: number): string {
  project(folder, ['FROM scratch', 'COPY large /']);
  const piece = Buffer.allocUnsafe(Math.min(bytes, 64 << 20));
  randomFillSync(piece);
  const file = openSync(join(folder, 'large'), 'w');
  for (let written = 0; written < bytes; written += piece.length) {
    // No two pieces are the same, in no block of theirs.
    for (let at = 0; at < piece.length; at += 4096) piece.writeUInt32LE(((written + at) / 4096) >>> 0, at);
    writeSync(file, piece, 0, Math.min(piece.length, bytes - written));
  }
  closeSync(file);
  return folder;
}
