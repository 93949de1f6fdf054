import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { crunPrefix } from '../../src/host/crun.ts';
import { HostWatches, type Resolve } from '../../src/network/watch/watches.ts';
import { OciRuntime } from '../../src/runtime/drivers/oci-runtime.ts';
import type { StepRequest, StepResult } from '../../src/runtime/port.ts';
import { StepProcessRunner } from '../../src/runtime/steps/step-runner.ts';
import { type Engine, openNetworks } from './network-harness.ts';
import { makeBusyboxRoot } from './runtime-support.ts';

export type StepScene = {
  runner: StepProcessRunner;
  directory: string;
  networks: Engine['networks'];
  rootId: string;
  runtime: OciRuntime;
  /** Names that the outside knows, and how often each was asked for. */
  names: Map<string, string[]>;
  asked: string[];
  root(name: string): string;
  step(args: string[], more?: Partial<StepRequest>): Promise<StepResult & { stdout: string; stderr: string }>;
};

/** A step runner with networks of its own; names lead where the test says. All of it is gone when the test ends. */
export async function openSteps(t: TestContext, options: { runtime?: 'runc' | 'crun' } = {}): Promise<StepScene> {
  const { networks, rootId } = await openNetworks(t);
  const directory = mkdtempSync(join(tmpdir(), 'slipway-steps-'));
  const names = new Map<string, string[]>();
  const asked: string[] = [];
  const resolve: Resolve = async (name, type) => {
    asked.push(name);
    const addresses = names.get(name);
    if (addresses === undefined) throw Object.assign(new Error(`queryA ENOTFOUND ${name}`), { code: 'ENOTFOUND' });
    return type === 'A' ? addresses.map((address) => ({ address, ttl: 60 })) : [];
  };
  const name = options.runtime ?? 'runc';
  const command = name === 'runc' ? '/usr/sbin/runc' : '/usr/bin/crun';
  const runtime = new OciRuntime({ name, command, root: join(directory, 'runtime'), prefix: name === 'crun' ? crunPrefix() : undefined });
  const runner = new StepProcessRunner({ runtime, networks, watches: new HostWatches({ resolve }), paths: { run: directory }, rootId });
  t.after(async () => {
    await runner.recover();
    await runner.close();
    rmSync(directory, { recursive: true, force: true });
  });
  const scene: StepScene = {
    runner,
    directory,
    networks,
    rootId,
    runtime,
    names,
    asked,
    root(of) {
      const path = join(directory, 'roots', of);
      if (!existsSync(path)) {
        mkdirSync(path, { recursive: true });
        makeBusyboxRoot(path);
      }
      return path;
    },
    async step(args, more = {}) {
      const output = { stdout: '', stderr: '' };
      const result = await runner.run({
        rootfs: more.rootfs ?? scene.root('step'),
        args,
        env: ['PATH=/bin'],
        user: '',
        workingDir: '/',
        network: 'default',
        mounts: [],
        onOutput: (stream, data) => {
          output[stream] += data.toString();
        },
        ...more,
      });
      return { ...output, ...result };
    },
  };
  return scene;
}
