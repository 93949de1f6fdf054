import { EngineError, isErrno } from '../../../base/errors.ts';
import { statPath } from '../../../kernel/files.ts';
import { FileStat, S_IFBLK, S_IFCHR, S_IFIFO, S_IFMT } from '../../../kernel/stat.ts';
import { mergeEnv } from '../environment.ts';
import type { Device, IntelRdt, RuntimeSpec, SpecMount } from '../types.ts';
import type { ContainerEdits, DeviceNode } from './specification.ts';

/** Makes the edits to a specification, in place: variables, nodes, mounts and hooks of the same name or path are replaced. */
export function applyEdits(spec: RuntimeSpec, edits: readonly ContainerEdits[]): void {
  for (const edit of edits) applyEdit(spec, edit);
  if (edits.some(({ mounts }) => mounts.length > 0)) sortByDepth(spec.mounts);
}

function applyEdit(spec: RuntimeSpec, edit: ContainerEdits): void {
  const { process, linux } = spec;
  process.env = mergeEnv(process.env, edit.env);
  for (const node of edit.deviceNodes) addNode(spec, node);
  for (const { hostPath, containerPath, type, options } of edit.mounts) {
    const mount: SpecMount = { destination: containerPath, source: hostPath, type: type ?? 'bind', options: bindOptions(options, type) };
    spec.mounts = [...spec.mounts.filter(({ destination }) => destination !== containerPath), mount];
  }
  for (const { hookName, ...hook } of edit.hooks) {
    spec.hooks ??= {};
    spec.hooks[hookName] = [...(spec.hooks[hookName] ?? []), hook];
  }
  for (const { hostInterfaceName, name } of edit.netDevices) linux.netDevices = { ...linux.netDevices, [hostInterfaceName]: { name } };
  if (edit.intelRdt) linux.intelRdt = edit.intelRdt satisfies IntelRdt;
  const groups = edit.additionalGids.filter((gid) => gid !== 0);
  if (groups.length > 0) process.user.additionalGids = [...new Set([...(process.user.additionalGids ?? []), ...groups])];
}

/** A bind mount without `bind` or `rbind` would be one of a file system called "bind". */
function bindOptions(options: readonly string[], type: string | undefined): string[] {
  const isBind = (type ?? 'bind') === 'bind';
  return isBind && !options.includes('bind') && !options.includes('rbind') ? ['rbind', ...options] : [...options];
}

function addNode(spec: RuntimeSpec, node: DeviceNode): void {
  const { linux, process } = spec;
  const device = completeNode(node);
  // Nodes belong to who runs the container, unless the specification says whose they are.
  const [uid, gid] = [device.uid ?? (process.user.uid || undefined), device.gid ?? (process.user.gid || undefined)];
  const owned: Device = { ...device, ...(uid === undefined ? {} : { uid }), ...(gid === undefined ? {} : { gid }) };
  linux.devices = [...linux.devices.filter(({ path }) => path !== node.path), owned];
  if (owned.type === 'b' || owned.type === 'c')
    linux.resources.devices.push({
      allow: true,
      type: owned.type,
      major: owned.major,
      minor: owned.minor,
      access: node.permissions || 'rwm',
    });
}

/** What a node's entry leaves open is as on the host. */
function completeNode(node: DeviceNode): Device {
  const { path, hostPath = path, type, major, minor, fileMode, uid, gid } = node;
  const own = {
    ...(fileMode === undefined ? {} : { fileMode }),
    ...(uid === undefined ? {} : { uid }),
    ...(gid === undefined ? {} : { gid }),
  };
  if (type !== undefined && (type === 'p' || (major ?? 0) !== 0 || (minor ?? 0) !== 0))
    return { path, type, major: major ?? 0, minor: minor ?? 0, ...own };
  const fail = (why: string, cause?: unknown) =>
    new EngineError(
      'InvalidArgument',
      'CDI_DEVICE_MISSING',
      `CDI device injection failed: failed to stat CDI host device "${hostPath}": ${why}`,
      { cause, exitCode: 125 },
    );
  try {
    const stats = statPath(hostPath, new FileStat(), { follow: true });
    const found = nodeTypes.get(stats.mode & S_IFMT);
    if (found === undefined) throw fail('it is no device');
    if (type !== undefined && type !== found) throw fail(`it is of type ${found}, not ${type}`);
    return { path, type: found, major: stats.rdevMajor, minor: stats.rdevMinor, fileMode: stats.mode & 0o7777, ...own };
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR')) throw fail('no such file or directory', error);
    throw error;
  }
}

const nodeTypes = new Map<number, 'b' | 'c' | 'p'>([
  [S_IFBLK, 'b'],
  [S_IFCHR, 'c'],
  [S_IFIFO, 'p'],
]);

/** So that no mount hides one below it. */
function sortByDepth(mounts: SpecMount[]): void {
  const depth = ({ destination }: SpecMount) => destination.split('/').filter((name) => name !== '').length;
  mounts.sort((a, b) => depth(a) - depth(b));
}
