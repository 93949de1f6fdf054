import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { killProcess } from '../../src/kernel/process.ts';
import { call, cannotRunDaemon, upload } from './api-daemon-harness.ts';
import { FirePlace, inspect, settle, tryCall } from './runtime-fire-support.ts';

/** How often the daemon is killed: a hundred times for whoever changes what starts, ends or adopts containers. */
const rounds = Number(process.env.FIRE_ROUNDS ?? 12);
const seed = Number(process.env.FIRE_SEED ?? Date.now() % 1e6);

/** Small and good enough to choose by; a run's choices can be had again by their seed (its moments cannot). */
function generator(state: number): () => number {
  let value = state >>> 0;
  return () => {
    value = (value + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(value ^ (value >>> 15), value | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

type Kind = 'short' | 'lines' | 'long' | 'once' | 'port' | 'flaky';
/** What is known of a container from the outside, by its name. */
type Known = {
  kind: Kind;
  exitCode: number;
  lines: number;
  /** Answered by a daemon, and so to be heeded by the next. */
  created: boolean;
  started: boolean;
  /** Somebody stopped, killed or removed it, or its monitor, or the host was started anew: its end may be another. */
  disturbed: boolean;
  /** Seen to have ended as it should: that stays so. */
  ended: boolean;
  /** What was asked and not answered may have been done. */
  removed: false | 'asked' | 'answered';
};

class Storm {
  readonly fire = new FirePlace();
  readonly known = new Map<string, Known>();
  readonly ports = new Set<number>();
  readonly random = generator(seed);
  readonly wrong: string[] = [];
  execs = 0;
  #count = 0;

  pick<T>(items: readonly T[]): T | undefined {
    return items[Math.floor(this.random() * items.length)];
  }

  async run(kind: Kind): Promise<void> {
    const name = `fire-${++this.#count}-${kind}`;
    const exitCode = 1 + Math.floor(this.random() * 100);
    const lines = kind === 'lines' ? 2_000 : 0;
    const known: Known = { kind, exitCode, lines, created: false, started: false, disturbed: false, ended: false, removed: false };
    this.known.set(name, known);
    const { socket } = this.fire;
    const made = await tryCall(socket, 'POST', `/containers/create?name=${name}`, this.#request(known));
    if (made === undefined) return;
    if (made.status !== 201) return void this.wrong.push(`create ${name}: ${made.status} ${made.text}`);
    known.created = true;
    const started = await tryCall(socket, 'POST', `/containers/${name}/start`);
    if (started?.status === 204) known.started = true;
    else if (started && kind !== 'flaky') this.wrong.push(`start ${name}: ${started.status} ${started.text}`);
    else if (started) assert.match(started.text, /flaky: no/);
  }

  #request({ kind, exitCode, lines }: Known) {
    const scripts: Record<Kind, string> = {
      short: `sleep 0.${Math.floor(this.random() * 9)}; exit ${exitCode}`,
      lines: `seq 1 ${lines}; sleep 0.2; exit ${exitCode}`,
      long: `trap "exit ${exitCode}" TERM; i=0; while true; do echo $i; i=$((i+1)); sleep 0.05; done`,
      once: `touch /data/x; sleep 0.${Math.floor(this.random() * 5)}; exit ${exitCode}`,
      port: `sleep 0.5; exit ${exitCode}`,
      flaky: `sleep 0.3; exit ${exitCode}`,
    };
    const port = 21_000 + this.#count;
    if (kind === 'port') this.ports.add(port);
    return {
      Image: 'bb:1',
      Cmd: ['sh', '-c', scripts[kind]],
      Env: [`FIRE=${this.fire.folder}`],
      ...(kind === 'once' ? { Volumes: { '/data': {} } } : {}),
      HostConfig: {
        NetworkMode: kind === 'port' || this.random() < 0.3 ? 'bridge' : 'none',
        AutoRemove: kind === 'once',
        ...(kind === 'port' ? { PortBindings: { '80/tcp': [{ HostIp: '127.0.0.1', HostPort: String(port) }] } } : {}),
        ...(kind === 'flaky' ? { Runtime: 'flaky' } : {}),
      },
    };
  }

  /** Something to a container that was there before. */
  async disturb(): Promise<void> {
    const { socket } = this.fire;
    const there = [...this.known].filter(([, { started, removed, ended }]) => started && !removed && !ended);
    const [name, known] = this.pick(there.slice(-8)) ?? [];
    if (name === undefined || known === undefined) return;
    switch (this.pick(['stop', 'kill', 'restart', 'remove', 'exec', 'exec', 'exec', 'logs', 'pause', 'update'])) {
      case 'stop':
        known.disturbed = true;
        return void (await tryCall(socket, 'POST', `/containers/${name}/stop?t=1`));
      case 'kill':
        known.disturbed = true;
        return void (await tryCall(socket, 'POST', `/containers/${name}/kill`));
      case 'restart':
        known.disturbed = true;
        known.ended = false;
        return void (await tryCall(socket, 'POST', `/containers/${name}/restart?t=0`));
      case 'remove':
        known.removed = 'asked';
        if ((await tryCall(socket, 'DELETE', `/containers/${name}?force=1&v=1`))?.status === 204) known.removed = 'answered';
        return;
      case 'pause':
        await tryCall(socket, 'POST', `/containers/${name}/pause`);
        return void (await tryCall(socket, 'POST', `/containers/${name}/unpause`));
      case 'update':
        return void (await tryCall(socket, 'POST', `/containers/${name}/update`, { Memory: 64 << 20, MemorySwap: 64 << 20 }));
      case 'logs':
        return void (await tryCall(socket, 'GET', `/containers/${name}/logs?stdout=1&tail=5`));
      default:
        return this.#exec(this.pick(this.#lasting()) ?? name);
    }
  }

  #lasting(): string[] {
    return [...this.known]
      .filter(([, { kind, started, disturbed, removed }]) => kind === 'long' && started && !disturbed && !removed)
      .map(([name]) => name);
  }

  /** There are always some that run on, for what needs one that does. */
  async keepSome(): Promise<void> {
    while (this.#lasting().length < 2) await this.run('long');
  }

  async #exec(name: string): Promise<void> {
    const { socket } = this.fire;
    const exec = { Cmd: ['sh', '-c', 'echo in; sleep 0.1; echo out; exit 7'], AttachStdout: true };
    const made = await tryCall(socket, 'POST', `/containers/${name}/exec`, exec);
    if (made?.status !== 201) return;
    const { Id } = JSON.parse(made.text) as { Id: string };
    const ran = await tryCall(socket, 'POST', `/exec/${Id}/start`, { Detach: false, Tty: false });
    const seen = await tryCall(socket, 'GET', `/exec/${Id}/json`);
    if (ran?.status !== 200 || seen?.status !== 200) return;
    const { ExitCode } = JSON.parse(seen.text) as { ExitCode: number };
    this.execs++;
    // 137 when its container ended under it, 126 when it did before.
    if (![7, 126, 137].includes(ExitCode)) this.wrong.push(`exec in ${name} ended with ${ExitCode}`);
    if (ExitCode === 7 && !/in\n.*out\n/s.test(ran.text)) this.wrong.push(`exec in ${name} said only ${JSON.stringify(ran.text)}`);
  }

  /** A monitor dies; its container runs on, or has ended with nobody to say how. */
  killMonitor(): void {
    const folder = join(this.fire.run, 'c');
    const id = this.pick(readdirSync(folder));
    if (id === undefined) return;
    const name = nameOf(this.fire.place.root, id);
    const pid = Number.parseInt(readQuietly(join(folder, id, 'conmon.pid')), 10);
    const known = name && this.known.get(name);
    if (!known || known.ended || !(pid > 0) || !readQuietly(`/proc/${pid}/cmdline`).includes(id)) return;
    known.disturbed = true;
    killProcess(pid, 9);
  }

  /** What is wrong now, if anything. */
  async look(final: boolean): Promise<string | undefined> {
    for (const [name, known] of this.known) {
      const wrong = await this.#lookAt(name, known, final);
      if (wrong) return `${name} ${wrong}; known of it: ${JSON.stringify(known)}`;
    }
    return undefined;
  }

  async #lookAt(name: string, known: Known, final: boolean): Promise<string | undefined> {
    const seen = await inspect(this.fire.socket, name);
    if (!seen) return known.created && !known.removed && known.kind !== 'once' ? 'has vanished' : undefined;
    const { Status, Pid, ExitCode, Error: error } = seen.State;
    const shown = JSON.stringify(seen.State);
    if (known.removed === 'answered') return `was removed, and is there: ${shown}`;
    if (Status === 'running' || Status === 'paused') {
      if (!isAlive(Pid)) return `is said to run, but its process is not there: ${shown}`;
      return final && known.kind !== 'long' ? `still runs: ${shown}` : undefined;
    }
    if (known.kind === 'once') return `should have removed itself: ${shown}`;
    if (known.removed && Status === 'exited' && ExitCode === 137 && !known.disturbed) return `should have been removed: ${shown}`;
    if (Status === 'created') return known.started ? `was started, and is said never to have been: ${shown}` : undefined;
    if (Status !== 'exited') return `is in a state of its own: ${shown}`;
    const unknown = ExitCode === 255 && error !== '';
    const asked = known.disturbed && [known.exitCode, 137, 143].includes(ExitCode);
    // A process that writes when its monitor is gone gets SIGPIPE.
    const unheard = known.disturbed && ExitCode === 141 && error.includes('monitor was killed');
    if (!asked && !unheard && !(known.disturbed && unknown) && ExitCode !== known.exitCode) return `ended with the wrong code: ${shown}`;
    const lost = known.lines > 0 && !known.disturbed && (await this.#missingLines(name, known));
    if (lost) return lost;
    known.ended = true;
    return undefined;
  }

  async #missingLines(name: string, { lines }: Known): Promise<string | undefined> {
    const { text } = await call(this.fire.socket, 'GET', `/containers/${name}/logs?stdout=1`);
    const count = text.match(/\n/g)?.length ?? 0;
    return count === lines ? undefined : `wrote ${lines} lines and ${count} are kept`;
  }

  /** What a kill of the daemon left paused goes on. */
  async thaw(): Promise<void> {
    const { text } = await call(this.fire.socket, 'GET', `/containers/json?filters=${encodeURIComponent('{"status":["paused"]}')}`);
    for (const { Id } of JSON.parse(text) as { Id: string }[])
      assert.equal((await call(this.fire.socket, 'POST', `/containers/${Id}/unpause`)).status, 204);
  }

  /** Nobody is to know it any more. */
  async removeAll(): Promise<void> {
    const listed = JSON.parse((await call(this.fire.socket, 'GET', '/containers/json?all=1')).text) as { Id: string }[];
    for (const { Id } of listed) {
      const answer = await call(this.fire.socket, 'DELETE', `/containers/${Id}?force=1&v=1`);
      assert.ok([204, 404, 409].includes(answer.status), answer.text);
    }
  }
}

function isAlive(pid: number): boolean {
  return /^State:\t[^ZX]/m.test(readQuietly(`/proc/${pid}/status`));
}

function nameOf(root: string, id: string): string | undefined {
  const text = readQuietly(join(root, 'containers', id, 'container.json'));
  return text === '' ? undefined : (JSON.parse(text) as { record: { name: string } }).record.name;
}

function readQuietly(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

const options = { skip: cannotRunDaemon, timeout: 30_000 + rounds * 12_000 };

test(`a daemon killed at ${rounds} moments loses nothing, says nothing wrong and leaves nothing`, options, async (t) => {
  const storm = new Storm();
  const { fire } = storm;
  t.diagnostic(`FIRE_SEED=${seed} FIRE_ROUNDS=${rounds}`);
  t.after(() => fire.remove());
  await fire.start();
  assert.equal((await upload(fire.socket, '/images/create?fromSrc=-&repo=bb&tag=1', fire.place.imageTar())).status, 200);
  for (let round = 0; round < rounds; round++) {
    fire.flaky(storm.pick(['works', 'works', 'fail', 'hang']) ?? 'works');
    await storm.keepSome();
    const kinds: Kind[] = ['short', 'lines', 'once', 'long', 'port', 'flaky'];
    const acts = Array.from({ length: 5 }, () => (storm.random() < 0.6 ? storm.run(storm.pick(kinds) ?? 'short') : storm.disturb()));
    // Often while things begin, now and then when they have had the time to.
    await sleep(storm.random() < 0.5 ? storm.random() * 300 : storm.random() * 1_500);
    if (storm.random() < 0.2) storm.killMonitor();
    const isReboot = storm.random() < 0.1;
    if (isReboot) for (const known of storm.known.values()) known.disturbed ||= !known.ended;
    await (isReboot ? fire.reboot() : fire.kill());
    if (storm.random() < 0.2 && !isReboot) storm.killMonitor();
    await Promise.all(acts);
    fire.flaky('works');
    await fire.start();
    const wrong = await settle(() => storm.look(false), 4_000);
    assert.equal(wrong, undefined, `round ${round}${isReboot ? ', a reboot' : ''}`);
    assert.deepEqual(storm.wrong, [], `round ${round}`);
  }
  await storm.thaw();
  assert.equal(await settle(() => storm.look(true), 5_000), undefined, 'at the end');
  const all = [...storm.known.values()];
  const count = (field: 'created' | 'started' | 'disturbed' | 'removed') => all.filter((known) => known[field]).length;
  t.diagnostic(
    `${all.length} containers: ${count('created')} made, ${count('started')} started, ${count('disturbed')} disturbed; ${storm.execs} execs`,
  );
  await storm.removeAll();
  const volumes = JSON.parse((await call(fire.socket, 'GET', '/volumes')).text) as { Volumes: unknown[] | null };
  assert.deepEqual(volumes.Volumes ?? [], [], 'anonymous volumes went with their containers');
  assert.equal(await fire.daemon?.stop(), 0);
  assert.deepEqual(await fire.leftovers(storm.ports), []);
});
