import { posix } from 'node:path';
import type { DefinitionMount, DefinitionRun, DefinitionService } from '../../api-types/definition.ts';
import { EngineError } from '../../base/errors.ts';
import { defaultPath } from '../../oci/config.ts';
import type { RunConfig } from '../../oci/image.ts';
import type { RunMount, RunOperation, StepService } from '../graph/vertex.ts';
import type { StepOptions } from '../step-options.ts';

const readyTimeoutMs = 60_000;

type Process = Pick<DefinitionService, 'env' | 'user' | 'workingDir'>;
type Options = StepOptions & { readonly networkMode: RunOperation['network'] };

/** The operation of a `run` step, its inputs numbered as `inputsOf` has them. `configOf`: of the image that a step's chain of bases ends in. */
export function runOperation(step: DefinitionRun, base: RunConfig, configOf: (id: string) => RunConfig, options: Options): RunOperation {
  let input = 0;
  const written = step.mounts ?? [];
  const mounts = written.map((mount, index): RunMount => {
    if (mount.kind !== 'bind') return otherMount(mount, written.slice(0, index), options);
    input++;
    return { kind: 'bind', input, source: mount.path ?? '/', target: mount.target, readOnly: mount.writable !== true };
  });
  const services = (step.services ?? []).map((service): StepService => {
    input++;
    return stepService(service, input, configOf(service.from));
  });
  const socket = mounts.find((mount) => mount.kind === 'ssh')?.target;
  const { processes = {} } = options;
  const hosts = step.hosts === undefined ? undefined : Object.entries(step.hosts).map(([name, address]) => ({ name, address }));
  return {
    kind: 'run',
    args: step.args,
    ...processOf(step, base, socket === undefined ? {} : { SSH_AUTH_SOCK: socket }),
    unkeyedEnv: [],
    network: step.network ?? options.networkMode,
    mounts,
    hosts: hosts === undefined ? processes.hosts : [...(processes.hosts ?? []), ...hosts],
    limits: step.limits === undefined ? processes.limits : { ...processes.limits, ...step.limits },
    // The request's list is a policy of whoever builds: a definition can only narrow it.
    allowedHosts: narrowed(processes.allowedHosts, step.allowedHosts),
    ...(services.length === 0 ? {} : { services }),
  };
}

function processOf({ env = {}, user, workingDir }: Process, base: RunConfig, least: Readonly<Record<string, string>> = {}) {
  const inherited = [defaultPath, ...(base.Env ?? [])].map(splitOnce);
  const values = new Map([...Object.entries(least), ...inherited, ...Object.entries(env)]);
  return {
    env: [...values].sort(([a], [b]) => (a < b ? -1 : 1)),
    user: user ?? base.User ?? '',
    workingDir: workingDir ?? (base.WorkingDir || '/'),
  };
}

function stepService(service: DefinitionService, input: number, base: RunConfig): StepService {
  const args = service.args ?? [...(base.Entrypoint ?? []), ...(base.Cmd ?? [])];
  if (args.length === 0) {
    throw new EngineError(
      'InvalidArgument',
      'SERVICE_INVALID',
      `the service "${service.name}" has nothing to run: its image says no command`,
      {
        hint: 'Give it "args".',
      },
    );
  }
  return {
    name: service.name,
    input,
    args,
    ...processOf(service, base),
    ...(service.ready === undefined ? {} : { ready: { args: service.ready.args, timeoutMs: service.ready.timeoutMs ?? readyTimeoutMs } }),
    limits: service.limits,
  };
}

function otherMount(mount: Exclude<DefinitionMount, { kind: 'bind' }>, earlier: readonly DefinitionMount[], options: Options): RunMount {
  switch (mount.kind) {
    case 'tmpfs':
      return mount;
    case 'cache': {
      const { target, id = target, sharing = 'shared' } = mount;
      return { kind: 'cache', id, target, sharing, readOnly: false, mode: 0o755, uid: 0, gid: 0 };
    }
    case 'secret': {
      const { id, env, required = false, mode = 0o400, uid = 0, gid = 0 } = mount;
      const target = mount.target ?? (env === undefined ? `/run/secrets/${posix.basename(id)}` : undefined);
      const invalidate = mount.invalidate === true || options.invalidateSecrets?.includes(id) === true;
      return { kind: 'secret', id, target, env, required, mode, uid, gid, ...(invalidate ? { invalidate } : {}) };
    }
    case 'ssh': {
      const number = earlier.filter(({ kind }) => kind === 'ssh').length;
      const { id = 'default', target = `/run/buildkit/ssh_agent.${number}`, required = false, mode = 0o600, uid = 0, gid = 0 } = mount;
      return { kind: 'ssh', id, target, required, mode, uid, gid };
    }
  }
}

/** Names of `wanted` that `allowed` leads to, too. Undefined is all names. */
export function narrowed(allowed: readonly string[] | undefined, wanted: readonly string[] | undefined): readonly string[] | undefined {
  if (allowed === undefined || wanted === undefined) return wanted ?? allowed;
  const covers = (wide: string, name: string) => wide === name || (wide.startsWith('*.') && name.endsWith(wide.slice(1)));
  const both = wanted.flatMap((name) =>
    allowed.some((wide) => covers(wide, name)) ? [name] : allowed.filter((each) => covers(name, each)),
  );
  return [...new Set(both)];
}

export function splitOnce(item: string): [string, string] {
  const at = item.indexOf('=');
  return at < 0 ? [item, ''] : [item.slice(0, at), item.slice(at + 1)];
}
