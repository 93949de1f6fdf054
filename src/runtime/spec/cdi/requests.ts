import type { DeviceRequest } from '../../../api-types/container.ts';
import { EngineError } from '../../../base/errors.ts';
import { CdiRegistry, isCdiName } from './registry.ts';
import type { ContainerEdits } from './specification.ts';

/** Vendors whose `gpu` class stands for --gpus, the one asked first. */
const gpuVendors = ['nvidia.com', 'amd.com'];
/** Capabilities by which Docker finds NVIDIA's driver. */
const gpuCapabilities = new Set(['gpu', 'nvidia', 'compute', 'compat32', 'graphics', 'utility', 'video', 'display']);

/**
 * What --device vendor.com/class=name (driver `cdi`) and --gpus ask of the container. GPUs come through CDI too: where no specification brings
 * them, Docker's error that no driver does. InvalidArgument throughout.
 */
export async function resolveDeviceRequests(
  requests: readonly DeviceRequest[] | null | undefined,
  directories: readonly string[],
): Promise<ContainerEdits[]> {
  if (!requests || requests.length === 0) return [];
  const registry = await CdiRegistry.read(directories);
  const names = requests.flatMap((request) => deviceNames(request, registry));
  return names.length === 0 ? [] : registry.edits([...new Set(names)]);
}

function deviceNames(request: DeviceRequest, registry: CdiRegistry): string[] {
  const refuse = (message: string, hint?: string) => new EngineError('InvalidArgument', 'DEVICE_REQUEST_INVALID', message, { hint });
  const { Driver: driver = '', Count: count = 0 } = request;
  const ids = request.DeviceIDs ?? [];
  if (driver === 'cdi') {
    if (count !== 0) throw refuse('unexpected count in CDI device request');
    if (Object.keys(request.Options ?? {}).length > 0) throw refuse('unexpected options in CDI device request');
    return ids;
  }
  const kinds = registry.kinds();
  const kind = gpuVendors.map((vendor) => `${vendor}/gpu`).find((each) => kinds.has(each) && (driver === '' || each.startsWith(driver)));
  if (kind === undefined || !wantsGpu(request)) {
    throw refuse(
      `could not select device driver ${JSON.stringify(driver)} with capabilities: ${goLists(request.Capabilities)}`,
      'GPUs come from a CDI specification of the vendor, such as "nvidia-ctk cdi generate" writes to /etc/cdi/nvidia.yaml.',
    );
  }
  if (count !== 0 && ids.length > 0) throw refuse('cannot set both Count and DeviceIDs on device request');
  const wanted = ids.length > 0 ? ids : count < 0 ? ['all'] : Array.from({ length: count }, (_, index) => String(index));
  return wanted.map((id) => (isCdiName(id) ? id : `${kind}=${id}`));
}

/** Each inner list is a set that must all be there; any of the lists will do. A driver that is named needs none. */
function wantsGpu({ Driver, Capabilities }: DeviceRequest): boolean {
  if (Driver) return true;
  return (Capabilities ?? []).some((all) => all.every((name) => gpuCapabilities.has(name)));
}

/** As Go prints a list of lists: `[[gpu nvidia]]`. */
function goLists(lists: string[][] | null | undefined): string {
  return `[${(lists ?? []).map((list) => `[${list.join(' ')}]`).join(' ')}]`;
}
