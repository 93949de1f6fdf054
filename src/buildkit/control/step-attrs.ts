import { EngineError } from '../../base/errors.ts';
import type { BuildRequest } from '../../build/port.ts';

type Asked = Pick<BuildRequest, 'limits' | 'extraHosts'>;
type Ulimit = NonNullable<NonNullable<BuildRequest['limits']>['ulimits']>[number];

/** `add-hosts`, `shm-size` and `ulimit` of a solve (buildkit frontend/dockerui/config.go and attr.go). */
export const stepAttrs: ReadonlySet<string> = new Set(['add-hosts', 'shm-size', 'ulimit']);

export function decodeStepAttrs(attrs: Readonly<Record<string, string>>): Asked {
  const extraHosts = fields(attrs['add-hosts']).map(parseHost);
  const ulimits = fields(attrs.ulimit).map(parseUlimit);
  const shmBytes = attrs['shm-size'] ? parseSize(attrs['shm-size']) : 0;
  const limits = { ...(shmBytes === 0 ? {} : { shmBytes }), ...(ulimits.length === 0 ? {} : { ulimits }) };
  return { ...(extraHosts.length === 0 ? {} : { extraHosts }), ...(Object.keys(limits).length === 0 ? {} : { limits }) };
}

function fields(text: string | undefined): string[] {
  return (text ?? '').split(',').filter((field) => field !== '');
}

function parseHost(text: string): { name: string; address: string } {
  const [, name, bracketed, plain] = /^([^:=\s]+)[:=](?:\[([0-9a-fA-F:.]+)\]|([0-9a-fA-F:.]+|host-gateway))$/.exec(text) ?? [];
  const address = bracketed ?? plain;
  if (name === undefined || address === undefined) throw invalid(`invalid add-hosts "${text.slice(0, 200)}": expected NAME=ADDRESS`);
  return { name, address };
}

function parseUlimit(text: string): Ulimit {
  const [, name, soft, hard = soft] = /^([a-z]+)=(-1|\d{1,15})(?::(-1|\d{1,15}))?$/.exec(text) ?? [];
  if (name === undefined) throw invalid(`invalid ulimit "${text.slice(0, 200)}": expected NAME=SOFT[:HARD]`);
  return { name, soft: Number(soft), hard: Number(hard) };
}

function parseSize(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw invalid(`invalid shm-size "${text.slice(0, 100)}": expected bytes`);
  return Number(text);
}

function invalid(message: string): EngineError {
  return new EngineError('InvalidArgument', 'BUILD_OPTION_INVALID', message);
}
